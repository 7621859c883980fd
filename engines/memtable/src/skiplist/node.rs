//! A node: its links, then its record, in one piece of memory.
//!
//! An address of a node is that of its record. The link of level `i` lies `i + 1` words before it, so that
//! the link which is read most is beside the key, and no node needs to know how high it is.
//!
//! Whoever calls the unsafe functions here keeps two promises: the arena lives long enough, and a link is
//! only touched on a level that the tower has. The second one is kept by a rule: a node is reached on
//! level `i` only through links of level `i`, and only nodes whose towers have that level are linked there.

use crate::record::{Arena, Record};
use nori_kv::{EntryRef, SeqNo};
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Enough for 2^20 entries, and not too few for many more.
pub(super) const TOWER_MAX: usize = 20;

type Link = AtomicPtr<u8>;

/// Bytes of the links of a tower.
pub(super) fn tower_bytes(height: usize) -> usize {
    height * size_of::<Link>()
}

/// The tower before all nodes; it has no record.
///
/// Invariant: `TOWER_MAX` links end where this points to.
pub(super) struct Head(NonNull<u8>);

// SAFETY: the links behind it are atomic.
unsafe impl Send for Head {}
// SAFETY: as above.
unsafe impl Sync for Head {}

impl Head {
    /// A tower of null links in `arena`.
    pub(super) fn new(arena: &mut Arena) -> Self {
        let bytes = tower_bytes(TOWER_MAX);
        let memory = arena.reserve(bytes);
        for level in 0..TOWER_MAX {
            // SAFETY: the links are inside the memory that was reserved, and aligned as it is.
            unsafe { memory.cast::<Link>().add(level).write(Link::default()) };
        }
        // SAFETY: just behind what was reserved.
        Self(unsafe { memory.add(bytes) })
    }

    /// # Safety
    /// The arena must outlive `'t`, and the answer's record must not be asked for.
    #[inline]
    pub(super) unsafe fn node<'t>(&self) -> NodeRef<'t> {
        NodeRef { at: self.0, list: PhantomData }
    }
}

/// A node of a list that lives for `'t`, or its head.
///
/// Invariant: `at` points to where a tower ends; there a whole record begins, but for the head. A
/// node that is linked in was written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeRef<'t> {
    at: NonNull<u8>,
    list: PhantomData<&'t Link>,
}

impl<'t> NodeRef<'t> {
    /// Writes a node whose links are null.
    ///
    /// # Safety
    /// `memory` is `tower_bytes(height) + Record::bytes_of(entry)` fresh bytes at a multiple of 8,
    /// in an arena that outlives `'t`, and `1 <= height`.
    pub(super) unsafe fn new(memory: NonNull<u8>, height: usize, entry: EntryRef<'_>) -> Self {
        for level in 0..height {
            // SAFETY: the caller gave room for so many links.
            unsafe { memory.cast::<Link>().add(level).write(Link::default()) };
        }
        // SAFETY: behind the links the caller gave room for the record.
        let at = unsafe {
            let at = memory.add(tower_bytes(height));
            Record::write(at, entry);
            at
        };
        Self { at, list: PhantomData }
    }

    /// # Safety
    /// The tower has the level.
    #[inline(always)]
    unsafe fn link(self, level: usize) -> &'t Link {
        // SAFETY: the invariant of `NodeRef`; the caller says that the link is there.
        unsafe { self.at.cast::<Link>().sub(level + 1).as_ref() }
    }

    /// The next node on a level.
    ///
    /// # Safety
    /// The tower has the level: this is the head, or was reached on that level or above.
    #[inline(always)]
    pub(super) unsafe fn next(self, level: usize) -> Option<Self> {
        // SAFETY: as the caller says. The load acquires what the swap that made the link released.
        let at = NonNull::new(unsafe { self.link(level) }.load(Acquire))?;
        Some(Self { at, list: PhantomData })
    }

    /// Starts to fetch the next node on a level: its links of the low levels, and its record.
    ///
    /// # Safety
    /// As for `next`.
    #[inline(always)]
    pub(super) unsafe fn prefetch_next(self, level: usize) {
        // SAFETY: as the caller says. Only the address is used.
        let at = unsafe { self.link(level) }.load(Relaxed);
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = |offset| at.wrapping_offset(offset).cast::<i8>();
            // SAFETY: a prefetch is harmless at any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(line(-16));
                _mm_prefetch::<_MM_HINT_T0>(line(39));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _no_stable_prefetch_here = at;
    }

    /// Links this node in between two neighbours; false if they are none any more.
    ///
    /// # Safety
    /// Both this tower and that of `before` have the level, and this node is not linked there yet.
    pub(super) unsafe fn link_between(
        self,
        level: usize,
        before: Self,
        after: Option<Self>,
    ) -> bool {
        let after = after.map_or(std::ptr::null_mut(), |after| after.at.as_ptr());
        // SAFETY: as the caller says.
        let (own, before) = unsafe { (self.link(level), before.link(level)) };
        // Nobody can read this link before the swap below releases it.
        own.store(after, Relaxed);
        before.compare_exchange(after, self.at.as_ptr(), Release, Relaxed).is_ok()
    }

    /// Where the node is in internal order, seen from `(key, seqno)`. Not for the head.
    #[inline(always)]
    pub(super) fn cmp_position(self, key: &[u8], seqno: SeqNo) -> Ordering {
        // SAFETY: the arena lives for `'t`.
        unsafe { self.record().cmp_position(key, seqno) }
    }

    /// The record. Not for the head.
    #[inline(always)]
    pub(super) fn record(self) -> Record {
        // SAFETY: a whole record begins here.
        unsafe { Record::from_ptr(self.at.as_ptr()) }.expect("not null")
    }
}
