//! The rows that the posts of one commit share: looked up for all of them at once, and changed for all of them at once
//! at their end.
//!
//! A post looks up its thread, who takes part, their vendor and what each has unread, and changes most of it. On a
//! database server each of that is a round trip, and who posts beside many others waits for those of all before it.
//! Whoever writes holds the lock of all writers ([`Counters::lock`](super::events::Counters)), so nobody else changes
//! these rows before the commit; and what is no plain post comes after they were written ([`SharedRows::settle`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::{QueryResult, Queryable, RunQueryDsl};

use super::connection::Database;
use super::prepared::{padded, pieces, portions, written};
use super::{Badge, Id, Participant, ParticipantKind, Reader, StoreError, Thread, Timestamp};
use super::{User, Vendor, Writer};

const WHEN: &str = " WHEN ";
const THEN: &str = " THEN ";

/// What one reader has unread in one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Queryable)]
pub(super) struct Unread {
    pub(super) count: i64,
    /// The thread's activity while there is something.
    pub(super) activity: Option<i64>,
}

/// The rows, as they are after the posts so far, and which of them the database does not know yet.
#[derive(Debug, Default)]
pub(super) struct SharedRows {
    threads: HashMap<Id, (Thread, Vec<Participant>)>,
    vendors: HashMap<String, Vendor>,
    /// All who take part in one of the threads, and all admins of vendors that do.
    users: HashMap<String, User>,
    unread: HashMap<(Id, String), Unread>,
    live_keys: HashSet<String>,
    touched: BTreeSet<Id>,
    raised: BTreeSet<(Id, String)>,
}

impl SharedRows {
    /// Looks up what posts into these threads need.
    pub(super) fn load(&mut self, database: &mut Database, ids: &[Id]) -> Result<(), StoreError> {
        let mut reader = Reader { database, shared: None };
        for thread in reader.threads(ids)? {
            self.threads.insert(thread.id, (thread, Vec::new()));
        }
        let mut vendors = BTreeSet::new();
        for participant in reader.participants(ids)? {
            if participant.kind == ParticipantKind::Vendor {
                vendors.insert(participant.participant_id.clone());
            }
            if let Some((_, participants)) = self.threads.get_mut(&participant.thread_id) {
                participants.push(participant);
            }
        }
        let vendors: Vec<&str> = vendors.iter().map(String::as_str).collect();
        for vendor in reader.vendors(&vendors)? {
            self.vendors.insert(vendor.id.clone(), vendor);
        }
        for (thread, user, unread) in reader.readers_of_threads(ids)? {
            if let Some(unread) = unread {
                self.unread.insert((thread, user.id.clone()), unread);
            }
            self.users.insert(user.id.clone(), user);
        }
        Ok(())
    }

    /// Whether it has what posts into this thread need.
    pub(super) fn has(&self, thread: Id) -> bool {
        self.threads.contains_key(&thread)
    }

    /// Whether there is nothing to share.
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Writes what has changed, and forgets everything: what comes next finds the rows in the database.
    pub(super) fn settle(&mut self, database: &mut Database) -> QueryResult<()> {
        let rows = std::mem::take(self);
        rows.write_threads(database)?;
        rows.write_unread(database)
    }

    fn write_threads(&self, database: &mut Database) -> QueryResult<()> {
        let touched = self.touched.iter().filter_map(|id| self.threads.get(id));
        let touched: Vec<&Thread> = touched.map(|(thread, _)| thread).collect();
        for threads in pieces(&touched) {
            let threads = padded(threads);
            let ids: Vec<Id> = threads.iter().map(|it| it.id).collect();
            let mut change = written("UPDATE `threads` SET `last_message_id` = CASE `id`");
            for it in &threads {
                let last_message = it.last_message_id.unwrap_or_default();
                change = change.sql(WHEN).number(it.id).sql(THEN).number(last_message);
            }
            change = change.sql(" END, `activity` = CASE `id`");
            for it in &threads {
                change = change.sql(WHEN).number(it.id).sql(THEN).number(it.activity);
            }
            change = change.sql(" END, `updated_at` = CASE `id`");
            for it in &threads {
                change = change.sql(WHEN).number(it.id).sql(THEN).moment(it.updated_at);
            }
            change.sql(" END WHERE `id` IN ").numbers(&ids).execute(database)?;
            let mut change = written("UPDATE `participants` SET `activity` = CASE `thread_id`");
            for it in &threads {
                change = change.sql(WHEN).number(it.id).sql(THEN).number(it.activity);
            }
            change.sql(" END WHERE `thread_id` IN ").numbers(&ids).execute(database)?;
        }
        Ok(())
    }

