//! `chaffer-push`: reads the settings, starts the daemon, stops it on SIGTERM or SIGINT, and on SIGUSR2 makes room
//! for its next version.

use std::net::TcpListener;

use anyhow::Context;
use chaffer_push::Server;
use chaffer_shared::config::{self, Flags};
use chaffer_shared::handover;
use chaffer_shared::telemetry;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Chaffer's push daemon: fans events out to WebSocket clients.
#[derive(Debug, Parser)]
#[command(name = "chaffer-push", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

fn main() -> anyhow::Result<()> {
    // The runtime has ended when the successor starts.
    match serve()? {
        None => Ok(()),
        Some(listeners) => Err(handover::execute_again(listeners)).context("cannot hand over"),
    }
}

/// Serves until it is asked to stop. Returns the open ports when a successor is to have them.
#[tokio::main]
async fn serve() -> anyhow::Result<Option<Vec<TcpListener>>> {
    let arguments = Arguments::parse();
    let loaded = config::load(&arguments.flags)?;
    telemetry::start(&loaded.config.log)?;
    log_panics();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hand_over = signal(SignalKind::user_defined2()).context("cannot listen for SIGUSR2")?;
    let server = Server::bind(loaded.config)?;
    let listeners = server.listeners().context("cannot keep the ports for a successor")?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let asked = tokio::spawn(async move {
        let handing_over = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            _ = hand_over.recv() => true,
        };
        stopper.cancel();
        handing_over
    });
    server.run(stop).await?;
    Ok(asked.await?.then_some(listeners))
}

/// A panic in a task ends that task alone; nobody would hear of it otherwise.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        chaffer_push::metrics::PANICS.increment();
        error!(panic = %panic, "a task panicked: this is a bug, please report it");
    }));
}
