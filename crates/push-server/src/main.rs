//! `chaffer-push`: reads the settings, starts the daemon, stops it on SIGTERM or SIGINT, and on SIGUSR2 makes room
//! for its next version.

use std::io::Write;
use std::net::TcpListener;

use anyhow::Context;
use chaffer_push::Server;
use chaffer_shared::config::{self, Flags};
use chaffer_shared::signals::{HandOver, Signals, hear_hand_over};
use chaffer_shared::telemetry;
use clap::Parser;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Chaffer's push daemon: fans events out to WebSocket clients.
#[derive(Debug, Parser)]
#[command(name = "chaffer-push", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Say whether the daemon would start with these settings, and do nothing else.
    #[arg(long)]
    check: bool,
}

fn main() -> anyhow::Result<()> {
    // The runtime has ended when the successor starts.
    match serve()? {
        None => Ok(()),
        Some((hand_over, listeners)) => hand_over.execute(listeners).context("cannot hand over"),
    }
}

/// Serves until it is asked to stop. Returns the open ports when a successor is to have them.
#[tokio::main(flavor = "current_thread")]
async fn serve() -> anyhow::Result<Option<(HandOver, Vec<TcpListener>)>> {
    let hand_over = hear_hand_over().context("cannot listen for SIGUSR2")?;
    let arguments = Arguments::parse();
    let loaded = config::load(&arguments.flags)?;
    if arguments.check {
        telemetry::filter(&loaded.config.log)?;
        Server::check(&loaded.config)?;
        let _ = writeln!(std::io::stdout(), "the settings are good");
        return Ok(None);
    }
    telemetry::start(&loaded.config.log)?;
    log_panics();
    let mut signals = Signals::listen(hand_over).context("cannot listen for SIGTERM")?;
    let server = Server::bind(loaded.config)?;
    let listeners = server.listeners().context("cannot keep the ports for a successor")?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let asked = tokio::spawn(async move {
        let hand_over = signals.ending().await;
        stopper.cancel();
        hand_over
    });
    server.run(stop).await?;
    Ok(asked.await?.map(|hand_over| (hand_over, listeners)))
}

/// A panic in a task ends that task alone; nobody would hear of it otherwise.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        chaffer_push::metrics::PANICS.increment();
        error!(panic = %panic, "a task panicked: this is a bug, please report it");
    }));
}
