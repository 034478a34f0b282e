//! One channel that a thousand people hear.

use anyhow::Result;

use super::beside_nchan;
use crate::process::to_f64;
use crate::servers::Audience;
use crate::sheet::{Bar, Sheet};
use crate::swarm::Swarm;
use crate::traffic::{self, AT_ONCE, Plan};

const SUBSCRIBERS: usize = 1000;
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
    let everybody: Vec<_> = (0..SUBSCRIBERS).map(|person| (person, Audience::All)).collect();
    beside_nchan(repeats, |side, server| {
        let mut swarm = Swarm::new()?;
        traffic::join(&mut swarm, server, &everybody, AT_ONCE)?;
        for (rate, prefix) in [(100, ""), (200, "twice the rate: ")] {
            let plan = Plan { rate, seconds: 5, bytes: 128 };
            let mut outcome = traffic::run(
                &mut swarm,
                server,
                plan,
                |_| vec![Audience::All],
                |_| SUBSCRIBERS as u64,
                |_| true,
            )?;
            let mut note =
                |what: &str, value: f64| sheet.note(&format!("{prefix}{what}"), side, value);
            let millions = to_f64(outcome.delivered) / 1e6;
            note(CPU, outcome.cpu / millions);
            note("the same of the load generator", outcome.own_cpu / millions);
            note("median, ms", outcome.percentile(50));
            note(P99, outcome.percentile(99));
            note("lost", to_f64(outcome.expected - outcome.delivered));
        }
        Ok(())
    })?;
    sheet.expect(CPU, Bar::RatioAtMost(0.8));
    sheet.expect(P99, Bar::RatioAtMost(1.0));
    sheet.expect("lost", Bar::AtMost(0.0));
    sheet.expect(LOST, Bar::AtMost(0.0));
    Ok(sheet)
}
