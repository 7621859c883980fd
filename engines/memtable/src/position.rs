//! Records as keys of other people's ordered maps.

#![expect(unsafe_code, reason = "the keys are records, read while their arena lives")]

use crate::record::Record;
use nori_kv::SeqNo;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// A record as a key, in internal order.
///
/// Invariant: it is only in the map of the memtable that owns its arena.
pub(crate) struct Slot(Record);

impl Slot {
    /// # Safety
    /// The slot goes into a map that is dropped no later than the arena of `record`, and is not
    /// compared outside of it after that.
    pub(crate) unsafe fn new(record: Record) -> Self {
        Self(record)
    }

    pub(crate) fn record(&self) -> Record {
        self.0
    }
}

/// Anything with a place in internal order, so that a search needs no record.
pub(crate) trait Positioned {
    fn position(&self) -> (&[u8], SeqNo);
}

impl Positioned for Slot {
    fn position(&self) -> (&[u8], SeqNo) {
        // SAFETY: the slot is in the map of the memtable that owns the arena, and so is the borrow.
        unsafe { self.0.position() }
    }
}

/// A place to look for.
pub(crate) struct Sought<'k>(pub(crate) &'k [u8], pub(crate) SeqNo);

impl Positioned for Sought<'_> {
    fn position(&self) -> (&[u8], SeqNo) {
        (self.0, self.1)
    }
}

impl<'a> Borrow<dyn Positioned + 'a> for Slot {
    fn borrow(&self) -> &(dyn Positioned + 'a) {
        self
    }
}

impl Ord for dyn Positioned + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((key, seqno), (other_key, other_seqno)) = (self.position(), other.position());
        key.cmp(other_key).then_with(|| other_seqno.cmp(&seqno))
    }
}

impl PartialOrd for dyn Positioned + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Positioned + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Positioned + '_ {}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        let other: &dyn Positioned = other;
        let own: &dyn Positioned = self;
        own.cmp(other)
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Slot {}
