//! How a running daemon becomes its next version without closing its ports: after SIGUSR2 it finishes what it
//! began and executes the program that now stands at its own path, with its listening sockets left open. The
//! process, and so its service manager, stays the same; who connects meanwhile waits in the kernel's queue and is
//! never refused. The sockets are passed on as systemd passes them to a socket-activated service (`LISTEN_FDS`,
//! `sd_listen_fds(3)`), so that works, too.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;

/// The first descriptor that is passed on: those below are the standard streams.
const FIRST: i32 = 3;

/// Listening sockets that were open before this program started.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// What was passed to this process. Sockets of other kinds are left alone.
    #[must_use]
    pub fn receive() -> Self {
        let mut passed = ListenFd::from_env();
        let count = passed.len();
        let listener = |index| passed.take_tcp_listener(index).ok().flatten();
        Self((0..count).filter_map(listener).collect())
    }

    /// The one that listens at an address, ready for an asynchronous runtime; `None` when it has to be opened.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_it = |listener: &TcpListener| listener.local_addr().is_ok_and(|it| it == address);
        let listener = self.0.swap_remove(self.0.iter().position(is_it)?);
        listener.set_nonblocking(true).ok()?;
        Some(listener)
    }
}

/// Executes the program at this process's own path with its own arguments, passing on these sockets. Returns only
/// when that fails.
#[must_use]
pub fn execute_again(listeners: Vec<TcpListener>) -> io::Error {
    let mut arguments = std::env::args_os();
    let Some(program) = arguments.next() else {
        return io::Error::other("this process does not know its own path");
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", listeners.len().to_string());
    let mappings = (FIRST..)
        .zip(listeners)
        .map(|(child_fd, listener)| FdMapping { parent_fd: listener.into(), child_fd })
        .collect();
    match command.fd_mappings(mappings) {
        Ok(command) => command.exec(),
        Err(error) => io::Error::other(error),
    }
}
