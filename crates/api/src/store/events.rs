//! The spine: what happened, stored in the same commit as the change that caused it.
//!
//! Ids come from the `counters` rows, which every group of writes locks first: so they are gapless and in the
//! order of the commits, and nobody who reads after a cursor ever steps over an event that commits later.

use std::collections::BTreeSet;

use chaffer_shared::event::EventId;
use chaffer_shared::topic::Topic;
use diesel::prelude::*;
use serde_json::value::RawValue;

use super::connection::Database;
use super::fixed::fixed;
#[cfg(feature = "sqlite")]
use super::fixed::fixed_query;
use super::prepared::pieces;
#[cfg(feature = "mysql")]
use super::prepared::{portions, written};
use super::schema::{counters, event_topics, events};
use super::{Id, Reader, StoreError, Timestamp, Writer};

/// What an event is about. Its data is the message, or else the stored data, or else the thread, as they are
/// when the event is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// The thread it belongs to: only those who may see it get the event from the feed.
    pub thread: Option<Id>,
    /// The message.
    pub message: Option<Id>,
    /// Ids, counts and times; never texts of people.
    pub data: Option<serde_json::Value>,
}

/// An event to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// One of [`chaffer_shared::event::name`].
    pub name: &'static str,
    /// Who hears it.
    pub topics: &'a [Topic],
    /// What it is about.
    pub cause: Cause,
    /// How that looks now, if the rule has it at hand: spares the publisher to read it back. Not stored.
    pub shown: Option<Box<RawValue>>,
    /// The HTTP request that caused it.
    pub request_id: &'a str,
    /// When it happened.
    pub at: Timestamp,
}

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its number.
    pub id: EventId,
    /// One of [`chaffer_shared::event::name`].
    pub name: String,
    /// Who hears it.
    pub topics: Vec<Topic>,
    /// What it is about.
    pub cause: Cause,
    /// How that looked when it happened; only of an event that was stored a moment ago.
    pub shown: Option<Box<RawValue>>,
    /// The HTTP request that caused it.
    pub request_id: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

/// The numbers given out last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) event: EventId,
    pub(super) message: Id,
    pub(super) thread: Id,
    /// Of the last entry of the audit log.
    pub(super) audit: Id,
    pub(super) attachment: Id,
    /// The version of the list of forbidden words.
    pub(super) forbidden_words: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = events)]
pub(super) struct Row {
    id: EventId,
    name: String,
    topics: String,
    thread_id: Option<Id>,
    message_id: Option<Id>,
    data: Option<String>,
    request_id: Option<String>,
    at: Timestamp,
}

impl Counters {
    /// Reads the counters and keeps other API nodes from writing until this transaction ends.
    pub(super) fn lock(database: &mut Database) -> Result<Self, StoreError> {
        let rows: Vec<(String, i64)> = match database {
            // The transaction was begun as a writing one: it holds SQLite's only write lock.
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                fixed_query!(counters::table.select((counters::name, counters::value)))
                    .load(connection)?
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                let query = counters::table.select((counters::name, counters::value));
                query.order(counters::name).for_update().load(connection)?
            }
        };
        let value = |name: &str| {
            rows.iter().find(|row| row.0 == name).map(|row| row.1).ok_or_else(|| {
                StoreError::Migration(format!("the table `counters` has no row `{name}`"))
            })
        };
        Ok(Self {
            event: value("event")?,
            message: value("message")?,
            thread: value("thread")?,
            audit: value("audit")?,
            attachment: value("attachment")?,
            forbidden_words: value("forbidden_words")?,
        })
    }

    /// Each by the name of its row.
    fn values(&self) -> [(&'static str, i64); 6] {
        [
            ("event", self.event),
            ("message", self.message),
            ("thread", self.thread),
            ("audit", self.audit),
            ("attachment", self.attachment),
            ("forbidden_words", self.forbidden_words),
        ]
    }

    /// Writes those that have been raised since.
    pub(super) fn save(&self, database: &mut Database, before: &Self) -> QueryResult<()> {
        match database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for ((name, value), (_, before)) in self.values().into_iter().zip(before.values()) {
                    if value != before {
                        fixed!("UPDATE `counters` SET `value` = ? WHERE `name` = ?", value, name)
                            .execute(connection)?;
                    }
                }
            }
            // All at once, since each statement is a round trip.
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                if self != before {
                    let [event, message, thread, audit, attachment, forbidden_words] =
                        self.values().map(|(_, value)| value);
                    fixed!(
                        "UPDATE `counters` SET `value` = CASE `name` WHEN 'event' THEN ? WHEN 'message' THEN ? \
                         WHEN 'thread' THEN ? WHEN 'audit' THEN ? WHEN 'attachment' THEN ? ELSE ? END \
                         WHERE `name` IN ('event', 'message', 'thread', 'audit', 'attachment', 'forbidden_words')",
                        event,
                        message,
                        thread,
                        audit,
                        attachment,
                        forbidden_words,
                    )
                    .execute(connection)?;
                }
            }
        }
        Ok(())
    }
}

