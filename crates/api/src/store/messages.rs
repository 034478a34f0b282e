//! Messages: what people wrote.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::connection::on_backend;
use super::fixed::fixed;
use super::moment::Moment;
use super::prepared::{padded, pieces, prepared};
use super::schema::{message_originals, message_versions, messages};
use super::text_enum::text_enum;
use super::{Id, ParticipantKind, Reader, Side, StoreError, Timestamp, Writer};

text_enum! {
    /// What an entry says that nobody wrote.
    SystemEntry {
        /// The author closed the thread.
        Closed = "closed",
        /// The author opened the thread again.
        Reopened = "reopened",
        /// The author took the support thread.
        Assigned = "assigned",
        /// The author, or who had it, put the support thread back.
        Released = "released",
    }
}

/// One entry of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = messages, treat_none_as_default_value = false)]
pub struct Message {
    /// Its number; within a thread in the order of writing.
    pub id: Id,
    /// The thread.
    pub thread_id: Id,
    /// What `author_id` is an id of.
    pub author_kind: ParticipantKind,
    /// Who wrote it.
    pub author_id: String,
    /// For which side.
    pub side: Side,
    /// The text as readers see it.
    pub text: String,
    /// The message it answers.
    pub reply_to: Option<Id>,
    /// The sender's own id.
    pub client_id: Option<String>,
    /// SHA-256 of what was sent with `client_id`, in hex.
    pub request_hash: Option<String>,
    /// Whether something was found in it (R11).
    pub flagged: bool,
    /// When it was written.
    #[diesel(deserialize_as = Moment)]
    pub created_at: Timestamp,
    /// When it was last changed.
    pub edited_at: Option<Timestamp>,
    /// When it was taken back.
    pub deleted_at: Option<Timestamp>,
    /// When the other side read it.
    pub read_at: Option<Timestamp>,
    /// What it says, if nobody wrote it; its text is empty then, and it is never unread.
    pub system_entry: Option<SystemEntry>,
    /// How many attachments it has.
    pub attachment_count: i16,
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub thread_id: Id,
    pub author_kind: ParticipantKind,
    pub author_id: String,
    pub side: Side,
    pub text: String,
    pub flagged: bool,
    pub reply_to: Option<Id>,
    pub client_id: Option<String>,
    pub request_hash: Option<String>,
    pub system_entry: Option<SystemEntry>,
    pub attachment_count: i16,
    pub created_at: Timestamp,
}

/// What the two directions of a history have in common. A macro, since the type of the query has no short name.
macro_rules! page {
    ($query:expr, $thread:expr, $limit:expr) => {
        $query.filter(messages::thread_id.eq($thread)).limit($limit).select(Message::as_select())
    };
}

/// What somebody wrote where readers see `***`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = message_originals)]
pub struct MessageOriginal {
    /// The message.
    pub message_id: Id,
    /// Every byte as it was sent.
    pub text: String,
    /// When.
    pub created_at: Timestamp,
}

/// What a message said before it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = message_versions, treat_none_as_default_value = false)]
pub struct MessageVersion {
    /// The message.
    pub message_id: Id,
    /// From 1.
    pub version: i32,
    /// As its readers saw it.
    pub text: String,
    /// As it was written, where that is something else and is kept.
    pub original: Option<String>,
    /// Whether something was found in it (R11).
    pub flagged: bool,
    /// When it was written.
    pub written_at: Timestamp,
}

