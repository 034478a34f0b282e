//! The list of forbidden words (R11, B9): kept by the shop's backend and those who manage messages.

use chaffer_forbidden_words::{Entry, EntryError, MAX_REGEXES};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::audit::{self, action};
use super::screening::{self, WordList};
use super::validate::{MAX_TEXT_CHARS, Problems};
use super::{
    Caller, ChatError, Context, Credentials, IdempotencyKey, Refusal, messages, once, rights,
};
use crate::store::{ForbiddenWord, ForbiddenWordFilter, Id, Reader, WordAction, WordKind, Writer};

/// The most entries of a list.
pub(crate) const MAX_ENTRIES: i64 = 20_000;

/// An entry to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"phrase": "whatsapp", "kind": "phrase", "action": "mask"}))]
pub struct ForbiddenWordInput {
    /// What it finds; `phrase` when absent.
    #[serde(default = "phrase")]
    #[schema(default = "phrase")]
    pub kind: WordKind,
    /// The word, phrase or regular expression; absent for the other kinds. Case, accents, look-alike letters, separators and digits
    /// for letters make no difference; a `*` at an end stands for the rest of a word.
    #[schema(example = "whatsapp", max_length = 500)]
    pub phrase: Option<String>,
    /// What happens to a message; `mask` when absent.
    #[serde(default = "mask")]
    #[schema(default = "mask")]
    pub action: WordAction,
    /// Of `email` and `link` the domains, of `phone` the numbers that are allowed: the shop's own.
    #[serde(default)]
    #[schema(max_items = 100, example = json!([]))]
    pub exceptions: Vec<String>,
}

fn phrase() -> WordKind {
    WordKind::Phrase
}

fn mask() -> WordAction {
    WordAction::Mask
}

/// What is to be changed of an entry.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"action": "refuse"}))]
pub struct ForbiddenWordPatch {
    /// The word, phrase or regular expression.
    #[serde(default, deserialize_with = "super::object::not_null")]
    #[schema(nullable = false, max_length = 500)]
    pub phrase: Option<String>,
    /// What happens to a message.
    #[serde(default, deserialize_with = "super::object::not_null")]
    #[schema(nullable = false)]
    pub action: Option<WordAction>,
    /// What is allowed all the same.
    #[serde(default, deserialize_with = "super::object::not_null")]
    #[schema(nullable = false, max_items = 100)]
    pub exceptions: Option<Vec<String>>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "id": 5, "kind": "phrase", "phrase": "whatsapp", "action": "mask", "exceptions": [],
        "created_at": "2026-03-01T09:30:00.000Z", "updated_at": "2026-03-01T09:30:00.000Z"
    })
)]
pub struct ForbiddenWordView {
    /// Its number.
    #[schema(value_type = i64, example = 5)]
    pub id: Id,
    /// What it finds.
    pub kind: WordKind,
    /// The word, phrase or regular expression; null for the other kinds.
    #[schema(required = true, example = "whatsapp")]
    pub phrase: Option<String>,
    /// What happens to a message.
    pub action: WordAction,
    /// What is allowed all the same.
    pub exceptions: Vec<String>,
    /// When it came in.
    #[serde(with = "chaffer_shared::time")]
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    #[serde(with = "chaffer_shared::time")]
    pub updated_at: DateTime<Utc>,
}

/// A page of the list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ForbiddenWordPage {
    /// The newest first.
    pub forbidden_words: Vec<ForbiddenWordView>,
    /// Where the next page begins; null at the end.
    #[schema(required = true, example = "5")]
    pub next_cursor: Option<String>,
}

/// A text to be tried.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Write me on W h a t s A p p"}))]
pub struct SampleText {
    /// As somebody might write it.
    #[schema(example = "Write me on W h a t s A p p", max_length = 10_000)]
    pub text: String,
}

/// What would happen to a text, and why.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "outcome": "mask", "text": "Write me on ***",
        "findings": [{
            "forbidden_word_id": 5, "kind": "phrase", "phrase": "whatsapp", "action": "mask", "start": 12, "end": 27,
            "matched": "W h a t s A p p", "read_as": "whatsapp"
        }]
    })
)]
pub struct CheckedText {
    /// The severest action of what was found; null: nothing was.
    #[schema(required = true)]
    pub outcome: Option<WordAction>,
    /// As readers would see it, if it is not refused.
    #[schema(example = "Write me on ***")]
    pub text: String,
    /// What was found, in the order of the text.
    pub findings: Vec<FindingView>,
}

