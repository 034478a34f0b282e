//! Writing into a thread, and reading its history.

use chaffer_shared::event::name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::attachments::{self, MAX_IDS};
use super::rights::{self, Seen};
use super::screening::{self, WordList};
use super::validate::Problems;
use super::views::{Directory, MessageView, sees_flags};
use super::{
    Caller, ChatError, Context, Credentials, IdempotencyKey, Refusal, addressing, once, support,
    unread,
};
use crate::store::{
    Cause, Id, Message, NewEvent, NewMessage, Participant, ParticipantKind, Reader, Side,
    StoreError, Thread, ThreadStatus, User, Writer,
};

/// A message to be written.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "text": "Is it dishwasher-safe?",
        "client_id": "3f0c9a52-6d2b-4b0e-9f55-0a1a52a7c9d1"
    })
)]
pub struct MessageDraft {
    /// The text, at most 10,000 characters; may be empty where something is attached.
    #[serde(default)]
    #[schema(example = "Is it dishwasher-safe?", max_length = 10_000)]
    pub text: String,
    /// What is attached: files that were uploaded before (`POST /v1/attachments`), each sent once.
    #[serde(default)]
    #[schema(value_type = Vec<i64>, max_items = 50)]
    pub attachment_ids: Vec<Id>,
    /// The message of the same thread that this one answers.
    #[schema(value_type = Option<i64>)]
    pub reply_to: Option<Id>,
    /// The sender's own id: sent again with it, the message is not written twice, ever.
    #[schema(example = "3f0c9a52-6d2b-4b0e-9f55-0a1a52a7c9d1", max_length = 200, min_length = 1)]
    pub client_id: Option<String>,
}

/// Which part of a thread's history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// What was written last.
    Newest,
    /// Right before this message.
    Before(Id),
    /// Right after this message.
    After(Id),
    /// This message in the middle.
    Around(Id),
}

/// A page of a thread's history.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MessagePage {
    /// Oldest to newest.
    pub messages: Vec<MessageView>,
    /// Where the next page in the same direction begins; null at the end.
    #[schema(value_type = Option<String>, required = true, example = "before:42")]
    pub next_cursor: Option<HistoryCursor>,
}

/// Where a page of history goes on; for callers an opaque text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor(pub History);

impl Serialize for HistoryCursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            History::Before(id) => serializer.collect_str(&format_args!("before:{id}")),
            History::After(id) => serializer.collect_str(&format_args!("after:{id}")),
            History::Newest | History::Around(_) => serializer.serialize_none(),
        }
    }
}

impl std::str::FromStr for HistoryCursor {
    type Err = ();

    /// Reads a cursor that an earlier page gave.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (direction, id) = text.split_once(':').ok_or(())?;
        let id = id.parse().map_err(|_| ())?;
        match direction {
            "before" => Ok(Self(History::Before(id))),
            "after" => Ok(Self(History::After(id))),
            _ => Err(()),
        }
    }
}

/// Checks the text of a message, which may be missing where something is attached.
pub(crate) fn check_text(problems: &mut Problems, at: &str, text: &str, has_files: bool) {
    if !(has_files && text.is_empty()) {
        problems.text(&format!("{at}/text"), text);
    }
}

impl MessageDraft {
    /// Checks the fields; `at` is the pointer of the message inside the body.
    pub(crate) fn check(&self, problems: &mut Problems, at: &str) {
        check_text(problems, at, &self.text, !self.attachment_ids.is_empty());
        problems.client_id(&format!("{at}/client_id"), self.client_id.as_deref());
        if self.attachment_ids.len() > MAX_IDS {
            let pointer = format!("{at}/attachment_ids");
            problems.add(&pointer, format!("must not be more than {MAX_IDS}"));
        }
    }

    /// Checks the fields of a message that came another way than over a call.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), ChatError> {
        let mut problems = Problems::default();
        self.check(&mut problems, "");
        problems.finish()
    }

    /// What distinguishes it from another message under the same `client_id`.
    fn hash(&self, thread: Id) -> String {
        let sent = serde_json::json!([thread, self.text, self.attachment_ids, self.reply_to]);
        hex::encode(Sha256::digest(sent.to_string()))
    }
}

