//! Whether letters with a space among them are one word that was cut (`ema il`), or neighbours that only spell it (`the pen is new`).
//! No dictionary is needed: what stands between other words in every sentence is a short list. The longer the word, the less can
//! neighbours spell it by chance.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::fold::fold_str;
use crate::units::{Unit, Written};

/// Shorter words are too easily spelled by neighbours.
pub(crate) const MIN_LETTERS: usize = 4;
/// From here on, no neighbours are believed to spell a word.
const CERTAIN_LETTERS: usize = 9;

/// Articles, pronouns, prepositions, conjunctions and the like, which go with any word beside them.
const LITTLE_WORDS: &str = "an am as at be by do go he if in is it me my no of on or so to up us we the and for are but not you can had her \
    was has him his how its may she too who did \
    за из на не но ни до по со во об от он мы вы ты их ее её его ей им нам вам нас вас мне мой моя мои для при под над без про что как \
    это так все всё вот да нет или бы же уже где кто чем она они оно был \
    de la le el un en der die das und ist mit von zu les des une que";
/// And those of one letter, in words of ASCII letters and in those of others.
const LETTERS: &str = "a i";
const CYRILLIC_LETTERS: &str = "а и я в с к о у";
/// What a short word's single letter may be as well: a size, or a name for one of several.
const LABELS: &str = "a b c d e s m l x";

static LISTS: LazyLock<[HashSet<String>; 4]> = LazyLock::new(|| {
    [LITTLE_WORDS, LETTERS, CYRILLIC_LETTERS, LABELS]
        .map(|list| list.split_whitespace().map(fold_str).collect())
});

/// Whether these units, which are a word of the list but for gaps, are that word and not several.
pub(crate) fn is_one_word(read: &[Unit]) -> bool {
    let parts: Vec<&[Unit]> = read.chunk_by(|_, next| next.touches()).collect();
    // `3 mails`, `@ home`
    let has_letter = |part: &&[Unit]| part.iter().any(|unit| unit.written == Written::Letter);
    if parts.len() == 2 && !parts.iter().all(has_letter) {
        return false;
    }
    if read.len() >= CERTAIN_LETTERS {
        return true;
    }
    let [little, latin, cyrillic, labels] = &*LISTS;
    let letters = if read.iter().all(|unit| unit.letter.is_ascii()) { latin } else { cyrillic };
    let is_word = |part: &&&[Unit]| {
        let text: String = part.iter().map(|unit| unit.letter).collect();
        little.contains(&text)
            || letters.contains(&text)
            || (read.len() == MIN_LETTERS && labels.contains(&text))
    };
    let others = parts.iter().filter(|part| !is_word(part)).count();
    read.len() >= MIN_LETTERS && others > 1
}
