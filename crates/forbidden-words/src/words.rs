//! Words and phrases, in two steps. One automaton over all of them (Aho-Corasick) finds candidates in a coarse spelling, in which
//! everything between letters is gone, doubled letters are one, and a digit is the letter it looks like. Each candidate is then read
//! letter by letter: is it that word, from one end of a word to the other, and are the gaps inside it a disguise or innocent?
//! So a message costs one walk, whatever the length of the list.

use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::fold;
use crate::split;
use crate::units::{Gap, Signs, Unit, Written, class, is_sign, span, units};

/// The widest gap within a word that is a disguise, in characters.
const MAX_GAP: usize = 3;
/// The widest gap between two words of a phrase, if it has none that is wider.
const MAX_PHRASE_GAP: usize = 8;
/// How many readings of one candidate are tried: only texts made to be slow have more.
const MAX_READINGS: u32 = 200;
/// From this length on, a word is looked for inside a longer row of single letters.
const MIN_LONG: usize = 5;

/// A word or phrase, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// Folded.
    letters: Vec<char>,
    /// For each letter, whether a word of the phrase begins with it.
    begins: Vec<bool>,
    /// The widest gap between two of its words, in characters.
    widest_gap: usize,
    /// `*word`: whatever stands before it belongs to it.
    open_start: bool,
    /// `word*`.
    open_end: bool,
}

/// Where a word was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entry: usize,
    pub(crate) range: Range<usize>,
    /// As it was read.
    pub(crate) read_as: String,
}

impl Word {
    /// Takes a phrase apart; `None` when it has no letters that could be looked for.
    pub(crate) fn parse(phrase: &str) -> Option<Self> {
        let phrase = phrase.trim();
        let open_start = phrase.starts_with('*');
        let open_end = phrase.ends_with('*') && phrase.len() > 1;
        let phrase = phrase.trim_matches('*').trim();
        let in_letters = units(phrase, Signs::Touching);
        // `a$$` is `ass`; but `c++` is more than a `c` with an ornament, and has to be taken literally.
        let first = in_letters.iter().position(|unit| unit.written != Written::Sign)?;
        let last = in_letters.iter().rposition(|unit| unit.written != Written::Sign)?;
        let is_reading = |(at, unit): (usize, &Unit)| {
            unit.written != Written::Sign || (first..last).contains(&at) || unit.letter == '$'
        };
        let readable = in_letters.iter().enumerate().all(|(at, unit)| is_reading((at, unit)));
        let units = if readable { in_letters } else { units(phrase, Signs::None) };
        let has_rest = !readable && phrase.chars().any(is_sign);
        // `$5` is a price and no word.
        let has_letter = units.iter().any(|unit| unit.written == Written::Letter);
        let has_sign = units.iter().any(|unit| unit.written == Written::Sign);
        if units.is_empty() || (has_rest && units.len() == 1) || (has_sign && !has_letter) {
            return None;
        }
        let letter = |unit: &Unit| match unit.written {
            Written::Sign => match unit.letter {
                '$' => 's',
                '@' => 'a',
                '€' => 'e',
                '£' => 'l',
                '¢' => 'c',
                '+' => 't',
                _ => 'i',
            },
            _ => unit.letter,
        };
        Some(Self {
            letters: units.iter().map(letter).collect(),
            begins: units.iter().map(|unit| !unit.touches()).collect(),
            widest_gap: units
                .iter()
                .skip(1)
                .map(|it| it.gap.chars)
                .max()
                .unwrap_or(0)
                .max(MAX_PHRASE_GAP),
            open_start,
            open_end,
        })
    }

    /// One text for all phrases that find the same.
    pub(crate) fn key(&self) -> String {
        let star = |open: bool| if open { "*" } else { "" };
        let letters: String = self.letters.iter().collect();
        format!("{}{letters}{}", star(self.open_start), star(self.open_end))
    }

    /// A single letter with a `*`: the beginning or the end of nearly every word.
    pub(crate) fn is_open_letter(&self) -> bool {
        self.letters.len() == 1 && (self.open_start || self.open_end)
    }

    /// Whether it could begin with this unit.
    fn begins_at(&self, units: &[Unit], at: usize) -> bool {
        let Some(first) = self.letters.first() else { return false };
        units.get(at).is_some_and(|unit| unit.is(*first))
            && (self.open_start || begins_word(units, at, *first))
    }

