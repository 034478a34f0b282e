//! Topics: who hears an event. An event names the topics it goes to, a token names those its bearer hears,
//! and the push daemon compares the two without knowing what they mean.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest id that a shop may give a user or a vendor, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// What the ids of visitors begin with, and no id of the shop's does: so one text names one person, and theirs is also the
/// name of their topic.
pub const VISITOR_PREFIX: &str = "visitor:";

/// A group of hearers. There is none per thread: which threads concern whom is the API's to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// One user, by the shop's id.
    User(String),
    /// All who act for one vendor.
    Vendor(String),
    /// One visitor without an account, by the id without its [`VISITOR_PREFIX`].
    Visitor(String),
    /// The marketplace's staff who may manage messages.
    Staff,
}

/// Why a text is no topic.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a topic: expected user:<id>, vendor:<id>, visitor:<id> or staff")]
pub struct InvalidTopic;

/// Whether the text can be an id: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
#[must_use]
pub fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// Whether the id is a visitor's, and not the shop's.
#[must_use]
pub fn is_visitor(id: &str) -> bool {
    id.starts_with(VISITOR_PREFIX)
}

impl Topic {
    /// What one person alone hears.
    #[must_use]
    pub fn of_person(id: &str) -> Self {
        match id.strip_prefix(VISITOR_PREFIX) {
            Some(visitor) => Self::Visitor(visitor.to_owned()),
            None => Self::User(id.to_owned()),
        }
    }

    /// Whether the text lies in the namespace of native topics, valid or not. Legacy clients never reach these.
    #[must_use]
    pub fn is_reserved(text: &str) -> bool {
        text == "staff"
            || ["user:", "vendor:", "visitor:"].iter().any(|prefix| text.starts_with(prefix))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Vendor(id) => write!(f, "vendor:{id}"),
            Self::Visitor(id) => write!(f, "visitor:{id}"),
            Self::Staff => f.write_str("staff"),
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        if text == "staff" {
            return Ok(Self::Staff);
        }
        let (kind, id) = text.split_once(':').ok_or(InvalidTopic)?;
        if !is_valid_id(id) {
            return Err(InvalidTopic);
        }
        match kind {
            "user" => Ok(Self::User(id.to_owned())),
            "vendor" => Ok(Self::Vendor(id.to_owned())),
            "visitor" => Ok(Self::Visitor(id.to_owned())),
            _ => Err(InvalidTopic),
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_keep_colons_and_unicode() {
        let topic: Topic = "user:a:b ж".parse().unwrap();
        assert_eq!(topic, Topic::User("a:b ж".into()));
        assert_eq!(topic.to_string(), "user:a:b ж");
    }

    #[test]
    fn texts_that_are_no_topics_are_refused() {
        for text in ["", "user", "user:", "thread:1", "staff:1", "USER:1", "user:a\nb"] {
            assert_eq!(text.parse::<Topic>(), Err(InvalidTopic), "{text:?}");
        }
        assert!(format!("user:{}", "x".repeat(MAX_ID_BYTES)).parse::<Topic>().is_ok());
        assert!(format!("user:{}", "x".repeat(MAX_ID_BYTES + 1)).parse::<Topic>().is_err());
    }

    #[test]
    fn a_visitors_id_is_the_name_of_its_topic() {
        assert_eq!(Topic::of_person("visitor:a1").to_string(), "visitor:a1");
        assert_eq!(Topic::of_person("a1").to_string(), "user:a1");
        assert!(is_visitor("visitor:a1") && !is_visitor("a visitor:"));
    }

    proptest! {
        #[test]
        fn whatever_parses_is_reserved_and_prints_itself(text in "(user|vendor|visitor|staff|x):?.{0,20}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert!(Topic::is_reserved(&text));
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
