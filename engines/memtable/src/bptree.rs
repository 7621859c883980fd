//! A B+tree in memory: one writer at a time, readers that take no lock.
//!
//! Nodes hold, for each record, eight bytes of its key and its address, in two arrays. The eight
//! bytes are those *after* what all keys of the node have in common, so that almost every comparison
//! is decided without a look at the record. What a node's keys have in common is fixed when
//! the node is made: it lies between two *fences*, the first record at or after its end and the one it
//! started with, and any key between two keys shares what those two share.
//!
//! **Writing** (under a mutex):
//!
//! 1. Copy the entry into the arena.
//! 2. Go down from the root to the leaf; split every full node on the way, so that a split never
//!    has to go up again.
//! 3. Put the record into its place in the leaf.
//!
//! **Reading** (optimistic lock coupling, after Leis and others, DaMoN 2016, for a single writer): each
//! node has a version, odd while the writer changes the node. A reader notes the version of a node, reads
//! it, notes the version of the child, and then makes sure that the first version still stands; if not,
//! it starts again from the root. Nodes and records are never freed before the memtable is dropped, so
//! that a reader on a stale path reads old memory, not foreign memory. After some tries a reader takes
//! the writer's mutex once, so that it never waits for long.
//!
//! Measured against the alternatives in `benches/memtable.rs`.

#![expect(unsafe_code, reason = "nodes are shared with a writer; measured against a locked tree")]

mod node;

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::record::{Arena, Record};
use node::{CAPACITY, Moved, NodeRef, Nodes, Sought};
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// Tries of a reader before it takes the writer's mutex. The writer changes a node for some tens of
/// nanoseconds, unless it loses its processor meanwhile; more tries would only burn the reader's.
const TRIES: usize = 32;

/// The memtable `bptree`.
///
/// Thread safety: `writer` is held by whoever changes nodes. Everything else is read by anyone.
pub struct BpTreeMemtable {
    /// The root. It changes under `writer` only, to a node above the old one.
    root: OwnLine<AtomicPtr<node::Keys>>,
    /// As in `writer`, for those who do not hold it.
    bytes: AtomicU64,
    len: AtomicU64,
    writer: Mutex<Writer>,
}

/// A cache line of its own: the fields after `root` change with every insert, and would take the
/// line away from all readers.
#[repr(align(64))]
struct OwnLine<T>(T);

/// What only the writer touches. Dropped with the memtable, and with it all nodes and records.
struct Writer {
    arena: Arena,
    nodes: Nodes,
    is_sealed: bool,
}

impl fmt::Debug for BpTreeMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BpTreeMemtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for BpTreeMemtable {
    fn default() -> Self {
        let mut nodes = Nodes::default();
        let root = nodes.leaf();
        let bytes = AtomicU64::new(nodes.bytes());
        let writer = Writer { arena: Arena::default(), nodes, is_sealed: false };
        Self {
            root: OwnLine(AtomicPtr::new(root.as_ptr())),
            bytes,
            len: AtomicU64::new(0),
            writer: Mutex::new(writer),
        }
    }
}

