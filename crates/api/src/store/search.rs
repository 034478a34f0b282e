//! The search index: for each token the messages that have it, in sets of 65,536 ids (epochs). The same plain table in
//! both databases; which tokens a message has is decided by `search/`. Derived from the messages: it can be emptied and is
//! then made again. What is changed waits in a queue until the index has followed.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;

use super::connection::Database;
use super::connection::on_backend;
use super::id_set::{Change, IdSet, change_stored, epoch_of};
#[cfg(feature = "mysql")]
use super::prepared::portions;
use super::prepared::{padded, pieces, prepared};
use super::schema::{counters, messages, search_blocks, search_changes};
use super::{Id, Message, Reader, StoreError, Timestamp, Writer};

/// The row of `counters` that says up to which message the index is complete.
pub(super) const POSITION: &str = "search";

/// A token, or all that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchTerm {
    pub(crate) token: String,
    pub(crate) prefix: bool,
}

/// The messages of each token, in order.
pub(crate) type Tokens = BTreeMap<String, Vec<Id>>;

/// What is to be added for the messages after one and up to another.
#[derive(Debug, Clone)]
pub(crate) struct SearchBatch {
    pub(crate) after: Id,
    pub(crate) up_to: Id,
    /// These messages, as they were read.
    pub(crate) messages: Vec<Message>,
    pub(crate) tokens: Tokens,
}

/// A message that says something else, or nothing any more, since it came into the index.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = search_changes)]
pub(crate) struct SearchChange {
    pub(crate) message_id: Id,
    /// The text by which the index holds it.
    pub(crate) indexed: String,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = search_blocks)]
struct Row {
    epoch: i64,
    token: String,
    ids: Vec<u8>,
}

impl Reader<'_> {
    /// The last message that is in the index; all before it are, too.
    pub(crate) fn search_position(&mut self) -> Result<Id, StoreError> {
        Ok(counters::table.find(POSITION).select(counters::value).first(self.database)?)
    }

    /// Whether so many messages are not in the index: looks at their numbers alone.
    pub(crate) fn has_to_index(&mut self, after: Id, count: i64) -> Result<bool, StoreError> {
        let query = messages::table.filter(messages::id.gt(after)).order(messages::id);
        let nth = query.select(messages::id).offset(count - 1).limit(1);
        Ok(nth.first::<Id>(self.database).optional()?.is_some())
    }

    /// The next messages that are not in the index, the oldest first.
    pub(crate) fn messages_to_index(
        &mut self,
        after: Id,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        Ok(messages::table
            .filter(messages::id.gt(after))
            .order(messages::id)
            .limit(limit)
            .select(Message::as_select())
            .load(self.database)?)
    }

    /// The messages up to that one of which the index holds another text.
    pub(crate) fn changed_since_indexed(&mut self, up_to: Id) -> Result<Vec<Id>, StoreError> {
        Ok(search_changes::table
            .filter(search_changes::message_id.le(up_to))
            .select(search_changes::message_id)
            .load(self.database)?)
    }

    /// The next messages of which the index holds another text, the oldest first.
    pub(crate) fn search_changes(&mut self, limit: i64) -> Result<Vec<SearchChange>, StoreError> {
        Ok(search_changes::table
            .order(search_changes::message_id)
            .limit(limit)
            .load(self.database)?)
    }

    /// Those of these messages of which the index holds another text, in no order.
    pub(crate) fn search_changes_of(
        &mut self,
        ids: &[Id],
    ) -> Result<Vec<SearchChange>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query =
                search_changes::table.filter(search_changes::message_id.eq_any(padded(ids)));
            found.extend(prepared(query).load(self.database)?);
        }
        Ok(found)
    }

    /// Messages after one and before another, the newest first.
    pub(crate) fn messages_between(
        &mut self,
        after: Id,
        before: Id,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        Ok(messages::table
            .filter(messages::id.gt(after))
            .filter(messages::id.lt(before))
            .order(messages::id.desc())
            .limit(limit)
            .select(Message::as_select())
            .load(self.database)?)
    }

    /// The ids of a thread's messages before one, the newest first.
    pub(crate) fn message_ids_before(
        &mut self,
        thread: Id,
        before: Id,
        limit: i64,
    ) -> Result<Vec<Id>, StoreError> {
        Ok(messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(messages::id.lt(before))
            .order(messages::id.desc())
            .limit(limit)
            .select(messages::id)
            .load(self.database)?)
    }

    /// The messages of these epochs that have one of the terms; an epoch that has none is left out. A point look-up, or a short
    /// walk, for each term and epoch.
    pub(crate) fn search_blocks(
        &mut self,
        epochs: &[i64],
        terms: &[SearchTerm],
    ) -> Result<BTreeMap<i64, IdSet>, StoreError> {
        let mut sets = BTreeMap::new();
        for SearchTerm { token, prefix } in terms {
            let query = search_blocks::table
                .filter(search_blocks::epoch.eq_any(padded(epochs)))
                .select((search_blocks::epoch, search_blocks::ids));
            let rows: Vec<(i64, Vec<u8>)> = if *prefix {
                // The last of all characters stands in no token.
                let end = format!("{token}\u{10ffff}");
                let range = query.filter(search_blocks::token.ge(token));
                prepared(range.filter(search_blocks::token.lt(end))).load(self.database)?
            } else {
                prepared(query.filter(search_blocks::token.eq(token))).load(self.database)?
            };
            for (epoch, ids) in rows {
                sets.entry(epoch).or_insert_with(IdSet::empty).add_stored(&ids);
            }
        }
        Ok(sets)
    }
}

