//! The WebSocket port: accepts connections, shakes hands ([`handshake`]), and lets each connection (`connection`)
//! speak one of two languages ([`native`], [`wamp`]). What needs an answer from the hub goes to the connection's shard; all that is
//! sent goes through the connection's [`Outlet`].
//!
//! One task a connection, which sleeps unless the client speaks or its queue moves.

mod connection;
pub mod frames;
pub mod handshake;
pub mod native;
pub mod wamp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::config::Push;
use chaffer_shared::time;
use chaffer_shared::token::{Claims, TokenError, TokenKeys};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::accept::Acceptor;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::throttle::Throttle;
use connection::Connection;
use frames::close_code;
use handshake::{Failure, Protocol, Upgrade};

/// How long a connection may take to end.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections share.
pub struct Clients {
    config: Push,
    patterns: wamp::Patterns,
    tokens: TokenKeys,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    throttle: Throttle,
}

impl Clients {
    /// Made at start.
    #[must_use]
    pub fn new(
        config: &Push,
        tokens: TokenKeys,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: config.clone(),
            patterns: wamp::Patterns::new(&config.legacy_topics),
            tokens,
            hub,
            metrics,
            throttle: Throttle::default(),
        })
    }

    /// Accepts clients until `stop`. The connections live on in `tasks` until the hub closes them.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        let mut acceptor = Acceptor::new(listener, "websocket", stop.clone());
        while let Some((stream, address)) = acceptor.accept().await {
            self.metrics.sockets_accepted.increment();
            let (clients, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                clients.metrics.sockets.increment();
                clients.serve(stream, address, &stop).await;
                clients.metrics.sockets.decrement();
            });
        }
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, stop: &CancellationToken) {
        // Boxed, because the task keeps room for its largest step for life.
        let shaken = Box::pin(async {
            tokio::select! {
                shaken = self.shake(stream, address) => shaken,
                () = stop.cancelled() => None,
            }
        });
        let Some((stream, upgrade)) = shaken.await else { return };
        let Some(seat) = self.hub.seat() else { return };
        let outlet = Outlet::new(stream, self.config.client_queue_bytes, self.metrics.clone());
        let mut connection = Connection::new(self, outlet, seat, upgrade.rest);
        match upgrade.protocol {
            Protocol::Native => connection.speak_native(upgrade.bearer, stop).await,
            Protocol::Wamp => connection.speak_wamp().await,
            #[cfg(feature = "echo")]
            Protocol::Echo => connection.echo().await,
        }
        Box::pin(connection.end()).await;
    }

    async fn shake(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TcpStream, Upgrade)> {
        let limit = Duration::from_secs(self.config.handshake_seconds);
        let _ = stream.set_nodelay(true);
        let read = timeout(limit, handshake::read(&mut stream, &self.config.allowed_origins)).await;
        let reason = match read {
            Ok(Ok(upgrade)) => {
                return match timeout(limit, handshake::accept(&mut stream, &upgrade)).await {
                    Ok(Ok(())) => Some((stream, upgrade)),
                    _ => None,
                };
            }
            Ok(Err(Failure::Gone)) => return None,
            Ok(Err(Failure::Refused(refusal))) => {
                let _ = timeout(LINGER, handshake::refuse(&mut stream, &refusal)).await;
                refusal.status
            }
            Err(_) => "timeout",
        };
        self.metrics.handshakes_refused.increment();
        if let Some(suppressed) = self.throttle.permit(address.ip(), reason) {
            warn!(%address, reason, suppressed, "a WebSocket handshake was refused");
        }
        None
    }

    /// Checks a token; on failure, how to close.
    fn verify(&self, token: &str) -> Result<Claims, (u16, String)> {
        match self.tokens.verify(token, time::now()) {
            // The hub keeps the claims for as long as the connection lives: without what nobody asks for again.
            Ok(claims) => {
                Ok(Claims { iss: String::new(), aud: String::new(), jti: String::new(), ..claims })
            }
            Err(error @ TokenError::Expired) => Err((close_code::EXPIRED, error.to_string())),
            Err(error) => Err((close_code::UNAUTHENTICATED, error.to_string())),
        }
    }
}
