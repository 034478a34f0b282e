//! A whole list, compiled once and asked for every message.

use std::ops::Range;

use crate::contacts::{Contact, emails, links};
use crate::entry::{Action, Entry, EntryError, Kind};
use crate::fold::{Folded, fold_str};
use crate::mask::{self, Masked};
use crate::patterns::{Literals, Patterns, compile};
use crate::phones::phones;
use crate::words::{Word, Words};

/// How often a masked text is looked at again: what stood around a mask may have become a word. Twice is rare.
const MAX_ROUNDS: usize = 8;

/// One occurrence of something forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The entry's number.
    pub entry: i64,
    /// What kind of entry it is.
    pub kind: Kind,
    /// What it asks for.
    pub action: Action,
    /// Its bytes in the text.
    pub range: Range<usize>,
    /// What it was read as, behind all disguise.
    pub read_as: String,
}

/// What was found in a text, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// In the order of the text.
    pub findings: Vec<Finding>,
    /// The text with `***` in the place of what is to be masked.
    pub masked: String,
    /// How much had to be looked at besides walking over the text: words that looked like one of the list's in the coarse
    /// spelling. For the check that a longer list does not make messages dearer.
    pub candidates: usize,
}

impl Scan {
    /// What happens to the text: the severest action of what was found in it.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.findings.iter().map(|finding| finding.action).max()
    }
}

/// A list of entries, compiled.
#[derive(Debug)]
pub struct Matcher {
    entries: Vec<Entry>,
    words: Words,
    literals: Literals,
    patterns: Patterns,
    /// The entries of the other kinds, with their exceptions.
    contacts: Vec<(usize, Vec<String>)>,
}

impl Matcher {
    /// Compiles a list. An entry that cannot be used is left out and named with the reason; one that passed
    /// [`Entry::check`] can.
    ///
    /// # Errors
    /// When the list is too large for memory: more than any shop has.
    pub fn new(entries: Vec<Entry>) -> Result<(Self, Vec<(i64, EntryError)>), BuildError> {
        let (mut words, mut literals, mut regexes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut contacts, mut unusable) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match entry.kind {
                Kind::Phrase => match Word::parse(&entry.phrase) {
                    Some(word) if word.is_open_letter() => {
                        unusable.push((entry.id, EntryError::TooShort));
                    }
                    Some(word) => words.push((index, word)),
                    None => {
                        let literal = fold_str(entry.phrase.trim());
                        match literal.trim_matches(['*', ' ']) {
                            "" => unusable.push((entry.id, EntryError::TooShort)),
                            literal => literals.push((index, literal.to_owned())),
                        }
                    }
                },
                Kind::Regex => match compile(&entry.phrase) {
                    Ok(regex) => regexes.push((index, regex)),
                    Err(error) => unusable.push((entry.id, error)),
                },
                Kind::Email | Kind::Phone | Kind::Link => {
                    contacts.push((index, entry.folded_exceptions()));
                }
            }
        }
        let matcher = Self {
            words: Words::new(words).map_err(|error| BuildError(error.to_string()))?,
            literals: Literals::new(literals).map_err(|error| BuildError(error.to_string()))?,
            patterns: Patterns::new(regexes).map_err(|error| BuildError(error.to_string()))?,
            contacts,
            entries,
        };
        Ok((matcher, unusable))
    }

    /// The entry with this number.
    #[must_use]
    pub fn entry(&self, id: i64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Looks for everything forbidden in a text.
    #[must_use]
    pub fn scan(&self, text: &str) -> Scan {
        let (mut findings, mut candidates) = self.find(text);
        let mut masked = Masked::new(text);
        masked.hide(findings.iter().filter(|it| it.action != Action::Flag).map(|it| &it.range));
        // What is left around a mask may be found now: so that masking again never finds more.
        let mut changed = masked.has_masks();
        for _ in 0..MAX_ROUNDS {
            if !changed {
                break;
            }
            let (more, read) = self.find(masked.text());
            candidates += read;
            let more: Vec<Finding> = more
                .into_iter()
                .filter(|it| it.action != Action::Flag && !masked.is_hidden(&it.range))
                .map(|it| Finding { range: masked.original(&it.range), ..it })
                .collect();
            changed = !more.is_empty();
            masked.hide(more.iter().map(|it| &it.range));
            findings.extend(more);
        }
        tidy(&mut findings);
        Scan { findings, masked: masked.into_text(), candidates }
    }

    fn find(&self, text: &str) -> (Vec<Finding>, usize) {
        let mut findings = Vec::new();
        let mut add = |index: usize, range: Range<usize>, read_as: String| {
            let Some(entry) = self.entries.get(index) else { return };
            if !range.is_empty() {
                let (kind, action) = (entry.kind, entry.action);
                findings.push(Finding { entry: entry.id, kind, action, range, read_as });
            }
        };
        let candidates = self.words.find(text, |it| add(it.entry, it.range, it.read_as));
        self.patterns.find(text, |entry, range, hit| add(entry, range, hit.to_owned()));
        if self.literals.is_empty() && self.contacts.is_empty() {
            return (findings, candidates);
        }
        let folded = Folded::of(text);
        self.literals.find(&folded, |entry, range, hit| add(entry, range, hit.to_owned()));
        for (index, exceptions) in &self.contacts {
            let contacts: Vec<Contact> = match self.entries.get(*index).map(|entry| entry.kind) {
                Some(Kind::Email) => emails(&folded, exceptions),
                Some(Kind::Link) => links(text, &folded, exceptions),
                Some(Kind::Phone) => phones(&folded, exceptions),
                _ => Vec::new(),
            };
            contacts.into_iter().for_each(|it| add(*index, it.range, it.read_as));
        }
        (findings, candidates)
    }
}

/// Puts findings in the order of the text, each once; of an entry's findings within each other, the widest.
fn tidy(findings: &mut Vec<Finding>) {
    findings.sort_by(|one, other| {
        let key = |it: &Finding| (it.range.start, std::cmp::Reverse(it.range.end), it.entry);
        key(one).cmp(&key(other))
    });
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings.drain(..) {
        let is_within =
            |it: &Finding| it.entry == finding.entry && mask::contains(&it.range, &finding.range);
        if !kept.iter().rev().take(50).any(is_within) {
            kept.push(finding);
        }
    }
    *findings = kept;
}

/// A list that cannot be compiled.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the list of forbidden words cannot be compiled: {0}")]
pub struct BuildError(String);
