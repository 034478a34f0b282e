//! What a restored shop has told already. A backup holds mails that waited and webhooks' deliveries that were pending; by
//! the time it is restored they may have gone out.
//!
//! The database that is replaced knows, where it is the same shop's: what it says of the same mail or delivery holds. Of the
//! others nobody knows. Deliveries are made: a receiver tells a repetition by its id. Mails are sent when they were due
//! shortly before, as after a move to another machine; those that were due long before are given up, where staff see them
//! and can have them sent, since a running shop has sent them.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::connection::Database;
use super::mails::{Mail, MailState};
use super::schema::{mails, webhook_deliveries as deliveries};
use super::webhooks::{Delivery, DeliveryState};
use super::{Id, StoreError, Timestamp};

/// How long a mail may have been due before a restore and still be sent: a move takes less, and who restores after a
/// disaster rarely has a younger backup.
const DUE_SINCE: TimeDelta = TimeDelta::hours(1);
/// Why a mail is given up.
const REASON: &str = "restored from a backup: it may have been sent since; retry sends it";
/// Rows that are looked up at once.
const ROWS: usize = 500;

/// What the database that is replaced knows of what waits in the backup.
#[derive(Default)]
pub(super) struct Told {
    mails: Vec<Mail>,
    deliveries: Vec<Delivery>,
}

impl Told {
    /// Compares the two, before anything is replaced.
    pub(super) fn find(from: &mut Database, to: &mut Database) -> Result<Self, StoreError> {
        let mut told = Self { mails: Vec::new(), deliveries: Vec::new() };
        let waiting: Vec<Mail> = mails::table
            .filter(mails::state.eq_any([MailState::Waiting, MailState::Sending]))
            .select(Mail::as_select())
            .load(from)?;
        for waiting in waiting.chunks(ROWS) {
            let ids: Vec<Id> = waiting.iter().map(|mail| mail.id).collect();
            let mut known: Vec<Mail> =
                mails::table.filter(mails::id.eq_any(&ids)).select(Mail::as_select()).load(to)?;
            known.retain(|known| waiting.iter().any(|mail| is_same_mail(mail, known)));
            told.mails.extend(known);
        }
        let pending: Vec<Delivery> = deliveries::table
            .filter(deliveries::state.eq(DeliveryState::Pending))
            .select(Delivery::as_select())
            .load(from)?;
        for pending in pending.chunks(ROWS) {
            let ids: Vec<Id> = pending.iter().map(|delivery| delivery.id).collect();
            let mut known: Vec<Delivery> = deliveries::table
                .filter(deliveries::id.eq_any(&ids))
                .select(Delivery::as_select())
                .load(to)?;
            known.retain(|known| pending.iter().any(|delivery| is_same_delivery(delivery, known)));
            told.deliveries.extend(known);
        }
        Ok(told)
    }

    /// Notes it in what has been restored; tells how many mails nobody knows enough of to send them.
    pub(super) fn note(&self, to: &mut Database, now: Timestamp) -> Result<usize, StoreError> {
        let long_due = || {
            mails::table
                .filter(mails::state.eq_any([MailState::Waiting, MailState::Sending]))
                .filter(mails::due_at.lt(now - DUE_SINCE))
        };
        let given_up: Vec<Id> = long_due().select(mails::id).load(to)?;
        diesel::update(long_due())
            .set((
                mails::state.eq(MailState::Failed),
                mails::reason.eq(REASON),
                mails::claimed_by.eq(None::<String>),
                mails::ended_at.eq(now),
            ))
            .execute(to)?;
        for mail in &self.mails {
            diesel::update(mails::table.find(mail.id)).set(mail).execute(to)?;
        }
        for delivery in &self.deliveries {
            diesel::update(deliveries::table.find(delivery.id))
                .set((
                    deliveries::state.eq(delivery.state),
                    deliveries::attempts.eq(&delivery.attempts),
                    deliveries::tries.eq(delivery.tries),
                    deliveries::next_attempt_at.eq(delivery.next_attempt_at),
                ))
                .execute(to)?;
        }
        let known: std::collections::HashSet<Id> = self.mails.iter().map(|mail| mail.id).collect();
        Ok(given_up.iter().filter(|id| !known.contains(id)).count())
    }
}

fn is_same_mail(one: &Mail, other: &Mail) -> bool {
    let name = |it: &Mail| (it.id, it.thread_id, it.created_at);
    name(one) == name(other) && one.user_id == other.user_id
}

fn is_same_delivery(one: &Delivery, other: &Delivery) -> bool {
    one.id == other.id && one.webhook_id == other.webhook_id && one.message_id == other.message_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Fresh, databases};
    use crate::store::{MailKind, NewMail};

    fn states(shop: &mut Fresh) -> Vec<MailState> {
        let ids = 1..=3;
        shop.read(|reader| ids.map(|id| reader.mail(id).unwrap().unwrap().state).collect())
    }

    #[test]
    fn b11_a_restored_shop_mails_nothing_twice_and_forgets_no_mail() {
        let now = chaffer_shared::time::now().naive_utc();
        let folder = tempfile::tempdir().unwrap();
        for (mut shop, mut elsewhere) in databases().into_iter().zip(databases()) {
            let mut queue = |user: &str, hours: i64| {
                let mail = NewMail {
                    user_id: user.into(),
                    thread_id: None,
                    kind: MailKind::Digest,
                    state: MailState::Waiting,
                    first_message_id: 1,
                    due_at: now - TimeDelta::hours(hours),
                    attempts: 0,
                    created_at: now - TimeDelta::hours(hours),
                };
                shop.write(|writer| writer.insert_mail(&mail)).unwrap();
            };
            queue("sent since the backup", 2);
            queue("due just now", 0);
            queue("still waiting", 2);
            let path = folder.path().join(format!("{}.db", shop.is_sqlite()));
            shop.url.back_up(&path).unwrap();
            let mut sent = shop.read(|reader| reader.mail(1)).unwrap().unwrap();
            sent.state = MailState::Sent;
            shop.write(|writer| writer.save_mail(&sent)).unwrap();

            // The shop's own database knows.
            let report = shop.url.restore(&path, true, now).unwrap();
            assert_eq!(report.mails_given_up, 0);
            assert_eq!(
                states(&mut shop),
                [MailState::Sent, MailState::Waiting, MailState::Waiting]
            );

            // Another one does not: what was long due is left to the staff.
            let report = elsewhere.url.restore(&path, false, now).unwrap();
            assert_eq!(report.mails_given_up, 2);
            let expected = [MailState::Failed, MailState::Waiting, MailState::Failed];
            assert_eq!(states(&mut elsewhere), expected);
        }
    }
}
