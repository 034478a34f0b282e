//! What counts as a word, in any language. Pure; the index, the query and the highlights all read texts through [`units`],
//! so they never disagree.
//!
//! Case, width and accents make no difference (NFKC, lower case, marks of Latin, Greek, Hebrew and Arabic letters
//! dropped). In Cyrillic `ё` is `е` and stress marks go, while `й`, `ї` and `ў` stay: to their readers they are letters of
//! their own. Scripts that put no spaces between words, and emoji, are read letter by letter.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{
    canonical_combining_class, decompose_canonical, is_combining_mark,
};

/// A word, or a letter of a script without spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// As it is compared.
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// Its bytes in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    /// `glued` to the letter before it: nothing stands between them.
    Letter {
        glued: bool,
    },
}

/// The words of a text, in its order.
pub(crate) fn units(text: &str) -> Vec<Unit> {
    let mut found: Vec<Unit> = Vec::new();
    // Whether the last unit could go on.
    let mut open = false;
    let mut folded = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        let mut cluster = Cluster::new(first);
        while let Some((_, mark)) = chars.next_if(|(_, c)| !c.is_ascii() && joins(*c)) {
            cluster.push(mark);
        }
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        folded.clear();
        cluster.fold(&mut folded);
        for c in folded.chars() {
            let is_letter = is_unspaced(c);
            if !is_letter && !c.is_alphanumeric() && !is_combining_mark(c) {
                open = false;
                continue;
            }
            match found.last_mut().filter(|_| open) {
                Some(Unit { text, kind: Kind::Word, end: last, .. }) if !is_letter => {
                    text.push(c);
                    *last = end;
                }
                before => {
                    let glued = matches!(before, Some(Unit { kind: Kind::Letter { .. }, .. }));
                    let kind = if is_letter { Kind::Letter { glued } } else { Kind::Word };
                    found.push(Unit { text: c.into(), kind, start, end });
                    open = true;
                }
            }
        }
    }
    found
}

/// A character with the marks that belong to it.
enum Cluster {
    One(char),
    Many(String),
}

impl Cluster {
    fn new(first: char) -> Self {
        Self::One(first)
    }

    fn push(&mut self, mark: char) {
        match self {
            Self::One(first) => *self = Self::Many(String::from_iter([*first, mark])),
            Self::Many(all) => all.push(mark),
        }
    }

    fn fold(&self, folded: &mut String) {
        match self {
            Self::One(c) if c.is_ascii() => folded.push(c.to_ascii_lowercase()),
            Self::One(c) => std::iter::once(*c).nfkc().for_each(|c| fold(c, folded)),
            Self::Many(all) => all.chars().nfkc().for_each(|c| fold(c, folded)),
        }
        if matches!(self, Self::One('\u{2120}' | '\u{2122}')) {
            // A sign behind a word, not the letters SM or TM.
            folded.clear();
            folded.push(' ');
        }
    }
}

/// Whether a character belongs to the one before it: marks, the halves of a Korean syllable, what cannot be seen.
fn joins(c: char) -> bool {
    is_combining_mark(c)
        || is_unseen(c)
        || matches!(c, '\u{1160}'..='\u{11ff}' | '\u{ff9e}' | '\u{ff9f}')
}

fn fold(c: char, folded: &mut String) {
    if c.is_ascii() {
        folded.push(c.to_ascii_lowercase());
        return;
    }
    for c in c.to_lowercase().filter(|c| !is_unseen(*c)) {
        match c {
            'ё' | 'ѐ' => folded.push('е'),
            'ѝ' => folded.push('и'),
            // Latin, Greek, Arabic: the letter without what is written above, below or through it.
            '\u{c0}'..='\u{24f}'
            | '\u{370}'..='\u{3ff}'
            | '\u{600}'..='\u{6ff}'
            | '\u{1e00}'..='\u{1fff}' => decompose_canonical(c, |c| plain(c, folded)),
            c => plain(c, folded),
        }
    }
}

fn plain(c: char, folded: &mut String) {
    if is_accent(c) {
        return;
    }
    let letters = match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'ς' => "σ",
        // How Arabic and Persian keyboards write the same letter.
        'ى' | 'ی' => "ي",
        'ک' => "ك",
        'ة' => "ه",
        // Stretches a word.
        '\u{640}' => "",
        c => return folded.push(digit(c).unwrap_or(c)),
    };
    folded.push_str(letters);
}