/// Writes a message into a thread.
///
/// # Errors
/// What is wrong with the draft, or why the caller may not.
pub(crate) fn post(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    list: &WordList,
    key: Option<&IdempotencyKey>,
    thread: Id,
    draft: &MessageDraft,
) -> Result<(MessageView, bool), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    let author = caller.person()?;
    let seen = rights::see(writer, author, thread)?;
    draft.validate()?;
    let (mut view, created) = once(writer, &caller, context, key, |writer| {
        append(writer, context, list, author, seen, draft)
    })?;
    if key.is_some() {
        attachments::sign_anew(writer, context, &mut view.attachments)?;
    }
    Ok((view, created))
}

/// Appends a message to a thread that its author may see; tells whether it is a new one.
pub(crate) fn append(
    writer: &mut Writer<'_>,
    context: &Context,
    list: &WordList,
    author: &User,
    seen: Seen,
    draft: &MessageDraft,
) -> Result<(MessageView, bool), ChatError> {
    let Seen { thread, mut participants, seat } = seen;
    let request_hash = draft.client_id.is_some().then(|| draft.hash(thread.id));
    // First of all: what was accepted once stays accepted, whatever has been switched off meanwhile.
    if let Some(client_id) = &draft.client_id {
        let before = writer.message_by_client_id(ParticipantKind::User, &author.id, client_id)?;
        if let Some(message) = before {
            if message.request_hash != request_hash {
                return Err(Refusal::ClientIdReused.into());
            }
            return Ok((view(writer, author, &message, seat.side)?, false));
        }
    }
    if thread.status == ThreadStatus::Closed {
        return Err(Refusal::ThreadClosed.into());
    }
    rights::require_messaging(writer, &participants)?;
    if let Some(reply_to) = draft.reply_to {
        // A message of another thread and one that is not there get the same answer.
        let target = writer.messages(&[reply_to])?;
        let fits = |message: &Message| {
            message.thread_id == thread.id
                && message.deleted_at.is_none()
                && message.system_entry.is_none()
        };
        if !target.iter().any(fits) {
            let mut problems = Problems::default();
            problems.add("/reply_to", "there is no such message in this thread");
            problems.finish()?;
        }
    }
    let mut screened = screening::screen(writer, list, &draft.text)?;
    let files = attachments::to_send(writer, list, author, &draft.attachment_ids, &mut screened)?;
    // What changes more than every post does.
    if seat.participant.is_none() || seat.side == Side::Staff || screened.flagged {
        writer.settle()?;
    }
    if seat.participant.is_none() {
        participants.push(join(writer, context, author, &thread)?);
    }
    if seat.side == Side::Staff {
        support::answered(writer, context, author, &thread, &mut participants)?;
    }
    let message = writer.insert_message(NewMessage {
        thread_id: thread.id,
        author_kind: ParticipantKind::User,
        author_id: author.id.clone(),
        side: seat.side,
        text: screened.text.clone(),
        flagged: screened.flagged,
        reply_to: draft.reply_to,
        request_hash,
        client_id: draft.client_id.clone(),
        system_entry: None,
        attachment_count: i16::try_from(files.len()).unwrap_or(i16::MAX),
        created_at: context.timestamp(),
    })?;
    for file in &files {
        writer.attach(file.id, message.id, &file.name)?;
    }
    let topics = addressing::of_thread(writer, &thread, &participants)?;
    // As all see it; what only some see is told to the author alone.
    let shown = directory_for(writer, author, &message)?.message(&message);
    let activity = writer.emit(NewEvent {
        name: name::MESSAGE_CREATED,
        topics: &topics,
        cause: Cause { thread: Some(thread.id), message: Some(message.id), data: None },
        shown: serde_json::value::to_raw_value(&shown).ok(),
        request_id: &context.request_id,
        at: context.timestamp(),
    });
    writer.touch_thread(thread.id, message.id, activity, context.timestamp())?;
    unread::raise(writer, context, &thread, &participants, &author.id, activity)?;
    let written = &draft.text;
    screening::follow_up(writer, context, &thread, &participants, &message, &screened, written)?;
    Ok((with_flag(shown, &message, seat.side), true))
}

