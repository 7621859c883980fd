//! An arena skip list with inlined keys: many writers at once, readers that take no lock.
//!
//! A node is one allocation: a tower of links, then the record (`node.rs`). A comparison therefore
//! touches the cache lines of the node that the search stands before anyway. Half of the towers are one
//! link high, and each height has half as many as the one below. Before a node is compared, the one that a
//! search would look at a level lower is fetched, so that only steps along a level wait for memory; of
//! those a half makes fewer than the quarter that is usual.
//!
//! **Inserting:**
//!
//! 1. Draw a height and take memory, under a mutex that is held for some ten nanoseconds; then copy the
//!    entry without it.
//! 2. Go down from the head; on each level remember the last node before the entry and the one after.
//! 3. From level 0 upwards: point the new link to the node after, then swap the link of the node before
//!    from that one to the new node (compare and swap). If another insert came between, step on
//!    along the level to the new neighbours and try again.
//!
//! Once level 0 is linked the entry is there; the levels above only make the way to it shorter. Nothing is
//! ever unlinked or freed before the list is dropped, so neither side needs epochs or counts, and a node
//! that was before the entry stays before it.
//!
//! **Reading:** go down from the head with acquire loads. The swap of step 3 releases the record and all
//! links that the new node has up to that level, so whoever sees a link sees what is behind it.
//!
//! Stepping backwards has no links of its own: a search stops some levels above the ground, and what
//! lies between that node and the place is read forwards.

#![expect(unsafe_code, reason = "nodes are shared with writers; measured against the safe kinds")]

mod node;

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::record::{Arena, Record};
use node::{Head, NodeRef, TOWER_MAX};
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Records a cursor takes at a time: enough to make the search for the first of them cheap.
const NEAR: usize = 64;
/// The level from whose node a backward step reads forwards: 2^6 = 64 records on average.
const BACK_LEVEL: usize = 6;

/// The memtable `skiplist`.
pub struct SkipListMemtable {
    /// Before all nodes. Its tower is in `writer.arena`.
    head: Head,
    /// The highest tower: `1 <= height <= TOWER_MAX`. It only grows; a reader that sees an old value
    /// starts lower and takes a longer way.
    height: AtomicUsize,
    writer: OwnLine<Mutex<Writer>>,
    /// As in `writer`, for those who do not hold it.
    bytes: AtomicU64,
    len: AtomicU64,
    is_sealed: AtomicBool,
}

/// A cache line of its own: from here on fields change with every insert, and would take the line away
/// from all readers.
#[repr(align(64))]
struct OwnLine<T>(T);

/// What writers take in turn.
struct Writer {
    arena: Arena,
    /// SplitMix64, the source of heights: they must not depend on the keys.
    random: u64,
}

impl Default for SkipListMemtable {
    fn default() -> Self {
        let mut arena = Arena::default();
        let head = Head::new(&mut arena);
        let bytes = AtomicU64::new(arena.used_bytes());
        Self {
            head,
            height: AtomicUsize::new(1),
            writer: OwnLine(Mutex::new(Writer { arena, random: 0 })),
            bytes,
            len: AtomicU64::new(0),
            is_sealed: AtomicBool::new(false),
        }
    }
}

impl fmt::Debug for SkipListMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkipListMemtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Writer {
    /// The height of the next tower: `1 <= height <= TOWER_MAX`.
    fn draw_height(&mut self) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let zeros = (z ^ (z >> 31)).trailing_zeros() as usize;
        (1 + zeros).min(TOWER_MAX)
    }
}

/// A place to look for: before the first record at `(key, seqno)`, or after it if `beyond`.
#[derive(Clone, Copy)]
struct Sought<'k> {
    key: &'k [u8],
    seqno: SeqNo,
    beyond: bool,
}

impl Sought<'_> {
    #[inline(always)]
    fn is_after(&self, node: NodeRef<'_>) -> bool {
        let order = node.cmp_position(self.key, self.seqno);
        if self.beyond { order.is_le() } else { order.is_lt() }
    }
}

