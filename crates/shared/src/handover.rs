//! How a running daemon becomes its next version without closing its ports: after SIGUSR2 it finishes what it
//! began and executes the program that now stands at its own path, with its listening sockets left open. The
//! process, and so its service manager, stays the same; who connects meanwhile waits in the kernel's queue and is
//! never refused. The sockets are passed on as systemd passes them to a socket-activated service (`LISTEN_FDS`,
//! `sd_listen_fds(3)`), so that works, too.
//!
//! When that happens, and when it does not, is decided by [`crate::signals`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;

/// The first descriptor that is passed on: those below are the standard streams.
const FIRST: i32 = 3;

/// What both daemons are asked by: whether they would start with the settings as they are now.
const CHECK: &str = "--check";

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

/// The program at this process's own path, and its own arguments after some more.
fn successor(more: &[&str]) -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let unknown = || io::Error::other("this process does not know its own path");
    let mut command = Command::new(arguments.next().ok_or_else(unknown)?);
    command.args(more).args(arguments);
    Ok(command)
}

/// Asks the program at this process's own path whether it would start with the settings as they are now. Blocks
/// until it has answered.
///
/// # Errors
/// What it says, or why it cannot be asked.
pub(crate) fn check() -> Result<(), String> {
    // What it says is for the log, where a backtrace is only in the way.
    let run = || successor(&[CHECK])?.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).output();
    let output = run().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => Err(output.status.to_string()),
        said => Err(said.to_owned()),
    }
}

/// Executes the program at this process's own path with its own arguments, passing on these sockets and no other
/// descriptor. Returns only when that fails.
#[must_use]
pub(crate) fn execute_again(listeners: Vec<TcpListener>) -> io::Error {
    let mut command = match successor(&[]) {
        Ok(command) => command,
        Err(error) => return error,
    };
    command
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", listeners.len().to_string());
    let mappings = (FIRST..)
        .zip(listeners)
        .map(|(child_fd, listener)| FdMapping { parent_fd: listener.into(), child_fd })
        .collect();
    // Rust marks what it opens, a C library perhaps not (MariaDB's does not): its sockets would stay open as long as
    // the successor lives, and with them sessions that hold locks. What is mapped is unmarked again.
    close_fds::set_fds_cloexec_threadsafe(FIRST, &[]);
    match command.fd_mappings(mappings) {
        Ok(command) => command.exec(),
        Err(error) => io::Error::other(error),
    }
}
