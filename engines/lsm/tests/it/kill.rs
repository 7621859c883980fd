//! A process that is killed at a random moment loses no write that it acknowledged, on real files with real threads.
//!
//! 1. The test starts itself again as a child. Two writers, one under `os` and one under `sync`, write numbered values to keys
//!    that come round again, so that flushes and compactions run; after each acknowledgement a writer appends the number
//!    to a file of its own.
//! 2. The parent kills the child (`SIGKILL`) after a time that differs from round to round, and opens the store.
//! 3. Each key must hold the last number acknowledged for it, or the one write that was under way.
//!
//! `NORI_KILLS` sets the number of rounds.

use crate::parts::{factory, tiny};
use nori_env::{Durability, Entropy, OsEntropy};
use nori_kv::{Engine, EngineFactory, Parts, WriteBatch};
use nori_lsm::{LsmFactory, Settings};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: u32 = 100;
const CLASSES: [Durability; 2] = [Durability::Os, Durability::Sync];
/// Keys per writer: a writer comes round to a key again after this many writes.
const KEYS: u64 = 3_000;
const CHILD: &str = "NORI_LSM_KILL_CHILD";

fn opener() -> LsmFactory {
    let settings = Settings { memtable_bytes: 64 << 10, table_bytes: 32 << 10, ..tiny() };
    LsmFactory { settings, ..factory(&[]) }
}

fn key(writer: usize, n: u64) -> Vec<u8> {
    format!("writer-{writer}-{:06}", (n * 7919) % KEYS).into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    value.extend((0..60).map(|i| (n.wrapping_mul(31) + i) as u8));
    value
}

fn told_path(dir: &Path, writer: usize) -> PathBuf {
    dir.join(format!("acknowledged-{writer}"))
}

/// The last number that a writer acknowledged.
fn acknowledged(dir: &Path, writer: usize) -> u64 {
    let bytes = fs::read(told_path(dir, writer)).unwrap_or_default();
    let last = bytes.chunks_exact(8).next_back();
    last.map_or(0, |last| u64::from_le_bytes(last.try_into().unwrap()))
}

/// The child's work; it does nothing unless it is started as one.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    let engine = opener().open(&dir.join("store"), Parts::os(2).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for (writer, class) in CLASSES.into_iter().enumerate() {
            let engine = &engine;
            scope.spawn(move || write_for_ever(&**engine, dir, writer, class));
        }
    });
}

fn write_for_ever(engine: &dyn Engine, dir: &Path, writer: usize, class: Durability) {
    let path = told_path(dir, writer);
    let mut told = File::options().create(true).append(true).open(path).unwrap();
    let mut batch = WriteBatch::new();
    for n in acknowledged(dir, writer) + 1.. {
        batch.clear();
        batch.put(&key(writer, n), &value(n));
        engine.write(&batch, class).unwrap();
        told.write_all(&n.to_le_bytes()).unwrap();
    }
}

#[test]
fn a_hundred_kills_lose_no_acknowledged_write() {
    let kills = std::env::var("NORI_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut seen = [0; 2];
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_progress(dir, seen);
        std::thread::sleep(Duration::from_millis(OsEntropy.below(60)));
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        seen = check(dir, round);
    }
    let [os, sync] = seen;
    println!("{kills} kills: {os} writes acknowledged under os, {sync} under sync, none lost");
}

/// Until both writers have written more than was there: the child is killed while it writes, not while it opens.
fn wait_for_progress(dir: &Path, seen: [u64; 2]) {
    for _ in 0..15_000 {
        if (0..2).all(|writer| acknowledged(dir, writer) > seen[writer]) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("the child wrote nothing in 30 seconds");
}

fn check(dir: &Path, round: u32) -> [u64; 2] {
    let engine = opener().open(&dir.join("store"), Parts::os(2).unwrap()).unwrap();
    let mut told = [0; 2];
    for (writer, last) in told.iter_mut().enumerate() {
        *last = acknowledged(dir, writer);
        for n in last.saturating_sub(KEYS - 1).max(1)..=*last {
            let found = engine.get(&key(writer, n)).unwrap();
            // The write under way when the process died may have come round to this key.
            let under_way =
                *last + 1 == n + KEYS && found.as_deref() == Some(&value(*last + 1)[..]);
            assert!(
                found.as_deref() == Some(&value(n)[..]) || under_way,
                "write {n} of writer {writer} (last {last}) is lost after kill {round}"
            );
        }
    }
    told
}
