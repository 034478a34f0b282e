//! Everything as lines of JSON (B12): for moving to another installation or away from Chaffer, and for looking into with
//! any tool. `docs/moving-in.md` describes the lines. Tables are written and read as `copy` describes them, so that a new
//! column needs nothing here; a new table has to be named in one of two lists.
//!
//! An export is one moment of a database that others go on writing to. An import is one transaction into an empty
//! installation: all of a file or nothing of it. Neither holds more than a page of rows.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

use chaffer_shared::topic;
use diesel::prelude::*;
use serde_json::value::RawValue;

use super::backup::go_on;
use super::connection::{Database, Use};
use super::copy::{BYTES, Column, Kind, ROWS, Row, Table};
use super::events::Counters;
use super::messages::SystemEntry;
use super::schema::{audit_log, counters};
use super::told::Told;
use super::{
    Audience, DatabaseUrl, MailChoice, MailKind, MailState, ParticipantKind, Role, Side,
    StoreError, SubjectType, ThreadStatus, Timestamp, VendorStatus, WebhookStatus, WordAction,
    WordKind,
};

/// Raised when a line of a type that is there already gets another meaning.
const VERSION: i64 = 1;
/// The longest line.
const MAX_LINE_BYTES: usize = 16 << 20;
/// The largest number of a counter: far more than ever happens, and far from where adding fails.
const MAX_COUNTER: i64 = 1 << 53;

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
/// What is left out without secrets: of a webhook, and of a file the key under which its addresses are signed.
const SECRET_COLUMNS: [(&str, &str); 4] = [
    ("webhooks", "secret"),
    ("webhooks", "previous_secret"),
    ("webhooks", "previous_until"),
    ("attachments", "secret"),
];

/// What belongs to the installation and not to the shop, or is made anew: events and whoever follows them begin anew as after
/// a restore, deliveries are a log of those, and first answers count for a day.
#[cfg(test)]
const NOT_MOVED: [&str; 5] =
    ["consumers", "event_topics", "events", "idempotency_keys", "webhook_deliveries"];

/// Texts that are JSON, and stand as such in the line.
const JSON_COLUMNS: [(&str, &str); 5] = [
    ("users", "profiles"),
    ("forbidden_words", "exceptions"),
    ("settings", "value"),
    ("webhooks", "events"),
    ("audit_log", "data"),
];

/// Texts of which there are only these.
const NAMES: [(&str, &str, &[&str]); 18] = [
    ("vendors", "status", VendorStatus::NAMES),
    ("users", "role", Role::NAMES),
    ("users", "mail_choice", MailChoice::NAMES),
    ("threads", "subject_type", SubjectType::NAMES),
    ("threads", "status", ThreadStatus::NAMES),
    ("participants", "kind", ParticipantKind::NAMES),
    ("participants", "side", Side::NAMES),
    ("messages", "author_kind", ParticipantKind::NAMES),
    ("messages", "side", Side::NAMES),
    ("messages", "system_entry", SystemEntry::NAMES),
    ("read_states", "kind", ParticipantKind::NAMES),
    ("forbidden_words", "kind", WordKind::NAMES),
    ("forbidden_words", "action", WordAction::NAMES),
    ("mail_templates", "audience", Audience::NAMES),
    ("mail_templates", "kind", MailKind::NAMES),
    ("mails", "kind", MailKind::NAMES),
    ("mails", "state", MailState::NAMES),
    ("webhooks", "status", WebhookStatus::NAMES),
];

/// The numbers of which tables a counter has given out.
const COUNTED: [(&str, &str); 5] = [
    ("attachments", "attachment"),
    ("messages", "message"),
    ("threads", "thread"),
    ("audit_log", "audit"),
    ("forbidden_words", "forbidden_words"),
];

/// Why a webhook that came without its secret is switched off.
const WITHOUT_SECRET: &str = "it was moved without its secret: rotate the secret, give the receiver the new one, and switch it on";

/// How many lines of each type there were.
pub type LineReport = BTreeMap<&'static str, u64>;

fn wrong(line: u64, what: impl std::fmt::Display) -> StoreError {
    StoreError::Line(format!("line {line}: {what}"))
}

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
        let mut import = Import {
            before: Counters::lock(&mut database)?,
            database: &mut database,
            tables: &tables,
            new_secret,
            now,
            counters: BTreeMap::new(),
            waiting: Vec::new(),
            bytes: 0,
            report: LineReport::new(),
        };
        let done = import.run(lines, progress);
        let report = std::mem::take(&mut import.report);
        match done {
            Ok(()) if !dry_run => database.commit()?,
            done => {
                database.rollback()?;
                done?;
            }
        }
        Ok(report)
    }
}

