//! The database: is it there, are its tables those of this binary, can it be written, what time has it.

use chaffer_shared::config::Config;
use chrono::TimeDelta;

use super::{Report, Status};
use crate::store::DatabaseUrl;

/// Clocks further apart than that are told of; further than the second, tokens and times go wrong.
const NOTED: TimeDelta = TimeDelta::seconds(5);
const WRONG: TimeDelta = TimeDelta::seconds(30);

pub(super) fn check(config: &Config, report: &mut Report) {
    let url = match DatabaseUrl::parse(&config.database.url) {
        Ok(url) => url,
        Err(error) => return report.fail("database", error.to_string(), "correct database.url"),
    };
    let state = match url.migrations() {
        Ok(state) => state,
        Err(error) => {
            let mend = match url {
                DatabaseUrl::Sqlite(_) => {
                    "start chaffer-api, which makes it, or correct database.url and who may read the file"
                }
                DatabaseUrl::Mysql(_) => {
                    "is the server running, and do user, password and database in database.url exist there?"
                }
            };
            return report.fail("database", format!("{url}: {error}"), mend);
        }
    };
    report.ok("database", format!("{url} answers"));
    if let Some(newer) = state.newer {
        return report.fail(
            "migrations",
            format!("the database has the migration {newer}, which this chaffer-api does not know"),
            "install the version that wrote it, or restore a backup from before",
        );
    }
    if !state.pending.is_empty() {
        return report.fail(
            "migrations",
            format!("the tables lack {}", state.pending.join(", ")),
            "back up, then `chaffer-api migrate`, or start chaffer-api, which does it",
        );
    }
    report.ok("migrations", format!("{} run, none is missing", state.applied.len()));
    match url.probe() {
        Ok(clock) => {
            report.ok("database_write", "can be written");
            clocks("database_clock", "the database", clock, report);
        }
        Err(error) => report.fail(
            "database_write",
            format!("{url} cannot be written: {error}"),
            "may this user write the file and its folder? Is the server read-only, or its disk full?",
        ),
    }
}

/// Compares another clock with ours.
pub(super) fn clocks(
    check: &'static str,
    whose: &str,
    other: chrono::NaiveDateTime,
    report: &mut Report,
) {
    let apart = other - chaffer_shared::time::now().naive_utc();
    let status = match apart.abs() {
        apart if apart > WRONG => Status::Failed,
        apart if apart > NOTED => Status::Warning,
        _ => Status::Ok,
    };
    if status == Status::Ok {
        return report.ok(check, format!("{whose} has our time"));
    }
    let direction = if apart > TimeDelta::zero() { "ahead of" } else { "behind" };
    let detail = format!("{whose} is {} s {direction} our clock", apart.abs().num_seconds());
    let mend = "let all machines take their time from NTP (systemd-timesyncd, chrony)".to_owned();
    report.add(check, status, detail, Some(mend));
}
