//! SIGUSR2: a daemon becomes the program that stands at its path now, and nobody is refused meanwhile.

use anyhow::{Result, ensure};
use chaffer_tests::{PATIENCE, Process, Scene, Setup, free_port, signal, until};
use tokio::net::TcpStream;

use crate::cast::Cast;
use crate::deployment::nginx;
use crate::load::Load;

stories!(b1_a_hand_over_refuses_nobody_and_loses_nothing);

async fn b1_a_hand_over_refuses_nobody_and_loses_nothing(scene: &Scene) -> Result<()> {
    let port = free_port()?;
    let setup = Setup::new(scene)?.set("api.websocket_url", format!("ws://127.0.0.1:{port}/ws"));
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
        Ok(daemon.output().matches("listening").count() > round)
    })
    .await?;
    assert_eq!(daemon.pid()?, pid);
    Ok(())
}

/// A shop's pushers connect again and again.
async fn is_never_refused(port: u16) -> Result<()> {
    for _ in 0..200 {
        TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}
