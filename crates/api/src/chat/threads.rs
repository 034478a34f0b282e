//! Listing conversations, looking into one, telling that somebody writes, closing one and opening it again.

use chaffer_shared::event::name;
use chaffer_shared::topic::Topic;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{self, action};
use super::rights::{self, Seat, Seen};
use super::views::{Directory, ThreadView, sees_flags};
use super::{
    Caller, ChatError, Context, Credentials, Refusal, addressing, messages, object, starting,
};
use crate::store::{
    Cause, Id, NewEvent, NewMessage, Participant, ParticipantKind, Reader, Role, Side, SystemEntry,
    Thread, ThreadFilter, ThreadScope, ThreadStatus, User, Writer,
};

/// A page of threads.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ThreadPage {
    /// Latest activity first.
    pub threads: Vec<ThreadView>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "1207")]
    pub next_cursor: Option<String>,
}

/// What is to change of a thread; what is absent stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "closed"}))]
pub struct ThreadPatch {
    /// `closed`: nothing can be written any more; `open`: it can again.
    #[serde(default, deserialize_with = "object::not_null")]
    #[schema(nullable = false)]
    pub status: Option<ThreadStatus>,
}

/// Something to be told at once and not kept.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// Who hears it.
    pub topics: Vec<Topic>,
    /// One of [`name`].
    pub event: &'static str,
    /// Its data.
    pub data: serde_json::Value,
}

/// A page of the caller's threads.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn list(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    filter: &ThreadFilter,
    unread: Option<bool>,
    limit: i64,
) -> Result<ThreadPage, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    let (scopes, filter) = scoped(user, filter, unread)?;
    if scopes.is_empty() {
        return Ok(ThreadPage { threads: Vec::new(), next_cursor: None });
    }
    let mut threads = reader.list_threads(&scopes, &filter, limit + 1)?;
    let more = messages::cut(&mut threads, limit);
    let next_cursor = threads.last().filter(|_| more).map(|thread| thread.activity.to_string());
    Ok(ThreadPage { threads: render(reader, user, threads)?, next_cursor })
}

/// What a person's list is made of: whose threads, and which of them.
pub(super) fn scoped(
    user: &User,
    filter: &ThreadFilter,
    unread: Option<bool>,
) -> Result<(Vec<ThreadScope>, ThreadFilter), ChatError> {
    let mut scopes = rights::scopes(user)?;
    let mut filter = filter.clone();
    hide_flags(user, &mut scopes, &mut filter);
    filter.unread = unread.map(|it| (user.id.clone(), it));
    Ok((scopes, filter))
}

/// Flags are told to the vendor and the staff: for others no thread has one, and a filter must not say more.
fn hide_flags(user: &User, scopes: &mut Vec<ThreadScope>, filter: &mut ThreadFilter) {
    let sees = match user.role {
        Role::Admin | Role::Operator => return,
        Role::VendorAdmin => true,
        Role::Customer | Role::Visitor => false,
    };
    match filter.flagged {
        Some(true) if sees => scopes.iter_mut().for_each(|scope| {
            if let ThreadScope::Of(keys) = scope {
                keys.retain(|(kind, _)| *kind == ParticipantKind::Vendor);
            }
        }),
        Some(true) => scopes.clear(),
        Some(false) if !sees => filter.flagged = None,
        _ => {}
    }
}

/// One thread with its participants.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    thread: Id,
) -> Result<ThreadView, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    one(reader, caller.person()?, thread)
}

/// Somebody is writing: what the others of the thread hear, and nobody keeps.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn typing(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    thread: Id,
) -> Result<Ephemeral, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    let seen = rights::see(reader, user, thread)?;
    if seen.thread.status == ThreadStatus::Closed {
        return Err(Refusal::ThreadClosed.into());
    }
    rights::require_messaging(reader, &seen.participants)?;
    Ok(Ephemeral {
        topics: addressing::of_participants(&seen.participants),
        event: name::TYPING,
        data: serde_json::json!({
            "thread_id": seen.thread.id,
            "user": {
                "id": user.id,
                "role": user.role,
                "name": user.name,
                "avatar_url": user.avatar_url,
            },
        }),
    })
}

/// Closes a thread or opens it again: whoever sits in it may, and staff. An entry in it says who did.
///
/// # Errors
/// Why the caller may not, or [`Refusal::OtherThreadOpen`].
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    thread: Id,
    patch: &ThreadPatch,
) -> Result<ThreadView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let seen = rights::see(writer, user, thread)?;
    if let Some(status) = patch.status.filter(|status| *status != seen.thread.status) {
        set_status(writer, context, user, &seen, status)?;
        if seen.seat.side == Side::Staff {
            let action = match status {
                ThreadStatus::Closed => action::THREAD_CLOSED,
                ThreadStatus::Open => action::THREAD_REOPENED,
            };
            audit::note(writer, &caller, context, action, format!("thread:{thread}"), None)?;
        }
    }
    one(writer, user, thread)
}

