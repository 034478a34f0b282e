//! Support threads: a simple queue. A thread waits until an operator (or an administrator who manages messages) takes it, by
//! a call or by answering; one at a time has it, and can put it back. Who has it is the participant with the role `assignee`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rights::{self, Seen};
use super::views::{PersonView, ThreadView};
use super::{Caller, ChatError, Context, Credentials, Refusal, messages, threads, unread};
use crate::store::{
    ASSIGNEE, Id, Participant, ParticipantKind, Reader, Role, Side, SubjectType, SystemEntry,
    Thread, ThreadStatus, User, Writer,
};

/// Whether somebody looks after a support thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupportState {
    /// Nobody has taken it.
    Waiting,
    /// An operator has it.
    Assigned,
}

/// Who looks after a support thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "state": "assigned",
    "operator": {"id": "9", "role": "operator", "name": "Olga", "avatar_url": null}
}))]
pub struct SupportView {
    /// Whether somebody does.
    pub state: SupportState,
    /// Who; null while it waits.
    #[schema(required = true)]
    pub operator: Option<PersonView>,
}

/// One thread that waits.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "thread": {
        "id": 12,
        "subject": {
            "type": "support", "id": "support", "title": null, "url": null, "image_url": null
        },
        "customer": {"id": "7", "role": "customer", "name": "Anna", "avatar_url": null},
        "vendor": null, "storefront_id": null, "status": "open",
        "support": {"state": "waiting", "operator": null}, "last_message": null,
        "unread_count": 0, "flagged": false,
        "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
    },
    "waiting_since": "2026-03-01T09:30:00.000Z"
}))]
pub struct Waiting {
    /// The thread, as the caller sees it.
    pub thread: ThreadView,
    /// Since when.
    #[serde(with = "chaffer_shared::time")]
    #[schema(example = "2026-03-01T09:30:00.000Z")]
    pub waiting_since: DateTime<Utc>,
}

/// A page of the queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SupportQueue {
    /// The oldest threads first.
    pub waiting: Vec<Waiting>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "12")]
    pub next_cursor: Option<String>,
}

/// The participant who has a support thread.
pub(crate) fn assignee(thread: Id, participants: &[Participant]) -> Option<&Participant> {
    participants.iter().find(|it| it.thread_id == thread && it.role == ASSIGNEE)
}

/// Has a new support thread wait.
pub(crate) fn enqueue(
    writer: &mut Writer<'_>,
    context: &Context,
    thread: Id,
) -> Result<(), ChatError> {
    Ok(writer.enqueue_support(thread, context.timestamp())?)
}

fn require_staff(caller: &Caller) -> Result<&User, ChatError> {
    let user = caller.person()?;
    rights::require_messages(user)?;
    match user.role {
        Role::Admin | Role::Operator => Ok(user),
        Role::Customer | Role::VendorAdmin | Role::Visitor => Err(Refusal::NotAllowed.into()),
    }
}

/// The threads that wait, the oldest first.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn queue(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    after: Option<Id>,
    limit: i64,
) -> Result<SupportQueue, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = require_staff(&caller)?;
    let mut entries = reader.support_queue(after.unwrap_or(0), limit + 1)?;
    let more = messages::cut(&mut entries, limit);
    let next_cursor = entries.last().filter(|_| more).map(|(thread, _)| thread.id.to_string());
    let (found, since): (Vec<Thread>, Vec<_>) = entries.into_iter().unzip();
    let views = threads::render(reader, user, found)?;
    let waiting = views
        .into_iter()
        .zip(since)
        .map(|(thread, since)| Waiting { thread, waiting_since: since.and_utc() });
    Ok(SupportQueue { waiting: waiting.collect(), next_cursor })
}

/// A support thread as one of the staff sees it.
fn see(reader: &mut Reader<'_>, user: &User, thread: Id) -> Result<Seen, ChatError> {
    let seen = rights::see(reader, user, thread)?;
    // Whoever asks for help does not give it.
    if seen.seat.side != Side::Staff {
        return Err(Refusal::NotAllowed.into());
    }
    if seen.thread.subject_type != SubjectType::Support {
        return Err(Refusal::NotSupport.into());
    }
    Ok(seen)
}

