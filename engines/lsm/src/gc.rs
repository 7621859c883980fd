//! Which entries a merge keeps.
//!
//! The boundaries are the sequence numbers some reader may read at, the newest visible one included. They cut the
//! sequence numbers into **stripes**: two versions of a key in one stripe are told apart by no reader, so the newer one
//! of them is enough. A tombstone in the oldest stripe is needed only as long as some table outside the merge
//! may hold an older version of its key.

use crate::version::Run;
use nori_kv::{EntryRef, Kind, SeqNo};

/// Decides entry by entry, in internal order.
pub(crate) struct Sieve {
    /// Ascending.
    boundaries: Vec<SeqNo>,
    /// The runs of the tree without the tables that are merged.
    others: Vec<Run>,
    /// The last key that passed by, and the stripe of its last version.
    key: Vec<u8>,
    stripe: Option<usize>,
}

impl Sieve {
    pub(crate) fn new(boundaries: Vec<SeqNo>, others: Vec<Run>) -> Self {
        debug_assert!(boundaries.is_sorted());
        Self { boundaries, others, key: Vec::new(), stripe: None }
    }

    /// Whether `entry` is of a key other than the last one.
    pub(crate) fn is_new_key(&self, entry: &EntryRef<'_>) -> bool {
        self.stripe.is_none() || entry.key != self.key
    }

    /// Whether `entry` is kept.
    pub(crate) fn keeps(&mut self, entry: &EntryRef<'_>) -> bool {
        let stripe = self.boundaries.partition_point(|boundary| *boundary < entry.seqno);
        if self.is_new_key(entry) {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
        } else if self.stripe == Some(stripe) {
            return false;
        }
        self.stripe = Some(stripe);
        !(entry.kind == Kind::Delete && stripe == 0 && !self.may_shadow(entry))
    }

    fn may_shadow(&self, entry: &EntryRef<'_>) -> bool {
        self.others.iter().any(|run| {
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
        let mut sieve = Sieve::new(boundaries, vec![]);
        let mut keeps = |(key, seqno, kind): &(&str, u64, Kind)| {
            let (key, seqno) = (key.as_bytes(), SeqNo::ZERO.plus(*seqno));
            sieve.keeps(&EntryRef { key, seqno, kind: *kind, expires: None, value: &[] })
        };
        entries.iter().filter(|entry| keeps(entry)).map(|entry| entry.1).collect()
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
