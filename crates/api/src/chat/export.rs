//! What is kept of one person (B6), as the person may see it: piece by piece, since there may be much of it.

use serde_json::{Value, json};

use super::audit::{self, AuditView, action};
use super::rights;
use super::views::{Directory, UserView};
use super::{Caller, ChatError, Context, Credentials, messages, threads, users};
use crate::notify::admin::MailView;
use crate::store::{
    Attachment, AuditFilter, Id, MailFilter, Message, ParticipantKind, Reader, Side, User, Writer,
};

/// Rows that one look into the database takes along.
const PAGE: i64 = 200;
/// The same, of files.
pub(crate) const FILES: usize = 200;

/// A page of something, and where the next one begins.
pub(crate) type Page = (Vec<Value>, Option<Id>);

/// Whether the caller may have all that is kept of a person: the person itself, the shop's backend, root administrators. It is
/// noted who took it.
///
/// # Errors
/// Why the caller may not, or that there is no such user.
pub(crate) fn begin(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: &str,
) -> Result<User, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    match &caller {
        Caller::User { user, .. } if user.id == id => {}
        _ => caller.require_root()?,
    }
    let user = users::present(writer, id)?;
    audit::note(writer, &caller, context, action::USER_EXPORTED, audit::user(id), None)?;
    Ok(user)
}

/// What the shop said of the person, what the person chose, and when it was here.
pub(crate) fn profile(reader: &mut Reader<'_>, user: &User) -> Result<Value, ChatError> {
    let last_seen = reader.last_seen(std::slice::from_ref(&user.id))?.pop_first();
    Ok(json!({
        "user": UserView::from(user.clone()),
        "mails": user.mail_choice,
        "unread_total": user.unread_total,
        "last_seen_at": last_seen.map(|(_, at)| chaffer_shared::time::format(&at.and_utc())),
    }))
}

/// How far the person has read each thread.
pub(crate) fn read_states(reader: &mut Reader<'_>, user: &User) -> Result<Vec<Value>, ChatError> {
    let states = reader.all_read_states(&user.id)?;
    let view = |it: crate::store::ReadState| {
        json!({
            "thread_id": it.thread_id,
            "last_read_message_id": it.last_read_message_id,
            "unread_count": it.unread_count,
        })
    };
    Ok(states.into_iter().map(view).collect())
}

/// The threads in which the person takes or took part, or wrote.
pub(crate) fn threads(reader: &mut Reader<'_>, user: &User) -> Result<Vec<Id>, ChatError> {
    let mut ids = reader.threads_joined(&user.id)?;
    ids.extend(reader.written_for_vendors(&user.id)?.into_iter().map(|(thread, _)| thread));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// One thread, and whose side the person is on; of one that is no longer the person's to see, no more than its number.
pub(crate) fn thread(
    reader: &mut Reader<'_>,
    user: &User,
    thread: Id,
) -> Result<(Value, Option<Side>), ChatError> {
    let hidden = json!({"id": thread});
    let Some((found, participants)) = reader.thread_with_participants(thread)? else {
        return Ok((hidden, None));
    };
    match rights::seat(user, &found, &participants) {
        None => Ok((hidden, None)),
        Some(seat) => {
            let view = serde_json::to_value(threads::one(reader, user, thread)?);
            Ok((view.unwrap_or(hidden), Some(seat.side)))
        }
    }
}

/// A page of a thread's messages: all that the person may see, or else the person's own. Of these also what others do not
/// see: what was said before, what was taken back. What stands behind `***` only administrators read, by a call of its own.
pub(crate) fn messages(
    reader: &mut Reader<'_>,
    user: &User,
    thread: Id,
    side: Option<Side>,
    after: Id,
) -> Result<Page, ChatError> {
    let mut page = reader.messages_after(thread, after, PAGE)?;
    let next = page.last().filter(|_| is_full(page.len())).map(|last| last.id);
    let is_own = |it: &Message| it.author_kind == ParticipantKind::User && it.author_id == user.id;
    if side.is_none() {
        page.retain(is_own);
    }
    let own: Vec<Id> = page.iter().filter(|it| is_own(it)).map(|it| it.id).collect();
    let versions = reader.versions_of(&own)?;
    let directory = Directory::of(reader, &page, &[])?;
    let view = |message: &Message| {
        let mut view = directory.message(message);
        if !is_own(message) {
            let seen = messages::with_flag(view, message, side.unwrap_or(Side::Customer));
            return serde_json::to_value(seen).unwrap_or_default();
        }
        view.text.clone_from(&message.text);
        if side.is_none() {
            view.quote = None;
        }
        let mut view = serde_json::to_value(view).unwrap_or_default();
        let earlier = versions
            .iter()
            .filter(|it| it.message_id == message.id)
            .map(|it| json!({"text": it.text, "written_at": it.written_at.and_utc()}));
        if let Some(view) = view.as_object_mut() {
            view.insert("earlier".into(), earlier.collect());
        }
        view
    };
    Ok((page.iter().map(view).collect(), next))
}

/// The files that the person uploaded, sent or not.
pub(crate) fn files(reader: &mut Reader<'_>, user: &User) -> Result<Vec<Id>, ChatError> {
    Ok(reader.attachments_by(&user.id)?)
}

/// Those of them that are still there, in their order.
pub(crate) fn some_files(
    reader: &mut Reader<'_>,
    ids: &[Id],
) -> Result<Vec<Attachment>, ChatError> {
    let mut found = reader.attachments(ids)?;
    found.sort_unstable_by_key(|it| it.id);
    Ok(found)
}

/// Where a file is in the archive: under its name, which every system can unpack, behind its number, which is its own.
pub(crate) fn file_name(attachment: &Attachment) -> String {
    format!("files/{}-{}", attachment.id, attachment.name.replace('*', "_"))
}

/// What is known of a file; `name` is where it is in the archive, if the storage has it.
pub(crate) fn file(attachment: &Attachment, name: Option<&String>) -> Value {
    json!({
        "id": attachment.id,
        "message_id": attachment.message_id,
        "name": attachment.name,
        "size": attachment.size,
        "mime_type": attachment.mime_type,
        "uploaded_at": attachment.created_at.and_utc(),
        "file": name,
    })
}

/// A page of the mails to the person: what about, when, and what became of each.
pub(crate) fn mails(
    reader: &mut Reader<'_>,
    user: &User,
    below: Option<Id>,
) -> Result<Page, ChatError> {
    let filter = MailFilter { user_id: Some(user.id.clone()), below, ..MailFilter::default() };
    let page = reader.list_mails(&filter, PAGE)?;
    let next = page.last().filter(|_| is_full(page.len())).map(|last| last.id);
    let view = |it| serde_json::to_value(MailView::from(it)).unwrap_or_default();
    Ok((page.into_iter().map(view).collect(), next))
}

/// A page of what the audit log says that the person did.
pub(crate) fn deeds(
    reader: &mut Reader<'_>,
    user: &User,
    below: Option<Id>,
) -> Result<Page, ChatError> {
    let filter = AuditFilter { actor_id: Some(user.id.clone()), below, ..AuditFilter::default() };
    let page = reader.audit_entries(&filter, PAGE)?;
    let next = page.last().filter(|_| is_full(page.len())).map(|last| last.id);
    let view = |it| serde_json::to_value(AuditView::from(it)).unwrap_or_default();
    Ok((page.into_iter().map(view).collect(), next))
}

fn is_full(count: usize) -> bool {
    i64::try_from(count).is_ok_and(|count| count >= PAGE)
}
