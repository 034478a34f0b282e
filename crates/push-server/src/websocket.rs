//! The WebSocket port: accepts connections, shakes hands ([`handshake`]), and reads what clients say in one of two
//! languages ([`native`], [`wamp`]). What needs an answer from the hub goes to the connection's shard; all that is
//! sent goes through the connection's [`Outlet`].
//!
//! One task a connection, which sleeps unless the client speaks or its queue moves.

pub mod frames;
pub mod handshake;
pub mod native;
pub mod wamp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::config::Push;
use chaffer_shared::time;
use chaffer_shared::token::{Bearer, Claims, TokenError, TokenKeys};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::accept::accept;
use crate::hub::{Command, Hub, NativeJoin, Seat, close_for_restart};
use crate::metrics::Metrics;
use crate::outlet::{Attention, Outlet, Phase, TungsteniteIo};
use crate::throttle::Throttle;
use frames::close_code;
use handshake::{Failure, Protocol, Upgrade};

/// The longest message of a client: a token or a grant, with room to spare.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Kept by every connection, so small; longer messages are read in pieces.
const READ_BUFFER_BYTES: usize = 512;

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

/// What a client sent.
enum Said {
    Text(tungstenite::Utf8Bytes),
    Binary,
}

/// One client.
struct Connection<'c> {
    clients: &'c Clients,
    outlet: Arc<Outlet>,
    context: WebSocketContext,
    seat: Seat,
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
        while let Some((stream, address)) = accept(&listener, &stop, "websocket").await {
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
        let shaken = tokio::select! {
            shaken = Box::pin(self.shake(stream, address)) => shaken,
            () = stop.cancelled() => None,
        };
        let Some((stream, upgrade)) = shaken else { return };
        let Some(seat) = self.hub.seat() else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let mut connection = Connection {
            clients: self,
            outlet: Outlet::new(stream, self.config.client_queue_bytes, self.metrics.clone()),
            context: WebSocketContext::from_partially_read(
                upgrade.rest,
                Role::Server,
                Some(config),
            ),
            seat,
        };
        match upgrade.protocol {
            Protocol::Native => connection.speak_native(upgrade.bearer, stop).await,
            Protocol::Wamp => connection.speak_wamp().await,
        }
        connection.end().await;
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

impl Connection<'_> {
    /// The next message; `None` when the connection is ending. May be dropped and called again.
    async fn next(&mut self) -> Option<Said> {
        loop {
            // A client that never pauses must not keep others from this thread.
            tokio::task::coop::consume_budget().await;
            if self.outlet.phase() != Phase::Open {
                return None;
            }
            match self.context.read(&mut TungsteniteIo(&self.outlet)) {
                Ok(tungstenite::Message::Text(text)) => return Some(Said::Text(text)),
                Ok(tungstenite::Message::Binary(_)) => return Some(Said::Binary),
                Ok(tungstenite::Message::Close(frame)) => {
                    self.outlet.answer_close(frame.map(|frame| frame.code.into()));
                    return None;
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    if self.outlet.attention().await == Attention::Ended {
                        return None;
                    }
                }
                Err(error) => {
                    self.fail(&error);
                    return None;
                }
            }
        }
    }

    fn fail(&self, error: &tungstenite::Error) {
        use tungstenite::Error::{Capacity, Protocol, Utf8};
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        match error {
            Protocol(ResetWithoutClosingHandshake) => self.outlet.abort(),
            Protocol(error) => self.outlet.close(close_code::PROTOCOL, &error.to_string()),
            Utf8(_) => self.outlet.close(close_code::INVALID, "not UTF-8"),
            Capacity(_) => self.outlet.close(close_code::TOO_BIG, "over 64 KiB"),
            _ => self.outlet.abort(),
        }
    }

    async fn speak_native(&mut self, bearer: Option<String>, stop: &CancellationToken) {
        let limit = Duration::from_secs(self.clients.config.auth_seconds);
        let identity = match bearer {
            Some(token) => self.join(&token, None).await,
            None => tokio::select! {
                // Boxed, because it ends long before the connection does.
                identity = Box::pin(timeout(limit, self.authenticate())) => {
                    identity.unwrap_or_else(|_| {
                        self.outlet.close(close_code::UNAUTHENTICATED, "no `auth` in time");
                        None
                    })
                }
                () = stop.cancelled() => {
                    close_for_restart(&self.outlet, self.clients.config.restart_spread_ms);
                    None
                }
            },
        };
        let Some(identity) = identity else { return };
        while let Some(said) = self.next().await {
            let Some(message) = self.understand(&said) else { continue };
            match message {
                native::Message::Ping => self.outlet.send(&native::pong()),
                native::Message::Auth { .. } => {
                    let detail = "this connection is authenticated: use `refresh`";
                    self.outlet.send(&native::error("already_authenticated", detail));
                }
                native::Message::Refresh { token } => self.refresh(&token, &identity).await,
                native::Message::Watch { grant } => self.watch(&grant, &identity).await,
            }
        }
    }

    /// Waits for `auth`; `None` when the connection is ending.
    async fn authenticate(&mut self) -> Option<(Bearer, String)> {
        while let Some(said) = self.next().await {
            let Some(message) = self.understand(&said) else { continue };
            match message {
                native::Message::Ping => self.outlet.send(&native::pong()),
                native::Message::Auth { token, after } => return self.join(&token, after).await,
                _ => self.outlet.close(close_code::BAD_MESSAGE, "the first message must be `auth`"),
            }
        }
        None
    }

    /// What a message says; problems are answered here.
    fn understand(&self, said: &Said) -> Option<native::Message> {
        let parsed = match said {
            Said::Text(text) => native::parse(text),
            Said::Binary => Err(native::Problem::Malformed),
        };
        match parsed {
            Ok(message) => Some(message),
            Err(native::Problem::Error { code, detail }) => {
                self.outlet.send(&native::error(code, &detail));
                None
            }
            Err(native::Problem::Malformed) => {
                self.outlet.close(close_code::BAD_MESSAGE, "messages are JSON objects, as text");
                None
            }
        }
    }

    /// Joins the hub with a token, and says who it is; on failure the connection is closing.
    async fn join(&self, token: &str, after: Option<i64>) -> Option<(Bearer, String)> {
        let claims = match self.clients.verify(token) {
            Ok(claims) => claims,
            Err((code, reason)) => {
                self.outlet.close(code, &reason);
                return None;
            }
        };
        let identity = (claims.kind, claims.sub.clone());
        let session = session_id();
        debug!(connection = self.seat.id, session, "authenticated");
        let join = Box::new(NativeJoin { claims, after, session });
        self.tell(Command::JoinNative(self.seat.id, self.outlet.clone(), join)).await;
        Some(identity)
    }

    async fn refresh(&self, token: &str, identity: &(Bearer, String)) {
        match self.clients.verify(token) {
            Ok(claims) if (claims.kind, &claims.sub) == (identity.0, &identity.1) => {
                self.tell(Command::Refresh(self.seat.id, Box::new(claims))).await;
            }
            Ok(_) => self.outlet.close(close_code::UNAUTHENTICATED, "the token is another user's"),
            Err((code, reason)) => self.outlet.close(code, &reason),
        }
    }

    async fn watch(&self, grant: &str, identity: &(Bearer, String)) {
        match self.clients.tokens.verify_grant(grant, time::now()) {
            Ok(grant) if grant.sub == identity.1 => {
                let until = chrono::DateTime::from_timestamp(grant.exp, 0).unwrap_or_default();
                self.tell(Command::Watch(self.seat.id, grant.users, until)).await;
            }
            Ok(_) => {
                let detail = "the grant is another user's";
                self.outlet.send(&native::error("invalid_grant", detail));
            }
            Err(error) => self.outlet.send(&native::error("invalid_grant", &error.to_string())),
        }
    }

    async fn speak_wamp(&mut self) {
        self.outlet.send(&wamp::welcome(&session_id()));
        self.tell(Command::JoinLegacy(self.seat.id, self.outlet.clone())).await;
        let mut prefixes = wamp::Prefixes::default();
        while let Some(said) = self.next().await {
            let message = match &said {
                Said::Text(text) => wamp::parse(text),
                Said::Binary => {
                    self.outlet.close(close_code::UNSUPPORTED, "WAMP v1 is text");
                    continue;
                }
            };
            match message {
                Ok(message) => self.obey(message, &mut prefixes).await,
                Err(error) => self.outlet.close(close_code::INVALID, &error.to_string()),
            }
        }
    }

    async fn obey(&self, message: wamp::Message, prefixes: &mut wamp::Prefixes) {
        match message {
            wamp::Message::Prefix { prefix, uri } => {
                if !prefixes.define(prefix, uri) {
                    self.outlet.close(close_code::POLICY, "too many or too long prefixes");
                }
            }
            wamp::Message::Call { id, procedure } => {
                self.outlet.send(&wamp::call_error(&id, &procedure));
            }
            wamp::Message::Subscribe(topic) => {
                let topic = prefixes.expand(topic);
                if self.clients.patterns.allow(&topic) {
                    self.tell(Command::Subscribe(self.seat.id, topic)).await;
                } else {
                    self.clients.metrics.legacy_refused.increment();
                }
            }
            wamp::Message::Unsubscribe(topic) => {
                let topic = prefixes.expand(topic);
                self.tell(Command::Unsubscribe(self.seat.id, topic)).await;
            }
            // No setting allows it for any topic yet, and WAMP v1 knows no answer to it.
            wamp::Message::Publish(_) => self.clients.metrics.legacy_refused.increment(),
        }
    }

    async fn tell(&self, command: Command) {
        if !self.seat.tell(command).await {
            close_for_restart(&self.outlet, self.clients.config.restart_spread_ms);
        }
    }

    /// Leaves the hub, sees the close frame out, and gives the peer a moment to close its side: closing the
    /// socket with bytes unread would reset it, and the close frame with it.
    async fn end(self) {
        let Self { outlet, mut context, seat, .. } = self;
        drop(seat);
        if outlet.phase() == Phase::Aborted {
            return;
        }
        let farewell = async {
            outlet.flushed().await;
            while outlet.phase() != Phase::Aborted {
                match context.read(&mut TungsteniteIo(&outlet)) {
                    Ok(tungstenite::Message::Close(_)) => return,
                    Ok(_) => {}
                    Err(tungstenite::Error::Io(error))
                        if error.kind() == std::io::ErrorKind::WouldBlock =>
                    {
                        outlet.readable().await;
                    }
                    Err(_) => break,
                }
            }
            // No longer WebSocket, or never was.
            let mut rest = [0; 512];
            loop {
                match outlet.try_read(&mut rest) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        outlet.readable().await;
                    }
                    Err(_) => return,
                }
            }
        };
        let _ = Box::pin(timeout(LINGER, farewell)).await;
    }
}

/// 128 random bits: nobody can guess another's.
fn session_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
