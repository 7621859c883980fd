//! `summary.csv`: one row per run, phase and kind of operation, and one for all kinds together.
//!
//! What was not measured is an empty cell, never a guess. What belongs to the whole phase (memory, engine
//! counters, disk) stands in the row `all` only, so that no sum over rows counts it twice.

use crate::drive::PhaseOutcome;
use crate::latency::quantile_us;
use crate::out;
use crate::plan::{RunPlan, Step};
use crate::process::Usage;
use crate::series::Space;
use crate::stored::Cell;
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use nori_kv::{EngineStats, stat};
use nori_workloads::{OpKind, PhaseKind, SizeKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The kind under which a row holds all kinds together.
pub(crate) const ALL: &str = "all";

/// One row. The order of the fields is the order of the columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) run_id: String,
    pub(crate) experiment: String,
    pub(crate) block: u32,
    pub(crate) position: u32,
    pub(crate) target: String,
    pub(crate) workload: String,
    pub(crate) phase: String,
    pub(crate) op: String,
    pub(crate) model: String,
    pub(crate) offered_rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) ops: u64,
    pub(crate) errors: u64,
    pub(crate) ops_per_s: f64,
    pub(crate) user_bytes_written: Option<u64>,
    pub(crate) user_bytes_read: Option<u64>,
    pub(crate) svc_mean_us: Option<f64>,
    pub(crate) svc_p50_us: Option<f64>,
    pub(crate) svc_p90_us: Option<f64>,
    pub(crate) svc_p99_us: Option<f64>,
    pub(crate) svc_p999_us: Option<f64>,
    pub(crate) svc_p9999_us: Option<f64>,
    pub(crate) svc_max_us: Option<f64>,
    pub(crate) rsp_mean_us: Option<f64>,
    pub(crate) rsp_p50_us: Option<f64>,
    pub(crate) rsp_p90_us: Option<f64>,
    pub(crate) rsp_p99_us: Option<f64>,
    pub(crate) rsp_p999_us: Option<f64>,
    pub(crate) rsp_p9999_us: Option<f64>,
    pub(crate) rsp_max_us: Option<f64>,
    pub(crate) sched_lag_p99_us: Option<f64>,
    /// Of the time in which operations of an open loop were overdue, the share that was not the engine's.
    pub(crate) late_own_share: Option<f64>,
    pub(crate) stall_count: Option<u64>,
    pub(crate) stall_ms: Option<f64>,
    pub(crate) wa_stop: Option<f64>,
    pub(crate) wa_settled: Option<f64>,
    pub(crate) wa_wal: Option<f64>,
    pub(crate) wa_device: Option<f64>,
    pub(crate) ra_point_blocks: Option<f64>,
    pub(crate) ra_point_physical: Option<f64>,
    pub(crate) runs_probed_per_get: Option<f64>,
    pub(crate) filter_fpr: Option<f64>,
    pub(crate) sa_stop: Option<f64>,
    pub(crate) sa_settled: Option<f64>,
    pub(crate) sa_peak: Option<f64>,
    pub(crate) flushes: Option<u64>,
    pub(crate) flush_bytes: Option<u64>,
    pub(crate) compactions: Option<u64>,
    pub(crate) compaction_read_bytes: Option<u64>,
    pub(crate) compaction_write_bytes: Option<u64>,
    /// Bytes that were written into levels 2 and deeper.
    pub(crate) deep_write_bytes: Option<u64>,
    pub(crate) cpu_user_s: Option<f64>,
    pub(crate) cpu_sys_s: Option<f64>,
    pub(crate) rss_peak_bytes: Option<u64>,
    pub(crate) io_write_bytes: Option<u64>,
    pub(crate) io_read_bytes: Option<u64>,
    pub(crate) fsyncs: Option<u64>,
    pub(crate) cache_hit_ratio: Option<f64>,
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) checked: Option<u64>,
    /// Records of a load that were written after its time, in batches: part of bytes and counters, not of `ops`.
    pub(crate) filled: Option<u64>,
    pub(crate) durability: String,
    pub(crate) threads: u32,
    pub(crate) records: u64,
    pub(crate) value_bytes: Option<u64>,
    pub(crate) memory_bytes: u64,
}