    fn coarse(&self) -> String {
        let mut classes: Vec<char> = self.letters.iter().map(|letter| class(*letter)).collect();
        classes.dedup();
        classes.into_iter().collect()
    }
}

/// All words of a list, ready to be looked for.
#[derive(Debug)]
pub(crate) struct Words {
    automaton: AhoCorasick,
    /// The words behind each of the automaton's patterns, and the entry of each.
    patterns: Vec<Vec<(usize, Word)>>,
}

impl Words {
    pub(crate) fn new(
        words: impl IntoIterator<Item = (usize, Word)>,
    ) -> Result<Self, aho_corasick::BuildError> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut keys = Vec::new();
        let mut patterns: Vec<Vec<(usize, Word)>> = Vec::new();
        for (entry, word) in words {
            let key = word.coarse();
            let place = *places.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                patterns.push(Vec::new());
                patterns.len() - 1
            });
            if let Some(words) = patterns.get_mut(place) {
                words.push((entry, word));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&keys)?;
        Ok(Self { automaton, patterns })
    }

    /// Calls `found` with each occurrence; tells how many candidates were read.
    pub(crate) fn find(&self, text: &str, mut found: impl FnMut(Found)) -> usize {
        if self.patterns.is_empty() {
            return 0;
        }
        let mut seen = units(text, Signs::None);
        let mut candidates = self.find_in(&seen, &mut found);
        // Once more with signs as letters, which are else what stands between letters.
        if text.chars().any(|c| !c.is_ascii() || is_sign(c)) {
            for signs in [Signs::Touching, Signs::All] {
                let more = units(text, signs);
                if more.len() > seen.len() {
                    candidates += self.find_in(&more, &mut found);
                    seen = more;
                }
            }
        }
        candidates
    }

    fn find_in(&self, units: &[Unit], found: &mut impl FnMut(Found)) -> usize {
        let mut coarse = String::with_capacity(units.len());
        // Where each byte of `coarse` comes from: the first of the units that have become one letter.
        let mut runs: Vec<Range<usize>> = Vec::with_capacity(units.len());
        let mut run_of_byte: Vec<usize> = Vec::with_capacity(units.len());
        let mut last = None;
        for (at, unit) in units.iter().enumerate() {
            let class = class(unit.letter);
            match runs.last_mut() {
                Some(run) if last == Some(class) => run.end = at + 1,
                _ => {
                    run_of_byte.extend(std::iter::repeat_n(runs.len(), class.len_utf8()));
                    runs.push(at..at + 1);
                    coarse.push(class);
                    last = Some(class);
                }
            }
        }
        let mut candidates = 0;
        for hit in self.automaton.find_overlapping_iter(&coarse) {
            let run = run_of_byte.get(hit.start()).and_then(|run| runs.get(*run));
            let words = self.patterns.get(hit.pattern().as_usize());
            let (Some(run), Some(words)) = (run, words) else { continue };
            for (entry, word) in words {
                let mut from = run.start;
                while from < run.end {
                    let begins = word.begins_at(units, from);
                    candidates += usize::from(begins);
                    match begins.then(|| read(units, from, word)).flatten() {
                        Some((range, end)) => {
                            found(Found {
                                entry: *entry,
                                range,
                                read_as: word.letters.iter().collect(),
                            });
                            from = end;
                        }
                        None => from += 1,
                    }
                }
            }
        }
        candidates
    }
}

/// Reads a word from a unit on: its bytes, and the unit behind it.
fn read(units: &[Unit], start: usize, word: &Word) -> Option<(Range<usize>, usize)> {
    let (free, doubled) = (Vec::new(), Vec::new());
    let mut reading = Reading { units, word, free, doubled, left: MAX_READINGS };
    let end = reading.from(0, start, start)?;
    let mut range = start..end;
    // `word*` is the whole word that begins so.
    while word.open_start && range.start > 0 && units.get(range.start).is_some_and(Unit::touches) {
        range.start -= 1;
    }
    while word.open_end && units.get(range.end).is_some_and(Unit::touches) {
        range.end += 1;
    }
    Some((span(units, &range)?, range.end))
}

