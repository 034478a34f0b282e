//! From a POST to the other person's socket.

use anyhow::Result;

use super::in_folder;
use crate::process::to_f64;
use crate::servers::prosody::{Journal, Prosody};
use crate::servers::stack::Stack;
use crate::sheet::{Bar, Sheet, Side};
use crate::talk::Talkers;

const PAIRS: u32 = 20;
const RATE: u32 = 200;
/// Both servers are up, and so many slices of the same traffic go to either in turn (decision 31).
const SLICES: usize = 4;
const SLICE_SECONDS: u32 = 3;
const CPU: &str = "CPU microseconds per message, database included";
const P50: &str = "median, ms";
const P99: &str = "99th percentile, ms";

/// Runs it beside Prosody's SQLite as Prosody 0.12 opens it: with the rollback journal, for which it has no setting.
///
/// # Errors
/// When a server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let title = "post: 20 pairs, 200 messages a second, stored in SQLite and delivered (Prosody 0.12 with SQLite's default journal, Chaffer with WAL)";
    beside_prosody(repeats, title, Journal::Rollback)
}

/// Like for like: beside a Prosody whose database file was given write-ahead logging by hand.
///
/// # Errors
/// When a server fails.
pub fn run_beside_wal(repeats: usize) -> Result<Sheet> {
    let title =
        "post-wal: the same, both with write-ahead logging (given to Prosody's file by hand)";
    beside_prosody(repeats, title, Journal::Wal)
}

fn beside_prosody(repeats: usize, title: &str, journal: Journal) -> Result<Sheet> {
    let mut sheet = Sheet::new(title, "Prosody");
    for _ in 0..repeats {
        in_folder(|ours| {
            in_folder(|theirs| {
                let url = format!("sqlite://{}", ours.join("chaffer.sqlite").display());
                let mut stack = Stack::start(ours, &url)?;
                let mut prosody = Prosody::start(theirs, journal)?;
                let mut sides = [
                    (Side::Ours, Talkers::meet(&mut stack, PAIRS)?),
                    (Side::Theirs, Talkers::meet(&mut prosody, PAIRS)?),
                ];
                for _ in 0..SLICES {
                    for (_, talkers) in &mut sides {
                        talkers.talk(RATE, SLICE_SECONDS)?;
                    }
                    sides.reverse();
                }
                sides.into_iter().for_each(|(side, talkers)| note(&mut sheet, side, talkers));
                Ok(())
            })
        })?;
    }
    sheet.expect(CPU, Bar::RatioAtMost(0.5));
    sheet.expect(P50, Bar::RatioAtMost(1.0));
    sheet.expect(P99, Bar::RatioAtMost(1.0));
    sheet.expect("lost", Bar::Never);
    Ok(sheet)
}

fn note(sheet: &mut Sheet, side: Side, mut talkers: Talkers) {
    let mut note = |what: &str, value: f64| sheet.note(what, side, value);
    let (sent, delivered) = (talkers.sent(), talkers.delivered());
    note(P50, talkers.percentile(50));
    note(P99, talkers.percentile(99));
    note(CPU, talkers.cpu() * 1e6 / to_f64(delivered));
    note("lost", to_f64(sent - delivered));
}
