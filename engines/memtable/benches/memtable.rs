//! Insert, get and scan of every memtable, and of a `BTreeMap` under a lock, with keys in random
//! order as YCSB makes them (`user` and a hashed number) and values of 100 bytes. One thread, but for
//! `get-beside-writer`.
//!
//! `cargo bench -p nori-memtable -- insert/100000` runs a part.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nori_kv::{EntryRef, Kind, SeqNo};
use nori_memtable::{Memtable, memtables};
use parking_lot::RwLock;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SIZES: [usize; 2] = [100_000, 1_000_000];
const VALUE: [u8; 100] = [7; 100];

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Keys of 24 bytes, one after the other, so that making them costs nothing while it is timed.
fn keys(count: usize) -> Vec<[u8; 24]> {
    let key = |n: usize| {
        let mut key = *b"user00000000000000000000";
        key[4..].copy_from_slice(format!("{:020}", mix(n as u64)).as_bytes());
        key
    };
    (0..count).map(key).collect()
}

fn entry(key: &[u8], n: usize) -> EntryRef<'_> {
    let seqno = SeqNo::new(n as u64 + 1).expect("small");
    EntryRef { key, seqno, kind: Kind::Put, expires: None, value: &VALUE }
}

type LockedMap = RwLock<BTreeMap<(Vec<u8>, Reverse<u64>), Vec<u8>>>;

fn fill(memtable: &dyn Memtable, keys: &[[u8; 24]]) {
    keys.iter().enumerate().for_each(|(n, key)| memtable.insert(entry(key, n)));
}

fn fill_map(keys: &[[u8; 24]]) -> LockedMap {
    let map = LockedMap::default();
    for (n, key) in keys.iter().enumerate() {
        map.write().insert((key.to_vec(), Reverse(n as u64 + 1)), VALUE.to_vec());
    }
    map
}

fn insert(c: &mut Criterion) {
    for count in SIZES {
        let keys = keys(count);
        let mut group = c.benchmark_group(format!("insert/{count}"));
        group.throughput(Throughput::Elements(count as u64)).sample_size(10);
        group.measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
        for part in memtables() {
            let factory = (part.make)();
            // The drop is outside of the timing: `iter_with_large_drop` gives the value back first.
            group.bench_function(part.name, |b| {
                b.iter_with_large_drop(|| {
                    let memtable = factory.create();
                    fill(memtable.as_ref(), &keys);
                    memtable
                });
            });
        }
        group.bench_function("btreemap-locked", |b| b.iter_with_large_drop(|| fill_map(&keys)));
    }
}

/// Gets timed together in one iteration.
const GETS: usize = 1_000;

fn get(c: &mut Criterion) {
    for count in SIZES {
        let keys = keys(count);
        // An order that has nothing to do with that of the inserts.
        let asked: Vec<_> = (0..count).map(|n| keys[mix(!(n as u64)) as usize % count]).collect();
        let mut group = c.benchmark_group(format!("get/{count}"));
        group.throughput(Throughput::Elements(GETS as u64));
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
        for part in memtables() {
            let memtable = (part.make)().create();
            fill(memtable.as_ref(), &keys);
            let mut asked = asked.chunks_exact(GETS).cycle();
            group.bench_function(part.name, |b| {
                b.iter(|| {
                    for key in asked.next().expect("a cycle") {
                        black_box(memtable.get(key, SeqNo::MAX).is_some());
                    }
                });
            });
        }
        let map = fill_map(&keys);
        let mut asked = asked.chunks_exact(GETS).cycle();
        group.bench_function("btreemap-locked", |b| {
            b.iter(|| {
                for key in asked.next().expect("a cycle") {
                    let map = map.read();
                    let newest = Bound::Included((key.to_vec(), Reverse(u64::MAX)));
                    let found = map.range((newest, Bound::Unbounded)).next();
                    black_box(found.is_some_and(|((found, _), _)| found == key));
                }
            });
        });
    }
}

fn get_beside_writer(c: &mut Criterion) {
    let count = SIZES[0];
    let keys = keys(count * 20);
    let mut group = c.benchmark_group("get-beside-writer/100000");
    group.throughput(Throughput::Elements(GETS as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    for part in memtables() {
        let memtable = (part.make)().create();
        fill(memtable.as_ref(), &keys[..count]);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (n, key) in keys.iter().enumerate().skip(count) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    memtable.insert(entry(key, n));
                }
            });
            let mut asked = keys[..count].chunks_exact(GETS).cycle();
            group.bench_function(part.name, |b| {
                b.iter(|| {
                    for key in asked.next().expect("a cycle") {
                        black_box(memtable.get(key, SeqNo::MAX).is_some());
                    }
                });
            });
            is_over.store(true, Ordering::Relaxed);
        });
    }
}

fn scan(c: &mut Criterion) {
    let count = SIZES[1];
    let keys = keys(count);
    let mut group = c.benchmark_group(format!("scan/{count}"));
    group.throughput(Throughput::Elements(count as u64)).sample_size(10);
    for part in memtables() {
        let memtable = (part.make)().create();
        fill(memtable.as_ref(), &keys);
        for backward in [false, true] {
            let direction = if backward { "backward" } else { "forward" };
            group.bench_function(BenchmarkId::new(part.name, direction), |b| {
                b.iter(|| {
                    let mut cursor = Arc::clone(&memtable).cursor();
                    let mut bytes = 0;
                    while if backward { cursor.prev() } else { cursor.next() }.expect("in memory") {
                        bytes += cursor.entry().expect("there is one").payload_bytes();
                    }
                    bytes
                });
            });
        }
    }
    let map = fill_map(&keys);
    group.bench_function(BenchmarkId::new("btreemap-locked", "forward"), |b| {
        b.iter(|| {
            map.read().iter().map(|((key, _), value)| key.len() + value.len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, insert, get, get_beside_writer, scan);
criterion_main!(benches);
