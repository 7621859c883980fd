//! Nanoseconds for a probe of a pre-hashed key and for building, in and out of cache.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nori_filter::{Filter, FilterContext, policies};
use std::hint::black_box;
use std::time::Duration;

fn hash(i: u64) -> u64 {
    let z = (i ^ (i >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn build(policy: &dyn nori_filter::FilterPolicy, keys: u64) -> Option<Vec<u8>> {
    let context = FilterContext {
        level: 1,
        is_last_level: true,
        keys_expected: keys as usize,
        bits_per_key: 10.0,
    };
    let mut builder = policy.builder(&context)?;
    (0..keys).for_each(|i| builder.add_hash(hash(i)));
    Some(builder.finish())
}

/// Hashes asked in one criterion iteration; times are for that many probes.
const ASKED: usize = 1_024;

fn probes(c: &mut Criterion) {
    for entry in policies() {
        let policy = (entry.make)();
        for keys in [10_000_u64, 1_000_000, 40_000_000] {
            let Some(block) = build(policy.as_ref(), keys) else { continue };
            let filter: Box<dyn Filter> = policy.open(&block).expect("just built");
            let name = format!("{}/{keys}", entry.name);
            // Made beforehand and read in order, so that a probe is all that is timed.
            let hits: Vec<u64> = (0..1 << 16).map(|i| hash(hash(i) % keys)).collect();
            let misses: Vec<u64> = (0..1 << 16).map(|i| hash(i | 1 << 40)).collect();
            probe(c, &name, "hit", &hits, |hashes| {
                hashes.iter().filter(|&&h| filter.may_contain(h)).count()
            });
            probe(c, &name, "miss", &misses, |hashes| {
                hashes.iter().filter(|&&h| filter.may_contain(h)).count()
            });
            // The next hash depends on the last answer: the true latency of a probe.
            probe(c, &name, "miss-chained", &misses, |hashes| {
                hashes.iter().fold(0, |last, &h| u64::from(filter.may_contain(h ^ last))) as usize
            });
            // Eight runs of one tree: prefetch all, then ask all.
            probe(c, &name, "miss-8-prefetched", &misses, |hashes| {
                let ask = |some: &[u64; 8]| {
                    some.iter().for_each(|&h| filter.prefetch(h));
                    some.iter().filter(|&&h| filter.may_contain(h)).count()
                };
                hashes.as_chunks().0.iter().map(ask).sum()
            });
        }
    }
}

fn probe(
    c: &mut Criterion,
    filter: &str,
    what: &str,
    hashes: &[u64],
    ask: impl Fn(&[u64]) -> usize,
) {
    let mut group = c.benchmark_group(filter);
    group.throughput(Throughput::Elements(ASKED as u64)).sample_size(30);
    group.measurement_time(Duration::from_millis(700)).warm_up_time(Duration::from_millis(200));
    let mut chunks = hashes.chunks_exact(ASKED).cycle();
    group.bench_function(what, |b| {
        b.iter(|| chunks.next().map(|hashes| ask(black_box(hashes))));
    });
}

fn builds(c: &mut Criterion) {
    for entry in policies() {
        let policy = (entry.make)();
        if build(policy.as_ref(), 1).is_none() {
            continue;
        }
        let mut group = c.benchmark_group(format!("{}/build", entry.name));
        group.throughput(Throughput::Elements(100_000)).sample_size(20);
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
        group.bench_function("100k", |b| {
            b.iter_batched(|| (), |()| build(policy.as_ref(), 100_000), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, probes, builds);
criterion_main!(benches);
