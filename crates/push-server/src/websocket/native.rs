//! The native protocol (subprotocol `chaffer.v1`, or none): what clients say and what they are told, as
//! protocols.md has it. No sockets here; [`crate::websocket`] reads, [`crate::hub`] answers.

use bytes::Bytes;
use chaffer_shared::event::{Event, EventId, name};
use chaffer_shared::health::UserPresence;
use chaffer_shared::time;
use chaffer_shared::token::Claims;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::frames;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Who it is, and the last event that it has seen.
    Auth {
        /// A token of the API.
        token: String,
        /// The id of the last event seen.
        after: Option<EventId>,
    },
    /// The same user's next token.
    Refresh {
        /// A token of the API.
        token: String,
    },
    /// Whose coming and going it wants to hear of.
    Watch {
        /// A presence grant of the API.
        grant: String,
    },
    /// It wants to hear a legacy topic, as an old page does.
    Subscribe {
        /// One of `push.legacy_topics`.
        topic: String,
    },
    /// It no longer wants to.
    Unsubscribe {
        /// What it subscribed to.
        topic: String,
    },
    /// Is anybody there?
    Ping,
}

/// Why something that a client says is not understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// No JSON object: the connection is closed.
    Malformed,
    /// Told to the client; the connection stays.
    Error {
        /// For programs.
        code: &'static str,
        /// For people.
        detail: String,
    },
}

/// What a client that asked to resume can count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// It did not ask.
    None,
    /// All that it missed follows.
    Replayed,
    /// It must read the feed.
    Gap,
}

/// Reads one text message.
///
/// # Errors
/// [`Problem`] says what to do about it.
pub fn parse(text: &str) -> Result<Message, Problem> {
    let message: Map<String, Value> = serde_json::from_str(text).map_err(|_| Problem::Malformed)?;
    let text = |key: &str| match message.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(invalid(format!("`{key}` must be a text"))),
    };
    match text("type")?.as_str() {
        "auth" => Ok(Message::Auth { token: text("token")?, after: after(message.get("after"))? }),
        "refresh" => Ok(Message::Refresh { token: text("token")? }),
        "watch" => Ok(Message::Watch { grant: text("grant")? }),
        "subscribe" => Ok(Message::Subscribe { topic: text("topic")? }),
        "unsubscribe" => Ok(Message::Unsubscribe { topic: text("topic")? }),
        "ping" => Ok(Message::Ping),
        _ => Err(Problem::Error {
            code: "unknown_type",
            detail: "`type` is none of auth, refresh, watch, subscribe, unsubscribe, ping".into(),
        }),
    }
}

fn after(value: Option<&Value>) -> Result<Option<EventId>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(after @ 0..) => Ok(Some(after)),
            _ => Err(invalid("`after` must be the id of an event, or 0".into())),
        },
    }
}

fn invalid(detail: String) -> Problem {
    Problem::Error { code: "invalid", detail }
}

#[derive(Serialize)]
struct Welcome<'a> {
    r#type: &'static str,
    session: &'a str,
    user_id: &'a str,
    #[serde(with = "time")]
    expires_at: DateTime<Utc>,
    last: Option<EventId>,
    resume: Resume,
}

/// The answer to a good token; `last` is null while the daemon does not know where the stream stands.
#[must_use]
pub fn welcome(session: &str, claims: &Claims, last: Option<EventId>, resume: Resume) -> Bytes {
    encode(&Welcome {
        r#type: "welcome",
        session,
        user_id: &claims.sub,
        expires_at: claims.expires_at(),
        last,
        resume,
    })
}

/// An event, its data as the API wrote it.
#[must_use]
pub fn event_frame(event: &Event) -> Bytes {
    let id = event.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
    let name = json(&event.event);
    let at = json(&time::format(&event.at));
    frames::text(&[
        r#"{"type":"event","id":"#,
        &id,
        r#","event":"#,
        &name,
        r#","at":"#,
        &at,
        r#","data":"#,
        event.data.get(),
        "}",
    ])
}

/// A message of a shop's old pusher, byte for byte, as an event that is not stored.
#[must_use]
pub fn legacy_frame(topic: &str, at: DateTime<Utc>, payload: &[u8]) -> Bytes {
    frames::text(&[
        br#"{"type":"event","id":null,"event":"legacy","at":""#,
        time::format(&at).as_bytes(),
        br#"","topic":"#,
        json(topic).as_bytes(),
        br#","data":"#,
        payload,
        b"}",
    ])
}

