//! False positives against theory, and the bytes of format v1.

use super::*;
use crate::key_hash;
use crate::stored::testing::{block_of, passes_as_often_as, poisson};

fn filter_of(keys: impl Iterator<Item = u64>, bits_per_key: f64) -> BlockedBloom {
    BlockedBloom::decode(&block_of(&BlockedBloomPolicy, keys, bits_per_key)).unwrap()
}

/// The expected share of false positives: in a line with `n` keys each probed bit is set with
/// `1 - (1 - probes / 512)^n`.
fn theory(bits_per_key: f64, probes: u8) -> f64 {
    let share = |(keys, probability)| {
        let set = 1.0 - (1.0 - f64::from(probes) / 512.0_f64).powi(keys);
        probability * set.powi(i32::from(probes))
    };
    poisson(512.0 / bits_per_key).map(share).sum()
}

#[test]
fn false_positives_are_as_rare_as_theory_says() {
    const KEYS: u64 = 100_000;
    for bits_per_key in [2.0, 5.0, 8.0, 10.0, 12.0, 16.0] {
        let filter = filter_of(0..KEYS, bits_per_key);
        passes_as_often_as(&filter, KEYS, theory(bits_per_key, filter.probes), 0.03);
    }
}

#[test]
fn the_number_of_probes_is_close_to_the_best() {
    for half_bits in 2..=48 {
        let bits_per_key = f64::from(half_bits) / 2.0;
        let ours = theory(bits_per_key, probes_for(bits_per_key));
        let best = (1..=8).map(|p| theory(bits_per_key, p)).fold(f64::INFINITY, f64::min);
        assert!(ours <= best * 1.08, "{bits_per_key} bits: {ours} where {best} is possible");
    }
}

#[test]
fn every_processor_gives_the_same_answers() {
    let with = filter_of(0..5_000, 10.0);
    let without = BlockedBloom { asks_avx2: false, lines: with.lines.clone(), ..with };
    for hash in (0..50_000_u64).map(|key| key_hash(&key.to_be_bytes())) {
        assert_eq!(with.may_contain(hash), without.may_contain(hash));
        let line = &with.lines[with.line_of(hash)];
        assert_eq!(holds(line, key_bits(hash, 8)), holds(line, key_bits_all(hash)));
    }
}

#[test]
fn versions_of_one_key_count_once() {
    let once = filter_of(0..1_000, 10.0);
    let thrice = filter_of((0..3_000).map(|i| i / 3), 10.0);
    assert_eq!(once.encode(), thrice.encode());
}

#[test]
fn bytes_of_format_v1_never_change() {
    let filter = filter_of(0..3, 10.0);
    let block = filter.encode();
    assert_eq!(block.len(), LINE_BYTES + 8);
    assert_eq!(block[LINE_BYTES..], [1, 0, 0, 0, 8, 0, 0x0c, 0xb1]);
    assert_eq!(
        key_hash(&block),
        11_525_017_384_288_428_836,
        "the same keys make other bytes than before"
    );
    let few = filter_of(0..3, 4.0).encode();
    assert_eq!(
        key_hash(&few),
        945_666_717_594_011_744,
        "the same keys make other bytes than before"
    );
}
