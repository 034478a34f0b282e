//! Threads: one conversation each, with a subject.

use diesel::dsl::exists;
use diesel::prelude::*;

use super::connection::{Database, on_backend};
use super::fixed::{columns, fixed, fixed_query};
use super::moment::Moment;
use super::prepared::{padded, pieces, prepared};
use super::schema::{participants, read_states, threads};
use super::text_enum::text_enum;
use super::{
    ASSIGNEE, Id, Participant, ParticipantKind, Reader, Side, StoreError, Timestamp, Writer,
};

text_enum! {
    /// What a thread is about.
    SubjectType {
        /// A product of a vendor.
        Product = "product",
        /// An order.
        Order = "order",
        /// A vendor as such.
        Vendor = "vendor",
        /// Another user.
        User = "user",
        /// Help from the operators.
        Support = "support",
    }
}

text_enum! {
    /// Whether a thread goes on.
    ThreadStatus {
        /// It does.
        Open = "open",
        /// It has ended.
        Closed = "closed",
    }
}

/// One conversation. Its number is the ticket id that people see.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = threads, treat_none_as_default_value = false)]
pub struct Thread {
    /// Its number.
    pub id: Id,
    /// What kind of thing it is about.
    pub subject_type: SubjectType,
    /// The shop's id of that thing.
    pub subject_id: String,
    /// What it is called.
    pub subject_title: Option<String>,
    /// Where it is shown.
    pub subject_url: Option<String>,
    /// How it looks.
    pub subject_image_url: Option<String>,
    /// Which of the shop's storefronts.
    pub storefront_id: Option<String>,
    /// Whether it goes on.
    pub status: ThreadStatus,
    /// Customer and subject while it is open: there is one such thread only.
    pub open_key: Option<String>,
    /// Whether one of its messages is flagged (R11).
    pub flagged: bool,
    /// The last message.
    pub last_message_id: Option<Id>,
    /// The event that moved it to the top of the lists last.
    pub activity: i64,
    /// When it was started.
    #[diesel(deserialize_as = Moment)]
    pub created_at: Timestamp,
    /// When something was last written.
    #[diesel(deserialize_as = Moment)]
    pub updated_at: Timestamp,
}

/// Whose threads are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadScope {
    /// Everybody's.
    All,
    /// Those of one type, whoever is in them.
    OfType(SubjectType),
    /// Those that one of these takes part in.
    Of(Vec<(ParticipantKind, String)>),
}

/// Which of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadFilter {
    /// With something unread, or without, for this user.
    pub unread: Option<(String, bool)>,
    pub flagged: Option<bool>,
    pub vendor_id: Option<String>,
    pub customer_id: Option<String>,
    /// The one of the staff who has it.
    pub operator_id: Option<String>,
    pub subject_type: Option<SubjectType>,
    pub status: Option<ThreadStatus>,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    /// Only those with less activity: the rest of a list.
    pub below: Option<i64>,
}

/// The subject types in the order of their numbers in `threads.facet`.
const FACETS: [SubjectType; 5] = [
    SubjectType::Product,
    SubjectType::Order,
    SubjectType::Vendor,
    SubjectType::User,
    SubjectType::Support,
];

impl ThreadFilter {
    /// The values of `threads.facet` that it takes; `None` when it takes all.
    fn facets(&self) -> Option<Vec<i16>> {
        if self.subject_type.is_none() && self.flagged.is_none() && self.status.is_none() {
            return None;
        }
        let types = (0..).zip(FACETS).filter(|it| self.subject_type.is_none_or(|t| t == it.1));
        let flags = [false, true].into_iter().filter(|it| self.flagged.is_none_or(|f| f == *it));
        let statuses = [ThreadStatus::Open, ThreadStatus::Closed].into_iter();
        let statuses = statuses.filter(|it| self.status.is_none_or(|status| status == *it));
        let facet = |number: i16, flagged: bool, status: ThreadStatus| {
            4 * number + 2 * i16::from(flagged) + i16::from(status == ThreadStatus::Closed)
        };
        let facets = types.flat_map(|(number, _)| {
            let statuses = statuses.clone();
            flags.clone().flat_map(move |flagged| {
                statuses.clone().map(move |status| facet(number, flagged, status))
            })
        });
        Some(facets.collect())
    }
}

