//! WAMP v1 (subprotocol `wamp`), which the pages of the PHP daemon speak: what clients say and what they are
//! told, as the table of protocols.md has it. No sockets here.

use std::collections::HashMap;

use bytes::Bytes;
use chaffer_shared::topic::Topic;
use serde_json::value::RawValue;

use super::frames;

/// The most prefixes of one connection, and the most topics; the longest of either in bytes. Generous beside
/// what pages do, and a bound on what a connection can cost.
pub const MAX_PREFIXES: usize = 100;
/// See [`MAX_PREFIXES`].
pub const MAX_TOPICS: usize = 1000;
/// See [`MAX_PREFIXES`].
pub const MAX_TOPIC_BYTES: usize = 1024;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// From now on `prefix:rest` means `uri` followed by `rest`.
    Prefix {
        /// The short form.
        prefix: String,
        /// What it stands for.
        uri: String,
    },
    /// A procedure is called, of which there is none.
    Call {
        /// The call's id, as the client wrote it.
        id: String,
        /// The procedure.
        procedure: String,
    },
    /// The client wants to hear a topic.
    Subscribe(String),
    /// It no longer wants to.
    Unsubscribe(String),
    /// It wants others to hear something.
    Publish(Publication),
}

/// Something that a client wants others to hear: `[7, topic, event, excludeMe or exclude[], eligible[]]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// Those who subscribed to this are to hear it.
    pub topic: String,
    /// JSON, passed on as it is.
    pub event: String,
    /// Who is not to hear it.
    pub exclude: Exclude,
    /// The sessions that may hear it at all; `None`: all.
    pub eligible: Option<Vec<String>>,
}

/// Who is not to hear a publication. What decides here is what the reference implementation (AutobahnPython 0.8,
/// `wamp1`) does: `(subscribers - exclude) & eligible`, and without a word about it, the publisher is excluded.
#[derive(Debug, PartialEq, Eq)]
pub enum Exclude {
    /// The publisher.
    Me,
    /// Nobody: the publisher hears it, too.
    Nobody,
    /// These sessions, and the publisher only if it is among them.
    These(Vec<String>),
}

/// Not JSON, not a list, an unknown type, a topic that is neither text nor number, or sessions that are no list of
/// texts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a WAMP v1 message")]
pub struct Malformed;

/// Reads one text message.
///
/// # Errors
/// [`Malformed`]: the connection is to be closed with 1007.
pub fn parse(text: &str) -> Result<Message, Malformed> {
    let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let field = |index: usize| list.get(index).copied().ok_or(Malformed);
    match field(0)?.get() {
        "1" => Ok(Message::Prefix { prefix: string(field(1)?)?, uri: string(field(2)?)? }),
        "2" => {
            let id = field(1)?;
            topic(id)?;
            Ok(Message::Call { id: id.get().to_owned(), procedure: string(field(2)?)? })
        }
        "5" => Ok(Message::Subscribe(topic(field(1)?)?)),
        "6" => Ok(Message::Unsubscribe(topic(field(1)?)?)),
        "7" => {
            // Pages write null for what they leave out.
            let option = |index: usize| list.get(index).filter(|value| value.get() != "null");
            let exclude = match option(3).map(|value| value.get()) {
                None | Some("true") => Exclude::Me,
                Some("false") => Exclude::Nobody,
                Some(sessions) => Exclude::These(strings(sessions)?),
            };
            Ok(Message::Publish(Publication {
                topic: topic(field(1)?)?,
                event: field(2)?.get().to_owned(),
                exclude,
                eligible: option(4).map(|value| strings(value.get())).transpose()?,
            }))
        }
        _ => Err(Malformed),
    }
}

fn strings(json: &str) -> Result<Vec<String>, Malformed> {
    serde_json::from_str(json).map_err(|_| Malformed)
}

fn string(value: &RawValue) -> Result<String, Malformed> {
    serde_json::from_str(value.get()).map_err(|_| Malformed)
}

