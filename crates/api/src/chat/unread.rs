//! What is unread: raised with each message, lowered by reading, never counted on the way to an answer.

use std::collections::BTreeMap;

use chaffer_shared::event::name;
use chaffer_shared::topic::Topic;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::rights::{self, Seen};
use super::validate::Problems;
use super::{Caller, ChatError, Context, Credentials, addressing};
use crate::store::{
    Badge, Cause, Id, Message, NewEvent, Participant, ParticipantKind, ReadState, Reader, Side,
    SubjectType, Thread, Writer,
};

/// The most users that one call may ask about.
const MAX_BATCH: usize = 500;

/// How far the caller has read.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"up_to": 42}))]
pub struct ReadUpTo {
    /// The last message that was read.
    #[schema(value_type = i64, example = 42, minimum = 1)]
    pub up_to: Id,
}

/// From where on the caller wants to have read nothing.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": 42}))]
pub struct UnreadFrom {
    /// The first message that is to be unread; the last one of the others unless given.
    #[schema(value_type = Option<i64>, example = 42)]
    pub from: Option<Id>,
}

/// What is left in one thread.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"unread_count": 0}))]
pub struct UnreadCount {
    /// Messages of others that the caller has not read.
    #[schema(example = 0)]
    pub unread_count: i64,
}

/// What is left in all threads.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"total": 3, "threads": [{"id": 12, "unread_count": 3}]}))]
pub struct Unread {
    /// Of all threads together.
    #[schema(example = 3)]
    pub total: i64,
    /// The threads with something unread, latest activity first.
    pub threads: Vec<ThreadUnread>,
}

/// What is left in one thread of several.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"id": 12, "unread_count": 3}))]
pub struct ThreadUnread {
    /// The thread.
    #[schema(value_type = i64, example = 12)]
    pub id: Id,
    /// Messages of others that the caller has not read.
    #[schema(example = 3)]
    pub unread_count: i64,
}

/// Whose badges the shop's backend wants.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_ids": ["7", "8"]}))]
pub struct UnreadBatch {
    /// At most 500 users.
    #[schema(example = json!(["7", "8"]), max_items = 500)]
    pub user_ids: Vec<String>,
}

/// The badges.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"counts": {"7": 3, "8": 0}}))]
pub struct UnreadCounts {
    /// Unread messages by user; a user who is not known has none.
    #[schema(example = json!({"7": 3, "8": 0}))]
    pub counts: BTreeMap<String, i64>,
}

/// Counts a new message for all who read the thread but did not write it.
pub(crate) fn raise(
    writer: &mut Writer<'_>,
    context: &Context,
    thread: &Thread,
    participants: &[Participant],
    author: &str,
    activity: i64,
) -> Result<(), ChatError> {
    let readers = addressing::readers(writer, thread, participants, author)?;
    writer.raise_unread(thread.id, author, &readers, activity)?;
    for Badge { user, total, here } in readers {
        tell(writer, context, thread.id, &user, here.unwrap_or(0) + 1, total + 1);
    }
    Ok(())
}

/// Counts a message that is about to be deleted no longer for those who have not read it.
pub(crate) fn lower(
    writer: &mut Writer<'_>,
    context: &Context,
    thread: &Thread,
    participants: &[Participant],
    message: &Message,
) -> Result<(), ChatError> {
    if message.system_entry.is_some() {
        return Ok(());
    }
    let mut readers = addressing::readers(writer, thread, participants, &message.author_id)?;
    readers.retain(|reader| reader.here.is_some_and(|here| here > 0));
    if readers.is_empty() {
        return Ok(());
    }
    // What somebody has not read are always the last messages of others; who came later was never told of the ones before.
    let from_here = writer.count_by_author(thread.id, message.id)?;
    let total: i64 = from_here.iter().map(|(_, _, count)| count).sum();
    readers.retain(|reader| {
        let own = from_here
            .iter()
            .find(|(kind, author, _)| *kind == ParticipantKind::User && *author == reader.user);
        let of_others = total - own.map_or(0, |(_, _, count)| *count);
        reader.here.is_some_and(|here| of_others <= here)
    });
    let users: Vec<&str> = readers.iter().map(|it| it.user.as_str()).collect();
    writer.lower_unread(thread.id, &users)?;
    for Badge { user, total, here } in readers {
        tell(writer, context, thread.id, &user, here.unwrap_or(1) - 1, total - 1);
    }
    Ok(())
}

/// Forgets what somebody has not read in a thread that is another one's from now on.
pub(crate) fn forget(
    writer: &mut Writer<'_>,
    context: &Context,
    user: &str,
    thread: Id,
) -> Result<(), ChatError> {
    let Some(badge) = writer.badge_of_user(user, thread)? else { return Ok(()) };
    let Some(unread_count) = badge.here else { return Ok(()) };
    writer.delete_read_states(user, &[thread])?;
    if unread_count > 0 {
        writer.add_unread_total(&[user], -unread_count)?;
        tell(writer, context, thread, &badge.user, 0, badge.total - unread_count);
    }
    Ok(())
}

/// Tells one user's other pages about a new count.
fn tell(
    writer: &mut Writer<'_>,
    context: &Context,
    thread: Id,
    user: &str,
    unread_count: i64,
    total: i64,
) {
    writer.emit(NewEvent {
        name: name::UNREAD_CHANGED,
        topics: &[Topic::of_person(user)],
        cause: Cause {
            thread: Some(thread),
            message: None,
            data: Some(json!({
                "thread_id": thread,
                "unread_count": unread_count,
                "total": total,
            })),
        },
        shown: None,
        request_id: &context.request_id,
        at: context.timestamp(),
    });
}

