//! How long what is kept (B6): one set of moments, which the job that forgets (`retention.rs`) and the call that says what
//! would go both ask for.

use chaffer_shared::config::Config;
use chaffer_shared::topic;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::settings::{self, Settings};
use super::{Caller, ChatError, Context, Credentials, rights};
use crate::search::indexer;
use crate::store::{Aged, Id, Reader, StoreError, Timestamp, Writer};

/// A century: longer is for ever.
pub(crate) const MAX_DAYS: i64 = 36_500;
/// Messages that one commit forgets.
const MESSAGES: i64 = 200;

/// The times that stand in the configuration file.
#[derive(Debug, Clone, Copy)]
pub struct MachineDays {
    events: i64,
    mails: i64,
}

impl MachineDays {
    /// Reads them.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let days = |days: u32| i64::from(days).clamp(1, MAX_DAYS);
        // What became of a mail is known for at least as long as it can be answered.
        let mails = config.mail.keep_days.max(config.mail.reply_days);
        Self { events: days(config.api.event_days), mails: days(mails) }
    }
}

/// Times to be tried instead of those that are set; absent: as set.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrialDays {
    pub threads: Option<i64>,
    pub audit_log: Option<i64>,
}

/// One kind of what is kept, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) aged: Aged,
    kind: &'static str,
    setting: Option<&'static str>,
    /// 0: for ever.
    days: i64,
}

impl Term {
    /// What is from before this moment goes; `None`: it stays for ever.
    pub(crate) fn before(&self, now: Timestamp) -> Option<Timestamp> {
        let days = (1..=MAX_DAYS).contains(&self.days).then_some(self.days)?;
        now.checked_sub_signed(TimeDelta::days(days))
    }
}

/// All kinds, in the order in which they are shown and forgotten.
pub(crate) fn terms(
    reader: &mut Reader<'_>,
    machine: MachineDays,
    trial: TrialDays,
) -> Result<Vec<Term>, StoreError> {
    let Settings { retention_thread_days, retention_audit_days, .. } = settings::read(reader)?;
    let term = |aged, kind, setting, days| Term { aged, kind, setting: Some(setting), days };
    Ok(vec![
        term(
            Aged::Threads,
            "threads",
            "retention_thread_days",
            trial.threads.unwrap_or(retention_thread_days),
        ),
        term(
            Aged::AuditLog,
            "audit_log",
            "retention_audit_days",
            trial.audit_log.unwrap_or(retention_audit_days),
        ),
        term(Aged::Events, "events", "api.event_days", machine.events),
        term(Aged::WebhookDeliveries, "webhook_deliveries", "api.event_days", machine.events),
        term(Aged::Mails, "mails", "mail.keep_days", machine.mails),
        Term { aged: Aged::FirstAnswers, kind: "first_answers", setting: None, days: 1 },
    ])
}

/// One kind of what is kept for a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "kind": "threads", "setting": "retention_thread_days", "days": 730,
    "before": "2024-03-01T09:30:00.000Z", "would_go": 12, "oldest": "2023-11-05T17:02:11.000Z"
}))]
pub struct RetentionView {
    /// `threads` in which nothing was written (with their messages), `audit_log`, `events`, `webhook_deliveries`, `mails` (what
    /// became of them), `first_answers` (to calls with an `Idempotency-Key`).
    #[schema(example = "threads")]
    pub kind: &'static str,
    /// The setting with the time: of the shop, or, with a dot, of the configuration file; null: it is fixed.
    #[schema(required = true)]
    pub setting: Option<&'static str>,
    /// For how many days it is kept; 0: for ever.
    pub days: i64,
    /// What is from before this moment goes; null: nothing does.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub before: Option<DateTime<Utc>>,
    /// How many would go now.
    pub would_go: i64,
    /// From when the oldest is; null: there is none.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub oldest: Option<DateTime<Utc>>,
}

/// What is kept how long, and what would go.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Retention {
    /// Each kind.
    pub kinds: Vec<RetentionView>,
}

/// Says what would be forgotten now, and forgets nothing; for the shop's backend and those who manage messages.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn dry_run(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    context: &Context,
    machine: MachineDays,
    trial: TrialDays,
) -> Result<Retention, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let mut kinds = Vec::new();
    for term in terms(reader, machine, trial)? {
        let before = term.before(context.timestamp());
        let (oldest, would_go) = reader.aged(term.aged, before)?;
        kinds.push(RetentionView {
            kind: term.kind,
            setting: term.setting,
            days: term.days,
            before: before.map(|at| at.and_utc()),
            would_go,
            oldest: oldest.map(|at| at.and_utc()),
        });
    }
    Ok(Retention { kinds })
}

/// Forgets a thread in which nothing was written since that moment, or the next piece of a long one; tells whether it is gone.
///
/// # Errors
/// The store's own.
pub(crate) fn forget_thread(
    writer: &mut Writer<'_>,
    thread: Id,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // Somebody may have written in it meanwhile, or another node have forgotten it.
    if !writer.is_idle(thread, before)? {
        return Ok(true);
    }
    let mut messages = writer.messages_after(thread, 0, MESSAGES)?;
    let is_rest = i64::try_from(messages.len()).is_ok_and(|count| count < MESSAGES);
    let count = indexer::forget(writer, &messages)?;
    let is_all = is_rest && count == messages.len();
    messages.truncate(count);
    writer.forget_messages(&messages, now)?;
    if !is_all {
        return Ok(false);
    }
    let participants = writer.participants(&[thread])?;
    writer.forget_thread(thread)?;
    // A visitor has nothing but its threads.
    for it in participants.iter().filter(|it| topic::is_visitor(&it.participant_id)) {
        if writer.threads_joined(&it.participant_id)?.is_empty() {
            writer.forget_visitor(&it.participant_id)?;
        }
    }
    Ok(true)
}