    fn write_unread(&self, database: &mut Database) -> QueryResult<()> {
        let users: BTreeSet<&str> = self.raised.iter().map(|(_, user)| user.as_str()).collect();
        let users: Vec<&User> = users.into_iter().filter_map(|it| self.users.get(it)).collect();
        for users in pieces(&users) {
            let users = padded(users);
            let ids: Vec<&str> = users.iter().map(|it| it.id.as_str()).collect();
            let mut change = written("UPDATE `users` SET `unread_total` = CASE `id`");
            for it in &users {
                change = change.sql(WHEN).text(&it.id).sql(THEN).number(it.unread_total);
            }
            change.sql(" END WHERE `id` IN ").texts(&ids).execute(database)?;
        }
        let raised = self.raised.iter().filter_map(|key| Some((key, self.unread.get(key)?)));
        let raised: Vec<(&(Id, String), &Unread)> = raised.collect();
        for states in portions(&raised) {
            let mut change = written(
                "INSERT INTO `read_states` (`kind`, `reader_id`, `thread_id`, `last_read_message_id`, \
                 `unread_count`, `unread_activity`) VALUES (",
            );
            for (nth, ((thread, user), unread)) in states.iter().enumerate() {
                change = change
                    .sql(if nth == 0 { "" } else { "), (" })
                    .text(ParticipantKind::User.as_str())
                    .sql(", ")
                    .text(user)
                    .sql(", ")
                    .number(*thread)
                    .sql(", 0, ")
                    .number(unread.count)
                    .sql(", ")
                    .maybe_number(unread.activity);
            }
            change
                .sql(match database {
                    #[cfg(feature = "sqlite")]
                    Database::Sqlite(_) => {
                        ") ON CONFLICT (`kind`, `reader_id`, `thread_id`) DO UPDATE SET \
                         `unread_count` = excluded.`unread_count`, \
                         `unread_activity` = excluded.`unread_activity`"
                    }
                    #[cfg(feature = "mysql")]
                    Database::Mysql(_) => {
                        ") ON DUPLICATE KEY UPDATE `unread_count` = VALUES(`unread_count`), \
                         `unread_activity` = VALUES(`unread_activity`)"
                    }
                })
                .execute(database)?;
        }
        Ok(())
    }

    /// A thread and who is in it.
    pub(super) fn thread(&self, id: Id) -> Option<(Thread, Vec<Participant>)> {
        self.threads.get(&id).cloned()
    }

    /// One of those who hear of the posts, or write them.
    pub(super) fn user(&self, id: &str) -> Option<User> {
        self.users.get(id).cloned()
    }

    /// A vendor of one of the threads.
    pub(super) fn vendor(&self, id: &str) -> Option<Vendor> {
        self.vendors.get(id).cloned()
    }

    /// What a user has unread, if the thread is shared.
    pub(super) fn badge_of_user(&self, user: &str, thread: Id) -> Option<Badge> {
        self.threads.get(&thread)?;
        self.users.get(user).map(|user| self.badge(user, thread))
    }

    /// The same of all who act for a vendor that takes part in it.
    pub(super) fn badges_of_vendor(&self, vendor: &str, thread: Id) -> Option<Vec<Badge>> {
        self.threads.get(&thread)?;
        let admins = self.users.values().filter(|it| it.vendor_id.as_deref() == Some(vendor));
        Some(admins.map(|user| self.badge(user, thread)).collect())
    }

    fn badge(&self, user: &User, thread: Id) -> Badge {
        let here = self.unread.get(&(thread, user.id.clone())).map(|it| it.count);
        Badge { user: user.id.clone(), total: user.unread_total, here }
    }

    /// Whether this API key was found to be live.
    pub(super) fn knows_live_key(&self, hash: &str) -> bool {
        self.live_keys.contains(hash)
    }

    /// Notes that it is.
    pub(super) fn note_live_key(&mut self, hash: &str) {
        self.live_keys.insert(hash.to_owned());
    }

    /// Moves a thread to the top; false when it is not shared.
    pub(super) fn touch_thread(
        &mut self,
        id: Id,
        last_message: Id,
        activity: i64,
        now: Timestamp,
    ) -> bool {
        let Some((thread, participants)) = self.threads.get_mut(&id) else { return false };
        thread.last_message_id = Some(last_message);
        thread.activity = activity;
        thread.updated_at = now;
        for participant in participants {
            participant.activity = activity;
        }
        self.touched.insert(id);
        true
    }

    /// Counts one more message; false when the thread or one of these users is not shared.
    pub(super) fn raise_unread(
        &mut self,
        thread: Id,
        author: &str,
        readers: &[Badge],
        activity: i64,
    ) -> bool {
        let is_known = |user: &str| self.users.contains_key(user);
        if !self.threads.contains_key(&thread)
            || !is_known(author)
            || !readers.iter().all(|it| is_known(&it.user))
        {
            return false;
        }
        for reader in readers {
            let key = (thread, reader.user.clone());
            let unread = self.unread.entry(key.clone()).or_default();
            unread.count += 1;
            unread.activity = Some(activity);
            self.raised.insert(key);
            if let Some(user) = self.users.get_mut(&reader.user) {
                user.unread_total += 1;
            }
        }
        // What its author has unread here has moved to the top of the list, too.
        let key = (thread, author.to_owned());
        if let Some(unread) = self.unread.get_mut(&key).filter(|it| it.activity.is_some()) {
            unread.activity = Some(activity);
            self.raised.insert(key);
        }
        true
    }
}

impl Writer<'_> {
    /// To be called by a post before it changes any row but those of every post: what follows finds the rows of the posts
    /// before it in the database.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        let reader = &mut **self;
        if let Some(shared) = &mut reader.shared {
            shared.settle(reader.database)?;
        }
        Ok(())
    }
}