/// Notes how far the caller has read. Never goes back.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn read(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    thread: Id,
    read: &ReadUpTo,
) -> Result<UnreadCount, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let Seen { thread, participants, seat } = rights::see(writer, user, thread)?;
    let mut problems = Problems::default();
    if read.up_to < 1 {
        problems.add("/up_to", "must be the id of a message");
    }
    problems.finish()?;

    let last = thread.last_message_id.unwrap_or(0);
    let up_to = read.up_to.min(last);
    let before = writer.read_states(&user.id, &[thread.id])?.pop();
    let exists = before.is_some();
    let before = before.unwrap_or_else(|| ReadState::new(&user.id, thread.id));
    let mut left = before.unread_count;
    if up_to > before.last_read_message_id && (exists || seat.participant.is_some()) {
        let unread_count = if up_to == last {
            0
        } else {
            // Someone who came later has less to read than what stands there.
            writer.count_unread(thread.id, up_to, &user.id)?.min(before.unread_count)
        };
        let state = ReadState {
            last_read_message_id: up_to,
            unread_count,
            unread_activity: before.unread_activity.filter(|_| unread_count > 0),
            ..before.clone()
        };
        writer.save_read_state(&state, exists)?;
        if unread_count != before.unread_count {
            let by = unread_count - before.unread_count;
            writer.add_unread_total(&[&user.id], by)?;
            tell(writer, context, thread.id, &user.id, unread_count, user.unread_total + by);
        }
        left = unread_count;
    }
    if let Some(own) = seat.participant.filter(|own| up_to > own.last_read_message_id) {
        writer.advance_participant(&own, up_to)?;
        // Staff who look into a conversation of others are not "the other side" of it.
        if own.side != Side::Staff || thread.subject_type == SubjectType::Support {
            let now = context.timestamp();
            writer.mark_read(thread.id, own.side, own.last_read_message_id, up_to, now)?;
            let topics = addressing::of_thread(writer, &thread, &participants)?;
            writer.emit(NewEvent {
                name: name::THREAD_READ,
                topics: &topics,
                cause: Cause {
                    thread: Some(thread.id),
                    message: None,
                    data: Some(json!({
                        "thread_id": thread.id,
                        "user_id": user.id,
                        "up_to": up_to,
                        "read_at": chaffer_shared::time::format(&context.now),
                    })),
                },
                shown: None,
                request_id: &context.request_id,
                at: now,
            });
        }
    }
    Ok(UnreadCount { unread_count: left })
}

/// Marks a thread as unread for the caller alone, from a message on: the others go on seeing how far it was read.
///
/// # Errors
/// Why the caller may not, or that there is no such message in the thread.
pub(crate) fn mark_unread(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    thread: Id,
    input: &UnreadFrom,
) -> Result<UnreadCount, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let Seen { thread, .. } = rights::see(writer, user, thread)?;
    let from = match input.from {
        None => writer.last_message_of_others(thread.id, &user.id)?,
        Some(from) => {
            if !writer.messages(&[from])?.iter().any(|it| it.thread_id == thread.id) {
                let mut problems = Problems::default();
                problems.add("/from", "there is no such message in this thread");
                problems.finish()?;
            }
            Some(from)
        }
    };
    let before = writer.read_states(&user.id, &[thread.id])?.pop();
    let exists = before.is_some();
    let before = before.unwrap_or_else(|| ReadState::new(&user.id, thread.id));
    let unread_count = match from {
        Some(from) => writer.count_unread(thread.id, from - 1, &user.id)?,
        None => 0,
    };
    // What is unread already stays so.
    let (Some(from), true) = (from, unread_count > before.unread_count) else {
        return Ok(UnreadCount { unread_count: before.unread_count });
    };
    let state = ReadState {
        last_read_message_id: before.last_read_message_id.min(from - 1),
        unread_count,
        unread_activity: Some(thread.activity),
        ..before.clone()
    };
    writer.save_read_state(&state, exists)?;
    let by = unread_count - before.unread_count;
    writer.add_unread_total(&[&user.id], by)?;
    tell(writer, context, thread.id, &user.id, unread_count, user.unread_total + by);
    Ok(UnreadCount { unread_count })
}

/// What the caller has not read.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn overview(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<Unread, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    rights::require_messages(user)?;
    let threads = reader
        .unread_threads(&user.id)?
        .into_iter()
        .map(|(id, unread_count)| ThreadUnread { id, unread_count })
        .collect();
    Ok(Unread { total: user.unread_total, threads })
}

/// The badges of several users, for the shop's pages.
///
/// # Errors
/// When it is not the shop's backend that asks, or for too many.
pub(crate) fn batch(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    batch: &UnreadBatch,
) -> Result<UnreadCounts, ChatError> {
    Caller::resolve(reader, credentials)?.require_backend()?;
    let mut problems = Problems::default();
    if batch.user_ids.len() > MAX_BATCH {
        problems.add("/user_ids", format!("must not be more than {MAX_BATCH}"));
    }
    problems.finish()?;
    let mut counts: BTreeMap<String, i64> =
        batch.user_ids.iter().map(|id| (id.clone(), 0)).collect();
    counts.extend(reader.unread_totals(&batch.user_ids)?);
    Ok(UnreadCounts { counts })
}
