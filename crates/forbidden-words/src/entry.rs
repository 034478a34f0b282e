//! One line of the list: what is forbidden, and what happens to it.

use std::fmt;
use std::str::FromStr;

use crate::fold::fold_str;
use crate::patterns;
use crate::words::Word;

/// The longest phrase or regular expression, in characters.
pub const MAX_PHRASE_CHARS: usize = 500;
/// How many regular expressions a list may have: each is looked for by itself.
pub const MAX_REGEXES: usize = 100;
/// How many exceptions one entry may have.
pub const MAX_EXCEPTIONS: usize = 100;

/// Declares an enum whose variants have a text each.
macro_rules! named {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $variant_doc])+ $variant),+ }

        impl $name {
            /// Its name in lists and answers.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = EntryError;

            fn from_str(text: &str) -> Result<Self, EntryError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(EntryError::Unknown(concat!("must be one of" $(, " `", $text, "`")+))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// What an entry finds.
    Kind {
        /// A word or a phrase; `*` at an end stands for the rest of a word.
        Phrase = "phrase",
        /// Any e-mail address.
        Email = "email",
        /// Any phone number.
        Phone = "phone",
        /// Any link or domain.
        Link = "link",
        /// What a regular expression matches.
        Regex = "regex",
    }
}

named! {
    /// What happens to a text in which an entry is found; the later ones include that it is flagged.
    Action {
        /// It is flagged, and left as it is.
        Flag = "flag",
        /// The occurrence is replaced with `***`.
        Mask = "mask",
        /// The text is not accepted.
        Refuse = "refuse",
    }
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The caller's own number of it.
    pub id: i64,
    /// What it finds.
    pub kind: Kind,
    /// The phrase or the regular expression; empty for the other kinds.
    pub phrase: String,
    /// What then happens.
    pub action: Action,
    /// Domains (of `email` and `link`) or numbers (of `phone`) that are allowed all the same.
    pub exceptions: Vec<String>,
}

/// What is wrong with an entry, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// An unknown name.
    #[error("{0}")]
    Unknown(&'static str),
    /// There is nothing to look for.
    #[error("must not be empty")]
    Empty,
    /// It would be found nearly everywhere.
    #[error("would be found in nearly every text: give at least two letters or digits")]
    TooShort,
    /// Too long.
    #[error("must not be longer than {MAX_PHRASE_CHARS} characters")]
    TooLong,
    /// Characters that no text has.
    #[error("must not contain control characters")]
    Control,
    /// The kind says all.
    #[error("must be absent: this kind has no phrase of its own")]
    NoPhrase,
    /// The pattern is none, or too costly.
    #[error("{0}")]
    Regex(String),
    /// The pattern matches nothing.
    #[error("matches the empty text, so it would be found everywhere")]
    MatchesNothing,
    /// An exception is none.
    #[error("the exception `{0}` is no domain, as shop.example is one")]
    NoDomain(String),
    /// An exception is none.
    #[error("the exception `{0}` has fewer than 5 digits")]
    NoNumber(String),
    /// Exceptions where they mean nothing.
    #[error("exceptions are for the kinds `email`, `link` and `phone`")]
    NoExceptions,
    /// Too many exceptions.
    #[error("must not have more than {MAX_EXCEPTIONS} exceptions")]
    TooManyExceptions,
}

impl Entry {
    /// Checks an entry before it is kept. Gives a text that two entries share when they find the same.
    ///
    /// # Errors
    /// What is wrong with the phrase or its exceptions.
    pub fn check(&self) -> Result<String, EntryError> {
        self.check_exceptions()?;
        let is_own = matches!(self.kind, Kind::Phrase | Kind::Regex);
        if !is_own {
            return if self.phrase.is_empty() {
                Ok(self.kind.to_string())
            } else {
                Err(EntryError::NoPhrase)
            };
        }
        if self.phrase.trim().is_empty() {
            return Err(EntryError::Empty);
        }
        if self.phrase.chars().count() > MAX_PHRASE_CHARS {
            return Err(EntryError::TooLong);
        }
        if self.phrase.chars().any(char::is_control) {
            return Err(EntryError::Control);
        }
        if self.kind == Kind::Regex {
            patterns::compile(&self.phrase)?;
            return Ok(format!("regex:{}", self.phrase));
        }
        match Word::parse(&self.phrase) {
            Some(word) if word.is_open_letter() => Err(EntryError::TooShort),
            Some(word) => Ok(format!("phrase:{}", word.key())),
            None => {
                let literal = fold_str(self.phrase.trim());
                match literal.trim_matches(['*', ' ']) {
                    "" => Err(EntryError::TooShort),
                    _ => Ok(format!("literal:{literal}")),
                }
            }
        }
    }

    fn check_exceptions(&self) -> Result<(), EntryError> {
        if self.exceptions.len() > MAX_EXCEPTIONS {
            return Err(EntryError::TooManyExceptions);
        }
        let first_wrong = |is_right: &dyn Fn(&String) -> bool| {
            self.exceptions.iter().find(|it| !is_right(it)).cloned()
        };
        match self.kind {
            Kind::Email | Kind::Link => {
                first_wrong(&|it| is_domain(it)).map_or(Ok(()), |it| Err(EntryError::NoDomain(it)))
            }
            Kind::Phone => first_wrong(&|it| digits(it).len() >= 5 && it.len() <= 50)
                .map_or(Ok(()), |it| Err(EntryError::NoNumber(it))),
            Kind::Phrase | Kind::Regex if self.exceptions.is_empty() => Ok(()),
            Kind::Phrase | Kind::Regex => Err(EntryError::NoExceptions),
        }
    }

    /// The exceptions as they are compared with what is found.
    pub(crate) fn folded_exceptions(&self) -> Vec<String> {
        let folded = self.exceptions.iter();
        match self.kind {
            Kind::Phone => folded.map(|it| digits(it)).collect(),
            _ => folded.map(|it| fold_str(it.trim_start_matches("www."))).collect(),
        }
    }
}

fn is_domain(text: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
