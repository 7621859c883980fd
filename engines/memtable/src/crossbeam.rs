//! The baseline: the skip list of `crossbeam-skiplist`, many writers at once.
//!
//! Keys of the list are records of an arena, ordered by user key and sequence number. Two inserts never
//! have an equal key, and they must not: the list's replacement of an equal key is not atomic.

#![expect(unsafe_code, reason = "the list's keys are records, read while their arena lives")]

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::position::{Positioned, Slot, Sought};
use crate::record::{Arena, Record};
use crossbeam_skiplist::SkipMap;
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::Mutex;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a node of the list takes beside its record: key, reference count and height, two links on
/// average, and the allocator's own word. An estimate from above.
const NODE_BYTES: u64 = 64;
/// Records a cursor takes at a time: enough to make the search for the first of them cheap.
const NEAR: usize = 64;

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

impl Kind for CrossbeamMemtable {
    const NAME: &'static str = "crossbeam";
    const NAME_INDEXED: &'static str = "crossbeam+hash";

    fn add(&self, entry: EntryRef<'_>) -> Record {
        assert!(!self.is_sealed.load(Relaxed), "a sealed memtable takes no entries");
        let record = {
            let mut arena = self.arena.lock();
            let record = arena.push(entry);
            self.used_bytes.store(arena.used_bytes(), Relaxed);
            record
        };
        // SAFETY: the list is in the same struct as the arena and is dropped before it.
        self.list.insert(unsafe { Slot::new(record) }, ());
        record
    }
}

impl Memtable for CrossbeamMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        self.add(entry);
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let sought: &dyn Positioned = &Sought(key, at);
        let found = self.list.lower_bound(Bound::Included(sought))?;
        // SAFETY: the arena lives as long as `self`.
        let entry = unsafe { found.key().record().entry() };
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
            out.push(found.key().record());
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
            out.push(found.key().record());
            at = if out.len() < NEAR { found.prev() } else { None };
        }
        out.reverse();
    }
}
