//! What reading alone brings about.

use crate::parts::{factory, threaded};
use nori_env::{Durability, MemFs};
use nori_kv::{Engine, EngineFactory, KeyRange, ReadOptions, WriteBatch, stat};
use std::path::Path;
use std::sync::Arc;

/// A store with three runs in level 0, fewer than start a compaction.
fn three_runs(seek_bytes: u64) -> Arc<dyn Engine> {
    let mut factory = factory(&[]);
    factory.settings.seek_bytes = seek_bytes;
    factory.settings.memtable_bytes = 64 << 10;
    let engine = factory.open(Path::new("/store"), threaded(MemFs::new())).unwrap();
    for run in 0..3 {
        let mut batch = WriteBatch::new();
        for n in 0..100 {
            batch.put(format!("key{n:03}{run}").as_bytes(), &[b'v'; 50]);
        }
        engine.write(&batch, Durability::Os).unwrap();
        engine.maintain().unwrap().flush().unwrap();
    }
    engine
}

fn l0_runs(engine: &dyn Engine) -> u64 {
    engine.stats().levels[0].runs
}

fn scan(engine: &dyn Engine, n: u64) {
    let range = KeyRange { start: format!("key{:03}", n % 100).into_bytes(), end: None };
    let mut cursor = engine.cursor(&range, &ReadOptions::default()).unwrap();
    for _ in 0..3 {
        assert!(cursor.next().unwrap());
    }
}

#[test]
fn runs_that_cursors_keep_seeking_in_are_merged_though_nothing_is_written() {
    for (seek_bytes, runs) in [(1 << 10, 0), (0, 3)] {
        let engine = three_runs(seek_bytes);
        assert_eq!(l0_runs(&*engine), 3);
        // Asking what is due is rare.
        (0..5_000).for_each(|n| scan(&*engine, n));
        engine.maintain().unwrap().settle().unwrap();
        assert_eq!(l0_runs(&*engine), runs, "a seek costs {seek_bytes}");
        let compactions = engine.stats().number(stat::COMPACTIONS).unwrap();
        assert_eq!(compactions, u64::from(seek_bytes > 0), "merged once, and then at rest");
    }
}

#[test]
fn one_cursor_that_seeks_often_counts_as_much_as_many() {
    let engine = three_runs(1 << 10);
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    for n in 0..5_000 {
        assert!(cursor.seek(format!("key{:03}", n % 100).as_bytes()).unwrap());
    }
    drop(cursor);
    engine.maintain().unwrap().settle().unwrap();
    assert_eq!(l0_runs(&*engine), 0);
}