impl Reader<'_> {
    /// Several messages, in no order.
    pub(crate) fn messages(&mut self, ids: &[Id]) -> Result<Vec<Message>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = messages::table.filter(messages::id.eq_any(padded(ids)));
            found.extend(prepared(query.select(Message::as_select())).load(self.database)?);
        }
        Ok(found)
    }

    /// The message that this sender sent with this id of its own.
    pub(crate) fn message_by_client_id(
        &mut self,
        author_kind: ParticipantKind,
        author_id: &str,
        client_id: &str,
    ) -> Result<Option<Message>, StoreError> {
        let message = messages::table
            .filter(messages::author_kind.eq(author_kind))
            .filter(messages::author_id.eq(author_id))
            .filter(messages::client_id.eq(client_id));
        Ok(on_backend!(&mut *self.database, connection => {
            message.select(Message::as_select()).first(connection)
        })
        .optional()?)
    }

    /// What was written where a message shows `***`, if it is kept.
    pub(crate) fn original(&mut self, message: Id) -> Result<Option<MessageOriginal>, StoreError> {
        Ok(message_originals::table
            .find(message)
            .select(MessageOriginal::as_select())
            .first(self.database)
            .optional()?)
    }

    /// What a user wrote for vendors, in no order: thread and message. All else somebody writes stands in threads that the
    /// writer has joined; here the vendor has.
    pub(crate) fn written_for_vendors(&mut self, user: &str) -> Result<Vec<(Id, Id)>, StoreError> {
        Ok(messages::table
            .filter(messages::author_kind.eq(ParticipantKind::User))
            .filter(messages::author_id.eq(user))
            // Not as a value: SQLite has to see that its index holds them all.
            .filter(sql::<Bool>("`side` = 'vendor'"))
            .select((messages::thread_id, messages::id))
            .load(self.database)?)
    }

    /// What a user wrote in these threads, in no order.
    pub(crate) fn written_in(&mut self, threads: &[Id], user: &str) -> Result<Vec<Id>, StoreError> {
        let mut found = Vec::new();
        for threads in pieces(threads) {
            let query = messages::table
                .filter(messages::thread_id.eq_any(padded(threads)))
                .filter(messages::author_kind.eq(ParticipantKind::User))
                .filter(messages::author_id.eq(user))
                .select(messages::id);
            found.extend(prepared(query).load::<Id>(self.database)?);
        }
        Ok(found)
    }

    /// Messages of a thread right before that id, the newest first.
    pub(crate) fn messages_before(
        &mut self,
        thread: Id,
        before: Id,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        let query = messages::table.filter(messages::id.lt(before)).order(messages::id.desc());
        Ok(page!(query, thread, limit).load(self.database)?)
    }

    /// Messages of a thread right after that id, the oldest first.
    pub(crate) fn messages_after(
        &mut self,
        thread: Id,
        after: Id,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        let query = messages::table.filter(messages::id.gt(after)).order(messages::id.asc());
        Ok(page!(query, thread, limit).load(self.database)?)
    }

    /// What a message said before its changes, the oldest first.
    pub(crate) fn versions(&mut self, message: Id) -> Result<Vec<MessageVersion>, StoreError> {
        Ok(message_versions::table
            .filter(message_versions::message_id.eq(message))
            .order(message_versions::version)
            .select(MessageVersion::as_select())
            .load(self.database)?)
    }

    /// Which of these messages were flagged before a change.
    pub(crate) fn flagged_before(&mut self, ids: &[Id]) -> Result<Vec<Id>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query =
                message_versions::table.filter(message_versions::message_id.eq_any(padded(ids)));
            let query = query
                .filter(message_versions::flagged.eq(true))
                .select(message_versions::message_id);
            found.extend(prepared(query).load::<Id>(self.database)?);
        }
        Ok(found)
    }

    /// How often a message was changed.
    pub(crate) fn last_version(&mut self, message: Id) -> Result<i32, StoreError> {
        let last: Option<i32> = message_versions::table
            .filter(message_versions::message_id.eq(message))
            .order(message_versions::version.desc())
            .select(message_versions::version)
            .first(self.database)
            .optional()?;
        Ok(last.unwrap_or(0))
    }

    /// The same of several messages.
    pub(crate) fn versions_of(&mut self, ids: &[Id]) -> Result<Vec<MessageVersion>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query =
                message_versions::table.filter(message_versions::message_id.eq_any(padded(ids)));
            let query = query
                .order((message_versions::message_id, message_versions::version))
                .select(MessageVersion::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
        Ok(found)
    }

    /// How many messages that count as unread each author has in a thread from that one on.
    pub(crate) fn count_by_author(
        &mut self,
        thread: Id,
        from: Id,
    ) -> Result<Vec<(ParticipantKind, String, i64)>, StoreError> {
        Ok(messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(messages::id.ge(from))
            .filter(messages::deleted_at.is_null())
            .filter(messages::system_entry.is_null())
            .group_by((messages::author_kind, messages::author_id))
            .select((messages::author_kind, messages::author_id, diesel::dsl::count_star()))
            .load(self.database)?)
    }

    /// How many messages of others stand in a thread after that id. Walks only over those messages.
    pub(crate) fn count_unread(
        &mut self,
        thread: Id,
        after: Id,
        reader: &str,
    ) -> Result<i64, StoreError> {
        Ok(messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(messages::id.gt(after))
            .filter(
                messages::author_kind.ne(ParticipantKind::User).or(messages::author_id.ne(reader)),
            )
            .filter(messages::deleted_at.is_null())
            .filter(messages::system_entry.is_null())
            .count()
            .get_result(self.database)?)
    }

    /// The last message of a thread that counts as unread for this user.
    pub(crate) fn last_message_of_others(
        &mut self,
        thread: Id,
        reader: &str,
    ) -> Result<Option<Id>, StoreError> {
        Ok(messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(
                messages::author_kind.ne(ParticipantKind::User).or(messages::author_id.ne(reader)),
            )
            .filter(messages::deleted_at.is_null())
            .filter(messages::system_entry.is_null())
            .order(messages::id.desc())
            .select(messages::id)
            .first(self.database)
            .optional()?)
    }
}

