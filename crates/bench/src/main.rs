//! Measures Chaffer beside its peers, on one machine, in one go, and writes what came of it.
//!
//! `make bench` builds releases, installs the peers and runs this. [`swarm`] is all clients of a server in one event loop,
//! [`traffic`] sends at a steady rate and counts what comes, from one core ([`one_core`]), [`servers`] starts Chaffer and its
//! peers, [`process`] asks the kernel what they cost, [`scenarios`] says what is measured, [`sheet`] makes tables of it.
#![expect(
    clippy::indexing_slicing,
    reason = "this program meets nobody but the servers that it starts; a panic is a broken measurement"
)]

mod http;
mod machine;
mod one_core;
mod process;
mod scenarios;
mod servers;
mod sheet;
mod swarm;
mod talk;
mod traffic;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Both ends of ten thousand connections live in different processes, each with some more.
const FILES: u64 = 10_500;

/// What the report begins with.
const HEAD: &str = "# Benchmarks

Written by `make bench` (`make bench WORDS=fanout` runs one scenario alone): Chaffer's release build and its peers from
Debian on one machine, over loopback, three times. A number is the median of the repeats, with the smallest and the
largest behind it; a ratio is the median of the repeats' own ratios, ours divided by the peer's. Times are those of this
machine at that time; the ratios are what counts.

Within a repeat a server and its peer are measured one after the other; in `fanout`, `post` and `post-wal` both are up,
and slices of the same traffic, three seconds long, go to either in turn, so that what else the machine does hits both.

All clients of a push server live in one event loop (`crates/bench`). Latency is counted from the moment an event was due,
so a server that holds up its publisher gains nothing. CPU and memory are those of all of its processes, from `/proc`.

While events are sent at a steady rate (`fanout`, `shop`, `stalled`) that loop stays on one core, and the servers run on
whichever they like: over loopback the kernel else moves the loop onto the server's core more often, where they take turns.
";

#[derive(Debug, Parser)]
#[command(name = "chaffer-bench", version, about = "Measures Chaffer beside its peers.")]
struct Arguments {
    /// Scenarios to run; without any, all of them.
    scenarios: Vec<String>,
    /// How often each is repeated; the median is taken.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Where to write the report, if anywhere.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let names: Vec<&str> = scenarios::ALL.iter().map(|(name, _)| *name).collect();
    for name in &arguments.scenarios {
        if !names.contains(&name.as_str()) {
            bail!("no scenario is called {name}; there are {}", names.join(", "));
        }
    }
    raise_file_limit()?;
    let start = Instant::now();
    let mut text = String::new();
    let (mut left_out, mut failed) = (Vec::new(), Vec::new());
    for (name, run) in scenarios::ALL {
        if !arguments.scenarios.is_empty() && !arguments.scenarios.iter().any(|word| word == name) {
            left_out.push(*name);
            continue;
        }
        // One that fails takes nothing from what the others measured.
        let table = run(arguments.repeats).map(|sheet| sheet.render()).unwrap_or_else(|error| {
            failed.push(*name);
            format!("## {name}\n\nNot measured: {error:#}\n")
        });
        say(&table)?;
        text.push_str(&table);
        text.push('\n');
    }
    let mut took = format!("The whole run took {} s.", start.elapsed().as_secs());
    if !left_out.is_empty() {
        took.push_str(&format!(" Left out: {}.", left_out.join(", ")));
    }
    say(&took)?;
    if let Some(path) = arguments.report {
        let report = format!("{HEAD}\n{}\n{text}{took}\n", machine::describe());
        std::fs::write(&path, report)?;
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Where Debian keeps servers is not on everybody's search path.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Servers inherit it.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    if limit.maximum.is_some_and(|maximum| maximum < FILES) {
        bail!("the limit of open files is too low: raise it to {FILES} with `ulimit -n`");
    }
    Ok(())
}
