//! The engine's own work, on files in memory and with jobs that run inside of whoever waits: what merging, recovering and
//! reading cost, and nothing of the disk or of threads.
//!
//! * `merge/<value bytes>/<runs>`: one compaction of everything. So many runs that overlap wholly, no key twice, become tables of the
//!   last level: blocks read, merged, filtered, indexed and written. Throughput in bytes of keys and values.
//! * `replay/<memtable>`: an opening that finds the log of one memtable that is nearly full. Throughput in the same bytes.
//! * `replay-flush/<memtable>`: the same, and the flush of what was found: after it, the log is not needed any more.
//! * `get/hit/<runs>`, `get/miss/<runs>`: every block is in the cache. Each run is asked by its filter, one or none has the key.
//! * `cursor/<runs>`: a seek and a hundred rows, every block in the cache.
//! * `versions/forward/<versions>`, `versions/backward/<versions>`: all rows of a memtable whose keys have so many versions each.
//!
//! Files in memory are copied when they are synced, so `merge` has one copy of its output in it.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nori_env::{Durability, MemFs};
use nori_kv::{Engine, EngineFactory, KeyRange, ReadOptions, Row, WriteBatch, stat};
use nori_lsm::{Components, LsmFactory, Settings};
use nori_model::trial::{copy_of, seeded};
use nori_observe::NullMeter;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/bench/store";
const KEY_BYTES: u64 = 24;
/// Keys and values of the stores that are merged.
const PAYLOAD_BYTES: u64 = 16 << 20;
/// The memtable whose log is replayed: the default.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Rows of the stores that are read.
const ROWS: u64 = 100_000;
/// Reads timed together in one iteration.
const GETS: usize = 1_000;
const SCANS: usize = 10;
const SCAN_ROWS: u64 = 100;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `KEY_BYTES` bytes, in an order that has nothing to do with `n`.
fn key(n: u64) -> Vec<u8> {
    format!("user{:020}", mix(n)).into_bytes()
}

/// Stores in which nothing happens that nobody asked for: no memtable fills up, no number of runs starts a compaction.
fn factory(memtable: &str) -> LsmFactory {
    let mut components = Components::default();
    components.set("memtable", memtable).expect("registered");
    // A memory file is no mapping: both kinds of log writer cost the same here.
    components.set("wal", "pwrite").expect("registered");
    let settings = Settings {
        memtable_bytes: 64 << 20,
        cache_bytes: 256 << 20,
        l0_runs_trigger: 100,
        ..Settings::for_memory(1 << 30)
    };
    LsmFactory::new(settings, components)
}

/// The same with a log of small segments: a segment in memory costs its zeros, which would be a good part of an opening.
fn opening(memtable: &str) -> LsmFactory {
    let mut factory = factory(memtable);
    factory.settings.memtable_bytes = 64 << 10;
    factory
}

/// Puts every `step`-th of the rows in `range`.
fn put(engine: &dyn Engine, range: Range<u64>, step: u64, value_bytes: usize) {
    let mut batch = WriteBatch::new();
    let mut value = vec![b'x'; value_bytes];
    for n in range.step_by(step as usize) {
        // Half noise, as the values of the table's bench.
        value[..value_bytes / 2].fill_with({
            let mut state = n;
            move || {
                state = mix(state + 1);
                state as u8
            }
        });
        batch.clear();
        batch.put(&key(n), &value);
        engine.write(&batch, Durability::Os).expect("written");
    }
}

/// The files of a closed store of `runs` runs in level 0, each with keys over the whole space.
fn store(runs: u64, rows: u64, value_bytes: usize) -> MemFs {
    let fs = MemFs::new();
    let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let engine = factory("bptree").open(Path::new(DIR), parts).expect("opened");
    for part in 0..runs {
        put(&*engine, part..rows, runs, value_bytes);
        engine.maintain().expect("it has an operator").flush().expect("flushed");
    }
    drop(engine);
    copy_of(&fs, Path::new(DIR))
}

fn open(factory: &LsmFactory, fs: &MemFs) -> Arc<dyn Engine> {
    let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    factory.open(Path::new(DIR), parts).expect("opened")
}

fn runs_of(engine: &dyn Engine) -> u64 {
    engine.stats().levels.iter().map(|level| level.runs).sum()
}

