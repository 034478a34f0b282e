//! SIGUSR2: a daemon becomes the program that stands at its path now, and nobody is refused meanwhile.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{PATIENCE, Process, Scene, Setup, Stack, free_port, signal, target, until};
use tokio::net::TcpStream;

use crate::cast::Cast;
use crate::deployment::nginx;
use crate::load::Load;

stories!(
    b1_a_hand_over_refuses_nobody_and_loses_nothing,
    b7_nothing_of_the_predecessor_stays_open,
    b7_a_hand_over_asked_for_during_the_start_comes_after_it,
    b7_who_is_told_to_end_during_a_hand_over_ends,
    b7_settings_that_cannot_be_used_leave_the_old_process_serving,
);

async fn b1_a_hand_over_refuses_nobody_and_loses_nothing(scene: &Scene) -> Result<()> {
    let port = free_port()?;
    // Three write without a pause.
    let setup = Setup::new(scene)?
        .set("api.websocket_url", format!("ws://127.0.0.1:{port}/ws"))
        .set("limits.calls_per_minute", 0)
        .set("limits.calls_per_minute_per_address", 0)
        .set("limits.messages_per_minute_per_thread", 0);
    let mut cast = Cast::with(scene, setup).await?;
    let mut nginx = nginx(&cast.stack, port)?;
    nginx.start()?;
    let base = format!("http://127.0.0.1:{port}/chat");
    let buyer = cast.buyer.at(&base);
    until("nginx answers", async || Ok(buyer.get("/readyz").await?.status == 200)).await?;
    let thread = cast.thread("p1").await?;
    let (first, second) = (cast.seller.listen().await?, cast.seller.listen().await?);

    let load = Load::start(&cast.buyer.with_api(&base), thread, 3);
    let pusher = cast.stack.ports.pusher;
    for round in 1..=2 {
        load.takes(100).await?;
        hand_over(&mut cast.stack.api, round).await?;
        load.takes(100).await?;
        let handing_over = hand_over(&mut cast.stack.push, round);
        tokio::try_join!(handing_over, is_never_refused(pusher))?;
        first.welcomed(round + 1).await?;
        second.welcomed(round + 1).await?;
    }
    load.takes(100).await?;
    let posted = load.stop().await?;
    ensure!(
        posted.refusals.is_empty(),
        "{} refusals: {:?}",
        posted.refusals.len(),
        posted.refusals
    );
    posted.reached(&first).await?;
    posted.reached(&second).await?;
    for session in first.sessions().iter().take(2) {
        assert_eq!(session.closed.as_ref().map(|closed| closed.code), Some(1012));
    }
    nginx.stop(PATIENCE).await?;
    Ok(())
}

/// Makes a daemon its own successor, and waits until that serves.
async fn hand_over(daemon: &mut Process, round: usize) -> Result<()> {
    let pid = daemon.pid()?;
    signal(pid, "USR2")?;
    until("the successor listens", async || {
        ensure!(daemon.is_running(), "it ended: {}", daemon.output());
        Ok(starts(daemon) > round)
    })
    .await?;
    assert_eq!(daemon.pid()?, pid);
    Ok(())
}

/// How often it has begun to serve.
fn starts(daemon: &Process) -> usize {
    let output = daemon.output();
    let api = output.matches("chaffer_api::cli: listening").count();
    api + output.matches("chaffer_push::server: listening").count()
}

/// A shop's pushers connect again and again.
async fn is_never_refused(port: u16) -> Result<()> {
    for _ in 0..200 {
        TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What the API has open at its database: the sessions that MariaDB knows (the asking one among them), or the open
/// files of SQLite.
async fn connections(stack: &Stack) -> Result<i64> {
    if stack.database.url.starts_with("mysql") {
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()";
        return stack.database.number(sql).await;
    }
    let file = stack.database.url.trim_start_matches("sqlite://");
    Ok(i64::try_from(open_files(stack.api.pid()?, Path::new(file))?)?)
}

/// How often a process has a file open.
fn open_files(pid: u32, file: &Path) -> Result<usize> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    let targets = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets.filter(|target| target == file).count())
}

