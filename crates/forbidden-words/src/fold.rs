//! One spelling for all disguises of a letter: case, accents, full-width and mathematical forms (NFKD), look-alikes of other
//! scripts (UTS 39), digits of any script. What cannot be seen is dropped. Each folded letter knows the bytes it stands for.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

/// Up to here (Latin, Greek, Cyrillic and what lies between) each character's folding is kept in a table.
const TABLE_END: usize = 0x600;

static TABLE: LazyLock<Vec<Box<[char]>>> = LazyLock::new(|| {
    let known = |code: usize| u32::try_from(code).ok().and_then(char::from_u32);
    (0..TABLE_END).map(|code| known(code).map(compute).unwrap_or_default().into()).collect()
});

/// Calls `each` with every folded character of `c`; with none for what cannot be seen.
pub(crate) fn fold(c: char, mut each: impl FnMut(char)) {
    if c.is_ascii() {
        return each(c.to_ascii_lowercase());
    }
    match usize::try_from(u32::from(c)).ok().and_then(|code| TABLE.get(code)) {
        Some(folded) => folded.iter().for_each(|c| each(*c)),
        None => compute(c).into_iter().for_each(each),
    }
}

/// A word of ours as it looks in a folded text.
pub(crate) fn fold_str(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    text.chars().for_each(|c| fold(c, |c| folded.push(c)));
    folded
}

fn compute(c: char) -> Vec<char> {
    if is_unseen(c) {
        return Vec::new();
    }
    if c.is_whitespace() {
        return vec![if c == '\n' { '\n' } else { ' ' }];
    }
    // The full stops of Chinese and Japanese: browsers take them for the dot of a host name, too.
    if matches!(c, '\u{3002}' | '\u{ff61}') {
        return vec!['.'];
    }
    if let Some(letter) = enclosed_letter(c) {
        return vec![letter];
    }
    // Signs that stand behind a word and belong to it no more than a full stop does.
    if matches!(c, '\u{2122}' | '\u{2120}' | '\u{ae}' | '\u{a9}') {
        return vec![c];
    }
    if let Some(digit) = digit(c) {
        return vec![char::from(b'0' + digit)];
    }
    // A Hangul syllable is one letter to its readers.
    if ('\u{ac00}'..='\u{d7a3}').contains(&c) {
        return vec![c];
    }
    let mut folded = Vec::new();
    for part in std::iter::once(c).nfkd().filter(|it| !is_accent(*it) && !is_unseen(*it)) {
        for lower in part.to_lowercase().filter(|it| !is_accent(*it)) {
            look_alike(lower, &mut folded);
        }
    }
    folded
}

/// What readers do not see: zero-width characters, directions, variation selectors, tags, fillers (Default_Ignorable_Code_Point).
pub(crate) fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    ) || (c.is_control() && !c.is_whitespace())
}

/// Marks that decorate a letter and are no letter: accents, overlays, enclosing marks, Hebrew and Arabic points. The vowel
/// signs of Indian scripts and the voicing of kana make other letters, so they stay.
pub(crate) fn is_accent(c: char) -> bool {
    matches!(c, '\u{488}' | '\u{489}' | '\u{20dd}'..='\u{20e4}')
        || matches!(canonical_combining_class(c), 1 | 10..=36 | 200..)
}

/// Whether it is part of a word.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric()
    } else {
        c.is_alphanumeric() || is_combining_mark(c)
    }
}

/// Letters of scripts that put no spaces between words.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{2fdf}'
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{3130}'..='\u{318f}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}'
    )
}

/// Letters in boxes and flags that NFKD leaves as they are.
fn enclosed_letter(c: char) -> Option<char> {
    let code = u32::from(c);
    let index = match code {
        0x1f150..=0x1f169 => code - 0x1f150,
        0x1f170..=0x1f189 => code - 0x1f170,
        0x1f1e6..=0x1f1ff => code - 0x1f1e6,
        _ => return None,
    };
    u8::try_from(index).ok().map(|index| char::from(b'a' + index))
}

/// The zeros of the scripts that have decimal digits of their own (Unicode's category Nd).
const ZEROS: [u32; 50] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x118e0, 0x1e950, 0x1fbf0,
];

fn digit(c: char) -> Option<u8> {
    let code = u32::from(c);
    // Numbers in circles count from one.
    let circled = [(0x2776, 9), (0x2780, 9), (0x278a, 9), (0x24f5, 9)];
    let one = circled.iter().find(|(first, count)| (*first..first + count).contains(&code));
    let value = match one {
        Some((first, _)) => code - first + 1,
        None if code == 0x24ff => 0,
        None => code - ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?,
    };
    u8::try_from(value).ok()
}

