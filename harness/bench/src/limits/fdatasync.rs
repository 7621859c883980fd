//! What making bytes safe costs on this disk, and what the store makes of it.
//!
//! A write of 150 bytes and fdatasync, on a file whose blocks exist and are zeroed and on one that grows; then writes of
//! class `sync` by one writer and by eight, each a batch of one put, with each log writer. Group sync is to make eight more
//! than one.

use super::Section;
use super::job::{Job, key, open};
use super::row::{Figure, Row};
use anyhow::{Context, Result};
use nori_kv::{Durability, WriteBatch};
use nori_lsm::Components;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) const SECTION: Section = Section {
    name: "fdatasync",
    about: "a sync of the disk, on a file whose blocks exist and on one that grows; writes of class `sync`",
    seconds: [12, 12],
    jobs: || vec![String::new()],
    measure,
};

/// Enough that ten lie beyond the p99.
const SYNCS: u64 = 1_000;
const BYTES: usize = 150;
const WRITERS: [u64; 2] = [1, 8];
const WRITING: Duration = Duration::from_secs(2);
const MEMORY: u64 = 64 << 20;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let syncs = job.count(SYNCS);
    job.at(0.0, "preallocated");
    let preallocated = File::create(job.path("preallocated"))?;
    let zeros = vec![0; SYNCS as usize * BYTES];
    preallocated.write_all_at(&zeros, 0)?;
    preallocated.sync_all()?;
    let preallocated = sync(&preallocated, syncs)?;
    job.at(0.2, "growing");
    let growing = sync(&File::create(job.path("growing"))?, syncs)?;
    let figure = |what: &str, micros: &[f64], q: f64| {
        Figure::new(what, quantile(micros, q), "us", micros.len() as u64)
    };
    let best = figure("fdatasync, preallocated, p50", &preallocated, 0.5);
    job.found(Row::new(best.clone(), &[]));
    job.found(Row::new(figure("fdatasync, preallocated, p99", &preallocated, 0.99), &[]));
    job.found(Row::new(figure("fdatasync, growing, p50", &growing, 0.5), &[]));
    job.found(Row::new(figure("fdatasync, growing, p99", &growing, 0.99), &[]));
    let alone = Figure::new("one after the other, preallocated", 1e6 / best.value, "/s", best.n);
    for line in Components::list().into_iter().filter(|line| line.seam == "wal") {
        for writers in WRITERS {
            job.at(0.5, "sync writes");
            job.found(Row::new(writes(job, line.name, writers)?, std::slice::from_ref(&alone)));
        }
    }
    Ok(())
}

/// Microseconds of each write and sync, in order of length.
fn sync(file: &File, syncs: u64) -> Result<Vec<f64>> {
    let mut micros = Vec::with_capacity(syncs as usize);
    for n in 0..syncs {
        let began = Instant::now();
        file.write_all_at(&[7; BYTES], n * BYTES as u64)?;
        file.sync_data()?;
        micros.push(began.elapsed().as_nanos() as f64 / 1e3);
    }
    micros.sort_by(f64::total_cmp);
    Ok(micros)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = (sorted.len() as f64 * q) as usize;
    sorted.get(at.min(sorted.len() - 1)).copied().unwrap_or_default()
}

/// Writes of class `sync` a second by so many writers.
fn writes(job: &Job<'_>, wal: &str, writers: u64) -> Result<Figure> {
    let engine = open(&job.path(&format!("{wal}-{writers}")), MEMORY, &[("wal", wal)], 1)?;
    let (done, began) = (AtomicU64::new(0), Instant::now());
    let until = WRITING / job.divisor();
    let write = |writer: u64| -> Result<()> {
        let mut batch = WriteBatch::new();
        for n in 0.. {
            if began.elapsed() >= until && n > 0 {
                break;
            }
            batch.clear();
            batch.put(&key(n * writers + writer), &[7; 100]);
            engine.write(&batch, Durability::Sync)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..writers).map(|w| scope.spawn(move || write(w))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().ok().context("a writer panicked").and_then(|outcome| outcome)
        })
    })?;
    let n = done.load(Ordering::Relaxed);
    let per_second = n as f64 / began.elapsed().as_secs_f64();
    let plural = if writers == 1 { "" } else { "s" };
    Ok(Figure::new(format!("sync writes, {wal}, {writers} writer{plural}"), per_second, "/s", n))
}
