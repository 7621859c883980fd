//! Files that a merge leaves go soon, and never at a reader's cost.

use crate::parts::factory;
use nori_env::{Durability, Fs, MemFs, SeededTasks};
use nori_kv::{Cursor, Engine, EngineFactory, KeyRange, Parts, ReadOptions, WriteBatch};
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/removal/store";

fn tables(fs: &MemFs) -> Vec<String> {
    let names = fs.list(Path::new(DIR)).unwrap();
    names.into_iter().filter(|name| name.ends_with(".table")).collect()
}

/// A store of one merged table, and a cursor over the two that were merged; no job is left.
struct Merged {
    fs: MemFs,
    parts: Parts,
    tasks: SeededTasks,
    engine: Arc<dyn Engine>,
    cursor: Box<dyn Cursor>,
}

fn merged() -> Merged {
    let fs = MemFs::new();
    let (parts, tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts.clone()).unwrap();
    for value in [b"1", b"2"] {
        let mut batch = WriteBatch::new();
        batch.put(b"a", value);
        engine.write(&batch, Durability::Os).unwrap();
        engine.maintain().unwrap().flush().unwrap();
    }
    let cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    engine.maintain().unwrap().compact(&KeyRange::all()).unwrap();
    tasks.run(1_000);
    assert_eq!(tables(&fs).len(), 3, "the cursor keeps what was merged");
    Merged { fs, parts, tasks, engine, cursor }
}

#[test]
fn whoever_drops_the_last_handle_of_a_table_does_not_remove_its_file() {
    let Merged { fs, tasks, engine, mut cursor, .. } = merged();
    assert!(cursor.next().unwrap());
    drop(cursor);
    assert_eq!(tables(&fs).len(), 3, "a file was removed on the reader's thread");
    assert_eq!(tasks.run(1_000), 2, "a job for each");
    assert_eq!(tables(&fs).len(), 1);
    assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_store_that_closes_waits_until_the_files_are_removed() {
    for is_engine_last in [false, true] {
        let Merged { fs, parts, tasks, engine, cursor } = merged();
        if is_engine_last {
            drop(cursor);
            drop(engine);
        } else {
            drop(engine);
            drop(cursor);
        }
        let left = tables(&fs);
        assert_eq!(left.len(), 1);
        assert_eq!(tasks.run(1_000), 0, "nothing is left that could touch the next store's files");
        let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
        assert_eq!(tables(&fs), left);
        assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
    }
}
