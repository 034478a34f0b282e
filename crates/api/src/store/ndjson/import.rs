//! An import on its way: the lines are checked one after the other, and go in by tables.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use diesel::prelude::*;
use serde_json::value::RawValue;

use super::line::{Fields, add_erasing_since, check_head, field, read_line, row_of};
use super::{COUNTERS, LineReport, SECRET_TABLE};
use crate::store::backup::go_on;
use crate::store::connection::Database;
use crate::store::copy::{BYTES, ROWS, Row, Table};
use crate::store::events::Counters;
use crate::store::schema::{audit_log, counters};
use crate::store::told::Told;
use crate::store::{StoreError, Timestamp, WebhookStatus};

/// The longest line.
const MAX_LINE_BYTES: usize = 16 << 20;
/// The largest number of a counter: far more than ever happens, and far from where adding fails.
const MAX_COUNTER: i64 = 1 << 53;

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

fn wrong(line: u64, what: impl std::fmt::Display) -> StoreError {
    StoreError::Line(format!("line {line}: {what}"))
}

/// An import on its way.
pub(super) struct Import<'i> {
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

impl<'i> Import<'i> {
    /// Into these tables, within the transaction that has begun.
    pub(super) fn new(
        database: &'i mut Database,
        tables: &'i [(&'static str, Table)],
        new_secret: &'i dyn Fn() -> String,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            before: Counters::lock(database)?,
            database,
            tables,
            new_secret,
            now,
            counters: BTreeMap::new(),
            waiting: Vec::new(),
            bytes: 0,
            report: LineReport::new(),
        })
    }

    /// Takes all lines, and tells how many there were.
    pub(super) fn run(
        mut self,
        lines: &mut dyn BufRead,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<LineReport, StoreError> {
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
        Ok(self.report)
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
