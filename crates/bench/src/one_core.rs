//! One core for the thread that plays all clients, while events are sent at a steady rate.
//!
//! Over loopback the kernel likes to move whoever is woken to the core of the one that wakes it. A server and its clients, on
//! machines of their own in real life, then take turns on one core while the others idle, in some runs and not in others, and the
//! percentiles tell how often. So it is rarer. To keep the servers off that core, too, was tried: on two cores their CPU then is
//! that of sockets whose other end is in another core's cache (`fanout` 3.6 instead of 2.4 s a million, `shop` 23 instead of 14).

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// While this lives, its thread stays on one core.
pub struct OneCore {
    before: Option<CpuSet>,
}

impl OneCore {
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

impl Drop for OneCore {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(None, before);
        }
    }
}
