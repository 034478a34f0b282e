//! Answers by mail: a raw message from the mail server's pipe becomes a message in the thread that its reply address was
//! signed for. Nobody else's answer, no automatic answer and none of our own mails does.

use chrono::TimeDelta;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::addresses::{ReplyTag, is_own_message_id};
use super::settings::MailSettings;
use super::smtp::OWN_HEADER;
use super::{flowed, quoting};
use crate::chat::messages::{self, MessageDraft};
use crate::chat::screening::WordList;
use crate::chat::{Caller, ChatError, Context, Credentials, Refusal, rights};
use crate::html;
use crate::store::{Id, Message, ParticipantKind, Reader, User, Writer};

/// The longest mail that is taken, in bytes. What is attached is not looked at.
pub const MAX_MAIL_BYTES: usize = 20 << 20;

/// How the subjects of automatic answers begin, in lower case; one with a colon may also be all of it.
const AUTOMATIC_SUBJECTS: [&str; 19] = [
    "automatic reply:",
    "automatic response:",
    "auto reply:",
    "auto-reply:",
    "autoreply:",
    "auto response:",
    "auto: re:",
    "out of office",
    "out of the office",
    "automatische antwort:",
    "abwesenheitsnotiz:",
    "réponse automatique:",
    "respuesta automática:",
    "resposta automática:",
    "risposta automatica:",
    "odpowiedź automatyczna:",
    "автоответ:",
    "автоматический ответ:",
    "автоматический ответ на ",
];

/// What the mail server says of a message besides its bytes.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// To which address it was sent.
    pub recipient: Option<String>,
    /// Who gets it back when it cannot be delivered; empty for mails about mails (RFC 5321, section 4.5.5).
    pub sender: Option<String>,
}

/// A raw message, taken apart. Knows nothing of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The tag of its reply address, if it has one.
    tag: Option<ReplyTag>,
    /// Who says to have written it; none unless it is exactly one.
    from: Option<String>,
    /// Why it is no person's answer.
    automatic: Option<&'static str>,
    /// What was written, without what was quoted.
    text: String,
    /// Once for each mail, however often the mail server brings it.
    client_id: String,
}

/// What became of a message from the mail server.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"outcome": "posted", "reason": null, "thread_id": 12, "message_id": 43}))]
pub struct InboundView {
    /// `posted`, or `ignored` for what no person wrote.
    #[schema(example = "posted")]
    pub outcome: &'static str,
    /// Why it was ignored.
    #[schema(required = true)]
    pub reason: Option<&'static str>,
    /// The thread it was posted into.
    #[schema(value_type = Option<i64>, required = true)]
    pub thread_id: Option<Id>,
    /// The message it became.
    #[schema(value_type = Option<i64>, required = true)]
    pub message_id: Option<Id>,
}

impl Inbound {
    /// Takes a raw message apart.
    ///
    /// # Errors
    /// [`Refusal::MailUnreadable`] when it is none, or [`Refusal::MailRepliesOff`].
    pub fn parse(
        raw: &[u8],
        envelope: &Envelope,
        settings: Option<&MailSettings>,
    ) -> Result<Self, ChatError> {
        let reply_address = settings.and_then(|settings| settings.reply_address.as_ref());
        let reply_address = reply_address.ok_or(Refusal::MailRepliesOff)?;
        if raw.len() > MAX_MAIL_BYTES {
            return Err(Refusal::MailUnreadable.into());
        }
        let message = MessageParser::default().parse(raw).ok_or(Refusal::MailUnreadable)?;
        if message.headers().is_empty() {
            return Err(Refusal::MailUnreadable.into());
        }
        // RFC 5322, section 3.6: exactly one. With two of them, programs differ about which is true.
        let is_single = message.header_values("From").count() == 1;
        let from = message.from().filter(|_| is_single).and_then(|from| {
            let mut all = from.iter();
            let first = all.next()?.address.as_deref()?.to_owned();
            all.next().is_none().then_some(first)
        });
        let known = message.message_id().map_or_else(
            // Without an id the whole is one; the mail server's own headers on top may differ.
            || format!("{:?}{:?}{:?}", from, message.date(), message.body_text(0)),
            str::to_owned,
        );
        Ok(Self {
            tag: recipients(&message, envelope)
                .iter()
                .find_map(|address| tag_of(address, reply_address)),
            automatic: automatic(&message, envelope, from.as_deref()),
            from,
            text: own_text(&message),
            client_id: format!("mail-{}", hex::encode(Sha256::digest(known))),
        })
    }
}

/// The addresses that it may have been sent to: the envelope's alone where it is known.
fn recipients(message: &mail_parser::Message<'_>, envelope: &Envelope) -> Vec<String> {
    if let Some(recipient) = envelope.recipient.as_ref().filter(|text| !text.is_empty()) {
        return vec![recipient.clone()];
    }
    let mut all: Vec<String> = Vec::new();
    for header in ["X-Original-To", "Delivered-To", "Envelope-To"] {
        for value in message.header_values(header) {
            all.extend(value.as_text().map(str::to_owned));
            all.extend(
                value
                    .as_address()
                    .into_iter()
                    .flat_map(|it| it.iter())
                    .filter_map(|it| it.address.as_deref().map(str::to_owned)),
            );
        }
    }
    for addresses in message.to().into_iter().chain(message.cc()) {
        all.extend(addresses.iter().filter_map(|it| it.address.as_deref().map(str::to_owned)));
    }
    all
}

