//! From what comes in to what goes out: puts stored events in order ([`crate::order`]) and asks the API for those
//! that were lost on the way, at start for those before, so that clients can resume after a restart.
//!
//! One task does all of it, so "in order" means something. What is not stored (typing, legacy) passes at once,
//! also while the API cannot be asked. The API is asked again for ever, with a growing pause.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use chaffer_shared::event::{Event, EventId, Frame, Missed, Revocation, RevokedTopic, name};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::api::{Api, ApiError, FIRST_PAUSE, LONGEST_PAUSE};
use crate::hub::{Command, Hub, Published};
use crate::metrics::Metrics;
use crate::order::{Answered, Order, Taken};

/// So many events before the start are read into the replay memory.
const HISTORY: EventId = 10_000;

/// A missing event may be on its way by another API node: no question is asked before this.
const PATIENCE: Duration = Duration::from_millis(50);

/// A failing API is logged this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// An API whose heartbeats are behind is asked at most this often.
const SUSPICION_INTERVAL: Duration = Duration::from_secs(2);

/// Something good that came in by the pusher port, with the room that it takes while it waits.
#[derive(Debug)]
pub struct Waiting(pub Incoming, pub OwnedSemaphorePermit);

/// What came in.
#[derive(Debug)]
pub enum Incoming {
    /// A signed frame of the API.
    Frame(Box<Frame>),
    /// A legacy event, ready to pass on.
    Legacy(Arc<Published>),
}

/// How the link stands, for `/readyz`.
#[derive(Debug)]
pub struct LinkStatus {
    started: Instant,
    heard_ms: AtomicU64,
    behind: AtomicBool,
}

impl Default for LinkStatus {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            heard_ms: AtomicU64::new(u64::MAX),
            behind: AtomicBool::new(false),
        }
    }
}

impl LinkStatus {
    /// How long ago a signed frame came in; `None` when none has.
    #[must_use]
    pub fn heard(&self) -> Option<Duration> {
        let heard = self.heard_ms.load(Relaxed);
        (heard != u64::MAX)
            .then(|| self.started.elapsed().saturating_sub(Duration::from_millis(heard)))
    }

    /// Whether events are known to be missing.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.load(Relaxed)
    }

    fn hear(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard_ms.store(elapsed, Relaxed);
    }
}

/// What the API is asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// Where the stream stands.
    Position,
    /// The events before the start, page by page.
    History { floor: EventId, at: EventId },
    /// Those after the last one.
    Missed { asked_at: EventId },
}

type Answer = Pin<Box<dyn Future<Output = (Question, Result<Missed, ApiError>)> + Send>>;

/// The task between the intake and the hub.
pub struct Sequencer {
    api: Option<Api>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    status: Arc<LinkStatus>,
    order: Order,
    /// The next page of history, while starting.
    history: Option<(EventId, EventId)>,
    /// The API is to be asked even though nothing is known to be missing.
    check: bool,
    ask_at: Option<Instant>,
    pause: Duration,
    complained: Option<Instant>,
    suspected: Option<Instant>,
    /// Becomes true once the first attempt to learn the position has succeeded or failed.
    tried: watch::Sender<bool>,
}

impl Sequencer {
    /// Made at start; without `api` nothing is ever missing.
    #[must_use]
    pub fn new(
        api: Option<Api>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        status: Arc<LinkStatus>,
        held_limit: usize,
    ) -> Self {
        metrics.position.set(-1);
        Self {
            ask_at: api.is_some().then(Instant::now),
            tried: watch::Sender::new(api.is_none()),
            api,
            hub,
            metrics,
            status,
            order: Order::new(held_limit),
            history: None,
            check: false,
            pause: FIRST_PAUSE,
            complained: None,
            suspected: None,
        }
    }

    /// Tells when the first attempt to learn the position is over.
    #[must_use]
    pub fn tried(&self) -> watch::Receiver<bool> {
        self.tried.subscribe()
    }