impl Writer<'_> {
    /// Adds messages to the index, unless another node has done so meanwhile.
    pub(crate) fn add_to_search(&mut self, batch: &SearchBatch) -> Result<(), StoreError> {
        if self.search_position()? != batch.after {
            return Ok(());
        }
        let times = (messages::id, (messages::edited_at, messages::deleted_at));
        let now: HashMap<Id, (Option<Timestamp>, Option<Timestamp>)> = messages::table
            .filter(messages::id.gt(batch.after))
            .filter(messages::id.le(batch.up_to))
            .select(times)
            .load(self.database)?
            .into_iter()
            .collect();
        for message in &batch.messages {
            // Changed since it was read.
            if now.get(&message.id) != Some(&(message.edited_at, message.deleted_at)) {
                self.insert_search_change(message)?;
            }
        }
        self.insert_in_search(&batch.tokens)?;
        diesel::update(counters::table.find(POSITION))
            .set(counters::value.eq(batch.up_to))
            .execute(self.database)?;
        Ok(())
    }

    /// Notes that a message is about to say something else, for the index to follow; unless it is not in there yet.
    pub(crate) fn note_search_change(&mut self, message: &Message) -> Result<(), StoreError> {
        if message.id <= self.search_position()? {
            self.insert_search_change(message)?;
        }
        Ok(())
    }

    fn insert_search_change(&mut self, message: &Message) -> Result<(), StoreError> {
        let indexed = if message.deleted_at.is_some() { "" } else { message.text.as_str() };
        let change = SearchChange { message_id: message.id, indexed: indexed.to_owned() };
        on_backend!(&mut *self.database, connection => {
            // What it said when it came into the index counts, not what it said in between.
            diesel::insert_or_ignore_into(search_changes::table)
                .values(&change)
                .execute(connection)?;
            Ok(())
        })
    }

    /// The index has followed these.
    pub(crate) fn delete_search_changes(&mut self, ids: &[Id]) -> Result<(), StoreError> {
        for ids in pieces(ids) {
            let followed = search_changes::message_id.eq_any(padded(ids));
            prepared(diesel::delete(search_changes::table.filter(followed)))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Gives tokens to messages.
    pub(crate) fn insert_in_search(&mut self, tokens: &Tokens) -> Result<(), StoreError> {
        self.change_search(tokens, Change::Insert)
    }

    /// Takes tokens from messages.
    pub(crate) fn remove_from_search(&mut self, tokens: &Tokens) -> Result<(), StoreError> {
        self.change_search(tokens, Change::Remove)
    }

    fn change_search(&mut self, tokens: &Tokens, change: Change) -> Result<(), StoreError> {
        let mut by_epoch: BTreeMap<i64, Vec<(&str, Vec<u16>)>> = BTreeMap::new();
        for (token, ids) in tokens {
            for ids in ids.chunk_by(|a, b| epoch_of(*a).0 == epoch_of(*b).0) {
                let epoch = ids.first().map_or(0, |id| epoch_of(*id).0);
                let places = ids.iter().map(|id| epoch_of(*id).1).collect();
                by_epoch.entry(epoch).or_default().push((token, places));
            }
        }
        for (epoch, tokens) in by_epoch {
            for tokens in pieces(&tokens) {
                self.change_blocks(epoch, tokens, change)?;
            }
        }
        Ok(())
    }

    /// Changes the sets of some tokens in one epoch.
    fn change_blocks(
        &mut self,
        epoch: i64,
        tokens: &[(&str, Vec<u16>)],
        change: Change,
    ) -> Result<(), StoreError> {
        let names: Vec<&str> = tokens.iter().map(|(token, _)| *token).collect();
        let known = search_blocks::table
            .filter(search_blocks::epoch.eq(epoch))
            .filter(search_blocks::token.eq_any(padded(&names)))
            .select((search_blocks::token, search_blocks::ids));
        let known: BTreeMap<String, Vec<u8>> =
            prepared(known).load(self.database)?.into_iter().collect();
        let (mut rows, mut gone): (Vec<Row>, Vec<&str>) = (Vec::new(), Vec::new());
        for (token, places) in tokens {
            let stored = known.get(*token);
            let ids = change_stored(stored.map_or(&[], Vec::as_slice), places, change);
            if ids.is_empty() {
                // A word that nobody says any more does not stay, not even as a token.
                gone.extend(stored.map(|_| *token));
            } else if stored != Some(&ids) {
                rows.push(Row { epoch, token: (*token).to_owned(), ids });
            }
        }
        if !gone.is_empty() {
            let gone = search_blocks::table
                .filter(search_blocks::epoch.eq(epoch))
                .filter(search_blocks::token.eq_any(padded(&gone)));
            prepared(diesel::delete(gone)).execute(self.database)?;
        }
        match &mut *self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for row in &rows {
                    diesel::replace_into(search_blocks::table).values(row).execute(connection)?;
                }
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                for rows in portions(&rows) {
                    let replace = diesel::replace_into(search_blocks::table).values(rows);
                    prepared(replace).execute(connection)?;
                }
            }
        }
        Ok(())
    }
}
