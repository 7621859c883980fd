//! The files of a run that hold numbers over time: `intervals.csv`, `engine.csv`, `levels.csv`.
//!
//! Rows are kept in memory while a phase runs and written when it has ended.

use crate::latency::{IntervalLog, quantile_us};
use crate::process;
use anyhow::{Context, Result};
use nori_kv::{EngineStats, stat};
use serde::Serialize;
use std::path::Path;

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

/// All series of a run.
#[derive(Default)]
pub(crate) struct Series {
    intervals: Vec<IntervalRow>,
    engine: Vec<EngineRow>,
    levels: Vec<LevelRow>,
}

impl Series {
    /// Adds the intervals of a phase that began `t_s` after the run.
    pub(crate) fn add_intervals(
        &mut self,
        t_s: f64,
        workload: &str,
        phase: &str,
        log: &IntervalLog,
    ) {
        for (start, length, latencies) in log.intervals() {
            for (kind, histogram) in latencies.seen() {
                self.intervals.push(IntervalRow {
                    t_s: t_s + start.as_secs_f64(),
                    workload: workload.into(),
                    phase: phase.into(),
                    op: kind.name().into(),
                    seconds: length.as_secs_f64(),
                    ops: histogram.len(),
                    svc_p50_us: quantile_us(histogram, 0.5),
                    svc_p99_us: quantile_us(histogram, 0.99),
                    svc_max_us: histogram.max() as f64 / 1_000.0,
                });
            }
        }
    }

    /// Adds the state of process and engine at `t_s` after the run began.
    pub(crate) fn sample(
        &mut self,
        t_s: f64,
        workload: &str,
        phase: &str,
        stats: &EngineStats,
        disk_bytes: Option<u64>,
    ) {
        let usage = process::Usage::now();
        let has_levels = !stats.levels.is_empty();
        self.engine.push(EngineRow {
            t_s,
            workload: workload.into(),
            phase: phase.into(),
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
        });
        for (level, at) in stats.levels.iter().enumerate() {
            self.levels.push(LevelRow {
                t_s,
                level,
                runs: at.runs,
                files: at.tables,
                bytes: at.bytes,
                entries: at.entries,
                tombstones: at.tombstones,
                bytes_written: at.bytes_written,
            });
        }
    }

    /// Writes the files. An engine without levels gets no `levels.csv`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        write(&dir.join("intervals.csv"), &self.intervals)?;
        write(&dir.join("engine.csv"), &self.engine)?;
        if !self.levels.is_empty() {
            write(&dir.join("levels.csv"), &self.levels)?;
        }
        Ok(())
    }
}

fn write<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    let mut writer =
        csv::Writer::from_path(path).with_context(|| format!("creating {}", path.display()))?;
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush().with_context(|| format!("writing {}", path.display()))
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
