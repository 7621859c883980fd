//! How far an engine differs from itself: the same runs under two names, in interleaved blocks like any comparison.
//!
//! Whatever the ratio of the two is, it is noise. Its interval tells how wide the noise is, and so how small a difference
//! between two engines can be told on this machine by as many blocks as a verdict needs. The phases are short: longer
//! ones are quieter.

use super::conditions::Findings;
use crate::effect::{BLOCKS_FOR_VERDICT, Verdict, smallest_told};
use crate::experiment::{self, Experiment};
use crate::names::{SUITE, Target, steps, targets};
use crate::progress::Progress;
use crate::ratios::{Metric, Ratio, ratios};
use crate::rows::ALL;
use crate::stored::Stored;
use anyhow::Result;
use nori_kv::Durability;
use nori_workloads::{Overrides, Span};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The engine that runs: ours.
pub(super) const ENGINE: &str = "nori-lsm";
/// What its two names end with.
const LABELS: [&str; 2] = ["A", "B"];
/// The phases: writing, both, reading.
const PHASES: [&str; 3] = [SUITE, "ycsb-a", "ycsb-c"];
const RECORDS: u64 = 200_000;
const VALUE_BYTES: u64 = 100;
const PHASE: Duration = Duration::from_millis(500);
/// Less than the records, so that files are read.
const MEMORY_BYTES: u64 = 16 << 20;
const SEED: u64 = 42;
const METRICS: [Metric; 2] = [Metric::OpsPerS, Metric::ServiceP99];
/// From here on a difference that matters may hide.
const TOLD_ENOUGH: f64 = 0.10;

/// One phase and metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Noise {
    workload: String,
    phase: String,
    /// The name people read.
    #[serde(skip)]
    name: String,
    metric: &'static str,
    #[serde(skip)]
    metric_name: &'static str,
    blocks: usize,
    /// Geometric mean of B / A.
    ratio: f64,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    /// Of a comparison it would have been this.
    verdict: Verdict,
    /// The largest value of all runs by the smallest. `>= 1`
    spread: f64,
    /// The smallest difference, as a share, that a comparison of six blocks tells in four of five tries.
    smallest_told: Option<f64>,
}

/// The directory that the runs are kept in. `report` shows them like any experiment's.
pub(super) fn kept(dir: &Path) -> PathBuf {
    dir.join("doctor")
}

fn experiment(dir: &Path, blocks: u32) -> Result<Experiment> {
    let overrides = Overrides {
        records: Some(RECORDS),
        value_bytes: Some(VALUE_BYTES),
        threads: Some(1),
        duration: Some(Span(PHASE)),
        load_duration: Some(Span(PHASE)),
        ..Overrides::default()
    };
    let mut steps = steps(SUITE, &overrides)?;
    steps.retain(|step| PHASES.contains(&step.label.as_str()));
    let one = targets(&[ENGINE.to_owned()], &[], MEMORY_BYTES)?;
    let twice = LABELS.into_iter().flat_map(|label| {
        one.iter().map(move |target| Target { label: Some(label), ..target.clone() })
    });
    let targets: Vec<Target> = twice.collect();
    Ok(Experiment {
        name: "doctor".into(),
        dir: kept(dir),
        references: Vec::new(),
        baseline: targets[0].name(),
        targets,
        steps,
        memory_bytes: MEMORY_BYTES,
        durability: Durability::Os.to_string(),
        seed: SEED,
        blocks,
        is_resumed: false,
        keeps_stores: false,
        apart: None,
    })
}

/// Runs the engine against itself; what there is to say of it goes to `findings`.
pub(super) fn measure(dir: &Path, blocks: u32, findings: &mut Findings) -> Result<Vec<Noise>> {
    let experiment = experiment(dir, blocks)?;
    let prepared = experiment::prepare(&experiment)?;
    let mut progress = Progress::new(&experiment, true);
    let outcome = experiment::run(&experiment, prepared, &mut progress)?;
    for failure in outcome.failures {
        findings.fault(format!("a run failed: {failure}"));
    }
    let noise = noise_of(&outcome.stored);
    findings.warnings.extend(warnings(&noise));
    Ok(noise)
}

/// The rows of a stored experiment of two names.
fn noise_of(stored: &Stored) -> Vec<Noise> {
    let ratios = ratios(stored);
    let targets = stored.targets();
    let mut all = Vec::new();
    for cell in stored.cells() {
        for metric in METRICS {
            let is_wanted =
                |ratio: &&Ratio| ratio.cell() == cell && ratio.metric == metric.column();
            let Some(ratio) = ratios.iter().find(is_wanted) else { continue };
            let rows = targets.iter().flat_map(|target| stored.rows_of(&cell, target, ALL));
            let values: Vec<f64> = rows.filter_map(|row| metric.of(row)).collect();
            let most = values.iter().copied().fold(0.0, f64::max);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let interval = ratio.ratio_low.zip(ratio.ratio_high);
            all.push(Noise {
                workload: cell.workload.clone(),
                phase: cell.phase.clone(),
                name: cell.name(),
                metric: metric.column(),
                metric_name: metric.name(),
                blocks: ratio.blocks,
                ratio: ratio.ratio,
                ratio_low: ratio.ratio_low,
                ratio_high: ratio.ratio_high,
                verdict: ratio.verdict,
                spread: most / least,
                smallest_told: interval.and_then(|interval| smallest_told(interval, ratio.blocks)),
            });
        }
    }
    all
}

