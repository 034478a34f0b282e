//! Erasing a person: what goes from each table, and what stays without a name.

use diesel::prelude::*;

use super::prepared::pieces;
use super::schema::{
    idempotency_keys, mails, message_originals, message_versions, messages, read_states, threads,
    users,
};
use super::{
    FirstAnswer, Id, MailChoice, ParticipantKind, Reader, StoreError, SubjectType, Timestamp,
    Writer,
};

/// How the `client_id` of a message begins that came in from the shop's own tables; its number there follows.
pub(crate) const IMPORTED: &str = "vendor_communication_messages:";

impl Reader<'_> {
    /// Whose erasure has begun and not ended.
    pub(crate) fn being_erased(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(users::table
            .filter(users::erasing_since.is_not_null())
            .select(users::id)
            .load(self.database)?)
    }

    /// The keys of first answers in which this text stands; letters of either case may do.
    pub(crate) fn first_answers_with(
        &mut self,
        text: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut pattern = String::from("%");
        for letter in text.chars() {
            if matches!(letter, '%' | '_' | '!') {
                pattern.push('!');
            }
            pattern.push(letter);
        }
        pattern.push('%');
        Ok(idempotency_keys::table
            .filter(idempotency_keys::answer.like(pattern).escape('!'))
            .select((idempotency_keys::caller, idempotency_keys::idempotency_key))
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Takes from a user everything but the id; what the user wrote and read is gone through behind this.
    pub(crate) fn erase_user(
        &mut self,
        id: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let nothing = None::<String>;
        diesel::update(users::table.find(id))
            .set((
                users::name.eq(name),
                users::email.eq(&nothing),
                users::avatar_url.eq(&nothing),
                users::phone.eq(&nothing),
                users::locale.eq(&nothing),
                users::vendor_id.eq(&nothing),
                users::root.eq(false),
                users::manage_messages.eq(false),
                users::profiles.eq("[]"),
                users::unread_total.eq(0_i64),
                users::mail_choice.eq(MailChoice::None),
                users::last_seen_at.eq(None::<Timestamp>),
                users::updated_at.eq(now),
                users::erased_at.eq(now),
                users::erasing_since.eq(now),
            ))
            .execute(self.database)?;
        // Those that were sent, too: what went wrong with one may name the address.
        diesel::delete(mails::table.filter(mails::user_id.eq(id))).execute(self.database)?;
        self.remove_attachments_by(id, now)
    }

    /// Nothing of an erased person is left to go through.
    pub(crate) fn end_erasure(&mut self, id: &str) -> Result<(), StoreError> {
        diesel::update(users::table.find(id))
            .set(users::erasing_since.eq(None::<Timestamp>))
            .execute(self.database)?;
        Ok(())
    }

    /// Forgets how far a user has read up to `limit` threads, and tells how many they were.
    pub(crate) fn erase_read_states(
        &mut self,
        user: &str,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let own = read_states::kind.eq(ParticipantKind::User).and(read_states::reader_id.eq(user));
        let some: Vec<Id> = read_states::table
            .filter(own)
            .limit(limit)
            .select(read_states::thread_id)
            .load(self.database)?;
        if some.is_empty() {
            return Ok(0);
        }
        let rows = read_states::table.filter(own.and(read_states::thread_id.eq_any(some)));
        Ok(diesel::delete(rows).execute(self.database)?)
    }

    /// What others never saw of an erased person's messages, and what could be compared with it.
    pub(crate) fn erase_written(&mut self, written: &[Id]) -> Result<(), StoreError> {
        for ids in pieces(written) {
            let originals = message_originals::message_id.eq_any(ids);
            diesel::delete(message_originals::table.filter(originals)).execute(self.database)?;
            let versions = message_versions::message_id.eq_any(ids);
            diesel::delete(message_versions::table.filter(versions)).execute(self.database)?;
            // A hash of what was sent is as good as the text, where few texts come into question.
            diesel::update(messages::table.filter(messages::id.eq_any(ids)))
                .set((
                    messages::request_hash.eq(None::<String>),
                    messages::attachment_count.eq(0_i16),
                ))
                .execute(self.database)?;
            // By its number in the shop's tables the next run of the import knows that it has been here.
            let own = messages::client_id.not_like(format!("{IMPORTED}%"));
            diesel::update(messages::table.filter(messages::id.eq_any(ids)).filter(own))
                .set(messages::client_id.eq(None::<String>))
                .execute(self.database)?;
            let taken_back = messages::id.eq_any(ids).and(messages::deleted_at.is_not_null());
            diesel::update(messages::table.filter(taken_back))
                .set(messages::text.eq(""))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Takes the person's name and picture from those of these threads that are about the person.
    pub(crate) fn erase_subject(&mut self, user: &str, ids: &[Id]) -> Result<(), StoreError> {
        for ids in pieces(ids) {
            let about = threads::table
                .filter(threads::id.eq_any(ids))
                .filter(threads::subject_type.eq(SubjectType::User))
                .filter(threads::subject_id.eq(user));
            diesel::update(about)
                .set((
                    threads::subject_title.eq(None::<String>),
                    threads::subject_url.eq(None::<String>),
                    threads::subject_image_url.eq(None::<String>),
                ))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Takes the pages from these threads on which they were begun.
    pub(crate) fn erase_pages(&mut self, ids: &[Id]) -> Result<(), StoreError> {
        for ids in pieces(ids) {
            diesel::update(threads::table.filter(threads::id.eq_any(ids)))
                .set(threads::subject_url.eq(None::<String>))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Forgets all first answers to a caller.
    pub(crate) fn delete_first_answers(&mut self, caller: &str) -> Result<(), StoreError> {
        let own = idempotency_keys::table.filter(idempotency_keys::caller.eq(caller));
        diesel::delete(own).execute(self.database)?;
        Ok(())
    }

    /// Keeps another text of a first answer.
    pub(crate) fn change_first_answer(&mut self, answer: &FirstAnswer) -> Result<(), StoreError> {
        let row = idempotency_keys::table.find((&answer.caller, &answer.idempotency_key));
        diesel::update(row)
            .set(idempotency_keys::answer.eq(&answer.answer))
            .execute(self.database)?;
        Ok(())
    }
}
