//! From stored events to the push daemon. The database is the truth, the wire only the wake-up: while there is no
//! link nothing is sent and nothing is kept, and the heartbeat's `last` makes the push daemon fetch what lies between.
//! So a push daemon that is down, slow or restarted never reaches back into an API call.

mod metrics;
#[cfg(test)]
mod tests;
mod zmq;

use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::event::{Event, EventId, Frame};
use chaffer_shared::link::LinkKeys;
use chaffer_shared::metrics::Text;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::chat::events::{at_hand, render};
use crate::chat::threads::Ephemeral;
use crate::store::{Commit, Store, StoreError, StoredEvent};

use metrics::Metrics;
pub use zmq::ZmqPush;

/// Ephemeral events that may wait; more are dropped, since nobody misses a typing sign.
const EPHEMERAL_QUEUE: usize = 1024;
/// Events read from the store at once.
const PAGE: i64 = 500;
/// The shortest and the longest wait before another attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a publisher that is told to stop may take to connect once more, for what the last calls stored.
const LAST_CONNECT: Duration = Duration::from_secs(1);
/// How long one frame may take to be written. A push daemon drains its port always, so a longer one is a dead peer.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// A way to the push daemons. One exists (ZeroMQ); a broker between several nodes would be another.
pub trait Transport {
    /// Connects, or fails within a few seconds.
    fn connect(&mut self) -> impl Future<Output = Result<(), TransportError>> + Send;
    /// Sends one signed frame.
    fn send(&mut self, frame: Vec<u8>) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// What the rest of the API knows of the publisher.
#[derive(Debug, Clone)]
pub struct PublisherHandle {
    ephemeral: mpsc::Sender<(Ephemeral, DateTime<Utc>, String)>,
    connected: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

/// The publisher: owns the socket, and its position among the stored events.
pub struct Publisher<T> {
    store: Store,
    transport: T,
    keys: LinkKeys,
    name: String,
    heartbeat: Duration,
    ephemeral: mpsc::Receiver<(Ephemeral, DateTime<Utc>, String)>,
    connected: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    /// The last stored event that went out, while it publishes.
    position: Option<EventId>,
}

impl PublisherHandle {
    /// Tells something at once, to those who happen to listen. Never waits.
    pub fn tell(&self, ephemeral: Ephemeral, at: DateTime<Utc>, request_id: &str) {
        // Full or gone: it is not worth keeping.
        if self.ephemeral.try_send((ephemeral, at, request_id.to_owned())).is_err() {
            self.metrics.dropped.increment();
        }
    }

    /// Whether there is a link to the push daemon, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Its counters, for Prometheus; with the last stored event, where the database told it.
    pub fn render_metrics(&self, text: &mut Text, last_event: Option<EventId>) {
        self.metrics.render(text, self.is_connected(), last_event);
    }
}

impl<T: Transport> Publisher<T> {
    /// A publisher that does not run yet, and the handle to it.
    pub fn new(
        store: Store,
        transport: T,
        keys: LinkKeys,
        name: &str,
        heartbeat: Duration,
    ) -> (Self, PublisherHandle) {
        let (sender, ephemeral) = mpsc::channel(EPHEMERAL_QUEUE);
        let (connected, is_connected) = watch::channel(false);
        let metrics = Arc::<Metrics>::default();
        let handle = PublisherHandle {
            ephemeral: sender,
            connected: is_connected,
            metrics: metrics.clone(),
        };
        let name = name.to_owned();
        let publisher = Self {
            store,
            transport,
            keys,
            name,
            heartbeat,
            ephemeral,
            connected,
            metrics,
            position: None,
        };
        (publisher, handle)
    }

    /// Publishes until it is told to stop; connects again whenever the link is lost. If it is dropped before that, because
    /// the thread ends on which it runs, the next call goes on from there, or a little before.
    pub async fn run(&mut self, stop: &CancellationToken) {
        let mut wait = BACKOFF.0;
        self.connected.send_replace(false);
        loop {
            let interrupted = self.position.is_some();
            let give_up = async {
                stop.cancelled().await;
                if interrupted {
                    sleep(LAST_CONNECT).await;
                }
            };
            let connected = tokio::select! {
                biased;
                () = give_up => return,
                connected = self.transport.connect() => connected,
            };
            match connected {
                Ok(()) => {
                    tracing::info!("connected to the push daemon");
                    wait = BACKOFF.0;
                    self.metrics.connections.increment();
                    self.connected.send_replace(true);
                    let ended = self.publish(stop).await;
                    self.connected.send_replace(false);
                    match ended {
                        Ok(()) => {
                            self.position = None;
                            return;
                        }
                        Err(error) => tracing::warn!(%error, "lost the link to the push daemon"),
                    }
                }
                Err(error) => tracing::debug!(%error, "no link to the push daemon"),
            }
            // What nobody could hear is not worth keeping.
            self.position = None;
            while self.ephemeral.try_recv().is_ok() {}
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => wait = (wait * 2).min(BACKOFF.1),
            }
        }
    }

