//! Workloads as their user meets them: property files, streams without an engine, and what is refused.

use super::{assert_refused, bench, said};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Workload C in YCSB's own words, with a thousand records.
const C: &str = "recordcount=1000\noperationcount=2000000\nworkload=site.ycsb.workloads.CoreWorkload\n\
                 readproportion=1\nupdateproportion=0\nrequestdistribution=zipfian\n";

#[test]
fn two_million_operations_have_the_frequencies_of_ycsb() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.properties"), C).unwrap();
    let output = bench(&["gen", "--ycsb", "c.properties", "--histogram"], dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    let counts: Vec<(u64, u64)> = text
        .lines()
        .map(|line| {
            let (number, count) = line.split_once('\t').unwrap();
            (number.parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    assert!(counts.is_sorted() && counts.iter().all(|(number, _)| *number < 1_000));
    let draws = 2_000_000.0;
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 2_000_000);
    // Measured with YCSB's own classes, and computed.
    for (number, p) in [
        (144, 0.03861),
        (610, 0.01995),
        (213, 0.01603),
        (679, 0.01166),
        (10, 0.00934),
        (545, 0.00779),
    ] {
        let at = counts.binary_search_by_key(&number, |(number, _)| *number).unwrap();
        let sigma = f64::sqrt(draws * p * (1.0 - p));
        let count = counts[at].1 as f64;
        assert!((count - draws * p).abs() < 4.0 * sigma, "key number {number}: {count}");
    }
    let built_in = ["gen", "ycsb-c", "--records", "1000", "--ops", "2_000_000", "--histogram"];
    assert_eq!(
        said(&bench(&built_in, dir.path()).stdout),
        text,
        "the built-in workload is the same"
    );
}

#[test]
fn a_line_says_what_an_operation_does_and_its_json_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (name, kinds) in [
        ("ycsb-e", &["scan", "insert"][..]),
        ("ycsb-f", &["read", "rmw"]),
        ("absent-reads", &["read", "read_absent", "update"]),
        ("churn", &["read", "update", "insert", "delete"]),
        ("range-deletes", &["read", "scan", "insert", "delete_range"]),
        ("batched-writes", &["read", "batch"]),
    ] {
        let args = ["gen", name, "--records", "2000", "--ops", "3000", "--seed", "7"];
        let text = said(&bench(&args, dir.path()).stdout);
        let json = said(&bench(&[&args[..], &["--json"]].concat(), dir.path()).stdout);
        assert_eq!((text.lines().count(), json.lines().count()), (3_000, 3_000), "{name}");
        for (line, json) in text.lines().zip(json.lines()) {
            let fields: Vec<&str> = line.split('\t').collect();
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(json["op"], fields[0], "{line}");
            assert!(kinds.contains(&fields[0]), "{name}: {line}");
            match fields[0] {
                "scan" => assert_eq!(json["scan_length"].to_string(), fields[2], "{line}"),
                "update" | "insert" | "rmw" => {
                    assert_eq!(json["value_bytes"].to_string(), fields[2], "{line}");
                }
                "delete_range" => assert!(fields[1] < fields[2] && json["end"] == fields[2]),
                "batch" => {
                    assert_eq!(fields.len(), 201, "{line}");
                    assert_eq!(json["writes"][99]["key"], fields[199], "{line}");
                    continue;
                }
                _ => assert_eq!(fields.len(), 2, "{line}"),
            }
            assert_eq!(json["key"], fields[1], "{line}");
        }
        for kind in kinds {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("{kind}\t"))),
                "{name} {kind}"
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_norikv-bench"))
        .args(["gen", "ycsb-a", "--ops", "1_000_000"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("read\tuser") || first.starts_with("update\tuser"), "{first}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output.stderr));
}

#[test]
fn a_property_file_runs_as_the_toml_that_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let text = "recordcount=2000\noperationcount=3000\nrequestdistribution=latest\n\
                insertproportion=0.1\nreadproportion=0.9\nupdateproportion=0\nmeasurementtype=raw\n";
    fs::write(dir.path().join("my load.properties"), text).unwrap();
    let file = ["--ycsb", "my load.properties"];
    for dialect in ["ycsb", "go-ycsb", "ycsb-cpp"] {
        let from = [&file[..], &["--dialect", dialect]].concat();
        let output = bench(&[&["gen"], &from[..], &["--toml"]].concat(), dir.path());
        let note = said(&output.stderr);
        assert!(note.contains("ignored: measurementtype") && note.lines().count() == 1, "{note}");
        fs::write(dir.path().join("w.toml"), &output.stdout).unwrap();
        let shown = said(&bench(&[&["gen"], &from[..]].concat(), dir.path()).stdout);
        assert_eq!(said(&bench(&["gen", "w.toml"], dir.path()).stdout), shown, "{dialect}");
        assert_eq!(shown.lines().count(), 3_000);
    }
    let run = ["run", file[0], file[1], "--engine", "noop", "--json"];
    let output = bench(&run, dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&rows[0]["workload"], &rows[0]["ops"]), (&"my-load".into(), &2_000.into()));
    assert!(dir.path().join("results/my-load/summary.csv").exists());
}

#[test]
fn a_property_file_without_counts_runs_with_those_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p"), "requestdistribution=zipfian\n").unwrap();
    fs::write(dir.path().join("r"), "recordcount=500\n").unwrap();
    let shown = bench(&["gen", "--ycsb", "p", "--records", "500", "--ops", "60"], dir.path());
    assert_eq!(said(&shown.stdout).lines().count(), 60, "{}", said(&shown.stderr));
    for length in [["--ops", "700"], ["--duration", "100ms"]] {
        let run = [&["run", "--ycsb", "r", "--engine", "noop", "--json"][..], &length[..]].concat();
        let output = bench(&run, dir.path());
        assert!(output.status.success(), "{}", said(&output.stderr));
    }
    // A file that says it twice over is settled in the same way.
    fs::write(dir.path().join("both"), "recordcount=500\noperationcount=80\nmaxexecutiontime=9\n")
        .unwrap();
    let shown = bench(&["gen", "--ycsb", "both", "--ops", "60"], dir.path());
    assert_eq!(said(&shown.stdout).lines().count(), 60, "{}", said(&shown.stderr));
    let run = ["run", "--ycsb", "both", "--engine", "noop", "--duration", "100ms"];
    let output = bench(&run, dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    fs::remove_dir_all(dir.path().join("results")).unwrap();
    fs::write(dir.path().join("none"), "").unwrap();
    fs::write(dir.path().join("word"), "recordcount=abc\n").unwrap();
    let cases = [
        ("run --ycsb both", "both:3: maxexecutiontime: a phase here ends by operations or by time"),
        ("run --ycsb none --records 5", "none:1: operationcount is missing"),
        ("run --ycsb word", "word:1: recordcount: `abc`"),
        (
            "gen --ycsb none --ops 5",
            "none:1: recordcount is missing or 0: add it, or give --records",
        ),
    ];
    assert_refused(dir.path(), &cases);
}

#[test]
fn what_a_research_workload_does_is_done_and_checked_by_an_engine_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["queue", "churn", "absent-reads", "hotspot-updates", "range-deletes", "batched-writes"]
    {
        let args = ["run", name, "--engine", "nori-lsm", "--records", "4000", "--ops", "4000"];
        let output = bench(&[&args[..], &["--json", "--out", name]].concat(), dir.path());
        assert!(output.status.success(), "{name}: {}", said(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let of_all = |phase: &str| {
            let mut rows = rows.as_array().unwrap().iter();
            rows.find(|row| row["op"] == "all" && row["phase"] == phase).cloned().unwrap()
        };
        let all = of_all("run");
        assert_eq!((&all["ops"], &all["errors"]), (&4_000.into(), &0.into()), "{name}");
        assert!(all["sa_stop"].as_f64().is_some_and(|sa| sa > 0.5), "{name}: {all}");
    }
}

#[test]
fn an_engine_that_lacks_an_operation_is_left_out_of_all_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["run", "range-deletes", "--engine", "all", "--records", "500", "--ops", "500", "--json"];
    let output = bench(&args, dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let note = "redb cannot do the operation `delete_range` of this workload: left out";
    assert!(said(&output.stderr).lines().any(|line| line == note), "{}", said(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(rows.as_array().unwrap().iter().all(|row| row["target"] != "redb"));
}

#[test]
fn a_workload_that_cannot_be_is_one_line_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let good = "schema = \"norikv.workload/1\"\nname = \"t\"\n[keys]\nrecords = 10\n[values]\nrecord = \"blob\"\n\
                size = { dist = \"constant\", bytes = 10 }\ncheck_every = 1\n[[phase]]\nkind = \"load\"\n\
                load = { model = \"closed\", threads = 1 }\n[[phase]]\nkind = \"run\"\nops = 9\nMIX\n\
                load = { model = \"closed\", threads = 1 }\n";
    let write =
        |name: &str, mix: &str| fs::write(dir.path().join(name), good.replace("MIX", mix)).unwrap();
    let uniform = "pick = { dist = \"uniform\" }";
    for (name, mix) in [
        ("unknown.toml", "mix = { reed = 1.0 }"),
        ("negative.toml", "mix = { read = 1.5, delete = -0.5 }"),
        ("sum.toml", "mix = { read = 0.5, delete = 0.6 }"),
        ("pickless.toml", "mix = { read_absent = 1.0 }"),
        ("lengthless.toml", "mix = { batch = 1.0 }"),
        ("hashed.toml", "mix = { delete_range = 1.0 }\nrange_length = { min = 1, max = 2 }"),
        ("lonely.toml", "mix = { read = 1.0 }\nreinsert = true"),
    ] {
        let pick = if name == "pickless.toml" { "" } else { uniform };
        write(name, &format!("{mix}\n{pick}"));
    }
    write("gone.toml", &format!("mix = {{ delete = 1.0 }}\n{uniform}"));
    write("hot.toml", "mix = { read = 1.0 }\npick = { dist = \"hotspot\", hot_keys = 0.05 }");
    write("hots.toml", "mix = { read = 1.0 }\npick = { dist = \"hotspot\", hot_kyes = 0.5 }");
    write("timed.toml", &format!("mix = {{ read = 1.0 }}\n{uniform}"));
    let timed = fs::read_to_string(dir.path().join("timed.toml")).unwrap();
    fs::write(dir.path().join("timed.toml"), timed.replace("ops = 9", "duration = \"9s\""))
        .unwrap();
    fs::write(dir.path().join("p"), format!("{C}requestdistrubution=zipfian\n")).unwrap();
    fs::write(dir.path().join("rate"), format!("{C}target=-5\n")).unwrap();
    let cases = [
        ("gen unknown.toml", "unknown.toml:15: unknown field `reed`; did you mean `read`?"),
        ("gen negative.toml", "negative.toml:15: the share of read is 1.5"),
        ("gen sum.toml", "sum.toml:15: the shares of the mix sum to 1.1, not to 1"),
        ("gen pickless.toml", "pickless.toml:13: this mix needs a pick"),
        ("gen lengthless.toml", "lengthless.toml:15: batch and batch_size go together"),
        ("gen hashed.toml", "hashed.toml:15: delete_range needs keys that sort as their numbers"),
        ("gen lonely.toml", "lonely.toml:16: reinsert needs a mix that deletes and inserts"),
        ("gen hot.toml", "hot.toml:16: a share of 0.05 of 10 records is not one key"),
        ("gen hots.toml", "hots.toml:16: unknown field `hot_kyes`; did you mean `hot_keys`?"),
        ("gen gone.toml --ops 10", "10 deletes more than inserts leave nothing of 10 records"),
        ("gen timed.toml", "t ends after a time; say how many: --ops N"),
        ("gen timed.toml --ops -5", "--ops: `-5` is negative"),
        ("gen ycsb --toml", "`ycsb` is six workloads"),
        ("gen chrun", "no workload is called `chrun`; did you mean `churn`?"),
        (
            "gen --ycsb p",
            "p:7: unknown property `requestdistrubution`; did you mean `requestdistribution`?",
        ),
        ("run --ycsb p", "p:7: unknown property"),
        ("run --ycsb rate", "rate:7: target: `-5` is negative"),
        ("run --ycsb none.properties", "property file none.properties cannot be read"),
        ("run --ycsb p --dialect goycsb", "no dialect is called `goycsb`; did you mean `go-ycsb`?"),
        ("run ycsb-a --dialect ycsb", "--dialect"),
        ("gen --dialect ycsb", "--ycsb"),
        ("run ycsb-a --ycsb p", "error: WORKLOAD and --ycsb exclude each other"),
        ("gen", "WORKLOAD is missing"),
        (
            "run range-deletes --engine redb",
            "redb cannot do the operation `delete_range` of this workload",
        ),
    ];
    assert_refused(dir.path(), &cases);
}
