//! The files of a run that hold numbers over time: `intervals.csv`, `engine.csv`, `levels.csv`.
//!
//! Rows are in the files as soon as they are known, and are not kept: a run takes the same memory however long it is.

use crate::drive::Interval;
use crate::latency::quantile_us;
use crate::process;
use anyhow::{Context, Result};
use nori_kv::{EngineStats, stat};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Latencies and rates of one second and kind of operation.
#[derive(Clone, Debug, Serialize)]
struct IntervalRow {
    /// Seconds since the run's first phase began.
    t_s: f64,
    workload: String,
    phase: String,
    op: String,
    seconds: f64,
    ops: u64,
    svc_p50_us: Option<f64>,
    svc_p99_us: Option<f64>,
    svc_max_us: f64,
}

/// The process and the engine at one moment.
#[derive(Clone, Debug, Default, Serialize)]
struct EngineRow {
    t_s: f64,
    workload: String,
    phase: String,
    rss: Option<u64>,
    cpu_s: Option<f64>,
    io_w: Option<u64>,
    io_r: Option<u64>,
    disk_bytes: Option<u64>,
    memtable_bytes: Option<u64>,
    cache_bytes: Option<u64>,
    table_memory_bytes: Option<u64>,
    table_bytes: Option<u64>,
    debt_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    l0_runs: Option<u64>,
    total_runs: Option<u64>,
    stall_micros: Option<u64>,
    compactions: Option<u64>,
}

/// One level at one moment.
#[derive(Clone, Debug, Serialize)]
struct LevelRow {
    t_s: f64,
    level: usize,
    runs: u64,
    files: u64,
    bytes: u64,
    entries: u64,
    tombstones: u64,
    bytes_written: u64,
}

/// A file of rows. It is there from its first row on.
struct RowFile {
    path: PathBuf,
    writer: Option<csv::Writer<File>>,
}

impl RowFile {
    fn new(path: PathBuf) -> Self {
        Self { path, writer: None }
    }

    fn write<R: Serialize>(&mut self, rows: impl IntoIterator<Item = R>) -> Result<()> {
        for row in rows {
            if self.writer.is_none() {
                let writer = csv::Writer::from_path(&self.path);
                self.writer =
                    Some(writer.with_context(|| format!("creating {}", self.path.display()))?);
            }
            if let Some(writer) = &mut self.writer {
                writer.serialize(row)?;
            }
        }
        let flushed = self.writer.as_mut().map_or(Ok(()), csv::Writer::flush);
        flushed.with_context(|| format!("writing {}", self.path.display()))
    }
}

/// All series of a run. An engine without levels gets no `levels.csv`.
pub(crate) struct Series {
    intervals: RowFile,
    engine: RowFile,
    levels: RowFile,
}

/// The phase that rows belong to.
#[derive(Clone, Copy)]
pub(crate) struct During<'a> {
    /// Seconds between the beginnings of the run and of the phase.
    pub(crate) t_s: f64,
    pub(crate) workload: &'a str,
    pub(crate) phase: &'a str,
}

impl Series {
    /// The series of a run whose files lie in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let file = |name: &str| RowFile::new(dir.join(name));
        Self {
            intervals: file("intervals.csv"),
            engine: file("engine.csv"),
            levels: file("levels.csv"),
        }
    }

    /// Writes what was recorded in an interval.
    pub(crate) fn interval(&mut self, during: During<'_>, interval: &Interval) -> Result<()> {
        self.intervals.write(interval.latencies.seen().map(|(kind, histogram)| IntervalRow {
            t_s: during.t_s + interval.start.as_secs_f64(),
            workload: during.workload.into(),
            phase: during.phase.into(),
            op: kind.name().into(),
            seconds: interval.length.as_secs_f64(),
            ops: histogram.len(),
            svc_p50_us: quantile_us(histogram, 0.5),
            svc_p99_us: quantile_us(histogram, 0.99),
            svc_max_us: histogram.max() as f64 / 1_000.0,
        }))
    }

    /// Writes the state of process and engine, `elapsed_s` after the phase began.
    pub(crate) fn sample(
        &mut self,
        during: During<'_>,
        elapsed_s: f64,
        stats: &EngineStats,
        disk_bytes: Option<u64>,
    ) -> Result<()> {
        let t_s = during.t_s + elapsed_s;
        let usage = process::Usage::now();
        let has_levels = !stats.levels.is_empty();
        self.engine.write([EngineRow {
            t_s,
            workload: during.workload.into(),
            phase: during.phase.into(),
            rss: process::rss_bytes(),
            cpu_s: usage.cpu_user_s.zip(usage.cpu_sys_s).map(|(user, sys)| user + sys),
            io_w: usage.io_write_bytes,
            io_r: usage.io_read_bytes,
            disk_bytes,
            memtable_bytes: stats.number(stat::MEMTABLE_BYTES),
            cache_bytes: stats.number(stat::CACHE_BYTES),
            table_memory_bytes: stats.number(stat::TABLE_MEMORY_BYTES),
            table_bytes: stats.number(stat::TABLE_BYTES),
            debt_bytes: stats.number(stat::DEBT_BYTES),
            wal_bytes: stats.number(stat::WAL_BYTES),
            l0_runs: stats.levels.first().map(|level| level.runs),
            total_runs: has_levels.then(|| stats.levels.iter().map(|level| level.runs).sum()),
            stall_micros: stats.number(stat::STALL_MICROS),
            compactions: stats.number(stat::COMPACTIONS),
        }])?;
        self.levels.write(stats.levels.iter().enumerate().map(|(level, at)| LevelRow {
            t_s,
            level,
            runs: at.runs,
            files: at.tables,
            bytes: at.bytes,
            entries: at.entries,
            tombstones: at.tombstones,
            bytes_written: at.bytes_written,
        }))
    }
}

/// Bytes that the files under `dir` occupy on the disk. Files that vanish meanwhile are left out; a sparse
/// file counts with what is really stored.
pub(crate) fn disk_bytes(dir: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    /// The unit of `blocks`, whatever the file system's own block is.
    const BLOCK_BYTES: u64 = 512;
    let mut total = 0;
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() {
            disk_bytes(&entry.path()).unwrap_or(0)
        } else {
            metadata.blocks() * BLOCK_BYTES
        };
    }
    Some(total)
}
