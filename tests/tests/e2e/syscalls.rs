//! What a delivery costs the push daemon, counted by strace: the same on every machine, as times are not.

use std::process::Command;

use anyhow::{Result, ensure};
use chaffer_tests::{Kind, PATIENCE, Process, Scene, play, signal, until};

use crate::cast::Cast;

const SOCKETS: usize = 50;
const MESSAGES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_one_syscall() -> Result<()> {
    if Command::new("strace").arg("-V").output().is_err() {
        ensure!(std::env::var("CI").is_err(), "strace is not installed");
        eprintln!("strace is not installed: not counted; `make test` installs it");
        return Ok(());
    }
    play("a_delivery_is_one_syscall", Kind::Sqlite, story).await
}

async fn story(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(cast.buyer.socket(None).await?.0);
    }
    let report = scene.folder().join("strace");
    let log = scene.folder().join("strace.log");
    let mut strace = Process::new("strace", scene.folder(), log).args(["-f", "-c", "-o"]).args([
        report.display().to_string(),
        "-p".into(),
        cast.stack.push.pid()?.to_string(),
    ]);
    strace.start()?;
    until("strace is attached", async || Ok(strace.output().contains("attached"))).await?;

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
    signal(strace.pid()?, "INT")?;
    strace.ended(PATIENCE).await?;

    let calls = calls(&std::fs::read_to_string(&report)?);
    let sum = |wanted: &dyn Fn(&str) -> bool| -> usize {
        calls.iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum()
    };
    let deliveries = 2 * SOCKETS * MESSAGES;
    let writes = sum(&|name| ["write", "writev", "sendto", "sendmsg"].contains(&name));
    let all = sum(&|_| true);
    eprintln!("{deliveries} deliveries: {writes} writes, {all} syscalls: {calls:?}");
    // A write for each delivery, or for several that come together; and a tenth for the intake, the timers, and threads
    // that wait for work.
    ensure!(writes <= deliveries + deliveries / 20, "{writes} writes: {calls:?}");
    ensure!(all <= deliveries + deliveries / 2, "{all} syscalls: {calls:?}");
    ensure!(writes >= SOCKETS, "strace saw only {writes} writes: {calls:?}");
    Ok(())
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
