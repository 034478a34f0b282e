//! Everything as lines of JSON (B12): for moving to another installation or away from Chaffer, and for looking into with
//! any tool. `docs/moving-in.md` describes the lines. Tables are written and read as `copy` describes them, so that a new
//! column needs nothing here; a new table has to be named in one of two lists.
//!
//! An export is one moment of a database that others go on writing to. An import is one transaction into an empty
//! installation: all of a file or nothing of it. Neither holds more than a page of rows.

mod import;
mod line;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use import::Import;
use line::line_of;

use super::connection::Use;
use super::copy::{ROWS, Row, Table};
use super::{DatabaseUrl, StoreError, Timestamp};

/// Raised when a line of a type that is there already gets another meaning.
const VERSION: i64 = 1;

/// The types of lines and their tables, in an order in which what is referred to comes first.
const LINES: [(&str, &str); 19] = [
    ("vendor", "vendors"),
    ("user", "users"),
    ("thread", "threads"),
    ("participant", "participants"),
    ("message", "messages"),
    ("message_original", "message_originals"),
    ("message_version", "message_versions"),
    ("attachment", "attachments"),
    ("waiting_thread", "support_queue"),
    ("read_state", "read_states"),
    ("forbidden_word", "forbidden_words"),
    ("setting", "settings"),
    ("mail_template", "mail_templates"),
    ("mail", "mails"),
    ("mail_refusal", "mail_refusals"),
    ("webhook", "webhooks"),
    ("audit_entry", "audit_log"),
    ("api_key", SECRET_TABLE),
    ("counter", COUNTERS),
];
/// Only with secrets: whoever has a key goes on having it.
const SECRET_TABLE: &str = "api_keys";
/// Numbers given out; raised, not inserted.
const COUNTERS: &str = "counters";

/// What belongs to the installation and not to the shop, or is made anew: events and whoever follows them begin anew as after
/// a restore, deliveries are a log of those, and first answers count for a day.
#[cfg(test)]
const NOT_MOVED: [&str; 5] =
    ["consumers", "event_topics", "events", "idempotency_keys", "webhook_deliveries"];

/// How many lines of each type there were.
pub type LineReport = BTreeMap<&'static str, u64>;

/// The tables as this binary makes them.
fn described() -> Result<Vec<(&'static str, Table)>, StoreError> {
    let file = tempfile::NamedTempFile::new()
        .map_err(|error| StoreError::File("cannot make a temporary file".into(), error))?;
    let url = DatabaseUrl::Sqlite(file.path().to_owned());
    url.migrate()?;
    let mut tables = url.connect_plainly()?.sqlite_tables()?;
    let mut take = |wanted: &str| {
        let place = tables.iter().position(|it| it.name == wanted)?;
        Some(tables.swap_remove(place))
    };
    let missing = |table| StoreError::Line(format!("there is no table {table}"));
    LINES
        .into_iter()
        .map(|(line, table)| Ok((line, take(table).ok_or_else(|| missing(table))?)))
        .collect()
}

impl DatabaseUrl {
    /// Writes everything that the database holds at one moment, a line each.
    ///
    /// # Errors
    /// When the database cannot be read, its tables are another version's, or the lines cannot be written.
    pub fn export(
        &self,
        out: &mut dyn Write,
        with_secrets: bool,
        now: Timestamp,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<LineReport, StoreError> {
        let state = self.migrations()?;
        state.refuse_newer()?;
        if !state.pending.is_empty() {
            let text =
                format!("the tables of {self} are an older version's: `chaffer-api migrate` first");
            return Err(StoreError::Line(text));
        }
        let tables = described()?;
        let mut database = self.connect(Use::Reading)?;
        if database.is_sqlite() {
            database.batch("BEGIN")?;
        } else {
            database.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
            database.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
        }
        let failed = |error| StoreError::File("cannot write the export".into(), error);
        // The type first, for whoever looks at the lines with other tools.
        let head = format!(
            "{{\"type\":\"chaffer_export\",\"version\":{VERSION},\"made_by\":\"chaffer-api {}\",\
             \"made_at\":\"{}\",\"with_secrets\":{with_secrets}}}",
            env!("CARGO_PKG_VERSION"),
            chaffer_shared::time::format(&now.and_utc()),
        );
        writeln!(out, "{head}").map_err(failed)?;
        let mut report = LineReport::new();
        let mut lines: u64 = 1;
        for (kind, table) in &tables {
            if table.name == SECRET_TABLE && !with_secrets {
                continue;
            }
            let mut last: Option<Row> = None;
            loop {
                let page = table.page(&mut database, last.as_ref())?;
                for row in &page {
                    writeln!(out, "{}", line_of(kind, table, row, with_secrets)?)
                        .map_err(failed)?;
                }
                let count = u64::try_from(page.len()).unwrap_or(0);
                lines += count;
                if count > 0 {
                    *report.entry(kind).or_default() += count;
                    progress(kind, lines);
                }
                if page.len() < ROWS {
                    break;
                }
                last = page.into_iter().next_back();
            }
        }
        writeln!(out, "{{\"type\":\"end\",\"lines\":{}}}", lines + 1).map_err(failed)?;
        out.flush().map_err(failed)?;
        database.batch("COMMIT")?;
        Ok(report)
    }

    /// Fills an empty installation from the lines of an export. All come in, or none.
    ///
    /// # Errors
    /// With the number of the line, and what is wrong with it; when the installation is not empty.
    pub fn import(
        &self,
        lines: &mut dyn BufRead,
        now: Timestamp,
        new_secret: &dyn Fn() -> String,
        dry_run: bool,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<LineReport, StoreError> {
        let tables = described()?;
        if dry_run {
            let state = self.migrations()?;
            state.refuse_newer()?;
            if !state.pending.is_empty() {
                let text =
                    "a dry run changes nothing, not even the tables: `chaffer-api migrate` first";
                return Err(StoreError::Line(text.into()));
            }
        } else {
            self.migrate()?;
        }
        let mut database = self.connect(Use::Writing)?;
        database.begin_writing()?;
        let import = Import::new(&mut database, &tables, new_secret, now)?;
        let done = import.run(lines, progress);
        if done.is_ok() && !dry_run {
            database.commit()?;
        } else {
            database.rollback()?;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::line::{JSON_COLUMNS, NAMES};
    use super::*;

    #[test]
    fn every_table_is_moved_or_left_behind_on_purpose() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = DatabaseUrl::Sqlite(file.path().to_owned());
        url.migrate().unwrap();
        let tables = url.connect_plainly().unwrap().sqlite_tables().unwrap();
        for Table { name, .. } in &tables {
            let is_line = LINES.iter().any(|(_, table)| table == name);
            let is_left = NOT_MOVED.contains(&name.as_str()) || name.starts_with("search_");
            assert!(
                is_line != is_left,
                "the table {name} is new: add it to LINES in store/ndjson.rs (and to docs/moving-in.md), or to NOT_MOVED"
            );
        }
        for (table, column) in JSON_COLUMNS.into_iter().chain(NAMES.iter().map(|it| (it.0, it.1))) {
            let found = tables.iter().find(|it| it.name == table).unwrap();
            assert!(found.columns.iter().any(|it| it.name == column), "{table}.{column}");
        }
    }
}
