//! Keeps what strangers do from filling the log: one line a minute for each address and reason.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

/// So many pairs of address and reason are remembered. A flood from more addresses than this makes the throttle
/// forget, and so costs some more lines, but no memory.
const MAX_REMEMBERED: usize = 4096;

/// Remembers who was written about, and when.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<(IpAddr, &'static str), Entry>>);

#[derive(Debug)]
struct Entry {
    logged: Instant,
    suppressed: u64,
}

impl Throttle {
    /// Whether to log now: `Some` with the number of lines left out since the last one.
    pub fn permit(&self, address: IpAddr, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&(address, reason)) {
            if now.duration_since(entry.logged) < INTERVAL {
                entry.suppressed += 1;
                return None;
            }
            entry.logged = now;
            return Some(std::mem::take(&mut entry.suppressed));
        }
        if entries.len() >= MAX_REMEMBERED {
            entries.clear();
        }
        entries.insert((address, reason), Entry { logged: now, suppressed: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_for_each_address_and_reason() {
        let throttle = Throttle::default();
        let (a, b) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        assert_eq!(throttle.permit(a, "garbage"), Some(0));
        assert_eq!(throttle.permit(a, "garbage"), None);
        assert_eq!(throttle.permit(a, "garbage"), None);
        assert_eq!(throttle.permit(a, "timeout"), Some(0));
        assert_eq!(throttle.permit(b, "garbage"), Some(0));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(throttle.permit(a, "garbage"), Some(2));
    }

    #[test]
    fn a_flood_of_addresses_is_not_remembered_for_ever() {
        let throttle = Throttle::default();
        for n in 0..20_000_u32 {
            throttle.permit(IpAddr::from(n.to_be_bytes()), "garbage");
        }
        assert!(throttle.0.lock().unwrap().len() <= MAX_REMEMBERED);
    }
}
