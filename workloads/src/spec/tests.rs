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
mix = { read = 0.5, scan = 0.5 }
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
        ("scan = 0.5", "scn = 0.5", "w.toml:15: unknown field `scn`; did you mean `scan`?"),
    ];
    for (from, to, message) in cases {
        assert_eq!(error_of(from, to), message);
    }
}

#[test]
fn what_cannot_be_run_yet_is_refused_and_not_ignored() {
    for (from, to) in [
        ("kind = \"run\"", "kind = \"run\"\nname = \"steady\""),
        ("model = \"closed\"", "model = \"open\", steps = [5, 6]"),
        ("model = \"closed\"", "model = \"open\", rate = 5, arrival = \"bursty\""),
        ("read = 0.5", "read = 0.5, merge = 1"),
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
        ("load = { model = \"closed\", threads = 2 }", "", 9, "have a load"),
        ("model = \"closed\"", "model = \"closed\", rate = 5", 11, "a closed loop has no rate"),
        ("model = \"closed\"", "model = \"closed\", arrival = \"fixed\"", 11, "no arrival"),
        ("model = \"closed\"", "model = \"open\"", 11, "either rate or of_max"),
        ("model = \"closed\"", "model = \"open\", rate = 5", 11, "a load phase is a closed loop"),
        ("kind = \"load\"", "kind = \"load\"\nrecord = false", 11, "always recorded"),
        ("kind = \"load\"", "kind = \"settle\"", 10, "a timeout and nothing else"),
        ("kind = \"run\"", "kind = \"run\"\ntimeout = \"5s\"", 14, "timeout is for settle"),
        ("kind = \"load\"", "kind = \"load\"\nops = 5", 10, "load phase"),
        ("duration = \"1500ms\"", "", 13, "ops or duration"),
        ("duration = \"1500ms\"", "duration = \"1500ms\"\nops = 1", 13, "ops or duration"),
        ("1500ms", "1500", 14, "unit of time"),
        ("bytes = 10", "bytes = 0", 7, "1 to"),
        ("dist = \"constant\", bytes = 10", "dist = \"uniform\", min = 0, max = 9", 7, "1 to"),
        ("read = 0.5, scan = 0.5", "read = -1, scan = 2", 15, "the share of read is -1"),
        ("read = 0.5, scan = 0.5", "read = nan, scan = 1", 15, "the share of read is NaN"),
        ("read = 0.5, scan = 0.5", "read = 0.9, scan = 0.5", 15, "sum to 1.4, not to 1"),
        ("read = 0.5, scan = 0.5", "read = 0.5, scan = 0.49999999", 15, "sum to 0.99999999"),
        ("read = 0.5, scan = 0.5", "", 15, "has a mix"),
        ("read = 0.5, scan = 0.5", "read = 1.0", 15, "scan_length"),
        ("1500ms", "99999999999h", 14, "longer than a year"),
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

/// The sample with its run phase as an unrecorded open loop, and settling before it.
fn open_sample(load: &str) -> String {
    let (head, run) = GOOD.split_once("[[phase]]\nkind = \"run\"").unwrap();
    let settle = "[[phase]]\nkind = \"settle\"\ntimeout = \"9s\"\n";
    let run = run.replace("model = \"closed\"", load);
    format!("{head}{settle}[[phase]]\nkind = \"run\"\nrecord = false{run}")
}

#[test]
fn open_loops_warm_ups_and_settling_are_read() {
    let w = Workload::parse("w.toml", &open_sample("model = \"open\", of_max = 0.8")).unwrap();
    assert_eq!(
        (w.phases[1].kind, w.phases[1].timeout.unwrap().0.as_secs()),
        (PhaseKind::Settle, 9)
    );
    let run = &w.phases[2];
    assert!(!run.record && w.phases[0].record);
    assert_eq!((run.load.of_max, run.load.arrival()), (Some(0.8), Arrival::Poisson));
    for (load, what) in [
        ("model = \"open\", rate = 0", "rate must be above 0"),
        ("model = \"open\", rate = nan", "rate must be above 0"),
        ("model = \"open\", rate = 0.5", "for a duration of 1500ms is less than one operation"),
        ("model = \"open\", of_max = 2.5", "of_max must be above 0 and at most 2"),
        ("model = \"open\", rate = 5, of_max = 1", "either rate or of_max"),
        ("model = \"open\", rate = 5, of = \"x\"", "`of` names the target of an of_max"),
    ] {
        let message = Workload::parse("w.toml", &open_sample(load)).unwrap_err().to_string();
        assert!(message.starts_with("w.toml:22: ") && message.contains(what), "{load}: {message}");
    }
}

#[test]
fn a_workload_written_and_read_again_is_the_same() {
    for text in [GOOD, &open_sample("model = \"open\", rate = 5.5, arrival = \"fixed\"")] {
        let w = Workload::parse("w.toml", text).unwrap();
        assert_eq!(Workload::parse("again", &w.to_toml()).unwrap(), w);
    }
}

#[test]
fn a_load_of_the_command_line_is_that_of_every_run_phase_and_of_no_other() {
    let load = Load { model: LoadModel::Open, rate: Some(9.0), ..Load::closed(7) };
    let w = Workload::parse("w.toml", &open_sample("model = \"closed\"")).unwrap();
    let w = w.with(&Overrides { load: Some(load.clone()), ..Overrides::default() }).unwrap();
    assert_eq!(w.phases[0].load, Load::closed(2));
    assert_eq!(w.phases[2].load, Load { threads: 2, ..load });
}

#[test]
fn overrides_change_what_they_name_and_scale_the_reserve() {
    let overrides = Overrides {
        records: Some(2_000_000),
        value_bytes: Some(100),
        threads: Some(3),
        ops: None,
        duration: Some(Span(std::time::Duration::from_secs(3))),
        load_duration: Some(Span(std::time::Duration::from_secs(9))),
        load: None,
    };
    let w = built_in("ycsb-d").unwrap().workload().unwrap().with(&overrides).unwrap();
    assert_eq!((w.keys.records, w.keys.max_new), (2_000_000, 200_000));
    assert_eq!(w.values.size.bytes, Some(100));
    assert!(w.phases.iter().all(|phase| phase.load.threads == 3));
    assert_eq!((w.phases[1].ops, w.phases[0].duration), (None, overrides.load_duration));
    assert_eq!(w.phases[1].duration, overrides.duration);
    let none = Overrides { threads: Some(0), ..Overrides::default() };
    assert!(w.with(&none).is_err());
}

#[test]
fn an_unknown_key_of_any_table_is_an_error_at_its_line() {
    let cases = [
        ("name = \"t\"", "name = \"t\"\nabuot = \"x\"", 3, "about"),
        ("records = 1000", "records = 1000\nmax_nwe = 5", 5, "max_new"),
        ("record = \"blob\"", "record = \"blob\"\nchek_every = 5", 7, "check_every"),
        ("bytes = 10", "bytes = 10, mni = 5", 7, "min"),
        ("kind = \"run\"", "kind = \"run\"\nduraton = \"3s\"", 14, "duration"),
        ("theta = 1.2", "theta = 1.2, teta = 1.2", 17, "theta"),
        ("min = 1, max = 5", "min = 1, max = 5, mx = 5", 16, "max"),
        ("model = \"closed\"", "model = \"closed\", thread = 2", 11, "threads"),
        (
            "records = 1000",
            "records = 1000\nformat = { kind = \"ycsb\", prefix = \"u\", zero_pad = 1, zero_pd = 2 }",
            5,
            "zero_pad",
        ),
    ];
    for (from, to, line, meant) in cases {
        let message = error_of(from, to);
        assert!(message.starts_with(&format!("w.toml:{line}: unknown field")), "{to}: {message}");
        assert!(message.ends_with(&format!("did you mean `{meant}`?")), "{to}: {message}");
    }
    let be64 = "records = 1000\nformat = { kind = \"be64\", prefix = \"u\" }";
    assert!(error_of("records = 1000", be64).starts_with("w.toml:5: unknown field `prefix`"));
    let whole = GOOD.replacen("[keys]", "[kyes]\n[keys]", 1);
    let message = Workload::parse("w.toml", &whole).unwrap_err().to_string();
    assert_eq!(message, "w.toml:3: unknown field `kyes`; did you mean `keys`?");
}

#[test]
fn shares_that_rounding_keeps_from_one_are_taken() {
    let text = GOOD.replacen(
        "read = 0.5, scan = 0.5",
        "read = 0.7, update = 0.1, insert = 0.1, scan = 0.1",
        1,
    );
    Workload::parse("w.toml", &text).unwrap();
}

#[test]
fn times_have_a_unit_and_an_end() {
    let millis = |text: &str| text.parse::<Span>().map(|span| span.0.as_millis());
    assert_eq!(millis("500ms"), Ok(500));
    assert_eq!(millis("2h"), Ok(7_200_000));
    assert_eq!(millis("8760h"), Ok(31_536_000_000));
    for long in ["8761h", "99999999999h", "99999999999999999999999s", "18446744073709551615ms"] {
        assert_eq!(millis(long), Err(format!("`{long}` is longer than a year (8760h)")));
    }
    assert!(millis("h").unwrap_err().contains("no time"));
    assert!(millis("5").unwrap_err().contains("no unit"));
}

/// The names that the parser knows at a place of the sample, by what it says of one that it does not know.
fn known(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "the sample has no `{from}`");
    let error = toml::from_str::<Workload>(&GOOD.replacen(from, to, 1)).expect_err(to);
    let (head, names) = error.message().split_once(", expected").expect("it tells what it knows");
    assert!(head.contains("`zz`"), "{head}");
    in_backticks(names).map(str::to_owned).collect()
}

/// What stands between backticks: of the pieces that they cut a text into, every second.
fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').enumerate().filter_map(|(n, piece)| (n % 2 == 1).then_some(piece))
}

