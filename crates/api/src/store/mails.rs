//! E-mails: who wants which, the queue, and what became of each. Holds references, not texts: a mail is written when
//! it is sent.

use diesel::prelude::*;

use super::connection::on_backend;
use super::schema::{mail_refusals, mails, users};
use super::text_enum::text_enum;
use super::{Id, Reader, StoreError, Timestamp, Writer};

text_enum! {
    /// Which mails a person wants.
    MailChoice {
        /// One for each thread with something new, until it is read again.
        All = "all",
        /// One for everything that is unread, at most once in the digest's time.
        Digest = "digest",
        /// None.
        None = "none",
    }
}

text_enum! {
    /// What a mail is about.
    MailKind {
        /// A conversation that the person did not know of.
        NewThread = "new_thread",
        /// Messages in a conversation.
        NewMessage = "new_message",
        /// Everything that is unread.
        Digest = "digest",
    }
}

text_enum! {
    /// What became of a mail.
    MailState {
        /// To be sent, or to be tried again, when it is due.
        Waiting = "waiting",
        /// Being sent by one of the API nodes.
        Sending = "sending",
        /// The SMTP server has taken it.
        Sent = "sent",
        /// Not needed any more; the reason says why.
        Skipped = "skipped",
        /// Given up; the reason says why.
        Failed = "failed",
    }
}

/// One mail of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable, AsChangeset)]
#[diesel(table_name = mails, treat_none_as_null = true)]
pub struct Mail {
    /// Its number.
    pub id: Id,
    /// To whom.
    pub user_id: String,
    /// The thread; none of a digest.
    pub thread_id: Option<Id>,
    /// What it is about.
    pub kind: MailKind,
    /// What became of it.
    pub state: MailState,
    /// The message that caused it; later ones are gathered.
    pub first_message_id: Id,
    /// The last message it told of, once it was sent.
    pub last_message_id: Option<Id>,
    /// How far the person had read when it was sent; none once the person has answered since.
    pub read_position: Option<Id>,
    /// When to send it, or to try again; while it is being sent, when that may be taken for lost.
    pub due_at: Timestamp,
    /// The API node that is sending it.
    pub claimed_by: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it was skipped, or what went wrong last.
    pub reason: Option<String>,
    /// When it was put into the queue.
    pub created_at: Timestamp,
    /// When it was sent, skipped or given up.
    pub ended_at: Option<Timestamp>,
}

/// A mail to be queued.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = mails)]
pub struct NewMail {
    pub user_id: String,
    pub thread_id: Option<Id>,
    pub kind: MailKind,
    pub state: MailState,
    pub first_message_id: Id,
    pub due_at: Timestamp,
    pub attempts: i32,
    pub created_at: Timestamp,
}

/// Which mails are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFilter {
    /// What became of them.
    pub state: Option<MailState>,
    /// To whom.
    pub user_id: Option<String>,
    /// About which thread.
    pub thread_id: Option<Id>,
    /// Only those with a lower number: the rest of a list.
    pub below: Option<Id>,
}

/// How many mails stand in the queue, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailQueue {
    /// To be sent, or to be tried again.
    pub waiting: i64,
    /// Being sent.
    pub sending: i64,
    /// Given up, and not forgotten yet.
    pub failed: i64,
    /// For how many seconds the oldest of those that wait could have been sent.
    pub overdue_seconds: i64,
}

