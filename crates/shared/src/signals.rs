//! The signals that both daemons obey: SIGTERM and SIGINT end them, SIGUSR2 makes them hand over to their successor
//! ([`crate::handover`]), unless that says that it would not start: then all stays as it is.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::handover;

/// SIGUSR2 alone, which ends a process that does not know it: to be heard before anything that takes time. SIGTERM
/// and SIGINT may end a daemon at once until it serves.
///
/// # Errors
/// When the signal cannot be heard, or there is no runtime.
pub fn hear_hand_over() -> io::Result<Signal> {
    signal(SignalKind::user_defined2())
}

/// All three.
#[derive(Debug)]
pub struct Signals {
    hand_over: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// Whether the process has been told to end, which counts until the successor is executed.
    ended: Arc<AtomicBool>,
}

/// A successor is to take over, once everything has ended.
#[derive(Debug)]
#[must_use]
pub struct HandOver(Arc<AtomicBool>);

impl Signals {
    /// Hears SIGTERM and SIGINT, too.
    ///
    /// # Errors
    /// When the signals cannot be heard, or there is no runtime.
    pub fn listen(hand_over: Signal) -> io::Result<Self> {
        let ended = Arc::<AtomicBool>::default();
        for number in [SIGTERM, SIGINT] {
            signal_hook::flag::register(number, Arc::clone(&ended))?;
        }
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { hand_over, terminate, interrupt, ended })
    }

    /// Waits until the daemon is to end; `None`: for good.
    pub async fn ending(&mut self) -> Option<HandOver> {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hand_over.recv() => {}
            }
            let checked = tokio::select! {
                biased;
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                checked = check() => checked,
            };
            match checked {
                Ok(()) => {
                    tracing::info!("handing over");
                    return Some(HandOver(Arc::clone(&self.ended)));
                }
                Err(reason) => {
                    tracing::error!(
                        reason,
                        "no hand-over: the program at this process's path would not start; this process goes on as it is"
                    );
                }
            }
        }
    }
}

impl HandOver {
    /// Executes the successor, with these ports; to be called when no runtime is left. Returns when that fails, or
    /// when the process has been told to end meanwhile.
    ///
    /// # Errors
    /// Why the program cannot be executed.
    pub fn execute(self, listeners: Vec<TcpListener>) -> io::Result<()> {
        if self.0.load(Relaxed) { Ok(()) } else { Err(handover::execute_again(listeners)) }
    }
}

/// On a thread that nobody has to wait for.
async fn check() -> Result<(), String> {
    let (sender, answer) = oneshot::channel();
    std::thread::spawn(move || sender.send(handover::check()));
    answer.await.unwrap_or_else(|_| Err("it cannot be asked".into()))
}
