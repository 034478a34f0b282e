//! Stored events turned into what people hear, and one person's feed of them.

use chaffer_shared::event::EventId;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::views::Directory;
use super::{Caller, ChatError, Credentials, Refusal, addressing, rights};
use crate::store::{Id, Reader, StoreError, StoredEvent, User};

/// An event as the feed and the socket show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "id": 1207, "event": "thread.read", "at": "2026-03-01T09:30:00.000Z",
        "data": {
            "thread_id": 12, "user_id": "7", "up_to": 42, "read_at": "2026-03-01T09:30:00.000Z"
        }
    })
)]
pub struct EventView {
    /// Its number.
    #[schema(value_type = i64, example = 1207)]
    pub id: EventId,
    /// What happened, e.g. `message.created`.
    #[schema(example = "message.created")]
    pub event: String,
    /// When.
    #[serde(with = "chaffer_shared::time")]
    pub at: DateTime<Utc>,
    /// What it is about: of `message.*` the message, of `thread.*` the thread.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// A page of what the caller would have heard.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventPage {
    /// In the order in which it happened.
    pub events: Vec<EventView>,
    /// The next `after`.
    #[schema(value_type = i64, example = 1207)]
    pub next_cursor: EventId,
}

/// Puts the data of stored events together: messages and threads as they are now.
pub(crate) fn render(
    reader: &mut Reader<'_>,
    events: &[StoredEvent],
) -> Result<Vec<Value>, StoreError> {
    let message_ids: Vec<Id> = events.iter().filter_map(|event| event.cause.message).collect();
    let thread_ids: Vec<Id> = events.iter().filter_map(shown_thread).collect();
    let mut messages = reader.messages(&message_ids)?;
    let threads = reader.threads(&thread_ids)?;
    let participants = reader.participants(&thread_ids)?;
    let last_ids: Vec<Id> = threads.iter().filter_map(|thread| thread.last_message_id).collect();
    messages.extend(reader.messages(&last_ids)?);
    let directory = Directory::of(reader, &messages, &participants)?;

    let data = |event: &StoredEvent| {
        let find = |id: Option<Id>| messages.iter().find(|message| Some(message.id) == id);
        if let Some(data) = &event.cause.data {
            return data.clone();
        }
        if let Some(id) = event.cause.message {
            // What has been erased leaves its number behind, so that nobody waits for it.
            return find(Some(id))
                .and_then(|message| serde_json::to_value(directory.message(message)).ok())
                .unwrap_or_else(|| serde_json::json!({"id": id, "thread_id": event.cause.thread}));
        }
        threads
            .iter()
            .find(|thread| Some(thread.id) == event.cause.thread)
            .and_then(|thread| {
                let last = find(thread.last_message_id);
                serde_json::to_value(directory.thread(thread, &participants, last)).ok()
            })
            .unwrap_or_else(|| serde_json::json!({"id": event.cause.thread}))
    };
    Ok(events.iter().map(data).collect())
}

/// The data of an event that needs nothing from the store: one that carries all it says, or that was stored just now by a
/// rule that had it at hand.
pub(crate) fn at_hand(event: &StoredEvent) -> Option<Box<RawValue>> {
    match &event.cause.data {
        Some(data) => serde_json::value::to_raw_value(data).ok(),
        None => event.shown.clone(),
    }
}

/// The thread whose picture is the event's data.
fn shown_thread(event: &StoredEvent) -> Option<Id> {
    let cause = &event.cause;
    cause.thread.filter(|_| cause.message.is_none() && cause.data.is_none())
}

/// What the caller would have heard after a cursor; without one, where to go on from now.
///
/// # Errors
/// [`Refusal::CursorExpired`] when that is too long ago, or why the caller may not.
pub(crate) fn feed(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    after: Option<EventId>,
    limit: i64,
) -> Result<EventPage, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let user = caller.person()?;
    rights::require_messages(user)?;
    let last = reader.last_event()?;
    let Some(after) = after else {
        return Ok(EventPage { events: Vec::new(), next_cursor: last });
    };
    // A cursor from the future belongs to another history: the database was replaced.
    if after < reader.oldest_event()? - 1 || after > last {
        return Err(Refusal::CursorExpired.into());
    }
    let events = reader.events_heard(&addressing::heard_by(user), after, limit)?;
    let is_full = i64::try_from(events.len()).is_ok_and(|count| count >= limit);
    let next_cursor = if is_full { events.last().map_or(last, |event| event.id) } else { last };
    let events = still_visible(reader, user, events)?;
    let data = render(reader, &events)?;
    let view = |(event, data): (StoredEvent, Value)| EventView {
        id: event.id,
        event: event.name,
        at: event.at.and_utc(),
        data,
    };
    Ok(EventPage { events: events.into_iter().zip(data).map(view).collect(), next_cursor })
}

/// Leaves out what belongs to threads that are no longer the user's to see.
fn still_visible(
    reader: &mut Reader<'_>,
    user: &User,
    mut events: Vec<StoredEvent>,
) -> Result<Vec<StoredEvent>, ChatError> {
    let mut ids: Vec<Id> = events.iter().filter_map(|event| event.cause.thread).collect();
    ids.sort_unstable();
    ids.dedup();
    let threads = reader.threads(&ids)?;
    let participants = reader.participants(&ids)?;
    events.retain(|event| {
        event.cause.thread.is_none_or(|id| {
            threads.iter().any(|it| it.id == id && rights::seat(user, it, &participants).is_some())
        })
    });
    Ok(events)
}

/// What one commit's topics are to a person who waits for news.
pub(crate) fn topics_of(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<Vec<chaffer_shared::topic::Topic>, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    Ok(addressing::heard_by(caller.person()?))
}