/// The tag between `+` and `@` of an address of ours.
fn tag_of(address: &str, (user, host): &(String, String)) -> Option<ReplyTag> {
    let address = address.trim().trim_start_matches('<').trim_end_matches('>');
    let (local, domain) = address.rsplit_once('@')?;
    let (name, tag) = local.split_once('+')?;
    let is_ours = domain.eq_ignore_ascii_case(host) && name.eq_ignore_ascii_case(user);
    ReplyTag::parse(tag).filter(|_| is_ours)
}

/// Why a message is no person's answer (RFC 3834, section 2, and what programs did before it).
fn automatic(
    message: &mail_parser::Message<'_>,
    envelope: &Envelope,
    from: Option<&str>,
) -> Option<&'static str> {
    let text = |name: &str| {
        let value = message.header_raw(name).map(|text| text.trim().to_lowercase());
        value.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned())
    };
    let has = |name: &str| message.header_raw(name).is_some();
    let listed = |value: &HeaderValue<'_>| match value {
        HeaderValue::Text(id) => is_own_message_id(id),
        _ => false,
    };
    if has(OWN_HEADER) || message.header("Message-ID").is_some_and(listed) {
        return Some("own_mail");
    }
    if envelope.sender.as_ref().is_some_and(|it| matches!(it.trim(), "" | "<>" | "MAILER-DAEMON"))
        || text("Return-Path").is_some_and(|path| path == "<>")
    {
        return Some("empty_return_path");
    }
    if text("Auto-Submitted").is_some_and(|value| value != "no") {
        return Some("auto_submitted");
    }
    let precedences = ["bulk", "junk", "list", "auto_reply", "auto-reply"];
    if text("Precedence").is_some_and(|value| precedences.contains(&value.as_str())) {
        return Some("precedence");
    }
    if ["List-Id", "List-Unsubscribe", "List-Post"].iter().any(|name| has(name)) {
        return Some("list");
    }
    let marks = [
        "X-Autoreply",
        "X-Autorespond",
        "X-Auto-Reply",
        "X-AutoReply-From",
        "X-Mail-Autoreply",
        "X-Autoresponder",
        "X-MS-Exchange-Inbox-Rules-Loop",
        "X-Loop",
    ];
    if marks.iter().any(|name| has(name)) {
        return Some("auto_reply");
    }
    // Programs that mark nothing at least say it.
    if is_automatic(message.subject().unwrap_or_default()) {
        return Some("auto_reply");
    }
    let is_report = message.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|it| it.eq_ignore_ascii_case("report"))
    });
    let robots = ["mailer-daemon", "postmaster", "noreply", "no-reply"];
    let robot = from
        .and_then(|from| from.split('@').next())
        .is_some_and(|name| robots.contains(&name.to_lowercase().as_str()));
    (is_report || robot).then_some("report")
}

/// Whether a subject says that no person answers.
fn is_automatic(subject: &str) -> bool {
    let words: Vec<&str> = subject.split_whitespace().collect();
    // In French, a space stands before the colon.
    let subject = words.join(" ").to_lowercase().replace(" :", ":");
    let says = |start: &&str| {
        subject.starts_with(*start) || start.strip_suffix(':') == Some(subject.as_str())
    };
    AUTOMATIC_SUBJECTS.iter().any(says) || subject.ends_with("(out of office)")
}

/// What the person wrote, from the plain text or else the HTML.
fn own_text(message: &mail_parser::Message<'_>) -> String {
    let own = |parts: &[u32]| {
        let texts = parts.iter().filter_map(|part| message.part(*part)).filter_map(|part| {
            let text = part.text_contents()?;
            Some(if part.is_text_html() { html::mail_to_text(text) } else { lines_of(part, text) })
        });
        quoting::unquoted(&texts.collect::<Vec<_>>().join("\n")).replace('\0', "")
    };
    let plain = own(&message.text_body);
    if plain.is_empty() { own(&message.html_body) } else { plain }
}

/// A plain text as it was typed, where its lines were folded and the mail says so.
fn lines_of(part: &mail_parser::MessagePart<'_>, text: &str) -> String {
    let says = |name: &str, value: &str| {
        let said = part.content_type().and_then(|kind| kind.attribute(name));
        said.is_some_and(|it| it.eq_ignore_ascii_case(value))
    };
    if says("format", "flowed") {
        flowed::unfolded(text, says("delsp", "yes"))
    } else {
        text.to_owned()
    }
}

/// Refuses all but the shop's backend, whose mail server brings the answers.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn require_caller(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<(), ChatError> {
    Caller::resolve(reader, credentials)?.require_backend()
}