/// The section of a heading.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, section) = document.split_once(&format!("\n{heading}\n")).expect(heading);
    section.split("\n#").next().unwrap_or_default()
}

/// The words of a text that are marked as names.
fn marked(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    in_backticks(text).flat_map(|span| span.split(|c| !is_word(c))).map(str::to_owned).collect()
}

#[test]
fn every_name_that_the_parser_knows_is_in_the_document() {
    let document = include_str!("../../../docs/workloads.md");
    let tables = [
        ("## The file", "name = \"t\"", "name = \"t\"\nzz = 1"),
        ("### `[keys]`", "records = 1000", "zz = 1"),
        ("### `[values]`", "check_every = 1", "zz = 1"),
        ("### `[[phase]]`", "kind = \"load\"", "zz = 1"),
        ("### `load`", "threads = 2", "zz = 2"),
        ("### Operations of a mix", "scan = 0.5", "zz = 0.5"),
        ("### Distributions of a pick", "\"zipfian\"", "\"zz\""),
    ];
    for (heading, from, to) in tables {
        let rows = section(document, heading).lines().filter(|line| line.starts_with('|'));
        let heads: Vec<String> =
            rows.filter_map(|row| row.split('|').nth(1)).flat_map(marked).collect();
        for name in known(from, to) {
            assert!(heads.contains(&name), "{heading} of docs/workloads.md has no row `{name}`");
        }
    }
    let others = [
        ("### `[keys]`", "records = 1000", "records = 1\norder = \"zz\""),
        ("### `[keys]`", "records = 1000", "records = 1\nhash = \"zz\""),
        ("### `[keys]`", "records = 1000", "records = 1\nformat = { kind = \"zz\" }"),
        ("### `[keys]`", "records = 1000", "records = 1\nformat = { kind = \"ycsb\", zz = 1 }"),
        ("### `[values]`", "\"blob\"", "\"zz\""),
        ("### `[values]`", "bytes = 10", "zz = 10"),
        ("### `[values]`", "\"constant\"", "\"zz\""),
        ("### `[[phase]]`", "\"load\"", "\"zz\""),
        ("### `[[phase]]`", "{ min = 1,", "{ zz = 1,"),
        ("### `load`", "\"closed\"", "\"zz\""),
        ("### `load`", "threads = 2", "threads = 2, arrival = \"zz\""),
        ("### Distributions of a pick", "theta = 1.2", "zz = 1.2"),
    ];
    for (heading, from, to) in others {
        let marked = marked(section(document, heading));
        for name in known(from, to) {
            assert!(marked.contains(&name), "{heading} of docs/workloads.md lacks `{name}`");
        }
    }
}

#[test]
fn the_example_of_the_document_is_a_workload() {
    let document = include_str!("../../../docs/workloads.md");
    let (_, example) = document.split_once("debts paid in the end:\n").unwrap();
    let is_of_it = |line: &&str| line.is_empty() || line.starts_with("    ");
    let phases: String =
        example.lines().take_while(is_of_it).map(|line| line.to_owned() + "\n").collect();
    let workload = Workload::parse("docs", &(GOOD.to_owned() + &phases)).unwrap();
    let [.., warm_up, open, settle] = &*workload.phases else { panic!("three more phases") };
    assert!(!warm_up.record && warm_up.kind == PhaseKind::Run);
    assert_eq!((open.load.model, open.load.of_max), (LoadModel::Open, Some(0.8)));
    assert_eq!((settle.kind, settle.timeout.unwrap().0.as_secs()), (PhaseKind::Settle, 300));
}
