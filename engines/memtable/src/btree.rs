//! The teaching baseline: the ordered set of the standard library under one lock.
//!
//! The set holds addresses of records, in internal order; an insert takes the lock alone, a read shares
//! it. There is nothing clever here, and what the other kinds are worth is seen beside it.

#![expect(unsafe_code, reason = "the set's keys are records, read while their arena lives")]

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::position::{Positioned, Slot, Sought};
use crate::record::{Arena, Record};
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the set takes for an entry: an address, in nodes of eleven that are two thirds full and have
/// twelve bytes of their own. From above.
const SLOT_BYTES: u64 = 20;
/// Records a cursor takes at a time: enough to make the search for the first of them cheap.
const NEAR: usize = 64;

/// The memtable `btree`.
#[derive(Default)]
pub struct BTreeMemtable {
    state: RwLock<State>,
    /// As in `state`, for those who do not hold it.
    bytes: AtomicU64,
    len: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Dropped before `arena`, in the order of the fields; dropping it reads no records.
    set: BTreeSet<Slot>,
    arena: Arena,
    is_sealed: bool,
}

impl fmt::Debug for BTreeMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BTreeMemtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl State {
    /// The records between two bounds.
    fn range<'s>(
        &'s self,
        from: Bound<&'s (dyn Positioned + 's)>,
        to: Bound<&'s (dyn Positioned + 's)>,
    ) -> impl DoubleEndedIterator<Item = Record> + 's {
        self.set.range::<dyn Positioned + 's, _>((from, to)).map(Slot::record)
    }
}

impl Kind for BTreeMemtable {
    const NAME: &'static str = "btree";
    const NAME_INDEXED: &'static str = "btree+hash";

    fn add(&self, entry: EntryRef<'_>) -> Record {
        let mut state = self.state.write();
        assert!(!state.is_sealed, "a sealed memtable takes no entries");
        let record = state.arena.push(entry);
        // SAFETY: the set is in the same struct as the arena and is dropped before it.
        state.set.insert(unsafe { Slot::new(record) });
        let len = state.set.len() as u64;
        self.bytes.store(state.arena.used_bytes() + len * SLOT_BYTES, Relaxed);
        self.len.store(len, Relaxed);
        record
    }
}

impl Memtable for BTreeMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        self.add(entry);
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let found = self.state.read().range(Included(&Sought(key, at)), Unbounded).next()?;
        // SAFETY: the arena lives as long as `self`; records do not move when the lock is given back.
        let entry = unsafe { found.entry() };
        (entry.key == key).then_some(entry)
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(RecordCursor::new(self))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    fn seal(&self) {
        self.state.write().is_sealed = true;
    }
}

impl Neighbours for BTreeMemtable {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        let sought = Sought(key, seqno);
        let from: Bound<&dyn Positioned> =
            if beyond { Excluded(&sought) } else { Included(&sought) };
        out.extend(self.state.read().range(from, Unbounded).take(NEAR));
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        let sought = position.map(|(key, seqno)| Sought(key, seqno));
        let to: Bound<&dyn Positioned> =
            sought.as_ref().map_or(Unbounded, |sought| Excluded(sought as &dyn Positioned));
        out.extend(self.state.read().range(Unbounded, to).rev().take(NEAR));
        out.reverse();
    }
}