    /// Runs until the intake is gone. `ahead` is notified when a client knows of later events than we do.
    pub async fn run(mut self, mut incoming: mpsc::Receiver<Waiting>, ahead: Arc<Notify>) {
        let mut answer: Option<Answer> = None;
        loop {
            let may_ask = answer.is_none() && self.api.is_some();
            let ask_at = self.ask_at.filter(|_| may_ask);
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(Waiting(message, _room)) => self.take(message).await,
                    None => return,
                },
                (question, result) = async {
                    match answer.as_mut() {
                        Some(answer) => answer.await,
                        None => pending().await,
                    }
                } => {
                    answer = None;
                    self.answered(question, result).await;
                }
                () = async {
                    match ask_at {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                } => {
                    self.ask_at = None;
                    answer = self.ask().await;
                }
                () = ahead.notified() => {
                    self.check = true;
                    self.ask_soon(Duration::ZERO);
                }
            }
            self.status.behind.store(self.api.is_some() && self.order.is_behind(), Relaxed);
        }
    }

    async fn take(&mut self, message: Incoming) {
        let frame = match message {
            Incoming::Legacy(event) => {
                self.metrics.legacy_events.increment();
                self.hub.deliver(event).await;
                return;
            }
            Incoming::Frame(frame) => *frame,
        };
        self.status.hear();
        match frame {
            Frame::Heartbeat { src, last } => {
                if self.order.heartbeat(last) {
                    self.suspect(&src, last);
                }
            }
            Frame::Event(event) => {
                // A right that ended ends now, whatever must be waited for otherwise.
                self.revoke(&event).await;
                match event.id {
                    None => self.pass(vec![event]).await,
                    Some(id) => {
                        let mut pass = Vec::new();
                        if self.order.take(id, event, &mut pass) == Taken::Duplicate {
                            self.metrics.duplicates.increment();
                        }
                        self.pass(pass).await;
                    }
                }
            }
        }
        if self.order.is_behind() {
            self.ask_soon(PATIENCE);
        }
    }

    /// A heartbeat that is behind is either late, or the API's database has started over.
    fn suspect(&mut self, src: &str, last: EventId) {
        if self.suspected.is_none_or(|at| at.elapsed() >= SUSPICION_INTERVAL) {
            debug!(src, last, position = ?self.order.last(), "a heartbeat is behind: asking the API");
            self.suspected = Some(Instant::now());
            self.check = true;
            self.ask_soon(Duration::ZERO);
        }
    }

    /// Plans a question, unless one is planned.
    fn ask_soon(&mut self, patience: Duration) {
        self.ask_at.get_or_insert_with(|| Instant::now() + patience);
    }

    async fn ask(&mut self) -> Option<Answer> {
        let question = match (self.history, self.order.last()) {
            (Some((floor, at)), _) => Question::History { floor, at },
            (None, None) => Question::Position,
            (None, Some(last)) if self.order.is_behind() || self.check => {
                if std::mem::take(&mut self.check) {
                    self.hub.tell_all(|| Command::Doubt).await;
                }
                Question::Missed { asked_at: last }
            }
            // What was missing has arrived by itself.
            (None, Some(_)) => return None,
        };
        let api = self.api.clone()?;
        self.metrics.repairs.increment();
        Some(Box::pin(async move {
            let after = match question {
                Question::Position => None,
                Question::History { at, .. } => Some(at),
                Question::Missed { asked_at } => Some(asked_at),
            };
            (question, api.events(after).await)
        }))
    }

    async fn answered(&mut self, question: Question, result: Result<Missed, ApiError>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error.to_string()),
        };
        self.pause = FIRST_PAUSE;
        if self.complained.take().is_some() {
            info!("the API answers again");
        }
        match question {
            Question::Position => {
                let floor =
                    (answer.last - HISTORY).max(answer.oldest - 1).clamp(0, answer.last.max(0));
                self.history = Some((floor, floor));
                if floor >= answer.last {
                    self.open(floor, floor).await;
                }
            }
            Question::History { floor, at } => self.remember(floor, at, answer).await,
            Question::Missed { asked_at } => self.repaired(asked_at, answer).await,
        }
        if self.order.is_behind() || self.check {
            self.ask_soon(Duration::ZERO);
        }
    }

    fn failed(&mut self, error: &str) {
        self.metrics.repairs_failed.increment();
        self.tried.send_replace(true);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            warn!(error, "cannot ask the API for missed events; trying again until it answers");
        }
        // Whatever was asked is asked again.
        self.check = true;
        self.ask_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Takes one page of history.
    async fn remember(&mut self, floor: EventId, mut at: EventId, answer: Missed) {
        if answer.last < at {
            // The database was replaced between two pages.
            self.hub.tell_all(|| Command::Jump(answer.last)).await;
            return self.open(answer.last, answer.last).await;
        }
        let before = at;
        for frame in answer.events {
            let Frame::Event(event) = frame else { continue };
            let Some(id) = event.id.filter(|id| *id > at) else { continue };
            at = id;
            let silent = event.event == name::SESSION_REVOKED;
            self.hub.remember(Arc::new(Published::event(event, silent))).await;
        }
        self.history = Some((floor, at));
        if at >= answer.last {
            self.open(floor, at).await;
        } else if at == before {
            self.history = Some((answer.last, answer.last));
            error!(
                after = at,
                last = answer.last,
                "the API keeps back events: starting after them"
            );
            self.open(answer.last, answer.last).await;
        }
    }

    async fn open(&mut self, floor: EventId, last: EventId) {
        self.history = None;
        info!(last, floor, "position known");
        self.metrics.position.set(last);
        self.hub.tell_all(|| Command::Open { floor, last }).await;
        let mut pass = Vec::new();
        self.order.start(last, &mut pass);
        self.pass(pass).await;
        self.tried.send_replace(true);
    }

    async fn repaired(&mut self, asked_at: EventId, answer: Missed) {
        let last = answer.last;
        let mut pass = Vec::new();
        match self.order.answer(asked_at, answer, &mut pass) {
            Answered::Filled => {
                if !pass.is_empty() {
                    info!(after = asked_at, events = pass.len(), "missed events repaired");
                }
                self.pass(pass).await;
            }
            Answered::Expired(up_to) => {
                warn!(
                    after = asked_at,
                    up_to, "the API no longer keeps what was missed: clients read the feed instead"
                );
                self.hub.tell_all(|| Command::Jump(up_to)).await;
                self.pass(pass).await;
            }
            Answered::StartedOver(last) => {
                error!(
                    position = asked_at,
                    last,
                    "the API has fewer events than were passed on: was its database restored? Starting over"
                );
                self.hub.tell_all(|| Command::Jump(last)).await;
                self.pass(pass).await;
            }
            Answered::Nonsense => {
                return self.failed("the answer lacks the events that it says are stored");
            }
        }
        self.metrics.position.set(self.order.last().unwrap_or(-1));
        self.hub.tell_all(|| Command::Confirm(last)).await;
    }

    async fn pass(&mut self, events: Vec<Event>) {
        for event in events {
            let silent = event.event == name::SESSION_REVOKED;
            self.revoke(&event).await;
            if let Some(id) = event.id {
                self.metrics.position.set(id);
            }
            debug!(id = event.id, event = event.event, request_id = event.request_id, "passing on");
            self.metrics.events.increment();
            self.hub.deliver(Arc::new(Published::event(event, silent))).await;
        }
    }

    async fn revoke(&self, event: &Event) {
        if event.event != name::SESSION_REVOKED {
            return;
        }
        match serde_json::from_str::<Revocation>(event.data.get()) {
            Ok(Revocation { before }) => {
                for topic in &event.topics {
                    let revoked = RevokedTopic { topic: topic.clone(), before };
                    self.hub.tell_all(|| Command::Revoke(revoked.clone())).await;
                }
            }
            Err(error) => error!(id = event.id, %error, "a revocation cannot be read"),
        }
    }
}
