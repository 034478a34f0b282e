//! Whose turn it is to be looked after. Every member is, once a second, but not all in one go: to ping one of twenty-five
//! among ten thousand, and to read what they answer, takes both cores milliseconds, which events would wait for.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

/// So many turns at most make a round of a second.
const MOST: u16 = 128;
/// A turn for fewer members is not worth its wake-up.
const MEMBERS_AT_ONCE: usize = 64;

/// The turns of one shard.
pub(super) struct Turns {
    /// Rounds begun.
    pub(super) seconds: u64,
    next_slot: usize,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { seconds: 0, next_slot: 0 }
    }

    /// Begins a turn that was `due`: in which slots, of all `slots`, and when the next is due. One that comes late takes over from
    /// those that were missed, up to a whole round.
    pub(super) fn begin(
        &mut self,
        members: usize,
        slots: usize,
        due: Instant,
        now: Instant,
    ) -> (Range<usize>, Instant) {
        if self.next_slot == 0 {
            self.seconds += 1;
        }
        let turns = u16::try_from(members.div_ceil(MEMBERS_AT_ONCE)).unwrap_or(MOST).clamp(1, MOST);
        let pause = Duration::from_secs(1) / turns.into();
        let late = now.saturating_duration_since(due);
        let missed = u16::try_from(late.as_nanos() / pause.as_nanos()).unwrap_or(MOST);
        let taken = missed.min(turns - 1) + 1;
        let first = self.next_slot;
        let end = first + slots.div_ceil(turns.into()) * usize::from(taken);
        self.next_slot = if end < slots { end } else { 0 };
        (first..end.min(slots), (due + pause * taken.into()).max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays so many seconds with at least so much time between two turns; returns how often each slot had its turn, and how many
    /// rounds and turns there were.
    fn play(members: usize, slots: usize, seconds: u64, least: Duration) -> (Vec<u64>, u64, u32) {
        let (mut turns, mut visits, mut count) = (Turns::new(), vec![0; slots], 0);
        let start = Instant::now();
        let (mut now, mut due) = (start, start);
        while now < start + Duration::from_secs(seconds) {
            let (range, next) = turns.begin(members, slots, due, now);
            visits[range].iter_mut().for_each(|it| *it += 1);
            count += 1;
            due = next;
            now = due.max(now + least);
        }
        (visits, turns.seconds, count)
    }

    #[test]
    fn everybody_has_a_turn_a_second() {
        for (members, slots) in
            [(0, 0), (1, 4), (64, 64), (65, 128), (9_000, 16_384), (100_000, 131_072)]
        {
            let (visits, seconds, count) = play(members, slots, 10, Duration::ZERO);
            assert!((10..=11).contains(&seconds), "{members}: {seconds}");
            assert!(visits.iter().all(|it| (10..=11).contains(it)), "{members}: {visits:?}");
            assert!(count <= 10 * u32::from(MOST) + 1, "{members}: {count}");
        }
    }

    #[test]
    fn a_shard_that_is_busy_looks_after_everybody_all_the_same() {
        let (visits, _, count) = play(10_000, 16_384, 10, Duration::from_millis(200));
        assert!(count <= 51);
        assert!(visits.iter().all(|it| (8..=11).contains(it)), "{visits:?}");
        // After a long time it is once their turn, not as often as it was missed.
        let (visits, ..) = play(10_000, 16_384, 10, Duration::from_secs(5));
        assert!(visits.iter().all(|it| *it <= 3), "{visits:?}");
    }
}
