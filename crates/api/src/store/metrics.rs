//! What the store counts about itself.

use chaffer_shared::metrics::{Counter, Histogram, SECONDS, Text};

/// Bounds for how many jobs share a commit.
const JOBS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The counters of one store.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) reads: Queue,
    pub(super) writes: Queue,
    pub(super) commits: Counter,
    pub(super) commits_failed: Counter,
    pub(super) commit_jobs: Histogram,
    pub(super) commit_seconds: Histogram,
    pub(super) events: Counter,
}

/// Of one of the two queues.
#[derive(Debug)]
pub(super) struct Queue {
    /// How long jobs waited for their turn.
    pub(super) waits: Histogram,
    /// Jobs turned away because too many waited.
    pub(super) rejected: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let queue = || Queue { waits: Histogram::new(SECONDS), rejected: Counter::new() };
        Self {
            reads: queue(),
            writes: queue(),
            commits: Counter::new(),
            commits_failed: Counter::new(),
            commit_jobs: Histogram::new(JOBS),
            commit_seconds: Histogram::new(SECONDS),
            events: Counter::new(),
        }
    }
}

impl Metrics {
    /// With how many jobs wait now to read and to write.
    pub(super) fn render(&self, text: &mut Text, reading: usize, writing: usize) {
        let queues = [("read", &self.reads, reading), ("write", &self.writes, writing)];
        let name = "chaffer_api_store_queue_jobs";
        text.metric(name, "gauge", "Jobs that wait for the database.");
        for (queue, _, waiting) in queues {
            text.value(name, &[("queue", queue)], waiting);
        }
        let name = "chaffer_api_store_rejected_total";
        text.metric(
            name,
            "counter",
            "Jobs turned away because too many waited; answered with 503.",
        );
        for (queue, counts, _) in queues {
            text.value(name, &[("queue", queue)], counts.rejected.get());
        }
        let name = "chaffer_api_store_wait_seconds";
        text.metric(name, "histogram", "How long jobs waited for their turn.");
        for (queue, counts, _) in queues {
            text.histogram(name, &[("queue", queue)], &counts.waits);
        }
        text.counter("chaffer_api_store_commits_total", "Commits of writes.", &self.commits);
        text.counter(
            "chaffer_api_store_commits_failed_total",
            "Groups of writes given up.",
            &self.commits_failed,
        );
        let name = "chaffer_api_store_commit_jobs";
        text.metric(name, "histogram", "Writes that shared one commit.");
        text.histogram(name, &[], &self.commit_jobs);
        let name = "chaffer_api_store_commit_seconds";
        text.metric(name, "histogram", "Time of a commit with the writes in it.");
        text.histogram(name, &[], &self.commit_seconds);
        text.counter("chaffer_api_store_events_total", "Events stored.", &self.events);
    }
}
