//! What the bloom filters share: how hashes are collected, and the frame of a stored filter.
//!
//! A stored filter is an array of *cells* of equal size, then a trailer of 8 bytes: the number of
//! cells (u32), probes (u8), zero (u8), a tag (u16) that tells the kinds apart. What a cell is and
//! what its bits mean is the kind's own.

use crate::{FilterBuilder, FilterContext, FilterError};

const TRAILER_BYTES: usize = 8;
/// More is of no use, and a wild setting must not eat the memory.
const BITS_PER_KEY_MAX: f64 = 64.0;

/// A builder that keeps the hashes until the end, because the size depends on how many there are.
struct Collected {
    hashes: Vec<u64>,
    bits_per_key: f64,
    build: Build,
}

/// Makes the block for distinct hashes at so many bits for each.
type Build = fn(&[u64], f64) -> Vec<u8>;

/// A builder of blocks by `build`; `None` if fewer bits than `bits_per_key_min` were granted.
pub(crate) fn collect(
    context: &FilterContext,
    bits_per_key_min: f64,
    build: Build,
) -> Option<Box<dyn FilterBuilder>> {
    if context.bits_per_key.is_nan() || context.bits_per_key < bits_per_key_min {
        return None;
    }
    Some(Box::new(Collected {
        // A wrong guess of the caller must not become a huge allocation.
        hashes: Vec::with_capacity(context.keys_expected.min(1 << 20)),
        bits_per_key: context.bits_per_key.min(BITS_PER_KEY_MAX),
        build,
    }))
}

impl FilterBuilder for Collected {
    fn add_hash(&mut self, hash: u64) {
        if self.hashes.last() != Some(&hash) {
            self.hashes.push(hash);
        }
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        (self.build)(&self.hashes, self.bits_per_key)
    }
}

/// The cells of `cell_bits` bits that `keys` keys get: at least one, and no more than their count
/// has room for.
pub(crate) fn cells_for(keys: usize, bits_per_key: f64, cell_bits: usize) -> usize {
    let cells = (keys as f64 * bits_per_key / cell_bits as f64).ceil();
    // The cast saturates.
    (cells as usize).clamp(1, u32::MAX as usize)
}

/// Appends the trailer to the cells.
pub(crate) fn close(mut block: Vec<u8>, cells: usize, probes: u8, tag: u16) -> Vec<u8> {
    block.extend_from_slice(&(cells as u32).to_le_bytes());
    block.extend_from_slice(&[probes, 0]);
    block.extend_from_slice(&tag.to_le_bytes());
    block
}

/// An empty block with room for `cells` cells of `cell_bytes` and the trailer.
pub(crate) fn room(cells: usize, cell_bytes: usize) -> Vec<u8> {
    Vec::with_capacity(cells * cell_bytes + TRAILER_BYTES)
}

/// The cells of a block, and its probes: at least one cell, `1 <= probes <= probes_max`.
pub(crate) fn opened<const CELL_BYTES: usize>(
    block: &[u8],
    probes_max: u8,
    tag: u16,
) -> Result<(&[[u8; CELL_BYTES]], u8), FilterError> {
    let damaged = |what| FilterError::Damaged { what };
    let Some((body, trailer)) = block.split_last_chunk::<TRAILER_BYTES>() else {
        return Err(damaged("shorter than its trailer"));
    };
    let [c0, c1, c2, c3, probes, zero, t0, t1] = *trailer;
    if u16::from_le_bytes([t0, t1]) != tag || zero != 0 {
        return Err(damaged("it does not end in its tag"));
    }
    if !(1..=probes_max).contains(&probes) {
        return Err(damaged("its number of probes is impossible"));
    }
    let cells = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
    if cells == 0 || cells.checked_mul(CELL_BYTES) != Some(body.len()) {
        return Err(damaged("its length is not that of its cells"));
    }
    Ok((body.as_chunks().0, probes))
}

/// Which of `cells` a hash belongs to: the high bits of the hash decide.
#[inline(always)]
pub(crate) fn cell_of(hash: u64, cells: usize) -> usize {
    ((u128::from(hash) * cells as u128) >> 64) as usize
}

/// Starts to fetch the cache line of `cell` and does not wait.
#[inline(always)]
pub(crate) fn prefetch<T>(cell: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "there is no safe prefetch")]
        // SAFETY: a prefetch of any address is harmless, and this one is a live reference; SSE
        // is part of the x86-64 baseline.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(cell).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _no_stable_prefetch_here = cell;
}

/// What the tests of all kinds do: build through the policy, ask, count.
#[cfg(test)]
pub(crate) mod testing {
    use crate::{Filter, FilterContext, FilterPolicy, key_hash};

    /// The stored filter of these numbers as keys.
    pub(crate) fn block_of(
        policy: &dyn FilterPolicy,
        keys: impl Iterator<Item = u64>,
        bits_per_key: f64,
    ) -> Vec<u8> {
        let context =
            FilterContext { level: 1, is_last_level: false, keys_expected: 0, bits_per_key };
        let mut builder = policy.builder(&context).unwrap();
        keys.for_each(|key| builder.add_hash(key_hash(&key.to_be_bytes())));
        builder.finish()
    }

    /// Panics unless as many of the keys outside of `0..added` pass as `share` says: within four
    /// standard deviations of a count and `slack`, a share of it, for probes that are not independent.
    pub(crate) fn passes_as_often_as(filter: &dyn Filter, added: u64, share: f64, slack: f64) {
        let asked = 400_000;
        let wrong = (added..added + asked)
            .filter(|key| filter.may_contain(key_hash(&key.to_be_bytes())))
            .count() as f64;
        let expected = share * asked as f64;
        let tolerance = 4.0 * expected.sqrt() + slack * expected;
        assert!((wrong - expected).abs() <= tolerance, "{wrong} of {asked}, expected {expected}");
    }

    /// The probability of `0..` keys in a cell if the mean is `mean` (Poisson), until it is nothing.
    pub(crate) fn poisson(mean: f64) -> impl Iterator<Item = (i32, f64)> {
        let mut probability = (-mean).exp();
        (0..2_000).map(move |keys| {
            if keys > 0 {
                probability *= mean / f64::from(keys);
            }
            (keys, probability)
        })
    }
}
