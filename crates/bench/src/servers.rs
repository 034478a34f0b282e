//! The servers under measurement, each started on free ports of loopback in a folder of its own.

pub mod mariadb;
pub mod nchan;
pub mod prosody;
pub mod push;
pub mod stack;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use crate::process::Processes;
use crate::swarm::Hello;

/// Who is to hear something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A channel that everybody hears.
    All,
    /// One person's own.
    Person(usize),
}

/// A server that passes events on to WebSocket clients.
pub trait Fanout {
    /// Where clients connect.
    fn address(&self) -> SocketAddr;
    /// Its processes.
    fn processes(&self) -> Processes;
    /// How a person comes to hear `audience`; `after` is the last event they have seen.
    ///
    /// # Errors
    /// When no token can be made.
    fn hello(&self, person: usize, audience: Audience, after: Option<i64>) -> Result<Hello>;
    /// Passes `data` (JSON text) on to all of these.
    ///
    /// # Errors
    /// When the server does not take it.
    fn publish(&mut self, audience: &[Audience], data: &str) -> Result<()>;
    /// So many bytes follow the data in what clients get.
    fn trailing(&self) -> usize;
}

/// A port that nobody uses.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Whether somebody listens there.
#[must_use]
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Whether an HTTP server there answers at all.
#[must_use]
pub fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = || -> Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
}
