//! What `doctor` finds, and that its exit code says whether to go on.

use super::{bench, said};
use serde_json::Value;

/// A debug build is unfit to measure with, whatever the machine.
const IS_DEBUG: bool = cfg!(debug_assertions);

#[test]
fn the_engine_is_measured_against_itself_and_everything_is_told_in_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(&["doctor", "--dir", "d", "--blocks", "2", "--json"], dir.path());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = found["faults"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!faults.is_empty())), "{found}");
    assert_eq!(
        faults.iter().any(|fault| fault.as_str().unwrap().contains("debug build")),
        IS_DEBUG,
        "{found}"
    );
    let verdict = found["verdict"].as_str().unwrap();
    let warnings = found["warnings"].as_array().unwrap();
    match (faults.len(), warnings.len()) {
        (0, 0) => assert_eq!(verdict, "fit"),
        (0, _) => assert_eq!(verdict, "usable"),
        _ => assert_eq!(verdict, "unfit"),
    }
    let noise = found["noise"].as_array().unwrap();
    let rows: Vec<(&str, &str)> = noise
        .iter()
        .map(|row| (row["workload"].as_str().unwrap(), row["metric"].as_str().unwrap()))
        .collect();
    let (rate, p99) = ("ops_per_s", "svc_p99_us");
    let expected = ["ycsb", "ycsb-a", "ycsb-c"].map(|workload| [(workload, rate), (workload, p99)]);
    assert_eq!(rows, expected.concat());
    for row in noise {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("ratio_low") <= number("ratio") && number("spread") >= 1.0, "{row}");
        assert!(number("smallest_told") >= 0.03, "{row}");
    }
    assert!(found["machine"]["fsync_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(found["fsync_preallocated_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(found["fsync_after_us"]["p50"].as_f64().unwrap() > 0.0, "probed again at the end");
    assert!(found["fsync_preallocated_after_us"]["p50"].as_f64().unwrap() > 0.0);
    // What it says is made from an experiment that others can look at, and its stores are gone.
    let report = bench(&["report", "d/doctor"], dir.path());
    assert!(report.status.success(), "{}", said(&report.stderr));
    assert!(said(&report.stdout).contains("nori-lsm B"), "{}", said(&report.stdout));
    let left: Vec<_> = std::fs::read_dir(dir.path().join("d")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!dir.path().join("d/doctor/data").exists());
}

#[test]
fn a_directory_that_cannot_be_written_to_is_a_fault_and_nothing_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "mine").unwrap();
    for place in ["file", "/proc/norikv"] {
        let output = bench(&["doctor", "--dir", place], dir.path());
        let (told, error) = (said(&output.stdout), said(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{told}{error}");
        assert!(error.starts_with("error: unfit: "), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        assert!(told.contains(&format!("fault     {place} cannot be written to: ")), "{told}");
        assert_eq!(told.lines().filter(|line| line.starts_with("verdict ")).count(), 1, "{told}");
        assert!(told.lines().last().unwrap().starts_with("verdict   UNFIT"), "{told}");
        assert!(!told.contains("against itself"), "{told}");
    }
}