/// One row as a line.
fn line_of(kind: &str, table: &Table, row: &Row, with_secrets: bool) -> Result<String, StoreError> {
    let mut line = format!("{{\"type\":\"{kind}\"");
    for (column, value) in table.columns.iter().zip(&row.0) {
        if !with_secrets && is_secret(table, column) {
            continue;
        }
        let broken = || {
            StoreError::Line(format!(
                "{}.{} holds {value:?}, which it cannot",
                table.name, column.name
            ))
        };
        let text = match (value, column.kind) {
            (None, _) => "null".to_owned(),
            (Some(value), Kind::Number) if column.is_flag => (value != "0").to_string(),
            (Some(value), Kind::Number) => value.parse::<i64>().map_err(|_| broken())?.to_string(),
            (Some(value), Kind::Time) => {
                let at = Timestamp::parse_from_str(value, "%Y-%m-%d %H:%M:%S%.f")
                    .map_err(|_| broken())?;
                format!("\"{}\"", chaffer_shared::time::format(&at.and_utc()))
            }
            (Some(value), Kind::Text) if is_json(table, column) => {
                // As it is, whatever order its fields have; but on one line.
                let raw: &RawValue = serde_json::from_str(value).map_err(|_| broken())?;
                raw.get().replace(['\n', '\r'], " ")
            }
            (Some(value), Kind::Text) => {
                serde_json::to_string(value).map_err(|error| StoreError::Line(error.to_string()))?
            }
        };
        line.push_str(&format!(",\"{}\":{text}", column.name));
    }
    line.push('}');
    Ok(line)
}

fn is_json(table: &Table, column: &Column) -> bool {
    JSON_COLUMNS.contains(&(table.name.as_str(), column.name.as_str()))
}

fn is_secret(table: &Table, column: &Column) -> bool {
    SECRET_COLUMNS.contains(&(table.name.as_str(), column.name.as_str()))
}

/// An import on its way.
struct Import<'i> {
    database: &'i mut Database,
    tables: &'i [(&'static str, Table)],
    new_secret: &'i dyn Fn() -> String,
    now: Timestamp,
    before: Counters,
    /// What the counters have to be at least.
    counters: BTreeMap<String, i64>,
    /// Rows of one table that go in together, each with its line, and how much they are.
    waiting: Vec<(u64, usize, Row)>,
    bytes: usize,
    report: LineReport,
}

/// The fields of a line.
type Fields = BTreeMap<String, Box<RawValue>>;