/// Closes a thread or opens it again; an entry in it says who did.
pub(crate) fn set_status(
    writer: &mut Writer<'_>,
    context: &Context,
    user: &User,
    Seen { thread, participants, seat }: &Seen,
    status: ThreadStatus,
) -> Result<(), ChatError> {
    let (entry, key) = match status {
        ThreadStatus::Closed => (SystemEntry::Closed, None),
        ThreadStatus::Open => {
            rights::require_messaging(writer, participants)?;
            rights::require_people(writer, participants)?;
            let key = starting::open_key_of(thread, participants);
            if writer.open_thread(&key)?.is_some() {
                return Err(Refusal::OtherThreadOpen.into());
            }
            (SystemEntry::Reopened, Some(key))
        }
    };
    writer.set_thread_status(thread.id, status, key.as_deref())?;
    enter(writer, context, user, seat.side, thread, participants, entry)
}

/// Writes an entry that says what somebody did to a thread, and tells all who see the thread.
pub(super) fn enter(
    writer: &mut Writer<'_>,
    context: &Context,
    author: &User,
    side: Side,
    thread: &Thread,
    participants: &[Participant],
    entry: SystemEntry,
) -> Result<(), ChatError> {
    let message = writer.insert_message(NewMessage {
        thread_id: thread.id,
        author_kind: ParticipantKind::User,
        author_id: author.id.clone(),
        side,
        text: String::new(),
        flagged: false,
        reply_to: None,
        client_id: None,
        request_hash: None,
        system_entry: Some(entry),
        attachment_count: 0,
        created_at: context.timestamp(),
    })?;
    let topics = addressing::of_thread(writer, thread, participants)?;
    for (name, message) in [(name::THREAD_UPDATED, None), (name::MESSAGE_CREATED, Some(message.id))]
    {
        writer.emit(NewEvent {
            name,
            topics: &topics,
            cause: Cause { thread: Some(thread.id), message, data: None },
            shown: None,
            request_id: &context.request_id,
            at: context.timestamp(),
        });
    }
    Ok(())
}

/// One thread as one person sees it, with who is in it.
pub(crate) fn one(
    reader: &mut Reader<'_>,
    user: &User,
    thread: Id,
) -> Result<ThreadView, ChatError> {
    let seen = rights::see(reader, user, thread)?;
    let directory = Directory::of(reader, &[], &seen.participants)?;
    let participants = Some(directory.participants(&seen.participants));
    let view = render(reader, user, vec![seen.thread])?.pop().ok_or(Refusal::ThreadNotFound)?;
    Ok(ThreadView { participants, ..view })
}

/// One thread as the shop's backend sees it: as nobody in particular.
pub(crate) fn anyone(reader: &mut Reader<'_>, thread: Id) -> Result<ThreadView, ChatError> {
    let (thread, participants) =
        reader.thread_with_participants(thread)?.ok_or(Refusal::ThreadNotFound)?;
    let last = reader.messages(&thread.last_message_id.into_iter().collect::<Vec<_>>())?;
    let directory = Directory::of(reader, &last, &participants)?;
    Ok(ThreadView {
        unread_count: Some(0),
        flagged: Some(thread.flagged),
        participants: Some(directory.participants(&participants)),
        ..directory.thread(&thread, &participants, last.first())
    })
}

/// Threads as one person sees them; those that are not the person's are left out.
pub(super) fn render(
    reader: &mut Reader<'_>,
    user: &User,
    threads: Vec<Thread>,
) -> Result<Vec<ThreadView>, ChatError> {
    let ids: Vec<Id> = threads.iter().map(|thread| thread.id).collect();
    let last_ids: Vec<Id> = threads.iter().filter_map(|thread| thread.last_message_id).collect();
    let participants = reader.participants(&ids)?;
    let last_messages = reader.messages(&last_ids)?;
    let unread = reader.read_states(&user.id, &ids)?;
    let directory = Directory::of(reader, &last_messages, &participants)?;
    let view = |thread: &Thread| {
        let Seat { side, .. } = rights::seat(user, thread, &participants)?;
        let last = last_messages.iter().find(|it| Some(it.id) == thread.last_message_id);
        let mut view = directory.thread(thread, &participants, last);
        view.last_message =
            view.last_message.zip(last).map(|(view, last)| messages::with_flag(view, last, side));
        view.unread_count = Some(
            unread.iter().find(|it| it.thread_id == thread.id).map_or(0, |it| it.unread_count),
        );
        view.flagged = Some(sees_flags(side) && thread.flagged);
        Some(view)
    };
    Ok(threads.iter().filter_map(view).collect())
}
