//! Runs jobs against the database on threads of its own, so that the HTTP workers never wait for it.
//!
//! Readers: a few threads, a connection each; a job reads one snapshot. Writer: one thread; the jobs that wait
//! are put into one transaction, so that they share the cost of one durable commit (group commit). When one of them is
//! refused, the group is run once more with a savepoint before each, so that it leaves the others alone.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaffer_shared::metrics::Text;
use chaffer_shared::topic::Topic;
use crossbeam_channel::{Sender, bounded};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::connection::{Database, Use};
use super::events::{Counters, StoredEvent};
use super::metrics::{Metrics, Queue};
use super::shared_rows::SharedRows;
use super::{DatabaseUrl, Id, StoreError};

/// How many jobs share one commit at the most: a bound on how long the first one waits for the others.
const GROUP_LIMIT: usize = 128;
/// With how many events a group ends early, for the same reason: a message to a vendor with many admins has one each.
const EVENT_LIMIT: usize = 1000;
/// How many posts look up together what they need: few enough that a message to a vendor with many admins ends the group before
/// much of it was for nothing.
const SHARING: usize = 16;
/// After so many commits SQLite's log is brought into the file, as soon as nobody waits.
const CHECKPOINT_AFTER: u32 = 100;
/// How often a group is run again after a conflict or a lost connection.
const GROUP_ATTEMPTS: u32 = 5;
/// Commits that a slow listener may be behind before it is told that it missed some: then it looks in the database. They
/// are kept in memory for it, with all their events.
const COMMIT_BACKLOG: usize = 64;

/// What one commit added, told to all who [`Store::subscribe`].
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its events, in order.
    pub events: Arc<[StoredEvent]>,
}

impl Commit {
    /// Whether one of its events goes to one of these topics.
    #[must_use]
    pub fn concerns(&self, topics: &[Topic]) -> bool {
        self.events.iter().flat_map(|event| &event.topics).any(|topic| topics.contains(topic))
    }
}

/// An error that a job may end with. The executor has to know which ones came from the store itself.
pub trait JobError: From<StoreError> + Send + 'static {
    /// The store's own error inside, if it is one.
    fn store_error(&self) -> Option<&StoreError>;
}

impl JobError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// What a job reads with: one snapshot of the database.
pub(crate) struct Reader<'c> {
    pub(super) database: &'c mut Database,
    /// What the posts of one commit share; only while several are written.
    pub(super) shared: Option<&'c mut SharedRows>,
}

/// What a job writes with; it also reads, and sees what the jobs before it in the same commit wrote.
pub(crate) struct Writer<'c> {
    reader: Reader<'c>,
    pub(super) counters: &'c mut Counters,
    pub(super) pending: &'c mut Vec<StoredEvent>,
}

impl<'c> Writer<'c> {
    pub(super) fn new(
        database: &'c mut Database,
        counters: &'c mut Counters,
        pending: &'c mut Vec<StoredEvent>,
    ) -> Self {
        Self { reader: Reader { database, shared: None }, counters, pending }
    }

    /// With rows that it shares with the posts beside it.
    fn sharing(mut self, shared: Option<&'c mut SharedRows>) -> Self {
        self.reader.shared = shared;
        self
    }
}

impl<'c> Deref for Writer<'c> {
    type Target = Reader<'c>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reader
    }
}

/// What stands in a queue: a job, or, for the thread that takes it, the end.
type Queued<J> = Option<Waiting<J>>;

/// A job in a queue, and since when.
struct Waiting<J: ?Sized> {
    since: Instant,
    job: Box<J>,
}

impl<J: ?Sized> Waiting<J> {
    fn new(job: Box<J>) -> Self {
        Self { since: Instant::now(), job }
    }

    /// Its turn has come.
    fn begin(self, queue: &Queue) -> Box<J> {
        queue.waits.observe_time(self.since.elapsed());
        self.job
    }
}

/// The way to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: Sender<Queued<dyn ReadJob>>,
    // Not the same kind: one whose receiver sleeps at once. The other, which several may take from, first spins and yields.
    writes: mpsc::Sender<Queued<dyn WriteJob>>,
    metrics: Arc<Metrics>,
    commits: broadcast::Sender<Commit>,
    readers: usize,
    /// Those of its threads that have a connection.
    threads: TaskTracker,
}

