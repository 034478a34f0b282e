//! What holds for every text.

use std::sync::LazyLock;

use chaffer_forbidden_words::{Action, Entry, Kind, MASK, Matcher};
use proptest::prelude::*;

use crate::{list, phrases};

const WORDS: [&str; 8] =
    ["whatsapp", "viber", "telegram", "instagram", "skype", "bastard", "телеграм", "мошенник"];

static EVERYTHING: LazyLock<Matcher> = LazyLock::new(everything);
static JUST_WORDS: LazyLock<Matcher> = LazyLock::new(|| phrases(&WORDS));

fn everything() -> Matcher {
    let words = WORDS.map(|word| (Kind::Phrase, word, Action::Mask));
    let rest = [
        (Kind::Phrase, "call me", Action::Mask),
        (Kind::Phrase, "微信", Action::Mask),
        (Kind::Phrase, "🍆", Action::Mask),
        (Kind::Phrase, "scam*", Action::Mask),
        (Kind::Regex, r"promo-?\d+", Action::Mask),
        (Kind::Email, "", Action::Mask),
        (Kind::Phone, "", Action::Mask),
        (Kind::Link, "", Action::Mask),
    ];
    list(words.into_iter().chain(rest))
}

/// Texts of the pieces that matter, and of anything at all.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
        3 => proptest::sample::select(vec![
            "call me", "微信", "🍆", "joe@shop.com", "+79261234567", "shop.com", "(at)", " dot com", "promo-12", "***", "*", "f", "@",
            "://", "8", "9", "www.", "a", "s", "\u{301}", "\u{200b}", "ß", "İ", "ﬁ", "…", "½", "\u{1100}\u{1161}", "한", "が",
        ])
        .prop_map(str::to_owned),
        2 => "[ .,\\-_*\n]{1,3}",
        1 => "\\PC{0,6}",
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// How one letter may be written so that readers still see it.
fn disguises(letter: char) -> Vec<String> {
    let upper: String = letter.to_uppercase().collect();
    let full_width = u32::from(letter).checked_add(0xfee0).and_then(char::from_u32);
    let more: &[&str] = match letter {
        'a' => &["а", "á", "4", "@", "𝐚", "ⓐ", "ᴀ"],
        'b' => &["8", "ḃ", "🅱"],
        'e' => &["е", "3", "ё", "è"],
        'g' => &["9", "ğ"],
        'i' => &["1", "!", "і", "í", "ı"],
        'k' => &["к", "ķ"],
        'l' => &["1", "|", "ł"],
        'm' => &["м", "ｍ"],
        'o' => &["0", "о", "ο", "ø"],
        'p' => &["р", "ρ"],
        'r' => &["ř", "ʀ"],
        's' => &["5", "$", "ѕ", "š"],
        't' => &["7", "т", "τ", "+"],
        'v' => &["ν", "ѵ"],
        'y' => &["у", "ý"],
        'х' => &["x"],
        'а' => &["a"],
        'е' => &["e", "3", "ё"],
        'о' => &["o", "0"],
        'р' => &["p"],
        'м' => &["m"],
        _ => &[],
    };
    let mut all =
        vec![letter.to_string(), upper, format!("{letter}\u{200b}"), format!("{letter}\u{301}")];
    all.extend(full_width.filter(|_| letter.is_ascii()).map(|it| it.to_string()));
    all.extend(more.iter().map(|it| (*it).to_owned()));
    all
}

