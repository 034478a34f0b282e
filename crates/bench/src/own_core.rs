//! A core for the thread that plays all clients, while events are sent at a steady rate; the others for the servers.
//!
//! Over loopback the kernel moves whoever is woken to the core of the one that wakes it. A server and its clients, on machines of
//! their own in real life, would take turns on one core while the others idle, in one run and not in the next, and the
//! percentiles would tell how often.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::process::Processes;

/// While this lives, the thread that made it has a core to itself.
pub struct OwnCore {
    before: Vec<(Option<Pid>, CpuSet)>,
}

impl OwnCore {
    /// For the calling thread the last of its cores, for the servers' threads the rest. With a single core nothing changes.
    #[must_use]
    pub fn take(servers: &Processes) -> Self {
        let mut taken = Self { before: Vec::new() };
        let Ok(all) = sched_getaffinity(None) else { return taken };
        let Some(last) = (0..CpuSet::MAX_CPU).rfind(|core| all.is_set(*core)) else { return taken };
        let (mut own, mut others) = (CpuSet::new(), all);
        own.set(last);
        others.unset(last);
        if others.count() > 0 {
            taken.place(None, &own);
            servers.threads().for_each(|thread| taken.place(Some(thread), &others));
        }
        taken
    }

    fn place(&mut self, thread: Option<Pid>, cores: &CpuSet) {
        // Where it fails, a thread has ended, or the numbers only scatter more.
        if let Ok(before) = sched_getaffinity(thread)
            && sched_setaffinity(thread, cores).is_ok()
        {
            self.before.push((thread, before));
        }
    }
}

impl Drop for OwnCore {
    fn drop(&mut self) {
        for (thread, before) in &self.before {
            let _ = sched_setaffinity(*thread, before);
        }
    }
}
