//! What `/healthz` and `/readyz` of both daemons answer.

use serde::{Deserialize, Serialize};

/// One thing that a daemon needs, and whether it has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// What is checked, e.g. `database`.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// What was seen, and, when it fails, what to do.
    pub detail: String,
}

/// The answer of `/readyz`; its HTTP status is 200 when ready, else 503.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether the daemon can do its whole job.
    pub ready: bool,
    /// Each thing that it needs.
    pub checks: Vec<Check>,
}

impl Readiness {
    /// Ready when every check that must pass does.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        Self { ready: checks.iter().all(|check| check.ok), checks }
    }
}

/// What the push daemon's `GET /presence?user_ids=7,8` answers; also what it has the API keep of those who have gone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Presence {
    /// One entry per id asked for, in that order.
    pub users: Vec<UserPresence>,
}

/// Whether one user is connected.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct UserPresence {
    /// The shop's id of the user.
    pub user_id: String,
    /// Whether at least one socket of the user is open.
    pub online: bool,
    /// When the last socket closed; absent while online, or when the daemon has not seen the user.
    #[serde(with = "crate::time::option")]
    pub last_seen_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// What the push daemon's `GET /about` answers: what `chaffer-api doctor` compares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The version of the daemon.
    pub version: String,
    /// The fingerprints of its `keys.token` ([`crate::config::fingerprint`]).
    pub token_keys: Vec<String>,
    /// The fingerprints of its `keys.link`.
    pub link_keys: Vec<String>,
    /// How many descriptors it may open.
    pub file_limit: u64,
    /// What time it has.
    #[serde(with = "crate::time")]
    pub now: chrono::DateTime<chrono::Utc>,
}
