//! How far each reader has read each thread, and how many messages are left: kept, not counted.

use diesel::prelude::*;

use super::connection::{Database, on_backend};
#[cfg(feature = "sqlite")]
use super::fixed::fixed;
use super::fixed::fixed_query;
#[cfg(feature = "mysql")]
use super::prepared::written;
use super::prepared::{insert_all, padded, pieces, prepared};
use super::schema::{participants, read_states, users};
use super::shared_rows::Unread;
use super::{Id, ParticipantKind, Reader, StoreError, User, Writer};

/// One reader's state in one thread. Without a row, nothing is unread.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = read_states, treat_none_as_default_value = false)]
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

/// What is unread for one user: the numbers that the user's pages show.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Badge {
    /// The user.
    pub user: String,
    /// Unread messages in all threads together.
    pub total: i64,
    /// Unread messages in the thread that was asked about; `None` when there is no state of it yet.
    pub here: Option<i64>,
}

/// The badges of users in one thread. A macro, since the type of the query has no short name.
macro_rules! badges {
    ($thread:expr) => {
        users::table
            .left_join(
                read_states::table.on(read_states::reader_id
                    .eq(users::id)
                    .and(read_states::kind.eq(ParticipantKind::User))
                    .and(read_states::thread_id.eq($thread))),
            )
            .select((users::id, users::unread_total, read_states::unread_count.nullable()))
    };
}

/// Those who read some threads, with what each has unread there: the users that take part in one of them by this
/// condition. A macro for the same reason.
macro_rules! readers {
    ($threads:expr, $kind:expr, $is_meant:expr) => {
        participants::table
            .inner_join(users::table.on($is_meant))
            .left_join(
                read_states::table.on(read_states::reader_id
                    .eq(users::id)
                    .and(read_states::kind.eq(ParticipantKind::User))
                    .and(read_states::thread_id.eq(participants::thread_id))),
            )
            .filter(participants::thread_id.eq_any(padded($threads)))
            .filter(participants::kind.eq($kind))
            .filter(participants::left_at.is_null())
            .select((
                participants::thread_id,
                User::as_select(),
                (read_states::unread_count, read_states::unread_activity).nullable(),
            ))
    };
}

/// A user who reads a thread, and how much is unread; `None` when there is no state of it yet.
type ReaderOf = (Id, User, Option<Unread>);