/// From here on the legacy topic is heard, or no longer is.
#[must_use]
pub fn subscribed(topic: &str, is_heard: bool) -> Bytes {
    let word = if is_heard { "subscribed" } else { "unsubscribed" };
    frames::text(&[r#"{"type":""#, word, r#"","topic":"#, &json(topic), "}"])
}

/// Somebody came or went: an event without an id.
#[must_use]
pub fn presence_frame(user: &UserPresence) -> Bytes {
    frames::text(&[
        r#"{"type":"event","id":null,"event":""#,
        name::PRESENCE_CHANGED,
        r#"","at":""#,
        &time::format(&time::now()),
        r#"","data":"#,
        &json(user),
        "}",
    ])
}

/// The client's cursor moves on to here, though it was sent no event.
#[must_use]
pub fn cursor(id: EventId) -> Bytes {
    frames::text(&[r#"{"type":"cursor","id":"#, &id.to_string(), "}"])
}

/// The answer to a good next token.
#[must_use]
pub fn refreshed(claims: &Claims) -> Bytes {
    let expires_at = time::format(&claims.expires_at());
    frames::text(&[r#"{"type":"refreshed","expires_at":""#, &expires_at, r#""}"#])
}

/// The answer to a ping.
#[must_use]
pub fn pong() -> Bytes {
    frames::text(&[r#"{"type":"pong"}"#])
}

/// Something is wrong, and the connection stays.
#[must_use]
pub fn error(code: &str, detail: &str) -> Bytes {
    frames::text(&[r#"{"type":"error","code":"#, &json(code), r#","detail":"#, &json(detail), "}"])
}

fn encode(message: &impl Serialize) -> Bytes {
    frames::text(&[&json(message)])
}

/// Texts, numbers and structs of them can always be written as JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaffer_shared::event::Frame;
    use proptest::prelude::*;

    fn code(text: &str) -> &'static str {
        match parse(text) {
            Err(Problem::Error { code, .. }) => code,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn messages_are_read_as_documented() {
        assert_eq!(
            parse(r#"{"type":"auth","token":"t","after":40}"#),
            Ok(Message::Auth { token: "t".into(), after: Some(40) })
        );
        for text in
            [r#"{"type":"auth","token":"t"}"#, r#"{"token":"t","after":null,"type":"auth","x":1}"#]
        {
            assert_eq!(parse(text), Ok(Message::Auth { token: "t".into(), after: None }));
        }
        assert_eq!(
            parse(r#"{"type":"refresh","token":"t"}"#),
            Ok(Message::Refresh { token: "t".into() })
        );
        assert_eq!(
            parse(r#"{"type":"watch","grant":"g"}"#),
            Ok(Message::Watch { grant: "g".into() })
        );
        let topic = || "kittens".to_owned();
        assert_eq!(
            parse(r#"{"type":"subscribe","topic":"kittens"}"#),
            Ok(Message::Subscribe { topic: topic() })
        );
        assert_eq!(
            parse(r#"{"type":"unsubscribe","topic":"kittens"}"#),
            Ok(Message::Unsubscribe { topic: topic() })
        );
        assert_eq!(parse(r#" {"type":"ping"} "#), Ok(Message::Ping));
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for text in ["", "x", "[]", "1", "null", r#""auth""#, r#"{"type":"ping"}x"#, "{"] {
            assert_eq!(parse(text), Err(Problem::Malformed), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_inside_is_told() {
        assert_eq!(code(r#"{"type":"hello"}"#), "unknown_type");
        for text in [
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"auth"}"#,
            r#"{"type":"auth","token":5}"#,
            r#"{"type":"auth","token":"t","after":-1}"#,
            r#"{"type":"auth","token":"t","after":1.5}"#,
            r#"{"type":"auth","token":"t","after":"40"}"#,
            r#"{"type":"auth","token":"t","after":99999999999999999999}"#,
            r#"{"type":"watch"}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"unsubscribe","topic":7}"#,
        ] {
            assert_eq!(code(text), "invalid", "{text}");
        }
    }

    #[test]
    fn an_event_keeps_its_data_byte_for_byte() {
        let frame = |id: &str| {
            let json = format!(
                r#"{{"v":1,"id":{id},"prev":41,"src":"a","topics":["user:7"],"event":"x\"y","at":"2026-11-21T10:00:00.123Z","data":{{"n":1.0, "t":"\u0436\/"}}}}"#
            );
            let Frame::Event(event) = Frame::from_json(json.as_bytes()).unwrap() else { panic!() };
            let frame = event_frame(&event);
            String::from_utf8(frame[if frame[1] == 126 { 4 } else { 2 }..].to_vec()).unwrap()
        };
        assert_eq!(
            frame("42"),
            r#"{"type":"event","id":42,"event":"x\"y","at":"2026-11-21T10:00:00.123Z","data":{"n":1.0, "t":"\u0436\/"}}"#
        );
        assert!(frame("null").starts_with(r#"{"type":"event","id":null,"#));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"(\{"type":"(auth|refresh|watch|subscribe|ping)",?)?.{0,60}\}?"#) {
            let _ = parse(&text);
        }
    }
}