/// Posts an answer into the thread that its address was signed for, as the person it was signed for.
///
/// # Errors
/// Why it cannot be posted; the mail server tells its sender.
pub(crate) fn post(
    writer: &mut Writer<'_>,
    context: &Context,
    list: &WordList,
    settings: Option<&MailSettings>,
    inbound: &Inbound,
) -> Result<InboundView, ChatError> {
    let settings = settings.ok_or(Refusal::MailRepliesOff)?;
    if let Some(reason) = inbound.automatic {
        tracing::info!(reason, "ignored an automatic mail");
        return Ok(InboundView {
            outcome: "ignored",
            reason: Some(reason),
            thread_id: None,
            message_id: None,
        });
    }
    let tag = inbound.tag.as_ref().ok_or(Refusal::ReplyAddressInvalid)?;
    let mail = writer.mail(tag.mail)?.ok_or(Refusal::ReplyAddressInvalid)?;
    if !settings.keys.verifies_reply(tag, &mail) {
        return Err(Refusal::ReplyAddressInvalid.into());
    }
    if tag.has_expired(context.now) {
        return Err(Refusal::ReplyAddressExpired.into());
    }
    let thread = mail.thread_id.ok_or(Refusal::ReplyAddressInvalid)?;
    let author = writer.user(&mail.user_id)?.ok_or(Refusal::ReplyAddressInvalid)?;
    let is_theirs = match (&author.email, &inbound.from) {
        (Some(own), Some(from)) => own.to_lowercase() == from.to_lowercase(),
        _ => false,
    };
    if !is_theirs {
        return Err(Refusal::ReplySenderMismatch.into());
    }
    let seen = rights::see(writer, &author, thread)?;
    let draft = MessageDraft {
        text: inbound.text.clone(),
        attachment_ids: Vec::new(),
        reply_to: None,
        client_id: Some(inbound.client_id.clone()),
    };
    draft.validate()?;
    require_room(writer, context, settings.messages_per_minute, &author, thread, &draft)?;
    let (message, _) = messages::append(writer, context, list, &author, seen, &draft)?;
    Ok(InboundView {
        outcome: "posted",
        reason: None,
        thread_id: Some(thread),
        message_id: Some(message.id),
    })
}

/// Messages that one look into the database takes along.
const PAGE: i64 = 200;

/// Refuses who has written as much in the thread within a minute as one person may, by whatever way: the mail server keeps the
/// answer and brings it again. Counted in the store, since the mail server's pipe is a process of its own each time.
fn require_room(
    reader: &mut Reader<'_>,
    context: &Context,
    per_minute: u32,
    author: &User,
    thread: Id,
    draft: &MessageDraft,
) -> Result<(), ChatError> {
    if let Some(client_id) = &draft.client_id
        && reader.message_by_client_id(ParticipantKind::User, &author.id, client_id)?.is_some()
    {
        // What was taken once stays taken.
        return Ok(());
    }
    let since = context.timestamp() - TimeDelta::minutes(1);
    let is_own = |it: &&Message| {
        it.author_kind == ParticipantKind::User
            && it.author_id == author.id
            && it.system_entry.is_none()
    };
    if per_minute == 0 {
        return Ok(());
    }
    let (mut before, mut written) = (Id::MAX, 0);
    loop {
        let mut page = reader.messages_before(thread, before, PAGE)?;
        page.retain(|message| message.created_at > since);
        written += page.iter().filter(is_own).count();
        if u32::try_from(written).is_ok_and(|written| written >= per_minute) {
            return Err(Refusal::TooManyMessages.into());
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|count| count == PAGE) => {
                before = last.id;
            }
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_tell_automatic_answers_from_those_of_people() {
        for subject in [
            "Automatic reply: New message [#12]",
            "Abwesenheitsnotiz: New message",
            "Respuesta automática: Nuevo",
            "Risposta automatica: Nuovo",
            "Réponse automatique : Nouveau",
            "Réponse automatique\u{a0}: Nouveau",
            "Auto: Re: New message",
            "Re: New message (Out of Office)",
            "Out of office until Monday",
            "Автоответ: Новое",
            "Автоответ",
        ] {
            assert!(is_automatic(subject), "{subject}");
        }
        for subject in [
            "",
            "Re: New message [#12]",
            "Автоответчик Panasonic",
            "Auto: which tyres?",
            "Réponse automatiquement fausse",
        ] {
            assert!(!is_automatic(subject), "{subject}");
        }
    }

    #[test]
    fn folded_lines_are_one_paragraph_as_they_were_typed() {
        let text = |parameters: &str| {
            let raw = format!(
                "From: a@b.example\r\nContent-Type: text/plain; charset=utf-8{parameters}\r\n\r\n\
                 Yes, it \r\nis.\r\n >5 kg\r\n-- \r\nBob\r\n"
            );
            own_text(&MessageParser::default().parse(&raw).unwrap())
        };
        assert_eq!(text("; format=Flowed"), "Yes, it is.\n >5 kg");
        assert_eq!(text("; format=flowed; DelSp=yes"), "Yes, itis.\n >5 kg");
        assert_eq!(text(""), "Yes, it\nis.\n >5 kg");
    }
}