/// A text, or a number as its own text, as PHP makes of it.
fn topic(value: &RawValue) -> Result<String, Malformed> {
    match value.get().as_bytes().first() {
        Some(b'"') => string(value),
        Some(b'-' | b'0'..=b'9') => Ok(value.get().to_owned()),
        _ => Err(Malformed),
    }
}

/// The short forms of one connection.
#[derive(Debug, Default)]
pub struct Prefixes(HashMap<String, String>);

impl Prefixes {
    /// Remembers a short form; false when there are too many or it is too long.
    pub fn define(&mut self, prefix: String, uri: String) -> bool {
        let known = self.0.contains_key(&prefix);
        let fits = prefix.len().max(uri.len()) <= MAX_TOPIC_BYTES;
        let fits = fits && (known || self.0.len() < MAX_PREFIXES);
        if fits {
            self.0.insert(prefix, uri);
        }
        fits
    }

    /// Expands `prefix:rest` by plain concatenation, as WAMP v1 says.
    #[must_use]
    pub fn expand(&self, topic: String) -> String {
        let expanded = topic.split_once(':').and_then(|(prefix, rest)| {
            let uri = self.0.get(prefix)?;
            Some(format!("{uri}{rest}"))
        });
        expanded.unwrap_or(topic)
    }
}

/// The topics that the operator lets legacy clients hear, or publish: texts in which `*` stands for anything.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// The patterns of a setting.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.to_vec())
    }

    /// Whether the topic is one of them; native topics are never reachable, whatever the pattern.
    #[must_use]
    pub fn allow(&self, topic: &str) -> bool {
        !Topic::is_reserved(topic) && self.0.iter().any(|pattern| matches(pattern, topic))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').map_or(("", rest), |(middle, end)| (middle, end));
    // Taking the first place for each piece leaves the most for those that follow.
    for piece in middle.split('*') {
        let Some((_, behind)) = text.split_once(piece) else { return false };
        text = behind;
    }
    text.ends_with(end)
}

