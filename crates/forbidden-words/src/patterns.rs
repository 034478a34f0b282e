//! Regular expressions, with a bound on what each may cost (the crate's engine takes time linear in the text, whatever the
//! pattern), and phrases that are no words: emoji, `c++`.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::entry::{EntryError, MAX_REGEXES};
use crate::fold::Folded;

/// The most memory that one compiled pattern may take, in bytes.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// How deep its brackets may go.
const MAX_NESTING: u32 = 50;

/// Compiles a pattern; case makes no difference unless it says so with `(?-i)`.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EntryError> {
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| EntryError::Regex(explain(&error)))?;
    if regex.is_match("") { Err(EntryError::MatchesNothing) } else { Ok(regex) }
}

fn explain(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            "the pattern is too large once it is compiled: use smaller repetitions and classes"
                .into()
        }
        // The last line of a syntax error says what it is; those before draw where.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the pattern cannot be read: {last}")
        }
    }
}

/// A pattern that matches wherever this one does, and perhaps elsewhere, as it does not look where words begin and end:
/// beside letters other than ASCII, the regex crate can do that only with its slow engine.
fn without_word_boundaries(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(
            Look::WordUnicode
            | Look::WordUnicodeNegate
            | Look::WordStartUnicode
            | Look::WordEndUnicode
            | Look::WordStartHalfUnicode
            | Look::WordEndHalfUnicode,
        ) => Hir::empty(),
        HirKind::Repetition(repetition) => {
            let mut repetition = repetition.clone();
            repetition.sub = Box::new(without_word_boundaries(&repetition.sub));
            Hir::repetition(repetition)
        }
        HirKind::Capture(capture) => without_word_boundaries(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_word_boundaries).collect()),
        HirKind::Alternation(ways) => {
            Hir::alternation(ways.iter().map(without_word_boundaries).collect())
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => hir.clone(),
    }
}

/// The pattern for the first look at a text, with case taken into account already.
fn suspect(pattern: &str) -> Result<String, regex::Error> {
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .nest_limit(MAX_NESTING)
        .build()
        .parse(pattern)
        .map_err(|error| regex::Error::Syntax(error.to_string()))?;
    Ok(without_word_boundaries(&hir).to_string())
}

fn set(patterns: &[impl AsRef<str>], any_case: bool) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns)
        .case_insensitive(any_case)
        .size_limit(MAX_PATTERN_BYTES * (MAX_REGEXES + 1))
        .dfa_size_limit(MAX_PATTERN_BYTES * 16)
        // A pattern is printed with brackets of its own.
        .nest_limit(MAX_NESTING * 4)
        .build()
}

/// All regular expressions of a list.
#[derive(Debug)]
pub(crate) struct Patterns {
    /// Says which of them may match a text, in one walk over it.
    suspects: RegexSet,
    regexes: Vec<(usize, Regex)>,
}

impl Patterns {
    pub(crate) fn new(regexes: Vec<(usize, Regex)>) -> Result<Self, regex::Error> {
        let relaxed = regexes.iter().map(|(_, regex)| suspect(regex.as_str()));
        let relaxed = relaxed.collect::<Result<Vec<_>, _>>().and_then(|it| set(&it, false));
        // Should one not fit when it is printed anew, they are taken as they are: slower, and as right.
        let as_they_are = || {
            let patterns: Vec<_> = regexes.iter().map(|(_, regex)| regex.as_str()).collect();
            set(&patterns, true)
        };
        Ok(Self { suspects: relaxed.or_else(|_| as_they_are())?, regexes })
    }

    /// Calls `found` with the entry and the bytes of each match: in the text as it is, and as it looks to a reader.
    pub(crate) fn find(&self, text: &str, mut found: impl FnMut(usize, Range<usize>, &str)) {
        if self.regexes.is_empty() {
            return;
        }
        self.find_in(text, |entry, range| {
            let hit = text.get(range.clone()).unwrap_or_default();
            found(entry, range, hit);
        });
        if text.is_ascii() {
            return;
        }
        let light = Folded::lightly(text);
        if light.text != text {
            self.find_in(&light.text, |entry, range| {
                let hit = light.text.get(range.clone()).unwrap_or_default();
                found(entry, light.original(range.start, range.end), hit);
            });
        }
    }

    fn find_in(&self, text: &str, mut found: impl FnMut(usize, Range<usize>)) {
        for index in self.suspects.matches(text) {
            let Some((entry, regex)) = self.regexes.get(index) else { continue };
            for hit in regex.find_iter(text).filter(|hit| !hit.is_empty()) {
                found(*entry, hit.range());
            }
        }
    }
}

/// Phrases without letters, found in the folded text as they stand.
#[derive(Debug)]
pub(crate) struct Literals {
    automaton: AhoCorasick,
    entries: Vec<usize>,
}

impl Literals {
    pub(crate) fn new(literals: Vec<(usize, String)>) -> Result<Self, aho_corasick::BuildError> {
        let (entries, texts): (Vec<_>, Vec<_>) = literals.into_iter().unzip();
        Ok(Self { automaton: AhoCorasick::new(texts)?, entries })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn find(&self, folded: &Folded, mut found: impl FnMut(usize, Range<usize>, &str)) {
        if self.entries.is_empty() {
            return;
        }
        let text = folded.text.as_str();
        for hit in self.automaton.find_overlapping_iter(text) {
            let Some(entry) = self.entries.get(hit.pattern().as_usize()) else { continue };
            let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let inside = text.get(hit.range()).unwrap_or_default();
            let before = text.get(..hit.start()).and_then(|it| it.chars().next_back());
            let after = text.get(hit.end()..).and_then(|it| it.chars().next());
            // `c++` is not the end of `abc++`.
            let cuts_word = (is_word(before) && is_word(inside.chars().next()))
                || (is_word(after) && is_word(inside.chars().next_back()));
            if !cuts_word {
                found(*entry, folded.original(hit.start(), hit.end()), inside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_matches_is_always_suspected() {
        for (pattern, text) in [
            (r"\bpromo-\d{3}\b", "вот PROMO-123, да"),
            (r"(?m)^\Bкот|\b{start}дом\b{end}$", "а\nДОМ"),
            (r"(?-i)(?:\bКод\b\s*){2,}[^\w]", "Код Код !"),
            (r"(?x) \b (a|б)+? \# \b", "aAБ#1"),
            (r"(?-u:\b)x|(?<name>\b{start-half}é)", "É"),
        ] {
            let regex = compile(pattern).unwrap();
            assert!(regex.is_match(text), "{pattern}");
            let patterns = Patterns::new(vec![(7, regex)]).unwrap();
            let mut hits = Vec::new();
            patterns.find(text, |entry, range, _| hits.push((entry, range)));
            assert!(!hits.is_empty(), "{pattern}");
            assert!(!patterns.suspects.is_match("nothing of this"), "{pattern}");
        }
    }
}
