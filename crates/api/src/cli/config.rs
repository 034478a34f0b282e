//! `chaffer-api config show`.

use anyhow::Result;
use chaffer_shared::config::{Flags, load};
use clap::Subcommand;

use super::say;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show every setting in force and where it came from; of secrets no more than tells two of them apart.
    Show {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(flags: &Flags, command: Command) -> Result<()> {
    let Command::Show { json } = command;
    let shown = load(flags)?.show();
    if json {
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let lines: Vec<_> =
        shown.iter().map(|it| (format!("{} = {}", it.key, it.value), &it.source)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    for (line, source) in lines {
        say(&format!("{line:width$}  # {source}"));
    }
    Ok(())
}
