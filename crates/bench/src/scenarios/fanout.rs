//! One channel that a thousand people hear.

use anyhow::Result;

use super::in_folder;
use crate::process::{Processes, to_f64};
use crate::servers::nchan::Nchan;
use crate::servers::push::Push;
use crate::servers::{Audience, Fanout};
use crate::sheet::{Bar, Sheet, Side};
use crate::swarm::Swarm;
use crate::traffic::{self, AT_ONCE, Outcome, Plan};

const SUBSCRIBERS: usize = 1000;
/// Both servers are up, and so many slices of the same traffic go to either in turn (decision 31).
const SLICES: usize = 4;
const SLICE_SECONDS: u32 = 3;
const CPU: &str = "CPU seconds per million deliveries";
const P99: &str = "99th percentile, ms";
const LOST: &str = "twice the rate: lost";

/// Runs it.
///
/// # Errors
/// When a server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let title = "fanout: 1,000 subscribers, 100 events of 128 bytes a second";
    let mut sheet = Sheet::new(title, "nchan");
    for _ in 0..repeats {
        in_folder(|ours| {
            in_folder(|theirs| {
                let (mut ours, mut theirs) = (Push::start(ours)?, Nchan::start(theirs)?);
                let mut sides = [
                    Crowd::gather(Side::Ours, &mut ours)?,
                    Crowd::gather(Side::Theirs, &mut theirs)?,
                ];
                for (rate, prefix) in [(100, ""), (200, "twice the rate: ")] {
                    sides.iter_mut().for_each(Crowd::begin);
                    for _ in 0..SLICES {
                        sides.iter_mut().try_for_each(|crowd| crowd.hear(rate))?;
                        sides.reverse();
                    }
                    sides.iter_mut().for_each(|crowd| crowd.note(&mut sheet, prefix));
                }
                Ok(())
            })
        })?;
    }
    sheet.expect(CPU, Bar::RatioAtMost(0.8));
    sheet.expect(P99, Bar::RatioAtMost(1.0));
    sheet.expect("lost", Bar::Never);
    sheet.expect(LOST, Bar::Never);
    Ok(sheet)
}

/// A server, and the thousand who listen to it.
struct Crowd<'a> {
    side: Side,
    server: &'a mut dyn Fanout,
    swarm: Swarm,
    processes: Processes,
    /// The server's CPU seconds before the first slice.
    cpu_before: f64,
    heard: Outcome,
}

impl<'a> Crowd<'a> {
    fn gather(side: Side, server: &'a mut dyn Fanout) -> Result<Self> {
        let everybody: Vec<_> = (0..SUBSCRIBERS).map(|person| (person, Audience::All)).collect();
        let mut swarm = Swarm::new()?;
        traffic::join(&mut swarm, server, &everybody, AT_ONCE)?;
        let (processes, heard) = (server.processes(), Outcome::default());
        Ok(Self { side, server, swarm, processes, cpu_before: 0.0, heard })
    }

    /// Forgets what was heard so far.
    fn begin(&mut self) {
        self.heard = Outcome::default();
        self.cpu_before = self.processes.cpu();
    }

    /// One slice.
    fn hear(&mut self, rate: u32) -> Result<()> {
        let plan = Plan { rate, seconds: SLICE_SECONDS, bytes: 128 };
        self.heard.add(traffic::run(
            &mut self.swarm,
            self.server,
            plan,
            |_| vec![Audience::All],
            |_| SUBSCRIBERS as u64,
            |_| true,
        )?);
        Ok(())
    }

    /// Writes down what came of all slices.
    fn note(&mut self, sheet: &mut Sheet, prefix: &str) {
        let Self { processes, cpu_before, heard, .. } = self;
        let mut note = |what: &str, value| sheet.note(&format!("{prefix}{what}"), self.side, value);
        let millions = to_f64(heard.delivered) / 1e6;
        note(CPU, (processes.cpu() - *cpu_before) / millions);
        note("the same of the load generator", heard.own_cpu / millions);
        note("median, ms", heard.percentile(50));
        note(P99, heard.percentile(99));
        note("lost", to_f64(heard.expected - heard.delivered));
    }
}
