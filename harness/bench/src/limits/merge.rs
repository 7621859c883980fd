//! How fast one background thread merges: tables read, blocks verified, entries compared, new tables written and synced.
//!
//! 1. A store whose strategy would not touch them gets four runs of level 0 whose keys lie between each other's, each
//!    flushed by hand; the time of those flushes gives the rate of writing tables without a merge.
//! 2. All of them are merged by hand (`compact`). The rate is the bytes of tables that the engine counts as read by it,
//!    by the time until the call returned. It is the engine's own path, with its validation and its installing.
//!
//! The files are in the page cache.

use super::job::{Job, MEGA, key, open};
use super::row::{Figure, Row, Worth, median};
use super::{Section, physical};
use crate::process::Usage;
use anyhow::{Context, Result, ensure};
use nori_kv::{Durability, Engine, KeyRange, WriteBatch, stat};
use std::time::{Duration, Instant};

pub(super) const SECTION: Section = Section {
    name: "merge",
    about: "a merge of four overlapping runs by one background thread of the engine, of 100 MB",
    seconds: [30, 30],
    jobs: || vec![String::new()],
    measure,
};

/// Its memtables hold a run whole.
const MEMORY: u64 = 512 << 20;
const RUNS: u64 = 4;
/// Of keys and values together.
const BYTES: u64 = 100_000_000;
/// Bytes of a value, and MB/s that are aimed at.
const SHAPES: [(usize, f64); 2] = [(100, 250.0), (1_000, 600.0)];
const TRIALS: u32 = 3;
/// Nothing is merged but by hand, and then at once into the last of two levels.
const CHOICES: [(&str, &str); 2] = [("l0_runs_trigger", "100"), ("levels_max", "2")];
const OPS_PER_BATCH: u64 = 100;

/// One trial.
struct Merged {
    bytes: u64,
    took: Duration,
    cpu_s: f64,
    flushed_bytes: u64,
    flushes_took: Duration,
}

fn measure(job: &mut Job<'_>) -> Result<()> {
    let copying = physical::copying(job.count(64 << 20))?;
    let writing = physical::writing(&job.path("written"), job.count(BYTES))?;
    for (shape, (value_bytes, goal)) in SHAPES.into_iter().enumerate() {
        let mut trials = Vec::new();
        for trial in 0..TRIALS {
            job.at((shape as f64 * 3.0 + f64::from(trial)) / 6.0, "loading and merging");
            trials.push(merge(job, value_bytes)?);
        }
        let figure = |what: &str, bytes: fn(&Merged) -> u64, seconds: fn(&Merged) -> f64| {
            let rate = |one: &Merged| bytes(one) as f64 / MEGA / seconds(one).max(1e-9);
            let total = trials.iter().map(bytes).sum();
            let rate = median(trials.iter().map(rate).collect());
            Figure { trials: TRIALS, ..Figure::new(what, rate, "MB/s", total) }
        };
        let what = format!("values of {value_bytes} bytes");
        let merged = figure(&what, |one| one.bytes, |one| one.took.as_secs_f64());
        let busy =
            figure("by processor time, of the whole process", |one| one.bytes, |one| one.cpu_s);
        let flushed = figure(
            "flush: tables written, nothing merged",
            |one| one.flushed_bytes,
            |one| one.flushes_took.as_secs_f64(),
        );
        job.found(
            Row::new(merged, &[busy, flushed, writing.clone(), copying.clone()])
                .at_least(Worth::Goal, goal),
        );
    }
    Ok(())
}

fn merge(job: &Job<'_>, value_bytes: usize) -> Result<Merged> {
    let dir = job.path("store");
    let engine = open(&dir, MEMORY, &CHOICES, 1)?;
    let number = |name| engine.stats().number(name).unwrap_or(0);
    let maintain = engine.maintain().context("the engine has no flush and no compaction")?;
    let value = vec![7; value_bytes];
    let records = job.count(BYTES / RUNS / (value_bytes + key(0).len()) as u64);
    let mut flushes_took = Duration::ZERO;
    for run in 0..RUNS {
        load(&*engine, run, records, &value)?;
        let began = Instant::now();
        maintain.flush()?;
        flushes_took += began.elapsed();
    }
    ensure!(number(stat::FLUSHES) == RUNS, "{} runs, not {RUNS}", number(stat::FLUSHES));
    let (cpu, began) = (Usage::now(), Instant::now());
    maintain.compact(&KeyRange::all())?;
    let took = began.elapsed();
    let cpu = Usage::now().since(cpu);
    let merged = Merged {
        bytes: number(stat::COMPACTION_BYTES_READ),
        took,
        cpu_s: cpu.cpu_user_s.unwrap_or(0.0) + cpu.cpu_sys_s.unwrap_or(0.0),
        flushed_bytes: number(stat::FLUSH_BYTES),
        flushes_took,
    };
    ensure!(number(stat::COMPACTIONS) > 0 && merged.bytes > 0, "nothing was merged");
    drop(engine);
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(merged)
}

/// Writes every fourth record, from the one called `run` on.
fn load(engine: &dyn Engine, run: u64, records: u64, value: &[u8]) -> Result<()> {
    let mut batch = WriteBatch::new();
    for n in 0..records {
        batch.put(&key(n * RUNS + run), value);
        if (n + 1).is_multiple_of(OPS_PER_BATCH) || n + 1 == records {
            engine.write(&batch, Durability::None)?;
            batch.clear();
        }
    }
    Ok(())
}
