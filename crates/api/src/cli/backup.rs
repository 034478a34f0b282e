//! `chaffer-api backup` and `chaffer-api restore`.

use std::path::Path;

use anyhow::Result;

#[cfg(feature = "sqlite")]
use chaffer_shared::config::Files;
use chaffer_shared::config::Flags;

#[cfg(feature = "sqlite")]
use crate::store::{BackupReport, DatabaseUrl};

#[cfg(feature = "sqlite")]
pub(super) fn back_up(flags: &Flags, path: &Path, if_any: bool) -> Result<()> {
    let config = super::settings(flags)?;
    let url = &DatabaseUrl::parse(&config.database.url)?;
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
    say_of_files(&report, &config.files, "are not in it: copy", "are not in it: keep versions of");
    Ok(())
}

/// Files are too many and too large to go through one file, and there are better tools to copy them.
#[cfg(feature = "sqlite")]
fn say_of_files(report: &BackupReport, files: &Files, of_folder: &str, of_bucket: &str) {
    let count = report.rows_of("attachments");
    if count == 0 {
        return;
    }
    super::say(&match files.s3_bucket.as_str() {
        "" => format!("{count} attached files {of_folder} the folder {}", files.folder),
        bucket => format!("{count} attached files {of_bucket} the bucket {bucket}"),
    });
}

#[cfg(feature = "sqlite")]
pub(super) fn restore(flags: &Flags, file: &Path, force: bool) -> Result<()> {
    let config = super::settings(flags)?;
    let url = &DatabaseUrl::parse(&config.database.url)?;
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
    let of_both = "are expected in";
    say_of_files(&report, &config.files, of_both, of_both);
    super::say(
        "API keys that were revoked after the backup are live again: see `chaffer-api key list`",
    );
    Ok(())
}

#[cfg(feature = "sqlite")]
fn content(report: &BackupReport) -> String {
    let rows = |table| report.rows_of(table);
    format!("{} users, {} threads, {} messages", rows("users"), rows("threads"), rows("messages"))
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn back_up(_: &Flags, _: &Path, _: bool) -> Result<()> {
    anyhow::bail!("a backup is a SQLite file, and this chaffer-api was built without SQLite")
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn restore(_: &Flags, _: &Path, _: bool) -> Result<()> {
    anyhow::bail!("a backup is a SQLite file, and this chaffer-api was built without SQLite")
}
