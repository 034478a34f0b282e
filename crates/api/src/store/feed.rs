//! The feed of one person: which stored events its topics hear. `event_topics` says it for all but the latest events, which are
//! looked through one by one: to write an event under each of its topics costs a page of SQLite's log for each, and most of
//! a post's rows, unless it is done for many events at once.

use chaffer_shared::event::EventId;
use chaffer_shared::topic::Topic;
use diesel::prelude::*;

use super::connection::Database;
use super::events::{Row, StoredEvent};
#[cfg(feature = "sqlite")]
use super::fixed::fixed;
use super::prepared::{padded, pieces, prepared};
#[cfg(feature = "mysql")]
use super::prepared::{portions, written};
use super::schema::{event_topics, events};
use super::{Reader, StoreError, Writer};

/// The row of `consumers` that says up to which event `event_topics` is complete.
const CONSUMER: &str = "feed";
/// So many of the latest events are looked through at once.
const PAGE: i64 = 256;
/// No more events are written by topic in one commit that has so many rows of them: no post waits long behind it.
const ROWS: usize = 4000;

impl Reader<'_> {
    /// The events after the cursor that one of the topics hears, in order.
    pub(crate) fn events_heard(
        &mut self,
        topics: &[Topic],
        after: EventId,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let limit_length = usize::try_from(limit).unwrap_or(0);
        let indexed = self.feed_position()?;
        let mut found = Vec::new();
        if after < indexed {
            let ids = self.indexed_events(topics, after, indexed, limit)?;
            for ids in pieces(&ids) {
                let query = events::table
                    .filter(events::id.eq_any(padded(ids)))
                    .order(events::id)
                    .select(Row::as_select());
                let rows: Vec<Row> = prepared(query).load(self.database)?;
                found.extend(rows.into_iter().map(StoredEvent::from_row));
            }
        }
        let mut after = after.max(indexed);
        while found.len() < limit_length {
            let page = self.events_after(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let heard = |event: &StoredEvent| event.topics.iter().any(|it| topics.contains(it));
            found.extend(page.into_iter().filter(heard));
        }
        found.truncate(limit_length);
        Ok(found)
    }

    /// Each topic is a walk down the index of its own, and there are never more than a few: cheaper than one query that has
    /// to sort.
    fn indexed_events(
        &mut self,
        topics: &[Topic],
        after: EventId,
        up_to: EventId,
        limit: i64,
    ) -> Result<Vec<EventId>, StoreError> {
        let mut ids: Vec<EventId> = Vec::new();
        for topic in topics {
            ids.extend(
                event_topics::table
                    .filter(event_topics::topic.eq(topic.to_string()))
                    .filter(event_topics::event_id.gt(after))
                    .filter(event_topics::event_id.le(up_to))
                    .order(event_topics::event_id)
                    .limit(limit)
                    .select(event_topics::event_id)
                    .load::<EventId>(self.database)?,
            );
        }
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(ids)
    }

    /// Whether so many events have not been written by topic: looks at their numbers alone.
    pub(crate) fn has_to_index_events(&mut self, count: i64) -> Result<bool, StoreError> {
        let after = self.feed_position()?;
        let query = events::table.filter(events::id.gt(after)).order(events::id);
        let nth = query.select(events::id).offset(count - 1).limit(1);
        Ok(nth.first::<EventId>(self.database).optional()?.is_some())
    }

    /// The last event that has been written by topic; all before it have, too.
    pub(crate) fn feed_position(&mut self) -> Result<EventId, StoreError> {
        Ok(self.consumer(CONSUMER)?.unwrap_or(0))
    }
}

impl Writer<'_> {
    /// Writes the next events by topic, `limit` of them at the most.
    pub(crate) fn index_events(&mut self, limit: i64) -> Result<(), StoreError> {
        let after = self.feed_position()?;
        let next: Vec<(EventId, String)> = events::table
            .filter(events::id.gt(after))
            .order(events::id)
            .limit(limit)
            .select((events::id, events::topics))
            .load(self.database)?;
        let mut rows = Vec::new();
        let mut last = after;
        for (event, topics) in next {
            if rows.len() >= ROWS {
                break;
            }
            let topics: Vec<String> = serde_json::from_str(&topics).unwrap_or_default();
            rows.extend(topics.into_iter().map(|topic| (topic, event)));
            last = event;
        }
        if last == after {
            return Ok(());
        }
        // Neighbours in the table, one after the other.
        rows.sort_unstable();
        self.insert_event_topics(&rows)?;
        self.set_consumer(CONSUMER, last)
    }

    /// An API of an earlier version beside this one writes them with each event: what is there already stays.
    fn insert_event_topics(&mut self, rows: &[(String, EventId)]) -> Result<(), StoreError> {
        match &mut *self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for (topic, event) in rows {
                    fixed!(
                        "INSERT OR IGNORE INTO `event_topics` (`topic`, `event_id`) VALUES (?, ?)",
                        topic,
                        *event
                    )
                    .execute(connection)?;
                }
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                for rows in portions(rows) {
                    let mut insert =
                        written("INSERT IGNORE INTO `event_topics` (`topic`, `event_id`) VALUES (");
                    for (nth, (topic, event)) in rows.iter().enumerate() {
                        insert = insert
                            .sql(if nth == 0 { "" } else { "), (" })
                            .text(topic)
                            .sql(", ")
                            .number(*event);
                    }
                    insert.sql(")").execute(connection)?;
                }
            }
        }
        Ok(())
    }
}
