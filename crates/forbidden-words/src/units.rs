//! A text as the letters and digits in it, with what stands between them: what the search for words looks at.

use std::ops::Range;

use crate::fold;

/// What stands between a letter and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gap {
    /// How many visible characters.
    pub(crate) chars: usize,
    /// Whether one of them is a space.
    pub(crate) has_space: bool,
    pub(crate) has_apostrophe: bool,
    /// Whether something else begins behind it: a full stop, a comma, a bracket, a new line.
    pub(crate) has_stop: bool,
}

/// What a unit was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Letter,
    Digit,
    /// A sign that is taken for a letter: `$`, `@`.
    Sign,
}

/// One letter or digit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    /// Folded.
    pub(crate) letter: char,
    pub(crate) written: Written,
    /// Its bytes in the text, with its accents.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) gap: Gap,
    /// A capital `I` amid small letters, which may stand for `l`.
    may_be_l: bool,
}

/// The letters that a digit or a sign is written for.
fn meant(sign: char) -> &'static [char] {
    match sign {
        '0' => &['o'],
        '1' | '!' | '|' => &['i', 'l', 'и'],
        '2' => &['z'],
        '3' => &['e', 'з'],
        '4' => &['a', 'ч'],
        '5' | '$' => &['s'],
        '6' => &['b', 'g', 'б'],
        '7' | '+' => &['t'],
        '8' => &['b'],
        '9' => &['g'],
        '@' => &['a'],
        '€' => &['e'],
        '£' => &['l'],
        '¢' => &['c'],
        _ => &[],
    }
}

/// One name for all letters that a digit or a sign could mean. What `Unit::is` says yes to has the same class.
pub(crate) fn class(letter: char) -> char {
    match letter {
        'l' | 'и' | '1' | '!' | '|' | '£' => 'i',
        '0' => 'o',
        'з' | '3' | '€' => 'e',
        'ч' | '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        'g' | 'б' | '6' | '8' | '9' => 'b',
        '2' => 'z',
        '¢' => 'c',
        letter => letter,
    }
}

/// Whether a sign may stand for a letter.
pub(crate) fn is_sign(c: char) -> bool {
    !c.is_ascii_digit() && !meant(c).is_empty()
}

impl Unit {
    /// Whether it can be read as this letter.
    pub(crate) fn is(&self, letter: char) -> bool {
        self.letter == letter
            || (self.may_be_l && letter == 'l')
            || (self.written != Written::Letter && meant(self.letter).contains(&letter))
    }

    /// Whether it touches the one before.
    pub(crate) fn touches(&self) -> bool {
        self.gap.chars == 0
    }
}

/// Which signs are taken for the letters that they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signs {
    None,
    /// Those beside a letter.
    Touching,
    All,
}

/// The units of a text.
pub(crate) fn units(text: &str, signs: Signs) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::with_capacity(text.len());
    let mut gap = Gap { chars: usize::MAX, has_space: true, ..Gap::default() };
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let (mut words, mut others) = (0, 0);
        fold::fold(c, |letter| {
            let is_sign = is_sign(letter)
                && match signs {
                    Signs::None => false,
                    Signs::Touching => touches_word(text, at, end),
                    Signs::All => true,
                };
            if !is_sign && !fold::is_word(letter) {
                others += 1;
                return;
            }
            let written = match letter {
                _ if is_sign => Written::Sign,
                _ if letter.is_ascii_digit() => Written::Digit,
                _ => Written::Letter,
            };
            let may_be_l = c == 'I' && before.is_ascii_lowercase();
            // Of a character that stands for several letters, these touch.
            let gap = if words == 0 { gap } else { Gap::default() };
            units.push(Unit { letter, written, start: at, end, gap, may_be_l });
            words += 1;
        });
        if words > 0 {
            gap = Gap::default();
        } else if others > 0 {
            gap.chars = gap.chars.saturating_add(1);
            gap.has_space |= c.is_whitespace();
            gap.has_apostrophe |= matches!(c, '\'' | '’' | '‘' | '`' | '´' | '＇');
            gap.has_stop |= ends_a_thought(c);
        } else if fold::is_accent(c)
            && let Some(last) = units.last_mut().filter(|last| last.end == at)
        {
            last.end = end;
        }
        before = c;
    }
    units
}

/// What stands between two words that have nothing to do with each other.
fn ends_a_thought(c: char) -> bool {
    matches!(
        c,
        '.' | ','
            | ';'
            | ':'
            | '!'
            | '?'
            | '…'
            | '('
            | ')'
            | '['
            | ']'
            | '"'
            | '«'
            | '»'
            | '“'
            | '”'
            | '„'
            | '\n'
            | '\r'
    )
}

/// Whether a letter, a digit or another such sign stands right beside these bytes.
fn touches_word(text: &str, start: usize, end: usize) -> bool {
    let beside = |c: Option<char>| {
        let Some(c) = c else { return false };
        let mut touches = fold::is_unseen(c);
        fold::fold(c, |it| touches |= fold::is_word(it) || is_sign(it));
        touches
    };
    beside(text.get(..start).and_then(|it| it.chars().next_back()))
        || beside(text.get(end..).and_then(|it| it.chars().next()))
}

/// The bytes from one unit to the one before another.
pub(crate) fn span(units: &[Unit], range: &Range<usize>) -> Option<Range<usize>> {
    let first = units.get(range.start)?;
    let last = units.get(range.end.checked_sub(1)?)?;
    Some(first.start..last.end)
}
