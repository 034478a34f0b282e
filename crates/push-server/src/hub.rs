//! From topics to connections.
//!
//! The hub is a few shards, one for two cores; each connection belongs to one of them for life. A shard is one task
//! that owns its connections, their topics and its own view of the replay memory, and handles one [`Command`]
//! after the other: no lock lies on the way of an event, and a client that joins, resumes or refreshes does so
//! at a definite place between two events. That is what makes "each event once, in order" easy to see.

mod inbox;
mod member;
mod memory;
mod shard;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use chaffer_shared::config::Push;
use chaffer_shared::event::{Event, EventId, RevokedTopic};
use chaffer_shared::token::{Claims, Grant};
use chaffer_shared::topic::Topic;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::presence::Presence;
use crate::websocket::{frames, native, wamp};
use inbox::{Inbox, Inlet, inbox};
use shard::Shard;

/// So many bytes of events may be on their way to the shards: a bound by count alone is none.
const BYTES: usize = 64 << 20;

/// The room that an event takes until the last shard has passed it on.
type Room = Arc<OwnedSemaphorePermit>;

/// The number of a connection, unique for the life of the process.
pub type ConnectionId = u64;

/// The name of a session, which nobody can guess: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId(u128);

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads one as it was told; `None` when it is nobody's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Which of those who subscribed to a legacy topic hear something; all, by default.
#[derive(Debug, Default)]
pub struct Hearers {
    /// These do not.
    pub exclude: Vec<SessionId>,
    /// Nobody but these; `None`: no matter who.
    pub eligible: Option<Vec<SessionId>>,
}

impl Hearers {
    fn include(&self, session: SessionId) -> bool {
        !self.exclude.contains(&session)
            && self.eligible.as_ref().is_none_or(|eligible| eligible.contains(&session))
    }
}

/// Something to pass on, encoded once for all who get it.
#[derive(Debug)]
pub struct Published {
    /// The id of a stored event; `None` for an ephemeral or legacy one.
    pub id: Option<EventId>,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The HTTP request that caused it, for the log.
    pub request_id: Option<String>,
    /// Who gets it.
    pub audience: Audience,
    /// The finished WebSocket frame.
    pub frame: Bytes,
}

/// Who gets something.
#[derive(Debug)]
pub enum Audience {
    /// Native sessions that hear one of the topics.
    Native(Vec<Topic>),
    /// Sessions that subscribed to the topic; the frame is WAMP's.
    Legacy {
        /// The topic.
        topic: String,
        /// The message as it came, for native sessions: a part of the frame, so it costs nothing.
        payload: Bytes,
        /// Which of those who subscribed.
        hearers: Hearers,
    },
}

impl Published {
    /// An event of the API. One that nobody is to hear only moves the position on.
    #[must_use]
    pub fn event(event: Event, silent: bool) -> Self {
        let frame = if silent { Bytes::new() } else { native::event_frame(&event) };
        Self {
            id: event.id,
            at: event.at,
            request_id: event.request_id,
            frame,
            audience: Audience::Native(if silent { Vec::new() } else { event.topics }),
        }
    }

    /// A legacy event; the payload has been found to be a JSON object.
    #[must_use]
    pub fn legacy(topic: String, payload: &str) -> Self {
        Self::legacy_to(topic, payload, Hearers::default())
    }

    /// What a WAMP client publishes; the payload has been found to be JSON.
    #[must_use]
    pub fn legacy_to(topic: String, payload: &str, hearers: Hearers) -> Self {
        let frame = wamp::event_frame(&topic, payload);
        // All but the bracket at the end.
        let end = frame.len().saturating_sub(1);
        let payload = frame.slice(end.saturating_sub(payload.len())..end);
        Self {
            id: None,
            at: Utc::now(),
            request_id: None,
            frame,
            audience: Audience::Legacy { topic, payload, hearers },
        }
    }
}

/// A native client that has shown a good token.
#[derive(Debug)]
pub struct NativeJoin {
    /// What the token says.
    pub claims: Claims,
    /// The last event that the client has seen.
    pub after: Option<EventId>,
    /// The name of the session.
    pub session: SessionId,
}

