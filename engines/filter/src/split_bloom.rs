//! A bloom filter of small blocks, asked without a branch: one bit in each of eight 32-bit lanes.
//!
//! The definition of the bits is that of the split-block bloom filter of Apache Parquet and Impala
//! (after Putze, Sanders, Singler, WEA 2007, and Lang and others, VLDB 2019); the hash is ours, not
//! theirs.
//!
//! 1. The upper 32 bits of the hash choose the block of 256 bits (`upper * blocks / 2^32`).
//! 2. The lower 32 bits are multiplied by eight odd constants. The upper five bits of each product
//!    choose one bit in each lane.
//! 3. To add is to set those bits; to ask is to see whether all are set.
//!
//! A block is half a cache line, and all eight lanes fit one AVX2 register, so this is the fastest kind
//! to ask and to build. The price is memory: blocks fill more unevenly than whole lines do, and 10 bits
//! per key give about 1.28 % false positives.
//!
//! Stored as the blocks, lanes in little-endian order, then the trailer of `stored.rs`.

use crate::stored;
use crate::{Filter, FilterBuilder, FilterContext, FilterError, FilterPolicy};

/// Lanes in a block, and the probes of every key.
const LANES: usize = 8;
const BLOCK_BYTES: usize = LANES * 4;
const TAG: u16 = 0xb15b;
/// The multipliers of the Parquet definition.
const SALTS: [u32; LANES] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];
/// With eight probes whatever the bits, below three bits per key more than half of the absent keys pass.
const BITS_PER_KEY_MIN: f64 = 3.0;

/// The policy `split-bloom`; bits per key come from the budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct SplitBloomPolicy;

impl FilterPolicy for SplitBloomPolicy {
    fn name(&self) -> &'static str {
        "split-bloom"
    }

    fn builder(&self, context: &FilterContext) -> Option<Box<dyn FilterBuilder>> {
        stored::collect(context, BITS_PER_KEY_MIN, |hashes, bits_per_key| {
            let blocks = stored::cells_for(hashes.len(), bits_per_key, BLOCK_BYTES * 8);
            let mut filter = SplitBloom::new(vec![Block::default(); blocks]);
            hashes.iter().for_each(|&hash| filter.insert(hash));
            filter.encode()
        })
    }

    fn open(&self, block: &[u8]) -> Result<Box<dyn Filter>, FilterError> {
        Ok(Box::new(SplitBloom::decode(block)?))
    }
}

/// Half a cache line; `align` keeps it inside of one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct Block([u32; LANES]);

#[derive(Debug)]
struct SplitBloom {
    /// `1 <= blocks.len() <= u32::MAX`
    blocks: Vec<Block>,
    /// Only true if this processor has AVX2.
    asks_avx2: bool,
}

/// The bit of each lane that stands for a hash.
#[inline(always)]
fn key_bits(hash: u64) -> [u32; LANES] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// Whether `block` has all bits of `hash`, without a branch for each lane.
#[inline(always)]
fn holds(block: &Block, hash: u64) -> bool {
    let lanes = block.0.iter().zip(key_bits(hash));
    lanes.fold(0, |missing, (lane, bits)| missing | (bits & !lane)) == 0
}

/// `holds` with all lanes in one register. The compiler would vectorise `holds` itself, but only for a
/// processor that is known when the program is built.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn holds_avx2(block: &Block, hash: u64) -> bool {
    use std::arch::x86_64::{
        __m256i, _mm256_mullo_epi32, _mm256_set_epi32, _mm256_set1_epi32, _mm256_sllv_epi32,
        _mm256_srli_epi32, _mm256_testc_si256,
    };
    #[target_feature(enable = "avx2")]
    fn lanes(values: &[u32; LANES]) -> __m256i {
        let [a, b, c, d, e, f, g, h] = values.map(|value| value as i32);
        _mm256_set_epi32(h, g, f, e, d, c, b, a)
    }
    let products = _mm256_mullo_epi32(_mm256_set1_epi32(hash as i32), lanes(&SALTS));
    let bits = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32::<27>(products));
    _mm256_testc_si256(lanes(&block.0), bits) == 1
}

impl SplitBloom {
    fn new(blocks: Vec<Block>) -> Self {
        assert!((1..=u32::MAX as usize).contains(&blocks.len()));
        #[cfg(target_arch = "x86_64")]
        let asks_avx2 = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let asks_avx2 = false;
        Self { blocks, asks_avx2 }
    }