/// What the letters of the Russian and the Greek alphabet are taken for, in either case; chosen so that within one alphabet no
/// two letters become the same, which would make one word of two.
const ALPHABETS: [(&str, &str); 2] =
    [("авгекмнопрстух", "abrekmhonpctyx"), ("αβεζηικμνορτυχ", "abezhikmvoptux")];
const SMALL_CAPITALS: [(&str, &str); 1] =
    [("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz")];

fn of_pair(pairs: &[(&str, &str)], letter: char) -> Option<char> {
    let mut known = pairs.iter().flat_map(|(from, to)| from.chars().zip(to.chars()));
    known.find(|(from, _)| *from == letter).map(|(_, to)| to)
}

/// Puts the Latin letter that looks like this one, or the letter itself.
fn look_alike(lower: char, folded: &mut Vec<char>) {
    match lower {
        _ if lower.is_ascii() => folded.push(lower),
        'ß' => folded.extend(['s', 's']),
        'æ' => folded.extend(['a', 'e']),
        'œ' => folded.extend(['o', 'e']),
        'ς' => folded.push('σ'),
        'а'..='я' | 'α'..='ω' => folded.push(of_pair(&ALPHABETS, lower).unwrap_or(lower)),
        'ᴀ'..='ᴢ' | 'ꜰ' | 'ꜱ' | 'ɢ' | 'ɪ' | 'ʀ' | 'ʏ' | 'ʙ' | 'ʜ' | 'ʟ' | 'ɴ' | 'ꞯ' =>
        {
            folded.push(of_pair(&SMALL_CAPITALS, lower).unwrap_or(lower));
        }
        _ => folded.push(latin(lower).unwrap_or(lower)),
    }
}

/// The ASCII letter that a letter of a script like ours is taken for, in lower or in upper case.
fn latin(lower: char) -> Option<char> {
    let is_similar_script = matches!(lower,
        '\u{c0}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}' | '\u{1400}'..='\u{167f}' | '\u{1c80}'..='\u{1c8f}'
        | '\u{1d00}'..='\u{1dbf}' | '\u{1e00}'..='\u{1fff}' | '\u{2100}'..='\u{214f}' | '\u{2c60}'..='\u{2cff}'
        | '\u{a4d0}'..='\u{a4ff}' | '\u{a640}'..='\u{a69f}' | '\u{a720}'..='\u{a7ff}' | '\u{ab30}'..='\u{abbf}');
    if !is_similar_script {
        return None;
    }
    let single = |c: char| {
        let mut text = [0; 4];
        let mut looks = unicode_security::skeleton(c.encode_utf8(&mut text))
            .filter(|it| !is_accent(*it))
            .collect::<Vec<_>>()
            .into_iter();
        match (looks.next(), looks.next()) {
            (Some(one), None) if one.is_ascii_alphabetic() => Some(one.to_ascii_lowercase()),
            _ => None,
        }
    };
    let mut upper = lower.to_uppercase();
    single(lower).or_else(|| match (upper.next(), upper.next()) {
        (Some(upper), None) => single(upper),
        _ => None,
    })
}

/// A folded text, with the bytes of the original that each of its characters stands for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// For each character: where it begins in `text`, and its bytes in the original.
    places: Vec<(usize, usize, usize)>,
}

impl Folded {
    pub(crate) fn of(text: &str) -> Self {
        let mut folded = Self::default();
        for (at, c) in text.char_indices() {
            fold(c, |it| folded.push(it, at, at + c.len_utf8()));
        }
        folded
    }

    /// Only what every reader takes for the same character (NFKC, without the unseen), case kept: for patterns that
    /// name letters of other scripts.
    pub(crate) fn lightly(text: &str) -> Self {
        let mut folded = Self::default();
        for (at, c) in text.char_indices().filter(|(_, c)| !is_unseen(*c)) {
            for it in std::iter::once(c).nfkc() {
                folded.push(it, at, at + c.len_utf8());
            }
        }
        folded
    }

    pub(crate) fn push(&mut self, c: char, start: usize, end: usize) {
        self.places.push((self.text.len(), start, end));
        self.text.push(c);
    }

    /// Its characters, each with its bytes in the original.
    pub(crate) fn chars(&self) -> impl Iterator<Item = (char, usize, usize)> {
        self.text.chars().zip(&self.places).map(|(c, (_, start, end))| (c, *start, *end))
    }

