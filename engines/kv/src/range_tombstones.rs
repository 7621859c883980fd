//! Range tombstones, cut into fragments.
//!
//! Tombstones of one store overlap at will. Cut at each other's ends they become **fragments**: disjoint ranges of
//! keys, each with the sequence numbers of all tombstones that span it. What covers a key is then one search.
//!
//! [`RangeTombstones`] takes one tombstone after the other, as a memtable or a merge does. [`Fragments`] is the sorted
//! array of what was taken, as a table keeps it.
//!
//! 1. Taking `[start, end)` cuts the fragments that `start` and `end` lie in, then adds its number to each in between.
//! 2. A key is covered by the newest number at or below the reader's, of the fragment it lies in.

use crate::SeqNo;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What a boundary key costs beside its bytes, about: a node's share and two headers.
const BOUNDARY_BYTES: u64 = 80;

/// Tombstones that are still being added.
#[derive(Clone, Debug, Default)]
pub struct RangeTombstones {
    /// By the key they start at: the numbers that span the keys from here to the next key, descending. Behind the last
    /// key there are none.
    starts: BTreeMap<Vec<u8>, Vec<SeqNo>>,
    bytes: u64,
}

impl RangeTombstones {
    /// Adds the tombstone over every key `k` with `start <= k < end`; nothing if there can be none.
    pub fn add(&mut self, start: &[u8], end: &[u8], seqno: SeqNo) {
        if start >= end {
            return;
        }
        self.cut(start);
        self.cut(end);
        let spanned = (Bound::Included(start), Bound::Excluded(end));
        for (_, numbers) in self.starts.range_mut::<[u8], _>(spanned) {
            let at = numbers.partition_point(|other| *other > seqno);
            if numbers.get(at) != Some(&seqno) {
                numbers.insert(at, seqno);
                self.bytes += size_of::<SeqNo>() as u64;
            }
        }
    }

    /// Makes `key` a boundary.
    fn cut(&mut self, key: &[u8]) {
        let mut before = self.starts.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let numbers = match before.next_back() {
            Some((start, _)) if start == key => return,
            Some((_, numbers)) => numbers.clone(),
            None => Vec::new(),
        };
        self.bytes += BOUNDARY_BYTES + (key.len() + numbers.len() * size_of::<SeqNo>()) as u64;
        self.starts.insert(key.to_vec(), numbers);
    }

    /// The newest tombstone over `key` at or below `at`; [`SeqNo::ZERO`] if there is none.
    pub fn cover(&self, key: &[u8], at: SeqNo) -> SeqNo {
        let mut before = self.starts.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        before.next_back().map_or(SeqNo::ZERO, |(_, numbers)| newest(numbers, at))
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// About the memory it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The fragments as they are now.
    pub fn fragments(&self) -> Fragments {
        let mut fragments = Fragments::default();
        for ((start, numbers), (end, _)) in self.starts.iter().zip(self.starts.iter().skip(1)) {
            fragments.push(start, end, numbers.clone());
        }
        fragments
    }
}

/// A range of keys and the tombstones over all of it.
///
/// Invariants: `start < end`; `seqnos` is not empty and descends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key behind it.
    pub end: Vec<u8>,
    /// The numbers of its tombstones, newest first.
    pub seqnos: Vec<SeqNo>,
}

/// Fragments in order of keys.
///
/// Invariant: `all[i].end <= all[i + 1].start`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragments {
    all: Vec<Fragment>,
}

