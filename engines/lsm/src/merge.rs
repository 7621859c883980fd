//! Merges sorted sequences of entries into one.
//!
//! 1. Each child's present key is copied beside it with its first sixteen bytes as numbers, so that most comparisons are
//!    of words that lie side by side and none calls the child. Eight bytes are often the name of a kind of record and a few digits,
//!    which the present keys of all children have in common.
//! 2. The children that have an entry form a binary heap by internal order, least on top for forward, greatest for
//!    backward.
//! 3. A step moves the top child and sifts it down: one or two comparisons while one child leads.
//! 4. A change of direction puts every other child on the other side of the present entry.
//! 5. Versions of the present key are skipped by a seek of the children that stand on it; the others stay where they are.

use nori_kv::{EntryCursor, EntryRef, Result, SeqNo, WriteBatch};
use std::cmp::Ordering;

/// A cursor over the entries of all children, in internal order. No two children hold the same key and
/// sequence number.
pub(crate) struct MergeCursor<C> {
    children: Vec<Child<C>>,
    /// Indices of children that have an entry; a heap in the present direction.
    heap: Vec<u32>,
    direction: Direction,
}

struct Child<C> {
    cursor: C,
    head: Head,
    key: Vec<u8>,
    seqno: SeqNo,
}

/// The first sixteen bytes of a key, big-endian, padded with zeros: two words rather than one number of 128 bits, which would be
/// aligned to 16 bytes.
type Head = [u64; 2];

