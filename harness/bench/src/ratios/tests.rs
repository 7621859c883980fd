//! Which values are compared with which.

use super::*;
use crate::manifest::Manifest;
use crate::stored::StoredRun;
use crate::testing::{note, small_plan};
use std::path::PathBuf;

/// An experiment of which only the numbers are known: `(block, target, ops_per_s, p99, errors)`.
fn stored(targets: &[&str], baseline: &str, numbers: &[(u32, &str, f64, f64, u64)]) -> Stored {
    let dir = tempfile::tempdir().unwrap();
    let mut note = note();
    note.targets = targets.iter().map(|&target| target.to_owned()).collect();
    note.baseline = baseline.to_owned();
    let run = |&(block, target, ops_per_s, p99, errors): &(u32, &str, f64, f64, u64)| {
        let mut plan = small_plan(dir.path(), block, 1, target);
        plan.steps.clear();
        let row = Row {
            block,
            target: target.into(),
            workload: "w".into(),
            phase: "run".into(),
            op: ALL.into(),
            ops: 1_000,
            errors,
            ops_per_s,
            svc_p99_us: Some(p99),
            cpu_user_s: Some(0.0),
            cpu_sys_s: Some(0.0),
            ..Row::default()
        };
        let manifest = Manifest::new(&plan, Vec::new());
        StoredRun { dir: PathBuf::new(), manifest, rows: vec![row], phases_ended: 1 }
    };
    Stored::of(note, numbers.iter().map(run).collect())
}

fn find<'a>(all: &'a [Ratio], target: &str, metric: Metric) -> &'a Ratio {
    all.iter().find(|r| r.target == target && r.metric == metric.column()).unwrap()
}

#[test]
fn a_block_is_compared_with_itself_and_counts_only_where_both_are_sound() {
    let stored = stored(
        &["ours", "peer"],
        "ours",
        &[
            (1, "ours", 100.0, 8.0, 0),
            (1, "peer", 50.0, 16.0, 0),
            (2, "ours", 300.0, 4.0, 0),
            (2, "peer", 600.0, 2.0, 0),
            // Errors, and a target that did not run: these blocks count for nothing.
            (3, "ours", 100.0, 1.0, 0),
            (3, "peer", 900.0, 9.0, 1),
            (4, "ours", 100.0, 1.0, 0),
        ],
    );
    let all = ratios(&stored);
    let rate = find(&all, "peer", Metric::OpsPerS);
    assert_eq!(
        (rate.blocks, rate.verdict, rate.baseline.as_str()),
        (2, Verdict::Undecided, "ours")
    );
    // √(1/2 · 2) = 1, whatever the means of the rates are.
    assert!((rate.ratio - 1.0).abs() < 1e-12, "{rate:?}");
    assert!((find(&all, "peer", Metric::ServiceP99).ratio - 1.0).abs() < 1e-12);
    // What was not measured, and processor time below the clock's tick, has no ratio.
    let metrics: Vec<&str> = all.iter().map(|ratio| ratio.metric.as_str()).collect();
    assert_eq!(metrics, ["ops_per_s", "svc_p99_us"]);
}

/// A stall of one operation in the store is a queue of them in front of it: the two times may differ in opposite ways.
#[test]
fn an_open_loop_is_compared_by_response_times_too_under_a_name_of_their_own() {
    let numbers = [(1, "ours", 100.0, 10.0, 0), (1, "peer", 100.0, 5.0, 0)];
    let mut stored = stored(&["ours", "peer"], "ours", &numbers);
    for (run, (p50, p99)) in stored.runs.iter_mut().zip([(20.0, 100.0), (30.0, 400.0)]) {
        let row = &mut run.rows[0];
        (row.rsp_p50_us, row.rsp_p99_us) = (Some(p50), Some(p99));
    }
    let all = ratios(&stored);
    let metrics: Vec<&str> = all.iter().map(|ratio| ratio.metric.as_str()).collect();
    assert_eq!(metrics, ["ops_per_s", "svc_p99_us", "rsp_p50_us", "rsp_p99_us"]);
    assert_eq!(find(&all, "peer", Metric::ServiceP99).ratio, 0.5);
    assert!((find(&all, "peer", Metric::ResponseP50).ratio - 1.5).abs() < 1e-12);
    assert!((find(&all, "peer", Metric::ResponseP99).ratio - 4.0).abs() < 1e-12);
}

#[test]
fn the_better_of_a_peers_rows_is_chosen_in_each_block_and_for_each_metric() {
    let numbers = [
        (1, "ours", 100.0, 10.0, 0),
        (1, "peer", 200.0, 20.0, 0),
        (1, "peer:default", 50.0, 5.0, 0),
        (2, "ours", 100.0, 10.0, 0),
        (2, "peer", 100.0, 40.0, 0),
        (2, "peer:default", 800.0, 45.0, 0),
    ];
    let all = ratios(&stored(&["ours", "peer", "peer:default"], "ours", &numbers));
    // √(2 · 8) = 4 and √(1/2 · 4) = √2.
    assert!((find(&all, "peer:better", Metric::OpsPerS).ratio - 4.0).abs() < 1e-12);
    assert!((find(&all, "peer:better", Metric::ServiceP99).ratio - 2.0_f64.sqrt()).abs() < 1e-12);
    assert!((find(&all, "peer", Metric::OpsPerS).ratio - 2.0_f64.sqrt()).abs() < 1e-12);
    // As the baseline, it is compared with what is no part of it.
    let all = ratios(&stored(&["ours", "peer", "peer:default"], "peer:better", &numbers));
    assert!(all.iter().all(|ratio| ratio.target == "ours" && ratio.baseline == "peer:better"));
    assert!((find(&all, "ours", Metric::OpsPerS).ratio - 0.25).abs() < 1e-12);
}

#[test]
fn the_better_row_follows_both_rows_of_its_peer() {
    let targets = ["a", "b:default", "b", "c:default"].map(str::to_owned);
    assert_eq!(baselines(&targets), ["a", "b:default", "b", "b:better", "c:default"]);
}

#[test]
fn what_one_run_did_twice_under_a_name_has_no_ratio() {
    let mut stored = stored(
        &["ours", "peer"],
        "ours",
        &[
            (1, "ours", 1.0, 1.0, 0),
            (1, "peer", 1.0, 1.0, 0),
            (2, "ours", 1.0, 1.0, 0),
            (2, "peer", 2.0, 1.0, 0),
        ],
    );
    let again = stored.runs[0].rows[0].clone();
    stored.runs[0].rows.push(again);
    let all = ratios(&stored);
    let rate = find(&all, "peer", Metric::OpsPerS);
    assert_eq!((rate.blocks, rate.ratio), (1, 2.0));
}

#[test]
fn the_file_has_the_columns_that_are_promised_and_empty_cells_for_no_interval() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ratios.csv");
    let numbers = [(1, "ours", 100.0, 10.0, 0), (1, "peer", 50.0, 10.0, 0)];
    write_ratios(&path, &ratios(&stored(&["ours", "peer"], "ours", &numbers))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "experiment,workload,phase,metric,target,baseline,blocks,ratio,ratio_low,ratio_high,p,verdict",
            "small,w,run,ops_per_s,peer,ours,1,0.5,,,1.0,undecided",
        ]
    );
}