impl Row {
    /// Whether it is of this workload and phase.
    pub(crate) fn is_of(&self, cell: &Cell) -> bool {
        (&self.workload, &self.phase) == (&cell.workload, &cell.phase)
    }

    /// Processor time of the run's process for each operation, where both are known of the same operations: not of a
    /// load that was ended in batches.
    pub(crate) fn cpu_us_per_op(&self) -> Option<f64> {
        let seconds = self.cpu_user_s? + self.cpu_sys_s?;
        let is_of_ops = self.ops > 0 && self.filled.unwrap_or(0) == 0;
        is_of_ops.then(|| seconds * 1e6 / self.ops as f64)
    }

    fn set_responses(&mut self, histogram: &Histogram<u64>) {
        self.rsp_mean_us = Some(histogram.mean() / 1_000.0);
        self.rsp_p50_us = quantile_us(histogram, 0.5);
        self.rsp_p90_us = quantile_us(histogram, 0.9);
        self.rsp_p99_us = quantile_us(histogram, 0.99);
        self.rsp_p999_us = quantile_us(histogram, 0.999);
        self.rsp_p9999_us = quantile_us(histogram, 0.9999);
        self.rsp_max_us = Some(histogram.max() as f64 / 1_000.0);
    }

    fn set_latencies(&mut self, histogram: &Histogram<u64>) {
        if histogram.is_empty() {
            return;
        }
        let micros = |nanos: f64| nanos / 1_000.0;
        self.svc_mean_us = Some(micros(histogram.mean()));
        self.svc_p50_us = quantile_us(histogram, 0.5);
        self.svc_p90_us = quantile_us(histogram, 0.9);
        self.svc_p99_us = quantile_us(histogram, 0.99);
        self.svc_p999_us = quantile_us(histogram, 0.999);
        self.svc_p9999_us = quantile_us(histogram, 0.9999);
        self.svc_max_us = Some(micros(histogram.max() as f64));
    }
}

/// What was seen of the process and the engine during a phase.
pub(crate) struct Seen {
    pub(crate) usage: Usage,
    pub(crate) rss_peak_bytes: Option<u64>,
    pub(crate) space: Space,
    /// The highest space amplification of the samples.
    pub(crate) sa_peak: Option<f64>,
    /// Of an open loop.
    pub(crate) offered_rate: Option<f64>,
    pub(crate) before: EngineStats,
    pub(crate) after: EngineStats,
}

/// The rows of one phase: `all`, then each kind of operation that was done.
pub(crate) fn rows_of(
    plan: &RunPlan,
    step: &Step,
    outcome: &PhaseOutcome,
    seen: &Seen,
) -> Vec<Row> {
    let latencies = &outcome.latencies;
    let rate = |ops: u64| if outcome.seconds > 0.0 { ops as f64 / outcome.seconds } else { 0.0 };
    let base = base(plan, step, outcome, seen);
    let counts = &outcome.counts;
    let mut all = Row {
        op: ALL.into(),
        ops: counts.ops_total(),
        errors: counts.errors_total(),
        ops_per_s: rate(counts.ops_total()),
        user_bytes_written: Some(counts.bytes_written),
        user_bytes_read: Some(counts.bytes_read),
        checked: Some(counts.checked),
        filled: (step.kind() == PhaseKind::Load).then_some(counts.filled),
        cpu_user_s: seen.usage.cpu_user_s,
        cpu_sys_s: seen.usage.cpu_sys_s,
        rss_peak_bytes: seen.rss_peak_bytes,
        io_write_bytes: seen.usage.io_write_bytes,
        io_read_bytes: seen.usage.io_read_bytes,
        disk_bytes: seen.space.disk_bytes,
        sa_stop: seen.space.amplification(),
        sa_peak: seen.sa_peak,
        wa_device: quotient(seen.usage.io_write_bytes, Some(counts.bytes_written)),
        ..base.clone()
    };
    all.set_latencies(&latencies.total());
    if let Some(open) = &outcome.open {
        all.set_responses(&open.response().total());
        all.sched_lag_p99_us = quantile_us(open.lag(), 0.99);
        all.late_own_share = Some(open.own_share());
    }
    let scans = counts.ops[OpKind::Scan as usize] > 0;
    engine_columns(&mut all, seen, counts.bytes_written, scans);
    let mut rows = vec![all];
    for kind in OpKind::ALL {
        let (ops, errors) = (counts.ops[kind as usize], counts.errors[kind as usize]);
        if ops == 0 {
            continue;
        }
        let op = kind.name().into();
        let mut row = Row { op, ops, errors, ops_per_s: rate(ops), ..base.clone() };
        row.set_latencies(latencies.of(kind));
        if let Some(open) = &outcome.open {
            row.set_responses(open.response().of(kind));
        }
        rows.push(row);
    }
    rows
}

