//! The baseline: the skip list of `crossbeam-skiplist`, many writers at once.
//!
//! Keys of the list are records of an arena, ordered by user key and sequence number. Two inserts never
//! have an equal key, and they must not: the list's replacement of an equal key is not atomic.

#![expect(unsafe_code, reason = "the list's keys are records, read while their arena lives")]

use crate::cursor::{Neighbours, RecordCursor};
use crate::record::{Arena, Record};
use crate::{Memtable, MemtableFactory};
use crossbeam_skiplist::SkipMap;
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a node of the list takes beside its record: key, reference count and height, two links on
/// average, and the allocator's own word. An estimate from above.
const NODE_BYTES: u64 = 64;
/// Records a cursor takes at a time: enough to make the search for the first of them cheap.
const NEAR: usize = 64;

/// The factory of `crossbeam`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossbeamFactory;

impl MemtableFactory for CrossbeamFactory {
    fn name(&self) -> &'static str {
        "crossbeam"
    }

    fn create(&self) -> Arc<dyn Memtable> {
        Arc::new(CrossbeamMemtable::default())
    }
}

/// The memtable `crossbeam`.
#[derive(Default)]
pub struct CrossbeamMemtable {
    /// Dropped before `arena`, in the order of the fields; dropping it reads no records.
    list: SkipMap<Slot, ()>,
    arena: Mutex<Arena>,
    used_bytes: AtomicU64,
    is_sealed: AtomicBool,
}

impl fmt::Debug for CrossbeamMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrossbeamMemtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A record as a key of the list.
///
/// Invariant: it is only in the list of the memtable that owns its arena.
struct Slot(Record);

/// Anything with a place in internal order, so that a search needs no record.
trait Positioned {
    fn position(&self) -> (&[u8], SeqNo);
}

impl Positioned for Slot {
    fn position(&self) -> (&[u8], SeqNo) {
        // SAFETY: the slot is in the list of the memtable that owns the arena, and so is the borrow.
        unsafe { self.0.position() }
    }
}

struct Sought<'k>(&'k [u8], SeqNo);

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

impl Memtable for CrossbeamMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        assert!(!self.is_sealed.load(Relaxed), "a sealed memtable takes no entries");
        let record = {
            let mut arena = self.arena.lock();
            let record = arena.push(entry);
            self.used_bytes.store(arena.used_bytes(), Relaxed);
            record
        };
        self.list.insert(Slot(record), ());
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let sought: &dyn Positioned = &Sought(key, at);
        let found = self.list.lower_bound(Bound::Included(sought))?;
        // SAFETY: the arena lives as long as `self`.
        let entry = unsafe { found.key().0.entry() };
        (entry.key == key).then_some(entry)
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(RecordCursor::new(self))
    }

    fn bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed) + self.list.len() as u64 * NODE_BYTES
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn seal(&self) {
        self.is_sealed.store(true, Relaxed);
    }
}

impl Neighbours for CrossbeamMemtable {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        let sought: &dyn Positioned = &Sought(key, seqno);
        let bound = if beyond { Bound::Excluded(sought) } else { Bound::Included(sought) };
        let mut at = self.list.lower_bound(bound);
        while let Some(found) = at {
            out.push(found.key().0);
            at = if out.len() < NEAR { found.next() } else { None };
        }
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        let mut at = match position {
            Some((key, seqno)) => {
                let sought: &dyn Positioned = &Sought(key, seqno);
                self.list.upper_bound(Bound::Excluded(sought))
            }
            None => self.list.back(),
        };
        // A step back is a search from the top: the list has no links backwards.
        while let Some(found) = at {
            out.push(found.key().0);
            at = if out.len() < NEAR { found.prev() } else { None };
        }
        out.reverse();
    }
}
