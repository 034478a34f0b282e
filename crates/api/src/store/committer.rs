//! Commits jobs that write, several at once: they share the cost of one durable commit (group commit). When one of them is
//! refused, the group is run once more with a savepoint before each, so that it leaves the others alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaffer_shared::topic::Topic;
use tokio::sync::broadcast;

use super::connection::{Database, Use};
use super::events::{Counters, StoredEvent};
use super::executor::Writer;
use super::jobs::{Answer, Verdict, Waiting, WriteJob};
use super::metrics::Metrics;
use super::shared_rows::SharedRows;
use super::{DatabaseUrl, Id, StoreError};

/// With how many events a commit ends early, so that the first job does not wait long for the others: a message to a vendor with
/// many admins has one each.
const EVENT_LIMIT: usize = 1000;
/// How many posts look up together what they need: few enough that a message to a vendor with many admins ends the group before
/// much of it was for nothing.
const SHARING: usize = 16;
/// After so many commits SQLite's log is brought into the file, as soon as nobody waits.
const CHECKPOINT_AFTER: u32 = 100;
/// How often a group is run again after a conflict or a lost connection.
const GROUP_ATTEMPTS: u32 = 5;
/// How long each time to wait for another process that writes to the same file (a tool, or a predecessor that is about to end),
/// and how often to look.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_LOOK: Duration = Duration::from_millis(5);
/// While commits take longer than that, none is made on a thread that has other things to do.
pub(super) const AT_ONCE: Duration = Duration::from_millis(5);

/// What one commit added, told to all who [`Store::subscribe`](super::Store::subscribe).
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

/// A connection to write with, which leaves it to us how long to wait for other processes.
fn connect(url: &DatabaseUrl) -> Result<Database, StoreError> {
    let mut database = url.connect(Use::Writing)?;
    database.never_wait()?;
    Ok(database)
}

/// Begins a transaction, once no other process writes.
fn begin(database: &mut Database) -> Result<(), StoreError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match database.begin_writing().map_err(StoreError::from) {
            Err(error) if error.is_conflict() && Instant::now() < until => {
                std::thread::sleep(LOCK_LOOK);
            }
            done => return done,
        }
    }
}

/// The one that writes: with the connection for it, if there is one.
pub(super) struct Committer {
    url: DatabaseUrl,
    connection: Option<Database>,
    commits: broadcast::Sender<Commit>,
    metrics: Arc<Metrics>,
    /// Since the last checkpoint.
    commits_in_log: u32,
    /// Whether that brought over all of it: for somebody who reads for long, a backup, the log is kept.
    emptied: bool,
    /// How long the last run took, and when it ended.
    took: Duration,
    ended: Instant,
    /// How long the last commit took that had something to write.
    durable: Duration,
}

impl Committer {
    pub(super) fn open(
        url: DatabaseUrl,
        commits: broadcast::Sender<Commit>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let connection = Some(connect(&url)?);
        Ok(Self {
            url,
            connection,
            commits,
            metrics,
            commits_in_log: 0,
            emptied: true,
            took: Duration::ZERO,
            ended: Instant::now(),
            durable: Duration::ZERO,
        })
    }

    /// Commits these jobs, whose turn has come, and answers them.
    pub(super) fn commit(&mut self, group: impl Iterator<Item = Waiting<dyn WriteJob>>) {
        let group = group.map(|waiting| waiting.begin(&self.metrics.writes)).collect();
        // It tries again by itself.
        let _none = self.run(group, false);
    }

    /// Commits one job, on a thread that has other things to do: only into a file on this machine that nobody else
    /// writes to, if the last commit was quick and has been over for at least as long as it took, and the log is short. So such a
    /// thread is held up for half of its time at the most, and writes that follow each other closely share commits. Otherwise
    /// gives the job back.
    pub(super) fn commit_at_once(
        &mut self,
        job: Box<dyn WriteJob>,
    ) -> Result<(), Box<dyn WriteJob>> {
        let has_room = self.emptied && self.commits_in_log < CHECKPOINT_AFTER;
        if self.durable > AT_ONCE || !has_room || self.ended.elapsed() < self.took {
            return Err(job);
        }
        let Some(database) = self.connection.as_mut().filter(|it| it.is_sqlite()) else {
            return Err(job);
        };
        if database.begin_writing().is_err() {
            return Err(job);
        }
        self.run(vec![job], true).pop().map_or(Ok(()), Err)
    }

    /// Brings SQLite's log into the file, if it has grown: after the answers, not within a commit as SQLite does by itself, for
    /// which one post in a hundred would wait.
    pub(super) fn checkpoint(&mut self) {
        if self.commits_in_log < CHECKPOINT_AFTER {
            return;
        }
        self.commits_in_log = 0;
        match self.connection.as_mut().map(Database::checkpoint) {
            Some(Ok(emptied)) => self.emptied = emptied,
            Some(Err(error)) => {
                tracing::warn!(%error, "SQLite's log could not be brought into the file");
            }
            None => {}
        }
    }

    /// Ends the session with the database.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Runs and answers them. If a transaction was `begun`, whoever did so has no time to try again: returns those for which
    /// that is needed.
    fn run(&mut self, group: Vec<Box<dyn WriteJob>>, begun: bool) -> Vec<Box<dyn WriteJob>> {
        let start = Instant::now();
        let left = self.run_all(group, begun);
        self.ended = Instant::now();
        self.took = self.ended - start;
        left
    }

    fn run_all(
        &mut self,
        mut group: Vec<Box<dyn WriteJob>>,
        begun: bool,
    ) -> Vec<Box<dyn WriteJob>> {
        let mut attempt = 1;
        // A savepoint is two statements, and a copy of every page that the job changes: most groups do without.
        let mut savepoints = false;
        while !group.is_empty() {
            let start = Instant::now();
            let try_group = || self.try_group(&mut group, savepoints, begun);
            let tried = catch_unwind(AssertUnwindSafe(try_group));
            let error = match tried {
                Ok(Ok((done, commit))) => {
                    self.metrics.commits.increment();
                    self.commits_in_log += 1;
                    // A few at most.
                    self.metrics.commit_jobs.observe(f64::from(u32::try_from(done).unwrap_or(0)));
                    self.metrics.commit_seconds.observe_time(start.elapsed());
                    if let Some(commit) = commit {
                        self.durable = start.elapsed();
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
                    group.into_iter().for_each(failed);
                    return Vec::new();
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
                group.into_iter().for_each(failed);
                return Vec::new();
            }
            if begun {
                return group;
            }
            tracing::debug!(%error, attempt, "a group of writes is run again");
            std::thread::sleep(Duration::from_millis(5) * attempt);
            attempt += 1;
        }
        group
    }

    /// Commits the first jobs of a group, in most cases all of them; tells how many.
    fn try_group(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        savepoints: bool,
        begun: bool,
    ) -> Result<(usize, Option<Commit>), GroupError> {
        let database = match &mut self.connection {
            Some(database) => database,
            None => self.connection.insert(connect(&self.url)?),
        };
        if !begun {
            begin(database)?;
        }
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