impl Reader<'_> {
    /// How many mails stand in the queue.
    pub(crate) fn mail_queue(&mut self, now: Timestamp) -> Result<MailQueue, StoreError> {
        let mut count = |state: MailState| {
            let mails = mails::table.filter(mails::state.eq(state));
            mails.count().get_result::<i64>(self.database)
        };
        let (waiting, sending) = (count(MailState::Waiting)?, count(MailState::Sending)?);
        let failed = count(MailState::Failed)?;
        let due = self.due_mails(now, 1)?.pop().map(|mail| (now - mail.due_at).num_seconds());
        Ok(MailQueue { waiting, sending, failed, overdue_seconds: due.unwrap_or(0) })
    }

    /// One mail.
    pub(crate) fn mail(&mut self, id: Id) -> Result<Option<Mail>, StoreError> {
        Ok(mails::table.find(id).select(Mail::as_select()).first(self.database).optional()?)
    }

    /// The last mail to a person about a thread; without one the last digest.
    pub(crate) fn last_mail(
        &mut self,
        user: &str,
        thread: Option<Id>,
    ) -> Result<Option<Mail>, StoreError> {
        let query = mails::table.filter(mails::user_id.eq(user)).into_boxed();
        let query = match thread {
            Some(thread) => query.filter(mails::thread_id.eq(thread)),
            None => query.filter(mails::thread_id.is_null()),
        };
        Ok(query
            .order(mails::id.desc())
            .select(Mail::as_select())
            .first(self.database)
            .optional()?)
    }

    /// Mails whose time has come, the oldest first; also those that were being sent and are taken for lost.
    pub(crate) fn due_mails(
        &mut self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Mail>, StoreError> {
        let mut due = Vec::new();
        for state in [MailState::Waiting, MailState::Sending] {
            due.extend(
                mails::table
                    .filter(mails::state.eq(state))
                    .filter(mails::due_at.le(now))
                    .order(mails::due_at)
                    .limit(limit)
                    .select(Mail::as_select())
                    .load::<Mail>(self.database)?,
            );
        }
        due.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(due)
    }

    /// Whether an address, known by its hash, wants no mail.
    pub(crate) fn refuses_mail(&mut self, address_hash: &str) -> Result<bool, StoreError> {
        let found = mail_refusals::table.find(address_hash).count();
        Ok(found.get_result::<i64>(self.database)? > 0)
    }

    /// Mails, the newest first.
    pub(crate) fn list_mails(
        &mut self,
        filter: &MailFilter,
        limit: i64,
    ) -> Result<Vec<Mail>, StoreError> {
        let mut query = mails::table.into_boxed();
        if let Some(state) = filter.state {
            query = query.filter(mails::state.eq(state));
        }
        if let Some(user) = &filter.user_id {
            query = query.filter(mails::user_id.eq(user));
        }
        if let Some(thread) = filter.thread_id {
            query = query.filter(mails::thread_id.eq(thread));
        }
        if let Some(below) = filter.below {
            query = query.filter(mails::id.lt(below));
        }
        Ok(query
            .order(mails::id.desc())
            .limit(limit)
            .select(Mail::as_select())
            .load(self.database)?)
    }
}

impl Writer<'_> {
    /// Queues a mail.
    pub(crate) fn insert_mail(&mut self, mail: &NewMail) -> Result<(), StoreError> {
        diesel::insert_into(mails::table).values(mail).execute(self.database)?;
        Ok(())
    }

    /// Stores what became of a mail.
    pub(crate) fn save_mail(&mut self, mail: &Mail) -> Result<(), StoreError> {
        diesel::update(mails::table.find(mail.id)).set(mail).execute(self.database)?;
        Ok(())
    }

    /// Puts back what this node was sending when it was stopped; tells how many.
    pub(crate) fn release_mails(
        &mut self,
        node: &str,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        Ok(diesel::update(
            mails::table
                .filter(mails::state.eq(MailState::Sending))
                .filter(mails::claimed_by.eq(node)),
        )
        .set((
            mails::state.eq(MailState::Waiting),
            mails::due_at.eq(now),
            mails::claimed_by.eq(None::<String>),
        ))
        .execute(self.database)?)
    }

    /// Forgets up to `limit` mails that ended before that moment; tells how many.
    pub(crate) fn prune_mails(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let old: Vec<Id> = mails::table
            .filter(mails::ended_at.lt(before))
            .order(mails::ended_at)
            .limit(limit)
            .select(mails::id)
            .load(self.database)?;
        if old.is_empty() {
            return Ok(0);
        }
        Ok(diesel::delete(mails::table.filter(mails::id.eq_any(&old))).execute(self.database)?)
    }

    /// Notes that an address wants no mail.
    pub(crate) fn refuse_mail(
        &mut self,
        address_hash: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let row = (mail_refusals::address_hash.eq(address_hash), mail_refusals::refused_at.eq(now));
        on_backend!(&mut *self.database, connection => {
            diesel::insert_or_ignore_into(mail_refusals::table).values(row).execute(connection)?;
            Ok(())
        })
    }

    /// Forgets that an address wants no mail.
    pub(crate) fn allow_mail(&mut self, address_hash: &str) -> Result<(), StoreError> {
        diesel::delete(mail_refusals::table.find(address_hash)).execute(self.database)?;
        Ok(())
    }

    /// Notes which mails a person wants.
    pub(crate) fn set_mail_choice(
        &mut self,
        user: &str,
        choice: MailChoice,
    ) -> Result<(), StoreError> {
        diesel::update(users::table.find(user))
            .set(users::mail_choice.eq(choice))
            .execute(self.database)?;
        Ok(())
    }
}
