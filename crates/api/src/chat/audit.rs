//! The log of what staff did: written in the same commit as the thing itself, read by those who answer for the staff.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Caller, ChatError, Context, Credentials, messages};
use crate::store::{AuditEntry, AuditFilter, Id, NewAuditEntry, Reader, Writer};

/// Names of what is noted; they never change.
pub(crate) mod action {
    pub(crate) const ORIGINAL_READ: &str = "message.original_read";
    pub(crate) const HISTORY_READ: &str = "message.history_read";
    pub(crate) const MESSAGE_DELETED: &str = "message.deleted";
    pub(crate) const WORD_CREATED: &str = "forbidden_word.created";
    pub(crate) const WORD_CHANGED: &str = "forbidden_word.changed";
    pub(crate) const WORD_DELETED: &str = "forbidden_word.deleted";
    pub(crate) const WORDS_IMPORTED: &str = "forbidden_words.imported";
    pub(crate) const USER_ERASED: &str = "user.erased";
    pub(crate) const USER_EXPORTED: &str = "user.exported";
    pub(crate) const RIGHTS_CHANGED: &str = "user.rights_changed";
    pub(crate) const VENDOR_CHANGED: &str = "vendor.changed";
    pub(crate) const THREAD_CLOSED: &str = "thread.closed";
    pub(crate) const THREAD_REOPENED: &str = "thread.reopened";
    pub(crate) const WEBHOOK_CREATED: &str = "webhook.created";
    pub(crate) const WEBHOOK_CHANGED: &str = "webhook.changed";
    pub(crate) const WEBHOOK_DELETED: &str = "webhook.deleted";
    pub(crate) const WEBHOOK_SECRET_ROTATED: &str = "webhook.secret_rotated";
    pub(crate) const WEBHOOK_REPLAYED: &str = "webhook.replayed";
    pub(crate) const TEMPLATE_CHANGED: &str = "mail_template.changed";
    pub(crate) const TEMPLATE_RESET: &str = "mail_template.reset";
    pub(crate) const MAIL_RETRIED: &str = "mail.retried";
    pub(crate) const API_KEY_CREATED: &str = "api_key.created";
    pub(crate) const API_KEY_REVOKED: &str = "api_key.revoked";
    pub(crate) const SETTING_CHANGED: &str = "setting.changed";
}

/// One thing that was done.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "id": 7, "actor_id": "2", "action": "message.original_read", "target": "message:42",
        "data": null, "request_id": "9f2c61d0a4b8e7f35c1d2e3f4a5b6c7d", "at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct AuditView {
    /// Its number; later things have higher ones.
    #[schema(value_type = i64, example = 7)]
    pub id: Id,
    /// The user who did it; null: the shop's backend as itself.
    #[schema(required = true)]
    pub actor_id: Option<String>,
    /// What was done.
    #[schema(example = "message.original_read")]
    pub action: String,
    /// What to.
    #[schema(example = "message:42")]
    pub target: String,
    /// More about it.
    #[schema(required = true, value_type = Option<Object>)]
    pub data: Option<serde_json::Value>,
    /// The id under which the logs know the call.
    pub request_id: String,
    /// When.
    #[serde(with = "chaffer_shared::time")]
    pub at: DateTime<Utc>,
}

/// A page of the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditView>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "7")]
    pub next_cursor: Option<String>,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            actor_id: entry.actor_id,
            action: entry.action,
            target: entry.target,
            data: entry.data.and_then(|data| serde_json::from_str(&data).ok()),
            request_id: entry.request_id,
            at: entry.at.and_utc(),
        }
    }
}

/// A user as a target.
pub(crate) fn user(id: &str) -> String {
    format!("user:{id}")
}

/// Notes what the caller does.
pub(crate) fn note(
    writer: &mut Writer<'_>,
    caller: &Caller,
    context: &Context,
    action: &'static str,
    target: String,
    data: Option<serde_json::Value>,
) -> Result<(), ChatError> {
    let entry = NewAuditEntry {
        actor_id: caller.user_id().map(str::to_owned),
        action,
        target,
        data,
        request_id: context.request_id.clone(),
        at: context.timestamp(),
    };
    Ok(writer.note(entry)?)
}

/// A page of the log, for the shop's backend and root administrators.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn list(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    filter: &AuditFilter,
    limit: i64,
) -> Result<AuditPage, ChatError> {
    Caller::resolve(reader, credentials)?.require_root()?;
    let mut entries = reader.audit_entries(filter, limit + 1)?;
    let more = messages::cut(&mut entries, limit);
    let next_cursor = entries.last().filter(|_| more).map(|entry| entry.id.to_string());
    Ok(AuditPage { entries: entries.into_iter().map(Into::into).collect(), next_cursor })
}
