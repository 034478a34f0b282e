//! Changing and taking back what was written (B2): by its author, for a time; and by administrators who manage messages, who
//! may take anything back. What it said before is theirs alone to see, and each look is noted.

use chaffer_shared::event::name;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{self, action};
use super::rights::{self, Seen};
use super::screening::{self, WordList};
use super::validate::Problems;
use super::views::MessageView;
use super::{
    Caller, ChatError, Context, Credentials, Refusal, addressing, messages, settings, unread,
};
use crate::store::{
    Cause, Id, Message, MessageVersion, NewEvent, ParticipantKind, Reader, Role, ThreadStatus,
    User, Writer,
};

/// So often a message can be changed: each text that it had is kept.
const MAX_CHANGES: i32 = 100;

/// What a message is to say instead.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Is it dishwasher-proof?"}))]
pub struct MessageChange {
    /// The text, at most 10,000 characters.
    #[schema(example = "Is it dishwasher-proof?", max_length = 10_000, min_length = 1)]
    pub text: String,
}

/// All that a message has said.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "message_id": 42, "thread_id": 12, "deleted_at": null,
        "versions": [
            {
                "text": "Write to ***", "original": "Write to anna@example.com", "flagged": true,
                "written_at": "2026-03-01T09:30:00.000Z"
            },
            {
                "text": "Is it dishwasher-proof?", "original": null, "flagged": false,
                "written_at": "2026-03-01T09:31:00.000Z"
            }
        ]
    })
)]
pub struct HistoryView {
    /// The message.
    #[schema(value_type = i64, example = 42)]
    pub message_id: Id,
    /// The thread.
    #[schema(value_type = i64, example = 12)]
    pub thread_id: Id,
    /// When it was taken back.
    #[serde(with = "chaffer_shared::time::option")]
    #[schema(required = true)]
    pub deleted_at: Option<DateTime<Utc>>,
    /// The first text first; the last one is what it says now, or said when it was taken back.
    pub versions: Vec<VersionView>,
}

/// One text that a message has had.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "text": "Write to ***", "original": "Write to anna@example.com", "flagged": true,
        "written_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct VersionView {
    /// As its readers saw it.
    pub text: String,
    /// As it was written, where that is something else and is kept (`keep_originals`).
    #[schema(required = true)]
    pub original: Option<String>,
    /// Whether something was found in it (R11).
    pub flagged: bool,
    /// When it was written.
    #[serde(with = "chaffer_shared::time")]
    pub written_at: DateTime<Utc>,
}

/// A message in a thread that the person may see. One that is not there and one that is not the person's to see get the same
/// answer, so that nothing can be guessed.
fn see(reader: &mut Reader<'_>, user: &User, message: Id) -> Result<(Message, Seen), ChatError> {
    rights::require_messages(user)?;
    let message = reader.messages(&[message])?.pop().ok_or(Refusal::MessageNotFound)?;
    match rights::see(reader, user, message.thread_id) {
        Err(ChatError::Refused(Refusal::ThreadNotFound)) => Err(Refusal::MessageNotFound.into()),
        Err(error) => Err(error),
        Ok(seen) => Ok((message, seen)),
    }
}

fn is_author(user: &User, message: &Message) -> bool {
    message.author_kind == ParticipantKind::User
        && message.author_id == user.id
        && message.system_entry.is_none()
}

fn require_in_time(
    reader: &mut Reader<'_>,
    context: &Context,
    message: &Message,
) -> Result<(), ChatError> {
    let time = TimeDelta::seconds(settings::read(reader)?.edit_seconds);
    let until = message.created_at.and_utc() + time;
    if context.now < until { Ok(()) } else { Err(Refusal::EditWindowOver.into()) }
}