impl Store {
    /// Connects and starts the threads. The tables must be there already: see [`DatabaseUrl::migrate`].
    ///
    /// # Errors
    /// When no connection can be made.
    pub fn open(url: &DatabaseUrl, readers: usize, queue: usize) -> Result<Self, StoreError> {
        let (reads, read_queue) = bounded(queue.max(1));
        let (writes, write_queue) = mpsc::channel(queue.max(1));
        let (commits, _) = broadcast::channel(COMMIT_BACKLOG);
        let metrics = Arc::<Metrics>::default();
        let writer = WriterThread {
            connection: Some(url.connect(Use::Writing)?),
            url: url.clone(),
            commits: commits.clone(),
            metrics: metrics.clone(),
            commits_in_log: 0,
        };
        let threads = TaskTracker::new();
        let alive = threads.token();
        spawn("store-write", move || {
            writer.serve(write_queue);
            drop(alive);
        })?;
        let readers = readers.max(1);
        for number in 0..readers {
            // The first connection shows that reading works; the others are made when they are needed first.
            let mut connection = if number == 0 { Some(url.connect(Use::Reading)?) } else { None };
            let (url, queue, metrics) = (url.clone(), read_queue.clone(), metrics.clone());
            let alive = threads.token();
            spawn(&format!("store-read-{number}"), move || {
                while let Ok(Some(waiting)) = queue.recv() {
                    let job: Box<dyn ReadJob> = Waiting::begin(waiting, &metrics.reads);
                    serve_read(&url, &mut connection, job);
                }
                drop(connection);
                drop(alive);
            })?;
        }
        threads.close();
        Ok(Self { reads, writes, metrics, commits, readers, threads })
    }

    /// Ends the threads once they have done what waits, so that no session of theirs outlives this process's use of
    /// the database; false when that takes longer than `patience`.
    pub async fn close(&self, patience: Duration) -> bool {
        // A full queue is the end of patience anyhow.
        let _ = self.writes.try_send(None);
        for _ in 0..self.readers {
            let _ = self.reads.try_send(None);
        }
        timeout(patience, self.threads.wait()).await.is_ok()
    }

    /// Reads. The job may be run twice, when the connection turns out to be lost.
    ///
    /// # Errors
    /// The job's own, or [`StoreError::Busy`] at once when too much is waiting.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: FnMut(&mut Reader<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = Job::new(None, job);
        let sent = self.reads.try_send(Some(Waiting::new(Box::new(job))));
        let is_full = sent.as_ref().is_err_and(crossbeam_channel::TrySendError::is_full);
        wait(sent.map_err(|_| refuse(is_full, &self.metrics.reads)), answer).await
    }

    /// Writes, and answers after the commit is durable. The job may be run several times, after a conflict or
    /// a lost connection; only the last run counts.
    ///
    /// # Errors
    /// The job's own, or [`StoreError::Busy`] at once when too much is waiting.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: FnMut(&mut Writer<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_into(None, job).await
    }

    /// The same; of a post with the thread that it goes into, so that many at once look up together what they need. A job
    /// that changes other rows of a thread, its people or its vendor than every post has to [`Writer::settle`] first.
    ///
    /// # Errors
    /// The same.
    pub async fn write_into<T, E, F>(&self, thread: Option<Id>, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: FnMut(&mut Writer<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = Job::new(thread, job);
        let sent = self.writes.try_send(Some(Waiting::new(Box::new(job))));
        let is_full = matches!(sent, Err(mpsc::error::TrySendError::Full(_)));
        wait(sent.map_err(|_| refuse(is_full, &self.metrics.writes)), answer).await
    }

    /// Hears of every commit with events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Commit> {
        self.commits.subscribe()
    }

    /// Its counters, for Prometheus.
    pub fn render_metrics(&self, text: &mut Text) {
        let writes = self.writes.max_capacity() - self.writes.capacity();
        self.metrics.render(text, self.reads.len(), writes);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(|_| ())
        .map_err(|error| StoreError::File(format!("cannot start the thread {name}"), error))
}

