//! The files of a run that hold numbers over time: `intervals.csv`, `engine.csv`, `levels.csv`.
//!
//! Rows are in the files as soon as they are known, and are not kept: a run takes the same memory however long it is.

use crate::drive::Interval;
use crate::latency::quantile_us;
use crate::process;
use crate::rows::ALL;
use crate::rows::read_csv;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use nori_kv::{EngineStats, stat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Latencies and rates of one second and kind of operation, or of all kinds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IntervalRow {
    /// Seconds since the run's first phase began.
    pub(crate) t_s: f64,
    pub(crate) workload: String,
    pub(crate) phase: String,
    pub(crate) op: String,
    pub(crate) seconds: f64,
    pub(crate) ops: u64,
    /// In the row of all kinds.
    pub(crate) errors: Option<u64>,
    pub(crate) svc_p50_us: Option<f64>,
    pub(crate) svc_p99_us: Option<f64>,
    pub(crate) svc_max_us: f64,
    pub(crate) rsp_p50_us: Option<f64>,
    pub(crate) rsp_p99_us: Option<f64>,
    pub(crate) rsp_max_us: Option<f64>,
    /// Operations a second that were to be sent, of all kinds.
    pub(crate) offered: Option<f64>,
    /// Operations that were due at the end of the second and had not ended.
    pub(crate) backlog: Option<f64>,
    pub(crate) sched_lag_p99_us: Option<f64>,
}

impl IntervalRow {
    fn new(
        during: During<'_>,
        interval: &Interval,
        op: &str,
        service: &Histogram<u64>,
        response: Option<&Histogram<u64>>,
    ) -> Self {
        Self {
            t_s: during.t_s + interval.start.as_secs_f64(),
            workload: during.workload.into(),
            phase: during.phase.into(),
            op: op.into(),
            seconds: interval.length.as_secs_f64(),
            ops: service.len(),
            errors: None,
            svc_p50_us: quantile_us(service, 0.5),
            svc_p99_us: quantile_us(service, 0.99),
            svc_max_us: service.max() as f64 / 1_000.0,
            rsp_p50_us: response.and_then(|response| quantile_us(response, 0.5)),
            rsp_p99_us: response.and_then(|response| quantile_us(response, 0.99)),
            rsp_max_us: response.map(|response| response.max() as f64 / 1_000.0),
            offered: None,
            backlog: None,
            sched_lag_p99_us: None,
        }
    }

    /// The row of all kinds.
    fn all(during: During<'_>, interval: &Interval) -> Self {
        let recorded = &interval.recorded;
        let service = recorded.latencies.total();
        let response = recorded.open.as_ref().map(|open| open.response().total());
        let lag = recorded.open.as_ref().and_then(|open| quantile_us(open.lag(), 0.99));
        Self {
            errors: Some(interval.errors),
            offered: during.offered_rate,
            backlog: interval.backlog.map(f64::round),
            sched_lag_p99_us: lag,
            ..Self::new(during, interval, ALL, &service, response.as_ref())
        }
    }
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
    memtables_sealed: Option<u64>,
    memtables_sealed_bytes: Option<u64>,
    cache_bytes: Option<u64>,
    table_memory_bytes: Option<u64>,
    filter_bytes: Option<u64>,
    index_bytes: Option<u64>,
    compactions_running: Option<u64>,
    table_bytes: Option<u64>,
    debt_bytes: Option<u64>,
    wal_bytes: Option<u64>,
    l0_runs: Option<u64>,
    total_runs: Option<u64>,
    stalls: Option<u64>,
    stall_micros: Option<u64>,
    flushes: Option<u64>,
    compactions: Option<u64>,
    user_bytes_in: Option<u64>,
    flush_bytes: Option<u64>,
    compaction_read_bytes: Option<u64>,
    compaction_write_bytes: Option<u64>,
    fsyncs: Option<u64>,
    point_reads: Option<u64>,
    blocks_fetched: Option<u64>,
    cache_misses: Option<u64>,
    /// Bytes of keys and values of all live entries.
    live_bytes: Option<u64>,
    /// `disk_bytes / live_bytes`
    sa: Option<f64>,
}

/// One level at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LevelRow {
    pub(crate) t_s: f64,
    pub(crate) level: usize,
    pub(crate) runs: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) bytes_written: u64,
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

