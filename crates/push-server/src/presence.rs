//! Who is connected, and who wants to know.
//!
//! Presence is what overloads other chat systems, so it is never broadcast: it goes to the sockets that watch a
//! person (by a grant that the API signed), in rounds of half a second, the latest state alone. Somebody who
//! leaves is given a few seconds to come back, so that reloading a page is no flicker.
//!
//! It changes rarely beside events, so one lock for all shards is enough here.
//!
//! When somebody was last seen outlives this process: the API keeps it (`last_seen`), and its grants bring it back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chaffer_shared::health::UserPresence;
use chaffer_shared::token::Grant;
use chaffer_shared::topic;
use chrono::{DateTime, TimeDelta, Utc};

use crate::hub::ConnectionId;
use crate::outlet::Outlet;
use crate::websocket::native;

/// How often changes go out.
pub const ROUND: Duration = Duration::from_millis(500);

/// How long somebody may be away before it is told.
const LEAVE_GRACE: TimeDelta = TimeDelta::seconds(5);

/// When somebody was last seen is remembered for so long.
const MEMORY: TimeDelta = TimeDelta::days(7);

/// The table of who is there.
#[derive(Debug, Default)]
pub struct Presence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    users: HashMap<String, User>,
    watchers: HashMap<ConnectionId, Watcher>,
    /// Who came since the last round.
    arrived: HashSet<String>,
    /// Who left, the earliest first: told after [`LEAVE_GRACE`].
    leaving: VecDeque<(DateTime<Utc>, String)>,
    /// Who has gone since the API was told last; visitors are forgotten.
    untold: HashMap<String, DateTime<Utc>>,
}

#[derive(Debug, Default)]
struct User {
    sockets: usize,
    last_seen_at: Option<DateTime<Utc>>,
    /// What the watchers believe.
    told_online: bool,
    watchers: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Watcher {
    outlet: Arc<Outlet>,
    users: Vec<String>,
    until: DateTime<Utc>,
}

impl Presence {
    /// A socket of the user has authenticated.
    pub fn join(&self, user_id: &str) {
        let mut state = self.lock();
        let user = state.users.entry(user_id.to_owned()).or_default();
        user.sockets += 1;
        if !user.told_online {
            state.arrived.insert(user_id.to_owned());
        }
    }

    /// A socket of the user has closed.
    pub fn leave(&self, user_id: &str, now: DateTime<Utc>) {
        let mut state = self.lock();
        let Some(user) = state.users.get_mut(user_id) else { return };
        user.sockets = user.sockets.saturating_sub(1);
        if user.sockets == 0 {
            user.last_seen_at = Some(now);
            state.leaving.push_back((now, user_id.to_owned()));
        }
    }

    /// The connection watches the users of its grant, and no others, until that ends; it is told at once how they stand.
    pub fn watch(&self, id: ConnectionId, outlet: &Arc<Outlet>, grant: Grant) {
        let Grant { users, seen, exp, .. } = grant;
        let until = DateTime::from_timestamp(exp, 0).unwrap_or_default();
        let mut state = self.lock();
        state.unwatch(id);
        for user_id in &users {
            let user = state.users.entry(user_id.clone()).or_default();
            let kept = seen.get(user_id).and_then(|at| DateTime::from_timestamp_millis(*at));
            // An old grant may hold an earlier moment than a newer one.
            user.last_seen_at = user.last_seen_at.max(kept);
            if !user.watchers.contains(&id) {
                user.watchers.push(id);
                // Who has just left, and may be back in a moment, is as good as here.
                let online = user.told_online || user.sockets > 0;
                outlet.send(&frame(user_id, online, user.last_seen_at));
            }
        }
        state.watchers.insert(id, Watcher { outlet: outlet.clone(), users, until });
    }

    /// The connection watches nobody any more.
    pub fn unwatch(&self, id: ConnectionId) {
        self.lock().unwatch(id);
    }

