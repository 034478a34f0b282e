//! A set of messages, as far as their ids share all but the last sixteen bits: an epoch. The search index keeps one for
//! each epoch and token: as a list of 16-bit numbers while they are few, as a bitmap when that is shorter.

use std::collections::BTreeSet;

use super::Id;

/// So many ids make an epoch.
const LENGTH: usize = 1 << 16;
const WORDS: usize = LENGTH / 64;
/// The bytes of a bitmap.
const BITMAP: usize = LENGTH / 8;

/// Some ids of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdSet(Box<[u64]>);

/// What becomes of some places of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Insert,
    Remove,
}

/// What is stored after a change, of what was stored before; nothing when the set is empty. Most words are rare, so most sets are
/// a few numbers: to change those as numbers takes a hundredth of what it takes to make a bitmap of them and back.
pub(crate) fn change_stored(stored: &[u8], places: &[u16], change: Change) -> Vec<u8> {
    if stored.len() < BITMAP {
        let (list, _) = stored.as_chunks::<2>();
        let mut list: Vec<u16> = list.iter().map(|place| u16::from_le_bytes(*place)).collect();
        match change {
            Change::Insert => {
                list.extend(places);
                list.sort_unstable();
                list.dedup();
            }
            Change::Remove => {
                let gone: BTreeSet<u16> = places.iter().copied().collect();
                list.retain(|place| !gone.contains(place));
            }
        }
        if is_list(list.len()) {
            return list.into_iter().flat_map(u16::to_le_bytes).collect();
        }
        let mut set = IdSet::empty();
        list.into_iter().for_each(|place| set.insert(place));
        return set.to_stored();
    }
    let mut set = IdSet::empty();
    set.add_stored(stored);
    for place in places {
        match change {
            Change::Insert => set.insert(*place),
            Change::Remove => set.remove(*place),
        }
    }
    set.to_stored()
}

/// Whether so many ids are stored as numbers.
fn is_list(count: usize) -> bool {
    count * 2 < BITMAP
}

/// The epoch of an id, and its place there.
pub(crate) fn epoch_of(id: Id) -> (i64, u16) {
    (id >> 16, u16::try_from(id & 0xffff).unwrap_or(0))
}

impl IdSet {
    /// None.
    pub(crate) fn empty() -> Self {
        Self(vec![0; WORDS].into())
    }

    /// All.
    pub(crate) fn full() -> Self {
        Self(vec![u64::MAX; WORDS].into())
    }

    pub(crate) fn insert(&mut self, place: u16) {
        let (word, bit) = (usize::from(place) / 64, place % 64);
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    fn remove(&mut self, place: u16) {
        let (word, bit) = (usize::from(place) / 64, place % 64);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !(1 << bit);
        }
    }

    pub(crate) fn contains(&self, place: u16) -> bool {
        let word = self.0.get(usize::from(place) / 64).copied().unwrap_or(0);
        word >> (place % 64) & 1 == 1
    }

    pub(crate) fn len(&self) -> usize {
        // A word has at most 64 bits.
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what the other one has, too.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Adds what is stored as these bytes.
    pub(crate) fn add_stored(&mut self, bytes: &[u8]) {
        if bytes.len() == BITMAP {
            let (words, _) = bytes.as_chunks::<8>();
            for (word, stored) in self.0.iter_mut().zip(words) {
                *word |= u64::from_le_bytes(*stored);
            }
        } else {
            let (places, _) = bytes.as_chunks::<2>();
            places.iter().for_each(|place| self.insert(u16::from_le_bytes(*place)));
        }
    }

    /// As it is stored.
    fn to_stored(&self) -> Vec<u8> {
        if is_list(self.len()) {
            let mut places: Vec<u16> = self.descending().collect();
            places.reverse();
            places.into_iter().flat_map(u16::to_le_bytes).collect()
        } else {
            self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    }

    /// From the greatest to the least.
    pub(crate) fn descending(&self) -> impl Iterator<Item = u16> {
        // In this order: the number after the last one would not fit.
        let words: Vec<(u64, u16)> = self.0.iter().copied().zip((0..).step_by(64)).collect();
        words.into_iter().rev().flat_map(|(mut word, first)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.checked_ilog2()?).ok()?;
                word &= !(1 << bit);
                Some(first + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(places: &[u16]) -> IdSet {
        let mut set = IdSet::empty();
        places.iter().for_each(|place| set.insert(*place));
        set
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_put_into_it(
            one in prop::collection::vec(any::<u16>(), 0..6000),
            other in prop::collection::vec(any::<u16>(), 0..200),
        ) {
            let known: BTreeSet<u16> = one.iter().copied().collect();
            let stored = set(&one).to_stored();
            prop_assert!(stored.len() <= BITMAP && stored.len() <= 2 * known.len());
            let mut read = IdSet::empty();
            read.add_stored(&stored);
            prop_assert_eq!(&read, &set(&one));
            prop_assert_eq!(read.len(), known.len());
            prop_assert!(read.descending().eq(known.iter().rev().copied()));
            let mut both = set(&one);
            both.intersect(&set(&other));
            for place in &other {
                prop_assert_eq!(both.contains(*place), known.contains(place));
                read.remove(*place);
                prop_assert!(!read.contains(*place));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_changed_as_the_set_would_be(
            before in prop::collection::vec(any::<u16>(), 0..6000),
            places in prop::collection::vec(any::<u16>(), 0..6000),
            removed_too in 0_usize..6000,
        ) {
            let stored = set(&before).to_stored();
            let mut all = before.clone();
            all.extend(&places);
            let inserted = change_stored(&stored, &places, Change::Insert);
            prop_assert_eq!(&inserted, &set(&all).to_stored());
            // Some of them, and some that are not there.
            let gone: Vec<u16> = before.iter().take(removed_too).chain(&places).copied().collect();
            let kept: Vec<u16> =
                before.iter().copied().filter(|place| !gone.contains(place)).collect();
            let removed = change_stored(&stored, &gone, Change::Remove);
            prop_assert_eq!(&removed, &set(&kept).to_stored());
            prop_assert!(change_stored(&inserted, &all, Change::Remove).is_empty());
        }
    }

    #[test]
    fn ids_know_their_epoch() {
        assert_eq!(epoch_of(1), (0, 1));
        assert_eq!(epoch_of(65_535), (0, 65_535));
        assert_eq!(epoch_of(65_536), (1, 0));
        assert_eq!(IdSet::full().len(), LENGTH);
    }
}
