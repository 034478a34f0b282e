//! What the list finds, what it leaves alone, and what that costs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod contacts;
mod cost;
mod innocent;
mod properties;
mod words;

use chaffer_forbidden_words::{Action, Entry, Kind, Matcher};

/// A list of phrases that are masked.
fn phrases(phrases: &[&str]) -> Matcher {
    list(phrases.iter().map(|phrase| (Kind::Phrase, *phrase, Action::Mask)))
}

/// A list of one kind without phrase.
fn kind(kind: Kind) -> Matcher {
    list([(kind, "", Action::Mask)])
}

fn list<'a>(entries: impl IntoIterator<Item = (Kind, &'a str, Action)>) -> Matcher {
    let entry = |(index, (kind, phrase, action)): (usize, (Kind, &str, Action))| Entry {
        id: i64::try_from(index).unwrap(),
        kind,
        phrase: phrase.to_owned(),
        action,
        exceptions: Vec::new(),
    };
    let entries: Vec<Entry> = entries.into_iter().enumerate().map(entry).collect();
    for entry in &entries {
        entry.check().unwrap();
    }
    let (matcher, unusable) = Matcher::new(entries).unwrap();
    assert!(unusable.is_empty(), "{unusable:?}");
    matcher
}

/// Checks several texts at once, and tells all that are wrong.
fn all_become(matcher: &Matcher, texts: &[(&str, &str)]) {
    let wrong: Vec<String> = texts
        .iter()
        .filter_map(|(text, expected)| {
            let masked = matcher.scan(text).masked;
            (masked != *expected).then(|| format!("{text:?}: {masked:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Checks that nothing is found in these texts.
fn all_stay(matcher: &Matcher, texts: &[&str]) {
    let wrong: Vec<String> = texts
        .iter()
        .map(|text| (text, matcher.scan(text)))
        .filter(|(_, scan)| !scan.findings.is_empty())
        .map(|(text, scan)| format!("{text:?}: {:?}", scan.findings))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