fn warnings(noise: &[Noise]) -> Vec<String> {
    let mut all = Vec::new();
    for row in noise.iter().filter(|row| matches!(row.verdict, Verdict::Lower | Verdict::Higher)) {
        all.push(format!(
            "the engine seemed {} than itself in {} of {}: comparisons here may find what is not there",
            row.verdict.name(),
            row.metric_name,
            row.name
        ));
    }
    let of_rates = noise.iter().filter(|row| row.metric == Metric::OpsPerS.column());
    let told: Vec<(f64, &Noise)> =
        of_rates.filter_map(|row| Some((row.smallest_told?, row))).collect();
    let worst = told.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    match worst {
        Some((share, row)) if *share > TOLD_ENOUGH => all.push(format!(
            "noise hides differences in {} below {:.0} % ({}): take more blocks, longer phases or a quieter machine",
            row.metric_name,
            share * 100.0,
            row.name
        )),
        Some(_) => {}
        None => all.push("how small a difference can be told needs --blocks 2 or more".into()),
    }
    all
}

/// Lines for people.
pub(super) fn table(noise: &[Noise]) -> Vec<String> {
    if noise.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "          {:8} {:11} {:>6}  {:16} {:>8}  {BLOCKS_FOR_VERDICT} blocks tell",
        "phase", "metric", "B / A", "95 % interval", "max/min"
    )];
    for row in noise {
        let interval = row.ratio_low.zip(row.ratio_high);
        let interval =
            interval.map_or_else(|| "none".into(), |(low, high)| format!("{low:.3} to {high:.3}"));
        let told = row.smallest_told.map_or_else(
            || "not known".into(),
            |share| format!("{:.0} % and more", (share * 100.0).ceil()),
        );
        lines.push(format!(
            "          {:8} {:11} {:6.3}  {interval:16} {:7.2}x  {told}",
            row.name, row.metric_name, row.ratio, row.spread
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_experiment;

    #[test]
    fn the_engine_runs_twice_in_each_block_and_under_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = experiment(dir.path(), 3).unwrap();
        let names: Vec<String> = experiment.targets.iter().map(Target::name).collect();
        assert_eq!(names, ["nori-lsm A", "nori-lsm B"]);
        assert_eq!(experiment.baseline, "nori-lsm A");
        let labels: Vec<&str> = experiment.steps.iter().map(|step| step.label.as_str()).collect();
        assert_eq!(labels, PHASES);
        let plans = crate::blocks::plans(&experiment, &[]).unwrap();
        assert_eq!(plans.len(), 6);
        assert!(plans.iter().all(|plan| plan.engine == ENGINE && plan.choices.is_empty()));
        let mut dirs: Vec<&PathBuf> = plans.iter().map(|plan| &plan.data_dir).collect();
        dirs.dedup();
        assert_eq!(dirs.len(), 6, "no two runs share a store");
        for (a, b) in plans.chunks(2).map(|block| (&block[0], &block[1])) {
            assert_eq!(a.seed, b.seed, "both do the same operations");
        }
    }

    #[test]
    fn noise_is_made_from_the_files_of_an_experiment() {
        let dir = tempfile::tempdir().unwrap();
        small_experiment(dir.path(), 3);
        let noise = noise_of(&Stored::read(dir.path()).unwrap());
        let cells: Vec<(&str, &str)> =
            noise.iter().map(|row| (row.name.as_str(), row.metric)).collect();
        let metrics = METRICS.map(Metric::column);
        assert_eq!(cells.len(), 4, "{cells:?}");
        assert_eq!(cells[..2], [("load", metrics[0]), ("load", metrics[1])]);
        for row in &noise {
            let (low, high) = (row.ratio_low.unwrap(), row.ratio_high.unwrap());
            assert!(low <= row.ratio && row.ratio <= high, "{row:?}");
            // Runs differ by at least what the mean of their ratios does.
            let apart = row.ratio.max(1.0 / row.ratio);
            assert!(row.spread >= apart - 1e-9 && row.blocks == 3, "{row:?}");
            assert!(row.smallest_told.unwrap() >= 0.03, "{row:?}");
        }
        assert_eq!(table(&noise).len(), 5);
    }

    fn row(smallest_told: Option<f64>, verdict: Verdict) -> Noise {
        Noise {
            workload: "ycsb-a".into(),
            phase: "run".into(),
            name: "ycsb-a".into(),
            metric: "ops_per_s",
            metric_name: "ops/s",
            blocks: 6,
            ratio: 1.0,
            ratio_low: Some(0.99),
            ratio_high: Some(1.01),
            verdict,
            spread: 1.1,
            smallest_told,
        }
    }

    #[test]
    fn noise_that_hides_what_matters_and_a_difference_from_itself_are_warned_of() {
        assert!(warnings(&[row(Some(0.03), Verdict::Same)]).is_empty());
        let wide = warnings(&[row(Some(0.05), Verdict::Same), row(Some(0.25), Verdict::Same)]);
        assert!(wide.len() == 1 && wide[0].contains("ops/s below 25 % (ycsb-a)"), "{wide:?}");
        let apart = warnings(&[row(Some(0.05), Verdict::Lower)]);
        assert!(apart.len() == 1 && apart[0].contains("lower than itself"), "{apart:?}");
        let one = warnings(&[row(None, Verdict::Undecided)]);
        assert!(one.len() == 1 && one[0].contains("--blocks 2"), "{one:?}");
    }
}