/// Changes what a message of the caller's says. The list of forbidden words is asked as for a new one.
///
/// # Errors
/// What is wrong with the text, or why the caller may not.
pub(crate) fn edit(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    list: &WordList,
    message: Id,
    change: &MessageChange,
) -> Result<MessageView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let author = caller.person()?;
    let (before, Seen { thread, participants, seat }) = see(writer, author, message)?;
    let mut problems = Problems::default();
    messages::check_text(&mut problems, "", &change.text, before.attachment_count > 0);
    problems.finish()?;
    if !is_author(author, &before) {
        return Err(Refusal::NotAllowed.into());
    }
    if before.deleted_at.is_some() {
        return Err(Refusal::MessageDeleted.into());
    }
    require_in_time(writer, context, &before)?;
    if thread.status == ThreadStatus::Closed {
        return Err(Refusal::ThreadClosed.into());
    }
    rights::require_messaging(writer, &participants)?;
    let screened = screening::screen(writer, list, &change.text)?;
    if screened.is_what_it_says(&before) {
        return Ok(messages::view(writer, author, &before, seat.side)?);
    }
    let now = context.timestamp();
    let last = writer.last_version(before.id)?;
    if last >= MAX_CHANGES {
        return Err(Refusal::TooManyChanges.into());
    }
    let original = writer.take_original(before.id)?.map(|original| original.text);
    writer.insert_version(&MessageVersion {
        message_id: before.id,
        version: last.saturating_add(1),
        text: before.text.clone(),
        original,
        flagged: before.flagged,
        written_at: before.edited_at.unwrap_or(before.created_at),
    })?;
    writer.note_search_change(&before)?;
    writer.change_message(before.id, &screened.text, screened.flagged, now)?;
    let after = Message {
        text: screened.text.clone(),
        flagged: screened.flagged,
        edited_at: Some(now),
        ..before
    };
    let topics = addressing::of_thread(writer, &thread, &participants)?;
    writer.emit(NewEvent {
        name: name::MESSAGE_UPDATED,
        topics: &topics,
        cause: Cause { thread: Some(thread.id), message: Some(after.id), data: None },
        shown: None,
        request_id: &context.request_id,
        at: now,
    });
    let written = &change.text;
    screening::follow_up(writer, context, &thread, &participants, &after, &screened, written)?;
    Ok(messages::view(writer, author, &after, seat.side)?)
}

/// Takes a message back: the caller's own, or any for an administrator, which is noted. What is left of it says that it was
/// there. Again is the same as once.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn delete(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    message: Id,
) -> Result<(), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let (message, Seen { thread, participants, .. }) = see(writer, user, message)?;
    let is_own = is_author(user, &message);
    if message.system_entry.is_some() || !(is_own || rights::manages_messages(user)) {
        return Err(Refusal::NotAllowed.into());
    }
    if message.deleted_at.is_some() {
        return Ok(());
    }
    if !rights::manages_messages(user) {
        require_in_time(writer, context, &message)?;
    }
    if !is_own {
        let target = format!("message:{}", message.id);
        let data = serde_json::json!({"thread_id": thread.id, "author_id": message.author_id});
        audit::note(writer, &caller, context, action::MESSAGE_DELETED, target, Some(data))?;
    }
    let topics = addressing::of_thread(writer, &thread, &participants)?;
    writer.emit(NewEvent {
        name: name::MESSAGE_DELETED,
        topics: &topics,
        cause: Cause { thread: Some(thread.id), message: Some(message.id), data: None },
        shown: None,
        request_id: &context.request_id,
        at: context.timestamp(),
    });
    unread::lower(writer, context, &thread, &participants, &message)?;
    writer.note_search_change(&message)?;
    if message.attachment_count > 0 {
        writer.remove_attachments_of(message.id, context.timestamp())?;
    }
    Ok(writer.delete_message(message.id, context.timestamp())?)
}

/// Shows all that a message has said, and notes who looked.
///
/// # Errors
/// Why the caller may not, or [`Refusal::MessageNotFound`].
pub(crate) fn history(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    message: Id,
) -> Result<HistoryView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    // A person, also where the shop's backend asks: the log has to say who looked.
    let person = caller.person()?;
    rights::require_messages(person)?;
    if person.role != Role::Admin {
        return Err(Refusal::NotAllowed.into());
    }
    let last = writer.messages(&[message])?.pop().ok_or(Refusal::MessageNotFound)?;
    let view = |version: MessageVersion| VersionView {
        text: version.text,
        original: version.original,
        flagged: version.flagged,
        written_at: version.written_at.and_utc(),
    };
    let mut versions: Vec<VersionView> = writer.versions(message)?.into_iter().map(view).collect();
    versions.push(VersionView {
        text: last.text,
        original: writer.original(message)?.map(|original| original.text),
        flagged: last.flagged,
        written_at: last.edited_at.unwrap_or(last.created_at).and_utc(),
    });
    let target = format!("message:{message}");
    audit::note(writer, &caller, context, action::HISTORY_READ, target, None)?;
    Ok(HistoryView {
        message_id: message,
        thread_id: last.thread_id,
        deleted_at: last.deleted_at.map(|at| at.and_utc()),
        versions,
    })
}
