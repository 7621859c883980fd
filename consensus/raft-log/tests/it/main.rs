//! Every kind of log keeps the laws; and what only the shared one has to do.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

use bytes::Bytes;
use nori_consensus::{Entry, EntryKind, Index, LogId, ShardId, Slice, Store, Term, WriteId};
use nori_env::{Fs, ManualClock, MemFs, OpenMode, OsFs, SeededTasks, SegmentKind};
use nori_observe::NullMeter;
use nori_raft_log::conformance::Suite;
use nori_raft_log::{Batch, KINDS, LogError, LogOptions, NodeLog, Result};
use nori_wal::WalOptions;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/node/log";
const QUIET: ShardId = ShardId(1);
const BUSY: ShardId = ShardId(2);

fn open_as(name: &str, fs: Arc<dyn Fs>, dir: &Path, kind: SegmentKind) -> Result<Arc<dyn NodeLog>> {
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let wal = WalOptions { kind, segment_bytes: 4096 };
    let options = LogOptions { wal, cached_bytes_max: 500 };
    nori_raft_log::open(name, dir, fs, tasks, Arc::new(NullMeter), options).unwrap()
}

fn shared(fs: &MemFs) -> Arc<dyn NodeLog> {
    open_as("shared", Arc::new(fs.clone()), Path::new(DIR), SegmentKind::Pwrite).unwrap()
}

/// An entry of 700 bytes and a promise behind what the shard has.
fn grow(log: &dyn NodeLog, shard: ShardId) -> Entry {
    let last = log.view(shard).unwrap().last();
    let id = LogId { term: Term(1), index: last.index.next() };
    let payload = vec![id.index.0 as u8; 700].into();
    let entry = Entry { id, kind: EntryKind::Data, payload };
    let mut batch = Batch::default();
    batch.store(
        shard,
        Store {
            write: WriteId(1),
            hard_state: Some(Bytes::from_static(&[9; 24])),
            truncate_from: None,
            entries: vec![entry.clone()],
            sync: true,
        },
    );
    log.append(batch).unwrap();
    entry
}

fn read(log: &dyn NodeLog, shard: ShardId) -> Vec<Entry> {
    let view = log.view(shard).unwrap();
    let (mut entries, mut from) = (Vec::new(), view.first());
    while from <= view.last().index {
        match view.slice(from, view.last().index.next(), usize::MAX) {
            Slice::Ready(more) => entries.extend(more),
            Slice::Pending => assert!(log.fetch(shard).unwrap()),
        }
        from = entries.last().map_or(from, |entry: &Entry| entry.id.index.next());
    }
    entries
}

#[test]
fn every_kind_keeps_the_laws() {
    for (name, _) in KINDS {
        let open = |fs, dir: &Path| open_as(name, fs, dir, SegmentKind::Pwrite);
        Suite { open: &open, has_whole_batches: name == "shared" }.run();
    }
}

#[test]
fn real_files_do_the_same() {
    for (name, _) in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let mut entries = Vec::new();
        for kind in [SegmentKind::Mapped, SegmentKind::Pwrite, SegmentKind::Mapped] {
            let log = open_as(name, Arc::new(OsFs), dir.path(), kind).unwrap();
            assert_eq!(read(&*log, BUSY), entries, "{name}");
            entries.extend((0..50).map(|_| grow(&*log, BUSY)));
            log.purge().unwrap();
        }
    }
}

#[test]
fn old_segments_go_when_what_they_hold_is_released_or_written_once_more() {
    let fs = MemFs::new();
    let log = shared(&fs);
    // One shard writes once, the other on and on.
    let kept = grow(&*log, QUIET);
    (0..200).for_each(|_| drop(grow(&*log, BUSY)));
    let before = log.segments();
    assert!(before > 10, "{before} segments");
    let pins = log.purge().unwrap();
    assert_eq!(log.segments(), before, "all are needed");
    assert!(pins.iter().any(|pin| pin.shard == QUIET && pin.bytes > 0), "{pins:?}");
    let mut batch = Batch::default();
    batch.release(BUSY, Index(200));
    log.append(batch).unwrap();
    let pins = log.purge().unwrap();
    assert_eq!(pins.iter().map(|pin| pin.shard).collect::<Vec<_>>(), [QUIET]);
    while let [pin] = log.purge().unwrap()[..] {
        log.rewrite(pin).unwrap();
    }
    log.purge().unwrap();
    assert!(log.segments() <= 2, "{} segments", log.segments());
    let files = fs.list(Path::new(DIR)).unwrap();
    let segments = files.iter().filter(|name| name.ends_with(".wal")).count();
    assert!(segments <= 3, "{files:?}");
    drop(log);
    let log = shared(&fs);
    assert_eq!((read(&*log, QUIET), read(&*log, BUSY)), (vec![kept], Vec::new()));
}

