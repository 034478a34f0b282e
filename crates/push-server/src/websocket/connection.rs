//! One client from its first frame to its end: reads what it says, natively or in WAMP v1, and sees that nothing
//! stays behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chaffer_shared::time;
use chaffer_shared::token::Bearer;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::frames::close_code;
use super::handshake::Protocol;
use super::reader::Reader;
use super::{Clients, LINGER, native, wamp};
use crate::gate::Ticket;
use crate::hub::{Command, Hearers, NativeJoin, Published, Seat, SessionId, close_for_restart};
use crate::metrics::Limited;
use crate::outlet::{Attention, Outlet, Phase};

/// The most of a topic that a line of the log shows.
const MAX_LOGGED_BYTES: usize = 100;

/// What a client sent.
enum Said {
    Text(tungstenite::Utf8Bytes),
    Binary(
        #[cfg_attr(not(feature = "echo"), expect(dead_code, reason = "no language has any"))] Bytes,
    ),
}

/// What a client speaks, and what there is to remember of it.
#[derive(Default)]
enum Language {
    /// None yet, or the connection is ending.
    #[default]
    None,
    /// The native protocol; who it is.
    Native(Bearer, String),
    /// WAMP v1; its session, and what it abbreviates.
    Wamp(SessionId, Box<wamp::Prefixes>),
    /// None any more: it has been told why, and this is its place among those who may take their time to go.
    Farewell(#[expect(dead_code, reason = "held until the end")] OwnedSemaphorePermit),
    /// Says back what it hears: a language of tests.
    #[cfg(feature = "echo")]
    Echo,
}

/// One client.
pub(super) struct Connection {
    clients: Arc<Clients>,
    language: Language,
    outlet: Arc<Outlet>,
    reader: Reader,
    /// What comes next is no longer WebSocket: tungstenite must not read on after an error.
    broken: bool,
    seat: Seat,
    ticket: Ticket,
}

impl Connection {
    /// Takes over once hands are shaken; `rest` is what the client sent behind its request.
    pub(super) fn new(
        clients: Arc<Clients>,
        outlet: Arc<Outlet>,
        seat: Seat,
        ticket: Ticket,
        rest: Vec<u8>,
    ) -> Self {
        Self {
            clients,
            language: Language::None,
            outlet,
            reader: Reader::new(rest),
            broken: false,
            seat,
            ticket,
        }
    }

