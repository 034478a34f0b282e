//! The pusher port: whoever connects and PUSHes. One task a peer turns bytes into messages ([`crate::zmtp`]),
//! checks each message and hands the good ones to [`crate::repair`]; the rest is counted and logged.
//!
//! The port is always drained, between two batches that the hub's first shard writes on the same thread: a shop's checkout page
//! must never wait for a slow browser, so what cannot be passed on quickly enough is let go. Stored events that are lost this way
//! are repaired from the API.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chaffer_shared::config::Push;
use chaffer_shared::event::Frame;
use chaffer_shared::link::{LinkKeys, MAGIC};
use rustix::net::sockopt;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::accept::Acceptor;
use crate::gate::{Gate, Ticket};
use crate::hub::Published;
use crate::metrics::{Dropped, Limited, Metrics, Refused};
use crate::repair::{Incoming, Waiting};
use crate::throttle::Throttle;
use crate::websocket::wamp::Patterns;
use crate::zmtp::{self, OPENING, Peer, ZmtpError};

/// So many messages, and so many bytes of them, may wait to be passed on.
const WAITING_MESSAGES: usize = 262_144;
const WAITING_BYTES: usize = 64 << 20;

/// Room for a read: little for peers that send little.
const SMALL_READ: usize = 4096;
const LARGE_READ: usize = 65536;

/// The most of a topic that a line of the log shows.
const MAX_LOGGED_BYTES: usize = 100;

/// When the daemon stops, a peer that has nothing more to say for so long is let go.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// After an error a peer gets this long to take our last words.
const FAREWELL: Duration = Duration::from_secs(1);

/// After so long a silence a peer is probed, so often and so many times; one that never answers is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_PROBE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 6;

/// What all peers share.
pub struct Intake {
    keys: LinkKeys,
    topic_key: String,
    topics: Patterns,
    max_frame_bytes: usize,
    handshake: Duration,
    metrics: Arc<Metrics>,
    throttle: Throttle,
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    gate: Arc<Gate>,
}

impl Intake {
    /// Made at start, with the receiver of everything good that comes in.
    #[must_use]
    pub fn new(
        config: &Push,
        keys: LinkKeys,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
    ) -> (Arc<Self>, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
        let intake = Self {
            keys,
            topic_key: config.legacy_topic_key.clone(),
            topics: Patterns::new(&config.legacy_topics),
            max_frame_bytes: config.max_frame_bytes,
            handshake: Duration::from_secs(config.handshake_seconds),
            metrics,
            throttle: Throttle::default(),
            sender,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            gate,
        };
        (Arc::new(intake), receiver)
    }