impl Import<'_> {
    fn run(
        &mut self,
        lines: &mut dyn BufRead,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<(), StoreError> {
        // All that an empty installation has noted is that its keys were made: the log that comes in takes that place.
        diesel::delete(audit_log::table.filter(audit_log::action.like("api_key.%")))
            .execute(self.database)?;
        for (_, table) in self
            .tables
            .iter()
            .filter(|(_, table)| !["counters", SECRET_TABLE].contains(&table.name.as_str()))
        {
            if table.has_rows(self.database)? {
                return Err(StoreError::Line(format!(
                    "the installation is not empty (the table {} has rows): import into an empty one",
                    table.name
                )));
            }
        }
        let mut number: u64 = 0;
        let mut ended = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            number += 1;
            let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
            let failed = |error| StoreError::File(format!("cannot read line {number}"), error);
            let read =
                (&mut *lines).take(limit + 1).read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                break;
            }
            if line.len() > MAX_LINE_BYTES {
                return Err(wrong(number, "longer than 16 MiB"));
            }
            if line.trim_ascii().is_empty() {
                return Err(wrong(number, "it is empty"));
            }
            if ended {
                return Err(wrong(number, "something follows the line of the type `end`"));
            }
            let (kind, fields) = read_line(&line).map_err(|what| wrong(number, what))?;
            match (number, kind.as_str()) {
                (1, _) => check_head(&kind, &fields).map_err(|what| wrong(1, what))?,
                (_, "end") => {
                    let count: Option<u64> = field(&fields, "lines");
                    if count != Some(number) {
                        let told = count.map_or("none".into(), |it| it.to_string());
                        return Err(wrong(
                            number,
                            format!("there should be {told} lines: some are missing, or too many"),
                        ));
                    }
                    ended = true;
                }
                (_, kind) => self.take(number, kind, fields)?,
            }
            if number.is_multiple_of(1000) {
                progress(&kind, number);
            }
        }
        if !ended {
            return Err(StoreError::Line(format!(
                "the last line, of the type `end`, is missing: the export was cut off after {} lines",
                number - 1
            )));
        }
        self.flush()?;
        for (name, value) in &self.counters {
            diesel::update(counters::table.find(name).filter(counters::value.lt(value)))
                .set(counters::value.eq(value))
                .execute(self.database)?;
        }
        // The installation that it comes from has sent meanwhile what was due there.
        Told::default().note(self.database, self.now)?;
        go_on(self.database, self.before, self.now)?;
        Ok(())
    }

    /// Takes one line.
    fn take(&mut self, number: u64, kind: &str, mut fields: Fields) -> Result<(), StoreError> {
        let Some(place) = self.tables.iter().position(|(known, _)| *known == kind) else {
            return Err(wrong(
                number,
                format!(
                    "the type `{kind}` is not known here: install the version of Chaffer that the first line names, or a newer one"
                ),
            ));
        };
        let Some((kind, table)) = self.tables.get(place) else { return Ok(()) };
        *self.report.entry(kind).or_default() += 1;
        let quoted = |text: &str| RawValue::from_string(serde_json::json!(text).to_string());
        if table.name == "attachments" && !fields.contains_key("secret") {
            let secret = quoted(&(self.new_secret)()).map_err(|error| wrong(number, error))?;
            fields.insert("secret".to_owned(), secret);
        }
        if table.name == "webhooks" && !fields.contains_key("secret") {
            for (name, value) in [
                ("secret", (self.new_secret)()),
                ("status", WebhookStatus::Disabled.as_str().to_owned()),
                ("disabled_reason", WITHOUT_SECRET.to_owned()),
            ] {
                let value = quoted(&value).map_err(|error| wrong(number, error))?;
                fields.insert(name.to_owned(), value);
            }
        }
        add_erasing_since(table, &mut fields);
        let row =
            row_of(table, &mut fields).map_err(|what| wrong(number, format!("{kind}: {what}")))?;
        if let Some(unknown) = fields.keys().next() {
            return Err(wrong(number, format!("{kind}: the field `{unknown}` is not known here")));
        }
        if table.name == COUNTERS {
            return self.counter(number, &row);
        }
        if let Some((_, counter)) = COUNTED.iter().find(|(counted, _)| *counted == table.name) {
            let id = table.columns.iter().zip(&row.0).find(|(column, _)| column.name == "id");
            let id = id.and_then(|(_, value)| value.as_ref()?.parse::<i64>().ok()).unwrap_or(0);
            if !(1..=MAX_COUNTER).contains(&id) {
                return Err(wrong(number, format!("{kind}: `id` must be a number from 1")));
            }
            let last = self.counters.entry((*counter).to_owned()).or_default();
            *last = id.max(*last);
        }
        let size: usize = row.0.iter().flatten().map(String::len).sum();
        let other = self.waiting.first().is_some_and(|(_, waiting, _)| *waiting != place);
        if other || self.waiting.len() >= ROWS || self.bytes + size > BYTES {
            self.flush()?;
        }
        self.bytes += size;
        self.waiting.push((number, place, row));
        Ok(())
    }

    fn counter(&mut self, number: u64, row: &Row) -> Result<(), StoreError> {
        let [Some(name), Some(value)] = row.0.as_slice() else {
            return Err(wrong(number, "counter: `name` and `value` are what it has"));
        };
        let value = value.parse().ok().filter(|value| (0..=MAX_COUNTER).contains(value));
        let value: i64 = value.ok_or_else(|| wrong(number, "counter: `value` is too large"))?;
        // What the new installation has pruned, and has in its search index, it knows itself.
        if !["event_pruned", "search"].contains(&name.as_str()) {
            let last = self.counters.entry(name.clone()).or_default();
            *last = value.max(*last);
        }
        Ok(())
    }

    /// Inserts what waits. Where the database refuses, the line is found that it refuses.
    fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let Some((_, place, _)) = waiting.first() else { return Ok(()) };
        let Some((kind, table)) = self.tables.get(*place) else { return Ok(()) };
        let numbers: Vec<u64> = waiting.iter().map(|(number, ..)| *number).collect();
        let rows: Vec<Row> = waiting.into_iter().map(|(.., row)| row).collect();
        let Err(all) = table.insert(self.database, &rows) else { return Ok(()) };
        for (number, row) in numbers.into_iter().zip(rows.chunks(1)) {
            if let Err(error) = table.insert(self.database, row) {
                return Err(wrong(number, format!("{kind}: the database refuses it: {error}")));
            }
        }
        Err(all)
    }
}