    /// The next message; `None` when the connection is ending. May be dropped and called again.
    async fn next(&mut self) -> Option<Said> {
        loop {
            // A client that never pauses must not keep others from this thread.
            tokio::task::coop::consume_budget().await;
            if self.outlet.phase() != Phase::Open {
                return None;
            }
            match self.reader.read(&self.outlet) {
                Ok(tungstenite::Message::Text(text)) => return Some(Said::Text(text)),
                Ok(tungstenite::Message::Binary(bytes)) => return Some(Said::Binary(bytes)),
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

    fn fail(&mut self, error: &tungstenite::Error) {
        self.broken = true;
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

    /// Learns who it is, as far as its language knows of that.
    pub(super) async fn begin(
        &mut self,
        protocol: Protocol,
        bearer: Option<String>,
        stop: &CancellationToken,
    ) {
        self.language = match protocol {
            Protocol::Native => match self.identify(bearer, stop).await {
                Some((kind, sub)) => Language::Native(kind, sub),
                None => return,
            },
            Protocol::Wamp => Language::Wamp(SessionId::random(), Box::default()),
            #[cfg(feature = "echo")]
            Protocol::Echo => return self.language = Language::Echo,
        };
        // In WAMP nobody can authenticate, so its place is that of one who has.
        if !self.ticket.welcome() {
            return self.give_way(Limited::Unauthenticated);
        }
        if let Language::Wamp(session, _) = self.language {
            self.outlet.send(&wamp::welcome(&session.to_string()));
            self.tell(Command::JoinLegacy(self.seat.id, self.outlet.clone(), session)).await;
        }
    }

    /// Listens to it until it has ended.
    ///
    /// A task keeps room for its largest step for life, and there are many that do nothing but wait here; so all
    /// that passes is boxed.
    pub(super) async fn live(mut self) {
        while let Some(said) = self.next().await {
            Box::pin(self.hear(said)).await;
        }
        Box::pin(self.end()).await;
    }

    async fn hear(&mut self, said: Said) {
        let mut language = std::mem::take(&mut self.language);
        match (&mut language, said) {
            (Language::None | Language::Farewell(_), _) => {}
            (Language::Native(kind, sub), said) => self.answer(said, (*kind, sub)).await,
            (Language::Wamp(session, prefixes), Said::Text(text)) => match wamp::parse(&text) {
                Ok(message) => self.obey(message, prefixes, *session).await,
                Err(error) => self.outlet.close(close_code::INVALID, &error.to_string()),
            },
            (Language::Wamp(..), Said::Binary(_)) => {
                self.outlet.close(close_code::UNSUPPORTED, "WAMP v1 is text");
            }
            #[cfg(feature = "echo")]
            (Language::Echo, Said::Text(text)) => {
                self.outlet.send(&super::frames::text(&[text.as_str()]));
            }
            #[cfg(feature = "echo")]
            (Language::Echo, Said::Binary(bytes)) => {
                self.outlet.send(&super::frames::binary(&bytes));
            }
        }
        self.language = language;
    }

    async fn answer(&self, said: Said, identity: (Bearer, &str)) {
        let Some(message) = self.understand(&said) else { return };
        match message {
            native::Message::Ping => self.outlet.send(&native::pong()),
            native::Message::Auth { .. } => {
                let detail = "this connection is authenticated: use `refresh`";
                self.outlet.send(&native::error("already_authenticated", detail));
            }
            native::Message::Refresh { token } => self.refresh(&token, identity).await,
            native::Message::Watch { grant } => self.watch(&grant, identity).await,
            native::Message::Subscribe { topic } if self.may_hear(&topic) => {
                self.tell(Command::Subscribe(self.seat.id, topic)).await;
            }
            native::Message::Subscribe { .. } => {
                let detail = "the topic is not among push.legacy_topics";
                self.outlet.send(&native::error("topic_not_allowed", detail));
            }
            native::Message::Unsubscribe { topic } => {
                self.tell(Command::Unsubscribe(self.seat.id, topic)).await;
            }
        }
    }

    /// Says who it is, once it has joined; `None` when the connection is ending.
    async fn identify(
        &mut self,
        bearer: Option<String>,
        stop: &CancellationToken,
    ) -> Option<(Bearer, String)> {
        if let Some(token) = bearer {
            return self.join(&token, None).await;
        }
        let limit = Duration::from_secs(self.clients.config.auth_seconds);
        let evicted = self.ticket.evicted();
        tokio::select! {
            identity = timeout(limit, self.authenticate()) => identity.unwrap_or_else(|_| {
                self.outlet.close(close_code::UNAUTHENTICATED, "no `auth` in time");
                None
            }),
            why = evicted => {
                self.give_way(why);
                None
            }
            () = stop.cancelled() => {
                close_for_restart(&self.outlet, self.clients.config.restart_spread_ms);
                None
            }
        }
    }

    /// Others need its place more. It is told so unless many are being told: its place at the gate is free already, so
    /// the time that it takes to go counts here.
    fn give_way(&mut self, why: Limited) {
        self.clients.count_limited(self.ticket.address(), why);
        let Ok(permit) = self.clients.told.clone().try_acquire_owned() else {
            return self.outlet.abort();
        };
        self.language = Language::Farewell(permit);
        self.outlet
            .close(close_code::TRY_AGAIN_LATER, "too many connections that do not authenticate");
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
            Said::Binary(_) => Err(native::Problem::Malformed),
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
        let session = SessionId::random();
        debug!(connection = self.seat.id, %session, "authenticated");
        let join = Box::new(NativeJoin { claims, after, session });
        self.tell(Command::JoinNative(self.seat.id, self.outlet.clone(), join)).await;
        Some(identity)
    }

    async fn refresh(&self, token: &str, identity: (Bearer, &str)) {
        match self.clients.verify(token) {
            Ok(claims) if (claims.kind, claims.sub.as_str()) == identity => {
                self.tell(Command::Refresh(self.seat.id, Box::new(claims))).await;
            }
            Ok(_) => self.outlet.close(close_code::UNAUTHENTICATED, "the token is another user's"),
            Err((code, reason)) => self.outlet.close(code, &reason),
        }
    }

    async fn watch(&self, grant: &str, identity: (Bearer, &str)) {
        match self.clients.tokens.verify_grant(grant, time::now()) {
            Ok(grant) if grant.sub == identity.1 => {
                self.tell(Command::Watch(self.seat.id, Box::new(grant))).await;
            }
            Ok(_) => {
                let detail = "the grant is another user's";
                self.outlet.send(&native::error("invalid_grant", detail));
            }
            Err(error) => self.outlet.send(&native::error("invalid_grant", &error.to_string())),
        }
    }

    async fn obey(
        &self,
        message: wamp::Message,
        prefixes: &mut wamp::Prefixes,
        session: SessionId,
    ) {
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
                if self.may_hear(&topic) {
                    self.tell(Command::Subscribe(self.seat.id, topic)).await;
                }
            }
            wamp::Message::Unsubscribe(topic) => {
                let topic = prefixes.expand(topic);
                self.tell(Command::Unsubscribe(self.seat.id, topic)).await;
            }
            wamp::Message::Publish(publication) => {
                self.publish(publication, prefixes, session).await;
            }
        }
    }

    async fn publish(
        &self,
        publication: wamp::Publication,
        prefixes: &wamp::Prefixes,
        session: SessionId,
    ) {
        let wamp::Publication { topic, event, exclude, eligible } = publication;
        let topic = prefixes.expand(topic);
        // WAMP v1 knows no answer to it.
        if !self.is_allowed(&self.clients.publishable, "push.legacy_publish_topics", &topic) {
            return;
        }
        let sessions = |names: Vec<String>| {
            names.iter().filter_map(|name| SessionId::parse(name)).collect::<Vec<_>>()
        };
        let hearers = Hearers {
            exclude: match exclude {
                wamp::Exclude::Me => vec![session],
                wamp::Exclude::Nobody => Vec::new(),
                wamp::Exclude::These(names) => sessions(names),
            },
            eligible: eligible.map(sessions),
        };
        self.clients.metrics.legacy_events.increment();
        let published = Arc::new(Published::legacy_to(topic, &event, hearers));
        self.clients.hub.deliver(published).await;
    }

    /// Whether the operator lets clients hear the legacy topic; refusals are counted.
    fn may_hear(&self, topic: &str) -> bool {
        self.is_allowed(&self.clients.patterns, "push.legacy_topics", topic)
    }

    fn is_allowed(&self, patterns: &wamp::Patterns, setting: &'static str, topic: &str) -> bool {
        let allowed = patterns.allow(topic);
        if !allowed {
            self.clients.metrics.legacy_refused.increment();
            let address = self.ticket.address();
            if let Some(suppressed) = self.clients.throttle.permit(address, setting) {
                let topic = topic.get(..topic.floor_char_boundary(MAX_LOGGED_BYTES));
                warn!(%address, ?topic, setting, suppressed, "a client asked for a topic that the setting does not list");
            }
        }
        allowed
    }

    async fn tell(&self, command: Command) {
        if !self.seat.tell(command).await {
            close_for_restart(&self.outlet, self.clients.config.restart_spread_ms);
        }
    }

    /// Leaves the hub, sees the close frame out, and gives the peer a moment to close its side: closing the
    /// socket with bytes unread would reset it, and the close frame with it.
    pub(super) async fn end(self) {
        let Self { outlet, mut reader, broken, seat, .. } = self;
        drop(seat);
        if outlet.phase() == Phase::Aborted {
            return;
        }
        let farewell = async {
            outlet.flushed().await;
            while !broken && outlet.phase() != Phase::Aborted {
                match reader.read(&outlet) {
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
        let _ = timeout(LINGER, farewell).await;
    }
}