fn refuse(is_full: bool, queue: &Queue) -> StoreError {
    if is_full {
        queue.rejected.increment();
        StoreError::Busy
    } else {
        StoreError::Closed
    }
}

async fn wait<T, E: JobError>(
    sent: Result<(), StoreError>,
    answer: oneshot::Receiver<Result<T, E>>,
) -> Result<T, E> {
    sent?;
    // The sender is dropped without an answer only when the job panicked.
    answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
}

/// A job, what its last run came to, and who waits for it.
struct Job<F, T, E> {
    /// Of a post: where it goes.
    thread: Option<Id>,
    run: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E: JobError> Job<F, T, E> {
    fn new(thread: Option<Id>, run: F) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Self { thread, run, outcome: None, reply }, answer)
    }

    fn settle(&mut self, outcome: Result<T, E>) -> Verdict {
        let verdict = match &outcome {
            Ok(_) => Verdict::Done,
            Err(error) => match error.store_error() {
                Some(error) if error.is_conflict() || error.is_lost_connection() => {
                    Verdict::Disturbed { lost: error.is_lost_connection() }
                }
                _ => Verdict::Refused,
            },
        };
        self.outcome = Some(outcome);
        verdict
    }
}

/// What a run of a job came to.
enum Verdict {
    Done,
    /// The job's own error: nothing of it may stay.
    Refused,
    /// The database's: the whole transaction has to be run again.
    Disturbed {
        lost: bool,
    },
}

/// Ends a job, whatever its types.
trait Answer: Send {
    /// Tells the outcome of the last run.
    fn answer(self: Box<Self>);
    /// Tells that it could not be run, or not be committed.
    fn fail(self: Box<Self>, error: StoreError);
}

trait ReadJob: Answer {
    fn run(&mut self, reader: &mut Reader<'_>) -> Verdict;
}

trait WriteJob: Answer {
    fn thread(&self) -> Option<Id>;
    fn run(&mut self, writer: &mut Writer<'_>) -> Verdict;
}

impl<F: Send, T: Send, E: JobError> Answer for Job<F, T, E> {
    fn answer(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(StoreError::Closed.into()));
        // Nobody waits any more when the client hung up: what was done stays done.
        let _ = self.reply.send(outcome);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error.into()));
    }
}

impl<F, T, E> ReadJob for Job<F, T, E>
where
    F: FnMut(&mut Reader<'_>) -> Result<T, E> + Send,
    T: Send,
    E: JobError,
{
    fn run(&mut self, reader: &mut Reader<'_>) -> Verdict {
        let outcome = (self.run)(reader);
        self.settle(outcome)
    }
}

impl<F, T, E> WriteJob for Job<F, T, E>
where
    F: FnMut(&mut Writer<'_>) -> Result<T, E> + Send,
    T: Send,
    E: JobError,
{
    fn thread(&self) -> Option<Id> {
        self.thread
    }

    fn run(&mut self, writer: &mut Writer<'_>) -> Verdict {
        let outcome = (self.run)(writer);
        self.settle(outcome)
    }
}

fn serve_read(url: &DatabaseUrl, slot: &mut Option<Database>, mut job: Box<dyn ReadJob>) {
    for attempt in 1..=2 {
        let database = match slot {
            Some(database) => database,
            None => match url.connect(Use::Reading) {
                Ok(database) => slot.insert(database),
                Err(error) => return job.fail(error),
            },
        };
        let run = AssertUnwindSafe(|| {
            if let Err(error) = database.begin_reading() {
                let error = StoreError::from(error);
                return (Verdict::Disturbed { lost: error.is_lost_connection() }, Some(error));
            }
            let verdict = job.run(&mut Reader { database, shared: None });
            // It has written nothing: how the transaction ends does not matter, only that it does.
            let ended = database.commit().is_ok();
            match verdict {
                _ if !ended => (Verdict::Disturbed { lost: true }, None),
                verdict => (verdict, None),
            }
        });
        match catch_unwind(run) {
            Ok((Verdict::Disturbed { lost }, error)) => {
                if lost {
                    *slot = None;
                }
                if attempt == 2 {
                    return match error {
                        Some(error) => job.fail(error),
                        None => job.answer(),
                    };
                }
            }
            Ok(_) => return job.answer(),
            Err(_) => {
                tracing::error!("a read panicked; its connection is replaced");
                *slot = None;
                return;
            }
        }
    }
}

/// Why a group was not committed.
enum GroupError {
    /// The database failed outside the jobs.
    Store(StoreError),
    /// A job met a conflict or a lost connection.
    Disturbed { lost: bool },
    /// A job was refused that had no savepoint to go back to, and has others beside it.
    Entangled,
    /// The commit itself failed: it may have happened all the same, so the group must not be run again.
    Commit(StoreError),
}

impl<E: Into<StoreError>> From<E> for GroupError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl GroupError {
    fn may_run_again(&self) -> bool {
        match self {
            Self::Store(error) => error.is_conflict() || error.is_lost_connection(),
            Self::Disturbed { .. } | Self::Entangled => true,
            Self::Commit(_) => false,
        }
    }

    fn is_lost_connection(&self) -> bool {
        match self {
            Self::Store(error) | Self::Commit(error) => error.is_lost_connection(),
            Self::Disturbed { lost } => *lost,
            Self::Entangled => false,
        }
    }
}

impl std::fmt::Display for GroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) | Self::Commit(error) => error.fmt(f),
            Self::Disturbed { lost: true } => f.write_str("the connection was lost"),
            Self::Disturbed { lost: false } => f.write_str("lost against other transactions"),
            Self::Entangled => f.write_str("one of several jobs was refused"),
        }
    }
}