struct Reading<'a> {
    units: &'a [Unit],
    word: &'a Word,
    /// The units before which the phrase has a gap of its own.
    free: Vec<usize>,
    /// The letters that are written twice for once.
    doubled: Vec<usize>,
    left: u32,
}

impl Reading<'_> {
    /// Reads the letters from `letter` on at the unit `at`; the end, when it is the word.
    fn from(&mut self, letter: usize, at: usize, start: usize) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let (units, word) = (self.units, self.word);
        let Some(wanted) = word.letters.get(letter).copied() else {
            let ends = word.open_end || ends_word(units, at, word.letters.last().copied()?);
            return (ends && self.is_meant(start..at)).then_some(at);
        };
        // The same letter several times within a word: as often as it has to be, or, drawn out (`heeey`), from three on, or
        // twice for once, if that is meant (`eemmaaiill`).
        let begins = |letter: usize| word.begins.get(letter).copied().unwrap_or(true);
        let mut count = 1;
        while word.letters.get(letter + count) == Some(&wanted) && !begins(letter + count) {
            count += 1;
        }
        let run = units.get(at..at + count)?;
        if !run.iter().all(|unit| unit.is(wanted)) {
            return None;
        }
        let kept = (self.free.len(), self.doubled.len());
        if letter > 0 && begins(letter) {
            self.free.push(at);
        }
        let rest = units.get(at + 1..).unwrap_or_default();
        let touching = rest.iter().take_while(|it| it.touches() && it.is(wanted)).count() + 1;
        let mut found = self.from(letter + count, at + count, start);
        if found.is_none() && touching >= 3 && touching > count {
            found = self.from(letter + count, at + touching, start);
        }
        let is_letter = |unit: &Unit| unit.written == Written::Letter;
        if found.is_none()
            && (count, touching) == (1, 2)
            && units.get(at..at + 2).is_some_and(|pair| pair.iter().all(is_letter))
        {
            self.doubled.push(letter);
            found = self.from(letter + 1, at + 2, start);
        }
        if found.is_none() {
            self.free.truncate(kept.0);
            self.doubled.truncate(kept.1);
        }
        found
    }

    /// Whether letters are doubled on purpose: not `good` for `god`, nor `looser` for `loser`, but `emmaill`, and `telegramm`.
    fn is_doubling_meant(&self) -> bool {
        let letters = &self.word.letters;
        let length = letters.len();
        match self.doubled.as_slice() {
            [] => true,
            [one] => {
                let is_edge = *one == 0 || *one + 1 == length;
                length > MIN_LONG || (is_edge && length >= split::MIN_LETTERS)
            }
            some => {
                let same = letters.windows(2).filter(|it| it.first() == it.last()).count();
                length >= MIN_LONG || some.len() + 2 * same >= length
            }
        }
    }

    /// Whether these units are the word on purpose: the gaps are a disguise, and the digits are letters.
    fn is_meant(&self, range: Range<usize>) -> bool {
        let (units, word) = (self.units, self.word);
        let Some(read) = units.get(range.clone()) else { return false };
        if !self.are_letters(read) || !self.is_doubling_meant() {
            return false;
        }
        let is_free = |at: usize| self.free.contains(&at);
        let gaps = || {
            let inner = range.clone().zip(read).skip(1);
            inner.filter(|(_, unit)| !unit.touches()).map(|(at, unit)| (at, unit.gap))
        };
        if gaps().any(|(at, gap)| gap.chars > if is_free(at) { word.widest_gap } else { MAX_GAP }) {
            return false;
        }
        let disguise: Vec<_> = gaps().filter(|(at, _)| !is_free(*at)).collect();
        if disguise.is_empty() {
            return true;
        }
        let groups = gaps().count() + 1;
        let is_spelled = groups == read.len();
        if is_spelled && word.letters.len() < MIN_LONG && self.is_part_of_row(&range) {
            return false;
        }
        // A hyphen or a dot within a word is a disguise; a space may just as well stand between two words.
        if is_spelled {
            return true;
        }
        if !disguise.iter().any(|(_, gap)| gap.has_space) {
            return !self.is_contraction(&disguise);
        }
        let is_shredded = read.len() >= 6 && groups >= 3 && read.len() <= 3 * groups;
        (is_shredded || self.is_apart(&range, &disguise)) && split::is_one_word(read)
    }

    /// Whether nothing but spaces and ornaments stand in the word, and it is all that stands there: not the `s hit` of `it's hit`.
    fn is_apart(&self, range: &Range<usize>, disguise: &[(usize, Gap)]) -> bool {
        let edge = |at: usize| {
            self.units.get(at).is_none_or(|unit| !unit.touches() && !unit.gap.has_apostrophe)
        };
        disguise.iter().all(|(_, gap)| !gap.has_stop && !gap.has_apostrophe)
            && edge(range.start)
            && edge(range.end)
    }

    /// `he'll`, which is no `hell`.
    fn is_contraction(&self, disguise: &[(usize, Gap)]) -> bool {
        let [(at, gap)] = disguise else { return false };
        let behind = self.units.get(*at + 1..).unwrap_or_default();
        let length = behind.iter().take_while(|unit| unit.touches()).count() + 1;
        let end: String =
            self.units.iter().skip(*at).take(length).map(|unit| unit.letter).collect();
        gap.chars == 1
            && gap.has_apostrophe
            && matches!(end.as_str(), "s" | "t" | "d" | "m" | "ll" | "re" | "ve")
    }

    /// Whether single letters with the same gaps go on before or behind: `c l a s s`.
    fn is_part_of_row(&self, range: &Range<usize>) -> bool {
        let units = self.units;
        let Some(gap) = units.get(range.start + 1).map(|unit| unit.gap) else { return false };
        let is_single = |at: usize| {
            units.get(at).is_some_and(|unit| unit.written == Written::Letter)
                && !(at > 0 && units.get(at).is_some_and(Unit::touches))
                && !units.get(at + 1).is_some_and(Unit::touches)
        };
        let same = |at: usize| units.get(at).is_some_and(|unit| unit.gap == gap);
        let before = range.start.checked_sub(1);
        before.is_some_and(|before| same(range.start) && is_single(before))
            || (same(range.end) && is_single(range.end))
    }

    /// Whether digits and signs that are read as letters are meant so: not a price, a number or a model (`A55`).
    fn are_letters(&self, read: &[Unit]) -> bool {
        let is_letter = |unit: &Unit| unit.written == Written::Letter;
        let letters = read.iter().filter(|unit| is_letter(unit)).count();
        let digits = read.iter().filter(|unit| unit.written == Written::Digit).count();
        let signs = read.len() - letters - digits;
        let wants_digits = self.word.letters.iter().filter(|it| it.is_ascii_digit()).count();
        if digits + signs <= wants_digits {
            return true;
        }
        let turns = read.windows(2).filter(|pair| match pair {
            [one, other] => is_letter(one) != is_letter(other),
            _ => false,
        });
        // Those that the word has itself are no disguise.
        let instead = digits.saturating_sub(wants_digits);
        letters > 0 && (letters >= instead || turns.count() > 1)
    }
}

