//! Who is in a thread. Customer and vendor are two rows; operators, contacts and bridges are more.

use diesel::prelude::*;

use super::prepared::{padded, pieces, prepared};
use super::schema::{participants, threads};
use super::text_enum::text_enum;
use super::{Id, Reader, StoreError, SubjectType, Timestamp, Writer};

text_enum! {
    /// What a participant's id is an id of; also of a message's author.
    ParticipantKind {
        /// One of the shop's users.
        User = "user",
        /// A vendor: all who act for it.
        Vendor = "vendor",
    }
}

text_enum! {
    /// Which side of the conversation, so that "the other side" is known.
    Side {
        /// The one who asks.
        Customer = "customer",
        /// The vendor.
        Vendor = "vendor",
        /// The other person of a conversation between two.
        Peer = "peer",
        /// Administrators and operators.
        Staff = "staff",
    }
}

/// One participant of one thread.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = participants, treat_none_as_default_value = false)]
pub struct Participant {
    /// The thread.
    pub thread_id: Id,
    /// What `participant_id` is an id of.
    pub kind: ParticipantKind,
    /// The shop's id.
    pub participant_id: String,
    /// Which side.
    pub side: Side,
    /// What the participant is in this thread, e.g. `owner`.
    pub role: String,
    /// Since when.
    pub joined_at: Timestamp,
    /// Until when.
    pub left_at: Option<Timestamp>,
    /// How far the participant has read; of a vendor, how far any of its admins has.
    pub last_read_message_id: Id,
    /// A copy of the thread's.
    pub activity: i64,
}

diesel::alias!(participants as others: Others);

impl Reader<'_> {
    /// Who is in these threads.
    pub(crate) fn participants(&mut self, threads: &[Id]) -> Result<Vec<Participant>, StoreError> {
        let mut found: Vec<Participant> = Vec::new();
        for threads in pieces(threads) {
            let query = participants::table
                .filter(participants::thread_id.eq_any(padded(threads)))
                .filter(participants::left_at.is_null())
                .select(Participant::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
        // In the order of joining; a few rows each, which the database would sort no better.
        found.sort_by_key(|it| (it.thread_id, it.joined_at));
        Ok(found)
    }

    /// The threads that a user takes or took part in, in the order of their numbers.
    pub(crate) fn threads_joined(&mut self, user: &str) -> Result<Vec<Id>, StoreError> {
        let mut ids: Vec<Id> = participants::table
            .filter(participants::kind.eq(ParticipantKind::User))
            .filter(participants::participant_id.eq(user))
            .select(participants::thread_id)
            .load(self.database)?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Those of the candidates that are in a thread together with this participant.
    pub(crate) fn share_a_thread(
        &mut self,
        kind: ParticipantKind,
        id: &str,
        candidates: &[(ParticipantKind, String)],
    ) -> Result<Vec<(ParticipantKind, String)>, StoreError> {
        let mut found = Vec::new();
        for (other_kind, other_id) in candidates {
            // A self-join over two prefixes of the same index; stops at the first hit.
            let hit: Option<Id> = participants::table
                .inner_join(
                    others.on(others.field(participants::thread_id).eq(participants::thread_id)),
                )
                .filter(participants::kind.eq(kind))
                .filter(participants::participant_id.eq(id))
                .filter(participants::left_at.is_null())
                .filter(others.field(participants::kind).eq(*other_kind))
                .filter(others.field(participants::participant_id).eq(other_id))
                .filter(others.field(participants::left_at).is_null())
                .select(participants::thread_id)
                .first(self.database)
                .optional()?;
            if hit.is_some() {
                found.push((*other_kind, other_id.clone()));
            }
        }
        Ok(found)
    }
}

impl Writer<'_> {
    /// Adds a participant.
    pub(crate) fn insert_participant(
        &mut self,
        participant: &Participant,
    ) -> Result<(), StoreError> {
        diesel::insert_into(participants::table).values(participant).execute(self.database)?;
        Ok(())
    }

    /// Adds a participant, who may have left the thread before.
    pub(crate) fn join_thread(&mut self, participant: &Participant) -> Result<(), StoreError> {
        let back = diesel::update(participants::table.find((
            participant.thread_id,
            participant.kind,
            &participant.participant_id,
        )))
        .set((
            participants::left_at.eq(None::<Timestamp>),
            participants::joined_at.eq(participant.joined_at),
            participants::side.eq(participant.side),
            participants::role.eq(&participant.role),
        ))
        .execute(self.database)?;
        if back == 0 { self.insert_participant(participant) } else { Ok(()) }
    }

    /// Ends a user's part in all threads that it joined as staff, but for those about `kept`.
    pub(crate) fn leave_as_staff(
        &mut self,
        user: &str,
        kept: Option<SubjectType>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let left = threads::table.filter(threads::subject_type.ne_all(kept)).select(threads::id);
        diesel::update(
            participants::table
                .filter(participants::kind.eq(ParticipantKind::User))
                .filter(participants::participant_id.eq(user))
                .filter(participants::side.eq(Side::Staff))
                .filter(participants::left_at.is_null())
                .filter(participants::thread_id.eq_any(left)),
        )
        .set(participants::left_at.eq(now))
        .execute(self.database)?;
        Ok(())
    }

    /// Notes how far a participant has read.
    pub(crate) fn advance_participant(
        &mut self,
        participant: &Participant,
        up_to: Id,
    ) -> Result<(), StoreError> {
        let row = participants::table.find((
            participant.thread_id,
            participant.kind,
            &participant.participant_id,
        ));
        let read = participants::last_read_message_id.eq(up_to);
        prepared(diesel::update(row).set(read)).execute(self.database)?;
        Ok(())
    }
}
