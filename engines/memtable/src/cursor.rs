//! One cursor for all memtables: it copies the addresses of some neighbouring records at a time.
//!
//! Records never move and never go away, so a copied address stays good without any lock. When the
//! copied ones are used up, the cursor looks for what follows the last of them, wherever that is by
//! then. What is sought among them is found there: whoever steps over versions of a key seeks near.

#![expect(unsafe_code, reason = "the cursor owns the memtable whose records it reads")]

use crate::record::Record;
use nori_kv::{EntryCursor, EntryRef, Result, SeqNo};
use std::sync::Arc;

/// What a cursor needs of a memtable. Answers are neighbours, ascending in internal order, and empty
/// only if nothing is there.
pub(crate) trait Neighbours: Send + Sync {
    /// Puts some records from `(key, seqno)` on into `out`; without that one itself if `beyond`.
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>);

    /// Puts some records before `(key, seqno)` into `out`, or before the end for `None`.
    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>);
}

/// Where a cursor is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Off both ends: new.
    OffBoth,
    OffStart,
    /// On `near[i]`.
    On(usize),
    OffEnd,
}

/// Records that travel while one is read: a flush takes about three accesses' time for each.
const AHEAD: usize = 5;

/// A cursor that keeps its memtable alive.
pub(crate) struct RecordCursor<M> {
    /// Invariant: `near` holds records of `memtable`'s arena only.
    memtable: Arc<M>,
    near: Vec<Record>,
    place: Place,
}

impl<M: Neighbours> RecordCursor<M> {
    pub(crate) fn new(memtable: Arc<M>) -> Self {
        Self { memtable, near: Vec::new(), place: Place::OffBoth }
    }

    fn position(&self, at: usize) -> (&[u8], SeqNo) {
        // SAFETY: the arena belongs to `self.memtable`, which outlives the borrow of `self`.
        unsafe { self.near[at].position() }
    }

    /// The first of `near` at or after `(key, seqno)`, if it is the first of all. Before `near[0]` there may be others, and after
    /// the last; between them was nothing when they were copied, and what came later need not be seen.
    fn find_near(&self, key: &[u8], seqno: SeqNo) -> Option<usize> {
        let is_before = |at: usize| {
            let (own_key, own_seqno) = self.position(at);
            own_key.cmp(key).then_with(|| seqno.cmp(&own_seqno)).is_lt()
        };
        let (mut before, mut found) = (0, self.near.len().checked_sub(1)?);
        if is_before(found) || !is_before(before) {
            return None;
        }
        while found - before > 1 {
            let middle = before.midpoint(found);
            *(if is_before(middle) { &mut before } else { &mut found }) = middle;
        }
        Some(found)
    }

    fn look_forward(&mut self, after: Option<usize>) -> bool {
        let mut near = Vec::with_capacity(self.near.capacity());
        match after.map(|at| self.position(at)) {
            Some((key, seqno)) => self.memtable.from(key, seqno, true, &mut near),
            None => self.memtable.from(&[], SeqNo::MAX, false, &mut near),
        }
        // Who comes here is on a walk: the first ones travel together.
        near.iter().take(AHEAD).for_each(|record| record.prefetch());
        self.land(near, 0, Place::OffEnd)
    }

    fn look_backward(&mut self, before: Option<usize>) -> bool {
        let mut near = Vec::with_capacity(self.near.capacity());
        self.memtable.before(before.map(|at| self.position(at)), &mut near);
        let last = near.len().saturating_sub(1);
        self.land(near, last, Place::OffStart)
    }

    fn land(&mut self, near: Vec<Record>, at: usize, otherwise: Place) -> bool {
        self.place = if near.is_empty() { otherwise } else { Place::On(at) };
        self.near = near;
        matches!(self.place, Place::On(_))
    }
}

impl<M: Neighbours> EntryCursor for RecordCursor<M> {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        if let Some(at) = self.find_near(key, seqno) {
            self.place = Place::On(at);
            return Ok(true);
        }
        let mut near = std::mem::take(&mut self.near);
        near.clear();
        self.memtable.from(key, seqno, false, &mut near);
        Ok(self.land(near, 0, Place::OffEnd))
    }

    fn next(&mut self) -> Result<bool> {
        Ok(match self.place {
            Place::On(at) if at + 1 < self.near.len() => {
                self.place = Place::On(at + 1);
                if let Some(ahead) = self.near.get(at + AHEAD) {
                    ahead.prefetch();
                }
                true
            }
            Place::On(at) => self.look_forward(Some(at)),
            Place::OffBoth | Place::OffStart => self.look_forward(None),
            Place::OffEnd => false,
        })
    }

    fn prev(&mut self) -> Result<bool> {
        Ok(match self.place {
            Place::On(at) if at > 0 => {
                self.place = Place::On(at - 1);
                true
            }
            Place::On(at) => self.look_backward(Some(at)),
            Place::OffBoth | Place::OffEnd => self.look_backward(None),
            Place::OffStart => false,
        })
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let Place::On(at) = self.place else { return None };
        // SAFETY: the arena belongs to `self.memtable`, which outlives the borrow of `self`.
        Some(unsafe { self.near[at].entry() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BTreeMemtable, Memtable};
    use nori_kv::Kind;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// Counts how often it is asked.
    #[derive(Default)]
    struct Asked(BTreeMemtable, AtomicU64);

    impl Neighbours for Asked {
        fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
            self.1.fetch_add(1, Relaxed);
            self.0.from(key, seqno, beyond, out);
        }

        fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
            self.1.fetch_add(1, Relaxed);
            self.0.before(position, out);
        }
    }

    #[test]
    fn what_was_copied_is_sought_without_asking_again() {
        let memtable = Arc::new(Asked::default());
        let seqno = |n: u64| SeqNo::new(n).unwrap();
        for key in 0..4_u8 {
            for n in 1..=10 {
                let entry = EntryRef {
                    key: &[key],
                    seqno: seqno(n),
                    kind: Kind::Put,
                    expires: None,
                    value: b"",
                };
                memtable.0.insert(entry);
            }
        }
        let mut cursor = RecordCursor::new(Arc::clone(&memtable));
        let at = |cursor: &RecordCursor<Asked>| cursor.entry().map(|e| (e.key[0], e.seqno.value()));
        for is_forward in [true, false] {
            if !is_forward {
                cursor.seek(&[9], SeqNo::MAX).unwrap();
            }
            assert!(if is_forward { cursor.next() } else { cursor.prev() }.unwrap());
            let asked = memtable.1.load(Relaxed);
            for key in 1..4 {
                for (sought, found) in [(99, 10), (10, 10), (7, 7), (1, 1)] {
                    assert!(cursor.seek(&[key], seqno(sought)).unwrap());
                    assert_eq!(at(&cursor), Some((key, found)));
                }
            }
            assert!(cursor.seek(&[1], SeqNo::ZERO).unwrap() && at(&cursor) == Some((2, 10)));
            assert!(cursor.prev().unwrap() && at(&cursor) == Some((1, 1)));
            assert_eq!(memtable.1.load(Relaxed), asked, "forward {is_forward}");
            // At or beyond the ends of what was copied, others may be.
            assert!(cursor.seek(&[0], SeqNo::MAX).unwrap() && at(&cursor) == Some((0, 10)));
            assert_eq!(memtable.1.load(Relaxed), asked + 1);
            assert!(!cursor.seek(&[3], SeqNo::ZERO).unwrap());
            assert_eq!(memtable.1.load(Relaxed), asked + 2);
        }
    }
}
