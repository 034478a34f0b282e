//! The event envelope: what travels from the API to the push daemon, and, without its topics, on to the clients.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::topic::Topic;

/// The version of the envelope that this build writes and the only one it reads.
pub const VERSION: u8 = 1;

/// The number of a stored event; ids are gapless in the order of the commits, starting at 1.
pub type EventId = i64;

/// The names of events. Clients test for these texts, so they never change.
pub mod name {
    /// A thread was started; data: the thread.
    pub const THREAD_CREATED: &str = "thread.created";
    /// A thread's status or people changed; data: the thread.
    pub const THREAD_UPDATED: &str = "thread.updated";
    /// Somebody wrote; data: the message.
    pub const MESSAGE_CREATED: &str = "message.created";
    /// Somebody changed a message; data: the message as it is now.
    pub const MESSAGE_UPDATED: &str = "message.updated";
    /// A message was taken back; data: what is left of it.
    pub const MESSAGE_DELETED: &str = "message.deleted";
    /// Something forbidden was found in a message; data: `{thread_id, message_id}`; told to the vendor and the staff alone.
    pub const MESSAGE_FLAGGED: &str = "message.flagged";
    /// Somebody read; data: `{thread_id, user_id, up_to, read_at}`.
    pub const THREAD_READ: &str = "thread.read";
    /// One user's count changed; data: `{thread_id, unread_count, total}`.
    pub const UNREAD_CHANGED: &str = "unread.changed";
    /// Somebody is writing; data: `{thread_id, user}`; never stored.
    pub const TYPING: &str = "typing";
    /// Somebody came or went; data: `{user_id, online, last_seen_at}`; never stored.
    pub const PRESENCE_CHANGED: &str = "presence.changed";
    /// A right ended: the sockets of the topics it names are closed; data: `{before}`, see [`super::Revocation`].
    pub const SESSION_REVOKED: &str = "session.revoked";
}

/// Something that happened, for all who hear one of its topics; the same for each of them.
#[derive(Debug, Clone)]
pub struct Event {
    /// The number of a stored event; `None` for an ephemeral one.
    pub id: Option<EventId>,
    /// The id right before; `None` for an ephemeral event.
    pub prev: Option<EventId>,
    /// The API node that published it.
    pub src: String,
    /// Who hears it.
    pub topics: Vec<Topic>,
    /// One of [`name`].
    pub event: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The HTTP request that caused it, if one did.
    pub request_id: Option<String>,
    /// The event's own data: JSON text that is passed on as it is.
    pub data: Box<RawValue>,
}

/// What `session.revoked` carries: tokens issued at or before this moment count no longer on the event's topics.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Revocation {
    /// The last moment whose tokens are refused.
    #[serde(with = "crate::time")]
    pub before: DateTime<Utc>,
}

/// One frame of Chaffer's own on the pusher port.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Something happened.
    Event(Event),
    /// The API lives, and this is the last event it has stored (0: none yet).
    Heartbeat {
        /// The API node that sent it.
        src: String,
        /// The id of the last stored event.
        last: EventId,
    },
}

/// What the API answers to `GET /internal/v1/events`, by which the push daemon closes gaps.
#[derive(Debug, Serialize, Deserialize)]
pub struct Missed {
    /// Stored events after the id asked for, in order, each as on the wire.
    pub events: Vec<Frame>,
    /// The id of the last stored event (0: none yet).
    pub last: EventId,
    /// The id of the oldest event still kept; what lies before it cannot be replayed.
    pub oldest: EventId,
}

/// What the API answers to `GET /internal/v1/revocations`: the revocations whose tokens may still be alive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Revocations {
    /// For each topic the moment of [`Revocation::before`].
    pub revocations: Vec<RevokedTopic>,
}

/// One line of [`Revocations`].
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct RevokedTopic {
    /// Whose tokens.
    pub topic: Topic,
    /// Issued at or before this moment.
    #[serde(with = "crate::time")]
    pub before: DateTime<Utc>,
}

/// Why a frame is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFrame {
    /// Not JSON, or a field of the wrong type.
    #[error("not a frame: {0}")]
    Json(#[from] serde_json::Error),
    /// A version of the envelope that this build does not know.
    #[error("frame version {0} is not supported: upgrade both daemons together")]
    Version(u8),
    /// A field that this kind of frame needs is absent.
    #[error("frame without `{0}`")]
    Missing(&'static str),
}

impl Event {
    /// Whether the event is passed on at once and never stored.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.id.is_none()
    }
}

/// An event as it is written.
#[derive(Serialize)]
struct WireEvent<'a> {
    v: u8,
    id: Option<EventId>,
    prev: Option<EventId>,
    src: &'a str,
    topics: &'a [Topic],
    event: &'a str,
    #[serde(with = "crate::time")]
    at: DateTime<Utc>,
    request_id: Option<&'a str>,
    ephemeral: bool,
    data: &'a RawValue,
}

/// A heartbeat as it is written.
#[derive(Serialize)]
struct WireHeartbeat<'a> {
    v: u8,
    heartbeat: bool,
    src: &'a str,
    last: EventId,
}

