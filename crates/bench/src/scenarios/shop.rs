//! A shop's real traffic: everybody has a channel of their own, and each message goes to the few whom it concerns.

use anyhow::Result;

use super::beside_nchan;
use crate::process::to_f64;
use crate::servers::Audience;
use crate::sheet::{Bar, Sheet};
use crate::swarm::Swarm;
use crate::traffic::{self, AT_ONCE, Plan};

const PEOPLE: usize = 10_000;
const P99: &str = "99th percentile, ms";

/// Runs it.
///
/// # Errors
/// When a server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let title = "shop: 10,000 people, 2,000 messages a second, each for two to four of them";
    let mut sheet = Sheet::new(title, "nchan");
    let people: Vec<_> = (0..PEOPLE).map(|person| (person, Audience::Person(person))).collect();
    beside_nchan(repeats, |side, server| {
        let mut swarm = Swarm::new()?;
        traffic::join(&mut swarm, server, &people, AT_ONCE)?;
        let processes = server.processes();
        let cpu = processes.cpu();
        let plan = Plan { rate: 2000, seconds: 6, bytes: 128 };
        let mut outcome = traffic::run(
            &mut swarm,
            server,
            plan,
            some_people,
            |people| people.len() as u64,
            |_| true,
        )?;
        let cpu = processes.cpu() - cpu;
        let mut note = |what: &str, value: f64| sheet.note(what, side, value);
        let millions = to_f64(outcome.delivered) / 1e6;
        note("CPU seconds per million deliveries", cpu / millions);
        note("the same of the load generator", outcome.own_cpu / millions);
        note("median, ms", outcome.percentile(50));
        note(P99, outcome.percentile(99));
        note("lost", to_f64(outcome.expected - outcome.delivered));
        Ok(())
    })?;
    sheet.expect("lost", Bar::Never);
    Ok(sheet)
}

/// Two to four different people, always the same ones for the same number.
#[must_use]
pub fn some_people(number: u32) -> Vec<Audience> {
    // Steps far apart, so that neighbours in the list are no neighbours in the server's memory.
    let first = number as usize * 7919;
    (0..2 + number as usize % 3)
        .map(|nth| Audience::Person((first + nth * 3331) % PEOPLE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_two_to_four_and_different() {
        for number in 0..1000 {
            let people = some_people(number);
            assert!((2..=4).contains(&people.len()));
            assert!((1..people.len()).all(|at| !people[..at].contains(&people[at])));
        }
    }
}
