//! Jobs for the database: what a call wants read or written, while it waits in a queue, and what became of it.

use std::time::Instant;

use tokio::sync::oneshot;

use super::executor::{Reader, Writer};
use super::metrics::Queue;
use super::{Id, StoreError};

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

/// What stands in a queue: a job, or, for the thread that takes it, the end.
pub(super) type Queued<J> = Option<Waiting<J>>;

/// A job in a queue, and since when.
pub(super) struct Waiting<J: ?Sized> {
    since: Instant,
    job: Box<J>,
}

impl<J: ?Sized> Waiting<J> {
    pub(super) fn new(job: Box<J>) -> Self {
        Self { since: Instant::now(), job }
    }

    /// Its turn has come.
    pub(super) fn begin(self, queue: &Queue) -> Box<J> {
        queue.waits.observe_time(self.since.elapsed());
        self.job
    }
}

/// A job, what its last run came to, and who waits for it.
pub(super) struct Job<F, T, E> {
    /// Of a post: where it goes.
    thread: Option<Id>,
    run: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E: JobError> Job<F, T, E> {
    pub(super) fn new(thread: Option<Id>, run: F) -> (Self, oneshot::Receiver<Result<T, E>>) {
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
pub(super) enum Verdict {
    Done,
    /// The job's own error: nothing of it may stay.
    Refused,
    /// The database's: the whole transaction has to be run again.
    Disturbed {
        lost: bool,
    },
}

/// Ends a job, whatever its types.
pub(super) trait Answer: Send {
    /// Tells the outcome of the last run.
    fn answer(self: Box<Self>);
    /// Tells that it could not be run, or not be committed.
    fn fail(self: Box<Self>, error: StoreError);
}

pub(super) trait ReadJob: Answer {
    fn run(&mut self, reader: &mut Reader<'_>) -> Verdict;
}

pub(super) trait WriteJob: Answer {
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
