//! What an adapter costs: the same gets and puts on a peer's own API and through `nori_kv::Engine`, side by side in one run.
//!
//! 1. Two stores of each peer, both as shipped, are given the same rows: one by its own API, one through its adapter.
//! 2. A pair is a block of operations on one and the same block on the other; who goes first alternates. The ratio of the times is
//!    the pair's, so that a neighbour who slows both slows neither.
//! 3. Criterion is told the times of each side. The median of the pairs' ratios and their quartiles are printed after it.
//!
//! `get` holds the peer's read transaction open over all gets: the least that a get can cost, though no write after it is seen.
//! `get-fresh` begins one for each get, as a caller must who wants what `Engine` promises; only for peers that have such transactions.
//! The durability class of the puts is the cheapest that survives a kill, `os`; for sled it is `none`, for a flush would hide
//! everything else.

#![expect(clippy::print_stderr, reason = "ratios are for whoever runs the bench")]

mod peers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nori_kv::{Engine, Parts, ReadOptions, Row, WriteBatch};
use peers::Direct;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of each store: in any cache.
const ROWS: u64 = 100_000;
/// Operations of a block: short beside the time for which a neighbour gets a core.
const GETS: usize = 500;
const PUTS: usize = 100;
const VALUE: [u8; 100] = [7; 100];
/// More than any peer needs for so few rows; the rows as shipped do not look at it.
const MEMORY_BYTES: u64 = 256 << 20;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(n: u64) -> Vec<u8> {
    format!("user{:020}", mix(n)).into_bytes()
}

/// The times of both sides, pair by pair.
#[derive(Default)]
struct Pairs {
    ratios: Vec<f64>,
}

impl Pairs {
    /// Times one pair: the time of `direct` and of `adapter`.
    fn time(&mut self, direct: &mut dyn FnMut(), adapter: &mut dyn FnMut()) -> [Duration; 2] {
        let timed = |run: &mut dyn FnMut()| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        };
        let times = if self.ratios.len().is_multiple_of(2) {
            let direct = timed(direct);
            [direct, timed(adapter)]
        } else {
            let adapter = timed(adapter);
            [timed(direct), adapter]
        };
        self.ratios.push(times[1].as_secs_f64() / times[0].as_secs_f64());
        times
    }

    /// The quartiles of the ratios.
    fn quartiles(&mut self) -> [f64; 3] {
        self.ratios.sort_by(f64::total_cmp);
        let count = self.ratios.len();
        [count / 4, count / 2, count * 3 / 4].map(|at| self.ratios[at])
    }
}

/// Gives both sides to Criterion, each iteration a pair, and prints the ratio.
fn compare(
    c: &mut Criterion,
    name: &str,
    operations: usize,
    direct: &mut dyn FnMut(),
    adapter: &mut dyn FnMut(),
) {
    let mut pairs = Pairs::default();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(operations as u64)).sample_size(30);
    group.measurement_time(Duration::from_millis(1_500)).warm_up_time(Duration::from_millis(300));
    for (side, label) in ["direct", "adapter"].into_iter().enumerate() {
        group.bench_function(label, |b| {
            b.iter_custom(|iterations| {
                (0..iterations).map(|_| pairs.time(direct, adapter)[side]).sum()
            });
        });
    }
    group.finish();
    if pairs.ratios.len() > 1 {
        let [low, median, high] = pairs.quartiles();
        let count = pairs.ratios.len();
        eprintln!(
            "{name}: adapter / direct = {median:.3} (quartiles {low:.3} to {high:.3}, {count} pairs)\n"
        );
    }
}

fn get_all(engine: &dyn Engine, asked: &[Vec<u8>]) {
    for key in asked {
        let mut sink = |row: Row<'_>| {
            black_box(row.value.len());
        };
        assert!(engine.read(key, &ReadOptions::default(), &mut sink).expect("readable"));
    }
}

/// All comparisons of one peer.
fn peer<D: Direct>(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let own_dir = dir.path().join("direct");
    std::fs::create_dir(&own_dir).expect("a folder");
    let own = D::open(&own_dir);
    let row = format!("{}:default", D::NAME);
    let factory = nori_adapters::factory(&row, MEMORY_BYTES).expect("listed");
    let engine = open(&*factory, &dir.path().join("adapter"));

    let mut batch = WriteBatch::new();
    let mut put = |key: &[u8]| {
        batch.clear();
        batch.put(key, &VALUE);
        engine.write(&batch, D::CLASS).expect("written");
    };
    for n in 0..ROWS {
        own.put(&key(n), &VALUE);
        put(&key(n));
    }
    let asked: Vec<_> = (0..ROWS).map(|n| key(mix(!n) % ROWS)).collect();
    let both = |size| asked.chunks_exact(size).cycle();
    let (mut ours, mut theirs) = (both(GETS), both(GETS));
    let held = own.hold();
    compare(
        c,
        &format!("{}/get", D::NAME),
        GETS,
        &mut || {
            for key in theirs.next().expect("a cycle") {
                assert!(own.get(&held, key, &mut |value| {
                    black_box(value.len());
                }));
            }
        },
        &mut || get_all(&*engine, ours.next().expect("a cycle")),
    );
    if D::HAS_TRANSACTIONS {
        let (mut ours, mut theirs) = (both(GETS), both(GETS));
        compare(
            c,
            &format!("{}/get-fresh", D::NAME),
            GETS,
            &mut || {
                for key in theirs.next().expect("a cycle") {
                    assert!(own.get(&own.hold(), key, &mut |value| {
                        black_box(value.len());
                    }));
                }
            },
            &mut || get_all(&*engine, ours.next().expect("a cycle")),
        );
    }
    drop(held);
    let (mut ours, mut theirs) = (both(PUTS), both(PUTS));
    compare(
        c,
        &format!("{}/put", D::NAME),
        PUTS,
        &mut || {
            let keys = theirs.next().expect("a cycle");
            keys.iter().for_each(|key| own.put(key, &VALUE));
        },
        &mut || {
            let keys = ours.next().expect("a cycle");
            keys.iter().for_each(|key| put(key));
        },
    );
}

fn open(factory: &dyn nori_kv::EngineFactory, dir: &Path) -> Arc<dyn Engine> {
    factory.open(dir, Parts::os(1).expect("a thread")).expect("opened")
}

#[cfg(feature = "rocksdb")]
criterion_group!(rocksdb, peer::<peers::rocksdb::RocksDb>);
criterion_group!(
    benches,
    peer::<peers::Fjall>,
    peer::<peers::Redb>,
    peer::<peers::Sled>,
    peer::<peers::Lmdb>
);
#[cfg(feature = "rocksdb")]
criterion_main!(benches, rocksdb);
#[cfg(not(feature = "rocksdb"))]
criterion_main!(benches);
