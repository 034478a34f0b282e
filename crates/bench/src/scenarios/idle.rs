//! Ten thousand people who only listen: what letting them in and keeping them costs.

use std::time::Duration;

use anyhow::Result;

use super::beside_nchan;
use crate::process::to_f64;
use crate::servers::Audience;
use crate::sheet::{Bar, Sheet};
use crate::swarm::Swarm;
use crate::traffic;

const PEOPLE: usize = 10_000;
/// Enough that a server is always busy: authentication takes one round trip more than nchan's clients need.
const AT_ONCE: usize = 1024;
const KIB: &str = "resident KiB per idle connection";
const RATE: &str = "handshakes a second (Chaffer's with authentication)";

/// Runs it.
///
/// # Errors
/// When a server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let mut sheet = Sheet::new("idle: 10,000 connections", "nchan");
    let people: Vec<_> = (0..PEOPLE).map(|person| (person, Audience::Person(person))).collect();
    beside_nchan(repeats, |side, server| {
        let mut swarm = Swarm::new()?;
        let processes = server.processes();
        let (resident, cpu) = (processes.resident(), processes.cpu());
        let (_, took) = traffic::join(&mut swarm, server, &people, AT_ONCE)?;
        sheet.note(RATE, side, to_f64(PEOPLE as u64) / took.as_secs_f64());
        let cpu = (processes.cpu() - cpu) * 1e6 / to_f64(PEOPLE as u64);
        sheet.note("CPU microseconds per handshake", side, cpu);
        // What is given back is given back soon.
        std::thread::sleep(Duration::from_secs(1));
        let grown = processes.resident().saturating_sub(resident);
        sheet.note(KIB, side, to_f64(grown) / 1024.0 / to_f64(PEOPLE as u64));
        Ok(())
    })?;
    sheet.expect(KIB, Bar::AtMost(3.0));
    sheet.expect(RATE, Bar::RatioAtLeast(0.5));
    Ok(sheet)
}
