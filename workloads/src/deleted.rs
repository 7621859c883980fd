//! Which key numbers were deleted: one bit for each number, without a bound and without a lock.
//!
//! 1. The words of the bits lie in buckets; each bucket is twice as large as the one before, and is made when a number
//!    in it is deleted for the first time. So a bit never moves, and a store without deletes has none.
//! 2. A bit is only ever written by the one client to whom its number belongs.

use crate::KeyNumber;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of the first bucket.
const FIRST_WORDS: u64 = 1 << 10;
/// Enough for all numbers of 64 bits: the words number fewer than 2^58.
const BUCKETS: usize = 49;

/// A set of key numbers.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// Bucket `b` holds `FIRST_WORDS << b` words.
    buckets: [OnceLock<Box<[AtomicU64]>>; BUCKETS],
    /// How many numbers are in the set.
    count: AtomicU64,
}

impl Default for Deleted {
    fn default() -> Self {
        Self { buckets: [const { OnceLock::new() }; BUCKETS], count: AtomicU64::new(0) }
    }
}

/// The bucket of a number, the word in it, and the bit in the word.
fn place(number: KeyNumber) -> (usize, usize, u64) {
    let word = number / 64 + FIRST_WORDS;
    let bucket = word.ilog2() - FIRST_WORDS.ilog2();
    let at = word - (FIRST_WORDS << bucket);
    (bucket as usize, at as usize, 1 << (number % 64))
}

impl Deleted {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn contains(&self, number: KeyNumber) -> bool {
        let (bucket, at, bit) = place(number);
        self.buckets[bucket].get().is_some_and(|words| words[at].load(Ordering::Acquire) & bit != 0)
    }

    /// Puts the number in; whether it was not there.
    pub(crate) fn insert(&self, number: KeyNumber) -> bool {
        let (bucket, at, bit) = place(number);
        let words = self.buckets[bucket]
            .get_or_init(|| (0..FIRST_WORDS << bucket).map(|_| AtomicU64::new(0)).collect());
        let is_new = words[at].fetch_or(bit, Ordering::Release) & bit == 0;
        self.count.fetch_add(u64::from(is_new), Ordering::Relaxed);
        is_new
    }

    /// Takes the number out, if it is there.
    pub(crate) fn remove(&self, number: KeyNumber) {
        let (bucket, at, bit) = place(number);
        let Some(words) = self.buckets[bucket].get() else { return };
        let was_there = words[at].fetch_and(!bit, Ordering::Release) & bit != 0;
        self.count.fetch_sub(u64::from(was_there), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use std::collections::HashSet;

    #[test]
    fn it_is_a_set_at_the_edges_of_buckets_and_far_out() {
        let (deleted, mut model) = (Deleted::default(), HashSet::new());
        let edges = (0..20).flat_map(|b| {
            let edge = ((FIRST_WORDS << b) - FIRST_WORDS) * 64;
            [edge.saturating_sub(1), edge, edge + 1, edge + 64]
        });
        let edges: Vec<u64> = edges.collect();
        let mut rng = Rng::new(11, 0);
        for _ in 0..20_000 {
            let number = edges[rng.below(edges.len() as u64) as usize];
            if rng.below(2) == 0 {
                assert_eq!(deleted.insert(number), model.insert(number), "{number}");
            } else {
                deleted.remove(number);
                model.remove(&number);
            }
            let asked = edges[rng.below(edges.len() as u64) as usize];
            assert_eq!(deleted.contains(asked), model.contains(&asked), "{asked}");
            assert_eq!(deleted.is_empty(), model.is_empty());
        }
        assert!(!deleted.contains(u64::MAX), "the largest number has its place");
    }
}
