//! Nodes: two arrays under a version, and for inner nodes a third of children.
//!
//! Every field that can change is atomic, because readers read while the writer writes; what they read
//! then is discarded when the version turns out to have changed. The protocol of the version is that
//! of a seqlock: the writer makes it odd, a release fence, relaxed stores, then even with release; a
//! reader loads it with acquire, relaxed loads, an acquire fence, then loads it again. Addresses are
//! stored with release and loaded with acquire in addition, because what they point to is read before
//! the version is checked.

use crate::record::Record;
use nori_kv::SeqNo;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

/// Records in a leaf, separators in an inner node.
pub(super) const CAPACITY: usize = 64;

/// A reader met a node that changed, and starts again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'k> {
    pub(super) key: &'k [u8],
    pub(super) seqno: SeqNo,
}

/// A leaf, or the first part of an inner node. All zeros are an empty leaf.
#[repr(C, align(64))]
pub(super) struct Keys {
    /// Odd while the writer changes the node.
    version: AtomicU64,
    /// `count <= CAPACITY`
    count: AtomicU32,
    /// Leading bytes that all keys of the node share, and that are left out of `prefixes`.
    skip: AtomicU32,
    /// 0 for leaves; never changes once the node is in the tree.
    level: AtomicU32,
    /// Every record below the node is at or after `low` (null: no bound) and before `high`.
    low: AtomicPtr<u8>,
    high: AtomicPtr<u8>,
    /// Eight bytes of each key after the first `skip`, as big-endian numbers, short keys padded
    /// with zeros: `prefixes[i] <= prefixes[i + 1]` for `i + 1 < count`.
    prefixes: [AtomicU64; CAPACITY],
    /// The records in internal order; in an inner node, the first record below `children[i + 1]`.
    records: [AtomicPtr<u8>; CAPACITY],
}

/// An inner node. `children[i]` is below `records[i]`, `children[i + 1]` at or after it.
#[repr(C, align(64))]
struct Inner {
    keys: Keys,
    children: [AtomicPtr<Keys>; CAPACITY + 1],
}

/// The memory of all nodes of a tree, freed together.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    leaves: Vec<NonNull<u8>>,
    inners: Vec<NonNull<u8>>,
}

// SAFETY: the pointers are to memory that `Nodes` owns.
unsafe impl Send for Nodes {}

const LEAF: Layout = Layout::new::<Keys>();
const INNER: Layout = Layout::new::<Inner>();

impl Nodes {
    /// Bytes of all nodes.
    pub(super) fn bytes(&self) -> u64 {
        (self.leaves.len() * LEAF.size() + self.inners.len() * INNER.size()) as u64
    }

    /// A new empty leaf.
    pub(super) fn leaf<'t>(&mut self) -> NodeRef<'t> {
        let node = allocate(LEAF);
        self.leaves.push(node);
        NodeRef { ptr: node.cast(), lifetime: PhantomData }
    }

    /// A new inner node with one child.
    pub(super) fn inner<'t>(&mut self, level: u32, only: NodeRef<'t>) -> NodeRef<'t> {
        let node = allocate(INNER);
        self.inners.push(node);
        let node = NodeRef { ptr: node.cast(), lifetime: PhantomData };
        node.keys().level.store(level, Relaxed);
        node.children()[0].store(only.as_ptr(), Release);
        node
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (nodes, layout) in [(&self.leaves, LEAF), (&self.inners, INNER)] {
            for node in nodes {
                // SAFETY: allocated with this layout by `allocate`, and freed only here.
                unsafe { dealloc(node.as_ptr(), layout) };
            }
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: nodes are not of size zero. Zeros are a valid value of every field.
    let node = unsafe { alloc_zeroed(layout) };
    NonNull::new(node).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A node of a tree that lives for `'t`.
///
/// Invariant: `ptr` came from `Nodes`; if the level is above 0, it is the start of an `Inner`.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeRef<'t> {
    ptr: NonNull<Keys>,
    lifetime: PhantomData<&'t Keys>,
}