impl Fragments {
    /// Fragments that come from outside.
    ///
    /// # Errors
    ///
    /// What about them breaks an invariant.
    pub fn new(all: Vec<Fragment>) -> Result<Self, &'static str> {
        if all.iter().any(|fragment| fragment.start >= fragment.end) {
            return Err("a fragment ends before it starts");
        }
        let descends = |seqnos: &[SeqNo]| seqnos.is_sorted_by(|a, b| a > b);
        if all.iter().any(|fragment| fragment.seqnos.is_empty() || !descends(&fragment.seqnos)) {
            return Err("the numbers of a fragment do not descend");
        }
        if all.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err("fragments overlap");
        }
        Ok(Self { all })
    }

    /// Appends a fragment, unless it has no numbers. One that goes on where the last ended, with the same numbers, becomes
    /// one with it.
    fn push(&mut self, start: &[u8], end: &[u8], seqnos: Vec<SeqNo>) {
        match self.all.last_mut() {
            _ if seqnos.is_empty() => {}
            Some(last) if last.end == start && last.seqnos == seqnos => last.end = end.to_vec(),
            _ => self.all.push(Fragment { start: start.to_vec(), end: end.to_vec(), seqnos }),
        }
    }

    /// The fragments with those of their numbers that `keep` leaves.
    #[must_use]
    pub fn keep(&self, mut keep: impl FnMut(&Fragment) -> Vec<SeqNo>) -> Self {
        let mut kept = Self::default();
        for fragment in &self.all {
            kept.push(&fragment.start, &fragment.end, keep(fragment));
        }
        kept
    }

    /// The newest tombstone over `key` at or below `at`; [`SeqNo::ZERO`] if there is none.
    pub fn cover(&self, key: &[u8], at: SeqNo) -> SeqNo {
        let n = self.all.partition_point(|fragment| fragment.end.as_slice() <= key);
        match self.all.get(n) {
            Some(fragment) if fragment.start.as_slice() <= key => newest(&fragment.seqnos, at),
            _ => SeqNo::ZERO,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The fragments in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &Fragment> {
        self.all.iter()
    }

    /// The number of tombstones of all fragments: one that was cut counts once for each part.
    pub fn tombstones(&self) -> u64 {
        self.all.iter().map(|fragment| fragment.seqnos.len() as u64).sum()
    }

    /// The memory they take.
    pub fn bytes(&self) -> usize {
        let inside = |fragment: &Fragment| {
            fragment.start.len() + fragment.end.len() + fragment.seqnos.len() * size_of::<SeqNo>()
        };
        self.all.len() * size_of::<Fragment>() + self.all.iter().map(inside).sum::<usize>()
    }

    /// Takes out what lies before `key`: a fragment that it lies in is cut.
    #[must_use]
    pub fn split_before(&mut self, key: &[u8]) -> Self {
        let n = self.all.partition_point(|fragment| fragment.start.as_slice() < key);
        let rest = self.all.split_off(n);
        let mut before = Self { all: std::mem::replace(&mut self.all, rest) };
        if let Some(last) = before.all.last_mut().filter(|last| last.end.as_slice() > key) {
            let tail = Fragment { start: key.to_vec(), ..last.clone() };
            last.end = key.to_vec();
            self.all.insert(0, tail);
        }
        before
    }
}

/// The newest of the descending `numbers` at or below `at`.
fn newest(numbers: &[SeqNo], at: SeqNo) -> SeqNo {
    let n = numbers.partition_point(|number| *number > at);
    numbers.get(n).copied().unwrap_or(SeqNo::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seqno(n: u64) -> SeqNo {
        SeqNo::ZERO.plus(n)
    }

    proptest! {
        #[test]
        fn what_covers_a_key_agrees_with_looking_at_every_tombstone(
            raw in prop::collection::vec((0u8..20, 0u8..20, 1u64..50), 0..20),
            cut in 0u8..22,
        ) {
            let mut adding = RangeTombstones::default();
            for (start, end, number) in &raw {
                adding.add(&[*start], &[*end], seqno(*number));
            }
            let fragments = adding.fragments();
            prop_assert_eq!(Fragments::new(fragments.all.clone()), Ok(fragments.clone()));
            let mut after = fragments.clone();
            let before = after.split_before(&[cut]);
            for key in 0u8..22 {
                for at in [0, 1, 10, 30, 60] {
                    let spans = |(start, end, number): &&(u8, u8, u64)| {
                        *start <= key && key < *end && *number <= at
                    };
                    let expected = raw.iter().filter(spans).map(|t| t.2).max().unwrap_or(0);
                    prop_assert_eq!(adding.cover(&[key], seqno(at)), seqno(expected));
                    prop_assert_eq!(fragments.cover(&[key], seqno(at)), seqno(expected));
                    let half = if key < cut { &before } else { &after };
                    prop_assert_eq!(half.cover(&[key], seqno(at)), seqno(expected));
                    let other = if key < cut { &after } else { &before };
                    prop_assert_eq!(other.cover(&[key], seqno(at)), SeqNo::ZERO);
                }
            }
        }
    }

    #[test]
    fn neighbours_with_the_same_numbers_become_one() {
        let mut adding = RangeTombstones::default();
        adding.add(b"a", b"m", seqno(1));
        adding.add(b"c", b"e", seqno(2));
        assert_eq!(adding.fragments().iter().count(), 3);
        let oldest = adding.fragments().keep(|of| of.seqnos[of.seqnos.len() - 1..].to_vec());
        assert_eq!(oldest.iter().count(), 1);
        assert_eq!(oldest.cover(b"l", SeqNo::MAX), seqno(1));
    }
}