fn merge(c: &mut Criterion) {
    for value_bytes in [100, 1_000] {
        let mut group = c.benchmark_group(format!("merge/{value_bytes}"));
        let rows = PAYLOAD_BYTES / (KEY_BYTES + value_bytes as u64);
        group.throughput(Throughput::Bytes(rows * (KEY_BYTES + value_bytes as u64)));
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.warm_up_time(Duration::from_millis(500));
        for runs in [2, 8, 32] {
            let (fs, factory) = (store(runs, rows, value_bytes), opening("bptree"));
            assert_eq!(runs_of(&*open(&factory, &copy_of(&fs, Path::new(DIR)))), runs);
            group.bench_function(BenchmarkId::from_parameter(runs), |b| {
                b.iter_batched(
                    || open(&factory, &copy_of(&fs, Path::new(DIR))),
                    |engine| {
                        let operator = engine.maintain().expect("it has an operator");
                        operator.compact(&KeyRange::all()).expect("compacted");
                        assert_eq!(runs_of(&*engine), 1);
                        engine
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

/// What a kill leaves of a store whose one memtable is nearly full, the rows in it and the last sequence number.
fn killed(value_bytes: usize) -> (MemFs, u64, Option<u64>) {
    let fs = MemFs::new();
    let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let mut factory = factory("bptree");
    factory.settings.memtable_bytes = MEMTABLE_BYTES;
    let engine = factory.open(Path::new(DIR), parts).expect("opened");
    let number = |name| engine.stats().number(name).unwrap_or_default();
    let mut rows = 0;
    while number(stat::MEMTABLE_BYTES) < MEMTABLE_BYTES / 20 * 19 {
        put(&*engine, rows..rows + 1_000, 1, value_bytes);
        rows += 1_000;
    }
    let last = Some(number(stat::LAST_SEQNO));
    assert_eq!(number(stat::FLUSHES), 0);
    (copy_of(&fs, Path::new(DIR)), rows, last)
}

fn replay(c: &mut Criterion) {
    let value_bytes = 100;
    let (killed, rows, last) = killed(value_bytes);
    for (name, is_flushed) in [("replay", false), ("replay-flush", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(rows * (KEY_BYTES + value_bytes as u64)));
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.warm_up_time(Duration::from_millis(500));
        for memtable in nori_memtable::memtables() {
            let factory = opening(memtable.name);
            group.bench_function(memtable.name, |b| {
                b.iter_batched(
                    || copy_of(&killed, Path::new(DIR)),
                    |fs| {
                        let engine = open(&factory, &fs);
                        if is_flushed {
                            let operator = engine.maintain().expect("it has an operator");
                            operator.flush().expect("flushed");
                            assert_eq!(runs_of(&*engine), 1);
                        }
                        assert_eq!(engine.stats().number(stat::LAST_SEQNO), last);
                        engine
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

fn get_all(engine: &dyn Engine, asked: &[Vec<u8>], is_there: bool) {
    for key in asked {
        let mut sink = |row: Row<'_>| {
            black_box(row.value.len());
        };
        let found = engine.read(key, &ReadOptions::default(), &mut sink).expect("readable");
        assert_eq!(found, is_there);
    }
}

fn scan(engine: &dyn Engine, from: &[u8]) -> usize {
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).expect("a cursor");
    let (mut bytes, mut more) = (0, cursor.seek(from).expect("readable"));
    for _ in 0..SCAN_ROWS {
        let Some(row) = cursor.row().filter(|_| more) else { break };
        bytes += row.key.len() + row.value.len();
        more = cursor.next().expect("readable");
    }
    bytes
}

fn reads(c: &mut Criterion) {
    for runs in [1, 4, 16] {
        let fs = store(runs, ROWS, 100);
        let engine = open(&opening("bptree"), &fs);
        assert_eq!(runs_of(&*engine), runs);
        let there: Vec<_> = (0..ROWS).map(|n| key(mix(!n) % ROWS)).collect();
        let absent: Vec<_> = (ROWS..2 * ROWS).map(key).collect();
        get_all(&*engine, &(0..ROWS).map(key).collect::<Vec<_>>(), true);
        for (name, asked, is_there) in [("hit", &there, true), ("miss", &absent, false)] {
            let mut group = c.benchmark_group(format!("get/{name}"));
            group.throughput(Throughput::Elements(GETS as u64)).sample_size(20);
            group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
            let mut chunks = asked.chunks_exact(GETS).cycle();
            group.bench_function(BenchmarkId::from_parameter(runs), |b| {
                b.iter(|| get_all(&*engine, chunks.next().expect("a cycle"), is_there));
            });
        }
        let mut group = c.benchmark_group("cursor");
        group.throughput(Throughput::Elements(SCANS as u64 * SCAN_ROWS)).sample_size(20);
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
        let mut chunks = there.chunks_exact(SCANS).cycle();
        group.bench_function(BenchmarkId::from_parameter(runs), |b| {
            b.iter(|| {
                let from = chunks.next().expect("a cycle").iter();
                from.map(|key| scan(&*engine, key)).sum::<usize>()
            });
        });
    }
}

/// A walk over [`SCAN_ROWS`] keys of many versions each, all of them in the memtable.
fn versions(c: &mut Criterion) {
    for versions in [1, 4, 16, 64, 1_000] {
        let (parts, _tasks) = seeded(1, MemFs::new(), Arc::new(NullMeter));
        let engine = factory("bptree").open(Path::new(DIR), parts).expect("opened");
        (0..versions).for_each(|_| put(&*engine, 0..SCAN_ROWS, 1, 100));
        for (name, is_forward) in [("forward", true), ("backward", false)] {
            let mut group = c.benchmark_group(format!("versions/{name}"));
            group.throughput(Throughput::Elements(SCAN_ROWS)).sample_size(20);
            group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
            group.bench_function(BenchmarkId::from_parameter(versions), |b| {
                b.iter(|| {
                    let all = KeyRange::all();
                    let mut cursor = engine.cursor(&all, &ReadOptions::default()).expect("opened");
                    let mut rows = 0;
                    while if is_forward { cursor.next() } else { cursor.prev() }.expect("readable")
                    {
                        rows += u64::from(black_box(cursor.row()).is_some());
                    }
                    assert_eq!(rows, SCAN_ROWS);
                });
            });
        }
    }
}

criterion_group!(benches, merge, replay, reads, versions);
criterion_main!(benches);
