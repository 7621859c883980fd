//! The standard bloom filter (Bloom, 1970): the bits of one key lie anywhere in the array.
//!
//! 1. From the hash come a start and a step: the hash itself, and the hash turned by half, made odd.
//! 2. The `i`-th probe is the bit `(start + i * step) * bits / 2^64` (double hashing: Kirsch and
//!    Mitzenmacher, ESA 2006, show that two numbers are as good as one for each probe).
//! 3. To add is to set those bits; to ask is to see whether all are set, and to stop at the first that
//!    is not.
//!
//! It has the fewest false positives a bloom filter can have (0.8 % at 10 bits per key), and up to one
//! cache miss for each probe: about two for a key that is not there, seven for one that is. It is the
//! measure for the kinds that keep a key's bits together.
//!
//! Stored as words of 64 bits in little-endian order, then the trailer of `stored.rs`.

use crate::stored::{self, cell_of};
use crate::{Filter, FilterBuilder, FilterContext, FilterError, FilterPolicy};

const WORD_BITS: usize = 64;
const TAG: u16 = 0xb100;
/// With 30 probes, at 43 bits per key, one key in 10^9 passes wrongly: more only cost time.
const PROBES_MAX: u8 = 30;
/// Below half a bit per key a filter says yes nearly always and only costs memory and time.
const BITS_PER_KEY_MIN: f64 = 0.5;

/// The policy `bloom`; bits per key come from the budget, probes follow from them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BloomPolicy;

impl FilterPolicy for BloomPolicy {
    fn name(&self) -> &'static str {
        "bloom"
    }

    fn builder(&self, context: &FilterContext) -> Option<Box<dyn FilterBuilder>> {
        stored::collect(context, BITS_PER_KEY_MIN, |hashes, bits_per_key| {
            let words = stored::cells_for(hashes.len(), bits_per_key, WORD_BITS);
            let mut filter = Bloom { words: vec![0; words], probes: probes_for(bits_per_key) };
            hashes.iter().for_each(|&hash| filter.insert(hash));
            filter.encode()
        })
    }

    fn open(&self, block: &[u8]) -> Result<Box<dyn Filter>, FilterError> {
        Ok(Box::new(Bloom::decode(block)?))
    }
}

/// The best number of probes leaves half of the bits zero: `ln 2` for each bit per key.
fn probes_for(bits_per_key: f64) -> u8 {
    (bits_per_key * std::f64::consts::LN_2).round().clamp(1.0, f64::from(PROBES_MAX)) as u8
}

#[derive(Debug)]
struct Bloom {
    /// `1 <= words.len() <= u32::MAX`
    words: Vec<u64>,
    /// `1 <= probes <= PROBES_MAX`
    probes: u8,
}

/// The numbers whose high bits choose the bits of a key.
#[inline(always)]
fn probes_of(hash: u64, probes: u8) -> impl Iterator<Item = u64> {
    let step = hash.rotate_left(32) | 1;
    (0..u64::from(probes)).map(move |i| hash.wrapping_add(i.wrapping_mul(step)))
}

impl Bloom {
    /// The word and the bit in it of one probe.
    #[inline(always)]
    fn place(&self, probe: u64) -> (usize, u64) {
        let bit = cell_of(probe, self.words.len() * WORD_BITS);
        (bit / WORD_BITS, 1 << (bit % WORD_BITS))
    }

    fn insert(&mut self, hash: u64) {
        for probe in probes_of(hash, self.probes) {
            let (word, bit) = self.place(probe);
            self.words[word] |= bit;
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = stored::room(self.words.len(), WORD_BITS / 8);
        self.words.iter().for_each(|word| block.extend_from_slice(&word.to_le_bytes()));
        stored::close(block, self.words.len(), self.probes, TAG)
    }

    fn decode(block: &[u8]) -> Result<Self, FilterError> {
        let (words, probes) = stored::opened::<{ WORD_BITS / 8 }>(block, PROBES_MAX, TAG)?;
        Ok(Self { words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(), probes })
    }
}

impl Filter for Bloom {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        probes_of(hash, self.probes).all(|probe| {
            let (word, bit) = self.place(probe);
            self.words[word] & bit != 0
        })
    }

    /// Fetches what the first two probes look at: a key that is not there needs no more on average, and
    /// fetching for all probes would take the room of other filters' fetches.
    #[inline]
    fn prefetch(&self, hash: u64) {
        for probe in probes_of(hash, self.probes.min(2)) {
            stored::prefetch(&self.words[self.place(probe).0]);
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash;
    use crate::stored::testing::{block_of, passes_as_often_as};

    #[test]
    fn false_positives_are_as_rare_as_theory_says() {
        const KEYS: u64 = 100_000;
        for bits_per_key in [1.0, 2.0, 5.0, 8.0, 10.0, 12.0, 16.0] {
            let filter = Bloom::decode(&block_of(&BloomPolicy, 0..KEYS, bits_per_key)).unwrap();
            let probes = f64::from(filter.probes);
            let set = 1.0 - (-probes / bits_per_key).exp();
            passes_as_often_as(&filter, KEYS, set.powf(probes), 0.03);
        }
    }

    #[test]
    fn half_of_the_bits_are_set() {
        let filter = Bloom::decode(&block_of(&BloomPolicy, 0..50_000, 10.0)).unwrap();
        let set: u32 = filter.words.iter().map(|word| word.count_ones()).sum();
        let share = f64::from(set) / (filter.words.len() * WORD_BITS) as f64;
        // 7 probes at 10 bits: 1 - e^-0.7. A lost probe or a clustered one would show here.
        assert!((share - 0.503).abs() < 0.003, "{share}");
    }

    #[test]
    fn bytes_of_format_v1_never_change() {
        let block = block_of(&BloomPolicy, 0..20, 10.0);
        assert_eq!(block.len(), 4 * 8 + 8);
        assert_eq!(block[32..], [4, 0, 0, 0, 7, 0, 0x00, 0xb1]);
        assert_eq!(
            key_hash(&block),
            16_533_058_748_194_324_129,
            "the same keys make other bytes than before"
        );
    }
}
