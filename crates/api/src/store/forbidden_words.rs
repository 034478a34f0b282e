//! The list of forbidden words (R11, B9), and its version.

use diesel::prelude::*;

use super::schema::{counters, forbidden_words};
use super::text_enum::text_enum;
use super::{Id, Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// What an entry finds.
    WordKind {
        /// A word or a phrase; `*` at an end stands for the rest of a word.
        Phrase = "phrase",
        /// Any e-mail address.
        Email = "email",
        /// Any phone number.
        Phone = "phone",
        /// Any link or domain.
        Link = "link",
        /// What a regular expression matches.
        Regex = "regex",
    }
}

text_enum! {
    /// What happens to a message in which an entry is found.
    WordAction {
        /// Each occurrence is replaced with `***`, and the message is flagged.
        Mask = "mask",
        /// The message is flagged, and left as it is.
        Flag = "flag",
        /// The message is not accepted; its sender is told why.
        Refuse = "refuse",
    }
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = forbidden_words)]
pub struct ForbiddenWord {
    /// Its number.
    pub id: Id,
    /// What it finds.
    pub kind: WordKind,
    /// The phrase or the pattern; empty for the other kinds.
    pub phrase: String,
    /// What then happens.
    pub action: WordAction,
    /// A JSON list.
    pub exceptions: String,
    /// The phrase without disguise.
    pub plain: String,
    /// SHA-256 of it, in hex.
    pub plain_hash: String,
    /// When it came in.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Which of them.
#[derive(Debug, Clone, Default)]
pub struct ForbiddenWordFilter {
    pub kind: Option<WordKind>,
    pub action: Option<WordAction>,
    /// Within the phrase, without disguise.
    pub contains: Option<String>,
    /// The rest of a list.
    pub below: Option<Id>,
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn instr(
        text: diesel::sql_types::Text,
        part: diesel::sql_types::Text,
    ) -> diesel::sql_types::Integer;
}

impl Reader<'_> {
    /// The version of the list: another one after every change.
    pub(crate) fn forbidden_words_version(&mut self) -> Result<i64, StoreError> {
        Ok(counters::table.find("forbidden_words").select(counters::value).first(self.database)?)
    }

    /// The whole list.
    pub(crate) fn all_forbidden_words(&mut self) -> Result<Vec<ForbiddenWord>, StoreError> {
        Ok(forbidden_words::table
            .order(forbidden_words::id)
            .select(ForbiddenWord::as_select())
            .load(self.database)?)
    }

    /// A page of the list, the newest first.
    pub(crate) fn list_forbidden_words(
        &mut self,
        filter: &ForbiddenWordFilter,
        limit: i64,
    ) -> Result<Vec<ForbiddenWord>, StoreError> {
        let mut query = forbidden_words::table
            .filter(forbidden_words::id.lt(filter.below.unwrap_or(Id::MAX)))
            .order(forbidden_words::id.desc())
            .limit(limit)
            .select(ForbiddenWord::as_select())
            .into_boxed();
        if let Some(kind) = filter.kind {
            query = query.filter(forbidden_words::kind.eq(kind));
        }
        if let Some(action) = filter.action {
            query = query.filter(forbidden_words::action.eq(action));
        }
        if let Some(part) = &filter.contains {
            query = query.filter(instr(forbidden_words::plain, part).gt(0));
        }
        Ok(query.load(self.database)?)
    }

    /// One entry.
    pub(crate) fn forbidden_word(&mut self, id: Id) -> Result<Option<ForbiddenWord>, StoreError> {
        Ok(forbidden_words::table
            .find(id)
            .select(ForbiddenWord::as_select())
            .first(self.database)
            .optional()?)
    }

    /// The entry that finds the same.
    pub(crate) fn forbidden_word_by_hash(
        &mut self,
        plain_hash: &str,
    ) -> Result<Option<ForbiddenWord>, StoreError> {
        Ok(forbidden_words::table
            .filter(forbidden_words::plain_hash.eq(plain_hash))
            .select(ForbiddenWord::as_select())
            .first(self.database)
            .optional()?)
    }

    /// How many entries there are, and how many of one kind.
    pub(crate) fn count_forbidden_words(
        &mut self,
        kind: Option<WordKind>,
    ) -> Result<i64, StoreError> {
        let mut query = forbidden_words::table.into_boxed();
        if let Some(kind) = kind {
            query = query.filter(forbidden_words::kind.eq(kind));
        }
        Ok(query.count().get_result(self.database)?)
    }
}

impl Writer<'_> {
    /// The list's version as this commit sees it: no query, since every commit reads the counters.
    pub(crate) fn list_version(&self) -> i64 {
        self.counters.forbidden_words
    }

    /// Raises the version of the list; it is also the number of an entry that comes with it.
    pub(crate) fn next_list_version(&mut self) -> i64 {
        self.counters.forbidden_words += 1;
        self.counters.forbidden_words
    }

    /// Adds an entry.
    pub(crate) fn insert_forbidden_word(&mut self, word: &ForbiddenWord) -> Result<(), StoreError> {
        diesel::insert_into(forbidden_words::table).values(word).execute(self.database)?;
        Ok(())
    }

    /// Changes an entry.
    pub(crate) fn update_forbidden_word(&mut self, word: &ForbiddenWord) -> Result<(), StoreError> {
        diesel::update(forbidden_words::table.find(word.id)).set(word).execute(self.database)?;
        Ok(())
    }

    /// Takes an entry off the list.
    pub(crate) fn delete_forbidden_word(&mut self, id: Id) -> Result<(), StoreError> {
        diesel::delete(forbidden_words::table.find(id)).execute(self.database)?;
        Ok(())
    }
}