/// The zeros of scripts in daily use that have digits of their own; full-width ones are ASCII already.
const ZEROS: [char; 10] = [
    '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{be6}', '\u{e50}',
    '\u{ed0}', '\u{1040}',
];

fn digit(c: char) -> Option<char> {
    let value = |zero: &char| u32::from(c).checked_sub(u32::from(*zero)).filter(|it| *it < 10);
    let value = ZEROS.iter().find_map(value)?;
    char::from_digit(value, 10)
}

/// Marks that decorate a letter and make no other one: accents, overlays, Hebrew and Arabic points.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{488}' | '\u{489}' | '\u{20dd}'..='\u{20e4}')
        || matches!(canonical_combining_class(c), 1 | 10..=36 | 200..)
}

/// What readers do not see (Default_Ignorable_Code_Point), and the colours of emoji.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Letters of scripts that put no spaces between words (Thai, Lao, Burmese, Khmer, Korean, kana, Han), and emoji.
fn is_unspaced(c: char) -> bool {
    let letter = matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}'
        | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}' | '\u{3130}'..='\u{318f}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
    );
    (letter && (c.is_alphanumeric() || is_combining_mark(c)))
        || matches!(c,
            '\u{2300}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
            | '\u{1f000}'..='\u{1faff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        units(text).into_iter().map(|unit| unit.text).collect()
    }

    #[test]
    fn words_are_what_readers_of_a_language_take_for_words() {
        for (text, expected) in [
            ("Is it dishwasher-safe?", "is it dishwasher safe"),
            ("Order A-1001, anna@example.com", "order a 1001 anna example com"),
            ("Grüße aus KÖLN, Straße ẞ", "grusse aus koln strasse ss"),
            ("Ёлка и ёжик, мой чай за́мок", "елка и ежик мой чай замок"),
            ("Їжак, ґанок, Київ", "їжак ґанок київ"),
            ("Ελληνικά ΛΌΓΟΣ λόγος", "ελληνικα λογοσ λογοσ"),
            ("ﬁne Ｆｕｌｌ Ⅻ m² №5", "fine full xii m2 no5"),
            ("İstanbul ıslak Łódź Ærø", "istanbul islak lodz aero"),
            ("مُحَمَّد أحمد ـة ١٢٣", "محمد احمد ه 123"),
            ("שָׁלוֹם", "שלום"),
            ("हिन्दी में १२", "हिन्दी में 12"),
            ("so\u{ad}ft zero\u{200b}width Brand™", "soft zerowidth brand"),
            ("cafe\u{301} и\u{306} е\u{308}", "cafe й е"),
            ("红色杯子", "红 色 杯 子"),
            ("ｶﾞﾗｽ ガラス", "ガ ラ ス ガ ラ ス"),
            ("커피 잔", "커 피 잔"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("iPhone15手机", "iphone15 手 机"),
            ("спасибо 👍🏽 ❤️", "спасибо 👍 ❤"),
            (" *** … —", ""),
        ] {
            let expected: Vec<&str> = expected.split_whitespace().collect();
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn letters_know_whether_they_touch() {
        let glued: Vec<bool> = units("红色 杯a子")
            .iter()
            .map(|unit| unit.kind == Kind::Letter { glued: true })
            .collect();
        assert_eq!(glued, [false, true, false, false, false]);
    }

    proptest! {
        #[test]
        fn every_unit_stands_where_it_says(text in "(\\PC|[a-zёй红커👍\u{301}\u{200b}]| ){0,40}") {
            let mut last = 0;
            for unit in units(&text) {
                let there = text.get(unit.start..unit.end);
                prop_assert!(there.is_some_and(|it| !it.is_empty()), "{unit:?}");
                prop_assert!(unit.start >= last && !unit.text.is_empty());
                last = unit.start;
            }
        }

        #[test]
        fn case_makes_no_difference(text in "[a-zäöüßéа-яёїієґ0-9 .-]{0,40}") {
            prop_assert_eq!(words(&text.to_uppercase()), words(&text));
        }

        #[test]
        fn words_are_their_own_words(text in "\\PC{0,40}") {
            let plain = words(&text).join(" ");
            prop_assert_eq!(words(&plain).join(" "), plain);
        }
    }
}