/// Staff who write in a thread take part in it from then on.
fn join(
    writer: &mut Writer<'_>,
    context: &Context,
    staff: &User,
    thread: &Thread,
) -> Result<Participant, ChatError> {
    let participant = as_staff(context, staff, thread);
    writer.join_thread(&participant)?;
    Ok(participant)
}

/// How staff take part in a thread.
pub(super) fn as_staff(context: &Context, staff: &User, thread: &Thread) -> Participant {
    Participant {
        thread_id: thread.id,
        kind: ParticipantKind::User,
        participant_id: staff.id.clone(),
        side: Side::Staff,
        role: staff.role.as_str().to_owned(),
        joined_at: context.timestamp(),
        left_at: None,
        last_read_message_id: 0,
        activity: thread.activity,
    }
}

/// A page of a thread's history.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn history(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    thread: Id,
    wanted: History,
    limit: i64,
) -> Result<MessagePage, ChatError> {
    let caller = Caller::resolve(reader, credentials)?;
    let seen = rights::see(reader, caller.person()?, thread)?;
    let (messages, next) = match wanted {
        History::Newest => backwards(reader, thread, Id::MAX, limit)?,
        History::Before(id) => backwards(reader, thread, id, limit)?,
        History::After(id) => forwards(reader, thread, id, limit)?,
        History::Around(id) => {
            let before = limit / 2;
            let (mut messages, _) = backwards(reader, thread, id, before)?;
            let (after, next) = forwards(reader, thread, id.saturating_sub(1), limit - before)?;
            messages.extend(after);
            (messages, next)
        }
    };
    let directory = Directory::of(reader, &messages, &[])?;
    let is_mended = |it: &&Message| it.edited_at.is_some() && !it.flagged;
    let mended: Vec<Id> = if sees_flags(seen.seat.side) {
        messages.iter().filter(is_mended).map(|it| it.id).collect()
    } else {
        Vec::new()
    };
    let mended = if mended.is_empty() { mended } else { reader.flagged_before(&mended)? };
    let view = |message: &Message| {
        let view = with_flag(directory.message(message), message, seen.seat.side);
        MessageView { flagged_before: mended.contains(&message.id).then_some(true), ..view }
    };
    Ok(MessagePage {
        messages: messages.iter().map(view).collect(),
        next_cursor: next.map(HistoryCursor),
    })
}

/// The messages before an id, oldest first, and where the page before them begins.
fn backwards(
    reader: &mut Reader<'_>,
    thread: Id,
    before: Id,
    limit: i64,
) -> Result<(Vec<Message>, Option<History>), ChatError> {
    let mut messages = reader.messages_before(thread, before, limit + 1)?;
    let more = cut(&mut messages, limit);
    messages.reverse();
    let next = messages.first().map(|first| History::Before(first.id));
    Ok((messages, next.filter(|_| more)))
}

/// The messages after an id, oldest first, and where the page after them begins.
fn forwards(
    reader: &mut Reader<'_>,
    thread: Id,
    after: Id,
    limit: i64,
) -> Result<(Vec<Message>, Option<History>), ChatError> {
    let mut messages = reader.messages_after(thread, after, limit + 1)?;
    let more = cut(&mut messages, limit);
    let next = messages.last().map(|last| History::After(last.id));
    Ok((messages, next.filter(|_| more)))
}

/// Cuts a list that was fetched with one too many; tells whether there was one.
pub(crate) fn cut<T>(list: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(0);
    let more = list.len() > limit;
    list.truncate(limit);
    more
}

/// A message as its author sees it.
pub(crate) fn view(
    reader: &mut Reader<'_>,
    author: &User,
    message: &Message,
    side: Side,
) -> Result<MessageView, StoreError> {
    let shown = directory_for(reader, author, message)?.message(message);
    Ok(with_flag(shown, message, side))
}

/// Knows whom a message of this author names.
fn directory_for(
    reader: &mut Reader<'_>,
    author: &User,
    message: &Message,
) -> Result<Directory, StoreError> {
    match (message.reply_to, message.attachment_count) {
        (None, 0) => Ok(Directory::of_author(author)),
        _ => Directory::of(reader, std::slice::from_ref(message), &[]),
    }
}

pub(crate) fn with_flag(view: MessageView, message: &Message, viewer: Side) -> MessageView {
    MessageView { flagged: Some(sees_flags(viewer) && message.flagged), ..view }
}
