//! Whether a store keeps to its memory: each memtable and each cache in a process of its own.
//!
//! 1. Open a store with a budget of [`BUDGET_BYTES`], a part of its seams exchanged and all others the defaults.
//! 2. Write [`LOADED`] times the budget in values of [`VALUE_BYTES`], one by one and in random order of keys, then read,
//!    then let the store come to rest.
//! 3. Meanwhile another thread looks every [`LOOK_EVERY`] at the process's anonymous memory: its heap, its stacks, and not
//!    the pages of files, which belong to the kernel's cache.
//!
//! The bound is the budget and a fifth, for what an allocator wastes, and 32 MiB for the process around the store.

use super::Section;
use super::job::{Job, MIB, anonymous_mib, key, mixed, open_as_run};
use super::row::{Figure, Row, Worth};
use crate::plot::thousands;
use anyhow::{Context, Result, ensure};
use nori_kv::{Durability, Engine, Maintain, WriteBatch, stat};
use nori_lsm::Components;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) const SECTION: Section = Section {
    name: "memory",
    about: "anonymous memory of a store of 64 MiB that is loaded with 20 times as much, per memtable and cache",
    seconds: [240, 240],
    jobs,
    measure,
};

const BUDGET_BYTES: u64 = 64 << 20;
const LOADED: u64 = 20;
const VALUE_BYTES: usize = 1_000;
const READS: u64 = 200_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// 1.2 budgets and 32 MiB.
const FLOOR_MIB: f64 = 1.2 * 64.0 + 32.0;
/// The seams whose parts hold most of a store's memory.
const SEAMS: [&str; 2] = ["memtable", "cache"];

fn jobs() -> Vec<String> {
    let of = |seam| Components::list().into_iter().filter(move |line| line.seam == seam);
    SEAMS.into_iter().flat_map(of).map(|line| format!("{}={}", line.seam, line.name)).collect()
}

/// What was seen at one look.
#[derive(Clone, Debug, Default)]
struct Seen {
    mib: f64,
    /// What the engine itself counts as memory at that moment.
    counted_mib: f64,
    looks: u64,
}

fn measure(job: &mut Job<'_>) -> Result<()> {
    let (seam, part) = job.name().split_once('=').context("a job is called seam=name")?;
    let before = anonymous_mib()?;
    let engine = open_as_run(&job.path("store"), BUDGET_BYTES, &[(seam, part)])?;
    let is_over = AtomicBool::new(false);
    let (peak, worked) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&*engine, &is_over));
        let worked = work(job, &engine);
        is_over.store(true, Ordering::Relaxed);
        (watch.join(), worked)
    });
    let records = worked?;
    let peak = peak.map_err(|_| anyhow::anyhow!("the thread that looks panicked"))??;
    let end = Seen { mib: anonymous_mib()?, counted_mib: counted_mib(&*engine), looks: 1 };
    for (when, seen) in [("peak", peak), ("at rest", end)] {
        let process = Figure::new("the process before the store", before, "MiB", 1);
        let counted = Figure::new("counted by the engine", seen.counted_mib, "MiB", 1);
        let what = format!("{seam} {part}, {when} ({} records)", thousands(records));
        let figure = Figure::new(what, seen.mib, "MiB", seen.looks);
        job.found(Row::new(figure, &[process, counted]).at_most(Worth::Floor, FLOOR_MIB));
    }
    Ok(())
}

/// Loads, reads, and lets the store rest; how many records there are.
fn work(job: &mut Job<'_>, engine: &Arc<dyn Engine>) -> Result<u64> {
    let bytes_per_record = (key(0).len() + VALUE_BYTES) as u64;
    let records = job.count(LOADED * BUDGET_BYTES / bytes_per_record);
    let value = [7; VALUE_BYTES];
    let mut batch = WriteBatch::new();
    for n in 0..records {
        if n.is_multiple_of(10_000) {
            job.at(0.8 * n as f64 / records as f64, "loading");
        }
        batch.clear();
        batch.put(&key(n), &value);
        engine.write(&batch, Durability::None)?;
    }
    job.at(0.8, "reading");
    for n in 0..job.count(READS) {
        ensure!(engine.get(&key(mixed(!n) % records))?.is_some(), "a record is gone");
    }
    job.at(0.9, "settling");
    engine.maintain().map_or(Ok(()), Maintain::settle)?;
    Ok(records)
}

/// Looks until it is over; the look that saw most, with the number of all.
fn watch(engine: &dyn Engine, is_over: &AtomicBool) -> Result<Seen> {
    let mut peak = Seen::default();
    let mut looks = 0;
    while looks == 0 || !is_over.load(Ordering::Relaxed) {
        let mib = anonymous_mib()?;
        looks += 1;
        if mib > peak.mib {
            peak = Seen { mib, counted_mib: counted_mib(engine), looks };
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Seen { looks, ..peak })
}

fn counted_mib(engine: &dyn Engine) -> f64 {
    let stats = engine.stats();
    let owners = [stat::MEMTABLE_BYTES, stat::CACHE_BYTES, stat::TABLE_MEMORY_BYTES];
    let bytes: u64 = owners.iter().filter_map(|name| stats.number(name)).sum();
    bytes as f64 / MIB
}