#[test]
fn what_left_memory_is_fetched_and_is_what_was_written() {
    let log = shared(&MemFs::new());
    let entries: Vec<Entry> = (0..100).map(|_| grow(&*log, QUIET)).collect();
    let view = log.view(QUIET).unwrap();
    let last = view.last().index;
    log.applied(QUIET, last);
    assert_eq!(view.slice(Index(1), last.next(), usize::MAX), Slice::Pending);
    assert!(log.fetch(QUIET).unwrap());
    assert!(!log.fetch(QUIET).unwrap(), "nobody waits any more");
    assert_eq!(view.slice(Index(1), last.next(), usize::MAX), Slice::Ready(entries));
}

#[test]
fn a_bit_that_changed_is_damage_and_never_an_entry() {
    let fs = MemFs::new();
    let log = shared(&fs);
    (0..100).for_each(|_| drop(grow(&*log, QUIET)));
    let view = log.view(QUIET).unwrap();
    log.applied(QUIET, view.last().index);
    fs.flip(&Path::new(DIR).join("0000000001.wal"), 64 + 32 + (16 + 24) + 16 + 8 + 20 + 1, 1)
        .unwrap();
    assert_eq!(view.slice(Index(1), Index(2), 1), Slice::Pending);
    let error = log.fetch(QUIET).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

fn copy_of(fs: &MemFs, dir: &Path) -> MemFs {
    let copy = MemFs::new();
    copy.create_dir(dir).unwrap();
    for name in fs.list(dir).unwrap().into_iter().filter(|name| name != "LOCK") {
        let (path, content) = (dir.join(&name), fs.read(&dir.join(&name)).unwrap());
        copy.open(&path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
    }
    copy
}

/// What an opening has written anew was safe when it ended, and says so.
#[test]
fn after_an_opening_every_bit_that_changes_is_damage_or_nothing() {
    let fs = MemFs::new();
    let log = shared(&fs);
    for n in 0..20 {
        grow(&*log, if n % 3 == 0 { QUIET } else { BUSY });
    }
    let mut batch = Batch::default();
    let hard_state = Some(Bytes::from_static(&[7; 24]));
    let (write, entries) = (WriteId(1), Vec::new());
    batch.store(QUIET, Store { write, hard_state, truncate_from: None, entries, sync: true });
    let mark = log.append(batch).unwrap();
    log.sync(&mark).unwrap();
    drop(log);
    let content = |log: &dyn NodeLog| (read(log, QUIET), read(log, BUSY), log.hard_state(QUIET));
    let whole = content(&*shared(&fs));
    let dir = Path::new(DIR);
    let (mut found, mut harmless) = (0, 0);
    for name in fs.list(dir).unwrap().into_iter().filter(|name| name.ends_with(".wal")) {
        for at in 0..fs.read(&dir.join(&name)).unwrap().len() {
            let changed = copy_of(&fs, dir);
            changed.flip(&dir.join(&name), at as u64, 1 << (at % 8)).unwrap();
            match open_as("shared", Arc::new(changed), dir, SegmentKind::Pwrite) {
                Ok(log) => {
                    assert!(content(&*log) == whole, "{name} at byte {at}: something is missing");
                    harmless += 1;
                }
                Err(error) => {
                    let told = error.to_string();
                    assert!(told.contains(&name) && told.contains("damaged"), "{told}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 1_000 && harmless > 0, "{found} {harmless}");
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let open = || open_as("shared", Arc::new(OsFs), dir.path(), SegmentKind::Pwrite);
    let log = open().unwrap();
    assert!(matches!(open(), Err(LogError::Io { action: "locking", .. })));
    drop(log);
    open().unwrap();
}

#[test]
fn an_empty_batch_writes_nothing() {
    let log = shared(&MemFs::new());
    let mut batch = Batch::default();
    batch.release(ShardId(9), Index(4));
    let mark = log.append(batch).unwrap();
    log.sync(&mark).unwrap();
    assert_eq!(log.view(ShardId(9)).unwrap().first(), Index(1));
}