impl<'t> NodeRef<'t> {
    /// # Safety
    /// `ptr` is null or from `as_ptr` of a node of a tree that lives for `'t`.
    #[inline]
    pub(super) unsafe fn from_ptr(ptr: *mut Keys) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, lifetime: PhantomData })
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut Keys {
        self.ptr.as_ptr()
    }

    #[inline]
    fn keys(self) -> &'t Keys {
        // SAFETY: the invariant of `NodeRef`.
        unsafe { self.ptr.as_ref() }
    }

    #[inline]
    fn children(self) -> &'t [AtomicPtr<Keys>; CAPACITY + 1] {
        assert!(!self.is_leaf());
        // SAFETY: a node above level 0 was allocated as an `Inner`, and `ptr` is to all of it.
        unsafe { &self.ptr.cast::<Inner>().as_ref().children }
    }

    #[inline]
    pub(super) fn level(self) -> u32 {
        self.keys().level.load(Relaxed)
    }

    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.level() == 0
    }

    /// Records or separators; at most `CAPACITY` also while the node changes.
    #[inline]
    pub(super) fn count(self) -> usize {
        (self.keys().count.load(Relaxed) as usize).min(CAPACITY)
    }

    /// The version to validate what is read from now on.
    #[inline]
    pub(super) fn version(self) -> Result<u64, Moved> {
        let version = self.keys().version.load(Acquire);
        if version & 1 == 0 { Ok(version) } else { Err(Moved) }
    }

    /// Whether everything read since `version` was noted belongs together.
    #[inline]
    pub(super) fn validate(self, version: u64) -> Result<(), Moved> {
        fence(Acquire);
        if self.keys().version.load(Relaxed) == version { Ok(()) } else { Err(Moved) }
    }

    #[inline]
    pub(super) fn record(self, at: usize) -> Result<Record, Moved> {
        // SAFETY: only addresses of records are stored, and null where there is none yet.
        unsafe { Record::from_ptr(self.keys().records[at].load(Acquire)) }.ok_or(Moved)
    }

    #[inline]
    pub(super) fn child(self, at: usize) -> Result<Self, Moved> {
        // SAFETY: only addresses of nodes of this tree are stored, and null where there is none yet.
        unsafe { Self::from_ptr(self.children()[at].load(Acquire)) }.ok_or(Moved)
    }

    /// The first record after the node, if anything is.
    pub(super) fn high(self) -> Option<Record> {
        // SAFETY: only addresses of records are stored, or null.
        unsafe { Record::from_ptr(self.keys().high.load(Acquire)) }
    }

    fn low(self) -> Option<Record> {
        // SAFETY: only addresses of records are stored, or null.
        unsafe { Record::from_ptr(self.keys().low.load(Acquire)) }
    }

    /// The number of records before `sought`; with `inclusive`, at or before it.
    ///
    /// Correct if the node does not change meanwhile and `sought` lies between its fences.
    #[inline]
    pub(super) fn rank(self, sought: &Sought<'_>, inclusive: bool) -> Result<usize, Moved> {
        let keys = self.keys();
        let count = self.count();
        let prefix = prefix_of(sought.key, keys.skip.load(Relaxed) as usize);
        let below = first_at_least(&keys.prefixes[..count], prefix);
        if below == count || keys.prefixes[below].load(Relaxed) != prefix {
            return Ok(below);
        }
        // The prefixes are equal from here on for a while: the records decide.
        let (mut low, mut high) = (below, count);
        if let Some(beyond) = prefix.checked_add(1) {
            high = below + first_at_least(&keys.prefixes[below..count], beyond);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            // SAFETY: the tree, and so its arena, lives for `'t`.
            let order = unsafe { self.record(middle)?.cmp_position(sought.key, sought.seqno) };
            if order == Ordering::Less || (inclusive && order == Ordering::Equal) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Asks the processor to load what `rank` will look at.
    #[inline]
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..=(CAPACITY * 8 / 64) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch is harmless at any address, and these are inside the node.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.as_ptr().cast::<i8>().add(line * 64)) };
        }
    }
}