impl StoredEvent {
    pub(super) fn from_row(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            topics: serde_json::from_str(&row.topics).unwrap_or_default(),
            cause: Cause {
                thread: row.thread_id,
                message: row.message_id,
                data: row.data.and_then(|data| serde_json::from_str(&data).ok()),
            },
            shown: None,
            request_id: row.request_id,
            at: row.at,
        }
    }

    fn to_row(&self) -> Row {
        Row {
            id: self.id,
            name: self.name.clone(),
            topics: serde_json::to_string(&self.topics).unwrap_or_default(),
            thread_id: self.cause.thread,
            message_id: self.cause.message,
            data: self.cause.data.as_ref().map(ToString::to_string),
            request_id: self.request_id.clone(),
            at: self.at,
        }
    }

    /// Stores what a group of writes emitted, many rows a statement.
    pub(super) fn insert_all(database: &mut Database, pending: &[Self]) -> QueryResult<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = pending.iter().map(Self::to_row).collect();
        match database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for row in &rows {
                    fixed!(
                        "INSERT INTO `events` (`id`, `name`, `topics`, `thread_id`, `message_id`, `data`, \
                         `request_id`, `at`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        row.id,
                        &row.name,
                        &row.topics,
                        row.thread_id,
                        row.message_id,
                        &row.data,
                        &row.request_id,
                        row.at,
                    )
                    .execute(connection)?;
                }
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                for rows in portions(&rows) {
                    let mut insert = written(
                        "INSERT INTO `events` (`id`, `name`, `topics`, `thread_id`, `message_id`, `data`, \
                         `request_id`, `at`) VALUES (",
                    );
                    for (nth, row) in rows.iter().enumerate() {
                        insert = insert
                            .sql(if nth == 0 { "" } else { "), (" })
                            .number(row.id)
                            .sql(", ")
                            .text(&row.name)
                            .sql(", ")
                            .text(&row.topics)
                            .sql(", ")
                            .maybe_number(row.thread_id)
                            .sql(", ")
                            .maybe_number(row.message_id)
                            .sql(", ")
                            .maybe_text(row.data.as_deref())
                            .sql(", ")
                            .maybe_text(row.request_id.as_deref())
                            .sql(", ")
                            .moment(row.at);
                    }
                    insert.sql(")").execute(connection)?;
                }
            }
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// The id of the last event (0: none yet).
    pub(crate) fn last_event(&mut self) -> Result<EventId, StoreError> {
        Ok(counters::table.find("event").select(counters::value).first(self.database)?)
    }

    /// The id of the oldest event that is still kept; one more than the last when none is.
    pub(crate) fn oldest_event(&mut self) -> Result<EventId, StoreError> {
        let pruned: EventId =
            counters::table.find("event_pruned").select(counters::value).first(self.database)?;
        Ok(pruned + 1)
    }

    /// All events after the cursor, in order.
    pub(crate) fn events_after(
        &mut self,
        after: EventId,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows: Vec<Row> = events::table
            .filter(events::id.gt(after))
            .order(events::id)
            .limit(limit)
            .select(Row::as_select())
            .load(self.database)?;
        Ok(rows.into_iter().map(StoredEvent::from_row).collect())
    }
}

impl Writer<'_> {
    /// The number of the last event, those of this commit included.
    pub(crate) fn current_event(&self) -> EventId {
        self.counters.event
    }

    /// Stores an event with this commit and gives it its number.
    pub(crate) fn emit(&mut self, event: NewEvent<'_>) -> EventId {
        self.counters.event += 1;
        self.pending.push(StoredEvent {
            id: self.counters.event,
            name: event.name.to_owned(),
            topics: event.topics.to_vec(),
            cause: event.cause,
            shown: event.shown,
            request_id: Some(event.request_id.to_owned()),
            at: event.at,
        });
        self.counters.event
    }

    /// Forgets up to `limit` of the events from before that moment, oldest first, and tells how many it were.
    pub(crate) fn prune_events(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        // Ids and times rise together: the oldest ids are the ones to look at.
        let oldest: Vec<(EventId, Timestamp, String)> = events::table
            .order(events::id)
            .limit(limit)
            .select((events::id, events::at, events::topics))
            .load(self.database)?;
        let expired: Vec<_> = oldest.iter().take_while(|(_, at, _)| *at < before).collect();
        let Some((newest, ..)) = expired.last() else { return Ok(0) };
        // By topic: an index by event would have to be written with every message.
        let topics: BTreeSet<String> = expired
            .iter()
            .flat_map(|(.., topics)| {
                serde_json::from_str::<Vec<String>>(topics).unwrap_or_default()
            })
            .collect();
        for topics in pieces(&Vec::from_iter(topics)) {
            let rows = event_topics::table
                .filter(event_topics::topic.eq_any(topics))
                .filter(event_topics::event_id.le(newest));
            diesel::delete(rows).execute(self.database)?;
        }
        diesel::delete(events::table.filter(events::id.le(newest))).execute(self.database)?;
        // After a restore the mark stands above what is still here.
        diesel::update(counters::table.find("event_pruned").filter(counters::value.lt(newest)))
            .set(counters::value.eq(newest))
            .execute(self.database)?;
        Ok(expired.len())
    }
}
