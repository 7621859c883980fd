//! Point reads and walks of one table, in memory files: what the block, its search, its codec and the cache cost, and
//! nothing of the disk.
//!
//! * `get-cached/<policy>`: every block is in the cache. Index search, slot, policy's bookkeeping, block search.
//! * `get-uncached/<codec>/<access>`: no block is. The same, and the block's way out of the file: read or mapped,
//!   checksum, codec, check of every entry.
//! * `cache-hit/<policy>`: the policy alone: it is told of a hit on one of the blocks it holds.
//! * `cache-mix/<policy>`: the policy alone, with room for half of the blocks asked for, skewed: a hit is told, a miss offers the block
//!   and drops the victims. What share hits differs from policy to policy and is printed.
//! * `walk/<codec>/<access>`: all entries in order, as a compaction reads them.
//! * `build/<codec>`: writing the table.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nori_env::{Fs, MemFs, OpenMode};
use nori_filter::FilterContext;
use nori_kv::{EntryCursor, EntryRef, Fragments, Kind, SeqNo, Tick};
use nori_sstable::{
    ACCESSES, Access, Cache, CachePolicy, Fetch, FrameId, Table, TableBuilder, TableContext,
    TableOptions, Tally, cache_policies, cache_policy, codec, codecs, table_name,
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

/// Blocks that a policy is asked for; it has room for half of them in `cache-mix`.
const BLOCKS: u64 = 50_000;
const BLOCK_BYTES: usize = 4096;

/// A policy with the frames of its blocks, as a cache keeps them.
struct Held {
    policy: Box<dyn CachePolicy>,
    /// `frames[block]`, if it is in memory.
    frames: Vec<Option<FrameId>>,
    /// `blocks[frame]`.
    blocks: Vec<u64>,
    free: Vec<FrameId>,
    victims: Vec<FrameId>,
}

impl Held {
    fn new(policy: &str, capacity_bytes: usize) -> Self {
        let policy = cache_policy(policy, capacity_bytes).expect("registered");
        let frames = vec![None; BLOCKS as usize];
        // The frame being admitted has a number before its victims give theirs back.
        let free = (0..=BLOCKS as FrameId).rev().collect();
        Self { policy, frames, blocks: vec![0; BLOCKS as usize + 1], free, victims: Vec::new() }
    }

    /// Asks for a block; whether it was there.
    fn ask(&mut self, block: u64) -> bool {
        if let Some(frame) = self.frames[block as usize] {
            self.policy.touch(frame);
            return true;
        }
        let id = self.free.pop().expect("a frame more than blocks");
        let stays = self.policy.admit(id, block, BLOCK_BYTES, &mut self.victims);
        for victim in self.victims.drain(..) {
            self.frames[self.blocks[victim as usize] as usize] = None;
            self.free.push(victim);
        }
        if stays {
            self.frames[block as usize] = Some(id);
            self.blocks[id as usize] = block;
        } else {
            self.free.push(id);
        }
        false
    }
}

/// Each policy without the cache around it.
fn policies(c: &mut Criterion) {
    // The square of a fraction: the first tenth of the blocks gets a third of the asking.
    let skewed = |n: u64| {
        let fraction = (mix(n) >> 11) as f64 / (1u64 << 53) as f64;
        (fraction * fraction * BLOCKS as f64) as u64
    };
    let asked: Vec<_> = (0..20 * BLOCKS).map(skewed).collect();
    let all_bytes = BLOCKS as usize * BLOCK_BYTES;
    // Twice the room, for policies that keep a part of it for newcomers.
    for (name, capacity_bytes) in [("cache-hit", 2 * all_bytes), ("cache-mix", all_bytes / 2)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(GETS as u64)).sample_size(20);
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
        for policy in cache_policies().iter().filter(|policy| policy.name != "none") {
            let mut held = Held::new(policy.name, capacity_bytes);
            for block in (0..BLOCKS).chain(asked.iter().copied()) {
                held.ask(block);
            }
            assert!(name != "cache-hit" || held.frames.iter().all(Option::is_some));
            let (mut hits, mut all) = (0u64, 0u64);
            let mut chunks = asked.chunks_exact(GETS).cycle();
            group.bench_function(policy.name, |b| {
                b.iter(|| {
                    let chunk = chunks.next().expect("a cycle");
                    hits += chunk.iter().map(|block| u64::from(held.ask(*block))).sum::<u64>();
                    all += GETS as u64;
                });
            });
            if all > 0 {
                eprintln!("{name}/{}: {:.1} % hit", policy.name, 100.0 * hits as f64 / all as f64);
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

criterion_group!(benches, gets, policies, walks, builds);
criterion_main!(benches);
