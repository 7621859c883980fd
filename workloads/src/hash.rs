//! The hash by which YCSB turns a key number into a key.
//!
//! FNV-1a over the eight bytes of the number, least significant byte first, then the absolute value
//! of the result taken as a signed number. The byte order matters: most significant first would
//! leave hashed keys almost in the order of their numbers, and a load would hardly overlap.

const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 1_099_511_628_211;
/// What four bytes of zero do to a hash: `hash ^ 0` is the hash, so each is one multiplication.
const FOUR_ZEROS: u64 = PRIME.wrapping_pow(4);

/// YCSB-cpp's hash of a number: YCSB's before the absolute value is taken.
#[inline]
pub(crate) fn fnv64_unsigned(number: u64) -> u64 {
    let over = |bytes: [u8; 4], hash: u64| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    };
    // Two for each operation: most numbers are small, and each multiplication waits for the one before.
    let low = over((number as u32).to_le_bytes(), OFFSET_BASIS);
    match (number >> 32) as u32 {
        0 => low.wrapping_mul(FOUR_ZEROS),
        high => over(high.to_le_bytes(), low),
    }
}

/// go-ycsb's hash of a number: YCSB's of the same bytes in the opposite order.
pub(crate) fn fnv64_big_endian(number: u64) -> u64 {
    fnv64(number.swap_bytes())
}

/// YCSB's hash of a number. The result is below 2^63 (or is 2^63 itself, for the one hash whose
/// absolute value does not fit a signed number).
pub fn fnv64(number: u64) -> u64 {
    fnv64_unsigned(number).cast_signed().unsigned_abs()
}

/// A good 64-bit mixing of one number (the finaliser of SplitMix64). Not YCSB's; used for values.
pub(crate) fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_program() {
        let golden = [
            (0, 6_284_781_860_667_377_211),
            (1, 8_517_097_267_634_966_620),
            (2, 1_820_151_046_732_198_393),
            (9, 9_105_318_085_603_802_964),
            (10, 2_408_371_864_701_034_737),
            (999, 2_071_219_101_098_386_137),
            (123_456_789, 2_350_796_791_908_741_607),
        ];
        for (number, hash) in golden {
            assert_eq!(fnv64(number), hash, "key number {number}");
        }
    }

    #[test]
    fn hashes_of_the_other_programs_are_theirs() {
        let golden = [
            (0, 6_284_781_860_667_377_211),
            (1, 6_284_782_960_179_005_422),
            (2, 6_284_784_059_690_633_633),
            (9, 6_284_774_164_085_979_734),
            (10, 6_284_775_263_597_607_945),
            (999, 6_283_716_433_899_829_977),
            (123_456_789, 6_352_291_977_467_012_831),
        ];
        for (number, hash) in golden {
            assert_eq!(fnv64_big_endian(number), hash, "key number {number}");
        }
        // Above 2^63: the negative of what the Java program makes of it.
        assert_eq!(fnv64_unsigned(0), 0xA8C7_F832_281A_39C5);
        let halves = (0..10_000).filter(|number| fnv64_unsigned(*number) != fnv64(*number)).count();
        assert!((4_800..5_200).contains(&halves), "{halves} of 10,000 differ by their sign");
    }

    #[test]
    fn the_short_way_for_small_numbers_is_the_long_way() {
        let long = |number: u64| {
            let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
            number.to_le_bytes().into_iter().fold(OFFSET_BASIS, step).cast_signed().unsigned_abs()
        };
        let edge = 1_u64 << 32;
        let near = (0..1_000).chain(edge - 500..edge + 500).chain(u64::MAX - 100..=u64::MAX);
        for number in near.chain((0..64).map(|bit| 1 << bit)) {
            assert_eq!(fnv64(number), long(number), "{number}");
        }
    }

    #[test]
    fn neighbouring_numbers_land_far_apart() {
        let mut hashes: Vec<u64> = (0..10_000).map(fnv64).collect();
        let order = hashes.clone();
        hashes.sort_unstable();
        let rank = |h: u64| hashes.binary_search(&h).unwrap().cast_signed();
        let near =
            order.windows(2).filter(|pair| (rank(pair[0]) - rank(pair[1])).abs() <= 25).count();
        // Of random places, 2 * 25 / 10,000 = 0.5 % would be that near.
        assert!(near < 100, "{near} of 9,999 neighbours lie within 25 ranks");
    }
}
