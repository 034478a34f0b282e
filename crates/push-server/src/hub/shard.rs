//! One shard of the hub: see [`crate::hub`].

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use chaffer_shared::config::Push;
use chaffer_shared::event::{EventId, RevokedTopic};
use chaffer_shared::token::{Bearer, Claims};
use chaffer_shared::topic::{self, Topic};
use chrono::{DateTime, TimeDelta, Utc};
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::inbox::{Heard, Inbox};
use super::member::{Member, Native, Session, Start};
use super::memory::Memory;
use super::turns::Turns;
use super::{
    Audience, Command, ConnectionId, NativeJoin, Published, SessionId, TopicCount,
    close_for_restart,
};
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::presence::Presence;
use crate::websocket::frames::close_code;
use crate::websocket::native::{self, Resume};
use crate::websocket::wamp;

/// Revocations are kept as long as a token can live that they hit.
const REVOCATION_LIFE: TimeDelta = TimeDelta::seconds(chaffer_shared::token::MAX_TTL_SECONDS + 60);

/// How far the API's clock may be off ours, where events are told apart by their time for want of an id.
const CLOCK_MARGIN: TimeDelta = TimeDelta::seconds(60);

/// So many commands are taken from the queue at once.
const MAX_BATCH: usize = 256;

#[derive(Default)]
struct Hearers {
    slots: Vec<usize>,
    events: u64,
}

pub(super) struct Shard {
    members: Slab<Member>,
    slots: HashMap<ConnectionId, usize>,
    native: HashMap<Topic, Hearers>,
    legacy: HashMap<String, Hearers>,
    /// The topics of both, for those who send us events.
    heard: Arc<Heard>,
    memory: Memory,
    /// The last stored event passed on; `None` until the API was asked.
    position: Option<EventId>,
    revoked: HashMap<Topic, DateTime<Utc>>,
    mark: u64,
    /// Members with frames that are queued and not yet written; empty between two commands.
    unwritten: Vec<usize>,
    turns: Turns,
    ping_seconds: u64,
    restart_spread_ms: u64,
    /// More than this is not replayed at once: it would fill the client's queue.
    replay_limit: usize,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
    ahead: Arc<Notify>,
}

