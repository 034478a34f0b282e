//! Texts that were stored under the wrong name of their encoding. An old shop writes UTF-8 over a connection that it calls
//! latin1, so each byte becomes a character of its own: `Ð¡` for `С`. The pages of the shop undo it by the same mistake. A
//! still older one does so with windows-1251: `Ïðèâåò` for `Привет`.

use std::borrow::Cow;

use encoding_rs::{WINDOWS_1251, WINDOWS_1252};

/// The text as it was meant: where all of it is bytes of Windows-1252 (which MySQL calls latin1) that are UTF-8 when put
/// together, it is that; tells whether it was. What somebody wrote on purpose practically never is.
pub(crate) fn repair(text: &str) -> (Cow<'_, str>, bool) {
    if text.is_ascii() {
        return (Cow::Borrowed(text), false);
    }
    let (bytes, _, unmappable) = WINDOWS_1252.encode(text);
    if unmappable {
        return (Cow::Borrowed(text), false);
    }
    if let Ok(meant) = str::from_utf8(&bytes) {
        return (Cow::Owned(meant.to_owned()), true);
    }
    if is_cyrillic_as_latin1(text) {
        let (meant, _) = WINDOWS_1251.decode_without_bom_handling(&bytes);
        return (Cow::Owned(meant.into_owned()), true);
    }
    (Cow::Borrowed(text), false)
}

/// Whether words consist of letters with accents alone, one of them longer than any in a Western language.
fn is_cyrillic_as_latin1(text: &str) -> bool {
    let is_accented = |c: char| matches!(c, '\u{c0}'..='\u{ff}' | '\u{a8}' | '\u{b8}');
    let words = text.split(|c: char| !c.is_alphabetic() && !is_accented(c));
    let mut longest = 0;
    for word in words.filter(|word| word.contains(is_accented)) {
        if !word.chars().all(is_accented) {
            return false;
        }
        longest = longest.max(word.chars().count());
    }
    longest >= 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_was_stored_twice_is_repaired() {
        for (stored, meant) in [
            ("Ð¡ÐºÐ¾Ð»ÑŒÐºÐ¾?", "Сколько?"),
            ("GrÃ¼ÃŸe", "Grüße"),
            ("Ïðèâåò, ¸æ! iPhone 5", "Привет, ёж! iPhone 5"),
        ] {
            assert_eq!(repair(stored), (meant.into(), true));
        }
        for text in [
            "plain",
            "Сколько?",
            "Grüße",
            "naïve café",
            "à été là",
            "ÄÖÜ",
            "10 € — “ok”",
            "日本",
            "",
        ] {
            assert_eq!(repair(text), (text.into(), false));
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_the_mistake(text in "[а-яА-Яéüß€ a-z日本🫖]{0,40}") {
            // What MySQL makes of it: byte by byte, as latin1.
            let (stored, _) = WINDOWS_1252.decode_without_bom_handling(text.as_bytes());
            prop_assert_eq!(repair(&stored).0, text.as_str());
        }
    }
}