/// A word in disguise: each letter its own, one separator between all of them.
fn disguised() -> impl Strategy<Value = (usize, String)> {
    let separators = vec!["", "", "", " ", ".", "-", "_", " . ", "*", "•", "\u{200b}", "🔥", "\n"];
    (
        0..WORDS.len(),
        proptest::sample::select(separators),
        proptest::collection::vec(any::<proptest::sample::Index>(), 12),
    )
        .prop_map(|(word, separator, choices)| {
            let letter = |(letter, choice): (char, &proptest::sample::Index)| {
                let all = disguises(letter);
                all[choice.index(all.len())].clone()
            };
            let letters: Vec<String> = WORDS[word].chars().zip(&choices).map(letter).collect();
            (word, letters.join(separator))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_outside_what_was_found_stays(text in text()) {
        let scan = EVERYTHING.scan(&text);
        let mut hidden = vec![false; text.len()];
        for finding in &scan.findings {
            prop_assert!(text.get(finding.range.clone()).is_some(), "{finding:?} in {text:?}");
            prop_assert!(!finding.range.is_empty());
            hidden[finding.range.clone()].fill(true);
        }
        let mut expected = String::new();
        for (at, c) in text.char_indices() {
            if !hidden[at] {
                expected.push(c);
            } else if at == 0 || !hidden[at - 1] {
                expected.push_str(MASK);
            }
        }
        prop_assert_eq!(scan.masked, expected);
    }

    #[test]
    fn masking_again_changes_nothing(text in text()) {
        let list = &*EVERYTHING;
        let once = list.scan(&text).masked;
        prop_assert_eq!(&list.scan(&once).masked, &once, "{:?}", text);
    }

    #[test]
    fn every_disguise_of_a_word_is_found((word, disguise) in disguised(), before in "|so |on: |\\(", after in "|\\.| now|\\)") {
        // `8457ard` is rather a number with something behind it.
        let letters = disguise.chars().filter(|c| c.is_alphabetic()).count();
        prop_assume!(letters > 0 && letters >= disguise.chars().filter(char::is_ascii_digit).count());
        let list = &*JUST_WORDS;
        let text = format!("{before}{disguise}{after}");
        let scan = list.scan(&text);
        let found = scan.findings.iter().any(|finding| finding.entry == i64::try_from(word).unwrap());
        prop_assert!(found, "{} as {text:?}: {scan:?}", WORDS[word]);
    }

    #[test]
    fn a_word_is_found_wherever_it_is_cut((word, at) in (0..WORDS.len(), 1..6_usize), before in "|so |on: |\\(", after in "|\\.| now|\\)") {
        let letters: Vec<char> = WORDS[word].chars().collect();
        let (first, last) = letters.split_at(at.min(letters.len() - 1));
        let text = format!("{before}{} {}{after}", String::from_iter(first), String::from_iter(last));
        prop_assert_eq!(JUST_WORDS.scan(&text).masked, format!("{before}***{after}"), "{}", text);
    }

    #[test]
    fn a_word_cut_within_a_longer_one_is_left_alone(
        word in proptest::sample::select(WORDS.to_vec()), at in 1..6_usize, before in "[bdfhjq]{0,3}", after in "[fhjq]{0,3}",
    ) {
        prop_assume!(!before.is_empty() || !after.is_empty());
        let letters: Vec<char> = word.chars().collect();
        let (first, last) = letters.split_at(at.min(letters.len() - 1));
        let text = format!("{before}{} {}{after}", String::from_iter(first), String::from_iter(last));
        prop_assume!(before.chars().last() != text.chars().nth(before.len()));
        prop_assert!(JUST_WORDS.scan(&text).findings.is_empty(), "{}", text);
    }

    #[test]
    fn a_word_is_found_with_all_letters_doubled(word in 0..WORDS.len()) {
        let text: String = WORDS[word].chars().flat_map(|c| [c, c]).collect();
        prop_assert_eq!(JUST_WORDS.scan(&text).masked, "***");
    }

    #[test]
    fn a_word_within_a_longer_one_is_left_alone(
        word in proptest::sample::select(WORDS.to_vec()), before in "[a-zа-я]{0,5}", after in "[a-zа-я]{0,5}",
    ) {
        prop_assume!(!before.is_empty() || !after.is_empty());
        // `whatsapppp` is the word drawn out, and `viberг` looks like that.
        let latin = |c: char| "авегкмнорстух".chars().zip("aberkmhopctyx".chars()).find(|it| it.0 == c).map_or(c, |it| it.1);
        let same = |one: Option<char>, other: Option<char>| one.zip(other).is_some_and(|(one, other)| latin(one) == latin(other));
        prop_assume!(!same(word.chars().last(), after.chars().next()) && !same(before.chars().last(), word.chars().next()));
        let text = format!("{before}{word}{after}");
        let scan = JUST_WORDS.scan(&text);
        prop_assert!(scan.findings.is_empty(), "{text:?}: {scan:?}");
    }

    #[test]
    fn no_phrase_that_is_accepted_makes_a_scan_fail(phrase in "\\PC{1,20}", text in text()) {
        let entry = Entry { id: 1, kind: Kind::Phrase, phrase, action: Action::Mask, exceptions: vec![] };
        if entry.check().is_ok() {
            let (matcher, unusable) = Matcher::new(vec![entry.clone()]).unwrap();
            prop_assert!(unusable.is_empty(), "{unusable:?}");
            let found = matcher.scan(&entry.phrase).findings;
            // It finds itself, but for what is only an end of a word.
            prop_assert!(!found.is_empty() || entry.phrase.contains('*'), "{entry:?}");
            let _ = matcher.scan(&text);
        }
    }

    #[test]
    fn no_regex_that_is_accepted_makes_a_scan_fail(phrase in "[a-z\\[\\](){}|*+?.^$\\\\dw0-9,]{1,20}", text in text()) {
        let entry = Entry { id: 1, kind: Kind::Regex, phrase, action: Action::Mask, exceptions: vec![] };
        if entry.check().is_ok() {
            let _ = Matcher::new(vec![entry]).unwrap().0.scan(&text);
        }
    }
}
