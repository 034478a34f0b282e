//! What the hot calls cost in shops of three sizes: rows that MariaDB reads, and, on SQLite under callgrind, instructions and
//! allocations. The tests `crates/api/src/costs.rs` count them, in their own (debug) build; here they are run with a million
//! messages, and what they say becomes a table.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::in_folder;
use crate::servers::mariadb::Mariadb;
use crate::sheet::{Bar, Sheet, Side};

/// Told to the tests: the largest shop.
const MESSAGES: &str = "1000000";
/// What may grow with the shop: nothing, but for a fifth.
const MOST: f64 = 1.2;

/// Runs it, once: counts are the same each time.
///
/// # Errors
/// When the tests cannot be run, or do not say all.
pub fn run(_: usize) -> Result<Sheet> {
    let title = "costs: a call in a larger shop, beside the same among 10,000 messages";
    let mut sheet = Sheet::new(title, "10,000 messages");
    let said = in_folder(|folder| {
        let server = Mariadb::start(folder)?;
        let output = Command::new("cargo")
            // As `make test` builds them.
            .args(["test", "--locked", "--workspace"])
            .args(["--features", "chaffer-api/mysql,chaffer-push/echo", "--bin", "chaffer-api"])
            .args(["--", "--nocapture", "--test-threads=1", "costs::no_call"])
            // Whoever runs this may stand elsewhere.
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .env("COSTS_MESSAGES", MESSAGES)
            .env("TEST_MARIADB_URL", server.server_url())
            .env("CARGO_PROFILE_DEV_STRIP", "none")
            .env("CI", "1")
            .output()
            .context("cannot run cargo")?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    })?;
    let numbers: Vec<Number> = said.lines().filter_map(Number::parse).collect();
    let Some(smallest) = numbers.iter().map(|it| it.messages).min() else {
        bail!("the tests said no numbers: {said}");
    };
    for it in numbers.iter().filter(|it| it.messages > smallest) {
        let base = numbers
            .iter()
            .find(|base| base.messages == smallest && base.call == it.call && base.what == it.what);
        let base = base.with_context(|| format!("no base for {}", it.call))?;
        let row = format!("{}: {} among {} messages", it.call, it.what, it.messages);
        sheet.note(&row, Side::Ours, it.count);
        sheet.note(&row, Side::Theirs, base.count);
        sheet.expect(&row, Bar::RatioAtMost(MOST));
    }
    Ok(sheet)
}

/// One line of the tests.
struct Number<'a> {
    call: &'a str,
    what: &'a str,
    count: f64,
    messages: u64,
}

impl<'a> Number<'a> {
    /// `post: 53 rows read among 10000 messages`.
    fn parse(line: &'a str) -> Option<Self> {
        let (call, rest) = line.split_once(": ")?;
        let (numbers, messages) = rest.strip_suffix(" messages")?.rsplit_once(" among ")?;
        let (count, what) = numbers.split_once(' ')?;
        Some(Self { call, what, count: count.parse().ok()?, messages: messages.parse().ok()? })
    }
}
