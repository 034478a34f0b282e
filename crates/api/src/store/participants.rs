//! Who is in a thread. Customer and vendor are two rows; operators, contacts and bridges are more.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::moment::Moment;
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
    #[diesel(deserialize_as = Moment)]
    pub joined_at: Timestamp,
    /// Until when.
    pub left_at: Option<Timestamp>,
    /// How far the participant has read; of a vendor, how far any of its admins has.
    pub last_read_message_id: Id,
    /// A copy of the thread's.
    pub activity: i64,
}

/// The role of the participant who has a support thread.
pub const ASSIGNEE: &str = "assignee";

/// So many of a participant's threads, those with the latest activity, are compared with another's.
const LATEST: i64 = 500;

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

    /// Who is or was in these threads, in no order.
    pub(crate) fn everybody_in(&mut self, threads: &[Id]) -> Result<Vec<Participant>, StoreError> {
        let mut found = Vec::new();
        for threads in pieces(threads) {
            let query = participants::table
                .filter(participants::thread_id.eq_any(padded(threads)))
                .select(Participant::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
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

    /// Those of the candidates that are in a thread together with this participant: in one of the latest threads of either,
    /// so that nobody's many threads are walked over.
    pub(crate) fn share_a_thread(
        &mut self,
        kind: ParticipantKind,
        id: &str,
        candidates: &[(ParticipantKind, String)],
    ) -> Result<Vec<(ParticipantKind, String)>, StoreError> {
        let own = self.latest_threads(kind, id)?;
        let mut found = self.those_in(&own, candidates)?;
        if i64::try_from(own.len()).is_ok_and(|count| count < LATEST) {
            return Ok(found);
        }
        let myself = [(kind, id.to_owned())];
        for candidate in candidates {
            if !found.contains(candidate) {
                let theirs = self.latest_threads(candidate.0, &candidate.1)?;
                if !self.those_in(&theirs, &myself)?.is_empty() {
                    found.push(candidate.clone());
                }
            }
        }
        Ok(found)
    }

    /// The threads of a participant, the latest activity first, and not all of very many.
    fn latest_threads(&mut self, kind: ParticipantKind, id: &str) -> Result<Vec<Id>, StoreError> {
        Ok(participants::table
            .filter(participants::kind.eq(kind))
            .filter(participants::participant_id.eq(id))
            .filter(participants::left_at.is_null())
            .order(participants::activity.desc())
            .limit(LATEST)
            .select(participants::thread_id)
            .load(self.database)?)
    }

    /// Those of the candidates that are in one of these threads.
    fn those_in(
        &mut self,
        threads: &[Id],
        candidates: &[(ParticipantKind, String)],
    ) -> Result<Vec<(ParticipantKind, String)>, StoreError> {
        let ids: Vec<&str> = candidates.iter().map(|(_, id)| id.as_str()).collect();
        let mut found: BTreeSet<(ParticipantKind, String)> = BTreeSet::new();
        for threads in pieces(threads) {
            let query = participants::table
                .filter(participants::thread_id.eq_any(padded(threads)))
                .filter(participants::kind.eq_any([ParticipantKind::User, ParticipantKind::Vendor]))
                .filter(participants::participant_id.eq_any(padded(&ids)))
                .filter(participants::left_at.is_null())
                .select((participants::kind, participants::participant_id));
            found.extend(prepared(query).load::<(ParticipantKind, String)>(self.database)?);
        }
        Ok(candidates.iter().filter(|candidate| found.contains(*candidate)).cloned().collect())
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
        let joined: Vec<Id> = participants::table
            .filter(participants::kind.eq(ParticipantKind::User))
            .filter(participants::participant_id.eq(user))
            .filter(participants::side.eq(Side::Staff))
            .filter(participants::left_at.is_null())
            .select(participants::thread_id)
            .load(self.database)?;
        for ids in pieces(&joined) {
            let mut left = ids.to_vec();
            if let Some(kept) = kept {
                let stays = threads::table
                    .filter(threads::id.eq_any(padded(ids)))
                    .filter(threads::subject_type.eq(kept))
                    .select(threads::id);
                let stays: Vec<Id> = prepared(stays).load(self.database)?;
                left.retain(|id| !stays.contains(id));
            }
            if left.is_empty() {
                continue;
            }
            let rows = participants::table
                .filter(participants::thread_id.eq_any(padded(&left)))
                .filter(participants::kind.eq(ParticipantKind::User))
                .filter(participants::participant_id.eq(user));
            let leave = diesel::update(rows).set(participants::left_at.eq(now));
            prepared(leave).execute(self.database)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::databases;
    use crate::testing::shop;

    #[test]
    fn who_shares_a_thread_is_known_however_many_threads_either_has() {
        for mut fresh in databases() {
            shop(&mut fresh, 1);
            // 600 threads with `v`, of sixty customers; that of `c` is the oldest.
            fresh.grow(60_000);
            let user = |id: &str| (ParticipantKind::User, id.to_owned());
            let people: Vec<_> = ["u0", "u590", "c", "u1", "nobody"].map(user).into();
            let vendor = (ParticipantKind::Vendor, "v".to_owned());
            let made = fresh.statements(|fresh| {
                let found =
                    fresh.read(|reader| reader.share_a_thread(vendor.0, &vendor.1, &people));
                assert_eq!(found.unwrap(), people[..3], "{}", fresh.url);
            });
            assert!(made.len() < 20, "{made:#?}");
            for (person, shares) in people.iter().zip([true, true, true, false, false]) {
                let found = fresh.read(|reader| {
                    reader.share_a_thread(person.0, &person.1, std::slice::from_ref(&vendor))
                });
                assert_eq!(!found.unwrap().is_empty(), shares, "{person:?}");
            }
        }
    }
}