fn head(key: &[u8]) -> Head {
    let both = key.first_chunk().map_or_else(
        || {
            let mut bytes = [0; 16];
            bytes[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(bytes)
        },
        |chunk| u128::from_be_bytes(*chunk),
    );
    [(both >> 64) as u64, both as u64]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Off both ends, as made.
    Nowhere,
    Forward,
    Backward,
    /// Off the far end.
    After,
    /// Off the near end.
    Before,
}

/// Greater than every key: seeking it leaves a cursor off its far end, wherever it was.
static BEYOND: [u8; WriteBatch::KEY_BYTES_MAX + 1] = [0xFF; WriteBatch::KEY_BYTES_MAX + 1];

impl<C: EntryCursor> Child<C> {
    /// Copies the present key; whether there is one.
    #[inline]
    fn refresh(&mut self) -> bool {
        let Some(entry) = self.cursor.entry() else { return false };
        self.key.clear();
        self.key.extend_from_slice(entry.key);
        self.seqno = entry.seqno;
        self.head = head(entry.key);
        true
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.head
            .cmp(&other.head)
            .then_with(|| self.key.cmp(&other.key))
            .then_with(|| other.seqno.cmp(&self.seqno))
    }
}

impl<C: EntryCursor> MergeCursor<C> {
    pub(crate) fn new(cursors: impl IntoIterator<Item = C>) -> Self {
        let child = |cursor| Child { cursor, head: [0; 2], key: Vec::new(), seqno: SeqNo::ZERO };
        Self {
            children: cursors.into_iter().map(child).collect(),
            heap: Vec::new(),
            direction: Direction::Nowhere,
        }
    }

    /// The children, for what they counted.
    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.children.iter_mut().map(|child| &mut child.cursor)
    }

    /// Goes to the last entry whose user key is below `key`.
    pub(crate) fn seek_before(&mut self, key: &[u8]) -> Result<bool> {
        self.rebuild(Direction::Backward, |_, cursor| {
            cursor.seek(key, SeqNo::MAX)?;
            cursor.prev()
        })
    }

    /// Goes to the last entry.
    pub(crate) fn seek_last(&mut self) -> Result<bool> {
        self.rebuild(Direction::Backward, |_, cursor| {
            cursor.seek(&BEYOND, SeqNo::ZERO)?;
            cursor.prev()
        })
    }

    /// In the present direction, every child that stands on a version of `key` before `(key, seqno)` goes to the child's first entry
    /// at or after that in internal order. `key` is the key of the present entry; backward, that entry is at or behind
    /// `(key, seqno)`, so that no child leaves the key.
    pub(crate) fn skip_to(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        let passed = match self.direction {
            Direction::Forward => Ordering::Greater,
            _ => Ordering::Less,
        };
        let is_passed = |at: SeqNo| at.cmp(&seqno) == passed;
        self.skip(key, is_passed, |cursor| cursor.seek(key, seqno))
    }

    /// Backward, every child that stands on a version of `key` goes to its last entry before them. `key` is the key of the present
    /// entry.
    pub(crate) fn skip_before(&mut self, key: &[u8]) -> Result<bool> {
        debug_assert_eq!(self.direction, Direction::Backward);
        self.skip(
            key,
            |_| true,
            |cursor| {
                cursor.seek(key, SeqNo::MAX)?;
                cursor.prev()
            },
        )
    }

    /// Moves the children that stand on a version of `key` that `is_passed` with `go`.
    fn skip(
        &mut self,
        key: &[u8],
        is_passed: impl Fn(SeqNo) -> bool,
        mut go: impl FnMut(&mut C) -> Result<bool>,
    ) -> Result<bool> {
        // What fails midway leaves no position.
        let mut heap = std::mem::take(&mut self.heap);
        let direction = std::mem::replace(&mut self.direction, Direction::Nowhere);
        let mut outcome = Ok(());
        heap.retain(|n| {
            let child = &mut self.children[*n as usize];
            if outcome.is_err() || !is_passed(child.seqno) || child.key != key {
                return true;
            }
            match go(&mut child.cursor) {
                Ok(moved) => moved && child.refresh(),
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            }
        });
        outcome?;
        (self.heap, self.direction) = (heap, direction);
        Ok(self.heapify())
    }

    /// Whether child `a` comes before child `b` in the present direction.
    #[inline]
    fn leads(&self, a: u32, b: u32) -> bool {
        let order = self.children[a as usize].order(&self.children[b as usize]);
        order
            == if self.direction == Direction::Forward { Ordering::Less } else { Ordering::Greater }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let takes_right =
                right < self.heap.len() && self.leads(self.heap[right], self.heap[left]);
            let child = if takes_right { right } else { left };
            if !self.leads(self.heap[child], self.heap[at]) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Moves every child with `go` and makes the heap of `direction`.
    fn rebuild(
        &mut self,
        direction: Direction,
        mut go: impl FnMut(usize, &mut C) -> Result<bool>,
    ) -> Result<bool> {
        self.heap.clear();
        self.direction = Direction::Nowhere;
        for (n, child) in self.children.iter_mut().enumerate() {
            if go(n, &mut child.cursor)? && child.refresh() {
                self.heap.push(n as u32);
            }
        }
        self.direction = direction;
        Ok(self.heapify())
    }

    /// Makes a heap of what is in it; whether there is an entry.
    fn heapify(&mut self) -> bool {
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        self.settle()
    }

    /// Takes note of an empty heap; whether there is an entry.
    fn settle(&mut self) -> bool {
        if self.heap.is_empty() {
            self.direction = match self.direction {
                Direction::Forward => Direction::After,
                Direction::Backward => Direction::Before,
                other => other,
            };
        }
        !self.heap.is_empty()
    }

    /// Moves the top child on in the present direction.
    fn step(&mut self) -> Result<bool> {
        let top = self.heap[0] as usize;
        let child = &mut self.children[top];
        let moved = match self.direction {
            Direction::Forward => child.cursor.next(),
            _ => child.cursor.prev(),
        };
        let moved = moved.inspect_err(|_| {
            self.heap.clear();
            self.direction = Direction::Nowhere;
        })?;
        if !(moved && self.children[top].refresh()) {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(self.settle())
    }

    /// The key and sequence number of the entry at the position, copied, and its child.
    fn present(&self) -> (Vec<u8>, SeqNo, usize) {
        let top = self.heap[0] as usize;
        let child = &self.children[top];
        (child.key.clone(), child.seqno, top)
    }
}

impl<C: EntryCursor> EntryCursor for MergeCursor<C> {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        self.rebuild(Direction::Forward, |_, cursor| cursor.seek(key, seqno))
    }

    #[inline]
    fn next(&mut self) -> Result<bool> {
        match self.direction {
            Direction::Forward => self.step(),
            Direction::After => Ok(false),
            Direction::Nowhere | Direction::Before => {
                self.rebuild(Direction::Forward, |_, cursor| cursor.seek(&[], SeqNo::MAX))
            }
            Direction::Backward => {
                let (key, seqno, top) = self.present();
                self.rebuild(Direction::Forward, |n, cursor| {
                    if n == top { cursor.next() } else { cursor.seek(&key, seqno) }
                })
            }
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match self.direction {
            Direction::Backward => self.step(),
            Direction::Before => Ok(false),
            Direction::Nowhere | Direction::After => self.seek_last(),
            Direction::Forward => {
                let (key, seqno, top) = self.present();
                self.rebuild(Direction::Backward, |n, cursor| {
                    if n != top {
                        cursor.seek(&key, seqno)?;
                    }
                    cursor.prev()
                })
            }
        }
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let top = *self.heap.first()?;
        self.children[top as usize].cursor.entry()
    }
}

#[cfg(test)]
mod tests;
