//! `chaffer-api backup` and `chaffer-api restore`.

use std::path::Path;

use anyhow::Result;

use crate::store::DatabaseUrl;

#[cfg(feature = "sqlite")]
pub(super) fn back_up(url: &DatabaseUrl, path: &Path, if_any: bool) -> Result<()> {
    if if_any && !url.has_tables()? {
        super::say(&format!("nothing to back up: {url} holds no tables of Chaffer"));
        return Ok(());
    }
    let named = chaffer_shared::time::now().format("chaffer-%Y%m%d-%H%M%S.db").to_string();
    let path = if path.is_dir() { path.join(named) } else { path.to_owned() };
    let report = url.back_up(&path)?;
    super::say(&format!(
        "{}: {} up to event {}, of {url}",
        path.display(),
        content(&report),
        report.last_event
    ));
    Ok(())
}

#[cfg(feature = "sqlite")]
pub(super) fn restore(url: &DatabaseUrl, file: &Path, force: bool) -> Result<()> {
    let report = url.restore(file, force, chaffer_shared::time::now().naive_utc())?;
    super::say(&format!(
        "{url}: restored {}; events go on from {}, so every page reloads what it shows",
        content(&report),
        report.last_event
    ));
    if report.mails_given_up > 0 {
        super::say(&format!(
            "{} mails may have been sent since the backup and are given up: see GET /v1/mails?state=failed",
            report.mails_given_up
        ));
    }
    super::say(
        "API keys that were revoked after the backup are live again: see `chaffer-api key list`",
    );
    Ok(())
}

#[cfg(feature = "sqlite")]
fn content(report: &crate::store::BackupReport) -> String {
    let rows = |table| report.rows_of(table);
    format!("{} users, {} threads, {} messages", rows("users"), rows("threads"), rows("messages"))
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn back_up(_: &DatabaseUrl, _: &Path, _: bool) -> Result<()> {
    anyhow::bail!("a backup is a SQLite file, and this chaffer-api was built without SQLite")
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn restore(_: &DatabaseUrl, _: &Path, _: bool) -> Result<()> {
    anyhow::bail!("a backup is a SQLite file, and this chaffer-api was built without SQLite")
}
