//! `ratios.csv`: how each target compares with the baseline, for each phase and metric, over the blocks.
//!
//! A peer stands in two rows, matched to our settings and as shipped (`fjall` and `fjall:default`). Where both ran
//! there is a third, `fjall:better`: in each block and for each metric the value of whichever was better. It is the
//! row to be judged by, for it leaves a peer no setting to complain of.
//!
//! A block counts for a pair if both ended the phase there without an error. What a workload does more than once
//! under the same name has no ratio: nothing says which belongs to which.

use crate::effect::{Effect, Verdict};
use crate::out;
use crate::rows::{ALL, Row};
use crate::stored::{Cell, Stored};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What the shipped row of a peer's name ends with.
const SHIPPED: &str = ":default";
/// What the name of the better of both rows ends with.
const BETTER: &str = ":better";

/// What is compared. Of an open loop response times are what its user waits for; service times leave out the waiting of
/// operations that were overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    OpsPerS,
    ServiceP50,
    ServiceP99,
    ServiceP999,
    ResponseP50,
    ResponseP99,
    ResponseP999,
    CpuPerOp,
}

impl Metric {
    /// In the order of files.
    pub(crate) const ALL: [Self; 8] = [
        Self::OpsPerS,
        Self::ServiceP50,
        Self::ServiceP99,
        Self::ServiceP999,
        Self::ResponseP50,
        Self::ResponseP99,
        Self::ResponseP999,
        Self::CpuPerOp,
    ];

    /// The name in files.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::OpsPerS => "ops_per_s",
            Self::ServiceP50 => "svc_p50_us",
            Self::ServiceP99 => "svc_p99_us",
            Self::ServiceP999 => "svc_p999_us",
            Self::ResponseP50 => "rsp_p50_us",
            Self::ResponseP99 => "rsp_p99_us",
            Self::ResponseP999 => "rsp_p999_us",
            Self::CpuPerOp => "cpu_us_per_op",
        }
    }

    /// The name people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpsPerS => "ops/s",
            Self::ServiceP50 => "service p50",
            Self::ServiceP99 => "service p99",
            Self::ServiceP999 => "service p99.9",
            Self::ResponseP50 => "response p50",
            Self::ResponseP99 => "response p99",
            Self::ResponseP999 => "response p99.9",
            Self::CpuPerOp => "CPU/op",
        }
    }

    pub(crate) fn is_higher_better(self) -> bool {
        self == Self::OpsPerS
    }

    /// The value in a row of all operations, if it was measured and has a logarithm.
    pub(crate) fn of(self, row: &Row) -> Option<f64> {
        let value = match self {
            Self::OpsPerS => Some(row.ops_per_s),
            Self::ServiceP50 => row.svc_p50_us,
            Self::ServiceP99 => row.svc_p99_us,
            Self::ServiceP999 => row.svc_p999_us,
            Self::ResponseP50 => row.rsp_p50_us,
            Self::ResponseP99 => row.rsp_p99_us,
            Self::ResponseP999 => row.rsp_p999_us,
            Self::CpuPerOp => row.cpu_us_per_op(),
        };
        value.filter(|value| value.is_finite() && *value > 0.0)
    }

    fn better(self, a: f64, b: f64) -> f64 {
        if self.is_higher_better() { a.max(b) } else { a.min(b) }
    }
}

/// One row. The order of the fields is the order of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    pub(crate) experiment: String,
    pub(crate) workload: String,
    pub(crate) phase: String,
    pub(crate) metric: String,
    pub(crate) target: String,
    pub(crate) baseline: String,
    pub(crate) blocks: usize,
    /// Target by baseline.
    pub(crate) ratio: f64,
    pub(crate) ratio_low: Option<f64>,
    pub(crate) ratio_high: Option<f64>,
    pub(crate) p: f64,
    pub(crate) verdict: Verdict,
}

impl Ratio {
    pub(crate) fn cell(&self) -> Cell {
        Cell { workload: self.workload.clone(), phase: self.phase.clone() }
    }
}

/// One value for each block.
type Values = BTreeMap<u32, f64>;