    /// Accepts peers until `stop`; then lets them finish what they are saying. Returns when all are gone.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let peers = TaskTracker::new();
        let mut acceptor = Acceptor::new(listener, "pusher", stop.clone());
        while let Some((stream, address)) = acceptor.accept().await {
            self.metrics.pushers_accepted.increment();
            let ticket = match self.gate.admit(address.ip()) {
                Ok(ticket) => ticket,
                Err(why) => {
                    self.count_limited(address, why);
                    continue;
                }
            };
            let (intake, stop) = (self.clone(), stop.clone());
            peers.spawn(async move {
                let _open = intake.metrics.pushers.hold();
                intake.serve(stream, address, ticket, &stop).await;
            });
        }
        peers.close();
        peers.wait().await;
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        mut ticket: Ticket,
        stop: &CancellationToken,
    ) {
        let refusal = match self.talk(&mut stream, address, &mut ticket, stop).await {
            Ok(()) => return,
            Err(Ended::Limited(why)) => return self.count_limited(address, why),
            Err(Ended::Gone) => {
                debug!(%address, "a pusher's connection broke");
                return;
            }
            Err(Ended::Refused(refusal)) => refusal,
        };
        let why = refusal.kind();
        self.metrics.count_refused(why);
        self.complain(address, why.reason(), &refusal.to_string());
        // Closing with bytes unread would reset the connection, and our last words with it.
        let farewell = async {
            stream.shutdown().await?;
            let mut rest = [0; 512];
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn talk(
        &self,
        stream: &mut TcpStream,
        address: SocketAddr,
        ticket: &mut Ticket,
        stop: &CancellationToken,
    ) -> Result<(), Ended> {
        let mut peer = Peer::new(self.max_frame_bytes);
        let mut welcome = false;
        let deadline = Instant::now() + self.handshake;
        stream.set_nodelay(true)?;
        keep_alive(stream)?;
        // A peer may say all it has to say and be gone before our first word. What it said still counts, so a
        // failure to write ends nothing: reading goes on to the end.
        let mut deaf = stream.write_all(&OPENING).await.is_err();
        let (mut input, mut replies) = (BytesMut::new(), Vec::new());
        let mut room = SMALL_READ;
        loop {
            input.reserve(room);
            let read = tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline), if !peer.is_ready() => {
                    return Err(Ended::Refused(Refusal::Timeout));
                }
                // Before the next: one that has said something by now need not give way.
                read = stream.read_buf(&mut input) => read?,
                why = ticket.evicted(), if !welcome => return Err(Ended::Limited(why)),
                () = drained(stop) => return Ok(()),
            };
            if read == 0 {
                return Ok(());
            }
            let result = loop {
                match peer.receive(&mut input, &mut replies) {
                    Ok(Some(incoming)) => self.take(incoming, address),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            if !replies.is_empty() && !deaf {
                // A peer that does not read our few words would make us stop reading its own.
                deaf = timeout(self.handshake, stream.write_all(&replies))
                    .await
                    .map_err(|_| Ended::Refused(Refusal::Timeout))?
                    .is_err();
            }
            replies.clear();
            result.map_err(|error| Ended::Refused(Refusal::Zmtp(error)))?;
            if peer.is_ready() && !welcome {
                welcome = true;
                if !ticket.welcome() {
                    return Err(Ended::Limited(Limited::Unauthenticated));
                }
            }
            room = if read >= SMALL_READ { LARGE_READ } else { SMALL_READ };
            if input.is_empty() {
                // An idle peer holds no buffer.
                input = BytesMut::new();
            }
        }
    }

    /// Takes one message: hands it on, or counts why not.
    fn take(&self, incoming: zmtp::Incoming, address: SocketAddr) {
        self.metrics.messages.increment();
        let result = match &incoming {
            zmtp::Incoming::Message(message) => self.read(message).and_then(|incoming| {
                // At least one, so that small messages do not come for nothing.
                let size = u32::try_from(message.len().max(1)).unwrap_or(u32::MAX);
                let room = self.room.clone().try_acquire_many_owned(size);
                let room = room.map_err(|_| (Dropped::Overload, String::new()))?;
                let sent = self.sender.try_send(Waiting(incoming, room));
                sent.map_err(|_| (Dropped::Overload, String::new()))
            }),
            zmtp::Incoming::Multipart => Err((Dropped::Multipart, String::new())),
        };
        if let Err((why, detail)) = result {
            self.metrics.count_dropped(why);
            if let Some(suppressed) = self.throttle.permit(address.ip(), why.reason()) {
                warn!(%address, reason = why.reason(), detail, suppressed, "a message on the pusher port was dropped");
            }
        }
    }

    fn read(&self, message: &Bytes) -> Result<Incoming, (Dropped, String)> {
        if message.is_empty() {
            return Err((Dropped::Empty, String::new()));
        }
        if message.starts_with(b"{") {
            let (topic, payload) = legacy(message, &self.topic_key)?;
            if !self.topics.allow(&topic) {
                let topic = topic.get(..topic.floor_char_boundary(MAX_LOGGED_BYTES));
                let detail =
                    format!("nobody may hear {topic:?}: push.legacy_topics does not list it");
                return Err((Dropped::NotListed, detail));
            }
            return Ok(Incoming::Legacy(Arc::new(Published::legacy(topic, payload))));
        }
        if !message.starts_with(MAGIC) {
            return Err((Dropped::NotAnObject, String::new()));
        }
        let json = self.keys.verify(message);
        let json = json.map_err(|error| (Dropped::WrongSignature, error.to_string()))?;
        let frame = Frame::from_json(json);
        let frame = frame.map_err(|error| (Dropped::InvalidFrame, error.to_string()))?;
        Ok(Incoming::Frame(Box::new(frame)))
    }

    fn count_limited(&self, address: SocketAddr, why: Limited) {
        self.metrics.count_limited(why);
        let reason = why.reason();
        if let Some(suppressed) = self.throttle.permit(address.ip(), reason) {
            warn!(%address, reason, suppressed, "push.max_pushers turned a peer of the pusher port away");
        }
    }

    fn complain(&self, address: SocketAddr, reason: &'static str, detail: &str) {
        if let Some(suppressed) = self.throttle.permit(address.ip(), reason) {
            warn!(%address, reason, detail, suppressed, "a peer of the pusher port was closed");
        }
    }
}

/// Has the kernel find out about a peer whose machine is gone without a word: it may say nothing for days otherwise,
/// and keep its place.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_PROBE)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_PROBES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Waits until the daemon stops and a peer has had a moment to finish.
async fn drained(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_PAUSE).await;
}

