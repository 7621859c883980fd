//! Remainders by a number that stays the same, without a division.
//!
//! A division of 64 bits takes some ten nanoseconds on many processors, and one is needed for each operation. D. Lemire,
//! O. Kaser and N. Kurz, "Faster remainder by direct computation" (2019):
//!
//! 1. Once: `inverse = floor(2^128 / d) + 1`, a fraction of 128 bits.
//! 2. `fraction = inverse * x mod 2^128` is the part of `x / d` after the point.
//! 3. `floor(fraction * d / 2^128)` is the remainder, exactly so for every `x` and `d` of 64 bits.

/// The number by which is divided. Not 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modulus {
    divisor: u64,
    /// `floor(2^128 / divisor) + 1` mod 2^128.
    inverse: u128,
}

impl Modulus {
    pub(crate) fn new(divisor: u64) -> Self {
        assert!(divisor > 0, "nothing is divided by 0");
        let inverse = (u128::MAX / u128::from(divisor)).wrapping_add(1);
        Self { divisor, inverse }
    }

    /// `x % divisor`.
    pub(crate) fn of(self, x: u64) -> u64 {
        let fraction = self.inverse.wrapping_mul(u128::from(x));
        let divisor = u128::from(self.divisor);
        let low = ((fraction & u128::from(u64::MAX)) * divisor) >> 64;
        ((low + (fraction >> 64) * divisor) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn remainders_are_those_of_the_operator() {
        let mut rng = Rng::new(3, 0);
        let edges = [
            1,
            2,
            3,
            10,
            999_999,
            1 << 20,
            (1 << 32) - 1,
            1 << 32,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ];
        let random: Vec<u64> = (0..300).map(|i| (rng.next_u64() >> (i % 63)).max(1)).collect();
        for divisor in edges.into_iter().chain(random.iter().copied()) {
            let modulus = Modulus::new(divisor);
            let near = (0..4).flat_map(|i: u64| {
                let multiple = divisor.wrapping_mul(u64::MAX / divisor / (i + 1));
                [multiple.wrapping_sub(1), multiple, multiple.wrapping_add(1)]
            });
            for x in near.chain(edges).chain(random.iter().copied()).chain([0]) {
                assert_eq!(modulus.of(x), x % divisor, "{x} % {divisor}");
            }
        }
    }
}