impl Shard {
    pub(super) fn new(
        config: &Push,
        heard: Arc<Heard>,
        presence: Arc<Presence>,
        metrics: Arc<Metrics>,
        ahead: Arc<Notify>,
    ) -> Self {
        Self {
            members: Slab::new(),
            slots: HashMap::new(),
            native: HashMap::new(),
            legacy: HashMap::new(),
            heard,
            memory: Memory::new(config.replay_bytes),
            position: None,
            revoked: HashMap::new(),
            mark: 0,
            unwritten: Vec::new(),
            turns: Turns::new(),
            ping_seconds: config.ping_seconds.max(1),
            restart_spread_ms: config.restart_spread_ms,
            replay_limit: config.client_queue_bytes / 2,
            presence,
            metrics,
            ahead,
        }
    }

    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let mut batch = Vec::new();
        let mut turn = pin!(sleep_until(Instant::now()));
        loop {
            let is_turn = tokio::select! {
                () = inbox.rung() => false,
                () = turn.as_mut() => true,
            };
            // Events that came while we were busy are taken together; see `deliver`.
            if !inbox.take(&mut batch, MAX_BATCH) || !self.handle_all(&mut batch) {
                break;
            }
            if is_turn {
                let next = self.look_after(turn.deadline());
                turn.as_mut().reset(next);
            }
            if !inbox.is_empty() {
                inbox.ring();
                // Nothing else here waits for anything: whoever keeps the queue full would have the thread to itself.
                tokio::task::yield_now().await;
            }
        }
        self.stop();
    }

    /// Handles what has come; false when told to stop.
    fn handle_all(&mut self, batch: &mut Vec<Command>) -> bool {
        let mut commands = batch.drain(..).peekable();
        while let Some(command) = commands.next() {
            match command {
                Command::Deliver(event, _room) => {
                    let more = matches!(commands.peek(), Some(Command::Deliver(..)));
                    self.deliver(event, more);
                    if !more {
                        self.flush();
                    }
                }
                Command::Stop => return false,
                command => self.handle(command),
            }
        }
        true
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Remember(event, _room) => {
                if let Some(id) = event.id {
                    self.memory.push(id, event);
                }
            }
            Command::Open { floor, last } => self.open(floor, last),
            Command::Jump(last) => self.jump(last),
            Command::Doubt => self.doubt(),
            Command::Confirm(last) => self.confirm(last),
            Command::Revoke(revoked) => self.revoke(&revoked),
            Command::JoinNative(id, outlet, join) => self.join_native(id, outlet, *join),
            Command::JoinLegacy(id, outlet, name) => {
                self.add(id, name, outlet, 0, Session::Legacy(Vec::new()));
            }
            Command::Refresh(id, claims) => self.refresh(id, *claims),
            Command::Watch(id, grant) => {
                if let Some(member) = self.member(id) {
                    let outlet = member.outlet.clone();
                    self.presence.watch(id, &outlet, *grant);
                }
            }
            Command::Subscribe(id, topic) => self.subscribe(id, topic),
            Command::Unsubscribe(id, topic) => self.unsubscribe(id, &topic),
            Command::Leave(id) => self.leave(id),
            Command::Describe(answer) => {
                let _ = answer.send(self.describe());
            }
            // Handled before.
            Command::Deliver(..) | Command::Stop => {}
        }
    }

    /// The hot path: one map look-up a topic, one system call a socket.
    ///
    /// While `more` events wait, sockets are only given to [`Shard::flush`], which writes all of them by one system
    /// call. So a shard that falls behind gets faster: nearly all that a delivery costs is the kernel's part of a
    /// write, which costs the same for several small frames as for one.
    fn deliver(&mut self, event: Arc<Published>, more: bool) {
        self.mark += 1;
        let mut deliveries = 0;
        let Self { members, native, legacy, unwritten, mark, .. } = self;
        // Of a legacy event: most who hear one are old pages, so this frame is made for the first who needs it.
        let mut native_frame = None;
        let mut give = |slot: usize| {
            let Some(member) = members.get_mut(slot) else { return };
            if std::mem::replace(&mut member.mark, *mark) == *mark || !member.takes(&event) {
                return;
            }
            deliveries += 1;
            let frame = match (&event.audience, &member.session) {
                (Audience::Legacy { topic, payload, .. }, Session::Native(_)) => native_frame
                    .get_or_insert_with(|| native::legacy_frame(topic, event.at, payload)),
                _ => &event.frame,
            };
            if !more && !member.unwritten {
                return member.outlet.send(frame);
            }
            member.outlet.enqueue(frame);
            if !std::mem::replace(&mut member.unwritten, true) {
                unwritten.push(slot);
            }
        };
        match &event.audience {
            Audience::Native(topics) => {
                for topic in topics {
                    let Some(hearers) = native.get_mut(topic) else { continue };
                    hearers.events += 1;
                    hearers.slots.iter().for_each(|slot| give(*slot));
                }
            }
            Audience::Legacy { topic, .. } => {
                if let Some(hearers) = legacy.get_mut(topic) {
                    hearers.events += 1;
                    hearers.slots.iter().for_each(|slot| give(*slot));
                }
            }
        }
        // Counted once an event, because the cores share the counter.
        self.metrics.deliveries.add(deliveries);
        if let Some(id) = event.id {
            self.position = Some(id);
            self.memory.push(id, event);
        }
    }

    /// Writes what [`Shard::deliver`] has not.
    fn flush(&mut self) {
        for slot in self.unwritten.drain(..) {
            if let Some(member) = self.members.get_mut(slot) {
                member.unwritten = false;
                member.outlet.flush();
            }
        }
    }

    fn join_native(&mut self, id: ConnectionId, outlet: Arc<Outlet>, join: NativeJoin) {
        let NativeJoin { claims, after, session } = join;
        if self.is_revoked(&claims) {
            outlet.close(close_code::REVOKED, "revoked");
            return;
        }
        let name = session.to_string();
        let welcome = |resume: Resume| native::welcome(&name, &claims, self.position, resume);
        let mut native = Native {
            claims: claims.clone(),
            waits_since: None,
            doubted: false,
            legacy: Vec::new(),
        };
        let told = match (self.position, after) {
            (None, after) => {
                // Nothing is known yet, so nothing can be promised: the client reads the feed, and gets the rest
                // from where it stands once the position is known.
                let resume = if after.is_some() { Resume::Gap } else { Resume::None };
                let fresh = || Start::Since(Utc::now() - CLOCK_MARGIN);
                native.waits_since = Some(after.map_or_else(fresh, Start::After));
                outlet.send(&welcome(resume));
                after.unwrap_or(0)
            }
            (Some(position), None) => {
                outlet.send(&welcome(Resume::None));
                position
            }
            (Some(position), Some(after)) if after > position => {
                // Either the API is ahead of us, and what the client has seen must not come again, or its
                // database started over. The API knows; see `confirm`.
                self.ahead.notify_one();
                outlet.send(&welcome(Resume::Gap));
                after
            }
            (Some(position), Some(after)) => {
                match self.missed(&claims, Start::After(after)) {
                    Some(missed) => {
                        // One write; and the cursor ends it, so that the next resume begins here.
                        let cursor = native::cursor(position);
                        let frames = std::iter::once(welcome(Resume::Replayed)).chain(missed);
                        outlet.send_all(frames.chain((after < position).then_some(cursor)));
                    }
                    None => outlet.send(&welcome(Resume::Gap)),
                }
                position
            }
        };
        if has_presence(&claims) {
            self.presence.join(&claims.sub);
        }
        self.metrics.sessions.increment();
        let slot = self.add(id, session, outlet, told, Session::Native(Box::new(native)));
        for topic in &claims.topics {
            enter(&mut self.native, &self.heard, topic, slot);
        }
    }

    /// The frames of remembered events that concern the client; `None` when memory does not reach back so far or
    /// they are more than its queue should take at once.
    fn missed(&self, claims: &Claims, start: Start) -> Option<Vec<Bytes>> {
        let collect = |events: &mut dyn Iterator<Item = &Arc<Published>>| {
            let mut bytes = 0;
            let mut frames = Vec::new();
            for event in events.filter(|event| concerns(event, claims)) {
                bytes += event.frame.len() + size_of::<Bytes>();
                if bytes > self.replay_limit {
                    return None;
                }
                frames.push(event.frame.clone());
            }
            Some(frames)
        };
        match start {
            Start::After(after) => collect(&mut self.memory.after(after)?),
            Start::Since(at) => collect(&mut self.memory.since(at)),
        }
    }

    fn refresh(&mut self, id: ConnectionId, claims: Claims) {
        let revoked = self.is_revoked(&claims);
        let Some(&slot) = self.slots.get(&id) else { return };
        let Some(member) = self.members.get_mut(slot) else { return };
        let Session::Native(native) = &mut member.session else { return };
        if revoked {
            member.outlet.close(close_code::REVOKED, "revoked");
            return;
        }
        member.outlet.send(&native::refreshed(&claims));
        let before = std::mem::replace(&mut native.claims, claims.clone()).topics;
        for topic in before.iter().filter(|topic| !claims.topics.contains(topic)) {
            exit(&mut self.native, &self.heard, topic, slot);
        }
        for topic in &claims.topics {
            enter(&mut self.native, &self.heard, topic, slot);
        }
    }

    fn open(&mut self, floor: EventId, last: EventId) {
        self.memory.set_floor(floor);
        self.position = Some(last);
        let mut replays = Vec::new();
        for (slot, member) in &mut self.members {
            let Session::Native(native) = &mut member.session else { continue };
            if let Some(start) = native.waits_since.take() {
                if member.told > last {
                    self.ahead.notify_one();
                    continue;
                }
                member.told = last;
                replays.push((slot, start));
            }
        }
        for (slot, start) in replays {
            let Some(Member { session: Session::Native(native), outlet, .. }) =
                self.members.get(slot)
            else {
                continue;
            };
            // A client that was promised nothing (`gap`) reads the feed from where it stands; what memory has of
            // that is a gift, and ids tell it apart. A client without a cursor needs what came since it joined.
            let start = match start {
                Start::After(after) if after < floor => Start::After(floor),
                start => start,
            };
            match self.missed(&native.claims, start) {
                Some(frames) => outlet.send_all(frames.into_iter().chain([native::cursor(last)])),
                None => close_for_restart(outlet, self.restart_spread_ms),
            }
        }
    }

    fn jump(&mut self, last: EventId) {
        self.memory.restart(last);
        self.position = Some(last);
        for (_, member) in &self.members {
            if matches!(member.session, Session::Native(_)) {
                close_for_restart(&member.outlet, self.restart_spread_ms);
            }
        }
    }

    fn doubt(&mut self) {
        let position = self.position;
        for (_, member) in &mut self.members {
            if let Session::Native(native) = &mut member.session {
                native.doubted = position.is_some_and(|position| member.told > position);
            }
        }
    }

    fn confirm(&mut self, last: EventId) {
        for (_, member) in &mut self.members {
            if let Session::Native(native) = &mut member.session
                && std::mem::take(&mut native.doubted)
            {
                member.told = member.told.min(last);
            }
        }
    }

    fn revoke(&mut self, revoked: &RevokedTopic) {
        let before = self.revoked.entry(revoked.topic.clone()).or_insert(revoked.before);
        *before = revoked.before.max(*before);
        let Some(hearers) = self.native.get(&revoked.topic) else { return };
        for member in hearers.slots.iter().filter_map(|&slot| self.members.get(slot)) {
            if let Session::Native(native) = &member.session
                && native.claims.is_revoked_by(revoked.before)
            {
                member.outlet.close(close_code::REVOKED, "revoked");
            }
        }
    }

    fn is_revoked(&self, claims: &Claims) -> bool {
        let hit = |topic| self.revoked.get(topic).is_some_and(|&at| claims.is_revoked_by(at));
        claims.topics.iter().any(hit)
    }

    fn subscribe(&mut self, id: ConnectionId, topic: String) {
        let Some(&slot) = self.slots.get(&id) else { return };
        let Some(Member { session, outlet, .. }) = self.members.get_mut(slot) else { return };
        if session.subscriptions().len() >= wamp::MAX_TOPICS || topic.len() > wamp::MAX_TOPIC_BYTES
        {
            outlet.close(close_code::POLICY, "too many or too long topics");
            return;
        }
        // WAMP v1 knows no answer.
        if matches!(session, Session::Native(_)) {
            outlet.send(&native::subscribed(&topic, true));
        }
        let topics = session.subscriptions();
        if !topics.contains(&topic) {
            enter(&mut self.legacy, &self.heard, &topic, slot);
            topics.push(topic);
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, topic: &str) {
        let Some(&slot) = self.slots.get(&id) else { return };
        let Some(Member { session, outlet, .. }) = self.members.get_mut(slot) else { return };
        session.subscriptions().retain(|subscribed| subscribed != topic);
        exit(&mut self.legacy, &self.heard, topic, slot);
        if matches!(session, Session::Native(_)) {
            outlet.send(&native::subscribed(topic, false));
        }
    }

    fn add(
        &mut self,
        id: ConnectionId,
        name: SessionId,
        outlet: Arc<Outlet>,
        told: EventId,
        session: Session,
    ) -> usize {
        if matches!(session, Session::Legacy(_)) {
            self.metrics.sessions.increment();
        }
        let slot = self.members.insert(Member {
            id,
            name,
            outlet,
            told,
            mark: 0,
            unwritten: false,
            missed_pings: 0,
            session,
        });
        self.slots.insert(id, slot);
        slot
    }

    fn leave(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.remove(&id) else { return };
        let Some(mut member) = self.members.try_remove(slot) else { return };
        self.metrics.sessions.decrement();
        for topic in member.session.subscriptions() {
            exit(&mut self.legacy, &self.heard, topic.as_str(), slot);
        }
        if let Session::Native(native) = member.session {
            for topic in &native.claims.topics {
                exit(&mut self.native, &self.heard, topic, slot);
            }
            self.presence.unwatch(id);
            if has_presence(&native.claims) {
                self.presence.leave(&native.claims.sub, Utc::now());
            }
        }
    }

    /// Looks after the members whose turn was `due`, and says when it is the next ones'. Pings are spread over `ping_seconds`
    /// by the connections' numbers, so no connection needs a timer of its own.
    fn look_after(&mut self, due: Instant) -> Instant {
        let (members, slots, now) = (self.members.len(), self.members.capacity(), Utc::now());
        let (turn, next) = self.turns.begin(members, slots, due, Instant::now());
        let second = self.turns.seconds % self.ping_seconds;
        if turn.start == 0 && second == 0 {
            self.revoked.retain(|_, before| *before + REVOCATION_LIFE > now);
        }
        let cursor = self.position.map(|position| (position, native::cursor(position)));
        for slot in turn {
            if let Some(member) = self.members.get_mut(slot) {
                let pinged = member.id % self.ping_seconds == second;
                member.tick(pinged, cursor.as_ref(), now);
            }
        }
        next
    }

    fn describe(&self) -> Vec<TopicCount> {
        let count = |topic: String, legacy: bool, hearers: &Hearers| TopicCount {
            topic,
            legacy,
            sessions: hearers.slots.len(),
            events: hearers.events,
        };
        let native = self.native.iter().map(|(topic, h)| count(topic.to_string(), false, h));
        native.chain(self.legacy.iter().map(|(topic, h)| count(topic.clone(), true, h))).collect()
    }

    fn stop(&self) {
        for (_, member) in &self.members {
            match member.session {
                Session::Native(_) => close_for_restart(&member.outlet, self.restart_spread_ms),
                // The browser library of that time reconnects only after an unclean close.
                Session::Legacy(_) => member.outlet.abort(),
            }
        }
    }

    fn member(&self, id: ConnectionId) -> Option<&Member> {
        self.members.get(*self.slots.get(&id)?)
    }
}

