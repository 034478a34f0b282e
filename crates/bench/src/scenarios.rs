//! What is measured, a file each.

pub mod costs;
pub mod fanout;
pub mod idle;
pub mod post;
pub mod posters;
pub mod resting;
pub mod search;
pub mod shop;
pub mod stalled;
pub mod storm;

use anyhow::Result;
use std::path::Path;

use crate::servers::Fanout;
use crate::servers::nchan::Nchan;
use crate::servers::push::Push;
use crate::sheet::{Sheet, Side};

/// One scenario: its name, and what runs it so many times.
pub type Scenario = (&'static str, fn(usize) -> Result<Sheet>);

/// All of them, in the order in which they are run.
pub const ALL: &[Scenario] = &[
    ("fanout", fanout::run),
    ("idle", idle::run),
    ("shop", shop::run),
    ("stalled", stalled::run),
    ("storm", storm::run),
    ("post", post::run),
    ("post-wal", post::run_beside_wal),
    ("posters", posters::run),
    ("resting", resting::run),
    ("costs", costs::run),
    ("search", search::run),
];

/// Runs something on a fresh Chaffer and on a fresh nchan, again and again, back to back.
///
/// # Errors
/// When a server fails.
fn beside_nchan(
    repeats: usize,
    mut run: impl FnMut(Side, &mut dyn Fanout) -> Result<()>,
) -> Result<()> {
    for _ in 0..repeats {
        in_folder(|folder| run(Side::Ours, &mut Push::start(folder)?))?;
        in_folder(|folder| run(Side::Theirs, &mut Nchan::start(folder)?))?;
    }
    Ok(())
}

/// Gives a folder that is gone afterwards.
fn in_folder<T>(run: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::Builder::new().prefix("chaffer-bench-").tempdir()?;
    run(folder.path())
}
