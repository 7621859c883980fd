//! A cluster as a target: what its run leaves, and what is drawn from that.

use super::{bench, said};
use std::fs;

#[test]
fn a_cluster_leaves_where_the_time_of_its_writes_went_and_that_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let args = "run ycsb-a --engine cluster:nori -s nodes=1 -s shards=2 --records 2000 --ops 8000 --value-bytes 100 \
                --threads 8 --out o";
    let output = bench(&args.split_whitespace().collect::<Vec<_>>(), dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let run = fs::read_dir(dir.path().join("o/runs")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(run.join("commits.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let of_run: Vec<&Vec<&str>> = rows.iter().filter(|row| row[1] == "run").collect();
    let stages: Vec<&str> = of_run.iter().map(|row| row[3]).collect();
    assert_eq!(stages, ["queue", "append", "sync", "replicate", "apply", "reply", "whole"]);
    let writes: Vec<u64> = of_run.iter().map(|row| row[4].parse().unwrap()).collect();
    // One of four is followed, and about half of the operations are writes.
    assert!(writes.iter().all(|n| *n == writes[0] && (900..1_100).contains(n)), "{writes:?}");
    let means: Vec<f64> = of_run.iter().map(|row| row[5].parse().unwrap()).collect();
    let sum: f64 = means[..6].iter().sum();
    assert!((sum - means[6]).abs() < 1.0, "the stages of {means:?} add up to the whole");
    assert!(dir.path().join("o/plots/ycsb-a-commit-latency.svg").exists());
    let output = bench(&["plot", "commit-latency", "o"], dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    // A file that lost its end is refused by its name.
    fs::write(run.join("commits.csv"), &text[..text.len() - 9]).unwrap();
    let output = bench(&["report", "o"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("commits.csv"), "{}", said(&output.stderr));
}

#[test]
fn what_wrote_to_no_cluster_has_no_such_plot() {
    let dir = tempfile::tempdir().unwrap();
    let args = "run ycsb-a --engine noop --records 500 --ops 500 --out o";
    assert!(bench(&args.split_whitespace().collect::<Vec<_>>(), dir.path()).status.success());
    let output = bench(&["plot", "commit-latency", "o"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("commit-latency needs a cluster of ours"));
}

/// The quick experiment in small, whole.
#[test]
fn the_quick_experiment_shows_engines_and_clusters_apart() {
    let dir = tempfile::tempdir().unwrap();
    let args = "quick --records 2000 --duration 300ms --out q";
    let output = bench(&args.split_whitespace().collect::<Vec<_>>(), dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    let (engines, clusters) = text.split_once("THREE NODES ON THIS MACHINE").unwrap();
    let table = &engines[engines.find("operations a second").unwrap()..];
    assert!(table.contains("nori-lsm") && !table.contains("cluster:"), "{table}");
    assert!(!clusters.contains("nori-lsm"), "{clusters}");
    for words in ["cluster:nori", "cluster:raft-rs", "cluster:openraft", "cluster-ycsb-a", "p99.9"]
    {
        assert!(clusters.contains(words), "{words} in {clusters}");
    }
    let ratios = fs::read_to_string(dir.path().join("q/ratios.csv")).unwrap();
    for row in ratios.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()) {
        let is_of_cluster = |name: &str| name.starts_with("cluster:");
        assert_eq!(row[1].starts_with("cluster-"), is_of_cluster(row[4]), "{row:?}");
        assert_eq!(is_of_cluster(row[4]), row[5] == "cluster:nori", "{row:?}");
    }
    let report = fs::read_to_string(dir.path().join("q/report.html")).unwrap();
    assert!(report.contains("<h2>Three nodes on this machine</h2>"));
    for plot in ["overview-throughput", "overview-clusters", "cluster-ycsb-a-commit-latency"] {
        assert!(dir.path().join("q/plots").join(format!("{plot}.png")).exists(), "{plot}");
    }
}
