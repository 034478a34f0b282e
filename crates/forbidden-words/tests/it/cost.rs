//! What a long list costs a message: counted, not timed (`benches/scan.rs` has the times).

use chaffer_forbidden_words::{Action, Entry, Kind, Matcher};

/// A list of so many words that could be words, and the other kinds.
fn long_list(count: usize) -> Vec<Entry> {
    let syllables = [
        "ba", "ter", "mi", "ko", "lu", "sha", "ver", "ni", "po", "dra", "ke", "ris", "to", "ga",
        "fe", "zu",
    ];
    let word = |mut number: usize| {
        let mut word = String::new();
        for _ in 0..4 {
            word.push_str(syllables[number % syllables.len()]);
            number /= syllables.len();
        }
        word
    };
    let entry = |id: usize, kind, phrase: String| Entry {
        id: i64::try_from(id).unwrap(),
        kind,
        phrase,
        action: Action::Mask,
        exceptions: vec![],
    };
    let kinds = [Kind::Email, Kind::Phone, Kind::Link].map(|kind| entry(0, kind, String::new()));
    (1..=count).map(|id| entry(id, Kind::Phrase, word(id))).chain(kinds).collect()
}

fn message() -> String {
    "Guten Tag, is the stoneware mug dishwasher-safe, and could it arrive before Friday? We ordered 3 of them on 21.11.2026 (order 1234567890), "
        .repeat(8)
        .chars()
        .take(1000)
        .collect()
}

#[test]
fn a_list_of_ten_thousand_costs_a_message_little_more_than_a_short_one() {
    let candidates = |count| {
        let matcher = Matcher::new(long_list(count)).unwrap().0;
        let scan = matcher.scan(&message());
        assert!(scan.findings.is_empty(), "{:?}", scan.findings);
        scan.candidates
    };
    let (short, long) = (candidates(100), candidates(10_000));
    // Words are read closely only where the coarse spelling has them: next to never in a message that has none.
    assert!(long <= short + 20, "{short} candidates with 100 words, {long} with 10,000");
}

#[test]
fn a_text_made_to_be_slow_is_read_in_bounded_steps() {
    let words = ["iiiiiiiiii", "ililililil", "ss", "oo", "aaaa", "a a a a a a"];
    let entries = words.iter().enumerate().map(|(id, word)| Entry {
        id: i64::try_from(id).unwrap(),
        kind: Kind::Phrase,
        phrase: (*word).into(),
        action: Action::Mask,
        exceptions: vec![],
    });
    let matcher = Matcher::new(entries.collect()).unwrap().0;
    for letter in ["i", "i ", "1", "l!", "il1|", "a", "a ", "ss "] {
        let text: String = letter.repeat(2_000).chars().take(2_000).collect();
        let candidates = matcher.scan(&text).candidates;
        assert!(candidates <= 20 * text.len(), "{letter:?}: {candidates} candidates");
    }
}