/// Whether somebody may want to know that the bearer is there: not of the doctor's tokens, which name nobody.
fn has_presence(claims: &Claims) -> bool {
    claims.kind == Bearer::User || topic::is_visitor(&claims.sub)
}

fn concerns(event: &Published, claims: &Claims) -> bool {
    match &event.audience {
        Audience::Native(topics) => topics.iter().any(|topic| claims.topics.contains(topic)),
        Audience::Legacy { .. } => false,
    }
}

fn enter<T: Hash + Eq + Clone>(
    topics: &mut HashMap<T, Hearers>,
    heard: &Heard,
    topic: &T,
    slot: usize,
) {
    let hearers = topics.entry(topic.clone()).or_default();
    if hearers.slots.is_empty() {
        heard.enter(topic);
    }
    if !hearers.slots.contains(&slot) {
        hearers.slots.push(slot);
    }
}

fn exit<T, Q>(topics: &mut HashMap<T, Hearers>, heard: &Heard, topic: &Q, slot: usize)
where
    T: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    let Some(hearers) = topics.get_mut(topic) else { return };
    if let Some(index) = hearers.slots.iter().position(|&hearer| hearer == slot) {
        hearers.slots.swap_remove(index);
    }
    if hearers.slots.is_empty() {
        heard.exit(topic);
        topics.remove(topic);
    }
}