impl SkipListMemtable {
    fn head(&self) -> NodeRef<'_> {
        // SAFETY: the arena of the head is in `self`.
        unsafe { self.head.node() }
    }

    /// The last node before `sought` on `level`, from `at` on, and the one after it. `after` is a
    /// node known not to be before `sought`, which saves its comparison.
    #[inline(always)]
    fn step<'t>(
        level: usize,
        mut at: NodeRef<'t>,
        after: Option<NodeRef<'t>>,
        sought: &Sought<'_>,
    ) -> (NodeRef<'t>, Option<NodeRef<'t>>) {
        loop {
            // SAFETY: `at` is the head or was reached on `level` or above.
            let Some(next) = (unsafe { at.next(level) }) else { return (at, None) };
            if after == Some(next) {
                return (at, after);
            }
            if level > 0 {
                // Where the search goes if `next` is too far; fetched while `next` is.
                // SAFETY: as above.
                unsafe { at.prefetch_next(level - 1) };
            }
            if !sought.is_after(next) {
                return (at, Some(next));
            }
            at = next;
        }
    }

    /// The first node that is not before `sought`.
    #[inline]
    fn find(&self, sought: &Sought<'_>) -> Option<NodeRef<'_>> {
        let (mut at, mut after) = (self.head(), None);
        for level in (0..self.height.load(Relaxed)).rev() {
            (at, after) = Self::step(level, at, after, sought);
        }
        after
    }

    /// Step 2 and 3 of inserting.
    fn link(&self, node: NodeRef<'_>, height: usize, sought: &Sought<'_>) {
        let mut neighbours = [(self.head(), None); TOWER_MAX];
        let (mut at, mut after) = (self.head(), None);
        for level in (0..self.height.load(Relaxed)).rev() {
            (at, after) = Self::step(level, at, after, sought);
            neighbours[level] = (at, after);
        }
        if height > self.height.load(Relaxed) {
            self.height.fetch_max(height, Relaxed);
        }
        for (level, (mut before, mut after)) in neighbours.into_iter().enumerate().take(height) {
            // SAFETY: the tower of `node` has `height` links, and `before` is the head or was reached on
            // this level.
            while !unsafe { node.link_between(level, before, after) } {
                (before, after) = Self::step(level, before, None, sought);
            }
        }
    }
}

impl Kind for SkipListMemtable {
    const NAME: &'static str = "skiplist";
    const NAME_INDEXED: &'static str = "skiplist+hash";

    fn add(&self, entry: EntryRef<'_>) -> Record {
        assert!(!self.is_sealed.load(Relaxed), "a sealed memtable takes no entries");
        let bytes = Record::bytes_of(entry);
        let (height, memory) = {
            let mut writer = self.writer.0.lock();
            let height = writer.draw_height();
            let memory = writer.arena.reserve(node::tower_bytes(height) + bytes);
            self.bytes.store(writer.arena.used_bytes(), Relaxed);
            self.len.store(self.len.load(Relaxed) + 1, Relaxed);
            (height, memory)
        };
        // SAFETY: the memory is fresh, is of that size, and lives as long as `self`.
        let node = unsafe { NodeRef::new(memory, height, entry) };
        let sought = Sought { key: entry.key, seqno: entry.seqno, beyond: false };
        self.link(node, height, &sought);
        node.record()
    }
}

impl Memtable for SkipListMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        self.add(entry);
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let found = self.find(&Sought { key, seqno: at, beyond: false })?.record();
        // SAFETY: the arena lives as long as `self`.
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
        self.is_sealed.store(true, Relaxed);
    }
}

impl Neighbours for SkipListMemtable {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        let mut at = self.find(&Sought { key, seqno, beyond });
        while let Some(node) = at.filter(|_| out.len() < NEAR) {
            out.push(node.record());
            // SAFETY: every node has a link on level 0.
            at = unsafe { node.next(0) };
        }
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        let sought = position.map(|(key, seqno)| Sought { key, seqno, beyond: false });
        let is_before = |node: NodeRef<'_>| sought.is_none_or(|sought| sought.is_after(node));
        // The node on BACK_LEVEL, or what a search sees after it if there are none between.
        let mut start = self.head();
        for level in (0..self.height.load(Relaxed).max(BACK_LEVEL + 1)).rev() {
            if level < BACK_LEVEL && start != self.head() {
                break;
            }
            // SAFETY: `start` is the head or was reached on this level or above.
            while let Some(next) = unsafe { start.next(level) }.filter(|next| is_before(*next)) {
                start = next;
            }
        }
        let mut at = Some(start);
        while let Some(node) = at.filter(|node| *node == self.head() || is_before(*node)) {
            if node != self.head() {
                out.push(node.record());
            }
            // SAFETY: every node has a link on level 0.
            at = unsafe { node.next(0) };
        }
    }
}

#[cfg(test)]
mod tests;
