//! Class `os`, proven: a process that is killed loses no write that it acknowledged.
//!
//! 1. The test starts itself again as a child, which writes without end from two threads. After each
//!    acknowledged write a thread appends the write's number to a file of its own.
//! 2. The parent kills the child (`SIGKILL`) after a time that differs from round to round.
//! 3. The parent opens the store and looks for every write that was acknowledged, in this round or before.
//!
//! `NORI_KILLS` sets the number of rounds per engine.

use nori_adapters::factory;
use nori_env::{Entropy, OsEntropy};
use nori_kv::{Durability, Engine, Parts, WriteBatch};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Rounds when nothing else is asked for.
const KILLS: u32 = 10;
const WRITERS: u64 = 2;
/// What the child is told through the environment: the engine and the folder.
const CHILD: &str = "NORI_KILL_CHILD";
const MEMORY_BYTES: u64 = 16 << 20;

fn key(writer: u64, n: u64) -> Vec<u8> {
    format!("writer-{writer}-{n:010}").into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    (0..100).map(|i| (n.wrapping_mul(31) + i) as u8).collect()
}

fn acknowledged_path(dir: &Path, writer: u64) -> PathBuf {
    dir.join(format!("acknowledged-{writer}"))
}

/// The number of writes acknowledged by a writer: what it appended last.
fn acknowledged(dir: &Path, writer: u64) -> u64 {
    let bytes = fs::read(acknowledged_path(dir, writer)).unwrap_or_default();
    let whole = bytes.chunks_exact(8).next_back();
    whole.map_or(0, |last| u64::from_le_bytes(last.try_into().expect("eight bytes")))
}

/// The child's work; it does nothing unless it is started as one.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (name, dir) = told.split_once('|').expect("an engine and a folder");
    let dir = Path::new(dir);
    let factory = factory(name, MEMORY_BYTES).expect("the row is listed");
    let engine = factory.open(&dir.join("store"), Parts::os(1).expect("threads")).expect("opens");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || write_for_ever(&**engine, dir, writer));
        }
    });
}

fn write_for_ever(engine: &dyn Engine, dir: &Path, writer: u64) {
    let path = acknowledged_path(dir, writer);
    let mut told = File::options().create(true).append(true).open(path).expect("opens");
    let mut batch = WriteBatch::new();
    for n in acknowledged(dir, writer) + 1.. {
        batch.clear();
        batch.put(&key(writer, n), &value(n));
        engine.write(&batch, Durability::Os).expect("a write is taken");
        told.write_all(&n.to_le_bytes()).expect("the acknowledgement is written");
    }
}

fn kills() -> u32 {
    std::env::var("NORI_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS)
}

/// Kills as often as is asked for; what was seen, in a line.
fn survives(name: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let mut seen = 0;
    for round in 0..kills() {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill::child_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, format!("{name}|{}", dir.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the child starts");
        wait_for_progress(dir, seen);
        std::thread::sleep(Duration::from_millis(5 + OsEntropy.below(60)));
        assert!(
            child.try_wait().expect("the child's state").is_none(),
            "{name}: the child ended by itself"
        );
        child.kill().expect("the child is killed");
        child.wait().expect("the child is gone");
        seen = check(name, dir, round);
    }
    format!("{name}: {} kills, {seen} acknowledged writes, none lost", kills())
}

/// Until the child has written more than was there: it is killed while it writes, not while it opens.
fn wait_for_progress(dir: &Path, seen: u64) {
    for _ in 0..3_000 {
        if (0..WRITERS).map(|writer| acknowledged(dir, writer)).sum::<u64>() > seen {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the child wrote nothing in 30 seconds");
}

/// Looks for every acknowledged write; their number.
fn check(name: &str, dir: &Path, round: u32) -> u64 {
    let factory = factory(name, MEMORY_BYTES).expect("the row is listed");
    let engine = factory
        .open(&dir.join("store"), Parts::os(1).expect("threads"))
        .expect("opens after a kill");
    let mut sum = 0;
    for writer in 0..WRITERS {
        let last = acknowledged(dir, writer);
        for n in 1..=last {
            let found = engine.get(&key(writer, n)).expect("a read");
            assert_eq!(
                found.as_deref(),
                Some(&value(n)[..]),
                "{name}: write {n} of {writer} after kill {round}"
            );
        }
        sum += last;
    }
    sum
}

#[test]
fn fjall_loses_no_acknowledged_write_to_a_kill() {
    println!("{}", survives("fjall"));
}

#[test]
fn redb_loses_no_acknowledged_write_to_a_kill() {
    println!("{}", survives("redb"));
}

#[test]
fn lmdb_loses_no_acknowledged_write_to_a_kill() {
    println!("{}", survives("lmdb"));
}

#[test]
fn sled_loses_no_acknowledged_write_to_a_kill() {
    println!("{}", survives("sled"));
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_loses_no_acknowledged_write_to_a_kill() {
    println!("{}", survives("rocksdb"));
}
