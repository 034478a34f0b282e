//! What a mail tells: from a mail of the queue to the data of its template, as things are at the moment of sending; or why
//! it is not needed any more.

use serde::Serialize;

use super::addresses::MailKeys;
use super::preferences;
use super::settings::MailSettings;
use super::templates::{self, Parts};
use crate::chat::rights::{self, Seen};
use crate::chat::settings::Settings;
use crate::chat::{ChatError, erasure};
use crate::store::{
    Audience, Id, Mail, MailChoice, MailKind, Message, ParticipantKind, ReadState, Reader, Role,
    Side, StoreError, Thread, Timestamp, User,
};

/// Messages that one mail shows at the most, and threads that a digest does.
const MAX_SHOWN: usize = 20;
/// Unread messages that are looked at for one mail.
const MAX_READ: i64 = 200;
/// Characters of a thread's last message in a digest.
const SNIPPET_CHARS: usize = 300;

/// The data of a template.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Letter {
    /// About one thread.
    Thread(Box<ThreadLetter>),
    /// About everything unread.
    Digest(DigestLetter),
}

/// What a mail about one thread can say.
#[derive(Debug, Clone, Serialize)]
pub struct ThreadLetter {
    shop: Named,
    recipient: Named,
    thread: ThreadData,
    vendor: VendorData,
    author: Author,
    messages: Vec<MessageData>,
    /// Messages that are not shown.
    more: i64,
    can_reply: bool,
    unsubscribe_url: Option<String>,
}

/// What a digest can say.
#[derive(Debug, Clone, Serialize)]
pub struct DigestLetter {
    shop: Named,
    recipient: Named,
    unread_count: i64,
    threads: Vec<DigestThread>,
    unsubscribe_url: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, Serialize)]
