//! `chaffer-api doctor`.

use anyhow::{Result, bail};
use chaffer_shared::config::Flags;

use super::say;
use crate::doctor::{Status, examine};

pub(super) async fn run(flags: &Flags, json: bool) -> Result<()> {
    let report = examine(flags).await;
    if json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        for finding in &report.checks {
            let mark = match finding.status {
                Status::Ok => "ok     ",
                Status::Warning => "WARNING",
                Status::Failed => "FAILED ",
            };
            say(&format!("{mark} {}: {}", finding.check, finding.detail));
            if let Some(mend) = &finding.mend {
                say(&format!("        -> {mend}"));
            }
        }
    }
    let of = |status| report.checks.iter().filter(|it| it.status == status).count();
    match (of(Status::Failed), of(Status::Warning)) {
        (0, 0) => Ok(()),
        (0, warnings) => {
            if !json {
                say(&format!("works, with {warnings} to look at"));
            }
            Ok(())
        }
        (failed, _) => bail!("{failed} of {} checks failed", report.checks.len()),
    }
}
