//! How far each reader has read each thread, and how many messages are left: kept, not counted.

use diesel::prelude::*;

use super::schema::read_states;
use super::{Id, ParticipantKind, Reader, StoreError, Writer};

/// One reader's state in one thread. Without a row, nothing is unread.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = read_states)]
pub struct ReadState {
    /// What `reader_id` is an id of.
    pub kind: ParticipantKind,
    /// The reader: a person, never a vendor as a whole.
    pub reader_id: String,
    /// The thread.
    pub thread_id: Id,
    /// The last message read.
    pub last_read_message_id: Id,
    /// Messages of others after it.
    pub unread_count: i64,
    /// The thread's activity while something is unread.
    pub unread_activity: Option<i64>,
}

impl ReadState {
    /// A user's state in a thread that was never opened.
    #[must_use]
    pub fn new(user: &str, thread: Id) -> Self {
        Self {
            kind: ParticipantKind::User,
            reader_id: user.to_owned(),
            thread_id: thread,
            last_read_message_id: 0,
            unread_count: 0,
            unread_activity: None,
        }
    }
}

impl Reader<'_> {
    /// One user's states in several threads.
    pub(crate) fn read_states(
        &mut self,
        user: &str,
        threads: &[Id],
    ) -> Result<Vec<ReadState>, StoreError> {
        if threads.is_empty() {
            return Ok(Vec::new());
        }
        Ok(read_states::table
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq(user))
            .filter(read_states::thread_id.eq_any(threads))
            .select(ReadState::as_select())
            .load(self.database)?)
    }

    /// One user's states in all threads.
    pub(crate) fn all_read_states(&mut self, user: &str) -> Result<Vec<ReadState>, StoreError> {
        Ok(read_states::table
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq(user))
            .select(ReadState::as_select())
            .load(self.database)?)
    }

    /// The states of several users in one thread.
    pub(crate) fn read_states_of(
        &mut self,
        users: &[String],
        thread: Id,
    ) -> Result<Vec<ReadState>, StoreError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        Ok(read_states::table
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq_any(users))
            .filter(read_states::thread_id.eq(thread))
            .select(ReadState::as_select())
            .load(self.database)?)
    }

    /// The threads in which one user has something unread, latest activity first, and how much.
    pub(crate) fn unread_threads(&mut self, user: &str) -> Result<Vec<(Id, i64)>, StoreError> {
        Ok(read_states::table
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq(user))
            .filter(read_states::unread_activity.is_not_null())
            .order(read_states::unread_activity.desc())
            .select((read_states::thread_id, read_states::unread_count))
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Stores a state, whether there is a row for it or not.
    pub(crate) fn save_read_state(
        &mut self,
        state: &ReadState,
        exists: bool,
    ) -> Result<(), StoreError> {
        if exists {
            diesel::update(read_states::table.find((
                state.kind,
                &state.reader_id,
                state.thread_id,
            )))
            .set((
                read_states::last_read_message_id.eq(state.last_read_message_id),
                read_states::unread_count.eq(state.unread_count),
                read_states::unread_activity.eq(state.unread_activity),
            ))
            .execute(self.database)?;
        } else {
            diesel::insert_into(read_states::table).values(state).execute(self.database)?;
        }
        Ok(())
    }

    /// Forgets a user's states in threads that are no longer the user's to see.
    pub(crate) fn delete_read_states(
        &mut self,
        user: &str,
        threads: &[Id],
    ) -> Result<(), StoreError> {
        diesel::delete(
            read_states::table
                .filter(read_states::kind.eq(ParticipantKind::User))
                .filter(read_states::reader_id.eq(user))
                .filter(read_states::thread_id.eq_any(threads)),
        )
        .execute(self.database)?;
        Ok(())
    }
}