/// One occurrence.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    example = json!({
        "forbidden_word_id": 5, "kind": "phrase", "phrase": "whatsapp", "action": "mask", "start": 12, "end": 27,
        "matched": "W h a t s A p p", "read_as": "whatsapp"
    })
)]
pub struct FindingView {
    /// The entry that found it.
    #[schema(value_type = i64, example = 5)]
    pub forbidden_word_id: Id,
    /// What kind of entry that is.
    pub kind: WordKind,
    /// Its phrase.
    #[schema(required = true)]
    pub phrase: Option<String>,
    /// What it asks for.
    pub action: WordAction,
    /// Where it begins, in characters (Unicode code points) from the beginning.
    #[schema(example = 12)]
    pub start: usize,
    /// Where it ends, likewise; the character there is the first behind it.
    #[schema(example = 27)]
    pub end: usize,
    /// As it was written.
    #[schema(example = "W h a t s A p p")]
    pub matched: String,
    /// As it was read, behind all disguise.
    #[schema(example = "whatsapp")]
    pub read_as: String,
}

impl From<ForbiddenWord> for ForbiddenWordView {
    fn from(word: ForbiddenWord) -> Self {
        Self {
            id: word.id,
            kind: word.kind,
            phrase: shown(word.kind, word.phrase),
            action: word.action,
            exceptions: serde_json::from_str(&word.exceptions).unwrap_or_default(),
            created_at: word.created_at.and_utc(),
            updated_at: word.updated_at.and_utc(),
        }
    }
}

fn shown(kind: WordKind, phrase: String) -> Option<String> {
    matches!(kind, WordKind::Phrase | WordKind::Regex).then_some(phrase)
}

/// An entry with these fields, as it is stored.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn row(
    id: Id,
    input: &ForbiddenWordInput,
    context: &Context,
) -> Result<ForbiddenWord, EntryError> {
    let mut word = ForbiddenWord {
        id,
        kind: input.kind,
        phrase: input.phrase.clone().unwrap_or_default(),
        action: input.action,
        exceptions: serde_json::json!(input.exceptions).to_string(),
        plain: String::new(),
        plain_hash: String::new(),
        created_at: context.timestamp(),
        updated_at: context.timestamp(),
    };
    word.plain = screening::entry(&word).check()?;
    word.plain_hash = hex::encode(Sha256::digest(&word.plain));
    Ok(word)
}

/// Turns what is wrong with an entry into a bad field.
fn invalid(error: &EntryError) -> ChatError {
    let pointer = match error {
        EntryError::NoDomain(_)
        | EntryError::NoNumber(_)
        | EntryError::NoExceptions
        | EntryError::TooManyExceptions => "/exceptions",
        _ => "/phrase",
    };
    let mut problems = Problems::default();
    problems.add(pointer, error.to_string());
    problems.finish().err().unwrap_or_else(|| Refusal::NotAllowed.into())
}

/// Refuses one more entry where there are too many.
pub(crate) fn require_room(reader: &mut Reader<'_>, kind: WordKind) -> Result<(), ChatError> {
    let regexes = i64::try_from(MAX_REGEXES).unwrap_or(i64::MAX);
    let is_full = reader.count_forbidden_words(None)? >= MAX_ENTRIES
        || (kind == WordKind::Regex
            && reader.count_forbidden_words(Some(WordKind::Regex))? >= regexes);
    if is_full { Err(Refusal::TooManyForbiddenWords.into()) } else { Ok(()) }
}

fn target(id: Id) -> String {
    format!("forbidden_word:{id}")
}

fn data(word: &ForbiddenWord) -> Option<serde_json::Value> {
    Some(serde_json::json!({"kind": word.kind, "phrase": word.phrase, "action": word.action}))
}

/// Puts an entry on the list.
///
/// # Errors
/// What is wrong with it, or why the caller may not.
pub(crate) fn create(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    key: Option<&IdempotencyKey>,
    input: &ForbiddenWordInput,
) -> Result<(ForbiddenWordView, bool), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    once(writer, &caller, context, key, |writer| {
        let mut word = row(0, input, context).map_err(|error| invalid(&error))?;
        if writer.forbidden_word_by_hash(&word.plain_hash)?.is_some() {
            return Err(Refusal::ForbiddenWordExists.into());
        }
        require_room(writer, word.kind)?;
        word.id = writer.next_list_version();
        writer.insert_forbidden_word(&word)?;
        audit::note(writer, &caller, context, action::WORD_CREATED, target(word.id), data(&word))?;
        Ok((word.into(), true))
    })
}