diesel::alias!(participants as others: Others);

/// Whether this participant is in the thread, with that side or role: a point look-up in the primary key. A macro, since the type
/// of the condition has no name that can be written. Not `EXISTS`, which MariaDB turns into a join that it drives from the
/// wrong side and has to sort.
macro_rules! has_participant {
    ($kind:expr, $id:expr, $column:ident, $what:expr) => {
        others
            .filter(others.field(participants::thread_id).eq(threads::id))
            .filter(others.field(participants::kind).eq($kind))
            .filter(others.field(participants::participant_id).eq($id))
            .filter(others.field(participants::$column).eq($what))
            .filter(others.field(participants::left_at).is_null())
            .select(others.field(participants::thread_id))
            .single_value()
            .is_not_null()
    };
}

/// Whether a user has something unread in the thread: a point look-up as well.
macro_rules! is_unread_by {
    ($reader:expr) => {
        exists(
            read_states::table
                .filter(read_states::thread_id.eq(threads::id))
                .filter(read_states::kind.eq(ParticipantKind::User))
                .filter(read_states::reader_id.eq($reader))
                .filter(read_states::unread_activity.is_not_null()),
        )
    };
}

/// Adds a filter's conditions to a query over `threads`, whatever drives it.
macro_rules! filtered {
    ($query:expr, $filter:expr) => {{
        let filter: &ThreadFilter = $filter;
        let mut query = $query;
        if let Some(flagged) = filter.flagged {
            query = query.filter(threads::flagged.eq(flagged));
        }
        if let Some(subject_type) = filter.subject_type {
            query = query.filter(threads::subject_type.eq(subject_type));
        }
        if let Some(status) = filter.status {
            query = query.filter(threads::status.eq(status));
        }
        if let Some(after) = filter.created_after {
            query = query.filter(threads::created_at.gt(after));
        }
        if let Some(before) = filter.created_before {
            query = query.filter(threads::created_at.lt(before));
        }
        if let Some(vendor) = &filter.vendor_id {
            let kind = ParticipantKind::Vendor;
            query = query.filter(has_participant!(kind, vendor, side, Side::Vendor));
        }
        if let Some(customer) = &filter.customer_id {
            let kind = ParticipantKind::User;
            query = query.filter(has_participant!(kind, customer, side, Side::Customer));
        }
        if let Some(operator) = &filter.operator_id {
            let kind = ParticipantKind::User;
            query = query.filter(has_participant!(kind, operator, role, ASSIGNEE));
        }
        query
    }};
}