impl Reader<'_> {
    /// Who reads these threads: those who take part, and all admins of vendors that do.
    pub(super) fn readers_of_threads(
        &mut self,
        threads: &[Id],
    ) -> Result<Vec<ReaderOf>, StoreError> {
        let mut found: Vec<ReaderOf> = Vec::new();
        for threads in pieces(threads) {
            let is_it = users::id.eq(participants::participant_id);
            let people = readers!(threads, ParticipantKind::User, is_it);
            found.extend(prepared(people).load::<ReaderOf>(self.database)?);
            let acts_for_it = users::vendor_id.eq(participants::participant_id.nullable());
            let admins = readers!(threads, ParticipantKind::Vendor, acts_for_it);
            found.extend(prepared(admins).load::<ReaderOf>(self.database)?);
        }
        Ok(found)
    }

    /// One user's states in several threads.
    pub(crate) fn read_states(
        &mut self,
        user: &str,
        threads: &[Id],
    ) -> Result<Vec<ReadState>, StoreError> {
        let mut found = Vec::new();
        for threads in pieces(threads) {
            let query = read_states::table
                .filter(read_states::kind.eq(ParticipantKind::User))
                .filter(read_states::reader_id.eq(user))
                .filter(read_states::thread_id.eq_any(padded(threads)))
                .select(ReadState::as_select());
            found.extend(prepared(query).load(self.database)?);
        }
        Ok(found)
    }

    /// One user's states in all threads.
    pub(crate) fn all_read_states(&mut self, user: &str) -> Result<Vec<ReadState>, StoreError> {
        Ok(read_states::table
            .filter(read_states::kind.eq(ParticipantKind::User))
            .filter(read_states::reader_id.eq(user))
            .select(ReadState::as_select())
            .load(self.database)?)
    }

    /// What a user has unread in all threads and in this one.
    pub(crate) fn badge_of_user(
        &mut self,
        user: &str,
        thread: Id,
    ) -> Result<Option<Badge>, StoreError> {
        let shared = self.shared.as_ref().and_then(|it| it.badge_of_user(user, thread));
        if shared.is_some() {
            return Ok(shared);
        }
        let badge = fixed_query!(
            badges!(0_i64).filter(users::id.eq("")),
            ParticipantKind::User.as_str(),
            thread,
            user,
        );
        Ok(on_backend!(&mut *self.database, connection => badge.get_result(connection))
            .optional()?)
    }

    /// The same of all who act for a vendor.
    pub(crate) fn badges_of_vendor(
        &mut self,
        vendor: &str,
        thread: Id,
    ) -> Result<Vec<Badge>, StoreError> {
        let shared = self.shared.as_ref().and_then(|it| it.badges_of_vendor(vendor, thread));
        if let Some(shared) = shared {
            return Ok(shared);
        }
        let badges = fixed_query!(
            badges!(0_i64).filter(users::vendor_id.eq("")),
            ParticipantKind::User.as_str(),
            thread,
            vendor,
        );
        Ok(on_backend!(&mut *self.database, connection => badges.load(connection))?)
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
            let row = read_states::table.find((state.kind, &state.reader_id, state.thread_id));
            let changed = diesel::update(row).set((
                read_states::last_read_message_id.eq(state.last_read_message_id),
                read_states::unread_count.eq(state.unread_count),
                read_states::unread_activity.eq(state.unread_activity),
            ));
            prepared(changed).execute(self.database)?;
        } else {
            diesel::insert_into(read_states::table).values(state).execute(self.database)?;
        }
        Ok(())
    }

    /// Counts one more message for these users, who did not write it. What its author has unread here has moved to the
    /// top of the list, too.
    pub(crate) fn raise_unread(
        &mut self,
        thread: Id,
        author: &str,
        readers: &[Badge],
        activity: i64,
    ) -> Result<(), StoreError> {
        if let Some(shared) = &mut self.shared
            && shared.raise_unread(thread, author, readers, activity)
        {
            return Ok(());
        }
        let users = readers.iter().map(|it| it.user.as_str());
        match &mut *self.database {
            #[cfg(feature = "sqlite")]
            Database::Sqlite(connection) => {
                for reader in readers.iter().filter(|it| it.here.is_some()) {
                    fixed!(
                        "UPDATE `read_states` SET `unread_count` = `unread_count` + 1, `unread_activity` = ? \
                         WHERE `kind` = 'user' AND `reader_id` = ? AND `thread_id` = ?",
                        activity,
                        &reader.user,
                        thread,
                    )
                    .execute(connection)?;
                }
                fixed!(
                    "UPDATE `read_states` SET `unread_activity` = ? \
                     WHERE `kind` = 'user' AND `reader_id` = ? AND `thread_id` = ? AND `unread_activity` IS NOT NULL",
                    activity,
                    author,
                    thread,
                )
                .execute(connection)?;
                self.add_unread_total(&Vec::from_iter(users), 1)?;
            }
            #[cfg(feature = "mysql")]
            Database::Mysql(_) => {
                let with_author: Vec<&str> = users.chain([author]).collect();
                self.raise_at_once(thread, author, &with_author, activity)?;
            }
        }
        let new: Vec<ReadState> = readers
            .iter()
            .filter(|it| it.here.is_none())
            .map(|it| ReadState {
                unread_count: 1,
                unread_activity: Some(activity),
                ..ReadState::new(&it.user, thread)
            })
            .collect();
        insert_all!(self.database, read_states::table, &new);
        Ok(())
    }

    /// Counts and sums in one statement, since each is a round trip. Who has no state in this thread yet has a sum.
    #[cfg(feature = "mysql")]
    fn raise_at_once(
        &mut self,
        thread: Id,
        author: &str,
        users: &[&str],
        activity: i64,
    ) -> Result<(), StoreError> {
        for users in pieces(users) {
            written(
                "UPDATE `users` LEFT JOIN `read_states` ON `read_states`.`reader_id` = `users`.`id` \
                 AND `read_states`.`kind` = ",
            )
            .text(ParticipantKind::User.as_str())
            .sql(" AND `read_states`.`thread_id` = ")
            .number(thread)
            .sql(" SET `users`.`unread_total` = `users`.`unread_total` + CASE `users`.`id` WHEN ")
            .text(author)
            .sql(" THEN 0 ELSE 1 END, `read_states`.`unread_count` = `read_states`.`unread_count` + CASE `users`.`id` WHEN ")
            .text(author)
            .sql(" THEN 0 ELSE 1 END, `read_states`.`unread_activity` = CASE WHEN `users`.`id` = ")
            .text(author)
            .sql(" AND `read_states`.`unread_activity` IS NULL THEN NULL ELSE ")
            .number(activity)
            .sql(" END WHERE `users`.`id` IN ")
            .texts(users)
            .execute(self.database)?;
        }
        Ok(())
    }

    /// Counts one message less for these users, each of whom has some unread in this thread.
    pub(crate) fn lower_unread(&mut self, thread: Id, users: &[&str]) -> Result<(), StoreError> {
        for users in pieces(users) {
            let rows = || {
                read_states::table
                    .filter(read_states::kind.eq(ParticipantKind::User))
                    .filter(read_states::reader_id.eq_any(padded(users)))
                    .filter(read_states::thread_id.eq(thread))
            };
            let less = read_states::unread_count.eq(read_states::unread_count - 1);
            prepared(diesel::update(rows()).set(less)).execute(self.database)?;
            let none = rows().filter(read_states::unread_count.eq(0));
            let gone = read_states::unread_activity.eq(None::<i64>);
            prepared(diesel::update(none).set(gone)).execute(self.database)?;
        }
        self.add_unread_total(users, -1)
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
