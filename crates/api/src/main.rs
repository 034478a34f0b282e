//! `chaffer-api`: keeps the messages of a shop and publishes what happens to them. Wires only; see `docs/architecture.md`.

mod app;
mod chat;
mod cli;
#[cfg(test)]
mod costs;
mod demo;
mod doctor;
mod erasure;
mod export;
mod feed;
mod files;
mod html;
mod http;
mod init;
mod limits;
mod metrics;
mod moving;
mod notify;
mod outgoing;
mod pace;
#[cfg(test)]
mod plans;
mod presence;
mod publish;
mod retention;
mod search;
mod store;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod testing;
mod webhooks;
mod word_list;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Some((flags, envelope)) = cli.mail_in() {
        // The mail server reads the code that it ends with.
        return actix_web::rt::System::new().block_on(cli::receive_mail(flags, &envelope));
    }
    // The runtime has ended when the successor starts.
    let done = actix_web::rt::System::new().block_on(cli::run(cli));
    let done = done.and_then(|port| match port {
        None => Ok(()),
        Some((hand_over, port)) => hand_over.execute(vec![port]).context("cannot hand over"),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have been started yet.
            let _ = writeln!(std::io::stderr(), "chaffer-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}