/// Whether the unit before this one is no part of the same word.
fn begins_word(units: &[Unit], at: usize, wanted: char) -> bool {
    let (Some(unit), Some(before)) =
        (units.get(at), at.checked_sub(1).and_then(|before| units.get(before)))
    else {
        return true;
    };
    let next = at.checked_sub(2).and_then(|next| units.get(next)).filter(|_| before.touches());
    !unit.touches() || is_border(unit, before, next, wanted)
}

/// Whether the unit `at`, right behind a word, is no part of it.
fn ends_word(units: &[Unit], at: usize, wanted: char) -> bool {
    let (Some(unit), Some(after)) =
        (at.checked_sub(1).and_then(|last| units.get(last)), units.get(at))
    else {
        return true;
    };
    let next = units.get(at + 1).filter(|next| next.touches());
    !after.touches() || is_border(unit, after, next, wanted)
}

/// Whether a word may end between two units that touch; `next` touches `other` on its far side.
fn is_border(unit: &Unit, other: &Unit, next: Option<&Unit>, wanted: char) -> bool {
    if fold::is_unspaced(unit.letter) || fold::is_unspaced(other.letter) {
        return true;
    }
    match other.written {
        Written::Sign => true,
        Written::Letter => wanted.is_ascii_digit(),
        // A digit amid letters is a letter in disguise; one at the end of them is a number.
        Written::Digit => {
            !wanted.is_ascii_digit() && !next.is_some_and(|it| it.written == Written::Letter)
        }
    }
}
