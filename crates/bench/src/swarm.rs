//! All clients in one event loop, so that ten thousand of them cost less than the server they measure.
//!
//! A client is a socket and a few bytes of state; all share one buffer to read into. Frames are parsed where they
//! lie, and only one that is cut in two is copied.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use slab::Slab;

/// What one read can take: a burst of large frames.
const ROOM: usize = 1 << 20;
const BATCH: usize = 256;
const TIMER: Token = Token(usize::MAX - 1);

/// What a client says to be let in.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The request that opens the WebSocket.
    pub request: Vec<u8>,
    /// What it says then; it counts as joined once a `welcome` answers, else as soon as it is open.
    pub first: Option<String>,
}

impl Hello {
    /// A WebSocket's request for that path.
    #[must_use]
    pub fn to(path: &str, first: Option<String>) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        Self { request: request.into_bytes(), first }
    }
}

/// What happens to a client.
#[derive(Debug)]
pub enum Happening<'a> {
    /// It is in; with the `welcome`, where there is one.
    Joined(&'a [u8]),
    /// A text message.
    Text(&'a [u8]),
    /// The connection is over; with the close code, where there was one.
    Ended(Option<u16>),
}

enum State {
    Connecting(Box<Hello>),
    Upgrading(Box<Hello>),
    Greeting,
    Open,
}

struct Client {
    stream: TcpStream,
    state: State,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// It never reads.
    deaf: bool,
}

/// All clients.
pub struct Swarm {
    poll: Poll,
    events: Events,
    clients: Slab<Client>,
    room: Vec<u8>,
    timer: OwnedFd,
}

impl Swarm {
    /// Without clients yet.
    ///
    /// # Errors
    /// When the machine gives no epoll or timer.
    pub fn new() -> Result<Self> {
        let poll = Poll::new()?;
        // epoll_wait counts in milliseconds, which is too coarse for 2,000 messages a second.
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(BATCH),
            clients: Slab::new(),
            room: vec![0; ROOM],
            timer,
        })
    }

    /// Begins to connect; the number names the client from here on.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn connect(&mut self, address: SocketAddr, hello: Hello) -> Result<usize> {
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(key), both)?;
        let state = State::Connecting(Box::new(hello));
        entry.insert(Client { stream, state, partial: Vec::new(), deaf: false });
        Ok(key)
    }

    /// The client reads no more.
    pub fn deafen(&mut self, client: usize) {
        if let Some(client) = self.clients.get_mut(client) {
            client.deaf = true;
        }
    }

    /// All connections end, without a word.
    pub fn cut(&mut self) {
        self.clients.clear();
    }

    /// Waits until something happens, at most until that moment, and tells of what has.
    ///
    /// # Errors
    /// When a client cannot be let in.
    pub fn turn(
        &mut self,
        until: Instant,
        happen: &mut impl FnMut(usize, Happening<'_>),
    ) -> Result<()> {
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: wait.as_secs().cast_signed(),
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let Self { events, clients, room, .. } = self;
        for event in events.iter() {
            let Token(key) = event.token();
            let Some(client) = clients.get_mut(key) else { continue };
            if client.deaf {
                continue;
            }
            let mut tell = |happening: Happening<'_>| happen(key, happening);
            if matches!(client.state, State::Connecting(_)) && event.is_writable() {
                client.request()?;
            }
            if event.is_readable() && !client.read(room, &mut tell)? {
                clients.remove(key);
            }
        }
        Ok(())
    }
}

impl Client {
    fn request(&mut self) -> Result<()> {
        if let Some(error) = self.stream.take_error()? {
            bail!("a client cannot connect: {error}");
        }
        self.stream.set_nodelay(true)?;
        if let State::Connecting(hello) = std::mem::replace(&mut self.state, State::Greeting) {
            self.stream.write_all(&hello.request).context("a request does not fit")?;
            self.state = State::Upgrading(hello);
        }
        Ok(())
    }

    /// Reads all there is; false when the connection is over.
    fn read(&mut self, room: &mut [u8], tell: &mut impl FnMut(Happening<'_>)) -> Result<bool> {
        loop {
            let kept = self.partial.len();
            if kept >= room.len() {
                bail!("a frame is longer than a mebibyte");
            }
            room[..kept].copy_from_slice(&self.partial);
            let read = match self.stream.read(&mut room[kept..]) {
                Ok(0) => {
                    tell(Happening::Ended(None));
                    return Ok(false);
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => {
                    tell(Happening::Ended(None));
                    return Ok(false);
                }
            };
            let filled = kept + read;
            let Some(used) = self.take(&room[..filled], tell)? else { return Ok(false) };
            if used == filled {
                // No buffers for idle clients here either.
                self.partial = Vec::new();
            } else {
                self.partial = room[used..filled].to_vec();
            }
            // A read that leaves room has emptied the socket (epoll(7)).
            if filled < room.len() {
                return Ok(true);
            }
        }
    }

    /// Takes what is complete and says how long that was; `None` when the connection is over.
    fn take(
        &mut self,
        bytes: &[u8],
        tell: &mut impl FnMut(Happening<'_>),
    ) -> Result<Option<usize>> {
        let mut used = 0;
        if matches!(self.state, State::Upgrading(_)) {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(Some(0));
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                bail!("a client was refused: {}", String::from_utf8_lossy(bytes));
            }
            used = end + 4;
            if let State::Upgrading(hello) = std::mem::replace(&mut self.state, State::Open) {
                if let Some(first) = hello.first {
                    self.stream.write_all(&frame(0x81, first.as_bytes()))?;
                    self.state = State::Greeting;
                } else {
                    tell(Happening::Joined(b""));
                }
            }
        }
        while let Some((opcode, start, end)) = next_frame(&bytes[used..]) {
            let payload = &bytes[used + start..used + end];
            used += end;
            match opcode {
                0x1 if matches!(self.state, State::Greeting)
                    && payload.starts_with(br#"{"type":"welcome""#) =>
                {
                    self.state = State::Open;
                    tell(Happening::Joined(payload));
                }
                0x1 => tell(Happening::Text(payload)),
                0x8 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    tell(Happening::Ended(code));
                    return Ok(None);
                }
                0x9 => self.stream.write_all(&frame(0x8a, payload))?,
                _ => {}
            }
        }
        Ok(Some(used))
    }
}

/// The next whole frame of a server: its opcode, and where its payload begins and ends.
fn next_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, length, ..] = *bytes else { return None };
    let (start, length) = match length {
        126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into()),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = start + length;
    (bytes.len() >= end).then_some((first & 0x0f, start, end))
}

/// A client's frame. Its mask is zero, which is legal for a server to see and costs nothing here.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..=125) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_are_found_once_they_are_whole() {
        assert_eq!(next_frame(b"\x81\x02hi\x81"), Some((1, 2, 4)));
        assert_eq!(next_frame(b"\x81\x02h"), None);
        let medium = [b"\x81\x7e\x01\x00".as_slice(), &[0; 256]].concat();
        assert_eq!(next_frame(&medium), Some((1, 4, 260)));
        assert_eq!(next_frame(&medium[..259]), None);
        let long = [b"\x81\x7f\0\0\0\0\0\x01\0\0".as_slice(), &[0; 65536]].concat();
        assert_eq!(next_frame(&long), Some((1, 10, 65546)));
    }
}