impl Writer<'_> {
    /// Stores a message under the next number.
    pub(crate) fn insert_message(&mut self, new: NewMessage) -> Result<Message, StoreError> {
        self.counters.message += 1;
        let message = Message {
            id: self.counters.message,
            thread_id: new.thread_id,
            author_kind: new.author_kind,
            author_id: new.author_id,
            side: new.side,
            text: new.text,
            reply_to: new.reply_to,
            client_id: new.client_id,
            request_hash: new.request_hash,
            flagged: new.flagged,
            created_at: new.created_at,
            edited_at: None,
            deleted_at: None,
            read_at: None,
            system_entry: new.system_entry,
            attachment_count: new.attachment_count,
        };
        let insert = fixed!(
            "INSERT INTO `messages` (`id`, `thread_id`, `author_kind`, `author_id`, `side`, `text`, `reply_to`, `client_id`, \
             `request_hash`, `flagged`, `created_at`, `system_entry`, `attachment_count`) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            message.id,
            message.thread_id,
            message.author_kind.as_str(),
            &message.author_id,
            message.side.as_str(),
            &message.text,
            message.reply_to,
            &message.client_id,
            &message.request_hash,
            message.flagged,
            message.created_at,
            message.system_entry.as_ref().map(|it| it.as_str()),
            message.attachment_count,
        );
        on_backend!(&mut *self.database, connection => insert.execute(connection))?;
        Ok(message)
    }

    /// Keeps what was written where a message shows `***`.
    pub(crate) fn insert_original(&mut self, original: &MessageOriginal) -> Result<(), StoreError> {
        diesel::insert_into(message_originals::table).values(original).execute(self.database)?;
        Ok(())
    }

    /// Forgets what was written where a message shows `***`, and gives it back.
    pub(crate) fn take_original(
        &mut self,
        message: Id,
    ) -> Result<Option<MessageOriginal>, StoreError> {
        let original = self.original(message)?;
        if original.is_some() {
            diesel::delete(message_originals::table.find(message)).execute(self.database)?;
        }
        Ok(original)
    }

    /// Keeps what a message says before it is changed.
    pub(crate) fn insert_version(&mut self, version: &MessageVersion) -> Result<(), StoreError> {
        diesel::insert_into(message_versions::table).values(version).execute(self.database)?;
        Ok(())
    }

    /// Changes what a message says.
    pub(crate) fn change_message(
        &mut self,
        message: Id,
        text: &str,
        flagged: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        diesel::update(messages::table.find(message))
            .set((
                messages::text.eq(text),
                messages::flagged.eq(flagged),
                messages::edited_at.eq(now),
            ))
            .execute(self.database)?;
        Ok(())
    }

    /// Takes a message back. Its text stays where nobody but administrators sees it.
    pub(crate) fn delete_message(&mut self, message: Id, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(messages::table.find(message))
            .set(messages::deleted_at.eq(now))
            .execute(self.database)?;
        Ok(())
    }

    /// Notes that one side has read what the others wrote after `after` and up to `up_to`.
    pub(crate) fn mark_read(
        &mut self,
        thread: Id,
        reader: Side,
        after: Id,
        up_to: Id,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(messages::id.gt(after))
            .filter(messages::id.le(up_to))
            .filter(messages::side.ne(reader))
            .filter(messages::read_at.is_null());
        prepared(diesel::update(rows).set(messages::read_at.eq(now))).execute(self.database)?;
        Ok(())
    }
}
