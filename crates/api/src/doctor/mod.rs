//! `chaffer-api doctor`: looks at an installation from the outside in, says what is wrong with it and how to mend it.
//! A file for each thing that it looks at. It changes nothing, and goes on where it can, so that one run tells all.

mod daemons;
mod database;
mod disk;
mod files;
mod settings;
mod websocket;

use chaffer_shared::config::{Config, Flags, load};
use serde::Serialize;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at; scripts test for these names.
    pub check: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub ok: bool,
    /// Each check, in the order of what depends on what.
    pub checks: Vec<Finding>,
}

impl Report {
    fn add(&mut self, check: &'static str, status: Status, detail: String, mend: Option<String>) {
        self.ok &= status != Status::Failed;
        self.checks.push(Finding { check, status, detail, mend });
    }

    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Status::Ok, detail.into(), None);
    }

    fn warn(&mut self, check: &'static str, detail: impl Into<String>, mend: impl Into<String>) {
        self.add(check, Status::Warning, detail.into(), Some(mend.into()));
    }

    fn fail(&mut self, check: &'static str, detail: impl Into<String>, mend: impl Into<String>) {
        self.add(check, Status::Failed, detail.into(), Some(mend.into()));
    }
}

/// Looks at everything.
pub async fn examine(flags: &Flags) -> Report {
    let mut report = Report { ok: true, checks: Vec::new() };
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(error) => {
            let mend = "correct it there; `chaffer-api --help` lists all settings";
            report.fail("configuration", error.to_string(), mend);
            return report;
        }
    };
    settings::check(&loaded, &mut report);
    let config = &loaded.config;
    database::check(config, &mut report);
    disk::check(config, &mut report);
    files::check(config, &mut report).await;
    match client() {
        Ok(client) => {
            daemons::check(config, &client, &mut report).await;
        }
        Err(error) => report.fail("http", error.to_string(), "this is a bug, please report it"),
    }
    websocket::check(config, &mut report).await;
    report
}

fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()
}

/// How long anything on the way may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// An error with its causes, which is where the reason stands.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Which origin a page of the shop would have.
fn origin(config: &Config) -> Option<&str> {
    let origins = config.push.allowed_origins.iter().chain(&config.api.allowed_origins);
    origins.map(String::as_str).find(|origin| *origin != "*")
}
