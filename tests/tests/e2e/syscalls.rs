//! What a delivery costs the push daemon, and a post the API, counted by strace: the same on every machine, as times are not.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use chaffer_tests::{Kind, PATIENCE, Process, Scene, play, signal, until};

use crate::cast::Cast;

const SOCKETS: usize = 50;
const MESSAGES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_one_syscall() -> Result<()> {
    if !has_strace()? {
        return Ok(());
    }
    play("a_delivery_is_one_syscall", Kind::Sqlite, deliveries).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_is_one_sync_and_few_writes() -> Result<()> {
    if !has_strace()? {
        return Ok(());
    }
    play("a_post_is_one_sync_and_few_writes", Kind::Sqlite, posts).await
}

fn has_strace() -> Result<bool> {
    let is_there = Command::new("strace").arg("-V").output().is_ok();
    if !is_there {
        ensure!(std::env::var("CI").is_err(), "strace is not installed");
        eprintln!("strace is not installed: not counted; `make test` installs it");
    }
    Ok(is_there)
}

async fn deliveries(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(cast.buyer.socket(None).await?.0);
    }
    let mut strace = Strace::attach(scene, cast.stack.push.pid()?).await?;

    for number in 0..MESSAGES {
        cast.seller.say(thread, &format!("message {number}")).await?;
    }
    // Each message is two events for its reader: itself, and the new count.
    for socket in &mut sockets {
        for _ in 0..MESSAGES {
            socket.event("message.created").await?;
            socket.event("unread.changed").await?;
        }
    }
    let calls = strace.calls().await?;
    let deliveries = 2 * SOCKETS * MESSAGES;
    let writes = sum(&calls, &["write", "writev", "sendto", "sendmsg"]);
    let all = sum(&calls, &[]);
    eprintln!("{deliveries} deliveries: {writes} writes, {all} syscalls: {calls:?}");
    // A write for each delivery, or for several that come together; and a tenth for the intake, the timers, and threads
    // that wait for work.
    ensure!(writes <= deliveries + deliveries / 20, "{writes} writes: {calls:?}");
    ensure!(all <= deliveries + deliveries / 2, "{all} syscalls: {calls:?}");
    ensure!(writes >= SOCKETS, "strace saw only {writes} writes: {calls:?}");
    Ok(())
}

async fn posts(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let mut socket = cast.buyer.socket(None).await?.0;
    // What is only done the first time is not what a post costs.
    cast.seller.say(thread, "first").await?;
    let mut strace = Strace::attach(scene, cast.stack.api.pid()?).await?;
    for number in 0..MESSAGES {
        cast.seller.say(thread, &format!("message {number}")).await?;
    }
    for _ in 0..MESSAGES {
        socket.event("message.created").await?;
    }
    let calls = strace.calls().await?;
    let [syncs, full] = [sum(&calls, &["fdatasync"]), sum(&calls, &["fsync"])];
    let [pages, reads] = [sum(&calls, &["pwrite64"]) / 2, sum(&calls, &["pread64"])];
    let others = sum(&calls, &[]) - sum(&calls, &["pwrite64"]);
    eprintln!("{MESSAGES} posts: {syncs} syncs, {pages} pages, {others} other syscalls: {calls:?}");
    // The log's bytes and nothing about the file: `HAVE_FDATASYNC` in `.cargo/config.toml`. The commits' own; a
    // heartbeat, a checkpoint or a housekeeper may come between.
    ensure!((MESSAGES..=MESSAGES + 4).contains(&syncs), "{syncs} syncs: {calls:?}");
    ensure!(full <= 2, "{full} syncs of the whole file: {calls:?}");
    // The publisher gets what was committed from the writer, not from the database.
    ensure!(reads <= MESSAGES * 2, "{reads} reads: {calls:?}");
    ensure!(pages <= MESSAGES * 16, "{pages} pages written: {calls:?}");
    ensure!(others <= MESSAGES * 45, "{others} syscalls: {calls:?}");
    Ok(())
}

/// An strace that counts what a process does.
struct Strace {
    process: Process,
    report: PathBuf,
}

impl Strace {
    async fn attach(scene: &Scene, pid: u32) -> Result<Self> {
        let report = scene.folder().join("strace");
        let log = scene.folder().join("strace.log");
        let mut process = Process::new("strace", scene.folder(), log)
            .args(["-f", "-c", "-o"])
            .args([report.display().to_string(), "-p".into(), pid.to_string()]);
        process.start()?;
        until("strace is attached", async || Ok(process.output().contains("attached"))).await?;
        Ok(Self { process, report })
    }

    /// Lets the process go and tells what it did.
    async fn calls(&mut self) -> Result<Vec<(String, usize)>> {
        signal(self.process.pid()?, "INT")?;
        self.process.ended(PATIENCE).await?;
        Ok(calls(&std::fs::read_to_string(&self.report)?))
    }
}

/// How many calls of these names there were; without any, of all.
fn sum(calls: &[(String, usize)], names: &[&str]) -> usize {
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    calls.iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum()
}

/// The names and counts of strace's table, whose columns are per cent, seconds, microseconds a call, calls, perhaps
/// errors, and the name.
fn calls(report: &str) -> Vec<(String, usize)> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let count = columns.get(3)?.parse().ok()?;
        let name = columns.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), count))
    };
    report.lines().filter_map(row).collect()
}
