//! Who may come in: how many connections there may be, how many that have not said who they are, and how many
//! handshakes a second; of one address, and in all.
//!
//! A flood from one address must not lock others out. So an address has limits of its own, which count before those
//! for all, and no address may take more than three quarters of what there is for all. Who waits, that is, who is
//! connected but not authenticated, holds its place only for as long as there is room: when the waiting are too
//! many, the one that has waited longest of the address with the most gives way. An honest client needs
//! milliseconds, so even beside a flood from its own address it gets through; and one that has already said what it
//! must when it is told to go may stay.
//!
//! Behind a proxy an address is known only once the head of the request is read: until then a connection counts as
//! the proxy's ([`Gate::admit`]), then as the client's ([`Ticket::belongs_to`]). A trusted proxy itself, and so
//! what runs on the same machine, is nobody's flood and has the three quarters as its only limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chaffer_shared::address;
use chaffer_shared::config::Push;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Limited;

/// Bursts of so many seconds' worth of handshakes are taken: after a restart everybody comes back at once.
const BURST_SECONDS: f64 = 5.0;

/// From so many remembered addresses on, those that matter no more are looked for.
const SWEEP_AT_LEAST: usize = 1024;

/// Descriptors that are not for clients and pushers: listeners, the side door, the API, logs, refusals being said.
const SPARE_DESCRIPTORS: usize = 512;

/// One limit: for all, for an address, and for an address that is a trusted proxy.
#[derive(Debug, Clone, Copy)]
struct Limit {
    all: usize,
    each: usize,
    proxy: usize,
}

impl Limit {
    /// No address takes more than three quarters, so that there is always room for another.
    fn shared(all: usize, each: usize) -> Self {
        let share = (all - all / 4).max(1);
        Self { all, each: each.min(share), proxy: share }
    }

    fn of(self, is_proxy: bool) -> usize {
        if is_proxy { self.proxy } else { self.each }
    }
}

/// What a port allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    connections: Limit,
    waiting: Limit,
    /// Handshakes a second.
    rate: Option<Limit>,
}

impl Limits {
    /// The limits of both ports, websocket and pusher, by the settings and by what `descriptors` allow (`None`:
    /// any number).
    #[must_use]
    pub fn of(push: &Push, descriptors: Option<u64>) -> (Self, Self) {
        let descriptors = descriptors.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        let room = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(descriptors / 2);
        let pushers = bound(push.max_pushers).min(room / 4).max(1);
        let clients = bound(push.max_connections).min(room - pushers).max(1);
        let waiting = bound(push.max_unauthenticated).min((clients - clients / 8).max(1));
        let websocket = Self {
            connections: Limit::shared(clients, bound(push.max_connections_per_address)),
            // A proxy's own are those whose head has not come yet: when it restarts, all of its clients' at once.
            waiting: Limit {
                proxy: waiting,
                ..Limit::shared(waiting, bound(push.max_unauthenticated_per_address))
            },
            rate: Some(Limit::shared(
                bound(push.handshakes_per_second),
                bound(push.handshakes_per_second_per_address),
            )),
        };
        // Pushers are the shop's own and often all of one address; short connections are their way of life.
        let all = |all: usize| Limit { all, each: all, proxy: all };
        let pusher =
            Self { connections: all(pushers), waiting: all((pushers / 2).max(1)), rate: None };
        (websocket, pusher)
    }

    /// How many connections there may be.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.all
    }
}

/// A setting of 0 is no limit.
fn bound(setting: usize) -> usize {
    if setting == 0 { usize::MAX } else { setting }
}

/// One port's door.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    proxies: Vec<IpNet>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    accounts: HashMap<IpAddr, Account>,
    connections: usize,
    waiting: usize,
    /// Addresses by how many of theirs wait.
    ranking: BTreeSet<(usize, IpAddr)>,
    bucket: Bucket,
    /// Numbers tickets, so that lower is older.
    next: u64,
    sweep_at: usize,
}

/// What is known of an address, kept while it is connected or its bucket is not full again.
#[derive(Debug)]
struct Account {
    connections: usize,
    waiting: BTreeMap<u64, Arc<Eviction>>,
    bucket: Bucket,
}

#[derive(Debug, Default)]
struct Eviction {
    why: OnceLock<Limited>,
    notify: Notify,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    /// Handshakes taken that time has not yet made up for.
    used: f64,
    at: Instant,
}

impl Bucket {
    fn new() -> Self {
        Self { used: 0.0, at: Instant::now() }
    }

    fn has_room(&mut self, rate: usize, now: Instant) -> bool {
        let rate = rate as f64;
        self.used = (self.used - rate * now.duration_since(self.at).as_secs_f64()).max(0.0);
        self.at = now;
        self.used + 1.0 <= rate * BURST_SECONDS
    }
}

