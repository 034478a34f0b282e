//! Accepting connections, whatever happens: used by all three ports.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The pause after an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How often such an error is logged while it lasts.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// One port.
pub struct Acceptor {
    listener: TcpListener,
    port: &'static str,
    stop: CancellationToken,
    complained: Option<Instant>,
}

impl Acceptor {
    /// Accepts until `stop`; `port` names it in the log.
    #[must_use]
    pub fn new(listener: TcpListener, port: &'static str, stop: CancellationToken) -> Self {
        Self { listener, port, stop, complained: None }
    }

    /// The next connection; `None` once the daemon stops.
    ///
    /// Errors never end it: those of one connection (it was reset before we came to it) pass, and when the
    /// process is out of descriptors, waiting is all that helps.
    pub async fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                        self.complained = Some(Instant::now());
                        error!(%error, port = self.port, "cannot accept connections; trying again");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
