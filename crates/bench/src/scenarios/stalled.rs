//! Ten clients that never read, beside ten that do. Each daemon is its own peer: first without the ten, then with.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::in_folder;
use crate::process::{Processes, to_f64};
use crate::servers::push::Push;
use crate::servers::{Audience, Fanout};
use crate::sheet::{Bar, Sheet, Side};
use crate::swarm::Swarm;
use crate::traffic::{self, AT_ONCE, Outcome, Plan};

const READERS: usize = 10;
const STALLED: usize = 10;
const PLAN: Plan = Plan { rate: 200, seconds: 4, bytes: 60 * 1024 };
const P99: &str = "99th percentile of the readers, ms";
const GROWTH: &str = "peak growth per stalled client, MiB";
const KEPT: &str = "of it left two seconds later, MiB per stalled client";

/// Runs it.
///
/// # Errors
/// When the server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let title =
        "stalled: ten clients that never read beside ten that do, 200 events of 60 KB a second";
    let mut sheet = Sheet::new(title, "without the ten");
    for _ in 0..repeats {
        in_folder(|folder| {
            let mut server = Push::start(folder)?;
            let mut swarm = Swarm::new()?;
            let everybody = |people: std::ops::Range<usize>| -> Vec<_> {
                people.map(|person| (person, Audience::All)).collect()
            };
            let readers = everybody(0..READERS);
            let (readers, _) = traffic::join(&mut swarm, &server, &readers, AT_ONCE)?;
            // The replay memory fills up in the first run, so that it does not count as growth in the second.
            let (alone, _) = send(&mut swarm, &mut server, &readers)?;
            note(&mut sheet, Side::Theirs, alone);
            let before = settled(&server.processes());
            let stalled = everybody(READERS..READERS + STALLED);
            let (stalled, _) = traffic::join(&mut swarm, &server, &stalled, AT_ONCE)?;
            stalled.iter().for_each(|client| swarm.deafen(*client));
            let (beside, peak) = send(&mut swarm, &mut server, &readers)?;
            note(&mut sheet, Side::Ours, beside);
            let mebibytes = |bytes: u64| to_f64(bytes) / to_f64(1 << 20) / to_f64(STALLED as u64);
            sheet.note(GROWTH, Side::Ours, mebibytes(peak.saturating_sub(before)));
            let after = settled(&server.processes());
            sheet.note(KEPT, Side::Ours, mebibytes(after.saturating_sub(before)));
            Ok(())
        })?;
    }
    sheet.expect(P99, Bar::RatioAtMost(2.0));
    sheet.expect("lost by the readers", Bar::Never);
    sheet.expect(GROWTH, Bar::AtMost(1.5));
    sheet.expect(KEPT, Bar::AtMost(0.15));
    Ok(sheet)
}

/// Sends to all; returns what the readers saw, and the daemon's largest size meanwhile.
fn send(swarm: &mut Swarm, server: &mut Push, readers: &[usize]) -> Result<(Outcome, u64)> {
    let processes = server.processes();
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                peak.fetch_max(processes.resident(), SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let outcome = traffic::run(
            swarm,
            server,
            PLAN,
            |_| vec![Audience::All],
            |_| readers.len() as u64,
            |client| readers.contains(&client),
        );
        done.store(true, SeqCst);
        Ok((outcome?, peak.load(SeqCst)))
    })
}

fn note(sheet: &mut Sheet, side: Side, mut outcome: Outcome) {
    sheet.note("median of the readers, ms", side, outcome.percentile(50));
    sheet.note(P99, side, outcome.percentile(99));
    sheet.note("lost by the readers", side, to_f64(outcome.expected - outcome.delivered));
}

/// The size after two seconds.
fn settled(processes: &Processes) -> u64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(100));
    }
    processes.resident()
}
