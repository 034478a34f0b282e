//! Attachments: what is known of a file; its bytes are in the storage for files.

use diesel::prelude::*;

use super::prepared::{padded, pieces, prepared};
use super::schema::attachments;
use super::{Id, Reader, StoreError, Timestamp, Writer};

/// A file that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = attachments, treat_none_as_default_value = false)]
pub struct Attachment {
    /// Its number.
    pub id: Id,
    /// The user who uploaded it.
    pub owner_id: String,
    /// The message that it was sent with.
    pub message_id: Option<Id>,
    /// What readers see as its name.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// What its content is.
    pub mime_type: String,
    /// Of a picture, in pixels.
    pub width: Option<i32>,
    /// Of a picture, in pixels.
    pub height: Option<i32>,
    /// The key of its bytes in the storage.
    pub file: String,
    /// The key of its small picture in the storage.
    pub thumbnail: Option<String>,
    /// The key under which its addresses are signed.
    pub secret: String,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When it was given up: its bytes are to be removed, and then this row.
    pub removed_at: Option<Timestamp>,
}

/// A file to be noted.
#[derive(Debug, Clone)]
pub struct NewAttachment {
    pub owner_id: String,
    pub name: String,
    pub size: i64,
    pub mime_type: String,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub file: String,
    pub thumbnail: Option<String>,
    pub secret: String,
    pub created_at: Timestamp,
}

impl Reader<'_> {
    /// Several attachments that are there, in no order.
    pub(crate) fn attachments(&mut self, ids: &[Id]) -> Result<Vec<Attachment>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = attachments::table
                .filter(attachments::id.eq_any(padded(ids)))
                .filter(attachments::removed_at.is_null())
                .select(Attachment::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
        Ok(found)
    }

    /// Those of several messages, in the order of their numbers.
    pub(crate) fn attachments_of(
        &mut self,
        messages: &[Id],
    ) -> Result<Vec<Attachment>, StoreError> {
        let mut found: Vec<Attachment> = Vec::new();
        for messages in pieces(messages) {
            let messages: Vec<Option<Id>> = padded(messages).into_iter().map(Some).collect();
            let query = attachments::table
                .filter(attachments::message_id.eq_any(messages))
                .filter(attachments::removed_at.is_null())
                .select(Attachment::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
        found.sort_unstable_by_key(|it| it.id);
        Ok(found)
    }

    /// How many files somebody has uploaded and not sent.
    pub(crate) fn count_unsent(&mut self, owner: &str) -> Result<i64, StoreError> {
        Ok(attachments::table
            .filter(attachments::owner_id.eq(owner))
            .filter(attachments::message_id.is_null())
            .filter(attachments::removed_at.is_null())
            .count()
            .get_result(self.database)?)
    }

    /// The numbers of those that somebody uploaded, sent or not, in their order.
    pub(crate) fn attachments_by(&mut self, owner: &str) -> Result<Vec<Id>, StoreError> {
        let mut ids: Vec<Id> = attachments::table
            .filter(attachments::owner_id.eq(owner))
            .filter(attachments::removed_at.is_null())
            .select(attachments::id)
            .load(self.database)?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The next of those whose bytes are to be removed, those first that were given up first.
    pub(crate) fn removed_attachments(
        &mut self,
        (at, id): (Timestamp, Id),
        limit: i64,
    ) -> Result<Vec<Attachment>, StoreError> {
        Ok(attachments::table
            // Behind one of them; written so that both databases walk the index.
            .filter(attachments::removed_at.ge(at))
            .filter(attachments::removed_at.gt(at).or(attachments::id.gt(id)))
            .order((attachments::removed_at, attachments::id))
            .limit(limit)
            .select(Attachment::as_select())
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Notes a file under the next number.
    pub(crate) fn insert_attachment(
        &mut self,
        new: NewAttachment,
    ) -> Result<Attachment, StoreError> {
        self.counters.attachment += 1;
        let attachment = Attachment {
            id: self.counters.attachment,
            owner_id: new.owner_id,
            message_id: None,
            name: new.name,
            size: new.size,
            mime_type: new.mime_type,
            width: new.width,
            height: new.height,
            file: new.file,
            thumbnail: new.thumbnail,
            secret: new.secret,
            created_at: new.created_at,
            removed_at: None,
        };
        diesel::insert_into(attachments::table).values(&attachment).execute(self.database)?;
        Ok(attachment)
    }

    /// Notes which message a file was sent with, and under which name.
    pub(crate) fn attach(&mut self, id: Id, message: Id, name: &str) -> Result<(), StoreError> {
        diesel::update(attachments::table.find(id))
            .set((attachments::message_id.eq(message), attachments::name.eq(name)))
            .execute(self.database)?;
        Ok(())
    }

    /// Gives up the files of a message.
    pub(crate) fn remove_attachments_of(
        &mut self,
        message: Id,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = attachments::table
            .filter(attachments::message_id.eq(message))
            .filter(attachments::removed_at.is_null());
        diesel::update(rows).set(attachments::removed_at.eq(now)).execute(self.database)?;
        Ok(())
    }

    /// Gives up all files of somebody, sent or not, and forgets what they were called.
    pub(crate) fn remove_attachments_by(
        &mut self,
        owner: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = attachments::table.filter(attachments::owner_id.eq(owner));
        diesel::update(rows)
            .set((attachments::removed_at.eq(now), attachments::name.eq("")))
            .execute(self.database)?;
        Ok(())
    }

    /// Gives up the files of messages that are to be forgotten.
    pub(crate) fn detach_attachments(
        &mut self,
        messages: &[Id],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let messages = messages.iter().copied().map(Some);
        let rows = attachments::table.filter(attachments::message_id.eq_any(messages));
        diesel::update(rows)
            .set((attachments::removed_at.eq(now), attachments::message_id.eq(None::<Id>)))
            .execute(self.database)?;
        Ok(())
    }

    /// Gives up a file that nobody has sent.
    pub(crate) fn remove_attachment(&mut self, id: Id, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(attachments::table.find(id))
            .set(attachments::removed_at.eq(now))
            .execute(self.database)?;
        Ok(())
    }

    /// Gives up the files that were uploaded before that moment and never sent.
    pub(crate) fn remove_unsent(
        &mut self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let rows = attachments::table
            .filter(attachments::message_id.is_null())
            .filter(attachments::created_at.lt(before))
            .filter(attachments::removed_at.is_null());
        Ok(diesel::update(rows).set(attachments::removed_at.eq(now)).execute(self.database)?)
    }

    /// Forgets a file whose bytes are gone.
    pub(crate) fn delete_attachment(&mut self, id: Id) -> Result<(), StoreError> {
        diesel::delete(attachments::table.find(id)).execute(self.database)?;
        Ok(())
    }
}
