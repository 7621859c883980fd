//! Buffers of blocks that went, for blocks to come.
//!
//! A full cache lets one block go for each that it takes. Blocks have sizes for which a general allocator keeps no short
//! list, and asking it costs about as much as reading a block that the operating system has. So each thread keeps
//! the last few buffers that were let go on it.

use bytes::Bytes;
use std::cell::RefCell;

/// Buffers a thread keeps.
const SPARES_MAX: usize = 4;
/// The largest that is kept, in bytes: together less than what any budget would notice.
const SPARE_BYTES_MAX: usize = 32 << 10;
/// Capacities are multiples of this, so that blocks of about the same size fit into each other's buffers.
const GRAIN_BYTES: usize = 256;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory for a block, handed on when it goes.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one with room for `len` bytes, and little more.
    pub(crate) fn with_capacity(len: usize) -> Self {
        let capacity = len.next_multiple_of(GRAIN_BYTES);
        let fits = |spare: &Vec<u8>| (len..=capacity + GRAIN_BYTES).contains(&spare.capacity());
        let spare = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            spares.iter().rposition(fits).map(|n| spares.swap_remove(n))
        });
        Self(spare.ok().flatten().unwrap_or_else(|| Vec::with_capacity(capacity)))
    }

    /// One with these bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.0.extend_from_slice(bytes);
        buffer
    }

    /// Where its bytes are written.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Its bytes, to be shared; whoever drops the last handle keeps the buffer.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() == 0 || bytes.capacity() > SPARE_BYTES_MAX {
            return;
        }
        bytes.clear();
        // A thread that ends has no list any more.
        let _ended = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() == SPARES_MAX {
                spares.swap_remove(0);
            }
            spares.push(bytes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        SPARES.with(|spares| spares.borrow().len())
    }

    #[test]
    fn a_buffer_is_used_again_once_its_last_handle_went() {
        let mut buffer = Buffer::with_capacity(4_100);
        buffer.bytes_mut().extend_from_slice(&[7; 4_100]);
        let place = buffer.as_ref().as_ptr();
        let whole = buffer.share();
        let part = whole.slice(1..3);
        drop(whole);
        assert_eq!(kept(), 0, "a part of it is still read");
        drop(part);
        let again = Buffer::with_capacity(4_200);
        assert_eq!((again.0.as_ptr(), again.0.len()), (place, 0));
    }

    #[test]
    fn few_are_kept_and_no_large_one() {
        drop(Buffer::with_capacity(SPARE_BYTES_MAX + 1));
        assert_eq!(kept(), 0);
        drop((0..20).map(|_| Buffer::with_capacity(100)).collect::<Vec<_>>());
        assert_eq!(kept(), SPARES_MAX);
        let large = Buffer::with_capacity(10_000);
        assert!(large.0.capacity() < 10_000 + 2 * GRAIN_BYTES, "a small block in a large buffer");
        assert_eq!(kept(), SPARES_MAX);
    }
}