/// What a shard is told.
#[derive(Debug)]
pub enum Command {
    /// Pass this on; stored events come in order and without gaps.
    Deliver(Arc<Published>, Room),
    /// Keep this stored event of the past for those who resume.
    Remember(Arc<Published>, Room),
    /// The position is known now: everything after `floor` is remembered, up to `last`.
    Open {
        /// Memory reaches back to right after this event.
        floor: EventId,
        /// The position.
        last: EventId,
    },
    /// The stream does not go on from where it was: cursors of the connected clients are of no use.
    Jump(EventId),
    /// The API is about to be asked for its last event: clients that know of later ones than we do are in doubt.
    Doubt,
    /// The API's last event, as of a question asked after [`Command::Doubt`]: those in doubt know no later one.
    Confirm(EventId),
    /// Tokens of this topic that were issued up to a moment count no longer.
    Revoke(RevokedTopic),
    /// A native client.
    JoinNative(ConnectionId, Arc<Outlet>, Box<NativeJoin>),
    /// A WAMP client.
    JoinLegacy(ConnectionId, Arc<Outlet>, SessionId),
    /// A native client shows its next token.
    Refresh(ConnectionId, Box<Claims>),
    /// A native client wants to hear of these users' coming and going, until a moment.
    Watch(ConnectionId, Box<Grant>),
    /// A client subscribes to a legacy topic that it may hear.
    Subscribe(ConnectionId, String),
    /// A client unsubscribes from a legacy topic.
    Unsubscribe(ConnectionId, String),
    /// A connection is over.
    Leave(ConnectionId),
    /// What goes on, for the side door.
    Describe(oneshot::Sender<Vec<TopicCount>>),
    /// The daemon stops: close everything.
    Stop,
}

/// Counters of one topic, while somebody hears it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct TopicCount {
    /// The topic.
    pub topic: String,
    /// Whether it is a legacy topic.
    pub legacy: bool,
    /// Sessions that hear it now.
    pub sessions: usize,
    /// Events that went to it since the first of them came.
    pub events: u64,
}

/// The way to the shards.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<Inlet>,
    next: AtomicU64,
    room: Arc<Semaphore>,
}

/// A connection's way to its shard; dropping it is leaving.
#[derive(Debug)]
pub struct Seat {
    /// The connection.
    pub id: ConnectionId,
    shard: Inlet,
}

impl Seat {
    /// Tells the shard; false when the daemon is stopping.
    pub async fn tell(&self, command: Command) -> bool {
        self.shard.send(command).await
    }
}

impl Drop for Seat {
    /// Here rather than in a call, so that a connection whose task panics leaves no trace in the hub.
    fn drop(&mut self) {
        if let Err(TrySendError::Full(leave)) = self.shard.try_send(Command::Leave(self.id)) {
            let shard = self.shard.clone();
            tokio::spawn(async move { shard.send(leave).await });
        }
    }
}

/// A shard that is ready to run; its end is the end of the daemon.
pub struct Runner(Shard, Inbox);

impl Runner {
    /// Handles commands until told to stop.
    pub async fn run(self) {
        self.0.run(self.1).await;
    }
}

impl Hub {
    /// Makes the shards, which the caller runs. `ahead` is notified when a client claims to have seen more than
    /// this daemon has, which the API can judge.
    #[must_use]
    pub fn new(
        shards: usize,
        config: &Push,
        presence: &Arc<Presence>,
        metrics: &Arc<Metrics>,
        ahead: &Arc<Notify>,
    ) -> (Arc<Self>, Vec<Runner>) {
        let (inlets, runners) = (0..shards.max(1))
            .map(|_| {
                let (inlet, inbox, heard) = inbox();
                let (presence, metrics) = (presence.clone(), metrics.clone());
                let shard = Shard::new(config, heard, presence, metrics, ahead.clone());
                (inlet, Runner(shard, inbox))
            })
            .unzip();
        let room = Arc::new(Semaphore::new(BYTES));
        (Arc::new(Self { shards: inlets, next: AtomicU64::new(0), room }), runners)
    }

