//! A slot for a cached block: a pointer that readers follow while somebody else takes away what it leads to.
//!
//! Its readers are counted in two places (split reference counts: Williams, *C++ Concurrency in Action*, 7.2.4):
//!
//! 1. A slot is one word: the address of its value, and how many readers followed it and have not left by it.
//! 2. A reader adds one to the word and has the address from the same instruction, so no address is ever known to a
//!    reader that is not counted. It leaves by taking one off, as long as the word still has the address.
//! 3. Whoever empties the slot has address and number by one swap. The number goes to the value's own [`Departures`], and
//!    readers who find their address gone from the word take themselves off there. Whoever brings that to zero, the
//!    last reader or the one who emptied the slot, drops the handle that the slot had.
//!
//! A value is put into a slot once in its life, so that an address in the word means one stay from a reader's coming to its
//! leaving.
//!
//! A look costs two atomic instructions, as it does with the crate `arc_swap`. To fill or empty a slot costs two as
//! well; there it costs two and some loads for *every thread of the process*, which a missed block pays twice. What this
//! has to pay is that all readers of one slot write its word.

#[cfg(all(test, nori_loom))]
use loom::sync::atomic::{AtomicIsize, AtomicU64};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{NonNull, with_exposed_provenance};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
#[cfg(not(all(test, nori_loom)))]
use std::sync::atomic::{AtomicIsize, AtomicU64};

/// The lower bits of a word: an address. Those of a process have no more on x86-64 and AArch64, unless it asks for it.
const ADDRESS: u64 = ONE_READER - 1;
/// The upper bits count readers.
const ONE_READER: u64 = 1 << 48;
/// A reader who would be one more is turned away. As many again can be on their way to find out before the count runs over.
const READERS_MAX: u64 = 1 << 15;

/// What a slot can hold: a value that has a place for its departures.
pub(crate) trait Slotted {
    fn departures(&self) -> &Departures;
}

/// Of a value that was taken from its slot: readers that were there then, less those who have left since. Before all of
/// those were added it can be below zero.
pub(crate) struct Departures(AtomicIsize);

impl Departures {
    /// Of a value that was in no slot yet.
    const NEVER_PUT: isize = isize::MIN;

    pub(crate) fn none() -> Self {
        Self(AtomicIsize::new(Self::NEVER_PUT))
    }
}

/// A slot.
///
/// Invariant: an address in `word` is that of an [`Arc`] of which the slot owns one handle, and stays valid until the word's
/// readers and those in the value's departures have left.
pub(crate) struct Slot<T: Slotted> {
    word: AtomicU64,
    holds: PhantomData<Arc<T>>,
}

impl<T: Slotted> Slot<T> {
    pub(crate) fn empty() -> Self {
        Self { word: AtomicU64::new(0), holds: PhantomData }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.word.load(Relaxed) & ADDRESS == 0
    }

    /// What is in it; nothing as well where more readers look at it than it can count.
    #[inline]
    pub(crate) fn get(&self) -> Option<Guard<'_, T>> {
        // A miss writes nothing. A reader of an empty slot may yet be counted below: the next put takes a whole word.
        if self.is_empty() {
            return None;
        }
        let word = self.word.fetch_add(ONE_READER, Acquire);
        let value = NonNull::new(pointer(word))?;
        let guard = Guard { slot: self, value };
        (word / ONE_READER < READERS_MAX).then_some(guard)
    }

    /// Puts `value` in the place of what is in it.
    ///
    /// # Panics
    ///
    /// If the value was in a slot before, or lies beyond 48 bits.
    pub(crate) fn put(&self, value: Arc<T>) {
        let first =
            value.departures().0.compare_exchange(Departures::NEVER_PUT, 0, Relaxed, Relaxed);
        assert!(first.is_ok(), "a value is put into a slot once");
        let address = Arc::into_raw(value).expose_provenance() as u64;
        assert_eq!(address & !ADDRESS, 0, "an address of more than 48 bits");
        self.replace(address);
    }

    /// Empties it.
    pub(crate) fn clear(&self) {
        self.replace(0);
    }

    /// `address` is 0 or that of a handle, which the slot owns from now on.
    #[expect(unsafe_code, reason = "the word and the departures say how long the value lives")]
    fn replace(&self, address: u64) {
        // Acquire: readers who left by the word are done with the value. Release: those who come see what was put.
        let word = self.word.swap(address, AcqRel);
        let Some(value) = NonNull::new(pointer::<T>(word)) else { return };
        let readers = (word / ONE_READER) as isize;
        // SAFETY: the slot's handle is dropped below or by a reader, and none of them does so before `readers` were added.
        let departures = unsafe { &value.as_ref().departures().0 };
        if readers == 0 || departures.fetch_add(readers, AcqRel) + readers == 0 {
            // SAFETY: the address came from `Arc::into_raw` in `put`; the slot's handle is dropped once, for the address was
            // swapped out once, and of the readers it had at that moment none is left.
            drop(unsafe { Arc::from_raw(value.as_ptr()) });
        }
    }
}

fn pointer<T>(word: u64) -> *mut T {
    with_exposed_provenance::<T>((word & ADDRESS) as usize).cast_mut()
}

impl<T: Slotted> Drop for Slot<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A reader of a slot: the value lives as long as this.
pub(crate) struct Guard<'a, T: Slotted> {
    slot: &'a Slot<T>,
    value: NonNull<T>,
}

impl<T: Slotted> Guard<'_, T> {
    /// A handle that does not depend on the slot.
    #[expect(unsafe_code, reason = "the pointer is that of an Arc")]
    pub(crate) fn into_arc(self) -> Arc<T> {
        let value = self.value.as_ptr();
        // SAFETY: the pointer came from `Arc::into_raw`, and until this guard is dropped the slot's handle is not.
        unsafe {
            Arc::increment_strong_count(value);
            Arc::from_raw(value)
        }
    }
}

impl<T: Slotted> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    #[expect(unsafe_code, reason = "the word and the departures say how long the value lives")]
    fn deref(&self) -> &T {
        // SAFETY: this reader is counted in the word or in the departures, so the slot's handle is not dropped.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Slotted> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let mut word = self.slot.word.load(Relaxed);
        // Put once: while the address is there it is this reader's stay, and this reader is in the count.
        while pointer::<T>(word) == self.value.as_ptr() {
            let left = word - ONE_READER;
            match self.slot.word.compare_exchange_weak(word, left, Release, Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
        self.depart();
    }
}

impl<T: Slotted> Guard<'_, T> {
    #[cold]
    #[expect(unsafe_code, reason = "the departures say how long the value lives")]
    fn depart(&self) {
        // Release: this reader is done. Acquire: so are the others when the last drops the value.
        if self.departures().0.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: at zero all readers that the slot had when it was emptied have left, who emptied it did not drop its
            // handle, and nobody else meets zero.
            drop(unsafe { Arc::from_raw(self.value.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests;