struct VendorData {
    name: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct ThreadData {
    id: Id,
    subject: String,
    subject_url: Option<String>,
    url: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Author {
    name: String,
    /// The vendor that the author speaks for.
    vendor: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct MessageData {
    author: String,
    text: String,
    /// Day and minute, UTC.
    time: String,
}

#[derive(Debug, Clone, Serialize)]
struct DigestThread {
    id: Id,
    subject: String,
    url: Option<String>,
    unread_count: i64,
    author: String,
    text: String,
}

/// A mail that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The person's name; empty of a visitor.
    pub name: String,
    /// The person's address.
    pub address: String,
    /// What it says.
    pub parts: Parts,
    /// The tag of the address that an answer goes to.
    pub reply_tag: Option<String>,
    /// Where the person chooses which mails come.
    pub unsubscribe_url: Option<String>,
    /// The last message that it tells of.
    pub last_message: Option<Id>,
    /// How far the person has read.
    pub read_position: Id,
    /// Whether the person had read everything that came before: who is there now may be looking at the thread.
    pub caught_up: bool,
}

/// What is to be done with a mail whose time has come.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// Send it.
    Send(Box<Ready>),
    /// It is not needed any more; the reason is kept.
    Skip(&'static str),
    /// The person has chosen the digest meanwhile.
    ToDigest,
}

/// Looks at a mail whose time has come.
///
/// # Errors
/// The store's own.
pub(crate) fn prepare(
    reader: &mut Reader<'_>,
    settings: &MailSettings,
    mail: &Mail,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Prepared, StoreError> {
    let Some(user) = reader.user(&mail.user_id)? else { return Ok(Prepared::Skip("no_user")) };
    let Some(address) = user.email.clone() else { return Ok(Prepared::Skip("no_address")) };
    match (preferences::wanted(reader, &user)?, mail.thread_id) {
        (MailChoice::None, _) => return Ok(Prepared::Skip("unwanted")),
        (MailChoice::Digest, Some(_)) => return Ok(Prepared::ToDigest),
        (MailChoice::All, None) => return Ok(Prepared::Skip("unwanted")),
        _ => {}
    }
    let shop = crate::chat::settings::read(reader)?;
    let told = match mail.thread_id {
        Some(thread) => about_thread(reader, settings, &shop, mail, &user, thread, now)?,
        None => about_everything(reader, settings, &shop, &user)?,
    };
    let Some(Told { letter, audience, last_message, read_position, caught_up, reply_tag }) = told
    else {
        return Ok(Prepared::Skip("read"));
    };
    let locale = user.locale.as_deref();
    let source = templates::choose(reader, audience, mail.kind, locale, &shop.language)?;
    let parts = match templates::render(&source, &letter) {
        Ok(parts) => parts,
        Err(error) => {
            // The shop's own template, saved by an older version: the mail is worth more than its looks.
            tracing::error!(%error, kind = mail.kind.as_str(), "a mail template fails; taking the default");
            let default = templates::default(audience, mail.kind, templates::FALLBACK);
            let rendered = default.and_then(|it| templates::render(&it.parts, &letter).ok());
            let Some(parts) = rendered else { return Ok(Prepared::Skip("template")) };
            parts
        }
    };
    Ok(Prepared::Send(Box::new(Ready {
        name: own_name(&user),
        address,
        parts,
        reply_tag,
        unsubscribe_url: settings.unsubscribe_url(&preferences::link_of(&user)),
        last_message,
        read_position,
        caught_up,
    })))
}

struct Told {
    letter: Letter,
    audience: Audience,
    last_message: Option<Id>,
    read_position: Id,
    caught_up: bool,
    reply_tag: Option<String>,
}

/// What is new in a thread for a person; `None` when nothing is.
fn about_thread(
    reader: &mut Reader<'_>,
    settings: &MailSettings,
    shop: &Settings,
    mail: &Mail,
    user: &User,
    thread: Id,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Option<Told>, StoreError> {
    let Some(Seen { thread, participants, seat }) = seen(reader, user, thread)? else {
        return Ok(None);
    };
    let state = reader.read_states(&user.id, &[thread.id])?.pop();
    let state = state.unwrap_or_else(|| ReadState::new(&user.id, thread.id));
    let after = state.last_read_message_id.max(mail.first_message_id - 1);
    let mut new = reader.messages_after(thread.id, after, MAX_READ)?;
    new.retain(|message| {
        message.side != seat.side && message.author_id != user.id && is_text(message)
    });
    let (Some(first), Some(last)) = (new.first(), new.last().map(|it| it.id)) else {
        return Ok(None);
    };
    let earlier = reader.messages_before(thread.id, mail.first_message_id, 1)?;
    let caught_up = !earlier.is_empty()
        && earlier.iter().all(|it| it.id <= state.last_read_message_id || it.author_id == user.id);
    let author_ids: Vec<&str> = new.iter().map(|message| message.author_id.as_str()).collect();
    let authors = reader.users(&author_ids)?;
    let name_of = |message: &Message| {
        let author = authors.iter().find(|it| it.id == message.author_id);
        author.map(|it| name_for(user, shop, it)).unwrap_or_default()
    };
    let vendor = participants.iter().find(|it| it.kind == ParticipantKind::Vendor);
    let vendor = match vendor {
        Some(vendor) => reader.vendor(&vendor.participant_id)?.map(|it| it.name),
        None => None,
    };
    let audience = audience(user);
    let more = new.len().saturating_sub(MAX_SHOWN);
    let reply_tag = settings.reply_tag(mail, now);
    let letter = ThreadLetter {
        shop: Named { name: settings.shop_name(shop) },
        recipient: Named { name: own_name(user) },
        thread: ThreadData {
            id: thread.id,
            subject: thread
                .subject_title
                .clone()
                .or_else(|| vendor.clone().filter(|_| audience == Audience::Customer))
                .unwrap_or_else(|| name_of(first)),
            subject_url: subject_url(settings, user, &thread),
            url: url(settings, user, &thread),
        },
        author: Author {
            name: name_of(first),
            vendor: vendor.clone().filter(|_| first.side == Side::Vendor),
        },
        vendor: VendorData { name: vendor },
        messages: new.iter().skip(more).map(|it| message_data(name_of(it), it)).collect(),
        more: i64::try_from(more).unwrap_or(0),
        can_reply: reply_tag.is_some(),
        unsubscribe_url: settings.unsubscribe_url(&preferences::link_of(user)),
    };
    Ok(Some(Told {
        letter: Letter::Thread(Box::new(letter)),
        audience,
        last_message: Some(last),
        read_position: state.last_read_message_id,
        caught_up,
        reply_tag,
    }))
}

/// A thread as a person sits in it; `None` when it is not the person's to see.
pub(super) fn seen(
    reader: &mut Reader<'_>,
    user: &User,
    thread: Id,
) -> Result<Option<Seen>, StoreError> {
    match rights::see(reader, user, thread) {
        Ok(seen) => Ok(Some(seen)),
        Err(ChatError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What a mail to this person calls another one.
fn name_for(recipient: &User, shop: &Settings, person: &User) -> String {
    if person.erased_at.is_none() {
        return person.name.clone();
    }
    let language = recipient.locale.as_deref().unwrap_or(&shop.language);
    erasure::deleted_user(language).to_owned()
}

/// Whether somebody wrote it, and has not taken it back.
fn is_text(message: &Message) -> bool {
    message.deleted_at.is_none() && message.system_entry.is_none()
}

fn message_data(author: String, message: &Message) -> MessageData {
    let mut text = message.text.clone();
    if message.attachment_count > 0 {
        let space = if text.is_empty() { "" } else { " " };
        text.push_str(space);
        text.push('📎');
    }
    MessageData { author, text, time: time(message.created_at) }
}

fn time(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Everything that a person has not read; `None` when that is nothing.
fn about_everything(
    reader: &mut Reader<'_>,
    settings: &MailSettings,
    shop: &Settings,
    user: &User,
) -> Result<Option<Told>, StoreError> {
    let audience = audience(user);
    let unread = reader.unread_threads(&user.id)?;
    let mut threads = Vec::new();
    for (id, unread_count) in unread.iter().take(MAX_SHOWN) {
        let Some(Seen { thread, .. }) = seen(reader, user, *id)? else { continue };
        let last = reader.messages_before(thread.id, Id::MAX, MAX_READ)?;
        let is_news = |message: &&Message| is_text(message) && message.author_id != user.id;
        let Some(last) = last.iter().find(is_news) else { continue };
        let author = reader.user(&last.author_id)?;
        let author = author.map(|it| name_for(user, shop, &it)).unwrap_or_default();
        let mut text: String = last.text.chars().take(SNIPPET_CHARS).collect();
        if text.len() < last.text.len() {
            text.push('…');
        }
        threads.push(DigestThread {
            id: thread.id,
            subject: thread.subject_title.clone().unwrap_or_else(|| author.clone()),
            url: url(settings, user, &thread),
            unread_count: *unread_count,
            author,
            text,
        });
    }
    if threads.is_empty() {
        return Ok(None);
    }
    let letter = DigestLetter {
        shop: Named { name: settings.shop_name(shop) },
        recipient: Named { name: own_name(user) },
        unread_count: unread.iter().map(|(_, count)| count).sum(),
        threads,
        unsubscribe_url: settings.unsubscribe_url(&preferences::link_of(user)),
    };
    Ok(Some(Told {
        letter: Letter::Digest(letter),
        audience,
        last_message: None,
        read_position: 0,
        caught_up: false,
        reply_tag: None,
    }))
}

/// Where a person reads a thread: on a page that takes an account, or else where the thread was begun.
fn url(settings: &MailSettings, user: &User, thread: &Thread) -> Option<String> {
    match user.role {
        Role::Visitor => subject_url(settings, user, thread),
        _ => settings.thread_url(audience(user), thread.id),
    }
}

/// Where what the thread is about is shown. What a visitor calls the page may be any, and the mail goes to an address that nobody
/// has checked: only the shop's own pages are named.
fn subject_url(settings: &MailSettings, user: &User, thread: &Thread) -> Option<String> {
    let url = thread.subject_url.clone();
    url.filter(|url| user.role != Role::Visitor || settings.is_own_page(url))
}

/// How a mail addresses its recipient: visitors without a name, since they may give any for anybody's address.
fn own_name(user: &User) -> String {
    if user.role == Role::Visitor { String::new() } else { user.name.clone() }
}

/// Whom a template for this person speaks to.
pub(crate) fn audience(user: &User) -> Audience {
    if user.role == Role::VendorAdmin { Audience::Vendor } else { Audience::Customer }
}

/// Sample data of a kind: with everything, or with as little as there can be.
#[must_use]
pub fn sample(kind: MailKind, is_full: bool) -> Letter {
    let full = |text: &str| is_full.then(|| text.to_owned());
    let shop = Named { name: "Kiln Shop".into() };
    // Visitors have none.
    let recipient = Named { name: full("Anna").unwrap_or_default() };
    let unsubscribe_url = full("https://shop.example/chat/v1/mail/unsubscribe/sample");
    let text = "Is it dishwasher-safe?\nAnd <b>how</b> large is it & how heavy?".to_owned();
    if kind == MailKind::Digest {
        return Letter::Digest(DigestLetter {
            shop,
            recipient,
            unread_count: 3,
            threads: vec![DigestThread {
                id: 12,
                subject: "Stoneware mug".into(),
                url: full("https://shop.example/messages/12"),
                unread_count: 3,
                author: "Mikkel".into(),
                text,
            }],
            unsubscribe_url,
        });
    }
    Letter::Thread(Box::new(ThreadLetter {
        shop,
        recipient,
        thread: ThreadData {
            id: 12,
            subject: "Stoneware mug".into(),
            subject_url: full("https://shop.example/p/1042"),
            url: full("https://shop.example/messages/12"),
        },
        vendor: VendorData { name: full("Kiln & Clay") },
        author: Author { name: "Mikkel".into(), vendor: full("Kiln & Clay") },
        messages: vec![MessageData {
            author: "Mikkel".into(),
            text,
            time: "2026-03-01 09:30 UTC".into(),
        }],
        more: i64::from(is_full),
        can_reply: is_full,
        unsubscribe_url,
    }))
}

#[cfg(test)]
impl Letter {
    /// Has all people write this.
    pub(super) fn set_texts(&mut self, text: &str) {
        match self {
            Self::Thread(letter) => {
                letter.messages.iter_mut().for_each(|it| it.text = text.to_owned());
            }
            Self::Digest(letter) => {
                letter.threads.iter_mut().for_each(|it| it.text = text.to_owned());
            }
        }
    }
}

/// What a reply address is made with.
impl MailSettings {
    fn reply_tag(&self, mail: &Mail, now: chrono::DateTime<chrono::Utc>) -> Option<String> {
        let keys: &MailKeys = &self.keys;
        self.reply_address.as_ref()?;
        keys.reply_tag(mail, now, self.reply_days)
    }
}
