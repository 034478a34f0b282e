//! The search index: for each token the messages that have it, in sets of 65,536 ids (epochs). The same plain table in
//! both databases; which tokens a message has is decided by `search/`. Derived from the messages: it can be emptied and is
//! then made again.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::connection::Database;
use super::id_set::{IdSet, epoch_of};
#[cfg(feature = "mysql")]
use super::prepared::portions;
use super::prepared::{padded, pieces, prepared};
use super::schema::{counters, messages, search_blocks};
use super::{Id, Message, Reader, StoreError, Writer};

/// The row of `counters` that says up to which message the index is complete.
pub(super) const POSITION: &str = "search";

/// A token, or all that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchTerm {
    pub(crate) token: String,
    pub(crate) prefix: bool,
}

/// What is to be added for the messages after one and up to another.
#[derive(Debug, Clone)]
pub(crate) struct SearchBatch {
    pub(crate) after: Id,
    pub(crate) up_to: Id,
    /// The messages of each token, in order.
    pub(crate) tokens: BTreeMap<String, Vec<Id>>,
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
        let mut by_epoch: BTreeMap<i64, Vec<(&str, Vec<u16>)>> = BTreeMap::new();
        for (token, ids) in &batch.tokens {
            for ids in ids.chunk_by(|a, b| epoch_of(*a).0 == epoch_of(*b).0) {
                let epoch = ids.first().map_or(0, |id| epoch_of(*id).0);
                let places = ids.iter().map(|id| epoch_of(*id).1).collect();
                by_epoch.entry(epoch).or_default().push((token, places));
            }
        }
        for (epoch, tokens) in by_epoch {
            for tokens in pieces(&tokens) {
                let names: Vec<&str> = tokens.iter().map(|(token, _)| *token).collect();
                self.change_search(epoch, &names, |at, set| {
                    let places = tokens.get(at).map(|(_, places)| places).into_iter().flatten();
                    places.for_each(|place| set.insert(*place));
                })?;
            }
        }
        diesel::update(counters::table.find(POSITION))
            .set(counters::value.eq(batch.up_to))
            .execute(self.database)?;
        Ok(())
    }

    /// Takes tokens from a message that is in the index already, and gives it others.
    pub(crate) fn move_in_search(
        &mut self,
        message: Id,
        gone: &[&str],
        come: &[&str],
    ) -> Result<(), StoreError> {
        let (epoch, place) = epoch_of(message);
        for tokens in pieces(gone) {
            self.change_search(epoch, tokens, |_, set| set.remove(place))?;
        }
        for tokens in pieces(come) {
            self.change_search(epoch, tokens, |_, set| set.insert(place))?;
        }
        Ok(())
    }

    /// Changes the sets of some tokens in one epoch; the change is told which of the tokens it is.
    fn change_search(
        &mut self,
        epoch: i64,
        tokens: &[&str],
        mut change: impl FnMut(usize, &mut IdSet),
    ) -> Result<(), StoreError> {
        let known = search_blocks::table
            .filter(search_blocks::epoch.eq(epoch))
            .filter(search_blocks::token.eq_any(padded(tokens)))
            .select((search_blocks::token, search_blocks::ids));
        let known: BTreeMap<String, Vec<u8>> =
            prepared(known).load(self.database)?.into_iter().collect();
        let changed = tokens.iter().enumerate().map(|(at, token)| {
            let mut set = IdSet::empty();
            if let Some(ids) = known.get(*token) {
                set.add_stored(ids);
            }
            change(at, &mut set);
            Row { epoch, token: (*token).to_owned(), ids: set.to_stored() }
        });
        let rows: Vec<Row> = changed.collect();
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