impl Reader<'_> {
    /// One thread together with who is in it, in the order of joining.
    pub(crate) fn thread_with_participants(
        &mut self,
        id: Id,
    ) -> Result<Option<(Thread, Vec<Participant>)>, StoreError> {
        let shared = self.shared.as_ref().and_then(|it| it.thread(id));
        if shared.is_some() {
            return Ok(shared);
        }
        let thread = fixed_query!(
            threads::table
                .left_join(participants::table.on(
                    participants::thread_id.eq(threads::id).and(participants::left_at.is_null())
                ))
                .filter(threads::id.eq(0))
                .select((columns::<Thread>(), columns::<Option<Participant>>())),
            id
        );
        let rows: Vec<(Thread, Option<Participant>)> =
            on_backend!(&mut *self.database, connection => thread.load(connection))?;
        let (threads, found): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let mut found: Vec<Participant> = found.into_iter().flatten().collect();
        found.sort_by_key(|it| it.joined_at);
        Ok(threads.into_iter().next().map(|thread| (thread, found)))
    }

    /// Several threads, in no order.
    pub(crate) fn threads(&mut self, ids: &[Id]) -> Result<Vec<Thread>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let query = threads::table.filter(threads::id.eq_any(padded(ids)));
            found.extend(prepared(query.select(Thread::as_select())).load(self.database)?);
        }
        Ok(found)
    }

    /// Those of several threads that a filter takes, in no order.
    pub(crate) fn threads_that_fit(
        &mut self,
        ids: &[Id],
        filter: &ThreadFilter,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut found = Vec::new();
        for ids in pieces(ids) {
            let mut query = threads::table
                .filter(threads::id.eq_any(padded(ids)))
                .select(Thread::as_select())
                .into_boxed();
            if let Some(below) = filter.below {
                query = query.filter(threads::activity.lt(below));
            }
            match &filter.unread {
                Some((reader, true)) => query = query.filter(is_unread_by!(reader)),
                Some((reader, false)) => {
                    query = query.filter(diesel::dsl::not(is_unread_by!(reader)));
                }
                None => {}
            }
            found.extend(filtered!(query, filter).load(self.database)?);
        }
        Ok(found)
    }

    /// The open thread with this key.
    pub(crate) fn open_thread(&mut self, key: &str) -> Result<Option<Thread>, StoreError> {
        Ok(threads::table
            .filter(threads::open_key.eq(key))
            .select(Thread::as_select())
            .first(self.database)
            .optional()?)
    }

    /// The open threads with these keys, in no order.
    pub(crate) fn threads_with_keys(&mut self, keys: &[String]) -> Result<Vec<Thread>, StoreError> {
        let mut found = Vec::new();
        for keys in pieces(keys) {
            let query = threads::table.filter(threads::open_key.eq_any(padded(keys)));
            found.extend(prepared(query.select(Thread::as_select())).load(self.database)?);
        }
        Ok(found)
    }

    /// A page of threads, latest activity first. Each way is a walk down one index in the order of the list.
    pub(crate) fn list_threads(
        &mut self,
        scopes: &[ThreadScope],
        filter: &ThreadFilter,
        limit: i64,
    ) -> Result<Vec<Thread>, StoreError> {
        if let Some((reader, true)) = &filter.unread {
            return self.list_unread(reader, filter, limit);
        }
        let mut found: Vec<Thread> = Vec::new();
        for scope in scopes {
            match scope {
                ThreadScope::Of(keys) => {
                    for (kind, id) in keys {
                        found.extend(self.list_of(*kind, id, filter, limit)?);
                    }
                }
                // One person's or vendor's threads have an index of their own.
                ThreadScope::All if filter.customer_id.is_some() => {
                    let customer = filter.customer_id.as_deref().unwrap_or_default();
                    found.extend(self.list_of(ParticipantKind::User, customer, filter, limit)?);
                }
                ThreadScope::All if filter.operator_id.is_some() => {
                    found.extend(self.list_taken(filter, limit)?);
                }
                ThreadScope::All if filter.vendor_id.is_some() => {
                    let vendor = filter.vendor_id.as_deref().unwrap_or_default();
                    found.extend(self.list_of(ParticipantKind::Vendor, vendor, filter, limit)?);
                }
                ThreadScope::All => found.extend(self.list_all(filter, limit)?),
                ThreadScope::OfType(subject_type) => {
                    if filter.subject_type.is_none_or(|wanted| wanted == *subject_type) {
                        let mut filter = filter.clone();
                        filter.subject_type = Some(*subject_type);
                        found.extend(match &filter.operator_id {
                            Some(_) => self.list_taken(&filter, limit)?,
                            None => self.list_all(&filter, limit)?,
                        });
                    }
                }
            }
        }
        found.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.activity));
        found.dedup_by_key(|thread| thread.id);
        found.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(found)
    }

    /// Everybody's: one walk, or one for each facet that the filter takes, so that what is rare is found as soon as
    /// what is not.
    fn list_all(&mut self, filter: &ThreadFilter, limit: i64) -> Result<Vec<Thread>, StoreError> {
        let facets = filter.facets().map_or(vec![None], |it| it.into_iter().map(Some).collect());
        let mut found = Vec::new();
        for facet in facets {
            let mut query = threads::table
                .filter(threads::activity.lt(filter.below.unwrap_or(i64::MAX)))
                .order(threads::activity.desc())
                .limit(limit)
                .select(Thread::as_select())
                .into_boxed();
            if let Some(facet) = facet {
                query = query.filter(threads::facet.eq(facet));
            }
            if let Some((reader, false)) = &filter.unread {
                query = query.filter(diesel::dsl::not(is_unread_by!(reader)));
            }
            found.extend(filtered!(query, filter).load(self.database)?);
        }
        Ok(found)
    }

    /// Those that the filter's operator has, of all that the operator is in.
    fn list_taken(&mut self, filter: &ThreadFilter, limit: i64) -> Result<Vec<Thread>, StoreError> {
        let operator = filter.operator_id.as_deref().unwrap_or_default();
        self.list_of(ParticipantKind::User, operator, filter, limit)
    }

    fn list_of(
        &mut self,
        kind: ParticipantKind,
        id: &str,
        filter: &ThreadFilter,
        limit: i64,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut query = participants::table
            .inner_join(threads::table)
            .filter(participants::kind.eq(kind))
            .filter(participants::participant_id.eq(id))
            .filter(participants::left_at.is_null())
            .order(participants::activity.desc())
            .limit(limit)
            .select(Thread::as_select())
            .into_boxed();
        if let Some(below) = filter.below {
            query = query.filter(participants::activity.lt(below));
        }
        if let Some((reader, false)) = &filter.unread {
            query = query.filter(diesel::dsl::not(is_unread_by!(reader)));
        }
        Ok(filtered!(query, filter).load(self.database)?)
    }

    /// What is unread was visible when it was written, and its row is deleted when it is no longer: no scope
    /// is needed.
    fn list_unread(
        &mut self,
        reader: &str,
        filter: &ThreadFilter,
        limit: i64,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut query = read_states::table
            .inner_join(threads::table)
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq(reader))
            .filter(read_states::unread_activity.is_not_null())
            .order(read_states::unread_activity.desc())
            .limit(limit)
            .select(Thread::as_select())
            .into_boxed();
        if let Some(below) = filter.below {
            query = query.filter(read_states::unread_activity.lt(below));
        }
        Ok(filtered!(query, filter).load(self.database)?)
    }
}