/// The rows of `intervals.csv` in the directory of a run; none where there is no such file.
pub(crate) fn read_intervals(dir: &Path) -> Result<Vec<IntervalRow>> {
    read(&dir.join("intervals.csv"))
}

/// The rows of `levels.csv` in the directory of a run; none where there is no such file.
pub(crate) fn read_levels(dir: &Path) -> Result<Vec<LevelRow>> {
    read(&dir.join("levels.csv"))
}

fn read<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    read_csv(path)
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
    /// Of an open loop.
    pub(crate) offered_rate: Option<f64>,
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
        let recorded = &interval.recorded;
        let of_kind = recorded.latencies.seen().map(|(kind, service)| {
            let response = recorded.open.as_ref().map(|open| open.response().of(kind));
            IntervalRow::new(during, interval, kind.name(), service, response)
        });
        self.intervals.write(std::iter::once(IntervalRow::all(during, interval)).chain(of_kind))
    }

    /// Writes the state of process and engine, `elapsed_s` after the phase began.
    pub(crate) fn sample(
        &mut self,
        during: During<'_>,
        elapsed_s: f64,
        stats: &EngineStats,
        space: Space,
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
            disk_bytes: space.disk_bytes,
            memtable_bytes: stats.number(stat::MEMTABLE_BYTES),
            memtables_sealed: stats.number(stat::MEMTABLES_SEALED),
            memtables_sealed_bytes: stats.number(stat::MEMTABLES_SEALED_BYTES),
            cache_bytes: stats.number(stat::CACHE_BYTES),
            table_memory_bytes: stats.number(stat::TABLE_MEMORY_BYTES),
            filter_bytes: stats.number(stat::FILTER_BYTES),
            index_bytes: stats.number(stat::INDEX_BYTES),
            compactions_running: stats.number(stat::COMPACTIONS_RUNNING),
            table_bytes: stats.number(stat::TABLE_BYTES),
            debt_bytes: stats.number(stat::DEBT_BYTES),
            wal_bytes: stats.number(stat::WAL_BYTES),
            l0_runs: stats.levels.first().map(|level| level.runs),
            total_runs: has_levels.then(|| stats.levels.iter().map(|level| level.runs).sum()),
            stalls: stats.number(stat::STALLS),
            stall_micros: stats.number(stat::STALL_MICROS),
            flushes: stats.number(stat::FLUSHES),
            compactions: stats.number(stat::COMPACTIONS),
            user_bytes_in: stats.number(stat::USER_BYTES_IN),
            flush_bytes: stats.number(stat::FLUSH_BYTES),
            compaction_read_bytes: stats.number(stat::COMPACTION_BYTES_READ),
            compaction_write_bytes: stats.number(stat::COMPACTION_BYTES_WRITTEN),
            fsyncs: stats.number(stat::WAL_SYNCS),
            point_reads: stats.number(stat::POINT_READS),
            blocks_fetched: stats.number(stat::BLOCKS_FETCHED),
            cache_misses: stats.number(stat::CACHE_MISSES),
            live_bytes: space.live_bytes,
            sa: space.amplification(),
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

/// What a store takes at one moment, and what lives in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Space {
    pub(crate) disk_bytes: Option<u64>,
    /// Bytes of keys and values of all live entries, where that is known.
    pub(crate) live_bytes: Option<u64>,
}

impl Space {
    pub(crate) fn amplification(self) -> Option<f64> {
        let (disk, live) = (self.disk_bytes?, self.live_bytes?);
        (live > 0).then(|| disk as f64 / live as f64)
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
