//! Acknowledged messages a second, beside a bare loop that commits the same rows one at a time: the database's own
//! command-line client, on the same file or server, into tables without a single index.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::in_folder;
use crate::process::to_f64;
use crate::servers::mariadb::Mariadb;
use crate::servers::stack::Stack;
use crate::sheet::{Bar, Sheet, Side};

const POSTERS: [usize; 3] = [1, 8, 64];
const SECONDS: u64 = 3;
/// So many commits of the bare loop.
const COMMITS: u64 = 400;

/// Runs it.
///
/// # Errors
/// When a server fails.
pub fn run(repeats: usize) -> Result<Sheet> {
    let title = "posters: acknowledged messages a second at full durability";
    let mut sheet = Sheet::new(title, "bare loop");
    for _ in 0..repeats {
        in_folder(|folder| {
            let file = folder.join("chaffer.sqlite");
            let url = format!("sqlite://{}", file.display());
            measure(&mut sheet, "SQLite", folder, &url, || {
                let mut client = Command::new("sqlite3");
                client.arg(&file);
                client
            })
        })?;
        in_folder(|folder| {
            let server = Mariadb::start(folder)?;
            measure(&mut sheet, "MariaDB", folder, &server.url(), || server.client())
        })?;
    }
    for database in ["SQLite", "MariaDB"] {
        sheet.expect(&row(database, 64), Bar::RatioAtLeast(1.0));
    }
    Ok(sheet)
}

fn row(database: &str, posters: usize) -> String {
    format!("{database}, {posters} at once")
}

fn measure(
    sheet: &mut Sheet,
    database: &str,
    folder: &Path,
    url: &str,
    client: impl Fn() -> Command,
) -> Result<()> {
    let stack = Stack::start(folder, url)?;
    let most = POSTERS.into_iter().max().unwrap_or_default();
    let mut posters = (0..most).map(|n| stack.poster(n)).collect::<Result<Vec<_>>>()?;
    for count in POSTERS {
        let (acknowledged, start) = (AtomicU64::new(0), Instant::now());
        let run = |post: &mut (dyn FnMut(&str) -> Result<()> + Send)| -> Result<()> {
            while start.elapsed() < Duration::from_secs(SECONDS) {
                post("Is it still there, and would you send it to Hamburg by Friday?")?;
                acknowledged.fetch_add(1, Relaxed);
            }
            Ok(())
        };
        std::thread::scope(|scope| -> Result<()> {
            let run = &run;
            let posters = posters.iter_mut().take(count);
            let threads: Vec<_> = posters.map(|post| scope.spawn(move || run(post))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().ok().context("a poster")?)
        })?;
        let rate = to_f64(acknowledged.load(Relaxed)) / start.elapsed().as_secs_f64();
        sheet.note(&row(database, count), Side::Ours, rate);
    }
    drop(stack);
    let rate = bare_loop(folder, client)?;
    for count in POSTERS {
        sheet.note(&row(database, count), Side::Theirs, rate);
    }
    Ok(())
}

/// Commits a second of one client that copies the messages stored last, with their events, one message a commit.
fn bare_loop(folder: &Path, client: impl Fn() -> Command) -> Result<f64> {
    let feed = |sql: &str| ask(&client, folder, sql);
    let mut tables = String::new();
    for table in ["messages", "events"] {
        let _ = writeln!(tables, "CREATE TABLE bare_{table} AS SELECT * FROM {table} WHERE 1 = 0;");
    }
    feed(&tables)?;
    let counts = "SELECT (SELECT COUNT(*) FROM messages), (SELECT COUNT(*) FROM events);";
    let each = events_for_each(&feed(counts)?)?;
    let mut sql = String::new();
    for nth in 1..=COMMITS {
        let events = format!("BETWEEN {} AND {}", (nth - 1) * each + 1, nth * each);
        let _ = writeln!(
            sql,
            "BEGIN;
INSERT INTO bare_messages SELECT * FROM messages WHERE id = {nth};
INSERT INTO bare_events SELECT * FROM events WHERE id {events};
UPDATE counters SET value = value + 1 WHERE name = 'event';
COMMIT;"
        );
    }
    let start = Instant::now();
    feed(&format!("{}{sql}", pragma(&client())))?;
    Ok(to_f64(COMMITS) / start.elapsed().as_secs_f64())
}

/// Lets the command-line client carry out some SQL, and returns what it prints.
fn ask(client: impl Fn() -> Command, folder: &Path, sql: &str) -> Result<String> {
    let file = folder.join("bare.sql");
    std::fs::write(&file, sql)?;
    let output = client().stdin(std::fs::File::open(&file)?).output()?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!("the database's client: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// How many events a message causes, from the counts of messages and events in the client's last line.
fn events_for_each(answer: &str) -> Result<u64> {
    let line = answer.lines().last().context("no answer")?;
    let numbers: Vec<u64> = line.split(['|', '\t']).filter_map(|text| text.parse().ok()).collect();
    match *numbers {
        [messages @ 1..=u64::MAX, events] => Ok(events / messages),
        _ => bail!("no counts: {answer}"),
    }
}

/// SQLite's durability is each connection's own; MariaDB's is the server's.
fn pragma(client: &Command) -> &'static str {
    if client.get_program() == "sqlite3" { "PRAGMA synchronous = FULL;\n" } else { "" }
}