/// The type and the other fields of a line.
fn read_line(line: &[u8]) -> Result<(String, Fields), String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let mut fields: Fields =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?;
    let kind = fields.remove("type").and_then(|raw| serde_json::from_str(raw.get()).ok());
    Ok((kind.ok_or("it has no `type`, which is a text")?, fields))
}

fn field<T: serde::de::DeserializeOwned>(fields: &Fields, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn check_head(kind: &str, fields: &Fields) -> Result<(), String> {
    if kind != "chaffer_export" {
        return Err(
            "it is no export of Chaffer, whose first line has the type `chaffer_export`".into()
        );
    }
    match field::<i64>(fields, "version") {
        Some(1..=VERSION) => Ok(()),
        Some(newer) => Err(format!(
            "its version is {newer}, and this program knows those up to {VERSION}: install the version of Chaffer that wrote it ({}), or a newer one",
            field::<String>(fields, "made_by").unwrap_or_default()
        )),
        None => Err("it has no `version`".into()),
    }
}

/// Older versions did not note how far they had come with an erased person: it is gone through once more.
fn add_erasing_since(table: &Table, fields: &mut Fields) {
    if table.name == "users"
        && !fields.contains_key("erasing_since")
        && let Some(erased_at) = fields.get("erased_at").cloned()
    {
        fields.insert("erasing_since".to_owned(), erased_at);
    }
}

/// Takes the row of a table out of a line's fields.
fn row_of(table: &Table, fields: &mut Fields) -> Result<Row, String> {
    if table.name == "users" {
        // The two namespaces stay apart, whoever wrote the file.
        let of = |name: &str| field::<String>(fields, name).unwrap_or_default();
        if topic::is_visitor(&of("id")) != (of("role") == Role::Visitor.as_str()) {
            return Err("ids that begin with visitor: are those of the role visitor".into());
        }
    }
    let values = table.columns.iter().map(|column| {
        let Some(raw) = fields.remove(&column.name) else {
            // Written by a version that did not have it yet.
            return match &column.default {
                Some(default) => Ok(Some(default.trim_matches('\'').to_owned())),
                None if column.may_be_null => Ok(None),
                None => Err(format!("the field `{}` is missing", column.name)),
            };
        };
        value_of(table, column, &raw).map_err(|what| format!("`{}` {what}", column.name))
    });
    values.collect::<Result<_, _>>().map(Row)
}

fn value_of(table: &Table, column: &Column, raw: &RawValue) -> Result<Option<String>, String> {
    let raw = raw.get();
    if raw == "null" && column.may_be_null {
        return Ok(None);
    }
    if is_json(table, column) {
        return Ok(Some(raw.to_owned()));
    }
    if raw == "null" {
        return Err("must not be null".into());
    }
    let value = match column.kind {
        Kind::Number if column.is_flag => {
            let flag: bool = serde_json::from_str(raw).map_err(|_| "must be true or false")?;
            u8::from(flag).to_string()
        }
        Kind::Number => {
            let number: i64 = serde_json::from_str(raw).map_err(|_| "must be a whole number")?;
            number.to_string()
        }
        Kind::Time => {
            let text: String = serde_json::from_str(raw).map_err(|_| "must be a time, as text")?;
            let at = chrono::DateTime::parse_from_rfc3339(&text);
            let at = at.map_err(|_| "must be a time like 2026-11-21T10:00:00.000Z")?.naive_utc();
            if !(0..=9999).contains(&chrono::Datelike::year(&at)) {
                return Err("must be a time before the year 10000".into());
            }
            at.format("%Y-%m-%d %H:%M:%S%.3f").to_string().trim_end_matches(".000").to_owned()
        }
        Kind::Text => serde_json::from_str(raw).map_err(|_| "must be a text")?,
    };
    let names = NAMES.iter().find(|(of, name, _)| *of == table.name && *name == column.name);
    if let Some((.., names)) = names
        && !names.contains(&value.as_str())
    {
        return Err(format!("is {value:?}, and must be one of {}", names.join(", ")));
    }
    let is_id = matches!((table.name.as_str(), column.name.as_str()), ("users" | "vendors", "id"));
    if is_id && !chaffer_shared::topic::is_valid_id(&value) {
        return Err("must be 1 to 128 bytes long, without control characters".into());
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_file_gives_no_visitors_id_to_somebody_else() {
        let users = described().unwrap().into_iter().find(|(_, it)| it.name == "users").unwrap().1;
        let take = |id: &str, role: &str| {
            let line = serde_json::json!({
                "type": "user", "id": id, "role": role, "name": "V", "root": false,
                "manage_messages": false, "profiles": [], "mail_choice": "all",
                "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
            });
            row_of(&users, &mut read_line(line.to_string().as_bytes()).unwrap().1).map(drop)
        };
        assert_eq!(take("visitor:1", "visitor"), Ok(()));
        assert_eq!(take("1", "customer"), Ok(()));
        assert!(take("visitor:1", "customer").is_err());
        assert!(take("1", "visitor").is_err());
    }

    #[test]
    fn an_erasure_that_an_older_version_may_not_have_ended_is_gone_on_with() {
        let users = described().unwrap().into_iter().find(|(_, it)| it.name == "users").unwrap().1;
        let since = |more: serde_json::Value| {
            let mut line = serde_json::json!({
                "type": "user", "id": "1", "role": "customer", "name": "", "root": false,
                "manage_messages": false, "profiles": [], "mail_choice": "none",
                "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
            });
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mut fields = read_line(line.to_string().as_bytes()).unwrap().1;
            add_erasing_since(&users, &mut fields);
            let row = row_of(&users, &mut fields).unwrap();
            let at = users.columns.iter().position(|it| it.name == "erasing_since").unwrap();
            row.0[at].clone()
        };
        let erased = "2026-03-02T10:00:00.000Z";
        let older = since(serde_json::json!({"erased_at": erased}));
        assert_eq!(older.as_deref(), Some("2026-03-02 10:00:00"));
        for not in [
            serde_json::json!({}),
            serde_json::json!({"erased_at": null}),
            serde_json::json!({"erased_at": erased, "erasing_since": null}),
        ] {
            assert_eq!(since(not.clone()), None, "{not}");
        }
    }

    static MESSAGES: std::sync::LazyLock<Table> = std::sync::LazyLock::new(|| {
        described().unwrap().into_iter().find(|(_, it)| it.name == "messages").unwrap().1
    });

    proptest! {
        #[test]
        fn any_message_comes_back(
            text in "\\PC{0,40}|[\\x00-\\x1f\u{2028}\"\\\\]{0,10}",
            millis in 0_i64..253_402_300_799_999,
            flagged: bool,
            reply_to in prop::option::of(any::<i64>()),
        ) {
            let table: &Table = &MESSAGES;
            let at = chrono::DateTime::from_timestamp_millis(millis).unwrap().naive_utc();
            let at = at.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            let at = at.trim_end_matches(".000");
            let row: Vec<Option<String>> = table.columns.iter().map(|column| match column.name.as_str() {
                "id" | "thread_id" => Some("7".into()),
                "author_kind" => Some("user".into()),
                "side" => Some("customer".into()),
                "author_id" | "text" => Some(text.clone()),
                "flagged" => Some(u8::from(flagged).to_string()),
                "attachment_count" => Some("0".into()),
                "created_at" => Some(at.to_owned()),
                "reply_to" => reply_to.map(|it| it.to_string()),
                _ => None,
            }).collect();
            let line = line_of("message", table, &Row(row.clone()), true).unwrap();
            prop_assert!(!line.contains('\n'));
            let (kind, mut fields) = read_line(line.as_bytes()).unwrap();
            prop_assert_eq!(kind, "message");
            prop_assert_eq!(row_of(table, &mut fields).unwrap().0, row);
            prop_assert!(fields.is_empty());
        }

        #[test]
        fn no_line_makes_it_panic(
            line in "\\PC{0,60}|\\{(\"(type|id|text|flagged|created_at)\":(null|true|-?[0-9]{1,25}|\"[a-z0-9:TZ.-]{0,30}\"|\\[\\]),?){0,6}\\}?",
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let _ = read_line(&bytes);
            if let Ok((_, mut fields)) = read_line(line.as_bytes()) {
                let _ = check_head("chaffer_export", &fields);
                let _ = row_of(&MESSAGES, &mut fields);
            }
        }
    }
}