    /// Tells the watchers what changed since the last round.
    pub fn round(&self, now: DateTime<Utc>) {
        let mut state = self.lock();
        for user_id in std::mem::take(&mut state.arrived) {
            state.tell(&user_id);
        }
        while state.leaving.front().is_some_and(|(since, _)| *since + LEAVE_GRACE <= now) {
            if let Some((_, user_id)) = state.leaving.pop_front() {
                let away = |user: &User| {
                    user.sockets == 0 && user.last_seen_at.is_none_or(|at| at + LEAVE_GRACE <= now)
                };
                if state.users.get(&user_id).is_some_and(away) {
                    state.tell(&user_id);
                    state.note_gone(&user_id);
                    // Anybody can be as many visitors as it likes: they are remembered for as long as somebody cares.
                    let is_lost = |user: &User| user.watchers.is_empty();
                    if topic::is_visitor(&user_id) && state.users.get(&user_id).is_some_and(is_lost)
                    {
                        state.users.remove(&user_id);
                    }
                }
            }
        }
        let expired =
            |(id, watcher): (&ConnectionId, &Watcher)| (watcher.until <= now).then_some(*id);
        let expired: Vec<ConnectionId> = state.watchers.iter().filter_map(expired).collect();
        expired.into_iter().for_each(|id| state.unwatch(id));
    }

    /// Everybody has gone: the daemon ends.
    pub fn close(&self, now: DateTime<Utc>) {
        let mut state = self.lock();
        let mut gone: Vec<String> = state.leaving.drain(..).map(|(_, user_id)| user_id).collect();
        for (user_id, user) in &mut state.users {
            if std::mem::take(&mut user.sockets) > 0 {
                user.last_seen_at = Some(now);
                gone.push(user_id.clone());
            }
        }
        gone.iter().for_each(|user_id| state.note_gone(user_id));
    }

    /// Takes some of those who have gone since the API was told last.
    #[must_use]
    pub fn take_untold(&self, limit: usize) -> Vec<UserPresence> {
        let mut state = self.lock();
        let some: Vec<String> = state.untold.keys().take(limit).cloned().collect();
        let take = |user_id: String| {
            let at = state.untold.remove(&user_id)?;
            Some(UserPresence { user_id, online: false, last_seen_at: Some(at) })
        };
        some.into_iter().filter_map(take).collect()
    }

    /// The API could not be told of these; who has come and gone again since is told of anyway.
    pub fn put_back(&self, gone: Vec<UserPresence>) {
        let mut state = self.lock();
        for UserPresence { user_id, last_seen_at, .. } in gone {
            if let Some(at) = last_seen_at {
                state.untold.entry(user_id).or_insert(at);
            }
        }
    }

    /// Forgets who was last seen long ago.
    pub fn forget(&self, now: DateTime<Utc>) {
        self.lock().users.retain(|_, user| {
            user.sockets > 0
                || !user.watchers.is_empty()
                || user.last_seen_at.is_some_and(|at| at + MEMORY > now)
        });
    }

