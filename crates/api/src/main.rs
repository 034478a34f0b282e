//! `chaffer-api`: keeps the messages of a shop and publishes what happens to them. Wires only; see `docs/architecture.md`.

mod app;
mod chat;
mod demo;
mod http;
mod init;
#[cfg(test)]
mod plans;
mod publish;
mod retention;
mod store;
#[cfg(test)]
mod stories;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chaffer_shared::config::{Config, Flags, load};
use chaffer_shared::telemetry;
use clap::{Parser, Subcommand};

use crate::chat::{ChatError, Context, api_keys};
use crate::store::{DatabaseUrl, Store};

/// The API daemon of Chaffer, the chat of a shop.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (what happens without a command).
    Serve,
    /// Bring the database's tables up to date.
    Migrate,
    /// Make a configuration with fresh keys, a database and a first API key, where they are missing.
    Init {
        /// The folder for all of it.
        #[arg(long, default_value = "data")]
        dir: PathBuf,
        /// Also put the demo's people into the database.
        #[arg(long)]
        demo: bool,
    },
    /// Make, list and revoke the API keys of the shop's backends; two can be live at once.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key and print it; it is shown this once only.
    Create {
        /// What to call it.
        #[arg(long)]
        name: String,
    },
    /// List the keys by name; the keys themselves are not kept.
    List,
    /// End the live key of a name.
    Revoke {
        /// What it is called.
        #[arg(long)]
        name: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match actix_web::rt::System::new().block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have been started yet.
            let _ = writeln!(std::io::stderr(), "chaffer-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let Cli { flags, command } = cli;
    let config = |flags: &Flags| -> Result<Config> { Ok(load(flags, std::env::vars())?.config) };
    match command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let config = config(&flags)?;
            telemetry::start(&config.log)?;
            let api = app::Api::build(config)?;
            tracing::info!(address = %api.address(), version = env!("CARGO_PKG_VERSION"), "listening");
            api.run().await
        }
        Command::Migrate => {
            let url = DatabaseUrl::parse(&config(&flags)?.database.url)?;
            let report = url.migrate()?;
            match report.run.as_slice() {
                [] => say("the tables are up to date"),
                run => run.iter().for_each(|migration| say(&format!("ran {migration}"))),
            }
            Ok(())
        }
        Command::Init { dir, demo } => {
            let file = init::write_config(&dir)?;
            let flags = if flags.file().is_some() { flags } else { flags.with_file(file) };
            let url = DatabaseUrl::parse(&config(&flags)?.database.url)?;
            init::fill(&dir, &url, demo).await
        }
        Command::Key { command } => {
            let url = DatabaseUrl::parse(&config(&flags)?.database.url)?;
            url.migrate()?;
            keys(&Store::open(&url, 1, 16)?, command).await
        }
        Command::Openapi => {
            say(&http::document().to_pretty_json()?);
            Ok(())
        }
    }
}

async fn keys(store: &Store, command: KeyCommand) -> Result<()> {
    let context = Context { now: chaffer_shared::time::now(), request_id: "cli".into() };
    match command {
        KeyCommand::Create { name } => {
            let key = init::new_api_key();
            let kept = key.clone();
            store.write(move |writer| api_keys::create(writer, &context, &name, &kept)).await?;
            say(&key);
        }
        KeyCommand::List => {
            let keys = store.read(|reader| reader.api_keys().map_err(ChatError::from)).await?;
            for key in keys {
                let state = if key.revoked_at.is_some() { "revoked" } else { "live" };
                let made = chaffer_shared::time::format(&key.created_at.and_utc());
                say(&format!("{}\t{state}\tmade {made}", key.name));
            }
        }
        KeyCommand::Revoke { name } => {
            store.write(move |writer| api_keys::revoke(writer, &context, &name)).await?;
        }
    }
    Ok(())
}

/// Prints a line of a command's result.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
