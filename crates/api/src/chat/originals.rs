//! What somebody wrote where readers see `***` (R11): for administrators alone, and noted each time.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::audit::{self, action};
use super::{Caller, ChatError, Context, Credentials, Refusal, rights};
use crate::store::{Id, Role, Writer};

/// A message as it was written.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "message_id": 42, "thread_id": 12, "text": "Write to anna@example.com",
        "masked_text": "Write to ***", "created_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct OriginalView {
    /// The message.
    #[schema(value_type = i64, example = 42)]
    pub message_id: Id,
    /// The thread.
    #[schema(value_type = i64, example = 12)]
    pub thread_id: Id,
    /// Every byte as it was sent.
    #[schema(example = "Write to anna@example.com")]
    pub text: String,
    /// As everybody else sees it.
    #[schema(example = "Write to ***")]
    pub masked_text: String,
    /// When it was written.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
}

/// Shows an original, and notes who looked.
///
/// # Errors
/// Why the caller may not, or [`Refusal::OriginalNotFound`].
pub(crate) fn get(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    message: Id,
) -> Result<OriginalView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    // A person, also where the shop's backend asks: the log has to say who looked.
    let person = caller.person()?;
    rights::require_messages(person)?;
    if person.role != Role::Admin {
        return Err(Refusal::NotAllowed.into());
    }
    let original = writer.original(message)?.ok_or(Refusal::OriginalNotFound)?;
    let masked = writer.messages(&[message])?.pop().ok_or(Refusal::OriginalNotFound)?;
    let target = format!("message:{message}");
    audit::note(writer, &caller, context, action::ORIGINAL_READ, target, None)?;
    Ok(OriginalView {
        message_id: message,
        thread_id: masked.thread_id,
        text: original.text,
        masked_text: masked.text,
        created_at: original.created_at.and_utc(),
    })
}
