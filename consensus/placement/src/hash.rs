//! From a key to its shard.
//!
//! 1. The key's bytes are hashed by XXH64 with seed 0.
//! 2. Jump consistent hash maps that number onto the shards (Lamping and Veach, "A Fast, Minimal Memory, Consistent
//!    Hash Algorithm", arXiv 1406.2294): a pseudo-random walk over ever larger bucket numbers, drawn from the hash; the
//!    last one below the number of buckets is the answer.
//!
//! Every client computes the same, and `sdks/spec/routing.json` holds all of them to it. Both functions are part of every
//! cluster's data: a change of either makes every stored key unfindable.
//!
//! # Exactness
//!
//! The published walk divides and multiplies doubles, and its roundings decide some keys, so an integer
//! division is *not* the same function. What makes the doubles the same everywhere: every operand is an integer below 2^53 or
//! the result of such an operation, division and multiplication are the correctly rounded ones of IEEE 754 binary64, which Rust
//! prescribes, and Rust never fuses two operations into one. The one kind of target that computes with more digits,
//! x87, is refused at compile time. A test holds the doubles against the same roundings made in integers.

use crate::{ShardCount, ShardId};

#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!("x87 rounds doubles twice: jump hash would send keys to other shards");

/// The multiplier of the published generator, a 64-bit linear congruential one with increment 1.
const MULTIPLIER: u64 = 2_862_933_555_777_941_757;

/// The shard that a key belongs to, in a cluster of so many shards. Every byte string is a key, the empty one too.
#[inline]
pub fn shard_of(key: &[u8], shards: ShardCount) -> ShardId {
    ShardId(jump(xxhash_rust::xxh64::xxh64(key, 0), shards.get()))
}

/// The bucket of a hash, below `buckets`. With one more bucket a hash keeps its bucket or moves to the new one.
/// It takes about `ln(buckets)` steps.
///
/// # Panics
///
/// If there are no buckets.
#[inline]
pub fn jump(hash: u64, buckets: u32) -> u32 {
    assert!(buckets > 0, "a hash needs a bucket to fall into");
    let (mut state, mut bucket, mut next) = (hash, 0, 0);
    while next < u64::from(buckets) {
        bucket = next;
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
        // Below 2^32 * 2^31, so neither conversion loses a bit that matters.
        next = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((state >> 33) + 1) as f64)) as u64;
    }
    // bucket < buckets <= u32::MAX
    bucket as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `numerator / denominator` as a 53-bit number and the count of bits it is shifted to the left by, rounded to
    /// nearest, ties to even: what IEEE 754 prescribes for a quotient.
    fn rounded(numerator: u128, denominator: u128) -> (u128, u32) {
        let mut shift = 0;
        let mut numerator = numerator;
        while numerator / denominator < 1 << 52 {
            (numerator, shift) = (numerator << 1, shift + 1);
        }
        let (mut quotient, rest) = (numerator / denominator, numerator % denominator);
        let half = (2 * rest).cmp(&denominator);
        if half.is_gt() || (half.is_eq() && quotient % 2 == 1) {
            quotient += 1;
        }
        (quotient, shift)
    }

    /// The walk in integers alone, with the roundings of binary64.
    fn jump_in_integers(hash: u64, buckets: u32) -> u32 {
        let (mut state, mut bucket, mut next) = (hash, 0_u128, 0_u128);
        while next < u128::from(buckets) {
            bucket = next;
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
            let (quotient, shift) = rounded(1 << 31, u128::from((state >> 33) + 1));
            let product = (bucket + 1) * quotient;
            // The product has up to 85 bits: rounded to 53 of them, then the bits after the point are cut off.
            let excess = (128 - product.leading_zeros()).saturating_sub(53);
            let (product, _) = rounded(product, 1 << excess);
            next = (product << excess) >> shift;
        }
        bucket as u32
    }

    #[test]
    fn a_key_without_buckets_is_a_mistake_of_the_caller() {
        assert!(std::panic::catch_unwind(|| jump(1, 0)).is_err());
    }

    #[test]
    fn the_ends_of_both_ranges_have_their_known_buckets() {
        assert_eq!(jump(u64::MAX, 100), 92);
        assert_eq!(jump(1 << 63, 100), 84);
        assert_eq!((jump(256, 1024), jump(0xdead_10cc, 666), jump(42, 57)), (520, 361, 43));
        assert!((0..1000).all(|hash| jump(hash, u32::MAX) < u32::MAX));
    }

    #[test]
    fn where_a_quotient_is_whole_the_rounding_of_doubles_decides() {
        // From bucket 48 the draw is 49 * 2^24, so the walk goes to 49 * 2^31 / (49 * 2^24) = 128; doubles make 127 of it.
        let hash = 12_543_377_183_127_370_850;
        assert_eq!((jump(hash, 128), jump_in_integers(hash, 128)), (127, 127));
    }

    #[test]
    fn the_moved_share_is_that_of_the_new_bucket() {
        let keys = 20_000_u64;
        for buckets in [1_u32, 2, 7, 16, 63, 100] {
            let hash = |key: u64| xxhash_rust::xxh64::xxh64(&key.to_le_bytes(), 0);
            let moved = (0..keys)
                .filter(|&key| jump(hash(key), buckets) != jump(hash(key), buckets + 1))
                .count() as f64;
            let share = 1.0 / f64::from(buckets + 1);
            let deviation = (keys as f64 * share * (1.0 - share)).sqrt();
            assert!(
                (moved - keys as f64 * share).abs() <= 5.0 * deviation,
                "{buckets}: {moved} of {keys} moved"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn doubles_and_integers_agree(hash: u64, buckets in 1..=u32::MAX) {
            prop_assert_eq!(jump(hash, buckets), jump_in_integers(hash, buckets));
        }

        #[test]
        fn with_one_more_bucket_a_key_stays_or_moves_to_it(hash: u64, buckets in 1..u32::MAX) {
            for buckets in [buckets, buckets % 1000 + 1] {
                let (before, after) = (jump(hash, buckets), jump(hash, buckets + 1));
                prop_assert!(before < buckets);
                prop_assert!(after == before || after == buckets, "{} then {}", before, after);
            }
        }
    }
}
