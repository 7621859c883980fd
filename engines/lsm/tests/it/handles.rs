//! Who keeps a store open, and what an open store refuses.

use crate::parts::{factory, threaded};
use nori_env::{Durability, FaultFs, FaultPlan, Fs, MemFs, OpenMode, OsFs, PowerLoss};
use nori_kv::{Engine, EngineFactory, Error, ErrorKind, KeyRange, ReadOptions, Result, WriteBatch};
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    engine.write(&batch, Durability::Sync).map(drop)
}

#[test]
fn a_cursor_keeps_the_store_open_and_its_tables_from_the_next_one() {
    let (parts, dir) = (threaded(MemFs::new()), Path::new("/handles/store"));
    let factory = factory(&[]);
    let engine = factory.open(dir, parts.clone()).unwrap();
    let maintain = |engine: &Arc<dyn Engine>| {
        engine.maintain().unwrap().flush().unwrap();
        engine.maintain().unwrap().compact(&KeyRange::all()).unwrap();
    };
    put(&*engine, b"a", b"1").unwrap();
    engine.maintain().unwrap().flush().unwrap();
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    put(&*engine, b"a", b"2").unwrap();
    maintain(&engine);
    drop(engine);
    assert_eq!(factory.destroy(dir, &parts).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(factory.open(dir, parts.clone()).err().unwrap().kind(), ErrorKind::Busy);
    assert!(cursor.next().unwrap());
    assert_eq!(cursor.row().unwrap().value, b"1");
    drop(cursor);
    factory.destroy(dir, &parts).unwrap();
    let engine = factory.open(dir, parts.clone()).unwrap();
    put(&*engine, b"b", b"3").unwrap();
    maintain(&engine);
    drop(engine);
    let engine = factory.open(dir, parts).unwrap();
    assert_eq!(engine.get(b"b").unwrap().as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_store_is_never_destroyed_while_it_is_open_however_the_calls_meet() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let factory = factory(&[]);
    let parts = threaded(OsFs);
    let is_over = AtomicBool::new(false);
    // What another holds is Busy; all else is an error of the test.
    let done = |outcome: Result<()>| match outcome {
        Err(Error::Busy { .. }) => false,
        outcome => {
            outcome.unwrap();
            true
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    done(factory.destroy(&store, &parts));
                }
            });
        }
        let openers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut opened = 0;
                    while opened < 60 {
                        let outcome = factory.open(&store, parts.clone()).and_then(|engine| {
                            put(&*engine, b"a", b"1")?;
                            assert!(store.join("CURRENT").exists(), "destroyed while open");
                            assert_eq!(engine.get(b"a")?.as_deref(), Some(&b"1"[..]));
                            Ok(())
                        });
                        opened += u32::from(done(outcome));
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> =
            openers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(outcomes.iter().all(std::result::Result::is_ok));
    });
}

#[test]
fn settings_under_which_a_store_would_wait_for_ever_are_refused() {
    let mut factory = factory(&[]);
    factory.settings.memtables_sealed_max = 0;
    let error = factory.open(Path::new("/handles/x"), threaded(MemFs::new())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("memtables_sealed_max cannot be 0"), "{error}");
}

#[test]
fn a_new_store_in_new_folders_survives_a_power_loss_though_the_opening_that_made_them_was_cut_off()
{
    let dir = Path::new("/new/folders/store");
    let mut cuts = 0;
    for at in 1.. {
        let fs = FaultFs::new(FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() });
        let open = |fs: &FaultFs| {
            let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
            factory(&[]).open(dir, parts)
        };
        let is_whole = open(&fs).is_ok();
        // Killed there: the folders may be in the page cache only.
        fs.set_plan(FaultPlan::default());
        let engine = open(&fs).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1");
        engine.write(&batch, Durability::Sync).unwrap();
        let left = FaultFs::over(fs.after_power_loss(PowerLoss::LosesAll), FaultPlan::default());
        let engine = open(&left).unwrap();
        assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"1"[..]), "cut off at {at}");
        if is_whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "the opening had {cuts} events only");
}

#[test]
fn a_store_in_the_place_of_a_file_is_refused_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    OsFs.open(&path, OpenMode::CreateNew).unwrap().write_at(b"a file", 0).unwrap();
    let error = factory(&[]).open(&path, threaded(OsFs)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("store"), "{error}");
    assert_eq!(OsFs.read(&path).unwrap(), b"a file");
}