/// What all rows of a phase have in common.
fn base(plan: &RunPlan, step: &Step, outcome: &PhaseOutcome, seen: &Seen) -> Row {
    let phase = &step.workload.phases[step.phase];
    let size = step.workload.values.size;
    let has_clients = step.kind() != PhaseKind::Settle;
    Row {
        run_id: plan.run_id.clone(),
        experiment: plan.experiment.clone(),
        block: plan.block,
        position: plan.position,
        target: plan.target.clone(),
        workload: step.label.clone(),
        phase: step.phase_name().into(),
        model: if has_clients { phase.load.model.name().into() } else { String::new() },
        offered_rate: seen.offered_rate,
        seconds: outcome.seconds,
        durability: plan.durability.clone(),
        threads: phase.load.threads,
        records: step.workload.keys.records,
        value_bytes: if size.dist == SizeKind::Constant { size.bytes } else { None },
        memory_bytes: plan.memory_bytes,
        ..Row::default()
    }
}

/// Fills what the row of a phase says of the time after the settling that followed it: `before` is from before that
/// phase, `after` from after the settling.
pub(crate) fn settled(row: &mut Row, before: &EngineStats, after: &EngineStats, space: Space) {
    let delta = |name| after.number(name)?.checked_sub(before.number(name)?);
    let tables = add(delta(stat::FLUSH_BYTES), delta(stat::COMPACTION_BYTES_WRITTEN));
    row.wa_settled = quotient(tables, row.user_bytes_written);
    row.sa_settled = space.amplification();
}

/// The columns that come from the engine's own counters.
fn engine_columns(row: &mut Row, seen: &Seen, user_bytes: u64, has_scans: bool) {
    let delta = |name| seen.after.number(name)?.checked_sub(seen.before.number(name)?);
    row.stall_count = delta(stat::STALLS);
    row.stall_ms = delta(stat::STALL_MICROS).map(|micros| micros as f64 / 1_000.0);
    row.flushes = delta(stat::FLUSHES);
    row.flush_bytes = delta(stat::FLUSH_BYTES);
    row.compactions = delta(stat::COMPACTIONS);
    row.compaction_read_bytes = delta(stat::COMPACTION_BYTES_READ);
    row.compaction_write_bytes = delta(stat::COMPACTION_BYTES_WRITTEN);
    row.fsyncs = delta(stat::WAL_SYNCS);
    let tables = add(row.flush_bytes, row.compaction_write_bytes);
    row.wa_stop = quotient(tables, Some(user_bytes));
    row.wa_wal = quotient(add(tables, delta(stat::WAL_BYTES)), Some(user_bytes));
    row.cache_hit_ratio = quotient(delta(stat::CACHE_HITS), delta(stat::BLOCKS_FETCHED));
    let negatives = delta(stat::FILTER_NEGATIVES);
    let false_positives = delta(stat::FILTER_FALSE_POSITIVES);
    row.filter_fpr = quotient(false_positives, add(negatives, false_positives));
    // A scan fetches blocks too, so blocks per point read can be told only where nothing scanned.
    if !has_scans {
        let reads = delta(stat::POINT_READS);
        row.ra_point_blocks = quotient(delta(stat::BLOCKS_FETCHED), reads);
        row.ra_point_physical = quotient(delta(stat::CACHE_MISSES), reads);
        row.runs_probed_per_get = quotient(delta(stat::RUNS_PROBED), reads);
    }
    let deep =
        |stats: &EngineStats| stats.levels.iter().skip(2).map(|l| l.bytes_written).sum::<u64>();
    if !seen.after.levels.is_empty() {
        row.deep_write_bytes = deep(&seen.after).checked_sub(deep(&seen.before));
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a? + b?)
}

