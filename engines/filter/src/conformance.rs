//! What every filter policy and every budget must keep, as checks that panic when it is not kept.
//!
//! An implementation calls [`policy_keeps_its_contract`] or [`budget_keeps_its_contract`] in a test.
//! Everything is seeded, so a failure repeats.

use crate::{Filter, FilterBudget, FilterContext, FilterPolicy, LevelFill};

/// Table sizes tried, in keys: none, one, around a cache line's worth, and many.
const SIZES: [usize; 7] = [0, 1, 2, 50, 63, 1_000, 20_000];
const BITS_PER_KEY: [f64; 7] = [0.0, 0.1, 1.0, 4.5, 8.0, 10.0, 20.0];

/// At 10 bits per key, a larger share of false positives than this is not worth its memory: a plain
/// bloom filter has 0.8 %, the worst one in use (256-bit blocks) 1.28 %.
const FALSE_POSITIVES_AT_10_BITS_MAX: f64 = 0.016;

/// Panics unless `policy` keeps the contract of [`FilterPolicy`].
pub fn policy_keeps_its_contract(policy: &dyn FilterPolicy) {
    a_name_fits_where_it_is_stored(policy);
    for keys in SIZES {
        for bits_per_key in BITS_PER_KEY {
            let context =
                FilterContext { level: 1, is_last_level: false, keys_expected: keys, bits_per_key };
            never_denies_what_was_added(policy, &context);
        }
    }
    wrong_expectations_do_no_harm(policy);
    keeps_false_positives_rare(policy);
    survives_any_bytes(policy);
}

/// Panics unless `budget` keeps the contract of [`FilterBudget`].
pub fn budget_keeps_its_contract(budget: &dyn FilterBudget) {
    let mut random = Random(11);
    for levels in 0..9 {
        for total in [0.0, 1.0, 5.0, 10.0, 20.0] {
            let mut fill: Vec<LevelFill> = (0..levels)
                .map(|_| LevelFill {
                    entries: random.next() % 10_000_000,
                    runs: 1 + (random.next() % 8) as usize,
                })
                .collect();
            if let Some(empty) = fill.first_mut() {
                *empty = LevelFill { entries: 0, runs: 0 };
            }
            let bits = budget.bits(&fill, total);
            assert_eq!(bits.len(), fill.len(), "one number for each level");
            assert!(bits.iter().all(|b| b.is_finite() && *b >= 0.0), "{bits:?}");
            let spent: f64 = bits.iter().zip(&fill).map(|(b, f)| b * f.entries as f64).sum();
            let entries: f64 = fill.iter().map(|f| f.entries as f64).sum();
            assert!(spent <= total * entries * (1.0 + 1e-9), "spends {spent} of {total}/entry");
            assert_eq!(bits, budget.bits(&fill, total), "a pure function");
        }
    }
}

fn a_name_fits_where_it_is_stored(policy: &dyn FilterPolicy) {
    let name = policy.name();
    assert!(!name.is_empty() && name.len() <= 64, "{name:?}");
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    assert_eq!(name, policy.name(), "a name is constant");
}

fn build(policy: &dyn FilterPolicy, context: &FilterContext, hashes: &[u64]) -> Option<Vec<u8>> {
    let mut builder = policy.builder(context)?;
    for &hash in hashes {
        builder.add_hash(hash);
    }
    Some(builder.finish())
}

fn open(policy: &dyn FilterPolicy, block: &[u8]) -> Box<dyn Filter> {
    policy.open(block).expect("a finished block opens")
}

