//! nchan: nginx's module for publishing and subscribing, from Debian. Its subscribers show no token.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Audience, Fanout, answers, free_port};
use crate::process::{Daemon, Processes};
use crate::swarm::Hello;

/// A running nginx.
pub struct Nchan {
    daemon: Daemon,
    address: SocketAddr,
    publisher: TcpStream,
}

impl Nchan {
    /// Starts it in that folder.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path) -> Result<Self> {
        let address = free_port()?;
        let here = folder.display();
        // As in Debian, one worker for each core; room for our clients; the same pings as Chaffer's; several
        // channels may be given in one request, so that a message to three people is published once.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
{user}
daemon off;
pid {here}/nginx.pid;
worker_processes {workers};
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    keepalive_requests 100000000;
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    server {{
        listen {address} backlog=4096;
        location /subscribe {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_id;
            nchan_websocket_ping_interval 25;
        }}
        location /publish {{
            nchan_publisher http;
            nchan_channel_id $arg_id;
            nchan_channel_id_split_delimiter \",\";
        }}
    }}
}}
",
            workers = std::env::var("BENCH_NCHAN_WORKERS").unwrap_or_else(|_| "auto".into()),
            files = rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(20_000),
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config)?;
        let log = folder.join("nginx-error.log");
        let mut command = Command::new("nginx");
        command.env("PATH", crate::search_path()).arg("-c").arg(&file).arg("-e").arg(&log);
        let mut daemon = Daemon::start("nginx", &mut command, folder)?;
        daemon.wait_until(|| answers(address, "/publish?id=ready"))?;
        let publisher = TcpStream::connect(address)?;
        publisher.set_nodelay(true)?;
        publisher.set_write_timeout(Some(Duration::from_secs(10)))?;
        let answers = publisher.try_clone()?;
        // Its answers are of no interest, but somebody has to take them.
        std::thread::spawn(move || {
            let (mut answers, mut room) = (answers, vec![0; 65536]);
            while answers.read(&mut room).is_ok_and(|read| read > 0) {}
        });
        Ok(Self { daemon, address, publisher })
    }
}

impl Fanout for Nchan {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn processes(&self) -> Processes {
        self.daemon.processes()
    }

    fn hello(&self, _person: usize, audience: Audience, _after: Option<i64>) -> Result<Hello> {
        Ok(Hello::to(&format!("/subscribe?id={}", channel(audience)), None))
    }

    fn publish(&mut self, audience: &[Audience], data: &str) -> Result<()> {
        let channels: Vec<String> = audience.iter().map(|one| channel(*one)).collect();
        let request = format!(
            "POST /publish?id={} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{data}",
            channels.join(","),
            data.len(),
        );
        Ok(self.publisher.write_all(request.as_bytes())?)
    }

    fn trailing(&self) -> usize {
        0
    }
}

fn channel(audience: Audience) -> String {
    match audience {
        Audience::All => "all".into(),
        Audience::Person(person) => format!("p{person}"),
    }
}
