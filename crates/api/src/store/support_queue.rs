//! Support threads that wait for an operator.

use diesel::prelude::*;

use super::schema::{participants, support_queue, threads};
use super::{
    Id, Participant, ParticipantKind, Reader, StoreError, Thread, ThreadStatus, Timestamp, Writer,
};

impl Reader<'_> {
    /// A page of those that wait, the oldest first, and since when each does. One that was closed meanwhile waits no
    /// more, until it is opened again.
    pub(crate) fn support_queue(
        &mut self,
        after: Id,
        limit: i64,
    ) -> Result<Vec<(Thread, Timestamp)>, StoreError> {
        Ok(support_queue::table
            .inner_join(threads::table)
            .filter(support_queue::thread_id.gt(after))
            .filter(threads::status.eq(ThreadStatus::Open))
            .order(support_queue::thread_id)
            .limit(limit)
            .select((Thread::as_select(), support_queue::waiting_since))
            .load(self.database)?)
    }

    /// The threads in which a user has a role.
    pub(crate) fn threads_with_role(
        &mut self,
        user: &str,
        role: &str,
    ) -> Result<Vec<Id>, StoreError> {
        Ok(participants::table
            .filter(participants::kind.eq(ParticipantKind::User))
            .filter(participants::participant_id.eq(user))
            .filter(participants::role.eq(role))
            .filter(participants::left_at.is_null())
            .select(participants::thread_id)
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Has a thread wait.
    pub(crate) fn enqueue_support(&mut self, thread: Id, now: Timestamp) -> Result<(), StoreError> {
        self.dequeue_support(thread)?;
        diesel::insert_into(support_queue::table)
            .values((support_queue::thread_id.eq(thread), support_queue::waiting_since.eq(now)))
            .execute(self.database)?;
        Ok(())
    }

    /// Has it wait no more.
    pub(crate) fn dequeue_support(&mut self, thread: Id) -> Result<(), StoreError> {
        diesel::delete(support_queue::table.find(thread)).execute(self.database)?;
        Ok(())
    }

    /// Ends one participant's part in its thread.
    pub(crate) fn leave_thread(
        &mut self,
        participant: &Participant,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let row = participants::table.find((
            participant.thread_id,
            participant.kind,
            &participant.participant_id,
        ));
        diesel::update(row).set(participants::left_at.eq(now)).execute(self.database)?;
        Ok(())
    }
}