/// Takes a thread; again by the same person it changes nothing.
///
/// # Errors
/// [`Refusal::ThreadTaken`] when another one was quicker, or why the caller may not.
pub(crate) fn take(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    thread: Id,
) -> Result<ThreadView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let Seen { thread, mut participants, .. } = see(writer, user, thread)?;
    match assignee(thread.id, &participants) {
        Some(has_it) if has_it.participant_id == user.id => {}
        Some(_) => return Err(Refusal::ThreadTaken.into()),
        None if thread.status == ThreadStatus::Closed => return Err(Refusal::ThreadClosed.into()),
        None => {
            assign(writer, context, user, &thread, &mut participants)?;
        }
    }
    threads::one(writer, user, thread.id)
}

/// Whoever answers a thread that waits has taken it.
pub(crate) fn answered(
    writer: &mut Writer<'_>,
    context: &Context,
    staff: &User,
    thread: &Thread,
    participants: &mut Vec<Participant>,
) -> Result<(), ChatError> {
    if thread.subject_type != SubjectType::Support || assignee(thread.id, participants).is_some() {
        return Ok(());
    }
    assign(writer, context, staff, thread, participants)
}

fn assign(
    writer: &mut Writer<'_>,
    context: &Context,
    staff: &User,
    thread: &Thread,
    participants: &mut Vec<Participant>,
) -> Result<(), ChatError> {
    let participant =
        Participant { role: ASSIGNEE.to_owned(), ..messages::as_staff(context, staff, thread) };
    writer.join_thread(&participant)?;
    writer.dequeue_support(thread.id)?;
    participants.retain(|it| (it.kind, &it.participant_id) != (ParticipantKind::User, &staff.id));
    participants.push(participant);
    let entry = SystemEntry::Assigned;
    threads::enter(writer, context, staff, Side::Staff, thread, participants, entry)
}

/// Puts a thread back into the queue: who has it, or an administrator.
///
/// # Errors
/// [`Refusal::ThreadNotTaken`], or why the caller may not.
pub(crate) fn release(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    thread: Id,
) -> Result<ThreadView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let user = caller.person()?;
    let Seen { thread, mut participants, .. } = see(writer, user, thread)?;
    let has_it = assignee(thread.id, &participants).ok_or(Refusal::ThreadNotTaken)?.clone();
    if has_it.participant_id != user.id && !rights::manages_messages(user) {
        return Err(Refusal::ThreadTaken.into());
    }
    writer.leave_thread(&has_it, context.timestamp())?;
    // What comes now is for whoever takes it next.
    unread::forget(writer, context, &has_it.participant_id, thread.id)?;
    enqueue(writer, context, thread.id)?;
    participants.retain(|it| *it != has_it);
    let entry = SystemEntry::Released;
    threads::enter(writer, context, user, Side::Staff, &thread, &participants, entry)?;
    threads::one(writer, user, thread.id)
}

/// What somebody has who is staff no more waits again.
pub(crate) fn release_all(
    writer: &mut Writer<'_>,
    context: &Context,
    staff: &User,
) -> Result<(), ChatError> {
    for thread in writer.threads_with_role(&staff.id, ASSIGNEE)? {
        release_from(writer, context, staff, thread)?;
    }
    Ok(())
}

/// The same with one thread.
pub(crate) fn release_from(
    writer: &mut Writer<'_>,
    context: &Context,
    staff: &User,
    thread: Id,
) -> Result<(), ChatError> {
    enqueue(writer, context, thread)?;
    let Some((thread, mut participants)) = writer.thread_with_participants(thread)? else {
        return Ok(());
    };
    participants.retain(|it| it.role != ASSIGNEE);
    let entry = SystemEntry::Released;
    threads::enter(writer, context, staff, Side::Staff, &thread, &participants, entry)
}

/// Whether a participant has taken its thread.
pub(crate) fn has_taken(participant: &Participant) -> bool {
    participant.role == ASSIGNEE
}
