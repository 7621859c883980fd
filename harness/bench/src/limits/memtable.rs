//! Inserting into each memtable and asking it, at the size at which one is sealed by default.
//!
//! Keys of 24 bytes in random order, values of 100 bytes, one thread; with the hash index that is the default where the
//! memtable can carry one. Gets go in another random order, so that each waits for memory.

use super::job::{Job, key, mixed};
use super::row::{Figure, Row, median};
use super::{Section, physical};
use anyhow::{Result, anyhow};
use nori_kv::{EntryRef, Kind, SeqNo};
use nori_lsm::{Components, Settings};
use nori_memtable::Memtable;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

pub(super) const SECTION: Section = Section {
    name: "memtable",
    about: "an insert into each memtable and a get from it, full to the default size",
    seconds: [20, 20],
    jobs: || vec![String::new()],
    measure,
};

const VALUE: [u8; 100] = [7; 100];
const TRIALS: u32 = 3;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let bytes = Settings::default().memtable_bytes;
    let entries = job.count(bytes / (key(0).len() + VALUE.len()) as u64);
    let keys: Vec<[u8; 24]> = (0..entries).map(key).collect();
    let asked: Vec<[u8; 24]> = (0..entries).map(|n| key(mixed(!n) % entries)).collect();
    let access = physical::memory_access(bytes);
    let names: Vec<&str> =
        Components::list().iter().filter(|line| line.seam == "memtable").map(|l| l.name).collect();
    for (number, name) in names.iter().enumerate() {
        let mut components = Components::default();
        components.set("memtable", name).map_err(|_| anyhow!("{name} is gone"))?;
        let shown = components.memtable.name();
        let (mut inserts, mut gets) = (Vec::new(), Vec::new());
        for _ in 0..TRIALS {
            job.at(number as f64 / names.len() as f64, shown);
            let memtable = components.memtable.create();
            inserts.push(fill(&memtable, &keys));
            // The first get may sort what inserts have put off.
            black_box(memtable.get(&keys[0], SeqNo::MAX).is_some());
            gets.push(ask(&memtable, &asked)?);
        }
        let physical = std::slice::from_ref(&access);
        for (what, values) in [("insert", inserts), ("get", gets)] {
            let n = entries * u64::from(TRIALS);
            let figure = Figure::new(format!("{shown} {what}"), median(values), "ns", n);
            job.found(Row::new(Figure { trials: TRIALS, ..figure }, physical));
        }
    }
    Ok(())
}

/// Nanoseconds for one of the inserts.
fn fill(memtable: &Arc<dyn Memtable>, keys: &[[u8; 24]]) -> f64 {
    let began = Instant::now();
    let mut seqno = SeqNo::ZERO;
    for key in keys {
        seqno = seqno.plus(1);
        memtable.insert(EntryRef { key, seqno, kind: Kind::Put, expires: None, value: &VALUE });
    }
    began.elapsed().as_nanos() as f64 / keys.len() as f64
}

/// Nanoseconds for one of the gets.
fn ask(memtable: &Arc<dyn Memtable>, asked: &[[u8; 24]]) -> Result<f64> {
    let began = Instant::now();
    let found = asked.iter().filter(|key| memtable.get(*key, SeqNo::MAX).is_some()).count();
    let nanos = began.elapsed().as_nanos() as f64 / asked.len() as f64;
    anyhow::ensure!(
        found == asked.len(),
        "{} of {} keys are gone",
        asked.len() - found,
        asked.len()
    );
    Ok(nanos)
}
