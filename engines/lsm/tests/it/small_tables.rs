//! Flushes of a row each with keys that only ascend: nothing overlaps, and still few tables stay.

use crate::parts::factory;
use nori_env::{Durability, Entropy, MemFs, SeededEntropy};
use nori_kv::{Engine, EngineFactory, KeyRange, ReadOptions, WriteBatch, stat};
use nori_lsm::{Components, LsmFactory, Settings};
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const ROWS: u64 = 400;
const DIR: &str = "/small/store";

fn put(engine: &dyn Engine, n: u64) {
    let mut batch = WriteBatch::new();
    batch.put(&n.to_be_bytes(), &[b'v'; 100]);
    engine.write(&batch, Durability::Os).unwrap();
}

fn tables(engine: &dyn Engine) -> u64 {
    engine.stats().levels.iter().map(|level| level.tables).sum()
}

/// Panics unless there are few tables, written at a price in proportion to what was flushed, and all rows.
fn check(engine: &dyn Engine, what: &str) {
    engine.maintain().unwrap().settle().unwrap();
    let tables = tables(engine);
    assert!(tables <= 40, "{what}: {tables} tables of {ROWS} rows");
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    for n in 0..ROWS {
        assert!(cursor.next().unwrap());
        assert_eq!(cursor.row().unwrap().key, n.to_be_bytes(), "{what}");
    }
    assert!(!cursor.next().unwrap());
}

#[test]
fn flushes_of_one_row_leave_few_tables_under_every_strategy() {
    let strategies = Components::list().into_iter().filter(|line| line.seam == "compaction");
    for strategy in strategies.map(|line| line.name) {
        let mut factory = factory(&[("compaction", strategy)]);
        factory.settings.table_bytes = Settings::default().table_bytes;
        let (parts, _tasks) = seeded(1, MemFs::new(), Arc::new(NullMeter));
        let engine = factory.open(Path::new(DIR), parts).unwrap();
        for n in 0..ROWS {
            put(&*engine, n);
            engine.maintain().unwrap().flush().unwrap();
        }
        check(&*engine, strategy);
        let number = |name| engine.stats().number(name).unwrap();
        let flushed = number(stat::FLUSH_BYTES);
        let written = number(stat::COMPACTION_BYTES_WRITTEN);
        // Each row is written up to four times more, but most of a table of one row is not the row: it was 0.5 to 0.8.
        assert!(written <= 2 * flushed, "{strategy}: {written} bytes for {flushed} flushed");
    }
}

#[test]
fn full_memtables_loaded_in_order_are_moved_as_they_are() {
    // Memtables of 1 MiB below tables of 4 MiB: the least that a usual budget is split into.
    let factory = LsmFactory { settings: Settings::for_memory(8 << 20), ..LsmFactory::default() };
    assert!(factory.settings.table_bytes >= 4 * factory.settings.memtable_bytes);
    let (parts, _tasks) = seeded(1, MemFs::new(), Arc::new(NullMeter));
    let entropy = SeededEntropy::new(1);
    let engine = factory.open(Path::new(DIR), parts).unwrap();
    let mut batch = WriteBatch::new();
    for n in 0..80_000_u64 {
        let value: Vec<u8> = (0..13).flat_map(|_| entropy.next_u64().to_le_bytes()).collect();
        batch.clear();
        batch.put(&n.to_be_bytes(), &value);
        engine.write(&batch, Durability::None).unwrap();
    }
    engine.maintain().unwrap().settle().unwrap();
    let number = |name| engine.stats().number(name).unwrap();
    assert!(number(stat::FLUSHES) >= 8, "{} flushes", number(stat::FLUSHES));
    assert!(engine.stats().levels[1..].iter().any(|level| level.tables > 0), "nothing went down");
    assert_eq!(number(stat::COMPACTION_BYTES_WRITTEN), 0);
}

#[test]
fn openings_that_flush_a_row_each_leave_few_tables() {
    let fs = MemFs::new();
    let factory = LsmFactory { settings: Settings::for_memory(1 << 20), ..LsmFactory::default() };
    let open = || {
        let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
        factory.open(Path::new(DIR), parts).unwrap()
    };
    for n in 0..ROWS {
        put(&*open(), n);
    }
    check(&*open(), "opened");
}
