//! Open loops: what is told of one that asks for more than there is.

use super::{bench, said};
use std::fs;

#[test]
fn a_rate_far_beyond_the_engine_is_called_saturation_at_the_end_and_in_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let args = "run ycsb-a --engine nori-lsm --durability sync --records 200 --duration 400ms --rate 300_000 --out o";
    let output = bench(&args.split(' ').collect::<Vec<_>>(), dir.path());
    let text = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].starts_with("warning: ycsb-a of nori-lsm: saturated: it reached "), "{text}");
    assert!(told[0].contains(" of 300k operations a second offered"), "{text}");
    let json = bench(&args.split(' ').chain(["--json"]).collect::<Vec<_>>(), dir.path());
    assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).is_ok(), "rows alone");
    assert!(said(&json.stderr).starts_with("warning: ycsb-a of nori-lsm: saturated"));
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("ycsb-a of nori-lsm: saturated: it reached "));
}