impl BpTreeMemtable {
    fn root(&self) -> NodeRef<'_> {
        // SAFETY: the root is a node of `writer.nodes`, which live as long as `self`.
        unsafe { NodeRef::from_ptr(self.root.0.load(Acquire)) }.expect("there is always a root")
    }

    /// Runs a read until no writer disturbed it.
    #[inline]
    fn read<T>(&self, mut attempt: impl FnMut() -> Result<T, Moved>) -> T {
        for _ in 0..TRIES {
            if let Ok(answer) = attempt() {
                return answer;
            }
            std::hint::spin_loop();
        }
        let _nobody_writes = self.writer.lock();
        attempt().unwrap_or_else(|Moved| unreachable!("nobody writes"))
    }

    /// The leaf for `sought` and its version. With `before`, the leaf that holds what comes just before
    /// `sought`, unless `sought` is before everything.
    #[inline]
    fn descend(&self, sought: &Sought<'_>, before: bool) -> Result<(NodeRef<'_>, u64), Moved> {
        let mut node = self.root();
        let mut version = node.version()?;
        if self.root().as_ptr() != node.as_ptr() {
            return Err(Moved); // it was split before its version was noted
        }
        while !node.is_leaf() {
            let child = node.child(node.rank(sought, !before)?)?;
            child.prefetch();
            let child_version = child.version()?;
            node.validate(version)?;
            (node, version) = (child, child_version);
        }
        Ok((node, version))
    }

    /// The last leaf and its version.
    fn descend_last(&self) -> Result<(NodeRef<'_>, u64), Moved> {
        let mut node = self.root();
        let mut version = node.version()?;
        if self.root().as_ptr() != node.as_ptr() {
            return Err(Moved);
        }
        while !node.is_leaf() {
            let child = node.child(node.count())?;
            let child_version = child.version()?;
            node.validate(version)?;
            (node, version) = (child, child_version);
        }
        Ok((node, version))
    }

    fn try_get(&self, key: &[u8], at: SeqNo) -> Result<Option<EntryRef<'_>>, Moved> {
        let mut sought = Sought { key, seqno: at };
        loop {
            let (leaf, version) = self.descend(&sought, false)?;
            let place = leaf.rank(&sought, false)?;
            if place < leaf.count() {
                let record = leaf.record(place)?;
                leaf.validate(version)?;
                // SAFETY: the arena lives as long as `self`.
                let entry = unsafe { record.entry() };
                return Ok((entry.key == key).then_some(entry));
            }
            let high = leaf.high();
            leaf.validate(version)?;
            // Older versions of the key can be in the next leaf, but only if it starts with one.
            // SAFETY: the arena lives as long as `self`.
            let Some((next_key, next_seqno)) = high.map(|record| unsafe { record.position() })
            else {
                return Ok(None);
            };
            if next_key != key {
                return Ok(None);
            }
            sought = Sought { key: next_key, seqno: next_seqno };
        }
    }

    fn try_from(
        &self,
        from: &Sought<'_>,
        beyond: bool,
        out: &mut Vec<Record>,
    ) -> Result<(), Moved> {
        out.clear();
        let (mut leaf, mut version) = self.descend(from, false)?;
        let mut place = leaf.rank(from, beyond)?;
        while place >= leaf.count() {
            let high = leaf.high();
            leaf.validate(version)?;
            let Some(high) = high else { return Ok(()) };
            // SAFETY: the arena lives as long as `self`.
            let (key, seqno) = unsafe { high.position() };
            let next = Sought { key, seqno };
            (leaf, version) = self.descend(&next, false)?;
            place = leaf.rank(&next, false)?;
        }
        for at in place..leaf.count() {
            out.push(leaf.record(at)?);
        }
        leaf.validate(version)
    }

    fn try_before(&self, end: Option<&Sought<'_>>, out: &mut Vec<Record>) -> Result<(), Moved> {
        out.clear();
        let ((leaf, version), count) = match end {
            Some(end) => {
                let found = self.descend(end, true)?;
                let count = found.0.rank(end, false)?;
                (found, count)
            }
            None => {
                let found = self.descend_last()?;
                let count = found.0.count();
                (found, count)
            }
        };
        for at in 0..count {
            out.push(leaf.record(at)?);
        }
        leaf.validate(version)
    }

    /// Puts `record` into the tree. Only the writer calls this.
    fn put(&self, nodes: &mut Nodes, sought: &Sought<'_>, record: Record) {
        let mut node = self.root();
        if node.count() == CAPACITY {
            let above = nodes.inner(node.level() + 1, node);
            self.root.0.store(above.as_ptr(), Release);
            node = above;
        }
        while !node.is_leaf() {
            let mut at = node.own_rank(sought);
            let mut child = node.own_child(at);
            child.prefetch();
            if child.count() == CAPACITY {
                let separator = node::split(nodes, node, at, child, sought);
                // SAFETY: the arena lives as long as `self`.
                if unsafe { separator.cmp_position(sought.key, sought.seqno) }.is_le() {
                    at += 1;
                    child = node.own_child(at);
                }
            }
            node = child;
        }
        node.insert(sought, record);
    }
}

impl Kind for BpTreeMemtable {
    const NAME: &'static str = "bptree";
    const NAME_INDEXED: &'static str = "bptree+hash";

    fn add(&self, entry: EntryRef<'_>) -> Record {
        let mut writer = self.writer.lock();
        let Writer { arena, nodes, is_sealed } = &mut *writer;
        assert!(!*is_sealed, "a sealed memtable takes no entries");
        let record = arena.push(entry);
        let sought = Sought { key: entry.key, seqno: entry.seqno };
        self.put(nodes, &sought, record);
        self.bytes.store(arena.used_bytes() + nodes.bytes(), Relaxed);
        self.len.store(self.len.load(Relaxed) + 1, Relaxed);
        record
    }
}

impl Memtable for BpTreeMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        self.add(entry);
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        self.read(|| self.try_get(key, at))
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
        self.writer.lock().is_sealed = true;
    }
}

impl Neighbours for BpTreeMemtable {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        self.read(|| self.try_from(&Sought { key, seqno }, beyond, out));
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        let end = position.map(|(key, seqno)| Sought { key, seqno });
        self.read(|| self.try_before(end.as_ref(), out));
    }
}

#[cfg(test)]
mod tests;
