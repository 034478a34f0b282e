//! The command line: what can be asked of `chaffer-api`, and who does it. Each command's file reads the settings that
//! it needs, does one thing and prints what came of it.

mod backup;
mod config;
mod doctor;
mod key_file;
mod keys;
mod mail_in;
mod moving;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::Result;
use chaffer_shared::config::{Config, Flags, load};
use chaffer_shared::signals::{HandOver, Signals, hear_hand_over};
use chaffer_shared::telemetry;
use clap::{Parser, Subcommand};

use crate::notify::inbound::Envelope;
use crate::store::DatabaseUrl;
use crate::{app, http, init};

pub use mail_in::run as receive_mail;

/// The API daemon of Chaffer, the chat of a shop.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// Say whether the API would start with these settings, and do nothing else. Stands before the command.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (what happens without a command).
    Serve,
    /// Bring the database's tables up to date.
    Migrate,
    /// Make a configuration with fresh keys, a database and a first API key, where they are missing. Settings in the
    /// environment and flags go into the new configuration.
    Init {
        /// The folder for all of it.
        #[arg(long, default_value = "data")]
        dir: PathBuf,
        /// Also put the demo's people into the database.
        #[arg(long)]
        demo: bool,
    },
    /// The settings in force.
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Make, list, rotate and revoke keys of all five kinds; two of a kind can be live at once.
    Key {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Copy all of the database, as it is at one moment, into one new file; the daemons go on meanwhile.
    Backup {
        /// The new file, or a folder, in which it is named by the time.
        path: PathBuf,
        /// Where there is no database of Chaffer's yet, end well without a backup.
        #[arg(long)]
        if_any: bool,
    },
    /// Fill the database from a backup.
    Restore {
        /// What `backup` wrote.
        file: PathBuf,
        /// Replace what is in the database.
        #[arg(long)]
        force: bool,
    },
    /// Move conversations in: the shop platform's own, from its database, or everything that `export` wrote. Can be run
    /// again at any time: what is there stays, what is missing comes in.
    Import(moving::Import),
    /// Write everything as lines of JSON, as it is at one moment, while the daemons serve; `import --ndjson` reads them.
    Export(moving::Export),
    /// Look at the whole installation, say what is wrong and how to mend it. Run it as the daemons' user; ends with 1
    /// when something does not work.
    Doctor {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Take a mail from the mail server's pipe (standard input) and post it as an answer; ends with the codes of sysexits.h.
    MailIn {
        /// The address it was sent to; else from the message's headers.
        #[arg(long)]
        recipient: Option<String>,
        /// The envelope's sender; empty for mails about mails.
        #[arg(long)]
        sender: Option<String>,
    },
    /// Print the OpenAPI document.
    Openapi,
}

impl Cli {
    /// What the mail server's pipe says of the mail that it brings, if it is that which calls.
    #[must_use]
    pub fn mail_in(&self) -> Option<(&Flags, Envelope)> {
        let Some(Command::MailIn { recipient, sender }) = &self.command else { return None };
        let envelope = Envelope { recipient: recipient.clone(), sender: sender.clone() };
        Some((&self.flags, envelope))
    }
}

/// Does what the command line asks for. Returns the open port of a server that is to hand over to its successor.
///
/// # Errors
/// With a sentence on what to mend.
pub async fn run(cli: Cli) -> Result<Option<(HandOver, TcpListener)>> {
    let Cli { flags, check, command } = cli;
    match command.unwrap_or(Command::Serve) {
        Command::Serve if check => {
            app::check(&settings(&flags)?)?;
            say("the settings are good");
        }
        _ if check => anyhow::bail!("--check goes with `serve` alone"),
        Command::Serve => {
            let hand_over = hear_hand_over()?;
            let loaded = load(&flags)?;
            telemetry::start(&loaded.config.log)?;
            let api = app::Api::build(loaded)?;
            tracing::info!(address = %api.address(), version = env!("CARGO_PKG_VERSION"), "listening");
            return api.run(Signals::listen(hand_over)?).await;
        }
        Command::Migrate => {
            let report = database(&flags)?.migrate()?;
            match report.run.as_slice() {
                [] => say("the tables are up to date"),
                run => run.iter().for_each(|migration| say(&format!("ran {migration}"))),
            }
        }
        Command::Init { dir, demo } => {
            let file = init::write_config(&dir, &load(&flags)?)?;
            let flags = if flags.file().is_some() { flags } else { flags.with_file(file) };
            init::fill(&dir, &database(&flags)?, demo).await?;
        }
        Command::Config { command } => config::run(&flags, command)?,
        Command::Key { command } => keys::run(&flags, command).await?,
        Command::Backup { path, if_any } => backup::back_up(&flags, &path, if_any)?,
        Command::Restore { file, force } => backup::restore(&flags, &file, force)?,
        Command::Import(arguments) => moving::import(&flags, arguments).await?,
        Command::Export(arguments) => moving::export(&flags, &arguments)?,
        Command::Doctor { json } => doctor::run(&flags, json).await?,
        // Has a code of its own to end with: `receive_mail`.
        Command::MailIn { .. } => {}
        Command::Openapi => {
            say(&http::document().to_pretty_json()?);
        }
    }
    Ok(None)
}

fn settings(flags: &Flags) -> Result<Config> {
    Ok(load(flags)?.config)
}

fn database(flags: &Flags) -> Result<DatabaseUrl> {
    Ok(DatabaseUrl::parse(&settings(flags)?.database.url)?)
}

/// Prints a line of a command's result.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