/// The first message, once.
#[must_use]
pub fn welcome(session: &str) -> Bytes {
    let server = concat!("chaffer/", env!("CARGO_PKG_VERSION"));
    frames::text(&[r#"[0,""#, session, r#"",1,""#, server, r#""]"#])
}

/// The answer to every call.
#[must_use]
pub fn call_error(id: &str, procedure: &str) -> Bytes {
    frames::text(&["[4,", id, ",", &json(procedure), r#","there are no procedures here"]"#])
}

/// An event: the payload is JSON text and is passed on as it is.
#[must_use]
pub fn event_frame(topic: &str, payload: &str) -> Bytes {
    frames::text(&["[8,", &json(topic), ",", payload, "]"])
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(patterns: &[&str]) -> Patterns {
        Patterns(patterns.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn messages_are_read_as_wamp_v1_says() {
        let prefix = Message::Prefix { prefix: "k".into(), uri: "http://x/".into() };
        assert_eq!(parse(r#"[1,"k","http://x/"]"#), Ok(prefix));
        let call = |id: &str| Ok(Message::Call { id: id.into(), procedure: "p".into() });
        assert_eq!(parse(r#"[2,"id1","p",1,{}]"#), call(r#""id1""#));
        assert_eq!(parse(r#"[2, 1.50, "p"]"#), call("1.50"));
        assert_eq!(parse(r#"[5,"a"]"#), Ok(Message::Subscribe("a".into())));
        assert_eq!(parse("[5,42]"), Ok(Message::Subscribe("42".into())));
        assert_eq!(parse(r#"[6,"a"]"#), Ok(Message::Unsubscribe("a".into())));
    }

    #[test]
    fn a_publication_says_who_is_to_hear_it() {
        let said = |options: &str| {
            let text = format!(r#"[7,"a",{{"x": 1.0}}{options}]"#);
            let Ok(Message::Publish(publication)) = parse(&text) else { panic!("{text}") };
            assert_eq!((&*publication.topic, &*publication.event), ("a", r#"{"x": 1.0}"#));
            (publication.exclude, publication.eligible)
        };
        let list = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        for options in ["", ",true", ",null", ",null,null"] {
            assert_eq!(said(options), (Exclude::Me, None), "{options}");
        }
        assert_eq!(said(",false"), (Exclude::Nobody, None));
        assert_eq!(said(",[]"), (Exclude::These(vec![]), None));
        assert_eq!(said(r#",["s1","s2"]"#), (Exclude::These(list(&["s1", "s2"])), None));
        assert_eq!(said(r#",[],["s1"]"#), (Exclude::These(vec![]), Some(list(&["s1"]))));
        assert_eq!(said(r#",null,[]"#), (Exclude::Me, Some(vec![])));
    }

    #[test]
    fn everything_else_is_malformed() {
        for text in [
            "",
            "x",
            "{}",
            "[]",
            "null",
            "[0]",
            "[3,1]",
            "[8,\"a\",1]",
            "[\"5\",\"a\"]",
            "[5]",
            "[5,null]",
            "[5,[\"a\"]]",
            "[5,{}]",
            "[5,true]",
            "[2,\"id1\"]",
            "[2,null,\"p\"]",
            "[2,\"id\",5]",
            "[1,\"a\"]",
            "[1,1,\"a\"]",
            "[7,\"a\"]",
            "[7,\"a\",1,5]",
            "[7,\"a\",1,[5]]",
            "[7,\"a\",1,[],true]",
            "[5,\"a\"]x",
            "[5.0,\"a\"]",
        ] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn prefixes_expand_by_plain_concatenation() {
        let mut prefixes = Prefixes::default();
        assert!(prefixes.define("k".into(), "http://x/".into()));
        assert_eq!(prefixes.expand("k:a:b".into()), "http://x/a:b");
        assert_eq!(prefixes.expand("other:a".into()), "other:a");
        assert_eq!(prefixes.expand("k".into()), "k");
        (0..200).for_each(|n| {
            prefixes.define(n.to_string(), String::new());
        });
        assert_eq!(prefixes.0.len(), MAX_PREFIXES);
        assert!(prefixes.define("k".into(), "y".into()));
        assert!(!prefixes.define("k".into(), "y".repeat(MAX_TOPIC_BYTES + 1)));
    }

    #[test]
    fn nothing_may_be_heard_until_it_is_listed() {
        assert!(!patterns(&[]).allow("a"));
        let some = patterns(&["kittens*", "order_1", "a*b*c", "*end"]);
        for topic in
            ["kittens", "kittens/1", "order_1", "abc", "a-b-b-c", "abcbc", "end", "the end"]
        {
            assert!(some.allow(topic), "{topic}");
        }
        for topic in ["kitten", "order_12", "xorder_1", "ab", "acb", "ends", ""] {
            assert!(!some.allow(topic), "{topic}");
        }
        assert!(patterns(&["a*a"]).allow("aa"));
        assert!(!patterns(&["a*a"]).allow("a"));
    }

    #[test]
    fn native_topics_are_never_reachable() {
        for topic in ["user:7", "vendor:3", "visitor:x", "staff", "user:"] {
            assert!(!patterns(&["*", topic]).allow(topic), "{topic}");
        }
        assert!(patterns(&["*"]).allow("anything"));
    }

    #[test]
    fn what_is_sent_is_one_json_list() {
        let text = |frame: Bytes| String::from_utf8(frame[2..].to_vec()).unwrap();
        let payload = r#"{"t":"\u0436\/","a":[]}"#;
        assert_eq!(text(event_frame("a\"b", payload)), format!(r#"[8,"a\"b",{payload}]"#));
        assert!(text(welcome("s1")).starts_with(r#"[0,"s1",1,"chaffer/"#));
        assert!(text(call_error("7", "p")).starts_with(r#"[4,7,"p",""#));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"\[?[0-9]{0,2},?.{0,40}\]?"#) {
            let _ = parse(&text);
        }

        #[test]
        fn patterns_match_what_they_were_made_from(pieces in prop::collection::vec("[ab]{0,3}", 1..5), fill in "[ab]{0,3}") {
            prop_assert!(matches(&pieces.join("*"), &pieces.join(&fill)));
        }
    }
}
