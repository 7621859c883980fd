//! Seeded choices: a splitmix64 sequence (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
//!
//! It decides orders and choices, never secrets.

/// A sequence of numbers that its seed determines.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, of all of 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `0..bound`; the bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Yes in `ppm` of a million times.
    pub fn hits(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// Brings `items` into an order in which every order is as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for upto in (1..items.len()).rev() {
            let other = self.below(upto as u64 + 1) as usize;
            items.swap(upto, other);
        }
    }

    /// Up to `count` of `items`, each set of them as likely as any other.
    pub fn choose<T: Copy>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(items.len());
        for at in 0..count {
            let other = at + self.below((items.len() - at) as u64) as usize;
            items.swap(at, other);
        }
        items.truncate(count);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        // The first numbers of splitmix64 from 1234567, as its authors' code gives them.
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(chance.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_choice_has_no_member_twice_and_every_member_sometimes() {
        let mut chance = Chance::new(3);
        let mut seen = [0; 6];
        for _ in 0..600 {
            let mut chosen = chance.choose((0..6).collect(), 3);
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), 3);
            chosen.iter().for_each(|&at: &usize| seen[at] += 1);
        }
        assert!(seen.iter().all(|&times| times > 200), "{seen:?}");
    }
}