fn never_denies_what_was_added(policy: &dyn FilterPolicy, context: &FilterContext) {
    let mut random = Random(context.keys_expected as u64);
    let mut hashes: Vec<u64> = (0..context.keys_expected).map(|_| random.next()).collect();
    // The ends of the range are where an index computed from the hash goes wrong first.
    if let [first, .., last] = hashes.as_mut_slice() {
        (*first, *last) = (0, u64::MAX);
    }
    let Some(block) = build(policy, context, &hashes) else { return };
    assert_eq!(Some(&block), build(policy, context, &hashes).as_ref(), "deterministic");

    let filter = open(policy, &block);
    for &hash in &hashes {
        filter.prefetch(hash);
        assert!(filter.may_contain(hash), "{context:?} denies {hash:#x}");
    }
    for _ in 0..100 {
        let hash = random.next();
        filter.prefetch(hash);
        let _either_answer_is_right = filter.may_contain(hash);
    }
    assert!(filter.bytes() >= block.len() / 2, "{} bytes for {}", filter.bytes(), block.len());

    // A block inside a larger buffer starts at any address.
    for offset in 1..9 {
        let mut shifted = vec![0xa5; offset];
        shifted.extend_from_slice(&block);
        let filter = open(policy, &shifted[offset..]);
        assert!(hashes.iter().all(|&hash| filter.may_contain(hash)));
    }
}

fn wrong_expectations_do_no_harm(policy: &dyn FilterPolicy) {
    let hashes = [3_u64, 3, 3, u64::MAX / 2];
    for keys_expected in [0, 1, usize::MAX] {
        for bits_per_key in [10.0, f64::NAN, f64::INFINITY, -1.0] {
            let context =
                FilterContext { level: 0, is_last_level: true, keys_expected, bits_per_key };
            if let Some(block) = build(policy, &context, &hashes) {
                let filter = open(policy, &block);
                assert!(hashes.iter().all(|&hash| filter.may_contain(hash)));
                assert!(block.len() < 1 << 16, "{} bytes for four keys", block.len());
            }
        }
    }
}

fn keeps_false_positives_rare(policy: &dyn FilterPolicy) {
    const KEYS: usize = 50_000;
    const ASKED: usize = 200_000;
    let context =
        FilterContext { level: 1, is_last_level: false, keys_expected: KEYS, bits_per_key: 10.0 };
    let mut random = Random(7);
    let hashes: Vec<u64> = (0..KEYS).map(|_| random.next()).collect();
    let Some(block) = build(policy, &context, &hashes) else { return };
    let filter = open(policy, &block);
    let wrong = (0..ASKED).filter(|_| filter.may_contain(random.next())).count();
    let share = wrong as f64 / ASKED as f64;
    assert!(share <= FALSE_POSITIVES_AT_10_BITS_MAX, "{share} false positives at 10 bits");
    let bits = block.len() as f64 * 8.0 / KEYS as f64;
    assert!(bits <= 10.0 * 1.05 + 0.5, "{bits} bits per key, 10 were granted");
}

fn survives_any_bytes(policy: &dyn FilterPolicy) {
    let mut random = Random(5);
    let mut ask_if_it_opens = |bytes: &[u8]| {
        if let Ok(filter) = policy.open(bytes) {
            for _ in 0..8 {
                let hash = random.next();
                filter.prefetch(hash);
                let _either_answer_is_right = filter.may_contain(hash);
            }
            assert!(filter.bytes() <= bytes.len() * 4 + 1024, "more memory than the block has");
        }
    };
    ask_if_it_opens(&[]);
    let mut source = Random(13);
    for length in 0..600 {
        let garbage: Vec<u8> = (0..length).map(|_| source.next() as u8).collect();
        ask_if_it_opens(&garbage);
    }

    let context =
        FilterContext { level: 1, is_last_level: false, keys_expected: 200, bits_per_key: 10.0 };
    let hashes: Vec<u64> = (0..200).map(|_| source.next()).collect();
    let Some(block) = build(policy, &context, &hashes) else { return };
    for length in 0..block.len() {
        assert!(policy.open(&block[..length]).is_err(), "cut to {length} of {}", block.len());
    }
    let mut longer = block.clone();
    longer.push(0);
    assert!(policy.open(&longer).is_err(), "a byte too many");
    for at in 0..block.len() {
        let mut flipped = block.clone();
        flipped[at] ^= 1 << (at % 8);
        ask_if_it_opens(&flipped);
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, seeded, good enough to stand for hashes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
