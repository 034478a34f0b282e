//! One connection as its shard sees it.

use std::sync::Arc;

use bytes::Bytes;
use chaffer_shared::event::EventId;
use chaffer_shared::token::Claims;
use chrono::{DateTime, Utc};
use tracing::debug;

use super::{Audience, ConnectionId, Published, SessionId};
use crate::outlet::{Outlet, Phase};
use crate::websocket::frames::{self, close_code};

/// A client that answers none of so many pings in a row is gone.
const MAX_MISSED_PINGS: u8 = 2;

/// One connection.
pub(super) struct Member {
    pub(super) id: ConnectionId,
    /// What the client knows it by.
    pub(super) name: SessionId,
    pub(super) outlet: Arc<Outlet>,
    /// The highest id that a native client can know: of an event, a cursor or the welcome. It gets none up to there.
    /// Here rather than in [`Native`], because every delivery needs it, and memory far away costs time.
    pub(super) told: EventId,
    /// The last delivery that reached it, so that an event with two of its topics comes once.
    pub(super) mark: u64,
    /// Its outlet's queue holds frames that nobody has tried to write yet.
    pub(super) unwritten: bool,
    pub(super) missed_pings: u8,
    pub(super) session: Session,
}

pub(super) enum Session {
    Native(Box<Native>),
    Legacy(Vec<String>),
}

pub(super) struct Native {
    pub(super) claims: Claims,
    /// Set while the position is unknown: what to replay once it is known.
    pub(super) waits_since: Option<Start>,
    /// It claims to know of later events than we do, and the API is being asked.
    pub(super) doubted: bool,
    /// The legacy topics that it subscribed to.
    pub(super) legacy: Vec<String>,
}

/// Where a client's stream begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    After(EventId),
    Since(DateTime<Utc>),
}

impl Session {
    /// The legacy topics that it subscribed to.
    pub(super) fn subscriptions(&mut self) -> &mut Vec<String> {
        match self {
            Self::Native(native) => &mut native.legacy,
            Self::Legacy(topics) => topics,
        }
    }
}

impl Member {
    /// Whether the client is to get an event: not if it has it, or its publisher left it out.
    pub(super) fn takes(&mut self, event: &Published) -> bool {
        if let Audience::Legacy { hearers, .. } = &event.audience {
            return hearers.include(self.name);
        }
        if let Some(id) = event.id {
            if id <= self.told {
                return false;
            }
            self.told = id;
        }
        let request_id = event.request_id.as_deref();
        debug!(connection = self.id, id = event.id, request_id, "given to the socket");
        true
    }

    /// Once a second: is the token still good? And, when it is this connection's turn: is anybody there, and
    /// does the cursor lag behind?
    pub(super) fn tick(
        &mut self,
        pinged: bool,
        cursor: Option<&(EventId, Bytes)>,
        now: DateTime<Utc>,
    ) {
        if self.outlet.phase() != Phase::Open {
            return;
        }
        let is_native = match &self.session {
            Session::Native(native) if native.claims.expires_at() <= now => {
                return self.outlet.close(close_code::EXPIRED, "token expired");
            }
            Session::Native(_) => true,
            Session::Legacy(_) => false,
        };
        if !pinged {
            return;
        }
        if self.outlet.take_heard() {
            self.missed_pings = 0;
        } else {
            self.missed_pings += 1;
        }
        if self.missed_pings > MAX_MISSED_PINGS {
            return self.outlet.abort();
        }
        match cursor {
            Some((position, frame)) if is_native && self.told < *position => {
                self.told = *position;
                // In one system call.
                self.outlet.enqueue(frame);
                self.outlet.enqueue(&frames::PING);
                self.outlet.flush();
            }
            _ => self.outlet.send(&frames::PING),
        }
    }
}
