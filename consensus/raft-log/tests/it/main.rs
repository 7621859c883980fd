//! What the log of a node promises, checked from outside.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod crash;
mod model;

use model::{Model, SHARDS, open};
use nori_consensus::chance::Chance;
use nori_consensus::{Index, ShardId, Slice};
use nori_env::{Fs, MemFs, OsFs, SegmentKind};
use nori_raft_log::{Batch, KINDS, LogError};
use std::path::Path;

const DIR: &str = "/node/log";

#[test]
fn what_is_written_comes_back_after_every_opening() {
    for (name, seed) in
        KINDS.into_iter().flat_map(|(name, _)| (0..50).map(move |seed| (name, seed)))
    {
        let fs = MemFs::new();
        let mut chance = Chance::new(seed);
        let mut model = Model::default();
        for _ in 0..6 {
            let log = open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap();
            model.assert_is(&*log);
            for _ in 0..40 {
                let (batch, next) = model.draw(&mut chance);
                log.append(batch).unwrap();
                model = next;
            }
            model.assert_is(&*log);
            for pin in log.purge().unwrap() {
                log.rewrite(pin).unwrap();
            }
            model.assert_is(&*log);
        }
    }
}

#[test]
fn real_files_do_the_same() {
    KINDS.into_iter().for_each(|(name, _)| real_files(name));
}

fn real_files(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(7);
    let mut model = Model::default();
    for kind in [SegmentKind::Mapped, SegmentKind::Pwrite, SegmentKind::Mapped] {
        let log = open(name, &OsFs, dir.path(), kind).unwrap();
        model.assert_is(&*log);
        for _ in 0..100 {
            let (batch, next) = model.draw(&mut chance);
            let mark = log.append(batch).unwrap();
            log.sync(&mark).unwrap();
            model = next;
        }
        log.purge().unwrap();
    }
}

#[test]
fn old_segments_go_when_what_they_hold_is_released_or_written_once_more() {
    let name = "shared";
    let fs = MemFs::new();
    let log = open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap();
    let (mut chance, mut model) = (Chance::new(3), Model::default());
    // One shard writes once, the other on and on.
    for n in 0..200 {
        let shard = if n == 0 { SHARDS[0] } else { SHARDS[1] };
        let (batch, next) = model.grow(shard, &mut chance);
        log.append(batch).unwrap();
        model = next;
    }
    let before = log.segments();
    assert!(before > 10, "{before} segments");
    let pins = log.purge().unwrap();
    assert_eq!(log.segments(), before, "all are needed");
    assert!(pins.iter().any(|pin| pin.shard == SHARDS[0] && pin.bytes > 0), "{pins:?}");
    let (batch, next) = model.release_all(SHARDS[1]);
    log.append(batch).unwrap();
    model = next;
    let pins = log.purge().unwrap();
    assert_eq!(pins.iter().map(|pin| pin.shard).collect::<Vec<_>>(), [SHARDS[0]]);
    while let [pin] = log.purge().unwrap()[..] {
        log.rewrite(pin).unwrap();
    }
    log.purge().unwrap();
    assert!(log.segments() <= 2, "{} segments", log.segments());
    let files = fs.list(Path::new(DIR)).unwrap();
    let segments = files.iter().filter(|name| name.ends_with(".wal")).count();
    assert!(segments <= 3, "{files:?}");
    model.assert_is(&*log);
    drop(log);
    model.assert_is(&*open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap());
}

#[test]
fn what_left_memory_is_fetched_and_is_what_was_written() {
    let name = "shared";
    let fs = MemFs::new();
    let log = open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap();
    let (mut chance, mut model) = (Chance::new(5), Model::default());
    for _ in 0..100 {
        let (batch, next) = model.grow(SHARDS[0], &mut chance);
        log.append(batch).unwrap();
        model = next;
    }
    let view = log.view(SHARDS[0]).unwrap();
    let last = view.last().index;
    log.applied(SHARDS[0], last);
    let from = view.first();
    assert_eq!(view.slice(from, last.next(), usize::MAX), Slice::Pending);
    assert!(log.fetch(SHARDS[0]).unwrap());
    assert!(!log.fetch(SHARDS[0]).unwrap(), "nobody waits any more");
    let Slice::Ready(entries) = view.slice(from, last.next(), usize::MAX) else {
        panic!("it was fetched")
    };
    assert_eq!(entries, model.entries(SHARDS[0]));
}

#[test]
fn a_bit_that_changed_is_damage_and_never_an_entry() {
    let name = "shared";
    let fs = MemFs::new();
    let log = open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap();
    let (mut chance, mut model) = (Chance::new(5), Model::default());
    for _ in 0..100 {
        let (batch, next) = model.grow(SHARDS[0], &mut chance);
        log.append(batch).unwrap();
        model = next;
    }
    let view = log.view(SHARDS[0]).unwrap();
    log.applied(SHARDS[0], view.last().index);
    fs.flip(&Path::new(DIR).join("0000000001.wal"), 64 + 32 + (16 + 24) + 16 + 8 + 20 + 1, 1)
        .unwrap();
    assert_eq!(view.slice(Index(1), Index(2), 1), Slice::Pending);
    let error = log.fetch(SHARDS[0]).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[test]
fn a_second_process_is_kept_out() {
    let name = "shared";
    let dir = tempfile::tempdir().unwrap();
    let log = open(name, &OsFs, dir.path(), SegmentKind::Pwrite).unwrap();
    let second = open(name, &OsFs, dir.path(), SegmentKind::Pwrite);
    assert!(matches!(second, Err(LogError::Io { action: "locking", .. })));
    drop(log);
    open(name, &OsFs, dir.path(), SegmentKind::Pwrite).unwrap();
}

#[test]
fn an_empty_batch_writes_nothing() {
    let name = "shared";
    let fs = MemFs::new();
    let log = open(name, &fs, Path::new(DIR), SegmentKind::Pwrite).unwrap();
    let mut batch = Batch::default();
    batch.release(ShardId(9), Index(4));
    let mark = log.append(batch).unwrap();
    log.sync(&mark).unwrap();
    assert_eq!(log.view(ShardId(9)).unwrap().first(), Index(1));
}
