//! What is looked for. Words are looked for by their beginning and all have to be there; words that touch (`A-1001`,
//! `anna@example.com`, Chinese) have to touch in the text, and what stands in quotes has to stand there as it is.
//! Whatever somebody types is a query: there are no operators and no syntax errors.

use std::ops::Range;

use super::index;
use super::words::{Kind, Unit, units};
use crate::store::SearchTerm;

/// The longest query, in characters.
pub(crate) const MAX_CHARS: usize = 200;
/// The most words, or groups of words that belong together.
const MAX_PHRASES: usize = 20;
/// The most terms that the index is asked for; the texts that it finds are compared with all of the query.
const MAX_TERMS: usize = 16;

/// Why a query cannot be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("holds nothing to look for: send at least one letter or digit")]
    Empty,
    #[error("must have at most {MAX_CHARS} characters")]
    TooLong,
    #[error("must have at most {MAX_PHRASES} words; put quotes around those that stand together")]
    TooManyWords,
}

/// What has to be in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    phrases: Vec<Phrase>,
}

/// Words that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phrase {
    units: Vec<Unit>,
    /// Whether the last word may go on.
    open: bool,
}

impl Query {
    /// Reads what somebody typed.
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        if text.chars().count() > MAX_CHARS {
            return Err(QueryError::TooLong);
        }
        let mut phrases: Vec<Phrase> = Vec::new();
        let mut parts = text.split(is_quote).enumerate().peekable();
        while let Some((number, part)) = parts.next() {
            let is_quoted = number % 2 == 1;
            if is_quoted {
                // The last one is still being typed.
                phrases.extend(Phrase::new(units(part), parts.peek().is_none()));
                continue;
            }
            for word in part.split_whitespace() {
                let units = units(word);
                let same_script =
                    |a: &Unit, b: &Unit| (a.kind == Kind::Word) == (b.kind == Kind::Word);
                let runs = units.chunk_by(same_script);
                phrases.extend(runs.filter_map(|run| Phrase::new(run.to_vec(), true)));
            }
        }
        phrases.dedup();
        match phrases.len() {
            0 => Err(QueryError::Empty),
            1..=MAX_PHRASES => Ok(Self { phrases }),
            _ => Err(QueryError::TooManyWords),
        }
    }

    /// Where a text says it, in bytes, in order and without overlaps; `None` when it does not.
    pub(crate) fn find(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let units = units(text);
        let mut found = Vec::new();
        for phrase in &self.phrases {
            let before = found.len();
            found.extend(phrase.places(&units));
            if found.len() == before {
                return None;
            }
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Some(merged)
    }

    /// What a message must have in the index, all of it, to be worth a look; what is likely to be rare first.
    pub(crate) fn terms(&self) -> Vec<SearchTerm> {
        let mut terms: Vec<SearchTerm> = Vec::new();
        for phrase in &self.phrases {
            terms.extend(index::query_terms(&phrase.units, phrase.open));
        }
        terms.sort_by_key(|term| (term.prefix, std::cmp::Reverse(term.token.len())));
        terms.dedup();
        terms.truncate(MAX_TERMS);
        terms
    }
}

impl Phrase {
    fn new(units: Vec<Unit>, open: bool) -> Option<Self> {
        let last = units.last()?;
        // A single letter begins too many words.
        let open = open && last.kind == Kind::Word && last.text.chars().nth(1).is_some();
        Some(Self { units, open })
    }

    fn places<'a>(&'a self, units: &'a [Unit]) -> impl Iterator<Item = Range<usize>> + 'a {
        units
            .windows(self.units.len())
            .filter(|window| self.fits(window))
            .filter_map(|window| Some(window.first()?.start..window.last()?.end))
    }

    fn fits(&self, window: &[Unit]) -> bool {
        let last = self.units.len().saturating_sub(1);
        self.units.iter().zip(window).enumerate().all(|(place, (wanted, there))| {
            match (wanted.kind, there.kind) {
                (Kind::Word, Kind::Word) if self.open && place == last => {
                    there.text.starts_with(&wanted.text)
                }
                (Kind::Word, Kind::Word) => there.text == wanted.text,
                (Kind::Letter { glued: wants }, Kind::Letter { glued }) => {
                    there.text == wanted.text && (place == 0 || !wants || glued)
                }
                _ => false,
            }
        })
    }
}