    /// How one user stands, as the side door tells it: without delay.
    #[must_use]
    pub fn of(&self, user_id: &str) -> UserPresence {
        let state = self.lock();
        let user = state.users.get(user_id);
        let online = user.is_some_and(|user| user.sockets > 0);
        UserPresence {
            user_id: user_id.to_owned(),
            online,
            last_seen_at: user.and_then(|user| user.last_seen_at).filter(|_| !online),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Somebody who is not there was last seen when the last socket closed.
    fn note_gone(&mut self, user_id: &str) {
        let seen = self.users.get(user_id).and_then(|user| user.last_seen_at);
        if let Some(at) = seen.filter(|_| !topic::is_visitor(user_id)) {
            self.untold.insert(user_id.to_owned(), at);
        }
    }

    fn unwatch(&mut self, id: ConnectionId) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        for user_id in &watcher.users {
            if let Some(user) = self.users.get_mut(user_id) {
                user.watchers.retain(|watcher| *watcher != id);
                let is_known = user.last_seen_at.is_some() && !topic::is_visitor(user_id);
                if user.watchers.is_empty() && user.sockets == 0 && !is_known {
                    self.users.remove(user_id);
                }
            }
        }
    }

    /// Tells the watchers how the user stands, if they believe otherwise.
    fn tell(&mut self, user_id: &str) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let online = user.sockets > 0;
        if std::mem::replace(&mut user.told_online, online) == online {
            return;
        }
        let frame = frame(user_id, online, user.last_seen_at);
        for watcher in user.watchers.iter().filter_map(|id| self.watchers.get(id)) {
            watcher.outlet.send(&frame);
        }
    }
}

fn frame(user_id: &str, online: bool, last_seen_at: Option<DateTime<Utc>>) -> Bytes {
    native::presence_frame(&UserPresence {
        user_id: user_id.to_owned(),
        online,
        last_seen_at: last_seen_at.filter(|_| !online),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_online_while_one_socket_is_open() {
        let presence = Presence::default();
        let now = chaffer_shared::time::now();
        assert_eq!(presence.of("7").last_seen_at, None);
        presence.join("7");
        presence.join("7");
        presence.leave("7", now);
        assert!(presence.of("7").online);
        presence.leave("7", now);
        assert!(!presence.of("7").online);
        assert_eq!(presence.of("7").last_seen_at, Some(now));
    }

    fn ids(gone: &[UserPresence]) -> Vec<&str> {
        let mut ids: Vec<&str> = gone.iter().map(|it| it.user_id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_api_is_told_of_each_who_has_gone_once() {
        let presence = Presence::default();
        let now = chaffer_shared::time::now();
        for user in ["7", "8", "9", "visitor:a"] {
            presence.join(user);
            presence.leave(user, now);
        }
        // Who is back in a moment has not gone.
        presence.join("8");
        assert!(presence.take_untold(10).is_empty());
        presence.round(now + LEAVE_GRACE);
        let gone = presence.take_untold(10);
        assert_eq!(ids(&gone), ["7", "9"]);
        assert!(gone.iter().all(|it| !it.online && it.last_seen_at == Some(now)));
        assert!(presence.take_untold(10).is_empty());

        // It could not be told; meanwhile one of them has been here again.
        let later = now + TimeDelta::seconds(30);
        presence.join("7");
        presence.leave("7", later);
        presence.round(later + LEAVE_GRACE);
        presence.put_back(gone);
        assert_eq!(presence.take_untold(1).len(), 1);
        let rest = presence.take_untold(1);
        assert_eq!(rest.len(), 1);
        presence.put_back(rest);
        let mut all = presence.take_untold(10);
        all.retain(|it| it.user_id == "7");
        assert!(all.iter().all(|it| it.last_seen_at == Some(later)), "{all:?}");
    }

    #[test]
    fn whoever_is_there_at_the_end_was_seen_then() {
        let presence = Presence::default();
        let now = chaffer_shared::time::now();
        let before = now - TimeDelta::seconds(1);
        for user in ["7", "8", "visitor:a"] {
            presence.join(user);
        }
        presence.leave("8", before);
        presence.close(now);
        let mut gone = presence.take_untold(10);
        gone.sort_by(|one, other| one.user_id.cmp(&other.user_id));
        let seen: Vec<_> = gone.iter().map(|it| (it.user_id.as_str(), it.last_seen_at)).collect();
        assert_eq!(seen, [("7", Some(now)), ("8", Some(before))]);
    }

    #[test]
    fn visitors_are_not_remembered() {
        let presence = Presence::default();
        let now = chaffer_shared::time::now();
        presence.join("visitor:a");
        assert!(presence.of("visitor:a").online);
        presence.leave("visitor:a", now);
        presence.round(now + LEAVE_GRACE);
        assert!(presence.lock().users.is_empty());
    }

    #[test]
    fn who_was_seen_long_ago_is_forgotten() {
        let presence = Presence::default();
        let now = chaffer_shared::time::now();
        presence.join("7");
        presence.leave("7", now);
        presence.round(now + LEAVE_GRACE);
        presence.forget(now + MEMORY - TimeDelta::seconds(1));
        assert!(presence.of("7").last_seen_at.is_some());
        presence.forget(now + MEMORY);
        assert!(presence.of("7").last_seen_at.is_none());
    }
}