/// Changes an entry.
///
/// # Errors
/// What is wrong with it, or why the caller may not.
pub(crate) fn patch(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: Id,
    patch: &ForbiddenWordPatch,
) -> Result<ForbiddenWordView, ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    let before = writer.forbidden_word(id)?.ok_or(Refusal::ForbiddenWordNotFound)?;
    let now = ForbiddenWordView::from(before.clone());
    let input = ForbiddenWordInput {
        kind: now.kind,
        phrase: patch.phrase.clone().or(now.phrase),
        action: patch.action.unwrap_or(now.action),
        exceptions: patch.exceptions.clone().unwrap_or(now.exceptions),
    };
    let word = row(id, &input, context).map_err(|error| invalid(&error))?;
    let word = ForbiddenWord { created_at: before.created_at, ..word };
    let other = writer.forbidden_word_by_hash(&word.plain_hash)?;
    if other.is_some_and(|other| other.id != id) {
        return Err(Refusal::ForbiddenWordExists.into());
    }
    writer.next_list_version();
    writer.update_forbidden_word(&word)?;
    audit::note(writer, &caller, context, action::WORD_CHANGED, target(id), data(&word))?;
    Ok(word.into())
}

/// Takes an entry off the list.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn delete(
    writer: &mut Writer<'_>,
    credentials: &Credentials,
    context: &Context,
    id: Id,
) -> Result<(), ChatError> {
    let caller = Caller::resolve(writer, credentials)?;
    rights::require_moderator(&caller)?;
    let word = writer.forbidden_word(id)?.ok_or(Refusal::ForbiddenWordNotFound)?;
    writer.next_list_version();
    writer.delete_forbidden_word(id)?;
    audit::note(writer, &caller, context, action::WORD_DELETED, target(id), data(&word))
}

/// Refuses all who do not keep the list.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn require_keeper(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
) -> Result<(), ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)
}

/// One entry.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn get(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    id: Id,
) -> Result<ForbiddenWordView, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    Ok(reader.forbidden_word(id)?.ok_or(Refusal::ForbiddenWordNotFound)?.into())
}

/// A page of the list; `contains` is looked for without disguise.
///
/// # Errors
/// Why the caller may not.
pub(crate) fn list(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    filter: &ForbiddenWordFilter,
    limit: i64,
) -> Result<ForbiddenWordPage, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let plain = |text: String| {
        let entry = Entry {
            id: 0,
            kind: chaffer_forbidden_words::Kind::Phrase,
            phrase: text.clone(),
            action: chaffer_forbidden_words::Action::Mask,
            exceptions: Vec::new(),
        };
        let key = entry.check().ok();
        key.and_then(|key| Some(key.split_once(':')?.1.to_owned())).unwrap_or(text)
    };
    let filter =
        ForbiddenWordFilter { contains: filter.contains.clone().map(plain), ..filter.clone() };
    let mut words = reader.list_forbidden_words(&filter, limit + 1)?;
    let more = messages::cut(&mut words, limit);
    let next_cursor = words.last().filter(|_| more).map(|word| word.id.to_string());
    let forbidden_words = words.into_iter().map(Into::into).collect();
    Ok(ForbiddenWordPage { forbidden_words, next_cursor })
}

/// Says what would happen to a text, and why. Nothing is stored.
///
/// # Errors
/// [`ChatError::StaleWordList`], or why the caller may not.
pub(crate) fn check(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    list: &WordList,
    sample: &SampleText,
) -> Result<CheckedText, ChatError> {
    rights::require_moderator(&Caller::resolve(reader, credentials)?)?;
    let text = &sample.text;
    if text.chars().count() > MAX_TEXT_CHARS {
        let mut problems = Problems::default();
        problems.add("/text", format!("must not be longer than {MAX_TEXT_CHARS} characters"));
        problems.finish()?;
    }
    if reader.forbidden_words_version()? != list.version() {
        return Err(ChatError::StaleWordList);
    }
    let Some(scan) = list.scan(text) else {
        return Ok(CheckedText { outcome: None, text: text.clone(), findings: Vec::new() });
    };
    let mut findings = Vec::new();
    for finding in &scan.findings {
        let Some(word) = reader.forbidden_word(finding.entry)? else { continue };
        let before = |at: usize| text.get(..at).map_or(0, |text| text.chars().count());
        findings.push(FindingView {
            forbidden_word_id: word.id,
            kind: word.kind,
            action: word.action,
            phrase: shown(word.kind, word.phrase),
            start: before(finding.range.start),
            end: before(finding.range.end),
            matched: text.get(finding.range.clone()).unwrap_or_default().to_owned(),
            read_as: finding.read_as.clone(),
        });
    }
    let severity = |action: &WordAction| match action {
        WordAction::Flag => 0,
        WordAction::Mask => 1,
        WordAction::Refuse => 2,
    };
    let outcome = findings.iter().map(|finding| finding.action).max_by_key(severity);
    Ok(CheckedText { outcome, text: scan.masked, findings })
}