impl Gate {
    /// A door with these limits; `proxies` are believed when they say whom they forward.
    #[must_use]
    pub fn new(limits: Limits, proxies: &[IpNet]) -> Arc<Self> {
        Arc::new(Self {
            limits,
            proxies: proxies.to_vec(),
            state: Mutex::new(State {
                accounts: HashMap::new(),
                connections: 0,
                waiting: 0,
                ranking: BTreeSet::new(),
                bucket: Bucket::new(),
                next: 0,
                sweep_at: SWEEP_AT_LEAST,
            }),
        })
    }

    /// The proxies that are believed.
    #[must_use]
    pub fn proxies(&self) -> &[IpNet] {
        &self.proxies
    }

    /// Lets a new connection in, to wait.
    ///
    /// # Errors
    /// The limit that it would break.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Ticket, Limited> {
        let peer = peer.to_canonical();
        let is_proxy = address::contains(&self.proxies, peer);
        let account = address::account_of(peer);
        let mut state = self.lock();
        state.check_connections(&self.limits, account, is_proxy)?;
        // What comes through a proxy is charged to the client, once it is known.
        if !is_proxy {
            state.check_rate(&self.limits, account, is_proxy)?;
        }
        if state.connections >= self.limits.connections.all {
            // Only a newcomer from elsewhere is worth more than one who waits.
            let own = state.accounts.get(&account).map_or(0, |account| account.waiting.len());
            match state.ranking.last() {
                Some(&(most, busiest)) if busiest != account && most > own => {
                    state.evict(busiest, Limited::Connections);
                }
                _ => return Err(Limited::Connections),
            }
        }
        let eviction = Arc::<Eviction>::default();
        state.next += 1;
        let number = state.next;
        if !is_proxy {
            state.charge(&self.limits, account);
        }
        state.enter(&self.limits, account, is_proxy, number, Some(eviction.clone()));
        drop(state);
        Ok(Ticket { gate: self.clone(), account, is_proxy, number, waits: Some(eviction) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the address may have one more connection.
    fn check_connections(
        &self,
        limits: &Limits,
        address: IpAddr,
        is_proxy: bool,
    ) -> Result<(), Limited> {
        let connections = self.accounts.get(&address).map_or(0, |account| account.connections);
        if connections < limits.connections.of(is_proxy) {
            Ok(())
        } else {
            Err(Limited::ConnectionsPerAddress)
        }
    }

    /// Whether there may be one more handshake, of the address and in all. Those refused to an address use up
    /// nothing of what is there for all.
    fn check_rate(
        &mut self,
        limits: &Limits,
        address: IpAddr,
        is_proxy: bool,
    ) -> Result<(), Limited> {
        let Some(rate) = limits.rate else { return Ok(()) };
        let now = Instant::now();
        if let Some(account) = self.accounts.get_mut(&address)
            && !account.bucket.has_room(rate.of(is_proxy), now)
        {
            return Err(Limited::HandshakesPerAddress);
        }
        if self.bucket.has_room(rate.all, now) { Ok(()) } else { Err(Limited::Handshakes) }
    }

    /// Counts a handshake.
    fn charge(&mut self, limits: &Limits, address: IpAddr) {
        if limits.rate.is_some() {
            self.bucket.used += 1.0;
            self.account(limits, address).bucket.used += 1.0;
        }
    }

    fn account(&mut self, limits: &Limits, address: IpAddr) -> &mut Account {
        if self.accounts.len() >= self.sweep_at && !self.accounts.contains_key(&address) {
            let (rate, now) = (limits.rate, Instant::now());
            self.accounts.retain(|_, account| account.matters(rate, now));
            self.sweep_at = (self.accounts.len() * 2).max(SWEEP_AT_LEAST);
        }
        self.accounts.entry(address).or_insert_with(|| Account {
            connections: 0,
            waiting: BTreeMap::new(),
            bucket: Bucket::new(),
        })
    }

    /// Counts a connection; one that waits may make another give way.
    fn enter(
        &mut self,
        limits: &Limits,
        address: IpAddr,
        is_proxy: bool,
        number: u64,
        waits: Option<Arc<Eviction>>,
    ) {
        self.connections += 1;
        self.account(limits, address).connections += 1;
        let Some(eviction) = waits else { return };
        let own = self.accounts.get(&address).map_or(0, |account| account.waiting.len());
        if own >= limits.waiting.of(is_proxy) {
            self.evict(address, Limited::UnauthenticatedPerAddress);
        } else if self.waiting >= limits.waiting.all
            && let Some(&(_, busiest)) = self.ranking.last()
        {
            self.evict(busiest, Limited::Unauthenticated);
        }
        self.change_waiting(address, |waiting| {
            waiting.insert(number, eviction);
        });
    }

    /// Makes the one that has waited longest give way.
    fn evict(&mut self, address: IpAddr, why: Limited) {
        let mut evicted = None;
        self.change_waiting(address, |waiting| evicted = waiting.pop_first());
        let Some((_, eviction)) = evicted else { return };
        let _ = eviction.why.set(why);
        eviction.notify.notify_one();
        // Its socket closes in a moment; its place is free now.
        self.leave(address);
    }

    /// One connection less, which no longer waits.
    fn leave(&mut self, address: IpAddr) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(account) = self.accounts.get_mut(&address) {
            account.connections = account.connections.saturating_sub(1);
            if account.connections == 0 && account.bucket.used <= 0.0 {
                self.accounts.remove(&address);
            }
        }
    }

    fn change_waiting(
        &mut self,
        address: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<Eviction>>),
    ) {
        let Some(account) = self.accounts.get_mut(&address) else { return };
        let before = account.waiting.len();
        change(&mut account.waiting);
        let after = account.waiting.len();
        self.waiting = self.waiting - before + after;
        self.ranking.remove(&(before, address));
        if after > 0 {
            self.ranking.insert((after, address));
        }
    }
}

