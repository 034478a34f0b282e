//! Runs jobs against the database on threads of its own, so that the HTTP workers do not wait for it.
//!
//! Readers: a few threads, a connection each; a job reads one snapshot. Writer: one thread; the jobs that wait
//! share a commit ([`Committer`]). A post that finds the writer at rest is committed where it is, if that is quick: two
//! threads that wake each other, each with cold caches, would cost a quarter of the message (decision 29).

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chaffer_shared::metrics::Text;
use crossbeam_channel::{Sender, bounded};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::committer::{Commit, Committer};
use super::connection::{Database, Use};
use super::events::{Counters, StoredEvent};
use super::jobs::{Job, JobError, Queued, ReadJob, Verdict, Waiting, WriteJob};
use super::metrics::{Metrics, Queue};
use super::shared_rows::SharedRows;
use super::{DatabaseUrl, Id, StoreError};

/// How many jobs share one commit at the most: a bound on how long the first one waits for the others.
const GROUP_LIMIT: usize = 128;
/// Commits that a slow listener may be behind before it is told that it missed some: then it looks in the database. They
/// are kept in memory for it, with all their events.
const COMMIT_BACKLOG: usize = 64;

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
    pub(super) fn sharing(mut self, shared: Option<&'c mut SharedRows>) -> Self {
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

/// The way to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: Sender<Queued<dyn ReadJob>>,
    // Not the same kind: one whose receiver sleeps at once. The other, which several may take from, first spins and yields.
    writes: mpsc::Sender<Queued<dyn WriteJob>>,
    /// Those in the queue, and those taken out of it that have not begun.
    waiting_writes: Arc<AtomicUsize>,
    committer: Arc<Mutex<Committer>>,
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
        let committer = Committer::open(url.clone(), commits.clone(), metrics.clone())?;
        let committer = Arc::new(Mutex::new(committer));
        let waiting_writes = Arc::<AtomicUsize>::default();
        let threads = TaskTracker::new();
        let alive = threads.token();
        let (serving, waiting) = (Arc::clone(&committer), Arc::clone(&waiting_writes));
        spawn("store-write", move || {
            serve_writes(&serving, write_queue, &waiting);
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
        Ok(Self { reads, writes, waiting_writes, committer, metrics, commits, readers, threads })
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

    /// The same; of a post with the thread that it goes into, so that many at once look up together what they need, and one that
    /// finds the writer at rest is run at once, by whoever polls this: see [`Committer::commit_at_once`]. A job that changes
    /// other rows of a thread, its people or its vendor than every post has to [`Writer::settle`] first.
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
        let job: Box<dyn WriteJob> = Box::new(job);
        // Not the others, some of which take long.
        let left = if thread.is_some() { self.commit_at_once(job) } else { Err(job) };
        wait(left.or_else(|job| self.enqueue(job)), answer).await
    }

    /// Runs a job here and now, or gives it back.
    fn commit_at_once(&self, job: Box<dyn WriteJob>) -> Result<(), Box<dyn WriteJob>> {
        let Ok(mut committer) = self.committer.try_lock() else { return Err(job) };
        // What came before it is written before it. They are counted down under the lock that is held here.
        if self.waiting_writes.load(Ordering::Relaxed) > 0 {
            return Err(job);
        }
        committer.commit_at_once(job)?;
        self.metrics.writes.waits.observe_time(Duration::ZERO);
        Ok(())
    }

    fn enqueue(&self, job: Box<dyn WriteJob>) -> Result<(), StoreError> {
        self.waiting_writes.fetch_add(1, Ordering::Relaxed);
        let sent = self.writes.try_send(Some(Waiting::new(job)));
        sent.map_err(|error| {
            self.waiting_writes.fetch_sub(1, Ordering::Relaxed);
            let is_full = matches!(error, mpsc::error::TrySendError::Full(_));
            refuse(is_full, &self.metrics.writes)
        })
    }

    /// Hears of every commit with events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Commit> {
        self.commits.subscribe()
    }

    /// Its counters, for Prometheus.
    pub fn render_metrics(&self, text: &mut Text) {
        let writes = self.waiting_writes.load(Ordering::Relaxed);
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

fn serve_writes(
    committer: &Mutex<Committer>,
    mut queue: mpsc::Receiver<Queued<dyn WriteJob>>,
    waiting: &AtomicUsize,
) {
    // A panic within a job is caught before it comes to the lock.
    let lock = || committer.lock().unwrap_or_else(PoisonError::into_inner);
    let mut open = true;
    while open {
        let Some(Some(first)) = queue.blocking_recv() else { break };
        let mut committer = lock();
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        let more = others.take(GROUP_LIMIT - 1).map_while(|next| {
            open = next.is_some();
            next
        });
        let taken = std::iter::once(first).chain(more).inspect(|_| {
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
        committer.commit(taken);
        if queue.is_empty() {
            committer.checkpoint();
        }
    }
    lock().close();
    // Whoever is just putting something in hears that it is closed, too.
    queue.close();
    while queue.blocking_recv().is_some() {}
}

#[cfg(test)]
mod tests;