/// What the writer does.
impl<'t> NodeRef<'t> {
    /// Where a child for `sought` is, for the writer.
    pub(super) fn own_rank(self, sought: &Sought<'_>) -> usize {
        self.rank(sought, true).unwrap_or_else(|Moved| unreachable!("the writer is alone"))
    }

    pub(super) fn own_child(self, at: usize) -> Self {
        self.child(at).unwrap_or_else(|Moved| unreachable!("the writer is alone"))
    }

    fn own_record(self, at: usize) -> Record {
        self.record(at).unwrap_or_else(|Moved| unreachable!("the writer is alone"))
    }

    /// Makes readers wait or start again until `unlock`.
    fn lock(self) {
        let version = &self.keys().version;
        let before = version.load(Relaxed);
        debug_assert!(before & 1 == 0);
        version.store(before + 1, Relaxed);
        fence(Release);
    }

    fn unlock(self) {
        let version = &self.keys().version;
        version.store(version.load(Relaxed) + 1, Release);
    }

    /// Adds a record to a leaf that has room.
    pub(super) fn insert(self, sought: &Sought<'_>, record: Record) {
        let at = self.own_rank(&Sought { key: sought.key, seqno: sought.seqno });
        self.lock();
        self.open_gap(at);
        self.set(at, prefix_of(sought.key, self.skip()), record);
        self.unlock();
    }

    fn skip(self) -> usize {
        self.keys().skip.load(Relaxed) as usize
    }

    fn set(self, at: usize, prefix: u64, record: Record) {
        self.keys().prefixes[at].store(prefix, Relaxed);
        self.keys().records[at].store(record.as_ptr(), Release);
    }

    fn set_count(self, count: usize) {
        assert!(count <= CAPACITY);
        self.keys().count.store(count as u32, Relaxed);
    }

    /// Moves the records from `at` on by one. The node is locked.
    fn open_gap(self, at: usize) {
        let (keys, count) = (self.keys(), self.count());
        self.set_count(count + 1);
        for i in (at..count).rev() {
            keys.prefixes[i + 1].store(keys.prefixes[i].load(Relaxed), Relaxed);
        }
        for i in (at..count).rev() {
            keys.records[i + 1].store(keys.records[i].load(Relaxed), Release);
        }
    }

    /// Sets the fences, and with them what all keys share. The prefixes of the first `count` records
    /// are made anew if that changed. The node is locked or not in the tree yet.
    fn set_fences(self, low: Option<Record>, high: Option<Record>) {
        let keys = self.keys();
        let as_ptr = |record: Option<Record>| record.map_or(std::ptr::null_mut(), Record::as_ptr);
        keys.low.store(as_ptr(low), Release);
        keys.high.store(as_ptr(high), Release);
        let skip = match (low, high) {
            // SAFETY: the arena lives as long as the tree.
            (Some(low), Some(high)) => unsafe { shared(low.position().0, high.position().0) },
            _ => 0,
        };
        if skip == self.skip() {
            return;
        }
        keys.skip.store(skip as u32, Relaxed);
        for at in 0..self.count() {
            self.set(at, self.prefix_anew(self.own_record(at)), self.own_record(at));
        }
    }

    fn prefix_anew(self, record: Record) -> u64 {
        // SAFETY: the arena lives as long as the tree.
        prefix_of(unsafe { record.position() }.0, self.skip())
    }
}