/// Why a conversation ended early.
enum Ended {
    Gone,
    Limited(Limited),
    Refused(Refusal),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no complete ZeroMQ handshake in time, or replies not taken")]
    Timeout,
    #[error("{0}")]
    Zmtp(ZmtpError),
}

impl Refusal {
    fn kind(&self) -> Refused {
        match self {
            Self::Timeout => Refused::Timeout,
            Self::Zmtp(ZmtpError::TooLong { .. }) => Refused::TooLong,
            Self::Zmtp(
                ZmtpError::Mechanism(_) | ZmtpError::SocketType(_) | ZmtpError::Version(_),
            ) => Refused::Handshake,
            Self::Zmtp(_) => Refused::Protocol,
        }
    }
}

/// The topic of a legacy message, and the message itself as text, unchanged.
///
/// # Errors
/// Why it is dropped, and what the log says of it.
pub fn legacy<'a>(
    message: &'a [u8],
    topic_key: &str,
) -> Result<(String, &'a str), (Dropped, String)> {
    let text = std::str::from_utf8(message);
    let text = text.map_err(|error| (Dropped::InvalidUtf8, error.to_string()))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let topic = TopicOf(topic_key).deserialize(&mut json);
    let topic = topic.and_then(|topic| json.end().map(|()| topic));
    let topic = topic.map_err(|error| (Dropped::InvalidJson, error.to_string()))?;
    let missing = || (Dropped::NoTopic, format!("no text under the key `{topic_key}`"));
    Ok((topic.ok_or_else(missing)?, text))
}

/// Reads an object through, keeping nothing but the text under one key (the last one, as PHP does).
struct TopicOf<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for TopicOf<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopicOf<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut topic = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == self.0 {
                let value = map.next_value::<&serde_json::value::RawValue>()?;
                topic = serde_json::from_str::<String>(value.get()).ok();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn why(message: &[u8]) -> Dropped {
        legacy(message, "category").unwrap_err().0
    }

    #[test]
    fn the_topic_is_the_text_under_the_key_and_the_message_stays_as_it_is() {
        let message = r#"{"a":[],"category":"kitt\u0435n\/s","t":"\u0436"} "#;
        let expected = ("kitt\u{435}n/s".to_owned(), message);
        assert_eq!(legacy(message.as_bytes(), "category").unwrap(), expected);
        let doubled = br#"{"category":"a","category":"b"}"#;
        assert_eq!(legacy(doubled, "category").unwrap().0, "b");
        assert_eq!(legacy(br#"{"topic":"x"}"#, "topic").unwrap().0, "x");
    }

    #[test]
    fn what_is_no_legacy_message_is_told_apart() {
        assert_eq!(why(b"{\"category\":\"\xff\"}"), Dropped::InvalidUtf8);
        assert_eq!(why(b"{"), Dropped::InvalidJson);
        assert_eq!(why(b"{\"category\":\"a\"}x"), Dropped::InvalidJson);
        assert_eq!(why(b"{}"), Dropped::NoTopic);
        assert_eq!(why(br#"{"category":5}"#), Dropped::NoTopic);
        assert_eq!(why(br#"{"category":"a","category":5}"#), Dropped::NoTopic);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"x":{open}{close},"category":"a"}}"#);
        assert_eq!(legacy(deep.as_bytes(), "category").unwrap().0, "a");
        let deep = format!(r#"{{"category":{open}{close}}}"#);
        assert_eq!(why(deep.as_bytes()), Dropped::NoTopic);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = legacy(&[b"{", message.as_slice()].concat(), "category");
        }
    }
}