/// `a / b` where both are known and `b` is not 0.
fn quotient(a: Option<u64>, b: Option<u64>) -> Option<f64> {
    let (a, b) = (a?, b?);
    (b > 0).then(|| a as f64 / b as f64)
}

/// Writes rows under a heading of column names.
pub(crate) fn write_rows(path: &Path, rows: &[Row]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    out::replace(path, &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// Reads what [`write_rows`] wrote.
pub(crate) fn read_rows(path: &Path) -> Result<Vec<Row>> {
    read_csv(path)
}

/// The columns of a run's files that hold words.
const WORDS: [&str; 10] = [
    "run_id",
    "experiment",
    "target",
    "workload",
    "phase",
    "op",
    "model",
    "durability",
    "stage",
    "buckets",
];

/// Reads the rows of a file under a heading.
///
/// # Errors
///
/// One that names file and line, if a row is not what it should be. Nothing that is measured is negative, endless or no number:
/// means and plots would be so, too, and not look damaged.
pub(crate) fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("reading {}", path.display()))?;
    let shown = || path.display().to_string();
    let heading = reader.headers().with_context(shown)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(shown)?;
        let line = record.position().map_or(0, csv::Position::line);
        for (name, cell) in heading.iter().zip(&record) {
            let is_fine = |number: f64| number.is_finite() && number >= 0.0;
            let is_measured = || cell.parse().is_ok_and(is_fine);
            ensure!(
                cell.is_empty() || WORDS.contains(&name) || is_measured(),
                "{}:{line}: {name} is `{cell}`: it is damaged",
                path.display()
            );
        }
        let row = record.deserialize(Some(&heading));
        rows.push(row.with_context(|| format!("{}:{line}", path.display()))?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_and_empty_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.csv");
        let row = Row {
            run_id: "1-noop".into(),
            target: "a, \"b\"".into(),
            ops: 7,
            wa_stop: Some(2.5),
            ..Row::default()
        };
        write_rows(&path, &[row.clone(), Row::default()]).unwrap();
        assert_eq!(read_rows(&path).unwrap(), [row, Row::default()]);
        let heading = std::fs::read_to_string(&path).unwrap();
        let heading = heading.lines().next().unwrap();
        assert!(heading.starts_with(
            "run_id,experiment,block,position,target,workload,phase,op,model,offered_rate,seconds,\
             ops,errors,ops_per_s,user_bytes_written"
        ));
    }

    #[test]
    fn engine_columns_are_differences_and_stay_empty_where_unknown() {
        let stats = |numbers: &[(&'static str, u64)]| EngineStats {
            numbers: numbers.to_vec(),
            levels: Vec::new(),
        };
        let mut row = Row::default();
        let seen = Seen {
            usage: Usage::default(),
            rss_peak_bytes: None,
            space: Space::default(),
            sa_peak: None,
            offered_rate: None,
            before: stats(&[(stat::FLUSH_BYTES, 100), (stat::COMPACTION_BYTES_WRITTEN, 50)]),
            after: stats(&[(stat::FLUSH_BYTES, 300), (stat::COMPACTION_BYTES_WRITTEN, 450)]),
        };
        engine_columns(&mut row, &seen, 200, false);
        assert_eq!((row.flush_bytes, row.compaction_write_bytes), (Some(200), Some(400)));
        assert_eq!(row.wa_stop, Some(3.0));
        assert_eq!((row.wa_wal, row.stall_ms, row.ra_point_blocks), (None, None, None));
        engine_columns(&mut row, &seen, 0, false);
        assert_eq!(row.wa_stop, None, "nothing was written, so nothing was amplified");
    }
}
