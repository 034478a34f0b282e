//! Which mails follow from what was written: for each person on the other sides one mail for a thread, which gathers what
//! comes after it, and no other until the person has read the thread again. Read states are the truth.

use chaffer_shared::event::{EventId, name};
use chrono::{DateTime, TimeDelta, Utc};

use super::{letter, preferences};
use crate::chat::settings::{self, Settings};
use crate::store::{
    Id, Mail, MailChoice, MailKind, MailState, Message, NewMail, Participant, ParticipantKind,
    Reader, Side, StoreError, Timestamp, User, Writer,
};

/// The name of this consumer of the stored events.
const CONSUMER: &str = "mail";
/// Events that are dealt with in one commit.
const PAGE: i64 = 200;
/// Messages older than that cause no mail any more: mails were switched off, or everything was.
const MAX_AGE: TimeDelta = TimeDelta::days(1);

/// What one look at the events came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathered {
    /// The last event that was dealt with.
    pub position: EventId,
    /// Whether there is more.
    pub more: bool,
}

/// Looks, without writing, whether there is anything to gather after a position: the new position when there is not.
///
/// # Errors
/// The store's own.
pub(crate) fn peek(
    reader: &mut Reader<'_>,
    position: EventId,
) -> Result<Option<Gathered>, StoreError> {
    let Some(known) = reader.consumer(CONSUMER)? else { return Ok(None) };
    let events = reader.events_after(position.max(known), PAGE)?;
    if events.iter().any(|event| event.name == name::MESSAGE_CREATED) {
        return Ok(None);
    }
    let position = events.last().map_or(position.max(known), |event| event.id);
    Ok(Some(Gathered { position, more: is_page(events.len()) }))
}

/// Queues the mails that follow from the events since the last time. The first time it begins with what comes next.
///
/// # Errors
/// The store's own.
pub(crate) fn gather(writer: &mut Writer<'_>, now: DateTime<Utc>) -> Result<Gathered, StoreError> {
    let Some(position) = writer.consumer(CONSUMER)? else {
        let position = writer.last_event()?;
        writer.set_consumer(CONSUMER, position)?;
        return Ok(Gathered { position, more: false });
    };
    let events = writer.events_after(position, PAGE)?;
    let settings = settings::read(writer)?;
    for event in &events {
        let is_recent = event.at.and_utc() > now - MAX_AGE;
        if let (true, name::MESSAGE_CREATED, Some(message)) =
            (is_recent, event.name.as_str(), event.cause.message)
        {
            on_message(writer, &settings, message, now.naive_utc())?;
        }
    }
    let position = events.last().map_or(position, |event| event.id);
    writer.set_consumer(CONSUMER, position)?;
    Ok(Gathered { position, more: is_page(events.len()) })
}

fn is_page(count: usize) -> bool {
    i64::try_from(count).is_ok_and(|count| count >= PAGE)
}

fn on_message(
    writer: &mut Writer<'_>,
    settings: &Settings,
    message: Id,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(message) = writer.messages(&[message])?.pop() else { return Ok(()) };
    if message.system_entry.is_some() {
        return Ok(());
    }
    let participants = writer.participants(&[message.thread_id])?;
    if message.author_kind == ParticipantKind::User {
        has_answered(writer, &message, now)?;
    }
    for user in recipients(writer, &message, &participants)? {
        match preferences::wanted(writer, &user)? {
            MailChoice::All => for_thread(writer, settings, &message, &user, now)?,
            MailChoice::Digest => for_digest(writer, settings, message.id, &user.id, now)?,
            MailChoice::None => {}
        }
    }
    Ok(())
}

/// Who writes in a thread has seen it: nothing that came before needs a mail.
fn has_answered(
    writer: &mut Writer<'_>,
    message: &Message,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(mut mail) = writer.last_mail(&message.author_id, Some(message.thread_id))? else {
        return Ok(());
    };
    match mail.state {
        MailState::Waiting => {
            mail.state = MailState::Skipped;
            mail.reason = Some("answered".into());
            mail.ended_at = Some(now);
        }
        _ if mail.read_position.is_some() => mail.read_position = None,
        _ => return Ok(()),
    }
    writer.save_mail(&mail)
}

