//! Parts alone: which sections there are, what comes out, and what is left behind.

use crate::{assert_refused, bench, said};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_section_that_is_none_is_one_line_with_the_nearest_name_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "mine").unwrap();
    let cases = [
        ("limits memry", "no section is called `memry`; did you mean `memory`?"),
        ("limits nosuch", "no section is called `nosuch`, only harness, filter, memtable, wal, "),
        ("limits harness wall", "no section is called `wall`; did you mean `wal`?"),
        ("limits harness --dir file", "--dir file cannot be used: "),
        ("limits harness --ful", "did you mean `--full`?"),
    ];
    assert_refused(dir.path(), &cases);
}

#[test]
fn the_help_names_every_section() {
    let dir = tempfile::tempdir().unwrap();
    let help = said(&bench(&["limits", "--help"], dir.path()).stdout);
    let names = [
        "harness",
        "filter",
        "memtable",
        "wal",
        "fdatasync",
        "latency",
        "replay",
        "merge",
        "open",
        "memory",
    ];
    for name in names {
        assert!(help.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {help}");
    }
}

#[test]
fn json_is_one_document_and_a_floor_that_is_exceeded_is_exit_1() {
    let dir = tempfile::tempdir().unwrap();
    // What the user has in the folder stays there.
    let mine = dir.path().join("d/data/mine");
    fs::create_dir_all(&mine).unwrap();
    let output = bench(&["limits", "harness", "--json", "--dir", "d"], dir.path());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "norikv.limits/1");
    assert_eq!(document["sections"][0]["name"], "harness");
    let row = &document["sections"][0]["rows"][0];
    assert_eq!(row["unit"], "ns");
    assert!(row["n"].as_u64() > Some(0) && row["physical"][0]["value"].as_f64() > Some(0.0));
    let exceeds = row["value"].as_f64() > row["bounds"][1]["value"].as_f64();
    assert_eq!(row["bounds"][1]["worth"], "floor");
    assert_eq!(row["bounds"][1]["holds"], !exceeds);
    assert_eq!(document["floors_missed"], u64::from(exceeds));
    assert_eq!(output.status.code(), Some(i32::from(exceeds)), "{}", said(&output.stderr));
    assert!(mine.exists());
    assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 1, "something was left");
}

#[test]
fn a_signal_takes_the_store_away_and_ends_with_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_norikv-bench"))
        .args(["limits", "open", "--dir", "d"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (store, began) = (dir.path().join("d/norikv-limits.tmp/store/CURRENT"), Instant::now());
    while !store.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "the store was never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!dir.path().join("d").exists(), "the store was left behind");
}
