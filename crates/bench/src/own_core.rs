//! A core for the thread that plays all clients, while events are sent at a steady rate.
//!
//! Over loopback the kernel moves whoever is woken to the core of the one that wakes it. A server and its clients, on machines of
//! their own in real life, would take turns on one core while the others idle, in one run and not in the next, and the
//! percentiles would tell how often. The servers may run on any core.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// While this lives, its thread stays on one core.
pub struct OwnCore {
    before: Option<CpuSet>,
}

impl OwnCore {
    /// For the calling thread: the last of the cores that it may run on.
    #[must_use]
    pub fn take() -> Self {
        let before = sched_getaffinity(None).ok();
        let last = before.and_then(|set| (0..CpuSet::MAX_CPU).rfind(|core| set.is_set(*core)));
        if let Some(last) = last {
            let mut only = CpuSet::new();
            only.set(last);
            // Without it the numbers only scatter more.
            let _ = sched_setaffinity(None, &only);
        }
        Self { before }
    }
}

impl Drop for OwnCore {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(None, before);
        }
    }
}