impl Account {
    fn matters(&mut self, rate: Option<Limit>, now: Instant) -> bool {
        self.connections > 0
            || rate.is_some_and(|rate| {
                self.bucket.has_room(rate.each, now);
                self.bucket.used > 0.0
            })
    }
}

/// A connection's place; dropping it is leaving.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    account: IpAddr,
    is_proxy: bool,
    number: u64,
    waits: Option<Arc<Eviction>>,
}

impl Ticket {
    /// The head of the request has told who is behind the proxy. One that had to give way until now has come to
    /// say something all the same, and is judged like a newcomer.
    ///
    /// # Errors
    /// The limit that the client would break; the connection is to be closed.
    pub fn belongs_to(&mut self, client: IpAddr) -> Result<(), Limited> {
        let (was_proxy, before) = (self.is_proxy, self.account);
        let client = if was_proxy { client } else { before };
        let is_proxy = address::contains(&self.gate.proxies, client);
        let account = address::account_of(client);
        let limits = &self.gate.limits;
        let mut state = self.gate.lock();
        let evicted = self.is_evicted();
        if evicted && state.connections >= limits.connections.all {
            return Err(Limited::Connections);
        }
        if evicted || account != before {
            state.check_connections(limits, account, is_proxy)?;
        }
        if was_proxy {
            state.check_rate(limits, account, is_proxy)?;
            state.charge(limits, account);
        }
        if evicted || account != before {
            if !evicted {
                state.change_waiting(before, |waiting| {
                    waiting.remove(&self.number);
                });
                state.leave(before);
            }
            let eviction = Arc::<Eviction>::default();
            state.enter(limits, account, is_proxy, self.number, Some(eviction.clone()));
            self.waits = Some(eviction);
        }
        (self.account, self.is_proxy) = (account, is_proxy);
        Ok(())
    }

    /// It has said who it is, and waits no more; false when it had to give way and there is no place left.
    #[must_use]
    pub fn welcome(&mut self) -> bool {
        let limits = &self.gate.limits;
        let mut state = self.gate.lock();
        if self.is_evicted() {
            if state.connections >= limits.connections.all
                || state.check_connections(limits, self.account, self.is_proxy).is_err()
            {
                return false;
            }
            state.enter(limits, self.account, self.is_proxy, self.number, None);
        }
        state.change_waiting(self.account, |waiting| {
            waiting.remove(&self.number);
        });
        drop(state);
        self.waits = None;
        true
    }

    /// Waits until it must give way, for the reason returned; for ever, once it is welcome.
    pub fn evicted(&self) -> impl Future<Output = Limited> + use<> {
        let waits = self.waits.clone();
        async move {
            let Some(eviction) = waits else { return std::future::pending().await };
            eviction.notify.notified().await;
            eviction.why.get().copied().unwrap_or(Limited::Unauthenticated)
        }
    }

    /// The address that it counts for: an IPv6 network of 64 bits counts as one.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.account
    }

    /// To be asked under the lock, which is held while it happens.
    fn is_evicted(&self) -> bool {
        self.waits.as_ref().is_some_and(|eviction| eviction.why.get().is_some())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if self.is_evicted() {
            return;
        }
        state.change_waiting(self.account, |waiting| {
            waiting.remove(&self.number);
        });
        state.leave(self.account);
    }
}

#[cfg(test)]
mod tests;
