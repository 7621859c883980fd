//! Which entries a merge keeps.
//!
//! The boundaries are the sequence numbers some reader may read at, the newest visible one included. They cut the
//! sequence numbers into **stripes**: two versions of a key in one stripe are told apart by no reader, so the newer one
//! of them is enough. A tombstone in the oldest stripe is needed only as long as some table outside the merge
//! may hold an older version of its key.
//!
//! An entry that a range tombstone of its own stripe covers goes; the tombstone itself is kept by the rule of point
//! tombstones.
//!
//! A put that expired at or before the **floor** is seen by nobody: it goes on as a tombstone, for what it hides must
//! stay hidden.

use crate::version::Run;
use nori_kv::{EntryRef, Fragment, Fragments, Kind, SeqNo, Tick};

/// What there is outside of a merge.
pub(crate) enum Others {
    /// The runs of the tree without the tables that are merged.
    Runs(Vec<Run>),
    /// Older entries of any key.
    Unknown,
}

/// Decides entry by entry, in internal order.
pub(crate) struct Sieve {
    /// Ascending.
    boundaries: Vec<SeqNo>,
    /// No reader asks for a time before it.
    expiry_floor: Tick,
    /// The range tombstones of what is merged.
    ranges: Fragments,
    others: Others,
    /// The last key that passed by, and the stripe of its last version.
    key: Vec<u8>,
    stripe: Option<usize>,
}

impl Sieve {
    pub(crate) fn new(
        boundaries: Vec<SeqNo>,
        expiry_floor: Tick,
        ranges: Fragments,
        others: Others,
    ) -> Self {
        debug_assert!(boundaries.is_sorted());
        Self { boundaries, expiry_floor, ranges, others, key: Vec::new(), stripe: None }
    }

    /// The range tombstones that are kept: of each stripe the newest, and of the oldest stripe only what may cover
    /// something outside the merge.
    pub(crate) fn ranges_kept(&self) -> Fragments {
        self.ranges.keep(|Fragment { start, end, seqnos }| {
            let mut last = None;
            let mut kept = |seqno: &SeqNo| {
                let stripe = self.stripe_of(*seqno);
                let is_newest = last.replace(stripe) != Some(stripe);
                is_newest && (stripe > 0 || self.may_cover(start, end, *seqno))
            };
            seqnos.iter().copied().filter(|seqno| kept(seqno)).collect()
        })
    }

    /// The number of boundaries below `seqno`.
    fn stripe_of(&self, seqno: SeqNo) -> usize {
        self.boundaries.partition_point(|boundary| *boundary < seqno)
    }

    /// Whether a range tombstone hides `entry` from every reader that could see it.
    fn is_covered(&self, entry: &EntryRef<'_>, stripe: usize) -> bool {
        if self.ranges.is_empty() {
            return false;
        }
        // Whoever reads at the end of the stripe or later sees what lies in the stripe; nobody reads inside it.
        let end = self.boundaries.get(stripe);
        end.is_some_and(|end| self.ranges.cover(entry.key, *end) > entry.seqno)
    }

    fn may_cover(&self, start: &[u8], end: &[u8], seqno: SeqNo) -> bool {
        let Others::Runs(others) = &self.others else { return true };
        let tables = others.iter().flat_map(|run| run.overlapping(start, Some(end)));
        tables.into_iter().any(|table| table.properties().seqno_min < seqno)
    }

    /// Whether `entry` is of a key other than the last one.
    pub(crate) fn is_new_key(&self, entry: &EntryRef<'_>) -> bool {
        self.stripe.is_none() || entry.key != self.key
    }

    /// What is kept of `entry`.
    pub(crate) fn sift<'a>(&mut self, entry: EntryRef<'a>) -> Option<EntryRef<'a>> {
        let stripe = self.stripe_of(entry.seqno);
        if self.is_new_key(&entry) {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
        } else if self.stripe == Some(stripe) {
            return None;
        }
        self.stripe = Some(stripe);
        if self.is_covered(&entry, stripe) {
            return None;
        }
        let entry = if entry.has_expired(self.expiry_floor) {
            EntryRef { kind: Kind::Delete, expires: None, value: &[], ..entry }
        } else {
            entry
        };
        let is_needless = entry.kind == Kind::Delete && stripe == 0 && !self.may_shadow(&entry);
        (!is_needless).then_some(entry)
    }

    fn may_shadow(&self, entry: &EntryRef<'_>) -> bool {
        let Others::Runs(others) = &self.others else { return true };
        others.iter().any(|run| {
            let table = run.table_for(entry.key);
            table.is_some_and(|table| table.properties().seqno_min < entry.seqno)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(boundaries: &[u64], entries: &[(&str, u64, Kind)]) -> Vec<u64> {
        let boundaries = boundaries.iter().map(|b| SeqNo::ZERO.plus(*b)).collect();
        let mut sieve = Sieve::new(boundaries, Tick(0), Fragments::default(), Others::Runs(vec![]));
        let mut keeps = |(key, seqno, kind): &(&str, u64, Kind)| {
            let (key, seqno) = (key.as_bytes(), SeqNo::ZERO.plus(*seqno));
            sieve.sift(EntryRef { key, seqno, kind: *kind, expires: None, value: &[] }).is_some()
        };
        entries.iter().filter(|entry| keeps(entry)).map(|entry| entry.1).collect()
    }

    #[test]
    fn what_expired_by_the_floor_is_a_tombstone_and_goes_like_one() {
        let expiring = |seqno: u64, expires: u64| {
            let (key, value) = (&b"a"[..], &b"value"[..]);
            let (seqno, expires) = (SeqNo::ZERO.plus(seqno), Some(Tick(expires)));
            EntryRef { key, seqno, kind: Kind::Put, expires, value }
        };
        let sieve = |boundaries: &[u64]| {
            let boundaries = boundaries.iter().map(|b| SeqNo::ZERO.plus(*b)).collect();
            Sieve::new(boundaries, Tick(20), Fragments::default(), Others::Runs(vec![]))
        };
        assert!(sieve(&[9]).sift(expiring(5, 20)).is_none());
        assert_eq!(sieve(&[9]).sift(expiring(5, 21)), Some(expiring(5, 21)));
        // A snapshot may see what lies below: it stays hidden.
        let kept = sieve(&[4, 9]).sift(expiring(5, 20)).unwrap();
        assert_eq!((kept.kind, kept.expires, kept.value), (Kind::Delete, None, &[][..]));
    }

    #[test]
    fn the_newest_version_of_each_stripe_is_kept() {
        let entries = [9, 7, 6, 4, 2, 1].map(|seqno| ("a", seqno, Kind::Put));
        assert_eq!(kept(&[9], &entries), [9]);
        assert_eq!(kept(&[2, 6, 9], &entries), [9, 6, 2]);
        assert_eq!(kept(&[1, 5, 9], &entries), [9, 4, 1]);
    }

    #[test]
    fn a_tombstone_goes_with_what_it_shadows_once_no_reader_tells() {
        let entries = [("a", 5, Kind::Delete), ("a", 3, Kind::Put), ("b", 1, Kind::Put)];
        assert_eq!(kept(&[9], &entries), [1]);
        assert_eq!(kept(&[4, 9], &entries), [5, 3, 1]);
        assert_eq!(kept(&[6, 9], &entries), [1]);
    }
}