/// The double quotes of all languages; which of them opens and which closes differs between them.
fn is_quote(c: char) -> bool {
    matches!(c, '"' | '«' | '»' | '“' | '”' | '„' | '‟' | '＂' | '「' | '」' | '『' | '』')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::message_tokens;
    use super::*;

    fn finds(query: &str, text: &str) -> bool {
        Query::parse(query).unwrap().find(text).is_some()
    }

    #[test]
    fn a_query_finds_what_a_person_expects() {
        for (query, text) in [
            ("mug", "Two MUGS, please"),
            ("mug blue", "The blue mugs"),
            ("\"blue mug\"", "a blue, mug!"),
            ("\"blue mu", "a blue mug"),
            ("„blauer Becher“", "Ein blauer Becher."),
            ("a-1001", "Where is order A-1001?"),
            ("1001", "Where is order A-1001?"),
            ("anna@exam", "write to Anna@Example.com"),
            ("zolt", "Żółty kubek"),
            ("еще", "Ещё раз"),
            ("ещё", "еще раз"),
            ("кружк", "Кружки есть?"),
            ("дякую", "Щиро дякую!"),
            ("grusse", "Viele Grüße"),
            ("杯", "红色杯子"),
            ("杯子", "红色杯子"),
            ("红色杯", "我要红色杯子"),
            ("iphone手机壳", "新iPhone的手机壳"),
            ("コーヒー", "美味しいコーヒーです"),
            ("ｺｰﾋｰ", "美味しいコーヒーです"),
            ("커피", "아이스커피를 주세요"),
            ("قهوة", "أريد قهوة ساخنة"),
            ("👍", "ok 👍🏽"),
            ("don't", "I don’t know"),
            ("c", "vitamin C"),
        ] {
            assert!(finds(query, text), "{query} in {text}");
        }
    }

    #[test]
    fn and_nothing_else() {
        for (query, text) in [
            ("mug red", "The blue mugs"),
            ("\"mug blue\"", "The blue mug"),
            ("\"blue mug\"", "blue mugs"),
            ("ug", "mug"),
            ("c", "cup"),
            ("a-1001", "1001 a"),
            ("мои", "мой дом"),
            ("杯红", "红杯"),
            ("红杯", "红 杯"),
            ("커피잔", "커피 잔"),
        ] {
            assert!(!finds(query, text), "{query} in {text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for nothing in ["", "  ", "\"", "\"\"", "***", "?!", "- +", "\u{200b}"] {
            assert_eq!(Query::parse(nothing), Err(QueryError::Empty), "{nothing:?}");
        }
        assert_eq!(Query::parse(&"x".repeat(201)), Err(QueryError::TooLong));
        assert!(Query::parse(&"я".repeat(200)).is_ok());
        let words: Vec<String> = (0..21).map(|number| format!("w{number}")).collect();
        assert_eq!(Query::parse(&words.join(" ")), Err(QueryError::TooManyWords));
        assert!(Query::parse(&format!("\"{}\"", words.join(" "))).is_ok());
    }

    /// Texts in which words come again, of all kinds of letters.
    fn texts() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            "[a-c]{1,3}",
            "[абё]{1,3}",
            "[红色杯]{1,4}",
            "[커피]{1,3}",
            "[éßﬁ１]{1,2}",
            "x{20,30}",
            "👍{1,2}",
            "(ก|ั|ข){1,3}",
            "\\PC{1,3}",
        ];
        let gap = prop_oneof![Just(" "), Just(""), Just("-"), Just(", ")];
        prop::collection::vec((word, gap), 1..10)
            .prop_map(|parts| parts.into_iter().flat_map(|(a, b)| [a, b.to_owned()]).collect())
    }

    proptest! {
        /// Else the index would hide a message from its finder.
        #[test]
        fn what_matches_is_in_the_index(
            text in texts(),
            from in 0usize..20,
            length in 1usize..12,
            quoted in any::<bool>(),
        ) {
            let part: String = text.chars().skip(from).take(length).collect();
            let query = if quoted { format!("\"{part}\"") } else { part };
            let Ok(query) = Query::parse(&query) else { return Ok(()) };
            if query.find(&text).is_none() {
                return Ok(());
            }
            let tokens = message_tokens(&text);
            for SearchTerm { token, prefix } in query.terms() {
                let is_there = |it: &String| *it == token || (prefix && it.starts_with(&token));
                prop_assert!(tokens.iter().any(is_there), "{token} of {query:?} in {tokens:?}");
            }
        }

        #[test]
        fn nothing_that_is_typed_breaks_it(query in "(\\PC|\"|\\*| ){0,60}", text in texts()) {
            let Ok(query) = Query::parse(&query) else { return Ok(()) };
            prop_assert!(!query.terms().is_empty());
            for range in query.find(&text).into_iter().flatten() {
                prop_assert!(text.get(range).is_some());
            }
        }

        #[test]
        fn a_text_is_found_by_its_own_words(text in "[a-zа-яё红커 ,.-]{1,60}") {
            for word in text.split([' ', ',', '.']).filter(|it| it.chars().any(char::is_alphanumeric)) {
                prop_assert!(finds(word, &text), "{word}");
            }
        }
    }
}