/// Those on the other sides who have an address: the person who asks, the other person, all of a vendor's
/// administrators (R6). Not the author's own side, and not staff.
fn recipients(
    reader: &mut Reader<'_>,
    message: &Message,
    participants: &[Participant],
) -> Result<Vec<User>, StoreError> {
    let mut users = Vec::new();
    for other in participants {
        if other.side == message.side || other.side == Side::Staff {
            continue;
        }
        match other.kind {
            ParticipantKind::User => users.extend(reader.user(&other.participant_id)?),
            ParticipantKind::Vendor => users.extend(reader.users_of_vendor(&other.participant_id)?),
        }
    }
    users.retain(|user| user.id != message.author_id && user.email.is_some());
    users.sort_by(|one, other| one.id.cmp(&other.id));
    users.dedup_by(|one, other| one.id == other.id);
    Ok(users)
}

fn for_thread(
    writer: &mut Writer<'_>,
    settings: &Settings,
    message: &Message,
    user: &User,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = writer.last_mail(&user.id, Some(message.thread_id))?;
    let has_read = |writer: &mut Writer<'_>| -> Result<Id, StoreError> {
        let state = writer.read_states(&user.id, &[message.thread_id])?.pop();
        Ok(state.map_or(0, |state| state.last_read_message_id))
    };
    match last {
        Some(mail) if mail.state == MailState::Waiting => {
            // It gathers this one, too. What was gathered before and has been read begins anew.
            if mail.attempts == 0 && has_read(writer)? >= mail.first_message_id {
                writer.save_mail(&Mail {
                    first_message_id: message.id,
                    due_at: now + TimeDelta::seconds(settings.mail_gather_seconds),
                    ..mail
                })?;
            }
            return Ok(());
        }
        Some(mail) if mail.state == MailState::Sending => return Ok(()),
        Some(mail) if mail.state == MailState::Sent => {
            let is_told = match mail.read_position {
                Some(position) => has_read(writer)? <= position,
                None => false,
            };
            if is_told {
                return Ok(());
            }
        }
        _ => {}
    }
    let is_new = writer.messages_before(message.thread_id, message.id, 1)?.is_empty();
    let mail = NewMail {
        user_id: user.id.clone(),
        thread_id: Some(message.thread_id),
        kind: if is_new { MailKind::NewThread } else { MailKind::NewMessage },
        state: MailState::Waiting,
        first_message_id: message.id,
        due_at: now + TimeDelta::seconds(settings.mail_gather_seconds),
        attempts: 0,
        created_at: now,
    };
    writer.insert_mail(&mail)
}

/// Has a person's digest come, unless it is coming already.
pub(crate) fn for_digest(
    writer: &mut Writer<'_>,
    settings: &Settings,
    message: Id,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = writer.last_mail(user, None)?;
    if last.is_some_and(|mail| matches!(mail.state, MailState::Waiting | MailState::Sending)) {
        return Ok(());
    }
    writer.insert_mail(&NewMail {
        user_id: user.to_owned(),
        thread_id: None,
        kind: MailKind::Digest,
        state: MailState::Waiting,
        first_message_id: message,
        due_at: now + TimeDelta::hours(settings.mail_digest_hours),
        attempts: 0,
        created_at: now,
    })
}

/// Whether somebody who is connected deserves a moment to see what just came, before a mail is sent at once.
#[must_use]
pub(crate) fn may_be_looking(mail: &Mail, ready: &letter::Ready, now: Timestamp) -> bool {
    mail.attempts <= 1 && ready.caught_up && now < mail.created_at + LOOKING
}

/// How long the moment is.
pub(crate) const LOOKING: TimeDelta = TimeDelta::seconds(5);