    /// A place for a new connection.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let id = self.next.fetch_add(1, Relaxed);
        let index = usize::try_from(id).unwrap_or_default() % self.shards.len().max(1);
        Some(Seat { id, shard: self.shards.get(index)?.clone() })
    }

    /// Has every shard pass it on, those at once in which somebody hears it; waits while too much is on its way.
    pub async fn deliver(&self, event: Arc<Published>) {
        let Some(room) = self.room_for(&event).await else { return };
        for shard in &self.shards {
            shard.deliver(&event, &room).await;
        }
        if self.room.available_permits() < BYTES / 2 {
            // Somebody may wait for the room that this takes, or will soon.
            self.shards.iter().for_each(Inlet::ring);
        }
    }

    /// Has every shard remember it; waits while too much is on its way.
    pub async fn remember(&self, event: Arc<Published>) {
        let Some(room) = self.room_for(&event).await else { return };
        self.tell_all(|| Command::Remember(event.clone(), room.clone())).await;
    }

    /// The shards alone give room back, and wait for nobody. `None` never comes: the semaphore is not closed.
    async fn room_for(&self, event: &Published) -> Option<Room> {
        let bytes = u32::try_from(event.frame.len().clamp(1, BYTES)).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) {
            return Some(Arc::new(room));
        }
        // What waits in a shard that nobody woke holds room, too.
        self.shards.iter().for_each(Inlet::ring);
        self.room.clone().acquire_many_owned(bytes).await.ok().map(Arc::new)
    }

    /// Tells every shard; waits while one of them is busy.
    pub async fn tell_all(&self, mut command: impl FnMut() -> Command) {
        for shard in &self.shards {
            let _ = shard.send(command()).await;
        }
    }

    /// The counters of all topics that somebody hears, sorted.
    pub async fn topics(&self) -> Vec<TopicCount> {
        let mut all: Vec<TopicCount> = Vec::new();
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            let _ = shard.send(Command::Describe(sender)).await;
            all.extend(receiver.await.unwrap_or_default());
        }
        all.sort_by(|a, b| (a.legacy, &a.topic).cmp(&(b.legacy, &b.topic)));
        all.dedup_by(|twin, kept| {
            let same = (twin.legacy, &twin.topic) == (kept.legacy, &kept.topic);
            if same {
                kept.sessions += twin.sessions;
                // Every shard sees every event, from when it has somebody who hears it.
                kept.events = kept.events.max(twin.events);
            }
            same
        });
        all
    }
}

/// The reason that a client is given when the server restarts: when to come back.
fn retry_reason(spread_ms: u64) -> String {
    format!("retry_after_ms={}", rand::random_range(0..=spread_ms))
}

/// Closes a native client so that it comes back soon and resumes.
pub(crate) fn close_for_restart(outlet: &Outlet, spread_ms: u64) {
    outlet.close(frames::close_code::RESTARTING, &retry_reason(spread_ms));
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::unconstrained;

    use super::*;

    #[tokio::test]
    async fn no_more_bytes_are_on_their_way_to_the_shards_than_there_is_room_for() {
        let config = Push::default();
        let (hub, shards) = Hub::new(2, &config, &Arc::default(), &Arc::default(), &Arc::default());
        let payload = format!("\"{}\"", "x".repeat(1 << 20));
        let event = || Arc::new(Published::legacy("kittens".into(), &payload));
        let mut on_their_way = 0;
        // Without the runtime's budget for one turn, which would end before the room does.
        let deliver_now = || unconstrained(hub.deliver(event())).now_or_never();
        while deliver_now().is_some() {
            on_their_way += 1;
            assert!(on_their_way << 20 <= BYTES);
        }
        assert!((on_their_way + 2) << 20 > BYTES);

        // One shard alone gives nothing back; when both have passed it on, there is room again.
        let mut shards = shards.into_iter();
        let first = tokio::spawn(shards.next().unwrap().run());
        assert!(hub.shards[0].send(Command::Stop).await);
        first.await.unwrap();
        assert!(deliver_now().is_none());
        tokio::spawn(shards.next().unwrap().run());
        hub.deliver(event()).await;
    }

    #[tokio::test]
    async fn a_shard_that_always_has_something_to_do_leaves_others_on_its_thread_their_turn() {
        let config = Push::default();
        let (hub, shards) = Hub::new(1, &config, &Arc::default(), &Arc::default(), &Arc::default());
        let mut answers = Vec::new();
        loop {
            let (ask, answer) = oneshot::channel();
            if hub.shards[0].try_send(Command::Describe(ask)).is_err() {
                break;
            }
            answers.push(answer);
        }
        shards.into_iter().for_each(|shard| drop(tokio::spawn(shard.run())));
        while answers[0].try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        assert!(answers.last_mut().unwrap().try_recv().is_err(), "not before all is done");
    }
}
