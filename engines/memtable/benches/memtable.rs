//! Insert, get and scan of every memtable, with and without a hash index, with keys in random order as
//! YCSB makes them (`user` and a hashed number) and values of 100 bytes. As many entries as fill a
//! memtable of the default size (64 MiB). One thread, but for `get-beside-writer` and `insert-2-threads`.
//!
//! `cargo bench -p nori-memtable -- insert/` runs a part.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nori_kv::{EntryRef, Kind, SeqNo};
use nori_memtable::{INDEXES, Memtable, MemtableFactory, memtable_with, memtables};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ENTRIES: usize = 400_000;
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

fn fill(memtable: &dyn Memtable, keys: &[[u8; 24]], from: usize) {
    keys.iter().enumerate().for_each(|(n, key)| memtable.insert(entry(key, from + n)));
}

/// Every memtable with every index.
fn factories() -> Vec<Arc<dyn MemtableFactory>> {
    let pairs = memtables().iter().flat_map(|part| INDEXES.map(|(index, _)| (part.name, index)));
    pairs.filter_map(|(name, index)| memtable_with(name, index)).collect()
}

/// Every memtable without an index.
fn plain_factories() -> Vec<Arc<dyn MemtableFactory>> {
    memtables().iter().map(|part| (part.make)()).collect()
}

fn insert(c: &mut Criterion) {
    let keys = keys(ENTRIES);
    let mut group = c.benchmark_group("insert");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for factory in factories() {
        // The drop is outside of the timing: `iter_with_large_drop` gives the value back first.
        group.bench_function(factory.name(), |b| {
            b.iter_with_large_drop(|| {
                let memtable = factory.create();
                fill(memtable.as_ref(), &keys, 0);
                memtable
            });
        });
    }
}

/// Two writers, each with half of the entries.
fn insert_2_threads(c: &mut Criterion) {
    let keys = keys(ENTRIES);
    let (left, right) = keys.split_at(ENTRIES / 2);
    let mut group = c.benchmark_group("insert-2-threads");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for factory in plain_factories() {
        group.bench_function(factory.name(), |b| {
            b.iter_with_large_drop(|| {
                let memtable = factory.create();
                std::thread::scope(|scope| {
                    scope.spawn(|| fill(memtable.as_ref(), left, 0));
                    fill(memtable.as_ref(), right, ENTRIES / 2);
                });
                memtable
            });
        });
    }
}

/// Gets timed together in one iteration.
const GETS: usize = 1_000;

fn get(c: &mut Criterion) {
    let keys = keys(ENTRIES);
    // An order that has nothing to do with that of the inserts.
    let asked: Vec<_> = (0..ENTRIES).map(|n| keys[mix(!(n as u64)) as usize % ENTRIES]).collect();
    let mut group = c.benchmark_group("get");
    group.throughput(Throughput::Elements(GETS as u64));
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for factory in factories() {
        let memtable = factory.create();
        fill(memtable.as_ref(), &keys, 0);
        let mut asked = asked.chunks_exact(GETS).cycle();
        group.bench_function(factory.name(), |b| {
            b.iter(|| {
                for key in asked.next().expect("a cycle") {
                    black_box(memtable.get(key, SeqNo::MAX).is_some());
                }
            });
        });
    }
}

fn get_beside_writer(c: &mut Criterion) {
    let count = ENTRIES / 4;
    let keys = keys(count * 20);
    let mut group = c.benchmark_group("get-beside-writer");
    group.throughput(Throughput::Elements(GETS as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    for factory in plain_factories() {
        let memtable = factory.create();
        fill(memtable.as_ref(), &keys[..count], 0);
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
            group.bench_function(factory.name(), |b| {
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
    let keys = keys(ENTRIES);
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for factory in plain_factories() {
        let memtable = factory.create();
        fill(memtable.as_ref(), &keys, 0);
        for backward in [false, true] {
            let direction = if backward { "backward" } else { "forward" };
            group.bench_function(BenchmarkId::new(factory.name(), direction), |b| {
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
}

criterion_group!(benches, insert, insert_2_threads, get, get_beside_writer, scan);
criterion_main!(benches);