/// Looks up what the next posts need, by their threads, if there are several.
fn look_up(
    shared: &mut SharedRows,
    database: &mut Database,
    mut threads: Vec<Id>,
) -> Result<(), GroupError> {
    if threads.len() < 2 {
        return Ok(());
    }
    threads.sort_unstable();
    threads.dedup();
    shared.load(database, &threads).map_err(|error| {
        match error.is_conflict() || error.is_lost_connection() {
            true => GroupError::Store(error),
            // A row that cannot be read fails the posts that need it, not those beside them: with savepoints each looks up its own.
            false => GroupError::Entangled,
        }
    })
}

struct WriterThread {
    url: DatabaseUrl,
    connection: Option<Database>,
    commits: broadcast::Sender<Commit>,
    metrics: Arc<Metrics>,
    /// Since the last checkpoint.
    commits_in_log: u32,
}

impl WriterThread {
    fn serve(mut self, mut queue: mpsc::Receiver<Queued<dyn WriteJob>>) {
        let mut open = true;
        while open {
            let Some(Some(first)) = queue.blocking_recv() else { break };
            let waiting = std::iter::from_fn(|| queue.try_recv().ok());
            let more = waiting.take(GROUP_LIMIT - 1).map_while(|next| {
                open = next.is_some();
                next
            });
            let group = std::iter::once(first).chain(more);
            let group = group.map(|waiting| waiting.begin(&self.metrics.writes)).collect();
            self.run(group);
            // After the answers, not within a commit as SQLite does by itself: one post in a hundred would wait for it.
            if self.commits_in_log >= CHECKPOINT_AFTER && queue.is_empty() {
                self.commits_in_log = 0;
                if let Some(Err(error)) = self.connection.as_mut().map(Database::checkpoint) {
                    tracing::warn!(%error, "SQLite's log could not be brought into the file");
                }
            }
        }
        // Whoever is just putting something in hears that it is closed, too.
        queue.close();
        while queue.blocking_recv().is_some() {}
    }

