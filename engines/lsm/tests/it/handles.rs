//! Who keeps a store open, and what an open store refuses.

use crate::parts::{factory, threaded};
use nori_env::{
    Durability, File, Fs, Lock, MemFs, NameChange, OpenMode, OsFs, Segment, SegmentKind,
};
use nori_kv::{Engine, EngineFactory, Error, ErrorKind, KeyRange, ReadOptions, Result, WriteBatch};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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

/// Notes which folders were synced. Files in memory do not know whether a folder's own name is safe.
struct Noting {
    inner: MemFs,
    synced: Arc<Mutex<Vec<PathBuf>>>,
}

impl Fs for Noting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.inner.open(path, mode)
    }
    fn segment(&self, path: &Path, kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.inner.segment(path, kind, bytes)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        self.inner.change(change)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.synced.lock().unwrap().push(dir.to_owned());
        self.inner.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

#[test]
fn the_folder_above_each_new_folder_is_synced() {
    let synced = Arc::new(Mutex::new(Vec::new()));
    let inner = MemFs::new();
    inner.create_dir(Path::new("/old")).unwrap();
    let parts = threaded(Noting { inner, synced: Arc::clone(&synced) });
    drop(factory(&[]).open(Path::new("/old/new/newer/store"), parts).unwrap());
    let synced = synced.lock().unwrap();
    for above in ["/old", "/old/new", "/old/new/newer"] {
        assert!(synced.iter().any(|dir| dir == Path::new(above)), "{above}: {synced:?}");
    }
}