impl Writer<'_> {
    /// The number that the next thread gets.
    pub(crate) fn next_thread_id(&mut self) -> Id {
        self.counters.thread += 1;
        self.counters.thread
    }

    /// Stores a thread.
    pub(crate) fn insert_thread(&mut self, thread: &Thread) -> Result<(), StoreError> {
        diesel::insert_into(threads::table).values(thread).execute(self.database)?;
        Ok(())
    }

    /// Closes a thread, or opens it again under its key.
    pub(crate) fn set_thread_status(
        &mut self,
        thread: Id,
        status: ThreadStatus,
        open_key: Option<&str>,
    ) -> Result<(), StoreError> {
        diesel::update(threads::table.find(thread))
            .set((threads::status.eq(status), threads::open_key.eq(open_key)))
            .execute(self.database)?;
        Ok(())
    }

    /// Gives a thread its exclamation mark (R11).
    pub(crate) fn flag_thread(&mut self, thread: Id) -> Result<(), StoreError> {
        diesel::update(threads::table.find(thread))
            .set(threads::flagged.eq(true))
            .execute(self.database)?;
        Ok(())
    }

    /// Moves a thread to the top of all lists, after a message was written into it.
    pub(crate) fn touch_thread(
        &mut self,
        thread: Id,
        last_message: Id,
        activity: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(shared) = &mut self.shared
            && shared.touch_thread(thread, last_message, activity, now)
        {
            return Ok(());
        }
        match &mut *self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                fixed!(
                    "UPDATE `threads` SET `last_message_id` = ?, `activity` = ?, `updated_at` = ? WHERE `id` = ?",
                    last_message,
                    activity,
                    now,
                    thread,
                )
                .execute(connection)?;
                fixed!(
                    "UPDATE `participants` SET `activity` = ? WHERE `thread_id` = ?",
                    activity,
                    thread
                )
                .execute(connection)?;
            }
            // Both at once, since each statement is a round trip.
            #[cfg(feature = "mysql")]
            Database::Mysql(connection) => {
                fixed!(
                    "UPDATE `threads` LEFT JOIN `participants` ON `participants`.`thread_id` = `threads`.`id` \
                     SET `threads`.`last_message_id` = ?, `threads`.`activity` = ?, `threads`.`updated_at` = ?, \
                     `participants`.`activity` = ? WHERE `threads`.`id` = ?",
                    last_message,
                    activity,
                    now,
                    activity,
                    thread,
                )
                .execute(connection)?;
            }
        }
        Ok(())
    }
}
