//! How often somebody may call, and how much one person may write in one thread: whoever floods is refused, and nobody else.
//!
//! Each limit is a bucket (GCRA, by the crate `governor`) for each person, address or thread: so many calls a minute, of
//! which five minutes' worth may come at once. What is remembered is bounded: a flood from more addresses than are
//! remembered makes a limit forget, and so lets some more calls through, but takes no memory.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use chaffer_shared::config;
use chaffer_shared::metrics::{Counter, Text};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// So many minutes' worth may come at once: people come back from a lost network, and pages load in bursts.
const BURST_MINUTES: u32 = 5;
/// So many keys of one limit are remembered; each takes about a hundred bytes.
const MAX_KEYS: usize = 50_000;

/// How somebody stands with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What may come at once.
    pub limit: u32,
    /// What is left of it now.
    pub remaining: u32,
    /// Until nothing of it is used any more.
    pub reset: Duration,
    /// Until the next call is taken; `None`: this one was.
    pub refused_for: Option<Duration>,
}

/// The limits of this node.
#[derive(Debug)]
pub struct Limits {
    /// Calls of a person, by the user's id.
    pub people: Limit<String>,
    /// Calls from an address.
    pub addresses: Limit<IpAddr>,
    /// Calls from an address of the shop's own: its backend and its proxies.
    pub shop: Limit<IpAddr>,
    /// Preflights from an address: what browsers ask before a page of another origin calls. They are not the page's doing, so
    /// they take nothing of what its calls have.
    pub preflights: Limit<IpAddr>,
    /// Messages of a person in a thread, by the user's id and what names the thread; and all changes of a person's messages.
    pub messages: Limit<(String, String)>,
    /// Threads that visitors start, by the address.
    pub visitor_threads: Limit<IpAddr>,
}

impl Limits {
    /// The limits that the settings name.
    #[must_use]
    pub fn new(settings: &config::Limits) -> Self {
        Self {
            people: Limit::new(settings.calls_per_minute),
            addresses: Limit::new(settings.calls_per_minute_per_address),
            shop: Limit::new(settings.calls_per_minute_of_the_shop),
            preflights: Limit::new(settings.calls_per_minute_per_address),
            messages: Limit::new(settings.messages_per_minute_per_thread),
            visitor_threads: Limit::new(settings.visitor_threads_per_minute_per_address),
        }
    }

    /// What was refused, for the metrics.
    pub fn render(&self, text: &mut Text) {
        let name = "chaffer_api_limited_total";
        text.metric(name, "counter", "Calls refused because of a limit (429).");
        for (limit, refused) in [
            ("user", &self.people.refused),
            ("address", &self.addresses.refused),
            ("shop", &self.shop.refused),
            ("preflight", &self.preflights.refused),
            ("thread", &self.messages.refused),
            ("visitors", &self.visitor_threads.refused),
        ] {
            text.value(name, &[("limit", limit)], refused.get());
        }
    }
}

/// One limit, with a bucket for each key.
#[derive(Debug)]
pub struct Limit<K: Hash + Eq + Clone, C: Clock + Clone = DefaultClock> {
    /// `None`: no limit.
    buckets: Option<Buckets<K, C>>,
    refused: Counter,
}

#[derive(Debug)]
struct Buckets<K: Hash + Eq + Clone, C: Clock + Clone> {
    quota: Quota,
    clock: C,
    limiter: RwLock<Limiter<K, C>>,
}

type Limiter<K, C> = RateLimiter<K, HashMapStateStore<K>, C, StateInformationMiddleware>;

impl<K: Hash + Eq + Clone> Limit<K> {
    /// So many a minute; 0 for no limit.
    fn new(per_minute: u32) -> Self {
        Self::with_clock(per_minute, DefaultClock::default())
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Limit<K, C> {
    fn with_clock(per_minute: u32, clock: C) -> Self {
        let burst = NonZeroU32::new(per_minute.saturating_mul(BURST_MINUTES));
        let period = Duration::from_secs(60).checked_div(per_minute);
        let quota = period.and_then(Quota::with_period).zip(burst);
        let buckets = quota.map(|(quota, burst)| Buckets::new(quota.allow_burst(burst), clock));
        Self { buckets, refused: Counter::default() }
    }

    /// Counts one for this key, and tells how the key stands then; `None` where there is no limit.
    pub fn take(&self, key: &K) -> Option<Standing> {
        let standing = self.buckets.as_ref()?.take(key);
        if standing.refused_for.is_some() {
            self.refused.increment();
        }
        Some(standing)
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Buckets<K, C> {
    fn new(quota: Quota, clock: C) -> Self {
        let limiter = RwLock::new(Self::limiter(quota, &clock));
        Self { quota, clock, limiter }
    }

    fn limiter(quota: Quota, clock: &C) -> Limiter<K, C> {
        RateLimiter::hashmap_with_clock(quota, clock.clone()).with_middleware()
    }

    fn take(&self, key: &K) -> Standing {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let taken = limiter.check_key(key);
        let is_crowded = limiter.len() > MAX_KEYS;
        drop(limiter);
        if is_crowded {
            self.make_room();
        }
        let limit = self.quota.burst_size().get();
        let (remaining, refused_for) = match taken {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(self.clock.now()))),
        };
        let used = limit.saturating_sub(remaining);
        let reset = self.quota.replenish_interval() * used;
        Standing { limit, remaining, reset, refused_for }
    }

    /// Forgets keys that stand as if they had never called; if that is not enough, all of them.
    fn make_room(&self) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        if limiter.len() > MAX_KEYS {
            limiter.retain_recent();
            if limiter.len() > MAX_KEYS / 2 {
                *limiter = Self::limiter(self.quota, &self.clock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    #[test]
    fn a_flood_is_refused_until_time_has_passed() {
        let clock = FakeRelativeClock::default();
        let limit = Limit::with_clock(60, clock.clone());
        for left in (0..300).rev() {
            let standing = limit.take(&"a").unwrap();
            assert_eq!((standing.limit, standing.remaining), (300, left));
            assert_eq!(standing.refused_for, None);
        }
        let refused = limit.take(&"a").unwrap();
        assert_eq!(refused.refused_for, Some(Duration::from_secs(1)));
        assert_eq!((refused.remaining, refused.reset), (0, Duration::from_secs(300)));
        assert_eq!(limit.refused.get(), 1);
        // Others are not concerned, and asking in vain costs nothing.
        assert_eq!(limit.take(&"b").unwrap().refused_for, None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(limit.take(&"a").unwrap().refused_for, None);
        assert!(limit.take(&"a").unwrap().refused_for.is_some());
        clock.advance(Duration::from_secs(300));
        assert_eq!(limit.take(&"a").unwrap().remaining, 299);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Limit::new(0).take(&"a"), None);
        assert_eq!(Limit::new(u32::MAX).take(&"a").unwrap().refused_for, None);
    }

    #[test]
    fn a_flood_of_keys_takes_no_memory() {
        let limit = Limit::with_clock(60, FakeRelativeClock::default());
        for key in 0..3 * MAX_KEYS {
            limit.take(&key);
            let known = limit.buckets.as_ref().unwrap().limiter.read().unwrap().len();
            assert!(known <= MAX_KEYS, "{known}");
        }
    }
}
