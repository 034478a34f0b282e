//! Logging set-up, the same for both daemons: to standard error, as text or as JSON, one line an event.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Log, LogFormat};

/// Dependencies that write what they carry when they are asked for everything: heads of requests, frames, and so tokens.
const CARRIERS: [&str; 6] =
    ["actix_http", "hyper", "hyper_util", "reqwest", "tungstenite", "zeromq"];

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error(
        "log.level: {0}; use error, warn, info, debug or trace, or a filter such as info,chaffer_push=debug"
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// `log.level` names no level.
    #[error(
        "log.level: use error, warn, info, debug or trace, or a filter such as info,chaffer_push=debug"
    )]
    Level,
    /// Logging was started before.
    #[error("logging was started twice: {0}")]
    Started(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// What is logged.
///
/// # Errors
/// When `log.level` cannot be meant.
pub fn filter(log: &Log) -> Result<EnvFilter, TelemetryError> {
    let mut filter = EnvFilter::try_new(&log.level)?;
    if filter.max_level_hint() == Some(LevelFilter::TRACE) {
        for carrier in CARRIERS {
            filter = filter.add_directive(format!("{carrier}=debug").parse()?);
        }
    }
    // A lone word that is no level would be taken for a module's name, and all the rest be silent.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let has_level = log.level.split(',').any(|part| levels.contains(&part.trim()));
    if !has_level && !log.level.contains('=') {
        return Err(TelemetryError::Level);
    }
    Ok(filter)
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(log)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).try_init()?,
    }
    Ok(())
}
