//! Experiments of many blocks: what they leave, and how an interrupted one goes on.

use super::{bench, said};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const RUN: &str = "run ycsb-a --engine noop --engine nori-model --durability none --records 5000 --ops 20000 \
                   --blocks 6 --out o";

fn run(more: &str, dir: &Path) -> Output {
    bench(&format!("{RUN} {more}").split_whitespace().collect::<Vec<_>>(), dir)
}

/// The rows of a file, by the names of its columns.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).expect("the experiment left it");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let heading = lines.next().expect("a file begins with its heading");
    lines.map(|cells| heading.iter().cloned().zip(cells).collect()).collect()
}

fn manifest(run: &Path) -> serde_json::Value {
    let text = fs::read(run.join("manifest.json")).expect("a run has a manifest");
    serde_json::from_slice(&text).expect("a manifest is JSON")
}

fn runs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("o/runs")).expect("an experiment has runs");
    let mut runs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    runs.sort();
    runs
}

#[test]
fn six_blocks_leave_a_verdict_and_the_same_operations_for_all_targets_of_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let output = run("", dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let out = dir.path().join("o");
    let rows = table(&out.join("summary.csv"));
    let of_phase: Vec<_> =
        rows.iter().filter(|row| row["op"] == "all" && row["phase"] == "run").collect();
    assert_eq!(of_phase.len(), 12);
    let mut written: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &of_phase {
        written.entry(&row["block"]).or_default().insert(&row["user_bytes_written"]);
    }
    assert_eq!(written.keys().copied().collect::<Vec<_>>(), ["1", "2", "3", "4", "5", "6"]);
    assert!(written.values().all(|bytes| bytes.len() == 1), "{written:?}");
    assert!(
        written.values().collect::<BTreeSet<_>>().len() > 1,
        "no two blocks differ: {written:?}"
    );
    let ratios = table(&out.join("ratios.csv"));
    let rate =
        ratios.iter().find(|row| row["phase"] == "run" && row["metric"] == "ops_per_s").unwrap();
    assert_eq!((rate["target"].as_str(), rate["baseline"].as_str()), ("nori-model", "noop"));
    assert_eq!(rate["blocks"], "6");
    let logs = ["1", "2", "3", "4", "5", "6"].map(|block| {
        let of = |target: &str| {
            let row = of_phase.iter().find(|row| row["block"] == block && row["target"] == target);
            row.unwrap()["ops_per_s"].parse::<f64>().unwrap()
        };
        (of("nori-model") / of("noop")).ln()
    });
    let number = |column: &str| rate[column].parse::<f64>().unwrap();
    let expected = (logs.iter().sum::<f64>() / 6.0).exp();
    assert!((number("ratio") / expected - 1.0).abs() < 1e-9, "{rate:?}: {expected}");
    assert!(number("ratio_low") < expected && expected < number("ratio_high"), "{rate:?}");
    assert!((1.0 / 32.0..=1.0).contains(&number("p")), "{rate:?}");
    let told = said(&output.stdout);
    assert!(told.contains("ratio to noop") && told.contains("block 6/6"), "{told}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Compared with noop"));
}

#[test]
fn what_is_missing_is_run_again_and_what_is_there_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run("", dir.path()).status.success());
    let before = fs::read_to_string(dir.path().join("o/summary.csv")).unwrap();
    let all = runs(dir.path());
    // As benches leave it that were killed: one run was cut off, one never began.
    let cut = fs::read_to_string(all[3].join("manifest.json")).unwrap();
    fs::write(all[3].join("manifest.json"), cut.replace("\"ok\"", "\"running\"")).unwrap();
    fs::remove_dir_all(&all[7]).unwrap();
    let kept: Vec<_> = all.iter().filter(|run| **run != all[3] && **run != all[7]).collect();
    let starts: Vec<_> = kept
        .iter()
        .map(|run| fs::metadata(run.join("plan.json")).unwrap().modified().unwrap())
        .collect();
    let refused = run("--resume --seed 43", dir.path());
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        said(&refused.stderr),
        "error: --resume: o holds another experiment (seed 42, not 43); leave --resume out to begin anew\n"
    );
    let fewer = run("--resume --records 4000", dir.path());
    assert_eq!(fewer.status.code(), Some(2), "{}", said(&fewer.stderr));
    let output = run("--resume", dir.path());
    let told = said(&output.stdout);
    assert!(output.status.success(), "{told}{}", said(&output.stderr));
    assert!(told.contains("resumed: 10 runs done before"), "{told}");
    // A line for each phase that was run: a load and a run, twice.
    assert_eq!(told.lines().filter(|line| line.starts_with("block ")).count(), 4, "{told}");
    assert_eq!(runs(dir.path()), all);
    assert!(all.iter().all(|run| manifest(run)["status"]["state"] == "ok"));
    let now: Vec<_> = kept
        .iter()
        .map(|run| fs::metadata(run.join("plan.json")).unwrap().modified().unwrap())
        .collect();
    assert_eq!(starts, now, "runs at their end are left alone");
    let after = fs::read_to_string(dir.path().join("o/summary.csv")).unwrap();
    assert_eq!(before.lines().count(), after.lines().count());
    assert_ne!(before, after);
    let ratios = table(&dir.path().join("o/ratios.csv"));
    assert!(
        ratios.iter().filter(|row| row["metric"] == "ops_per_s").all(|row| row["blocks"] == "6")
    );
    // All is there: nothing runs, everything is drawn again.
    assert!(said(&run("--resume", dir.path()).stdout).contains("resumed: 12 runs done before"));
}

#[test]
fn runs_of_another_build_are_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run("", dir.path()).status.success());
    let first = runs(dir.path()).remove(0);
    let text = fs::read_to_string(first.join("manifest.json")).unwrap();
    let other = text.replace("\"profile\": \"", "\"profile\": \"other-");
    assert_ne!(text, other);
    fs::write(first.join("manifest.json"), other).unwrap();
    let output = run("--resume", dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("runs of another build"), "{}", said(&output.stderr));
    assert!(first.exists(), "nothing was removed");
    let output = bench(
        &[
            "run",
            "ycsb-c",
            "--engine",
            "noop",
            "--records",
            "2000",
            "--ops",
            "2000",
            "--resume",
            "--out",
            "new",
        ],
        dir.path(),
    );
    assert!(
        output.status.success(),
        "where there is nothing, all is missing: {}",
        said(&output.stderr)
    );
}
