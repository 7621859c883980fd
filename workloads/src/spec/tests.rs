//! Files that are right, and one line for each way to be wrong.

use super::*;
use crate::built_in;

const GOOD: &str = r#"schema = "norikv.workload/1"
name = "t"
[keys]
records = 1000
[values]
record = "blob"
size = { dist = "constant", bytes = 10 }
check_every = 1
[[phase]]
kind = "load"
load = { model = "closed", threads = 2 }
[[phase]]
kind = "run"
duration = "1500ms"
mix = { read = 1, scan = 1 }
scan_length = { min = 1, max = 5 }
pick = { dist = "zipfian", theta = 1.2 }
load = { model = "closed", threads = 2 }
"#;

fn error_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the sample has no `{from}`");
    Workload::parse("w.toml", &GOOD.replacen(from, to, 1)).expect_err(to).to_string()
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let w = Workload::parse("w.toml", GOOD).unwrap();
    assert_eq!(w.keys.order, KeyOrder::Hashed);
    assert_eq!(w.keys.max_new, 0);
    assert_eq!(w.phases[1].duration.unwrap().0.as_millis(), 1_500);
    assert_eq!(w.phases[1].pick.unwrap().theta(), 1.2);
}

#[test]
fn a_misspelt_name_is_reported_with_its_line_and_the_nearest_name() {
    let cases = [
        ("records", "recrods", "w.toml:4: unknown field `recrods`; did you mean `records`?"),
        ("pick =", "pik =", "w.toml:17: unknown field `pik`; did you mean `pick`?"),
        (
            "\"zipfian\"",
            "\"zipfan\"",
            "w.toml:17: unknown variant `zipfan`; did you mean `zipfian`?",
        ),
        ("\"run\"", "\"rnu\"", "w.toml:13: unknown variant `rnu`; did you mean `run`?"),
        ("scan = 1", "scn = 1", "w.toml:15: unknown field `scn`; did you mean `scan`?"),
    ];
    for (from, to, message) in cases {
        assert_eq!(error_of(from, to), message);
    }
}

#[test]
fn what_cannot_be_run_yet_is_refused_and_not_ignored() {
    for (from, to) in [
        ("kind = \"load\"", "kind = \"settle\""),
        ("kind = \"run\"", "kind = \"run\"\nrecord = false"),
        ("kind = \"run\"", "kind = \"run\"\nname = \"steady\""),
        ("model = \"closed\"", "model = \"open\""),
        ("model = \"closed\"", "model = \"closed\", rate = 5"),
        ("read = 1", "read = 1, delete = 1"),
        ("check_every = 1", "check_every = 1\ncompress_to = 0.5"),
        ("record = \"blob\"", "record = \"fields\""),
        ("dist = \"zipfian\"", "dist = \"mixgraph\""),
        ("records = 1000", "records = 1000\nformat = { kind = \"composite\" }"),
    ] {
        let message = error_of(from, to);
        assert!(message.contains("unknown") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_broken_rule_is_reported_at_its_line() {
    let cases = [
        ("norikv.workload/1", "norikv.workload/9", 1, "schema"),
        ("name = \"t\"", "name = \"../t\"", 2, "name"),
        ("records = 1000", "records = 0", 4, "records"),
        ("bytes = 10", "min = 10", 7, "bytes"),
        ("bytes = 10", "bytes = 99999999999", 7, "bytes"),
        ("threads = 2", "threads = 0", 11, "threads"),
        ("kind = \"load\"", "kind = \"load\"\nops = 5", 10, "load phase"),
        ("duration = \"1500ms\"", "", 13, "ops or duration"),
        ("duration = \"1500ms\"", "duration = \"1500ms\"\nops = 1", 13, "ops or duration"),
        ("1500ms", "1500", 14, "unit of time"),
        ("read = 1, scan = 1", "read = -1, scan = 1", 15, "0 or more"),
        ("read = 1, scan = 1", "read = 1", 15, "scan_length"),
        ("min = 1", "min = 9", 16, "min <= max"),
        ("\"zipfian\"", "\"ycsb_zipfian\"", 17, "theta"),
        ("\"zipfian\"", "\"latest\"", 17, "below 1"),
    ];
    for (from, to, line, word) in cases {
        let message = error_of(from, to);
        assert!(message.starts_with(&format!("w.toml:{line}: ")), "{to}: {message}");
        assert!(message.contains(word) && !message.contains('\n'), "{to}: {message}");
    }
}

#[test]
fn a_workload_written_and_read_again_is_the_same() {
    let w = Workload::parse("w.toml", GOOD).unwrap();
    assert_eq!(Workload::parse("again", &w.to_toml()).unwrap(), w);
}

#[test]
fn overrides_change_what_they_name_and_scale_the_reserve() {
    let overrides = Overrides {
        records: Some(2_000_000),
        value_bytes: Some(100),
        threads: Some(3),
        ops: None,
        duration: Some(Span(std::time::Duration::from_secs(3))),
    };
    let w = built_in("ycsb-d").unwrap().workload().unwrap().with(&overrides).unwrap();
    assert_eq!((w.keys.records, w.keys.max_new), (2_000_000, 200_000));
    assert_eq!(w.values.size.bytes, Some(100));
    assert!(w.phases.iter().all(|phase| phase.load.threads == 3));
    assert_eq!((w.phases[1].ops, w.phases[0].duration), (None, None));
    assert_eq!(w.phases[1].duration, overrides.duration);
    let none = Overrides { threads: Some(0), ..Overrides::default() };
    assert!(w.with(&none).is_err());
}