/// A library may open descriptors that are not marked to be closed; MariaDB's sockets are such.
async fn b7_nothing_of_the_predecessor_stays_open(scene: &Scene) -> Result<()> {
    // Further connections are made when they are needed first, so only one reader's number is known.
    let mut stack = Setup::new(scene)?.set("database.readers", 1).prepare(scene).await?;
    let foreign = stack.folder().join("foreign");
    std::fs::write(&foreign, "")?;
    // One that such a library might have left open.
    let script = format!("exec 9<'{}'; exec \"$0\" \"$@\"", foreign.display());
    let program = target("chaffer-push")?.display().to_string();
    let log = stack.folder().join("chaffer-push.log");
    stack.push = Process::new("sh", stack.folder(), log).args([
        "-c".to_owned(),
        script,
        program,
        "--config".into(),
        stack.config.display().to_string(),
    ]);
    stack.push.start()?;
    stack.api.start()?;
    stack.ready().await?;
    assert_eq!(open_files(stack.push.pid()?, &foreign)?, 1);
    hand_over(&mut stack.push, 1).await?;
    assert_eq!(open_files(stack.push.pid()?, &foreign)?, 0);

    hand_over(&mut stack.api, 1).await?;
    stack.api_ready().await?;
    let after_one = connections(&stack).await?;
    for round in 2..=3 {
        hand_over(&mut stack.api, round).await?;
        stack.api_ready().await?;
    }
    until("the predecessors' sessions are over", async || {
        Ok(connections(&stack).await? <= after_one)
    })
    .await
}

/// The configuration is a pipe at first, so each daemon stands still where it reads it.
async fn b7_a_hand_over_asked_for_during_the_start_comes_after_it(scene: &Scene) -> Result<()> {
    let mut stack = Setup::new(scene)?.prepare(scene).await?;
    let file = stack.folder().join("kept.toml");
    for is_api in [false, true] {
        let daemon = if is_api { &mut stack.api } else { &mut stack.push };
        std::fs::rename(&stack.config, &file)?;
        let made = std::process::Command::new("mkfifo").arg(&stack.config).status()?;
        ensure!(made.success(), "mkfifo: {made}");
        daemon.start()?;
        let pipe = stack.config.clone();
        // Returns once the daemon has opened the other end.
        let opened =
            tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe));
        let mut pipe =
            tokio::time::timeout(PATIENCE, opened).await.context("nobody reads")???;
        signal(daemon.pid()?, "USR2")?;
        let text = std::fs::read(&file)?;
        std::fs::rename(&file, &stack.config)?;
        pipe.write_all(&text)?;
        drop(pipe);
        until("it starts, and its successor does", async || {
            ensure!(daemon.is_running(), "it ended: {}", daemon.output());
            Ok(starts(daemon) == 2)
        })
        .await?;
    }
    stack.ready().await
}

async fn b7_who_is_told_to_end_during_a_hand_over_ends(scene: &Scene) -> Result<()> {
    let mut cast = Cast::new(scene).await?;
    // It does not answer the daemon's goodbye, so that its end takes a while.
    let _client = cast.buyer.socket(None).await?;
    for daemon in [&mut cast.stack.push, &mut cast.stack.api] {
        signal(daemon.pid()?, "USR2")?;
        until("it hands over", async || Ok(daemon.output().contains("handing over"))).await?;
        let status = daemon.stop(Stack::STOP).await?;
        assert!(status.success(), "{status}");
        assert_eq!(starts(daemon), 1);
    }
    Ok(())
}

async fn b7_settings_that_cannot_be_used_leave_the_old_process_serving(
    scene: &Scene,
) -> Result<()> {
    let mut stack = Stack::start(scene).await?;
    let good = std::fs::read_to_string(&stack.config)?;
    std::fs::write(&stack.config, format!("{good}\n[apy]\ndemo = true\n"))?;
    for daemon in [&mut stack.push, &mut stack.api] {
        signal(daemon.pid()?, "USR2")?;
        until("it says what is wrong", async || {
            ensure!(daemon.is_running(), "it ended: {}", daemon.output());
            Ok(daemon.output().contains("unknown setting `apy.demo`"))
        })
        .await?;
        assert_eq!(starts(daemon), 1);
    }
    stack.ready().await?;
    let refused = stack.command(&["--check"])?.outcome().await?;
    assert!(!refused.0.success() && refused.2.contains("apy.demo"), "{refused:?}");

    std::fs::write(&stack.config, good)?;
    stack.command(&["--check"])?.run().await?;
    hand_over(&mut stack.push, 1).await?;
    hand_over(&mut stack.api, 1).await?;
    stack.ready().await
}
