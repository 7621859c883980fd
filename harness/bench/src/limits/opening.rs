//! Opening a large store that was closed in order.
//!
//! The store is loaded in batches with durability `none`, in order of keys: tables then only move down the tree, which
//! makes a large store in little time. It is let come to rest, flushed and closed. Each trial opens it, reads one record
//! and closes it. The page cache is as the load left it, so this is the work of an opening and not of the disk.

use super::Section;
use super::job::{Job, open_as_run, ordered_key};
use super::physical;
use super::row::{Figure, Row, Worth, median};
use anyhow::{Context, Result, ensure};
use nori_env::{Fs, OsFs};
use nori_kv::{Durability, WriteBatch, stat};
use nori_sstable::table_number;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

pub(super) const SECTION: Section = Section {
    name: "open",
    about: "opening a store of 2 GB (10 GB with --full), page cache warm",
    seconds: [45, 220],
    jobs: || vec![String::new()],
    measure,
};

const MEMORY: u64 = 256 << 20;
const VALUE_BYTES: usize = 1_000;
const BYTES: u64 = 2_000_000_000;
const BYTES_FULL: u64 = 10_000_000_000;
const OPS_PER_BATCH: u64 = 100;
const GOAL_MS: f64 = 500.0;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let dir = job.path("store");
    let bytes = job.count(if job.is_full() { BYTES_FULL } else { BYTES });
    let records = (bytes / (VALUE_BYTES + ordered_key(0).len()) as u64).max(1);
    load(job, &dir, records)?;
    job.at(0.95, "opening");
    let (mut millis, mut held) = (Vec::new(), 0);
    for trial in 0..physical::TRIALS {
        let began = Instant::now();
        let engine = open_as_run(&dir, MEMORY, &[])?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
        let some = ordered_key(u64::from(trial) * (records - 1) / u64::from(physical::TRIALS));
        ensure!(engine.get(&some)?.is_some(), "a record is gone");
        held = engine.stats().number(stat::TABLE_MEMORY_BYTES).unwrap_or(0);
    }
    let names = OsFs.list(&dir)?;
    let tables: Vec<&String> = names.iter().filter(|name| table_number(name).is_some()).collect();
    ensure!(!tables.is_empty(), "the store has no table");
    let what = format!("{} tables, {records} records of {VALUE_BYTES} bytes", tables.len());
    let trials = physical::TRIALS;
    let figure = Figure { trials, ..Figure::new(what, median(millis), "ms", trials.into()) };
    let read = read_ends(&dir, &tables, held)?;
    job.found(Row::new(figure, &[read]).at_most(Worth::Goal, GOAL_MS));
    Ok(())
}

fn load(job: &mut Job<'_>, dir: &Path, records: u64) -> Result<()> {
    let engine = open_as_run(dir, MEMORY, &[])?;
    let (mut batch, value) = (WriteBatch::new(), [7; VALUE_BYTES]);
    for n in 0..records {
        batch.put(&ordered_key(n), &value);
        if (n + 1).is_multiple_of(OPS_PER_BATCH) || n + 1 == records {
            engine.write(&batch, Durability::None)?;
            batch.clear();
        }
        if n.is_multiple_of(10_000) {
            job.at(0.9 * n as f64 / records as f64, "loading");
        }
    }
    job.at(0.9, "settling");
    let maintain = engine.maintain().context("the engine cannot flush")?;
    maintain.flush()?;
    Ok(maintain.settle()?)
}

/// Reading as many bytes as the open store holds of filters and indexes, from the ends of its tables, where they lie.
fn read_ends(dir: &Path, tables: &[&String], held: u64) -> Result<Figure> {
    let bytes = held.div_ceil(tables.len() as u64);
    let mut buffer = vec![0; bytes as usize];
    let mut millis = Vec::new();
    for _ in 0..physical::TRIALS {
        let began = Instant::now();
        for name in tables {
            let file = File::open(dir.join(name.as_str()))?;
            let len = file.metadata()?.len();
            let read = file.read_at(&mut buffer, len.saturating_sub(bytes))?;
            black_box(&buffer[..read]);
        }
        millis.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (what, trials) =
        (format!("reading {} KiB at each table's end", bytes >> 10), physical::TRIALS);
    Ok(Figure { trials, ..Figure::new(what, median(millis), "ms", trials.into()) })
}