/// A target, or the better of two.
struct Contender {
    name: String,
    /// One or two.
    targets: Vec<String>,
}

/// The names that may be a baseline, given the targets: these, and the better rows of peers.
pub(crate) fn baselines(targets: &[String]) -> Vec<String> {
    contenders(targets).into_iter().map(|contender| contender.name).collect()
}

/// The targets in their order; after both rows of a peer the better of them.
fn contenders(targets: &[String]) -> Vec<Contender> {
    let mut all: Vec<Contender> = Vec::new();
    for target in targets {
        all.push(Contender { name: target.clone(), targets: vec![target.clone()] });
        let peer = target.strip_suffix(SHIPPED).unwrap_or(target);
        let both = [peer.to_owned(), format!("{peer}{SHIPPED}")];
        let are_there = both.iter().all(|one| all.iter().any(|contender| contender.name == *one));
        if are_there {
            all.push(Contender { name: format!("{peer}{BETTER}"), targets: both.into() });
        }
    }
    all
}

/// The ratios of all targets to the baseline, in the order of tables.
pub(crate) fn ratios(stored: &Stored) -> Vec<Ratio> {
    let mut all = Vec::new();
    for cell in stored.cells() {
        let contenders = contenders(&stored.targets_of(&cell));
        let named = |name: &str| contenders.iter().find(|contender| contender.name == name);
        let Some(baseline) = named(stored.baseline_of(&cell)).or(contenders.first()) else {
            continue;
        };
        // A target is not compared with a row that it is part of itself.
        let is_apart = |other: &Contender| {
            other.targets.iter().all(|target| !baseline.targets.contains(target))
        };
        for metric in Metric::ALL {
            let of_baseline = values(stored, &cell, baseline, metric);
            for contender in contenders.iter().filter(|other| is_apart(other)) {
                let of_target = values(stored, &cell, contender, metric);
                let pair =
                    |(block, target): (&u32, &f64)| Some((*target, *of_baseline.get(block)?));
                let pairs: Vec<(f64, f64)> = of_target.iter().filter_map(pair).collect();
                let Some(effect) = Effect::of(&pairs) else { continue };
                all.push(Ratio {
                    experiment: stored.note.name.clone(),
                    workload: cell.workload.clone(),
                    phase: cell.phase.clone(),
                    metric: metric.column().into(),
                    target: contender.name.clone(),
                    baseline: baseline.name.clone(),
                    blocks: effect.blocks,
                    ratio: effect.ratio,
                    ratio_low: effect.interval.map(|(low, _)| low),
                    ratio_high: effect.interval.map(|(_, high)| high),
                    p: effect.p,
                    verdict: effect.verdict,
                });
            }
        }
    }
    all
}

/// The contender's value in each block that counts; of two targets the better, in blocks that both ended.
fn values(stored: &Stored, cell: &Cell, contender: &Contender, metric: Metric) -> Values {
    let of = |target: &String| values_of_target(stored, cell, target, metric);
    let each = contender.targets.iter().map(of);
    let better = |a: Values, b: Values| {
        let both =
            |(block, value): (&u32, &f64)| Some((*block, metric.better(*value, *b.get(block)?)));
        a.iter().filter_map(both).collect()
    };
    each.reduce(better).unwrap_or_default()
}

fn values_of_target(stored: &Stored, cell: &Cell, target: &str, metric: Metric) -> Values {
    let rows: Vec<&Row> = stored.rows_of(cell, target, ALL).collect();
    let is_only = |row: &&&Row| rows.iter().filter(|other| other.block == row.block).count() == 1;
    let is_sound = |row: &&&Row| row.errors == 0 && !stored.is_invalid(row);
    let sound = rows.iter().filter(is_only).filter(is_sound);
    sound.filter_map(|row| Some((row.block, metric.of(row)?))).collect()
}

/// Writes rows under a heading of column names.
pub(crate) fn write_ratios(path: &Path, ratios: &[Ratio]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for ratio in ratios {
        writer.serialize(ratio)?;
    }
    out::replace(path, &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

#[cfg(test)]
mod tests;
