//! The random numbers of a stream: xoshiro256++ (Blackman and Vigna), seeded through SplitMix64.
//!
//! Kept here, in thirty lines, because a recorded stream must stay the same when a dependency changes
//! its generator.

use crate::hash::mix64;

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A seeded source of random numbers. The same seed and stream give the same numbers for ever.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator number `stream` of `seed`; different streams are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut x = mix64(seed) ^ mix64(stream.wrapping_mul(GOLDEN_GAMMA).wrapping_add(1));
        let mut next = || {
            x = x.wrapping_add(GOLDEN_GAMMA);
            mix64(x)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `[0, 1)`, one of 2^53 evenly spaced ones.
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// A number in `[0, n)`. `n` must not be 0. The bias is below n / 2^64.
    pub fn below(&mut self, n: u64) -> u64 {
        debug_assert!(n > 0, "no number lies below 0");
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_stream_gives_others() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut rng = Rng::new(1, 0);
        let (n, draws) = (10_u64, 200_000_u64);
        let mut counts = [0_u64; 10];
        for _ in 0..draws {
            counts[rng.below(n) as usize] += 1;
        }
        let expected = draws as f64 / n as f64;
        let sigma = (draws as f64 * 0.1 * 0.9).sqrt();
        for count in counts {
            assert!((count as f64 - expected).abs() < 4.5 * sigma, "{counts:?}");
        }
    }

    #[test]
    fn unit_stays_below_one_and_has_mean_one_half() {
        let mut rng = Rng::new(2, 0);
        let mut sum = 0.0;
        for _ in 0..100_000 {
            let u = rng.unit();
            assert!((0.0..1.0).contains(&u));
            sum += u;
        }
        assert!((sum / 100_000.0 - 0.5).abs() < 0.005);
    }
}
