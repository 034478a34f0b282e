//! Chaffer's push daemon alone: this program stands in for the API. It pushes signed stored events over ZeroMQ
//! and answers the daemon's questions about what it missed (nothing ever is).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use chaffer_shared::event::{Event, Frame, Missed, Revocations};
use chaffer_shared::link::LinkKeys;
use chaffer_shared::time;
use chaffer_shared::token::{Bearer, Claims, TokenKeys};
use chaffer_shared::topic::Topic;
use serde_json::value::RawValue;

use super::{Audience, Fanout, answers, free_port, listens};
use crate::process::{Daemon, Processes};
use crate::swarm::Hello;

const LINK_KEY: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_KEY: &str = "k1:0123456789abcdef0123456789abcdef";

/// The running daemon.
pub struct Push {
    daemon: Daemon,
    websocket: SocketAddr,
    pusher: TcpStream,
    link: LinkKeys,
    tokens: TokenKeys,
    last: Arc<AtomicI64>,
}

impl Push {
    /// Starts it in that folder.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path) -> Result<Self> {
        let last = Arc::<AtomicI64>::default();
        let api = stand_in_for_the_api(last.clone())?;
        let (websocket, pusher, http) = (free_port()?, free_port()?, free_port()?);
        let program = std::env::current_exe()?.with_file_name("chaffer-push");
        let mut command = Command::new(program);
        command.current_dir(folder).envs([
            ("CHAFFER_PUSH_WEBSOCKET_LISTEN", websocket.to_string()),
            ("CHAFFER_PUSH_PUSHER_LISTEN", pusher.to_string()),
            ("CHAFFER_PUSH_HTTP_LISTEN", http.to_string()),
            ("CHAFFER_PUSH_API_URL", format!("http://{api}")),
            ("CHAFFER_KEYS_LINK", LINK_KEY.into()),
            ("CHAFFER_KEYS_TOKEN", TOKEN_KEY.into()),
        ]);
        let mut daemon = Daemon::start("chaffer-push", &mut command, folder)?;
        daemon.wait_until(|| listens(pusher) && answers(http, "/healthz"))?;
        Ok(Self {
            daemon,
            websocket,
            pusher: connect_push_socket(pusher).context("the pusher port")?,
            link: LinkKeys::parse(&[LINK_KEY.into()])?,
            tokens: TokenKeys::parse(&[TOKEN_KEY.into()])?,
            last,
        })
    }
}

impl Fanout for Push {
    fn address(&self) -> SocketAddr {
        self.websocket
    }

    fn processes(&self) -> Processes {
        self.daemon.processes()
    }

    fn hello(&self, person: usize, audience: Audience, after: Option<i64>) -> Result<Hello> {
        let user = person.to_string();
        let topics = vec![topic(audience)?];
        let claims = Claims::new(Bearer::User, &user, topics, "bench", time::now(), 3600);
        let token = self.tokens.sign(&claims)?;
        let after = after.map(|after| format!(",\"after\":{after}")).unwrap_or_default();
        let auth = format!("{{\"type\":\"auth\",\"token\":\"{token}\"{after}}}");
        Ok(Hello::to("/ws", Some(auth)))
    }

    fn publish(&mut self, audience: &[Audience], data: &str) -> Result<()> {
        let id = self.last.fetch_add(1, SeqCst) + 1;
        let frame = Frame::Event(Event {
            id: Some(id),
            prev: Some(id - 1),
            src: "bench".into(),
            topics: audience.iter().map(|one| topic(*one)).collect::<Result<_>>()?,
            event: "message.created".into(),
            at: time::now(),
            request_id: None,
            data: RawValue::from_string(data.into())?,
        });
        let signed = self.link.sign(&serde_json::to_vec(&frame)?).context("no key")?;
        Ok(self.pusher.write_all(&zmtp_frame(&signed))?)
    }

    fn trailing(&self) -> usize {
        "}".len()
    }
}

fn topic(audience: Audience) -> Result<Topic> {
    Ok(match audience {
        Audience::All => "vendor:1".parse()?,
        Audience::Person(person) => format!("user:{person}").parse()?,
    })
}

/// Answers what the daemon asks of the API.
fn stand_in_for_the_api(last: Arc<AtomicI64>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let last = last.clone();
            std::thread::spawn(move || answer(stream, &last));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, last: &AtomicI64) -> Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&piece[..read]),
        }
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let body = if request.starts_with(b"GET /internal/v1/events") {
            let last = last.load(SeqCst);
            serde_json::to_string(&Missed { events: Vec::new(), last, oldest: 1 })?
        } else {
            serde_json::to_string(&Revocations { revocations: Vec::new() })?
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        request.clear();
    }
}

/// A ZeroMQ PUSH socket in the few bytes that it takes (ZMTP 3.0, rfc.zeromq.org/spec/23): no thread, no queue.
fn connect_push_socket(address: SocketAddr) -> Result<TcpStream> {
    const READY: &[u8] = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH";
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut greeting = [0; 64];
    for (at, byte) in [(0, 0xff), (8, 1), (9, 0x7f), (10, 3)] {
        greeting[at] = byte;
    }
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting)?;
    stream.read_exact(&mut [0; 64])?;
    stream.write_all(READY)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    stream.read_exact(&mut vec![0; head[1].into()])?;
    Ok(stream)
}

fn zmtp_frame(message: &[u8]) -> Vec<u8> {
    let mut frame = match u8::try_from(message.len()) {
        Ok(short) => vec![0, short],
        Err(_) => [[2].as_slice(), &(message.len() as u64).to_be_bytes()].concat(),
    };
    frame.extend_from_slice(message);
    frame
}
