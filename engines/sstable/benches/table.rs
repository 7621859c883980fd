//! Point reads and walks of one table, in memory files: what the block, its search, its codec and the cache cost, and
//! nothing of the disk.
//!
//! * `get-cached/<policy>`: every block is in the cache. Index search, slot, policy's bookkeeping, block search.
//! * `get-uncached/<codec>/<access>`: no block is. The same, and the block's way out of the file: read or mapped,
//!   checksum, codec, check of every entry.
//! * `walk/<codec>/<access>`: all entries in order, as a compaction reads them.
//! * `build/<codec>`: writing the table.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nori_env::{Fs, MemFs, OpenMode};
use nori_filter::FilterContext;
use nori_kv::{EntryCursor, EntryRef, Fragments, Kind, SeqNo, Tick};
use nori_sstable::{
    ACCESSES, Access, Cache, Fetch, Table, TableBuilder, TableContext, TableOptions, Tally,
    cache_policies, cache_policy, codec, codecs, table_name,
};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/bench";
const KEYS: u64 = 100_000;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(n: u64) -> Vec<u8> {
    format!("user{n:020}").into_bytes()
}

/// Values of 100 bytes, half of them alike, so that a codec has something to find.
fn value(n: u64) -> Vec<u8> {
    let noise = (0..7).flat_map(|i| mix(n * 7 + i).to_le_bytes());
    noise.chain([b'x'; 44]).collect()
}

fn build(fs: &MemFs, number: u64, codec_name: &str) -> u64 {
    let path = Path::new(DIR).join(table_name(number));
    let file = fs.open(&path, OpenMode::CreateNew).expect("a new file");
    let options = TableOptions {
        codec: codec(codec_name).expect("registered"),
        block_bytes: 4096,
        filter: nori_filter::policy("blocked-bloom").expect("registered"),
        filter_context: FilterContext {
            level: 1,
            is_last_level: true,
            keys_expected: KEYS as usize,
            bits_per_key: 10.0,
        },
        created: Tick(1),
        prefix_bytes: 0,
    };
    let mut builder = TableBuilder::new(file, &path, number, options);
    for n in 0..KEYS {
        let (key, value, seqno) = (key(n), value(n), SeqNo::new(n + 1).expect("small"));
        let entry = EntryRef { key: &key, seqno, kind: Kind::Put, expires: None, value: &value };
        builder.add(&entry).expect("in order");
    }
    builder.finish(&Fragments::default()).expect("written").2
}

fn file_system() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIR)).expect("a folder");
    fs
}

fn open(fs: &MemFs, policy: &str, access: Access) -> Arc<Table> {
    let capacity_bytes = 256 << 20;
    let policy = cache_policy(policy, capacity_bytes).expect("registered");
    let cache = Cache::new(policy, capacity_bytes);
    let context = TableContext::new(Arc::new(fs.clone()), cache, access);
    Table::open(&context, Path::new(DIR), 1).expect("just built")
}

/// Gets timed together in one iteration.
const GETS: usize = 1_000;

fn get(c: &mut Criterion, group: &str, id: BenchmarkId, table: &Table) {
    let asked: Vec<_> = (0..KEYS).map(|n| key(mix(n) % KEYS)).collect();
    let asked: Vec<_> = asked.into_iter().map(|k| (nori_filter::key_hash(&k), k)).collect();
    let get_all = |asked: &[(u64, Vec<u8>)]| {
        let mut tally = Tally::default();
        for (hash, key) in asked {
            let mut sink = |entry: EntryRef<'_>| {
                black_box(entry.value.len());
            };
            let found = table.get((key, *hash), SeqNo::MAX, Fetch::Fill, &mut tally, &mut sink);
            assert!(found.expect("readable"));
        }
    };
    get_all(&asked);
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(GETS as u64)).sample_size(20);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    let mut chunks = asked.chunks_exact(GETS).cycle();
    group.bench_function(id, |b| b.iter(|| get_all(chunks.next().expect("a cycle"))));
}

fn gets(c: &mut Criterion) {
    for entry in codecs() {
        let fs = file_system();
        build(&fs, 1, entry.codec.name());
        for (access_name, access, _) in ACCESSES {
            let id = BenchmarkId::new(entry.codec.name(), access_name);
            get(c, "get-uncached", id, &open(&fs, "none", access));
        }
        if entry.codec.name() == "raw" {
            for policy in cache_policies().iter().filter(|policy| policy.name != "none") {
                let table = open(&fs, policy.name, Access::Pread);
                get(c, "get-cached", BenchmarkId::from_parameter(policy.name), &table);
            }
        }
    }
}

fn walks(c: &mut Criterion) {
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(KEYS)).sample_size(10);
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for entry in codecs() {
        let fs = file_system();
        build(&fs, 1, entry.codec.name());
        for (access_name, access, _) in ACCESSES {
            let table = open(&fs, "none", access);
            group.bench_function(BenchmarkId::new(entry.codec.name(), access_name), |b| {
                b.iter(|| {
                    let (mut cursor, mut bytes) = (table.cursor(Fetch::Pass), 0);
                    while cursor.next().expect("readable") {
                        bytes += cursor.entry().expect("there is one").payload_bytes();
                    }
                    bytes
                });
            });
        }
    }
}

fn builds(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    group.throughput(Throughput::Elements(KEYS)).sample_size(10);
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    for entry in codecs() {
        group.bench_function(entry.codec.name(), |b| {
            b.iter_with_large_drop(|| {
                let fs = file_system();
                build(&fs, 1, entry.codec.name());
                fs
            });
        });
    }
}

criterion_group!(benches, gets, walks, builds);
criterion_main!(benches);
