//! What was written elsewhere, and comes in here as it was: no events, so nobody is told of it.

use diesel::prelude::*;

use super::prepared::{insert_all, padded, pieces};
use super::schema::{message_originals, messages, participants, read_states, threads};
use super::{
    Id, Message, MessageOriginal, Participant, ParticipantKind, ReadState, Reader, Side,
    StoreError, Thread, Timestamp, Writer,
};

/// Rows that come in together.
#[derive(Debug, Default)]
pub(crate) struct MovedRows {
    pub(crate) threads: Vec<Thread>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) messages: Vec<Message>,
    pub(crate) originals: Vec<MessageOriginal>,
    pub(crate) read_states: Vec<ReadState>,
}

impl Reader<'_> {
    /// Which of these messages are in these threads already: thread, number, and the sender's own id.
    pub(crate) fn messages_by_client_ids(
        &mut self,
        in_threads: &[Id],
        client_ids: &[String],
    ) -> Result<Vec<(Id, Id, String)>, StoreError> {
        let mut found = Vec::new();
        for in_threads in pieces(in_threads) {
            for client_ids in pieces(client_ids) {
                let rows: Vec<(Id, Id, Option<String>)> = messages::table
                    .filter(messages::thread_id.eq_any(padded(in_threads)))
                    .filter(messages::client_id.eq_any(padded(client_ids)))
                    .select((messages::thread_id, messages::id, messages::client_id))
                    .load(self.database)?;
                found.extend(
                    rows.into_iter().filter_map(|(thread, id, own)| Some((thread, id, own?))),
                );
            }
        }
        Ok(found)
    }

    /// The open threads with these keys: key, number, activity.
    pub(crate) fn open_threads(
        &mut self,
        keys: &[String],
    ) -> Result<Vec<(String, Id, i64)>, StoreError> {
        let mut found = Vec::new();
        for keys in pieces(keys) {
            let rows: Vec<(Option<String>, Id, i64)> = threads::table
                .filter(threads::open_key.eq_any(padded(keys)))
                .select((threads::open_key, threads::id, threads::activity))
                .load(self.database)?;
            found.extend(rows.into_iter().filter_map(|(key, id, at)| Some((key?, id, at))));
        }
        Ok(found)
    }

    /// The last message of a thread that another side wrote; 0 where there is none.
    pub(crate) fn last_message_of_other_sides(
        &mut self,
        thread: Id,
        side: Side,
    ) -> Result<Id, StoreError> {
        let last: Option<Id> = messages::table
            .filter(messages::thread_id.eq(thread))
            .filter(messages::side.ne(side))
            .select(diesel::dsl::max(messages::id))
            .first(self.database)?;
        Ok(last.unwrap_or(0))
    }

    /// The read states of several users in one thread.
    pub(crate) fn read_states_in(
        &mut self,
        thread: Id,
        users: &[String],
    ) -> Result<Vec<ReadState>, StoreError> {
        let mut found = Vec::new();
        for users in pieces(users) {
            let rows: Vec<ReadState> = read_states::table
                .filter(read_states::kind.eq(ParticipantKind::User))
                .filter(read_states::thread_id.eq(thread))
                .filter(read_states::reader_id.eq_any(padded(users)))
                .select(ReadState::as_select())
                .load(self.database)?;
            found.extend(rows);
        }
        Ok(found)
    }
}

impl Writer<'_> {
    /// Keeps the numbers up to this one for threads that come in with theirs.
    pub(crate) fn reserve_threads(&mut self, up_to: Id) {
        self.counters.thread = self.counters.thread.max(up_to);
    }

    /// The number that the next message gets.
    pub(crate) fn next_message_id(&mut self) -> Id {
        self.counters.message += 1;
        self.counters.message
    }

    /// Takes an open thread's place as the one that its customer goes on with.
    pub(crate) fn clear_open_key(&mut self, thread: Id) -> Result<(), StoreError> {
        diesel::update(threads::table.find(thread))
            .set(threads::open_key.eq(None::<String>))
            .execute(self.database)?;
        Ok(())
    }

    /// Stores the rows, many a statement.
    pub(crate) fn insert_moved(&mut self, rows: &MovedRows) -> Result<(), StoreError> {
        insert_all!(self.database, threads::table, &rows.threads);
        insert_all!(self.database, participants::table, &rows.participants);
        insert_all!(self.database, messages::table, &rows.messages);
        insert_all!(self.database, message_originals::table, &rows.originals);
        insert_all!(self.database, read_states::table, &rows.read_states);
        Ok(())
    }

    /// Notes what a thread ends with after older messages came in, and how far each side has read.
    pub(crate) fn extend_thread(
        &mut self,
        thread: &Thread,
        last_message: Id,
        activity: i64,
        updated_at: Timestamp,
    ) -> Result<(), StoreError> {
        if thread.activity == activity && thread.updated_at == updated_at {
            diesel::update(threads::table.find(thread.id))
                .set((
                    threads::last_message_id.eq(last_message),
                    threads::flagged.eq(thread.flagged),
                ))
                .execute(self.database)?;
            return Ok(());
        }
        self.touch_thread(thread.id, last_message, activity, updated_at)?;
        if thread.flagged { self.flag_thread(thread.id) } else { Ok(()) }
    }
}