/// Splits the full node `child`, which is `parent`'s child at `at`, to make room for `sought`; `parent`
/// has room. Answers with the new separator: what is at or after it is now in the child at `at + 1`.
pub(super) fn split<'t>(
    nodes: &mut Nodes,
    parent: NodeRef<'t>,
    at: usize,
    child: NodeRef<'t>,
    sought: &Sought<'_>,
) -> Record {
    let keep = split_point(child, sought);
    let separator = child.own_record(keep);
    let right = if child.is_leaf() {
        let right = nodes.leaf();
        fill(right, child, keep);
        right
    } else {
        // The separator goes up: the child behind it becomes the first one on the right.
        let right = nodes.inner(child.level(), child.own_child(keep + 1));
        fill(right, child, keep + 1);
        for from in keep + 2..=CAPACITY {
            let grandchild = child.own_child(from).as_ptr();
            right.children()[from - keep - 1].store(grandchild, Release);
        }
        right
    };
    right.keys().skip.store(child.skip() as u32, Relaxed);
    right.set_fences(Some(separator), child.high());

    parent.lock();
    child.lock();
    let count = parent.count();
    parent.open_gap(at);
    parent.set(at, parent.prefix_anew(separator), separator);
    let children = parent.children();
    for i in (at + 1..=count).rev() {
        children[i + 1].store(children[i].load(Relaxed), Release);
    }
    children[at + 1].store(right.as_ptr(), Release);
    child.set_count(keep);
    child.set_fences(child.low(), Some(separator));
    child.unlock();
    parent.unlock();
    separator
}

/// Copies the records of the full node `from`, beginning with `first`, to the empty node `to`.
fn fill(to: NodeRef<'_>, from: NodeRef<'_>, first: usize) {
    for at in first..CAPACITY {
        to.set(at - first, from.keys().prefixes[at].load(Relaxed), from.own_record(at));
    }
    to.set_count(CAPACITY - first);
}

/// How many records stay on the left: half, but all except one where keys come in ascending order, so
/// that such loads leave full nodes behind.
fn split_point(child: NodeRef<'_>, sought: &Sought<'_>) -> usize {
    let last = child.own_record(CAPACITY - 1);
    // SAFETY: the arena lives as long as the tree.
    let comes_last = unsafe { last.cmp_position(sought.key, sought.seqno) } == Ordering::Less;
    if comes_last && child.high().is_none() { CAPACITY - 1 } else { CAPACITY / 2 }
}

/// The first place in the ascending `prefixes` that is at least `prefix`, without branches that depend
/// on the data: a search mispredicts half of those.
#[inline]
fn first_at_least(prefixes: &[AtomicU64], prefix: u64) -> usize {
    let (mut base, mut size) = (0, prefixes.len());
    if size == 0 {
        return 0;
    }
    while size > 1 {
        let half = size / 2;
        base += half * usize::from(prefixes[base + half - 1].load(Relaxed) < prefix);
        size -= half;
    }
    base + usize::from(prefixes[base].load(Relaxed) < prefix)
}

/// Eight bytes of `key` after the first `skip`, so that their order as numbers is their order as bytes.
#[inline]
fn prefix_of(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(eight) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(eight)
}

/// The number of leading bytes that `a` and `b` share.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
impl NodeRef<'_> {
    /// Panics unless everything that the fields promise holds.
    pub(super) fn assert_invariants(self) {
        let count = self.count();
        assert_eq!(self.keys().version.load(Relaxed) & 1, 0);
        let records: Vec<Record> = (0..count).map(|at| self.own_record(at)).collect();
        let before = |a: Record, b: Record| {
            // SAFETY: the tree of the test is alive.
            let (key, seqno) = unsafe { b.position() };
            // SAFETY: as above.
            unsafe { a.cmp_position(key, seqno) == Ordering::Less }
        };
        assert!(records.windows(2).all(|pair| before(pair[0], pair[1])));
        for (at, record) in records.iter().enumerate() {
            assert_eq!(self.keys().prefixes[at].load(Relaxed), self.prefix_anew(*record));
            assert!(self.low().is_none_or(|low| !before(*record, low)));
            assert!(self.high().is_none_or(|high| before(*record, high)));
        }
        if !self.is_leaf() {
            for at in 0..=count {
                let child = self.own_child(at);
                assert_eq!(child.level() + 1, self.level());
                let low = if at == 0 { self.low() } else { Some(records[at - 1]) };
                assert_eq!(
                    (child.low(), child.high()),
                    (low, records.get(at).copied().or(self.high()))
                );
            }
        }
    }

    pub(super) fn distinct_prefixes(self) -> usize {
        let prefixes = self.keys().prefixes[..self.count()].iter().map(|p| p.load(Relaxed));
        prefixes.collect::<std::collections::BTreeSet<u64>>().len()
    }
}
