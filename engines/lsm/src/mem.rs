//! A memtable of the engine: the points behind their seam, and the range tombstones beside them.
//!
//! Range tombstones are few or none, so they stand under a lock that nobody takes as long as there are none.

use nori_kv::{Applied, Fragments, Kind, OpKind, RangeTombstones, Reason, SeqNo, WriteBatch};
use nori_memtable::{Memtable, MemtableFactory};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A memtable that is or was written.
pub(crate) struct Mem {
    pub(crate) memtable: Arc<dyn Memtable>,
    ranges: RwLock<RangeTombstones>,
    /// The bytes of `ranges`; zero as long as there are none. Set before the tombstone's number is visible, so that a
    /// reader who may see the tombstone takes the lock.
    range_bytes: AtomicU64,
}

/// A memtable that takes no more writes.
pub(crate) struct Sealed {
    pub(crate) mem: Arc<Mem>,
    /// Its last sequence number: when that is visible, all its inserts have ended.
    pub(crate) last: SeqNo,
    /// The last entry of the replicated log that was applied before it was sealed.
    pub(crate) applied: Applied,
    /// Once it is flushed, segments below this are not needed; zero if there is no log.
    pub(crate) next_segment: u64,
    pub(crate) why: Reason,
    /// Whether a flush has it.
    is_taken: AtomicBool,
}

impl Sealed {
    /// One of a log of the store's own.
    pub(crate) fn new(mem: Arc<Mem>, last: SeqNo, next_segment: u64, why: Reason) -> Arc<Self> {
        let (applied, is_taken) = (Applied::default(), AtomicBool::new(false));
        Arc::new(Self { mem, last, applied, next_segment, why, is_taken })
    }

    /// One under a replicated log.
    pub(crate) fn of_entries(
        mem: Arc<Mem>,
        last: SeqNo,
        applied: Applied,
        why: Reason,
    ) -> Arc<Self> {
        Arc::new(Self {
            mem,
            last,
            applied,
            next_segment: 0,
            why,
            is_taken: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }

    /// Who may start flushes takes them, under one lock.
    pub(crate) fn take(&self) {
        self.is_taken.store(true, Ordering::Relaxed);
    }
}

impl Mem {
    pub(crate) fn new(factory: &dyn MemtableFactory) -> Arc<Self> {
        Arc::new(Self {
            memtable: factory.create(),
            ranges: RwLock::default(),
            range_bytes: AtomicU64::new(0),
        })
    }

    /// Takes one operation of a batch; `value` is the end of the range if it deletes one.
    #[inline]
    pub(crate) fn apply(&self, (op, key, value): (OpKind, &[u8], &[u8]), seqno: SeqNo) {
        let (kind, expires) = (op.kind, op.expires);
        if kind == Kind::DeleteRange {
            let mut ranges = self.ranges.write();
            ranges.add(key, value, seqno);
            self.range_bytes.store(ranges.bytes(), Ordering::Release);
        } else {
            self.memtable.insert(nori_kv::EntryRef { key, seqno, kind, expires, value });
        }
    }

    /// Takes a batch whose first operation has the number `first`.
    pub(crate) fn insert(&self, batch: &WriteBatch, first: SeqNo) {
        let mut seqno = first;
        for op in batch.iter() {
            self.apply(op, seqno);
            seqno = seqno.plus(1);
        }
    }

    /// The newest range tombstone over `key` at or below `at`, or zero.
    #[inline]
    pub(crate) fn cover(&self, key: &[u8], at: SeqNo) -> SeqNo {
        if self.has_ranges() { self.ranges.read().cover(key, at) } else { SeqNo::ZERO }
    }

    /// Whether it holds range tombstones.
    #[inline]
    pub(crate) fn has_ranges(&self) -> bool {
        self.range_bytes.load(Ordering::Acquire) > 0
    }

    /// Its range tombstones as they are now.
    pub(crate) fn ranges(&self) -> Fragments {
        self.ranges.read().fragments()
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.memtable.bytes() + self.range_bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing was written into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.memtable.is_empty() && !self.has_ranges()
    }
}
