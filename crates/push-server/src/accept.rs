//! Accepting connections, whatever happens: used by all three ports.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The pause after an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection; `None` once the daemon stops.
///
/// Errors never end it: those of one connection (it was reset before we came to it) pass, and when the process
/// is out of descriptors, waiting is all that helps.
pub async fn accept(
    listener: &TcpListener,
    stop: &CancellationToken,
    port: &'static str,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => {
                error!(%error, port, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}
