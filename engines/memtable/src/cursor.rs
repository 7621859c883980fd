//! One cursor for all memtables: it copies the addresses of some neighbouring records at a time.
//!
//! Records never move and never go away, so a copied address stays good without any lock. When the
//! copied ones are used up, the cursor looks for what follows the last of them, wherever that is by
//! then.

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

    fn look_forward(&mut self, after: Option<usize>) -> bool {
        let mut near = Vec::with_capacity(self.near.capacity());
        match after.map(|at| self.position(at)) {
            Some((key, seqno)) => self.memtable.from(key, seqno, true, &mut near),
            None => self.memtable.from(&[], SeqNo::MAX, false, &mut near),
        }
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