    /// Publishes while the link stands.
    async fn publish(&mut self, stop: &CancellationToken) -> Result<(), TransportError> {
        // Listen first and look then, so that nothing commits in between unseen.
        let mut commits = self.store.subscribe();
        let mut position = match self.position {
            // What was given to the socket last may not have left it: the push daemon drops what it has.
            Some(position) => (position - PAGE).max(0),
            None => self.last_event().await?,
        };
        self.position = Some(position);
        self.metrics.position.set(position);
        let mut heartbeat = interval(self.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    // What the last calls stored is told before the end.
                    position = self.publish_after(position).await?;
                    return self.send_heartbeat(position).await;
                }
                commit = commits.recv() => match commit {
                    Ok(commit) => position = self.publish_commit(position, &commit).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        position = self.publish_after(position).await?;
                    }
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                Some((ephemeral, at, request_id)) = self.ephemeral.recv() => {
                    self.send_ephemeral(ephemeral, at, request_id).await?;
                }
                _ = heartbeat.tick() => {
                    // Also finds what other API nodes, or the command line, stored.
                    position = self.publish_after(position).await?;
                    self.send_heartbeat(position).await?;
                }
            }
        }
    }

    async fn send_heartbeat(&mut self, last: EventId) -> Result<(), TransportError> {
        self.send(&Frame::Heartbeat { src: self.name.clone(), last }).await
    }

    async fn last_event(&self) -> Result<EventId, TransportError> {
        let last = self.store.read(|reader| reader.last_event()).await;
        last.map_err(|error| TransportError(error.to_string()))
    }

    /// Sends what a commit of this node stored, and returns the new position. What the commit brings along need not be
    /// read: unless another node's events lie between, or the rule left one to be rendered.
    async fn publish_commit(
        &mut self,
        position: EventId,
        commit: &Commit,
    ) -> Result<EventId, TransportError> {
        let ids = |event: Option<&StoredEvent>| event.map_or(position, |event| event.id);
        let (first, last) = (ids(commit.events.first()), ids(commit.events.last()));
        if last <= position {
            // An earlier look has found it all.
            return Ok(position);
        }
        let frames = commit.events.iter().map(|event| {
            let data = at_hand(event)?;
            Some(frame(&self.name, event, data))
        });
        match frames.collect::<Option<Vec<_>>>() {
            Some(frames) if first == position + 1 => self.publish_frames(position, frames).await,
            _ => self.publish_after(position).await,
        }
    }

    /// Sends all that was stored after a position and returns the new one. When the database is busy it stays where it
    /// is: the next tick tries again.
    async fn publish_after(&mut self, mut position: EventId) -> Result<EventId, TransportError> {
        loop {
            let page = read_frames(&self.store, &self.name, position, PAGE).await;
            let frames = match page {
                Ok(frames) => frames,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the events to publish");
                    return Ok(position);
                }
            };
            let count = frames.len();
            position = self.publish_frames(position, frames).await?;
            if i64::try_from(count).is_ok_and(|count| count < PAGE) {
                return Ok(position);
            }
        }
    }

    async fn publish_frames(
        &mut self,
        mut position: EventId,
        frames: Vec<Frame>,
    ) -> Result<EventId, TransportError> {
        for frame in frames {
            self.send(&frame).await?;
            if let Frame::Event(event) = frame {
                position = event.id.unwrap_or(position);
                self.position = Some(position);
                self.metrics.position.set(position);
                self.note(&event);
            }
        }
        Ok(position)
    }

    async fn send_ephemeral(
        &mut self,
        ephemeral: Ephemeral,
        at: DateTime<Utc>,
        request_id: String,
    ) -> Result<(), TransportError> {
        let Ok(data) = serde_json::value::to_raw_value(&ephemeral.data) else { return Ok(()) };
        let event = Event {
            id: None,
            prev: None,
            src: self.name.clone(),
            topics: ephemeral.topics,
            event: ephemeral.event.to_owned(),
            at,
            request_id: Some(request_id),
            data,
        };
        self.note(&event);
        self.send(&Frame::Event(event)).await
    }

    /// Counts an event that goes out, and notes it under the id of the call that caused it.
    fn note(&self, event: &Event) {
        self.metrics.published.increment();
        let Event { id, event, request_id, .. } = event;
        tracing::debug!(id, event, request_id, "published");
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), TransportError> {
        let json = serde_json::to_vec(frame).map_err(|error| TransportError(error.to_string()))?;
        let frame =
            self.keys.sign(&json).ok_or_else(|| TransportError("keys.link is empty".into()))?;
        let deadline = Instant::now() + SEND_TIMEOUT;
        timeout_at(deadline, self.transport.send(frame))
            .await
            .map_err(|_| TransportError("the push daemon does not read".into()))?
    }
}

/// Stored events as frames, rendered as things are now.
///
/// # Errors
/// The store's own.
pub async fn read_frames(
    store: &Store,
    src: &str,
    after: EventId,
    limit: i64,
) -> Result<Vec<Frame>, StoreError> {
    let src = src.to_owned();
    store
        .read(move |reader| {
            // What is older than the mark, a restore brought back for mails and webhooks alone.
            let after = after.max(reader.oldest_event()? - 1);
            let events = reader.events_after(after, limit)?;
            let data = render(reader, &events)?;
            let frame = |(event, data): (&StoredEvent, serde_json::Value)| {
                Some(frame(&src, event, serde_json::value::to_raw_value(&data).ok()?))
            };
            Ok(events.iter().zip(data).filter_map(frame).collect())
        })
        .await
}

fn frame(src: &str, event: &StoredEvent, data: Box<RawValue>) -> Frame {
    Frame::Event(Event {
        id: Some(event.id),
        // Ids are gapless.
        prev: Some(event.id - 1),
        src: src.to_owned(),
        topics: event.topics.clone(),
        event: event.name.clone(),
        at: event.at.and_utc(),
        request_id: event.request_id.clone(),
        data,
    })
}
