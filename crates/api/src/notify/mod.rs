//! E-mails about messages (R4, R6, R12, B11): a consumer of the stored events with a cursor of its own.
//!
//! ```text
//! events ──gather──▶ mails (the queue, in the database) ──letter, templates──▶ smtp ──▶ the shop's mail server
//!                                                                                          │
//!            a message in the thread ◀──inbound, quoting── POST /v1/mail/inbound, mail-in ◀┘
//! ```
//!
//! One task gathers, another one sends. A mail is claimed in the database before it is sent and noted afterwards: a node that
//! dies in between sends again what it had claimed, with the same Message-Id, so that nothing is lost.

pub mod addresses;
pub mod admin;
pub mod inbound;
pub mod letter;
pub mod preferences;
pub mod settings;
pub mod templates;

mod flowed;
mod gather;
mod quoting;
mod smtp;

use std::sync::Arc;
use std::time::Duration;

use chaffer_shared::event::EventId;
use chaffer_shared::metrics::{Counter, Text};
use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::letter::Prepared;
use self::settings::MailSettings;
use self::smtp::{NotSent, Transport};
use crate::presence::SideDoor;
use crate::store::{Mail, MailQueue, MailState, Store, StoreError};

pub use smtp::connect;

/// How often the queue is looked at without anything having happened.
const TICK: Duration = Duration::from_secs(1);
/// After which time a mail that is being sent is taken for lost with its node; longer than sending can take.
const CLAIM: TimeDelta = TimeDelta::minutes(5);
/// The longest wait between two attempts.
const MAX_WAIT: TimeDelta = TimeDelta::hours(4);
/// How long mails that are being sent may go on after the signal to stop.
const STOPPING: Duration = Duration::from_secs(3);

/// What was sent since the start, for the metrics.
#[derive(Debug, Default)]
pub struct MailCounters {
    /// Taken by the SMTP server.
    pub sent: Counter,
    /// Not needed any more.
    pub skipped: Counter,
    /// Attempts that failed and are made again.
    pub retried: Counter,
    /// Given up.
    pub failed: Counter,
}

impl MailCounters {
    /// With what stands in the queue, where the database told it.
    pub fn render(&self, text: &mut Text, queue: Option<&MailQueue>) {
        let name = "chaffer_api_mails_total";
        text.metric(name, "counter", "E-mails that this node has done with.");
        for (outcome, count) in
            [("sent", &self.sent), ("skipped", &self.skipped), ("failed", &self.failed)]
        {
            text.value(name, &[("outcome", outcome)], count.get());
        }
        let name = "chaffer_api_mail_retries_total";
        text.counter(name, "Attempts to send that failed and are made again.", &self.retried);
        let Some(queue) = queue else { return };
        let name = "chaffer_api_mail_queue_mails";
        text.metric(name, "gauge", "E-mails in the database: to be sent, being sent, given up.");
        for (state, count) in
            [("waiting", queue.waiting), ("sending", queue.sending), ("failed", queue.failed)]
        {
            text.value(name, &[("state", state)], count);
        }
        let name = "chaffer_api_mail_overdue_seconds";
        let help =
            "For how long the oldest e-mail that waits could have been sent; 0 when none is due.";
        text.gauge(name, help, queue.overdue_seconds);
    }
}

/// Sends mails.
#[derive(Clone)]
pub struct Mailer {
    store: Store,
    settings: Arc<MailSettings>,
    transport: Transport,
    side_door: SideDoor,
    /// The name of this API node.
    node: String,
    counters: Arc<MailCounters>,
    /// Something may be due.
    queued: Arc<Notify>,
}

impl Mailer {
    /// A mailer that does not run yet.
    #[must_use]
    pub fn new(
        store: Store,
        settings: Arc<MailSettings>,
        transport: Transport,
        side_door: SideDoor,
        node: &str,
        counters: Arc<MailCounters>,
    ) -> Self {
        let queued = Arc::new(Notify::new());
        Self { store, settings, transport, side_door, node: node.to_owned(), counters, queued }
    }

