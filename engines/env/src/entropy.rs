//! Randomness, as a seam: real where it may differ from run to run, seeded where it must not.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gives random numbers.
///
/// # Contract
///
/// Callable from any thread. A seeded source gives the same sequence for the same seed when it is
/// called in the same order.
pub trait Entropy: Send + Sync {
    /// A number drawn uniformly from all 64-bit numbers.
    fn next_u64(&self) -> u64;

    /// A number drawn from `0..bound`. The bias is below `bound / 2^64`.
    fn below(&self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }
}

/// A splitmix64 sequence (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// OOPSLA 2014).
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// The sequence that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

/// The sequence's step: 2^64 divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        // Reads of up to 256 bytes neither fail nor fall short once the kernel's pool is ready, and
        // the call waits for that.
        assert_eq!(filled, Ok(bytes.len()), "the kernel gave no randomness");
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (a, b) = (SeededEntropy::new(7), SeededEntropy::new(7));
        let draw = |e: &SeededEntropy| (0..100).map(|_| e.below(1_000)).collect::<Vec<_>>();
        assert_eq!(draw(&a), draw(&b));
        assert_ne!(draw(&a), draw(&SeededEntropy::new(7)));
    }

    #[test]
    fn the_operating_system_does_not_repeat_itself() {
        assert_ne!(OsEntropy.next_u64(), OsEntropy.next_u64());
    }
}
