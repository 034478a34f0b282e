//! One way to write a moment: RFC 3339, UTC, milliseconds (`2026-11-21T10:00:00.123Z`).
//!
//! Use with serde as `#[serde(with = "chaffer_shared::time")]`.

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serializer};

/// A moment as text, the way every answer and every event shows it.
#[must_use]
pub fn format(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Now, cut to the milliseconds that both databases keep, so that a stored moment reads back equal.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// For serde's `with`.
///
/// # Errors
/// Only what the serializer itself reports.
pub fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(at))
}

/// For serde's `with`; any RFC 3339 offset is accepted and turned into UTC.
///
/// # Errors
/// When the text is no RFC 3339 date-time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    DateTime::<Utc>::deserialize(deserializer)
}

/// The same for a moment that may be absent.
pub mod option {
    use super::{DateTime, Deserialize, Deserializer, Serializer, Utc};

    /// For serde's `with`.
    ///
    /// # Errors
    /// Only what the serializer itself reports.
    pub fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// For serde's `with`.
    ///
    /// # Errors
    /// When the text is no RFC 3339 date-time.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::<DateTime<Utc>>::deserialize(deserializer)
    }
}