    /// Gathers until it is told to stop.
    pub async fn gather(self, stop: CancellationToken) {
        // Listen first and look then, so that nothing commits in between unseen.
        let mut commits = self.store.subscribe();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut position = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                commit = commits.recv() => match commit {
                    Ok(_) | Err(RecvError::Lagged(_)) => while commits.try_recv().is_ok() {},
                    Err(RecvError::Closed) => return,
                },
            }
            match self.gather_after(position).await {
                Ok(next) => position = next,
                Err(error) => {
                    tracing::warn!(%error, "cannot queue mails; trying again");
                    sleep(TICK).await;
                }
            }
        }
    }

    async fn gather_after(&self, mut position: EventId) -> Result<EventId, StoreError> {
        loop {
            let seen = self.store.read(move |reader| gather::peek(reader, position)).await?;
            let gathered = match seen {
                Some(nothing) => nothing,
                None => {
                    let gathered = self
                        .store
                        .write(|writer| gather::gather(writer, chaffer_shared::time::now()))
                        .await?;
                    self.queued.notify_one();
                    gathered
                }
            };
            position = gathered.position;
            if !gathered.more {
                return Ok(position);
            }
        }
    }

    /// Sends until it is told to stop.
    pub async fn send(self, stop: CancellationToken) {
        let node = self.node.clone();
        let release = move |writer: &mut crate::store::Writer<'_>| {
            writer.release_mails(&node, chaffer_shared::time::now().naive_utc())
        };
        while let Err(error) = self.store.write(release.clone()).await {
            tracing::warn!(%error, "cannot take up the mails of the last run; trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                () = self.queued.notified() => {}
            }
            loop {
                let sent = tokio::select! {
                    sent = self.send_due() => sent,
                    () = async { stop.cancelled().await; sleep(STOPPING).await } => return,
                };
                match sent {
                    Ok(0) => break,
                    Ok(_) if stop.is_cancelled() => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot look for mails that are due; trying again");
                        break;
                    }
                }
            }
        }
    }

    /// Sends as many due mails as can be sent at once; tells how many those were.
    async fn send_due(&self) -> Result<usize, StoreError> {
        let limit = i64::try_from(self.settings.connections).unwrap_or(1);
        let now = || chaffer_shared::time::now().naive_utc();
        // Most looks find nothing, and need not disturb the writer.
        if self.store.read(move |reader| reader.due_mails(now(), 1)).await?.is_empty() {
            return Ok(0);
        }
        let node = self.node.clone();
        let claimed = self
            .store
            .write(move |writer| {
                let now = now();
                let mut due = writer.due_mails(now, limit)?;
                for mail in &mut due {
                    mail.state = MailState::Sending;
                    mail.claimed_by = Some(node.clone());
                    mail.due_at = now + CLAIM;
                    mail.attempts += 1;
                    writer.save_mail(mail)?;
                }
                Ok::<_, StoreError>(due)
            })
            .await?;
        let count = claimed.len();
        futures_util::future::join_all(claimed.into_iter().map(|mail| self.handle(mail))).await;
        Ok(count)
    }

    /// Deals with one mail that is claimed.
    async fn handle(&self, mail: Mail) {
        let after = match self.attempt(&mail).await {
            Ok(after) => after,
            Err(error) => {
                tracing::warn!(mail = mail.id, %error, "cannot prepare a mail; trying again");
                self.after_failure(
                    mail,
                    &NotSent {
                        reason: "the database did not answer".into(),
                        status: None,
                        is_final: false,
                    },
                )
            }
        };
        self.note(after).await;
    }

    /// What a mail is after an attempt.
    async fn attempt(&self, mail: &Mail) -> Result<Mail, StoreError> {
        let (settings, wanted) = (Arc::clone(&self.settings), mail.clone());
        let prepare = move |reader: &mut crate::store::Reader<'_>| {
            letter::prepare(reader, &settings, &wanted, chaffer_shared::time::now())
        };
        let now = chaffer_shared::time::now().naive_utc();
        let ended = |state: MailState, reason: Option<&str>| Mail {
            state,
            reason: reason.map(str::to_owned),
            claimed_by: None,
            ended_at: Some(now),
            ..mail.clone()
        };
        let ready = match self.store.read(prepare).await? {
            Prepared::Send(ready) => ready,
            Prepared::Skip(reason) => {
                self.counters.skipped.increment();
                return Ok(ended(MailState::Skipped, Some(reason)));
            }
            Prepared::ToDigest => {
                let (user, message) = (mail.user_id.clone(), mail.first_message_id);
                self.store
                    .write(move |writer| {
                        let settings = crate::chat::settings::read(writer)?;
                        gather::for_digest(writer, &settings, message, &user, now)
                    })
                    .await?;
                return Ok(ended(MailState::Skipped, Some("digest")));
            }
        };
        if gather::may_be_looking(mail, &ready, now) && self.is_online(&mail.user_id).await {
            return Ok(Mail {
                state: MailState::Waiting,
                due_at: mail.created_at + gather::LOOKING,
                claimed_by: None,
                attempts: mail.attempts - 1,
                ..mail.clone()
            });
        }
        let sent = match smtp::message(&self.settings, mail, &ready) {
            Ok(message) => smtp::send(&self.transport, message).await,
            Err(error) => Err(error),
        };
        Ok(match sent {
            Ok(()) => {
                self.counters.sent.increment();
                tracing::debug!(mail = mail.id, kind = mail.kind.as_str(), "sent a mail");
                Mail {
                    last_message_id: ready.last_message,
                    read_position: Some(ready.read_position),
                    ended_at: Some(chaffer_shared::time::now().naive_utc()),
                    ..ended(MailState::Sent, None)
                }
            }
            Err(error) => self.after_failure(mail.clone(), &error),
        })
    }

    async fn is_online(&self, user: &str) -> bool {
        // When nobody knows, the mail is sent.
        let answer = self.side_door.presence(&[user.to_owned()]).await;
        answer.is_ok_and(|users| users.iter().any(|user| user.online))
    }

    /// Tries again later, each time after twice the time, or gives up where all can see it.
    fn after_failure(&self, mail: Mail, error: &NotSent) -> Mail {
        let now = chaffer_shared::time::now().naive_utc();
        let reason = Some(error.reason.clone());
        let status = error.status.as_deref().unwrap_or("none");
        if error.is_final || mail.attempts >= self.settings.max_attempts {
            self.counters.failed.increment();
            tracing::error!(
                mail = mail.id,
                attempts = mail.attempts,
                smtp.status = status,
                "gave a mail up; GET /v1/mails?state=failed says why"
            );
            return Mail {
                state: MailState::Failed,
                reason,
                claimed_by: None,
                ended_at: Some(now),
                ..mail
            };
        }
        self.counters.retried.increment();
        tracing::warn!(
            mail = mail.id,
            attempts = mail.attempts,
            smtp.status = status,
            "a mail was not taken; trying again later"
        );
        let due_at = now + backoff(self.settings.retry, mail.attempts);
        Mail { state: MailState::Waiting, reason, claimed_by: None, due_at, ..mail }
    }

    /// Stores what became of a mail. A mail that was sent and is not noted would be sent again, so it takes its time.
    async fn note(&self, mail: Mail) {
        for attempt in 1_u32.. {
            let kept = mail.clone();
            let saved = self.store.write(move |writer| writer.save_mail(&kept)).await;
            let Err(error) = saved else { return };
            tracing::warn!(mail = mail.id, %error, "cannot note what became of a mail");
            if attempt >= 60 {
                return;
            }
            sleep(TICK).await;
        }
    }
}

/// How long to wait after so many attempts: doubled each time, and a little different for each.
fn backoff(first: TimeDelta, attempts: i32) -> TimeDelta {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(16);
    let wait = (first * 2_i32.saturating_pow(doublings)).min(MAX_WAIT);
    wait + wait * rand::random_range(0..=20) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let seconds = |attempts| backoff(TimeDelta::seconds(30), attempts).num_seconds();
        assert!((30..=36).contains(&seconds(1)));
        assert!((60..=72).contains(&seconds(2)));
        assert!((14_400..=17_280).contains(&seconds(1000)));
        assert_eq!(backoff(TimeDelta::zero(), 5), TimeDelta::zero());
    }
}
