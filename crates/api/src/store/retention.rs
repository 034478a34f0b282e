//! What is kept for a time only: how much of it is too old, and forgetting it in small pieces.

use diesel::dsl::min;
use diesel::prelude::*;

use super::schema::{
    audit_log, events, idempotency_keys, mails, message_originals, message_versions, messages,
    participants, read_states, threads, users, webhook_deliveries,
};
use super::{Id, Message, ParticipantKind, Reader, Role, StoreError, Timestamp, Writer};

/// What is kept for a time, and then forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aged {
    Threads,
    AuditLog,
    Events,
    WebhookDeliveries,
    Mails,
    FirstAnswers,
}

/// The oldest of a table, and how many are from before that moment.
macro_rules! aged {
    ($database:expr, $table:ident, $at:ident, $before:expr) => {{
        let oldest = $table::table.select(min($table::$at)).first($database)?;
        let count = match $before {
            Some(before) => {
                $table::table.filter($table::$at.lt(before)).count().get_result($database)?
            }
            None => 0,
        };
        Ok((oldest, count))
    }};
}

impl Reader<'_> {
    /// When the oldest of a kind is from, and how many are from before that moment. Reads the whole table: for those who ask
    /// what would go, not for what happens often.
    pub(crate) fn aged(
        &mut self,
        kind: Aged,
        before: Option<Timestamp>,
    ) -> Result<(Option<Timestamp>, i64), StoreError> {
        let database = &mut *self.database;
        match kind {
            Aged::Threads => aged!(database, threads, updated_at, before),
            Aged::AuditLog => aged!(database, audit_log, at, before),
            Aged::Events => aged!(database, events, at, before),
            Aged::WebhookDeliveries => aged!(database, webhook_deliveries, created_at, before),
            Aged::Mails => aged!(database, mails, ended_at, before),
            Aged::FirstAnswers => aged!(database, idempotency_keys, created_at, before),
        }
    }

    /// Threads after that one in which nothing was written since that moment.
    pub(crate) fn idle_threads(
        &mut self,
        before: Timestamp,
        after: Id,
        limit: i64,
    ) -> Result<Vec<Id>, StoreError> {
        Ok(threads::table
            .filter(threads::id.gt(after))
            .filter(threads::updated_at.lt(before))
            .order(threads::id)
            .limit(limit)
            .select(threads::id)
            .load(self.database)?)
    }

    /// Whether still nothing was written in a thread since that moment.
    pub(crate) fn is_idle(&mut self, thread: Id, before: Timestamp) -> Result<bool, StoreError> {
        let found: Option<Id> = threads::table
            .filter(threads::id.eq(thread))
            .filter(threads::updated_at.lt(before))
            .select(threads::id)
            .first(self.database)
            .optional()?;
        Ok(found.is_some())
    }
}

impl Writer<'_> {
    /// Forgets messages, with what was kept beside them.
    pub(crate) fn forget_messages(
        &mut self,
        forgotten: &[Message],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for some in forgotten.chunks(super::prepared::LONGEST) {
            let ids: Vec<Id> = some.iter().map(|message| message.id).collect();
            let originals = message_originals::message_id.eq_any(&ids);
            diesel::delete(message_originals::table.filter(originals)).execute(self.database)?;
            let versions = message_versions::message_id.eq_any(&ids);
            diesel::delete(message_versions::table.filter(versions)).execute(self.database)?;
            self.detach_attachments(&ids, now)?;
            diesel::delete(messages::table.filter(messages::id.eq_any(&ids)))
                .execute(self.database)?;
        }
        Ok(())
    }

    /// Forgets a thread that has no messages any more, and what its people had unread in it.
    pub(crate) fn forget_thread(&mut self, thread: Id) -> Result<(), StoreError> {
        let unread: Vec<(String, i64)> = read_states::table
            .filter(read_states::thread_id.eq(thread))
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::unread_count.gt(0))
            .select((read_states::reader_id, read_states::unread_count))
            .load(self.database)?;
        for (user, count) in unread {
            self.add_unread_total(&[&user], -count)?;
        }
        diesel::delete(read_states::table.filter(read_states::thread_id.eq(thread)))
            .execute(self.database)?;
        self.dequeue_support(thread)?;
        diesel::delete(participants::table.filter(participants::thread_id.eq(thread)))
            .execute(self.database)?;
        diesel::delete(mails::table.filter(mails::thread_id.eq(thread))).execute(self.database)?;
        diesel::delete(threads::table.find(thread)).execute(self.database)?;
        Ok(())
    }

    /// Forgets a visitor who has no threads any more; one who was erased stays, so that its old tokens stay revoked.
    pub(crate) fn forget_visitor(&mut self, id: &str) -> Result<(), StoreError> {
        diesel::delete(mails::table.filter(mails::user_id.eq(id))).execute(self.database)?;
        let row = users::table.find(id).filter(users::role.eq(Role::Visitor));
        diesel::delete(row.filter(users::erased_at.is_null())).execute(self.database)?;
        Ok(())
    }

    /// Forgets up to `limit` entries of the audit log from before that moment; tells how many.
    pub(crate) fn prune_audit_log(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let old: Vec<Id> = audit_log::table
            .filter(audit_log::at.lt(before))
            .order(audit_log::at)
            .limit(limit)
            .select(audit_log::id)
            .load(self.database)?;
        if old.is_empty() {
            return Ok(0);
        }
        Ok(diesel::delete(audit_log::table.filter(audit_log::id.eq_any(&old)))
            .execute(self.database)?)
    }
}
