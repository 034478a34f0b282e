//! Finds what a shop does not want in its messages: words and phrases, e-mail addresses, phone numbers, links, and whatever a
//! regular expression matches — however they are disguised — and masks it.
//!
//! Pure: a list of entries goes in ([`Matcher::new`]), a text goes in ([`Matcher::scan`]), and out comes what was found where,
//! by which entry, read as what, together with the masked text. Nothing here knows of messages, people or databases.
//!
//! | module | job |
//! | --- | --- |
//! | `fold` | one spelling for all disguises of a letter, with the way back to the original bytes |
//! | `units`, `words`, `split` | words and phrases: one automaton for candidates, then each is read closely |
//! | `contacts`, `tlds`, `ip`, `phones` | e-mail addresses and links; phone numbers |
//! | `patterns` | regular expressions, and phrases without letters |
//! | `matcher`, `mask` | the whole list over one text; the masked text |

mod contacts;
mod entry;
mod fold;
mod ip;
mod mask;
mod matcher;
mod patterns;
mod phones;
mod split;
mod tlds;
mod units;
mod words;

pub use entry::{Action, Entry, EntryError, Kind, MAX_EXCEPTIONS, MAX_PHRASE_CHARS, MAX_REGEXES};
pub use mask::MASK;
pub use matcher::{BuildError, Finding, Matcher, Scan};