/// Either kind as it is read. Not an untagged enum, which would copy `data`; unknown fields are let pass, so
/// that a newer API may add some.
#[derive(Deserialize)]
struct WireFrame {
    v: u8,
    src: String,
    #[serde(default)]
    heartbeat: bool,
    last: Option<EventId>,
    id: Option<EventId>,
    prev: Option<EventId>,
    topics: Option<Vec<Topic>>,
    event: Option<String>,
    #[serde(default, with = "crate::time::option")]
    at: Option<DateTime<Utc>>,
    request_id: Option<String>,
    data: Option<Box<RawValue>>,
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event(event) => WireEvent {
                v: VERSION,
                id: event.id,
                prev: event.prev,
                src: &event.src,
                topics: &event.topics,
                event: &event.event,
                at: event.at,
                request_id: event.request_id.as_deref(),
                ephemeral: event.is_ephemeral(),
                data: &event.data,
            }
            .serialize(serializer),
            Self::Heartbeat { src, last } => {
                WireHeartbeat { v: VERSION, heartbeat: true, src, last: *last }
                    .serialize(serializer)
            }
        }
    }
}

impl TryFrom<WireFrame> for Frame {
    type Error = InvalidFrame;

    fn try_from(wire: WireFrame) -> Result<Self, InvalidFrame> {
        if wire.v != VERSION {
            return Err(InvalidFrame::Version(wire.v));
        }
        if wire.heartbeat {
            let last = wire.last.ok_or(InvalidFrame::Missing("last"))?;
            return Ok(Self::Heartbeat { src: wire.src, last });
        }
        Ok(Self::Event(Event {
            id: wire.id,
            prev: if wire.id.is_some() {
                Some(wire.prev.ok_or(InvalidFrame::Missing("prev"))?)
            } else {
                None
            },
            src: wire.src,
            topics: wire.topics.ok_or(InvalidFrame::Missing("topics"))?,
            event: wire.event.ok_or(InvalidFrame::Missing("event"))?,
            at: wire.at.ok_or(InvalidFrame::Missing("at"))?,
            request_id: wire.request_id,
            data: wire.data.ok_or(InvalidFrame::Missing("data"))?,
        }))
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireFrame::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl Frame {
    /// Reads one frame's JSON.
    ///
    /// # Errors
    /// [`InvalidFrame`] when it is not JSON, of another version, or lacks a field.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidFrame> {
        serde_json::from_slice::<WireFrame>(json)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stored_event_looks_as_documented_and_comes_back() {
        let json = r#"{"v":1,"id":42,"prev":41,"src":"api-1","topics":["user:7","vendor:3"],"event":"message.created","at":"2026-11-21T10:00:00.123Z","request_id":"r1","ephemeral":false,"data":{"text":"\u0436","n":1.0}}"#;
        let frame = Frame::from_json(json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&frame).unwrap(), json);
    }

    #[test]
    fn an_ephemeral_event_has_no_id() {
        let json = r#"{"v":1,"id":null,"prev":null,"src":"api-1","topics":["user:7"],"event":"typing","at":"2026-11-21T10:00:00.000Z","request_id":null,"ephemeral":true,"data":{}}"#;
        let frame = Frame::from_json(json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&frame).unwrap(), json);
    }

    #[test]
    fn a_heartbeat_looks_as_documented_and_comes_back() {
        let json = r#"{"v":1,"heartbeat":true,"src":"api-1","last":42}"#;
        let frame = Frame::from_json(json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&frame).unwrap(), json);
    }

    proptest! {
        #[test]
        fn no_frame_panics_and_whatever_is_read_is_written_and_read_again(
            fields in prop::collection::vec(
                (
                    "(v|id|prev|src|topics|event|at|request_id|ephemeral|data|heartbeat|last|x)",
                    prop_oneof![
                        Just("1".to_owned()), Just("null".into()), Just("true".into()), Just("[\"user:7\"]".into()),
                        Just("\"2026-11-21T10:00:00.123Z\"".into()), Just("{\"a\": 1.0}".into()), "-?[0-9]{1,20}", "\"[^\"\\\\]{0,9}\"",
                    ],
                ),
                0..12,
            ),
            junk in ".{0,3}",
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            for fields in [fields.join(","), format!("\"v\":1,\"src\":\"a\",\"topics\":[\"user:7\"],\"event\":\"e\",\"at\":\"2026-11-21T10:00:00.123Z\",\"id\":2,{}", fields.join(","))] {
                let _ = Frame::from_json(format!("{{{fields}}}{junk}").as_bytes());
                if let Ok(frame) = Frame::from_json(format!("{{{fields}}}").as_bytes()) {
                    let json = serde_json::to_string(&frame).unwrap();
                    let again = Frame::from_json(json.as_bytes()).unwrap();
                    prop_assert_eq!(serde_json::to_string(&again).unwrap(), json);
                }
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |json: &str| Frame::from_json(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(missing(r#"{"v":1,"src":"a","heartbeat":true}"#), "frame without `last`");
        assert_eq!(missing(r#"{"v":1,"src":"a","id":1}"#), "frame without `prev`");
        assert_eq!(missing(r#"{"v":1,"src":"a"}"#), "frame without `topics`");
        assert!(missing(r#"{"v":2,"src":"a"}"#).contains("version 2"));
    }
}
