//! Keys with far more versions than rows: a cursor passes them by, and still finds what the oracle finds.

use crate::parts::factory;
use nori_env::{Durability, Entropy, MemFs, SeededEntropy};
use nori_kv::{
    Cursor, Engine, EngineFactory, KeyRange, ReadOptions, Reader, SeqNo, Tick, WriteBatch, stat,
};
use nori_lsm::{Components, LsmFactory};
use nori_model::ModelFactory;
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/versions/store";
const KEYS: u64 = 12;

/// A store of one memtable kind whose memtable holds all that these tests write between two flushes.
fn roomy(memtable: &str) -> LsmFactory {
    let mut factory = factory(&[("memtable", memtable)]);
    factory.settings.memtable_bytes = 8 << 20;
    factory
}

fn memtables() -> Vec<&'static str> {
    let all = Components::list().into_iter();
    all.filter(|line| line.seam == "memtable").map(|line| line.name).collect()
}

fn key(n: u64) -> Vec<u8> {
    // Keys that begin with one another.
    vec![b'k'; 1 + n as usize]
}

fn write(engines: &[Arc<dyn Engine>; 2], batch: &WriteBatch) {
    let numbers: [SeqNo; 2] = [0, 1].map(|n| engines[n].write(batch, Durability::None).unwrap());
    assert_eq!(numbers[0], numbers[1]);
}

/// The entries that cursors met while `walk` walked.
fn met(engine: &dyn Engine, walk: impl FnOnce()) -> u64 {
    let entries = || engine.stats().number(stat::SCAN_ENTRIES).unwrap();
    let before = entries();
    walk();
    entries() - before
}

fn rows(reader: &dyn Reader, go: impl Fn(&mut dyn Cursor) -> bool) -> u64 {
    let mut cursor = reader.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    std::iter::from_fn(|| go(&mut *cursor).then_some(())).count() as u64
}

#[test]
fn a_walk_over_keys_of_many_versions_meets_a_few_of_each() {
    const VERSIONS: u64 = 2_000;
    // Eight steps and the last look, for each of three reasons to pass by: too new, superseded, another source.
    const MET_MAX: u64 = 30;
    for memtable in memtables() {
        let (parts, _tasks) = seeded(1, MemFs::new(), Arc::new(NullMeter));
        let engine = roomy(memtable).open(Path::new(DIR), parts).unwrap();
        let write_all = |versions: u64| {
            let mut batch = WriteBatch::new();
            for version in 0..versions {
                batch.clear();
                for n in 0..KEYS {
                    batch.put(&key(n), &version.to_le_bytes());
                }
                engine.write(&batch, Durability::None).unwrap();
            }
        };
        write_all(VERSIONS / 2);
        let snapshot = engine.snapshot().unwrap();
        write_all(VERSIONS / 2);
        for is_flushed in [false, true] {
            for reader in [&*engine as &dyn Reader, &*snapshot] {
                for is_forward in [true, false] {
                    let go = |cursor: &mut dyn Cursor| {
                        if is_forward { cursor.next().unwrap() } else { cursor.prev().unwrap() }
                    };
                    let met = met(&*engine, || assert_eq!(rows(reader, go), KEYS));
                    assert!(
                        met <= KEYS * MET_MAX,
                        "{memtable}, flushed {is_flushed}, forward {is_forward}: {met} entries met"
                    );
                }
            }
            // The snapshot keeps two versions of each key, the other versions go; all of it is written once more.
            engine.maintain().unwrap().flush().unwrap();
            write_all(VERSIONS);
        }
    }
}

/// One batch of anything; what it does to keys is drawn.
fn drawn(entropy: &SeededEntropy, now: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for _ in 0..=entropy.below(4) {
        // One key in four gets nearly everything.
        let n =
            if entropy.below(8) > 0 { entropy.below(KEYS / 4) * 4 } else { entropy.below(KEYS) };
        let value = entropy.next_u64().to_le_bytes();
        match entropy.below(200) {
            0 => batch.delete_range(&key(n), &key(n + 1 + entropy.below(KEYS))),
            1..40 => batch.delete(&key(n)),
            40..60 => batch.put_until(&key(n), &value, Tick(1 + now + entropy.below(9))),
            _ => batch.put(&key(n), &value),
        };
    }
    batch
}

fn bounds(entropy: &SeededEntropy) -> KeyRange {
    match entropy.below(4) {
        0 => KeyRange::between(&key(entropy.below(KEYS)), &key(entropy.below(KEYS))),
        1 => KeyRange::from(&key(entropy.below(KEYS))),
        _ => KeyRange::all(),
    }
}

/// Moves two cursors alike, at random but for a while in one direction.
fn walk(entropy: &SeededEntropy, [store, model]: [&dyn Reader; 2], now: u64) {
    let (range, options) =
        (bounds(entropy), ReadOptions { now: Tick(now), ..ReadOptions::default() });
    let mut cursors = [store, model].map(|reader| reader.cursor(&range, &options).unwrap());
    let mut is_forward = true;
    for _ in 0..40 {
        if entropy.below(4) == 0 {
            is_forward = !is_forward;
        }
        let (what, sought) = (entropy.below(10), key(entropy.below(KEYS)));
        let found = cursors.each_mut().map(|cursor| {
            let is_there = match (what, is_forward) {
                (0, _) => cursor.seek(&sought),
                (1, _) => cursor.seek_back(&sought),
                (_, true) => cursor.next(),
                (_, false) => cursor.prev(),
            };
            (is_there.unwrap(), cursor.row().map(|row| (row.key.to_vec(), row.value.to_vec())))
        });
        assert_eq!(found[0], found[1], "forward {is_forward}");
    }
}

#[test]
fn many_versions_and_snapshots_and_turns_of_a_cursor_agree_with_the_oracle() {
    for (seed, memtable) in memtables().into_iter().cycle().take(24).enumerate() {
        let entropy = SeededEntropy::new(seed as u64);
        let (parts, _tasks) = seeded(seed as u64, MemFs::new(), Arc::new(NullMeter));
        let oracle = ModelFactory::default();
        let dir = Path::new(DIR);
        let engines =
            [roomy(memtable).open(dir, parts.clone()).unwrap(), oracle.open(dir, parts).unwrap()];
        let mut snapshots = Vec::new();
        let mut now = 1;
        for n in 0..1_200 {
            write(&engines, &drawn(&entropy, now));
            now += u64::from(n % 50 == 0);
            match entropy.below(400) {
                0 => engines.iter().for_each(|e| e.maintain().unwrap().flush().unwrap()),
                1..5 => snapshots.push([0, 1].map(|n| engines[n].snapshot().unwrap())),
                5..8 if !snapshots.is_empty() => {
                    drop(snapshots.swap_remove(entropy.below(snapshots.len() as u64) as usize));
                }
                8..20 => {
                    walk(&entropy, [&*engines[0], &*engines[1]], now);
                    for [store, model] in &snapshots {
                        walk(&entropy, [&**store, &**model], now);
                    }
                }
                _ => {}
            }
        }
    }
}
