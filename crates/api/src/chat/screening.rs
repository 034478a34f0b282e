//! What a message becomes on its way in (R11, B9): the one place through which every outgoing text goes, whoever wrote it and
//! however it comes.

use chaffer_forbidden_words::{Action, Entry, Finding, Kind, Matcher};
use chaffer_shared::event::name;
use chaffer_shared::topic::Topic;

use super::{ChatError, Context, FieldError, Refusal, addressing, settings};
use crate::store::{
    Cause, ForbiddenWord, Message, MessageOriginal, NewEvent, Participant, Reader, StoreError,
    Thread, WordAction, WordKind, Writer,
};

/// The list of forbidden words, compiled, and which version of it this is.
#[derive(Debug)]
pub struct WordList {
    version: i64,
    matcher: Option<Matcher>,
}

/// A text as it may go out.
#[derive(Debug)]
pub(crate) struct Screened {
    /// With `***` in the place of what is masked.
    pub(crate) text: String,
    /// Whether something was found in it.
    pub(crate) flagged: bool,
    /// Whether `text` is not what was written.
    is_masked: bool,
}

impl Screened {
    /// Whether a message that says this already says all of it.
    pub(crate) fn is_what_it_says(&self, message: &Message) -> bool {
        !self.is_masked && self.text == message.text && self.flagged == message.flagged
    }
}

impl WordList {
    /// The list before anything is on it.
    #[must_use]
    pub fn empty() -> Self {
        Self { version: 0, matcher: None }
    }

    /// Compiles a list as the store has it. Takes a while for a long one: not for the threads of the store.
    ///
    /// # Errors
    /// When it does not fit into memory.
    pub fn compile(
        version: i64,
        words: &[ForbiddenWord],
    ) -> Result<Self, chaffer_forbidden_words::BuildError> {
        let (matcher, unusable) = Matcher::new(words.iter().map(entry).collect())?;
        for (id, error) in unusable {
            // Each was checked before it was stored: an older version has let it pass.
            tracing::warn!(forbidden_word = id, %error, "an entry cannot be used and is left out");
        }
        Ok(Self { version, matcher: Some(matcher) })
    }

    /// Which version of the list it is.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    pub(crate) fn scan(&self, text: &str) -> Option<chaffer_forbidden_words::Scan> {
        self.matcher.as_ref().map(|matcher| matcher.scan(text))
    }
}

/// An entry as the matcher takes it.
pub(crate) fn entry(word: &ForbiddenWord) -> Entry {
    Entry {
        id: word.id,
        kind: match word.kind {
            WordKind::Phrase => Kind::Phrase,
            WordKind::Email => Kind::Email,
            WordKind::Phone => Kind::Phone,
            WordKind::Link => Kind::Link,
            WordKind::Regex => Kind::Regex,
        },
        phrase: word.phrase.clone(),
        action: match word.action {
            WordAction::Mask => Action::Mask,
            WordAction::Flag => Action::Flag,
            WordAction::Refuse => Action::Refuse,
        },
        exceptions: serde_json::from_str(&word.exceptions).unwrap_or_default(),
    }
}

/// Looks through a text that is to go out.
///
/// # Errors
/// [`ChatError::StaleWordList`] when the list has changed: to be run again with the new one. [`Refusal::ForbiddenWords`] with
/// what was found, when that is refused.
pub(crate) fn screen(
    writer: &mut Writer<'_>,
    list: &WordList,
    text: &str,
) -> Result<Screened, ChatError> {
    // What this commit sees, not what somebody saw before: a change counts from the next message on, on every node.
    if writer.list_version() != list.version {
        return Err(ChatError::StaleWordList);
    }
    let Some(scan) = list.scan(text) else {
        return Ok(Screened { text: text.to_owned(), flagged: false, is_masked: false });
    };
    let refused = scan.findings.iter().filter(|it| it.action == Action::Refuse);
    let reasons: Vec<FieldError> =
        refused.map(|finding| FieldError::body("/text", why(finding, text))).collect();
    if !reasons.is_empty() {
        return Err(ChatError::RefusedFor(Refusal::ForbiddenWords, reasons));
    }
    Ok(Screened {
        is_masked: scan.masked != text,
        flagged: !scan.findings.is_empty(),
        text: scan.masked,
    })
}

/// A sentence for the sender, who may then write it otherwise.
fn why(finding: &Finding, text: &str) -> String {
    let written = text.get(finding.range.clone()).unwrap_or_default();
    let what = match finding.kind {
        Kind::Phrase | Kind::Regex => "must not be written here",
        Kind::Email => "is an e-mail address, and must not be sent here",
        Kind::Phone => "is a phone number, and must not be sent here",
        Kind::Link => "is a link, and must not be sent here",
    };
    format!("“{written}” {what}; change the text and send it again")
}

/// What else has to be done for a message in which something was found, once it is stored.
pub(crate) fn follow_up(
    writer: &mut Writer<'_>,
    context: &Context,
    thread: &Thread,
    participants: &[Participant],
    message: &Message,
    screened: &Screened,
    written: &str,
) -> Result<(), ChatError> {
    if !screened.flagged {
        return Ok(());
    }
    if screened.is_masked && settings::read(writer)?.keep_originals {
        writer.insert_original(&MessageOriginal {
            message_id: message.id,
            text: written.to_owned(),
            created_at: context.timestamp(),
        })?;
    }
    if !thread.flagged {
        writer.flag_thread(thread.id)?;
    }
    let topics = told(writer, thread, participants)?;
    let data = serde_json::json!({"thread_id": thread.id, "message_id": message.id});
    writer.emit(NewEvent {
        name: name::MESSAGE_FLAGGED,
        topics: &topics,
        cause: Cause { thread: Some(thread.id), message: None, data: Some(data) },
        shown: None,
        request_id: &context.request_id,
        at: context.timestamp(),
    });
    Ok(())
}

/// Who is told of flags: those who see them. Not the customer.
fn told(
    reader: &mut Reader<'_>,
    thread: &Thread,
    participants: &[Participant],
) -> Result<Vec<Topic>, StoreError> {
    let customers: Vec<Topic> = participants
        .iter()
        .filter(|it| !super::views::sees_flags(it.side))
        .map(|it| Topic::of_person(&it.participant_id))
        .collect();
    let mut topics = addressing::of_thread(reader, thread, participants)?;
    topics.retain(|topic| !customers.contains(topic));
    Ok(topics)
}
