//! `chaffer-api import` and `chaffer-api export`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chaffer_shared::config::Flags;
use clap::Args;

/// Where the shop's URL may stand, out of sight of other users of the machine.
#[cfg(feature = "mysql")]
const URL_VARIABLE: &str = "SHOP_DATABASE_URL";

#[derive(Args)]
pub(super) struct Import {
    /// The shop's database, `mysql://user:password@host:port/database`; or set SHOP_DATABASE_URL, which other users of the
    /// machine cannot see.
    #[arg(conflicts_with = "ndjson")]
    url: Option<String>,
    /// Instead of a shop's database, fill this empty installation from what `export` wrote: a file, or standard input.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    ndjson: Option<PathBuf>,
    /// What the names of the shop's tables begin with.
    #[arg(long, default_value = "cscart_")]
    table_prefix: String,
    /// The language of the products' names.
    #[arg(long, default_value = "en")]
    language: String,
    /// Give conversations whose number is taken here another one.
    #[arg(long)]
    renumber: bool,
    /// Do all of it but the writing.
    #[arg(long)]
    dry_run: bool,
    /// Messages of one transaction.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch_size: u16,
    /// Report as JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) async fn import(flags: &Flags, arguments: Import) -> Result<()> {
    match &arguments.ndjson {
        Some(path) => from_lines(flags, &arguments, path),
        None => from_platform(flags, arguments).await,
    }
}

#[cfg(not(feature = "mysql"))]
#[expect(clippy::unused_async, reason = "the other one waits")]
async fn from_platform(_: &Flags, _: Import) -> Result<()> {
    anyhow::bail!("this chaffer-api was built without MySQL: build it with `--features mysql`")
}

#[cfg(feature = "mysql")]
async fn from_platform(flags: &Flags, arguments: Import) -> Result<()> {
    use anyhow::ensure;

    use crate::moving::platform::{self, Options, Progress};
    use crate::store::{Platform, Store};

    let Import { url, table_prefix, language, renumber, dry_run, batch_size, json, .. } = arguments;
    let url = url.or_else(|| std::env::var(URL_VARIABLE).ok()).with_context(|| {
        format!("which shop? chaffer-api import mysql://user:password@host/database, or set {URL_VARIABLE}")
    })?;
    let database = super::database(flags)?;
    if dry_run {
        let state = database.migrations()?;
        ensure!(
            state.pending.is_empty() && state.newer.is_none(),
            "the tables are not those of this version, and a dry run changes nothing: `chaffer-api migrate` first"
        );
    } else {
        database.migrate()?;
    }
    let source = Platform::open(&url, &table_prefix)?;
    let store = Store::open(&database, 1, 16)?;
    let options = Options { language, renumber, dry_run, batch: usize::from(batch_size) };
    let mut shown = Shown::new();
    let mut tell = |it: Progress| {
        shown.tell(&format!(
            "{} of {} conversations, {} of {} messages",
            it.threads, it.all_threads, it.messages, it.all_messages
        ));
    };
    let report = platform::import(&store, source, options, &mut tell)
        .await
        .context("stopped; what has come in stays: run the same command again, and it goes on")?;
    shown.end();
    if json {
        super::say(&serde_json::to_string_pretty(&report)?);
    } else {
        report.lines().iter().for_each(|line| super::say(line));
    }
    ensure!(
        report.taken() == 0,
        "{} conversations were left out, since others have their numbers here: run it again with --renumber",
        report.taken()
    );
    Ok(())
}

/// Progress on standard error: in one line of a terminal, or a line now and then.
struct Shown {
    last: Option<Instant>,
    is_terminal: bool,
}

impl Shown {
    fn new() -> Self {
        Self { last: None, is_terminal: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, text: &str) {
        let pause = Duration::from_millis(if self.is_terminal { 200 } else { 5000 });
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = std::io::stderr();
        let _ =
            if self.is_terminal { write!(out, "\r\x1b[K{text}") } else { writeln!(out, "{text}") };
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[derive(Args)]
pub(super) struct Export {
    /// The new file, or `-` for standard output; the lines are JSON, which is the only form there is.
    #[arg(long = "ndjson", value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    file: Option<PathBuf>,
    /// Also write what opens doors: the secrets of webhooks, and the hashes of API keys, so that both go on working.
    #[arg(long)]
    with_secrets: bool,
}

#[cfg(feature = "sqlite")]
pub(super) fn export(flags: &Flags, arguments: &Export) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let database = super::database(flags)?;
    let mut shown = Shown::new();
    let mut tell = |kind: &str, lines: u64| shown.tell(&format!("{lines} lines, at {kind}s"));
    let now = chaffer_shared::time::now().naive_utc();
    let file = arguments.file.as_deref().filter(|it| it.as_os_str() != "-");
    let Some(path) = file else {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let report = database.export(&mut out, arguments.with_secrets, now, &mut tell)?;
        shown.end();
        let _ = writeln!(std::io::stderr(), "exported {}", content(&report));
        return Ok(());
    };
    let mut options = std::fs::OpenOptions::new();
    let cannot = || format!("cannot create {}", path.display());
    let file = options.write(true).create_new(true).mode(0o600).open(path).with_context(cannot)?;
    let mut out = std::io::BufWriter::new(file);
    let done = database.export(&mut out, arguments.with_secrets, now, &mut tell);
    let report = done.inspect_err(|_| {
        // It is ours, and of no use to anybody.
        let _ = std::fs::remove_file(path);
    })?;
    out.get_ref().sync_all().with_context(cannot)?;
    shown.end();
    super::say(&format!("{}: exported {}", path.display(), content(&report)));
    Ok(())
}

#[cfg(feature = "sqlite")]
fn from_lines(flags: &Flags, arguments: &Import, path: &Path) -> Result<()> {
    let database = super::database(flags)?;
    let mut shown = Shown::new();
    let mut tell = |kind: &str, lines: u64| shown.tell(&format!("{lines} lines, at {kind}s"));
    let now = chaffer_shared::time::now().naive_utc();
    let mut lines: Box<dyn std::io::BufRead> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path);
        Box::new(std::io::BufReader::new(
            file.with_context(|| format!("cannot read {}", path.display()))?,
        ))
    };
    let new_secret = &crate::webhooks::new_secret;
    let report = database
        .import(&mut *lines, now, new_secret, arguments.dry_run, &mut tell)
        .with_context(|| format!("nothing was imported from {}", path.display()))?;
    shown.end();
    if arguments.json {
        let report = serde_json::json!({"dry_run": arguments.dry_run, "imported": report});
        super::say(&serde_json::to_string_pretty(&report)?);
    } else {
        let verb = if arguments.dry_run { "would import" } else { "imported" };
        super::say(&format!("{verb} {}", content(&report)));
    }
    Ok(())
}

#[cfg(feature = "sqlite")]
fn content(report: &crate::store::LineReport) -> String {
    let counts: Vec<String> =
        report.iter().map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
    if counts.is_empty() { "nothing".into() } else { counts.join(", ") }
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn export(_: &Flags, _: &Export) -> Result<()> {
    anyhow::bail!(
        "lines are described by SQLite's tables, and this chaffer-api was built without SQLite"
    )
}

#[cfg(not(feature = "sqlite"))]
fn from_lines(_: &Flags, _: &Import, _: &Path) -> Result<()> {
    anyhow::bail!(
        "lines are described by SQLite's tables, and this chaffer-api was built without SQLite"
    )
}