    /// The bytes of the original behind a range of `text`.
    pub(crate) fn original(&self, start: usize, end: usize) -> std::ops::Range<usize> {
        let first = self.places.partition_point(|(at, ..)| *at < start);
        let last = self.places.partition_point(|(at, ..)| *at < end).saturating_sub(1);
        let from = self.places.get(first).map_or(0, |(_, start, _)| *start);
        let to = self.places.get(last).map_or(from, |(.., end)| *end);
        from..to.max(from)
    }

    /// The same without the spaces of what is written letter by letter (`j o e @ m a i l . c o m`); `None` when nothing is.
    pub(crate) fn closed_up(&self) -> Option<Self> {
        /// Fewer single characters in a row are initials or a list.
        const MIN_RUN: usize = 5;
        let chars: Vec<_> = self.chars().collect();
        let is_space = |index: usize| chars.get(index).is_none_or(|(c, ..)| c.is_whitespace());
        let is_single = |index: usize| {
            !is_space(index) && is_space(index + 1) && (index == 0 || is_space(index - 1))
        };
        let mut closed = Self::default();
        let (mut index, mut found) = (0, false);
        while let Some(&(c, start, end)) = chars.get(index) {
            let mut run = 0;
            while is_single(index + 2 * run) {
                run += 1;
            }
            if run >= MIN_RUN {
                found = true;
                for &(c, start, end) in chars.iter().skip(index).step_by(2).take(run) {
                    closed.push(c, start, end);
                }
                index += 2 * run - 1;
            } else {
                closed.push(c, start, end);
                index += 1;
            }
        }
        found.then_some(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_of_a_letter_become_that_letter() {
        for disguise in [
            "whatsapp",
            "WhatsApp",
            "ＷｈａｔｓＡｐｐ",
            "𝐰𝐡𝐚𝐭𝐬𝐚𝐩𝐩",
            "𝓦𝓱𝓪𝓽𝓼𝓐𝓹𝓹",
            "ⓦⓗⓐⓣⓢⓐⓟⓟ",
            "🅆🄷🄰🅃🅂🄰🄿🄿",
            "🅦🅗🅐🅣🅢🅐🅟🅟",
            "ẃĥàťšäþp".replace('þ', "p").as_str(),
            "wһаtѕарр",
            "WНАТЅАРР",
            "ԝհɑτsαρρ",
            "w\u{200b}hat\u{ad}sapp",
            "ᴡʜᴀᴛsᴀᴘᴘ",
            "🇼🇭🇦🇹🇸🇦🇵🇵",
            "w\u{336}h\u{336}a\u{336}t\u{336}s\u{336}a\u{336}p\u{336}p\u{336}",
            "ᏔᎻᎪᎢᏚᎪᏢᏢ",
        ] {
            assert_eq!(fold_str(disguise), "whatsapp", "{disguise}");
        }
    }

    #[test]
    fn case_never_makes_a_difference() {
        for code in 0..0x3000 {
            let Some(c) = char::from_u32(code) else { continue };
            let upper: String = c.to_uppercase().collect();
            let mut back = upper.chars().flat_map(char::to_lowercase);
            if c.is_lowercase() && back.next() == Some(c) && back.next().is_none() {
                assert_eq!(fold_str(&upper), fold_str(&c.to_string()), "{c:?}");
            }
        }
    }

    #[test]
    fn digits_of_every_script_are_digits() {
        for text in [
            "٠١٢٣٤٥٦٧٨٩",
            "०१२३४५६७८९",
            "０１２３４５６７８９",
            "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
            "⓪①②③④⑤⑥⑦⑧⑨",
            "⓿❶❷❸❹❺❻❼❽❾",
            "⁰¹²³⁴⁵⁶⁷⁸⁹",
        ] {
            assert_eq!(fold_str(text), "0123456789", "{text}");
        }
    }

    #[test]
    fn letters_of_one_script_stay_apart() {
        for alphabet in ["абвгдежзийклмнопрстуфхцчшщъыэюя", "αβγδεζηθκλμνξοπρστυφχψω"]
        {
            for one in alphabet.chars() {
                for other in alphabet.chars().filter(|other| *other != one) {
                    let pair = (fold_str(&one.to_string()), fold_str(&other.to_string()));
                    // `й` is `и` with a mark.
                    assert!(pair.0 != pair.1 || "ий".contains(one), "{one} {other} {pair:?}");
                }
            }
        }
    }
}