    fn run(&mut self, mut group: Vec<Box<dyn WriteJob>>) {
        let mut attempt = 1;
        // A savepoint is two statements, and a copy of every page that the job changes: most groups do without.
        let mut savepoints = false;
        while !group.is_empty() {
            let begun = Instant::now();
            let tried = catch_unwind(AssertUnwindSafe(|| self.try_group(&mut group, savepoints)));
            let error = match tried {
                Ok(Ok((done, commit))) => {
                    self.metrics.commits.increment();
                    self.commits_in_log += 1;
                    // A few at most.
                    self.metrics.commit_jobs.observe(f64::from(u32::try_from(done).unwrap_or(0)));
                    self.metrics.commit_seconds.observe_time(begun.elapsed());
                    if let Some(commit) = commit {
                        // An error means that nobody listens.
                        let _ = self.commits.send(commit);
                    }
                    group.drain(..done).for_each(Answer::answer);
                    attempt = 1;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    tracing::error!("a write panicked; its connection is replaced");
                    self.connection = None;
                    let failed = |job: Box<dyn WriteJob>| job.fail(StoreError::Closed);
                    return group.into_iter().for_each(failed);
                }
            };
            let rolled_back = self.connection.as_mut().is_some_and(|it| it.rollback().is_ok());
            if !rolled_back || error.is_lost_connection() {
                self.connection = None;
            }
            if matches!(error, GroupError::Entangled) {
                savepoints = true;
                continue;
            }
            if attempt >= GROUP_ATTEMPTS || !error.may_run_again() {
                self.metrics.commits_failed.increment();
                tracing::error!(%error, jobs = group.len(), "a commit failed");
                let text = error.to_string();
                let failed = |job: Box<dyn WriteJob>| job.fail(StoreError::Commit(text.clone()));
                return group.into_iter().for_each(failed);
            }
            tracing::debug!(%error, attempt, "a group of writes is run again");
            std::thread::sleep(Duration::from_millis(5) * attempt);
            attempt += 1;
        }
    }

    /// Commits the first jobs of a group, in most cases all of them; tells how many.
    fn try_group(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        savepoints: bool,
    ) -> Result<(usize, Option<Commit>), GroupError> {
        let database = match &mut self.connection {
            Some(database) => database,
            None => self.connection.insert(self.url.connect(Use::Writing)?),
        };
        database.begin_writing()?;
        let mut counters = Counters::lock(database)?;
        let before_group = counters;
        let mut pending = Vec::new();
        let mut done = 0;
        let is_alone = group.len() == 1;
        let mut shared = SharedRows::default();
        let mut shares = !savepoints;
        let threads: Vec<Option<Id>> = group.iter().map(|job| job.thread()).collect();
        for job in group {
            if pending.len() >= EVENT_LIMIT {
                break;
            }
            // Also before a post whose rows are not among them: it would change them in the database, and the shared ones be
            // written over that.
            if job.thread().is_none_or(|thread| !shared.has(thread)) {
                shared.settle(database)?;
            }
            if shares && shared.is_empty() {
                let next = threads.iter().skip(done).take(SHARING).map_while(|thread| *thread);
                look_up(&mut shared, database, next.collect())?;
            }
            let shared_before = !shared.is_empty();
            done += 1;
            let (before, kept) = (counters, pending.len());
            if savepoints {
                database.savepoint()?;
            }
            let mut writer = Writer::new(database, &mut counters, &mut pending)
                .sharing((!shared.is_empty()).then_some(&mut shared));
            match job.run(&mut writer) {
                Verdict::Done if savepoints => database.release_savepoint()?,
                Verdict::Done => {}
                Verdict::Refused if savepoints => {
                    database.rollback_to_savepoint()?;
                    counters = before;
                    pending.truncate(kept);
                }
                Verdict::Refused if is_alone => {
                    database.rollback()?;
                    return Ok((done, None));
                }
                Verdict::Refused => return Err(GroupError::Entangled),
                Verdict::Disturbed { lost } => return Err(GroupError::Disturbed { lost }),
            }
            // A post that had the rows written is one of several such, as a rule: staff at work, a flagged word.
            shares &= !shared_before || !shared.is_empty();
        }
        shared.settle(database)?;
        StoredEvent::insert_all(database, &pending)?;
        counters.save(database, &before_group)?;
        database.commit().map_err(|error| GroupError::Commit(error.into()))?;
        self.metrics.events.add(pending.len() as u64);
        let commit = (!pending.is_empty()).then(|| Commit { events: pending.into() });
        Ok((done, commit))
    }
}