    #[inline(always)]
    fn block_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    fn insert(&mut self, hash: u64) {
        let at = self.block_of(hash);
        for (lane, bits) in self.blocks[at].0.iter_mut().zip(key_bits(hash)) {
            *lane |= bits;
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = stored::room(self.blocks.len(), BLOCK_BYTES);
        for lane in self.blocks.iter().flat_map(|block| block.0) {
            block.extend_from_slice(&lane.to_le_bytes());
        }
        stored::close(block, self.blocks.len(), LANES as u8, TAG)
    }

    fn decode(block: &[u8]) -> Result<Self, FilterError> {
        let (blocks, probes) = stored::opened::<BLOCK_BYTES>(block, LANES as u8, TAG)?;
        if usize::from(probes) != LANES {
            return Err(FilterError::Damaged { what: "its number of probes is impossible" });
        }
        Ok(Self::new(blocks.iter().map(Block::from_bytes).collect()))
    }
}

impl Block {
    fn from_bytes(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let mut block = Self::default();
        for (lane, bytes) in block.0.iter_mut().zip(bytes.as_chunks().0) {
            *lane = u32::from_le_bytes(*bytes);
        }
        block
    }
}

impl Filter for SplitBloom {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        #[cfg(target_arch = "x86_64")]
        if self.asks_avx2 {
            #[expect(unsafe_code, reason = "the processor is only known at run time")]
            // SAFETY: `asks_avx2` is only set where the processor was asked and has it.
            return unsafe { holds_avx2(block, hash) };
        }
        holds(block, hash)
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        stored::prefetch(&self.blocks[self.block_of(hash)]);
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.capacity() * BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash;
    use crate::stored::testing::{block_of, passes_as_often_as, poisson};

    /// The expected share of false positives: each lane of a block with `n` keys has the asked bit with
    /// `1 - (31 / 32)^n`.
    fn theory(bits_per_key: f64) -> f64 {
        poisson((BLOCK_BYTES * 8) as f64 / bits_per_key)
            .map(|(keys, probability)| probability * (1.0 - (31.0_f64 / 32.0).powi(keys)).powi(8))
            .sum()
    }

    fn filter_of(keys: std::ops::Range<u64>, bits_per_key: f64) -> SplitBloom {
        SplitBloom::decode(&block_of(&SplitBloomPolicy, keys, bits_per_key)).unwrap()
    }

    #[test]
    fn false_positives_are_as_rare_as_theory_says() {
        const KEYS: u64 = 100_000;
        assert!((theory(10.0) - 0.0128).abs() < 0.0002, "the published figure");
        for bits_per_key in [3.0, 5.0, 8.0, 10.0, 12.0, 16.0] {
            let filter = filter_of(0..KEYS, bits_per_key);
            passes_as_often_as(&filter, KEYS, theory(bits_per_key), 0.03);
        }
    }

    #[test]
    fn every_processor_gives_the_same_answers() {
        let with = filter_of(0..5_000, 10.0);
        let without = SplitBloom { asks_avx2: false, blocks: with.blocks.clone() };
        for hash in (0..50_000_u64).map(|key| key_hash(&key.to_be_bytes())) {
            assert_eq!(with.may_contain(hash), without.may_contain(hash));
        }
    }

    #[test]
    fn the_bits_are_those_of_the_published_definition() {
        // Worked out by hand from the definition: the low half is 1, so each product is the salt.
        let bits = key_bits(0xffff_ffff_0000_0001);
        let shifts = [8, 8, 17, 20, 14, 5, 19, 11];
        assert_eq!(bits, shifts.map(|shift: u32| 1 << shift));
        let filter = SplitBloom::new(vec![Block::default(); 10]);
        assert_eq!([0, 1 << 63, u64::MAX].map(|hash| filter.block_of(hash)), [0, 5, 9]);
    }

    #[test]
    fn too_few_bits_make_no_filter() {
        for (bits_per_key, made) in [(2.9, false), (3.0, true)] {
            let context =
                FilterContext { level: 1, is_last_level: true, keys_expected: 1, bits_per_key };
            assert_eq!(SplitBloomPolicy.builder(&context).is_some(), made);
        }
    }

    #[test]
    fn bytes_of_format_v1_never_change() {
        let block = block_of(&SplitBloomPolicy, 0..40, 10.0);
        assert_eq!(block.len(), 2 * BLOCK_BYTES + 8);
        assert_eq!(block[2 * BLOCK_BYTES..], [2, 0, 0, 0, 8, 0, 0x5b, 0xb1]);
        assert_eq!(
            key_hash(&block),
            1_641_628_885_438_771_731,
            "the same keys make other bytes than before"
        );
    }
}
