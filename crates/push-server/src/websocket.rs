//! The WebSocket port: accepts connections, shakes hands ([`handshake`]), and lets each connection (`connection`)
//! speak one of two languages ([`native`], [`wamp`]). What needs an answer from the hub goes to the connection's shard; all that is
//! sent goes through the connection's [`Outlet`].
//!
//! One task a connection, which sleeps unless the client speaks or its queue moves.

mod connection;
pub mod frames;
pub mod handshake;
pub mod native;
mod reader;
pub mod wamp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::config::Push;
use chaffer_shared::time;
use chaffer_shared::token::{Claims, TokenError, TokenKeys};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::accept::Acceptor;
use crate::gate::{Gate, Ticket};
use crate::hub::Hub;
use crate::metrics::{Limited, Metrics};
use crate::outlet::Outlet;
use crate::throttle::Throttle;
use connection::Connection;
use frames::close_code;
use handshake::{Rules, Upgrade};
pub use reader::context;

/// How long a connection may take to end.
const LINGER: Duration = Duration::from_secs(2);

/// So many of those that are turned away at the door are told why; in a flood of more, the rest is just closed.
const TOLD_AT_ONCE: usize = 128;

/// What all connections share.
pub struct Clients {
    config: Push,
    /// What legacy clients may hear, and what they may publish.
    patterns: wamp::Patterns,
    publishable: wamp::Patterns,
    tokens: TokenKeys,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    throttle: Throttle,
    gate: Arc<Gate>,
    told: Arc<Semaphore>,
}

impl Clients {
    /// Made at start.
    #[must_use]
    pub fn new(
        config: &Push,
        tokens: TokenKeys,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: config.clone(),
            patterns: wamp::Patterns::new(&config.legacy_topics),
            publishable: wamp::Patterns::new(&config.legacy_publish_topics),
            tokens,
            hub,
            metrics,
            throttle: Throttle::default(),
            gate,
            told: Arc::new(Semaphore::new(TOLD_AT_ONCE)),
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
            let ticket = match self.gate.admit(address.ip()) {
                Ok(ticket) => ticket,
                Err(why) => {
                    self.turn_away(stream, address.ip(), why, &tasks);
                    continue;
                }
            };
            // Boxed here rather than in the task, which keeps room for its largest step for life.
            let entering = Box::pin(self.clone().enter(stream, address.ip(), ticket, stop.clone()));
            let clients = self.clone();
            tasks.spawn(async move {
                let _open = clients.metrics.sockets.hold();
                let connection = entering.await;
                if let Some(connection) = connection {
                    connection.live().await;
                }
            });
        }
    }

    /// Shakes hands and learns who it is; `None` when there is nobody to say goodbye to.
    async fn enter(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        ticket: Ticket,
        stop: CancellationToken,
    ) -> Option<Connection> {
        let shaken = tokio::select! {
            shaken = self.shake(stream, peer, ticket) => shaken,
            () = stop.cancelled() => None,
        };
        let (stream, upgrade, ticket) = shaken?;
        let seat = self.hub.seat()?;
        let outlet = Outlet::new(stream, self.config.client_queue_bytes, self.metrics.clone());
        let mut connection = Connection::new(self, outlet, seat, ticket, upgrade.rest);
        connection.begin(upgrade.protocol, upgrade.bearer, &stop).await;
        Some(connection)
    }

    /// Shakes hands; `None` when the connection is over.
    async fn shake(
        &self,
        mut stream: TcpStream,
        peer: IpAddr,
        mut ticket: Ticket,
    ) -> Option<(TcpStream, Upgrade, Ticket)> {
        let limit = Duration::from_secs(self.config.handshake_seconds);
        let _ = stream.set_nodelay(true);
        let rules = Rules {
            allowed_origins: &self.config.allowed_origins,
            proxies: self.gate.proxies(),
            peer,
        };
        let read = tokio::select! {
            // First: one that has said something by now need not give way.
            biased;
            read = timeout(limit, handshake::read(&mut stream, &rules)) => read,
            why = ticket.evicted() => {
                self.count_limited(ticket.address(), why);
                self.tell(&mut stream, why).await;
                return None;
            }
        };
        let Ok(request) = read else {
            self.complain(peer, "timeout");
            return None;
        };
        let request = request?;
        if let Err(why) = ticket.belongs_to(request.client) {
            self.count_limited(request.client, why);
            // Being told takes a moment, and its place is free at once.
            drop(ticket);
            self.tell(&mut stream, why).await;
            return None;
        }
        match request.verdict {
            Ok(upgrade) => {
                let answered = timeout(limit, handshake::accept(&mut stream, &upgrade)).await;
                matches!(answered, Ok(Ok(()))).then_some((stream, upgrade, ticket))
            }
            Err(refusal) => {
                self.complain(request.client, refusal.status);
                let _ = timeout(LINGER, handshake::refuse(&mut stream, &refusal)).await;
                None
            }
        }
    }

    /// Closes a connection that may not even begin; it is told why unless many are.
    fn turn_away(
        self: &Arc<Self>,
        mut stream: TcpStream,
        peer: IpAddr,
        why: Limited,
        tasks: &TaskTracker,
    ) {
        self.count_limited(peer, why);
        if self.told.available_permits() == 0 {
            return;
        }
        let clients = self.clone();
        tasks.spawn(async move { clients.tell(&mut stream, why).await });
    }

    /// Answers one that a limit turned away, unless many are being answered.
    async fn tell(&self, stream: &mut TcpStream, why: Limited) {
        let Ok(_permit) = self.told.try_acquire() else { return };
        let _ = timeout(LINGER, handshake::refuse(stream, &handshake::limited(why))).await;
    }

    fn complain(&self, client: IpAddr, reason: &'static str) {
        self.metrics.handshakes_refused.increment();
        if let Some(suppressed) = self.throttle.permit(client, reason) {
            warn!(address = %client, reason, suppressed, "a WebSocket handshake was refused");
        }
    }

    fn count_limited(&self, client: IpAddr, why: Limited) {
        self.metrics.count_limited(why);
        let reason = why.reason();
        if let Some(suppressed) = self.throttle.permit(client, reason) {
            warn!(address = %client, reason, suppressed, "a limit turned a WebSocket connection away");
        }
    }

    /// Checks a token; on failure, how to close.
    fn verify(&self, token: &str) -> Result<Claims, (u16, String)> {
        match self.tokens.verify(token, time::now()) {
            // The hub keeps the claims for as long as the connection lives: without what nobody asks for again.
            Ok(claims) => Ok(Claims {
                iss: String::new(),
                aud: String::new(),
                jti: String::new(),
                profile: None,
                ..claims
            }),
            Err(error @ TokenError::Expired) => Err((close_code::EXPIRED, error.to_string())),
            Err(error) => Err((close_code::UNAUTHENTICATED, error.to_string())),
        }
    }
}
