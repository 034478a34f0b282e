//! What the index holds of a message: its words, pairs of letters where a script puts no spaces between words, and who may
//! see it. Pure.

use std::collections::BTreeSet;

use super::words::{Kind, Unit, units};
use crate::store::{ParticipantKind, SearchTerm, SubjectType};

/// As much of a word as the index holds, in characters.
const MAX_CHARS: usize = 24;
/// The most words, or pairs of letters, by which the index holds a text: 10,000 letters of prose have fewer words.
pub(super) const MAX_TOKENS: usize = 1000;
/// What the index holds of a text that has more: that it has to be read. No word has a colon.
const LONG: &str = ":long";

/// What the index holds of a text.
pub(crate) fn message_tokens(text: &str) -> BTreeSet<String> {
    let units = units(text);
    let mut tokens = BTreeSet::new();
    for (place, unit) in units.iter().enumerate() {
        tokens.insert(match unit.kind {
            Kind::Word => short(&unit.text),
            // A letter with the next one; so whoever looks for a single letter finds it by its beginning.
            Kind::Letter { .. } => match units.get(place + 1).filter(|next| is_glued(next)) {
                Some(next) => format!("{}{}", unit.text, next.text),
                None => unit.text.clone(),
            },
        });
        if tokens.len() > MAX_TOKENS {
            return BTreeSet::from([LONG.to_owned()]);
        }
    }
    tokens
}

/// What the index must hold of a text in which these words follow each other, the last one going on if it is `open`.
pub(super) fn query_terms(phrase: &[Unit], open: bool) -> Vec<SearchTerm> {
    let last = phrase.len().saturating_sub(1);
    let mut terms = Vec::new();
    for (place, unit) in phrase.iter().enumerate() {
        match unit.kind {
            Kind::Word => {
                let token = short(&unit.text);
                let prefix = open && place == last && token == unit.text;
                terms.push(SearchTerm { token, prefix });
            }
            Kind::Letter { glued } => match phrase.get(place + 1).filter(|next| is_glued(next)) {
                Some(next) => {
                    let token = format!("{}{}", unit.text, next.text);
                    terms.push(SearchTerm { token, prefix: false });
                }
                // Stands in the pair before already.
                None if glued && place > 0 => {}
                None => terms.push(SearchTerm { token: unit.text.clone(), prefix: true }),
            },
        }
    }
    terms
}

/// The term of all messages that have to be read, whatever is looked for.
pub(crate) fn long_term() -> SearchTerm {
    SearchTerm { token: LONG.to_owned(), prefix: false }
}

/// The token of all messages in threads of a participant.
pub(crate) fn participant_token(kind: ParticipantKind, id: &str) -> String {
    format!(":{}:{id}", kind.as_str())
}

/// The token of all messages in threads about such a thing.
pub(crate) fn subject_token(subject_type: SubjectType) -> String {
    format!(":subject:{}", subject_type.as_str())
}

fn is_glued(unit: &Unit) -> bool {
    unit.kind == Kind::Letter { glued: true }
}

fn short(word: &str) -> String {
    word.chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_words_and_pairs_of_letters() {
        let tokens = |text: &str| message_tokens(text).into_iter().collect::<Vec<_>>();
        assert_eq!(tokens("The mug, the MUG"), ["mug", "the"]);
        assert_eq!(tokens("红色杯"), ["杯", "红色", "色杯"]);
        assert_eq!(tokens("红 色"), ["红", "色"]);
        assert_eq!(tokens(&"x".repeat(100)), ["x".repeat(24)]);
        assert_eq!(tokens("***"), [""; 0]);
    }

    #[test]
    fn a_message_of_too_many_words_is_to_be_read() {
        let words = |count: usize| {
            let words: Vec<String> = (0..count).map(|number| format!("w{number}")).collect();
            message_tokens(&words.join(" "))
        };
        assert_eq!(words(MAX_TOKENS).len(), MAX_TOKENS);
        assert_eq!(words(MAX_TOKENS + 1).into_iter().collect::<Vec<_>>(), [LONG]);
        assert_eq!(message_tokens(&"mug ".repeat(9 * MAX_TOKENS)).len(), 1);
    }
}
