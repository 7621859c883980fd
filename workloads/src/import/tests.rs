//! What is read, what has its default, what is refused and at which line.

use super::*;

const LEAST: &str = "recordcount=1000\noperationcount=500\n";

fn import(dialect: Dialect, more: &str) -> Imported {
    Workload::import("w", "w", &format!("{LEAST}{more}"), dialect, &Overrides::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn run(more: &str) -> Phase {
    import(Dialect::Ycsb, more).workload.phases[1].clone()
}

fn refusal(dialect: Dialect, more: &str) -> String {
    let text = format!("{LEAST}{more}");
    Workload::import("w", "w", &text, dialect, &Overrides::default()).expect_err(more).to_string()
}

#[test]
fn what_is_absent_has_the_default_of_the_program() {
    let w = import(Dialect::Ycsb, "").workload;
    assert_eq!((w.keys.records, w.keys.max_new, w.keys.order), (1_000, 0, KeyOrder::Hashed));
    assert_eq!(w.values.size.bytes, Some(1_000));
    let phase = &w.phases[1];
    assert_eq!((phase.mix.read, phase.mix.update, phase.ops), (0.95, 0.05, Some(500)));
    assert_eq!((phase.pick, phase.load.threads), (Some(Pick::of(Distribution::Uniform)), 1));
    assert_eq!(import(Dialect::GoYcsb, "").workload.phases[1].load.threads, 200);
    let scans = run("readproportion=0\nupdateproportion=0\nscanproportion=1");
    assert_eq!(scans.scan_length, Some(Lengths { min: 1, max: 1_000 }));
}

#[test]
fn weights_that_do_not_sum_to_one_are_weights_and_a_note_says_so() {
    let imported = import(Dialect::Ycsb, "insertproportion=1");
    let mix = imported.workload.phases[1].mix;
    assert!((mix.insert - 0.5).abs() < 1e-12 && (mix.read - 0.475).abs() < 1e-12, "{mix:?}");
    assert!(imported.notes[0].contains("sum to 2, with readproportion=0.95 by default"));
    // Twice the inserts that are expected are kept free, as in YCSB, and by the weight as it stands.
    assert_eq!(imported.workload.keys.max_new, 1_000);
}

#[test]
fn a_command_line_completes_what_a_file_leaves_out_and_changes_nothing_that_it_says() {
    let given = Overrides { records: Some(70), ops: Some(900), ..Overrides::default() };
    let of = |text: &str, overrides: &Overrides, dialect| {
        Workload::import("w", "w", text, dialect, overrides).map(|imported| imported.workload)
    };
    let empty =
        of("insertproportion=1\nreadproportion=0\nupdateproportion=0", &given, Dialect::Ycsb);
    let empty = empty.unwrap();
    assert_eq!((empty.keys.records, empty.keys.max_new), (70, 1_800), "as with operationcount=900");
    assert_eq!((empty.phases[1].ops, empty.phases[1].duration), (Some(900), None));
    let full = of(LEAST, &given, Dialect::Ycsb).unwrap();
    assert_eq!((full.keys.records, full.phases[1].ops), (1_000, Some(500)));
    let span = Span(std::time::Duration::from_millis(300));
    let timed = Overrides { duration: Some(span), ..Overrides::default() };
    let timed = of("recordcount=5\nwarmuptime=10", &timed, Dialect::GoYcsb).unwrap();
    assert_eq!((timed.phases[2].ops, timed.phases[2].duration), (None, Some(span)));
    let error = of("recordcount=5", &Overrides::default(), Dialect::Ycsb).unwrap_err().to_string();
    assert!(error.ends_with("add one, or give --ops or --duration"), "{error}");
    let error =
        of("operationcount=5", &Overrides::default(), Dialect::Ycsb).unwrap_err().to_string();
    assert!(error.ends_with("add it, or give --records"), "{error}");
}

#[test]
fn every_distribution_has_its_name_and_its_settings() {
    let pick = |text: &str| run(text).pick.unwrap();
    assert_eq!(pick("requestdistribution=zipfian").dist, Distribution::YcsbZipfian);
    assert_eq!(pick("requestdistribution=latest").dist, Distribution::Latest);
    assert_eq!(pick("requestdistribution=sequential").dist, Distribution::Sequential);
    let hot = pick("requestdistribution=hotspot\nhotspotdatafraction=0.1\nhotspotopnfraction=.9");
    assert_eq!((hot.hot_keys(), hot.hot_ops()), (0.1, 0.9));
    let hot = pick("requestdistribution=hotspot");
    assert_eq!((hot.hot_keys(), hot.hot_ops()), (0.2, 0.8));
    let exponential = pick("requestdistribution=exponential\nexponential.percentile=90");
    assert_eq!((exponential.percentile(), exponential.frac()), (90.0, 0.857_142_857_1));
    // YCSB's uniform never names an inserted key.
    let uniform = pick("insertproportion=0.1\nreadproportion=0.85");
    assert_eq!((uniform.dist, uniform.hot_keys()), (Distribution::Hotspot, 1.0));
}

#[test]
fn keys_values_and_times_are_read() {
    let text = "insertorder=ordered\nzeropadding=12\nfieldcount=4\nfieldlength=25\ndataintegrity=true\nthreadcount=3";
    let w = import(Dialect::Ycsb, text).workload;
    assert_eq!(w.keys.order, KeyOrder::Ordered);
    assert_eq!(w.keys.format, KeyFormat::Ycsb { prefix: "user".into(), zero_pad: 12 });
    assert_eq!((w.values.size.bytes, w.values.check_every), (Some(100), 1));
    assert!(w.phases.iter().all(|phase| phase.load.threads == 3));
    let text = "fieldcount=1\nfieldlength=9\nfieldlengthdistribution=uniform\nminfieldlength=3";
    let size = import(Dialect::Ycsb, text).workload.values.size;
    assert_eq!((size.min, size.max), (Some(3), Some(9)));
    let text = "recordcount=5\nmaxexecutiontime=90";
    let phase = &Workload::import("w", "w", text, Dialect::Ycsb, &Overrides::default())
        .unwrap()
        .workload
        .phases[1];
    assert_eq!((phase.ops, phase.duration.unwrap().0.as_secs()), (None, 90));
    assert_eq!(run("deleteproportion=0.1\nreadproportion=0.85").mix.delete, 0.1);
}

#[test]
fn a_command_line_settles_how_a_run_ends_where_a_file_says_it_in_two_ways() {
    let text = format!("{LEAST}maxexecutiontime=60\ninsertproportion=1\nreadproportion=0");
    let span = Span(std::time::Duration::from_millis(300));
    for (ops, duration, max_new) in [(Some(70), None, 140), (None, Some(span), 1_000)] {
        let given = Overrides { ops, duration, ..Overrides::default() };
        let Imported { workload, .. } =
            Workload::import("w", "w", &text, Dialect::Ycsb, &given).unwrap();
        assert_eq!((workload.phases[1].ops, workload.phases[1].duration), (ops, duration));
        assert_eq!(workload.keys.max_new, max_new, "inserts have the room that the file says");
    }
}

#[test]
fn a_target_is_an_open_loop_of_the_run_with_fixed_distances_in_both_programs_that_read_it() {
    for dialect in [Dialect::Ycsb, Dialect::GoYcsb] {
        let Imported { workload, notes } = import(dialect, "threadcount=4\ntarget=2500");
        let (load, run) = (&workload.phases[0].load, &workload.phases[1].load);
        assert_eq!(*load, Load::closed(4));
        assert_eq!(
            (run.model, run.rate, run.arrival, run.threads),
            (LoadModel::Open, Some(2_500.0), Some(Arrival::Fixed), 4)
        );
        assert!(notes.iter().any(|note| note.contains("target is of the run")), "{notes:?}");
        let again = Workload::parse("w.toml", &workload.to_toml()).unwrap();
        assert_eq!(again.phases[1].load, *run);
    }
    for (dialect, more) in [(Dialect::Ycsb, "target=0"), (Dialect::YcsbCpp, "target=0")] {
        let Imported { workload, notes } = import(dialect, more);
        assert_eq!(workload.phases[1].load, Load::closed(1));
        assert!(!notes.iter().any(|note| note.contains("target")), "{notes:?}");
    }
}

#[test]
fn a_warm_up_of_go_ycsb_is_the_run_for_a_time_that_is_not_recorded() {
    let workload = import(Dialect::GoYcsb, "warmuptime=30\nreadproportion=1").workload;
    let [load, warm_up, run] = &workload.phases[..] else { panic!("{workload:?}") };
    assert!(load.record && run.record && !warm_up.record);
    assert_eq!((warm_up.ops, warm_up.duration.unwrap().0.as_secs()), (None, 30));
    assert_eq!((run.ops, run.duration), (Some(500), None));
    assert_eq!((warm_up.mix, warm_up.pick, &warm_up.load), (run.mix, run.pick, &run.load));
    assert_eq!(import(Dialect::GoYcsb, "warmuptime=0").workload.phases.len(), 2);
    let text = "recordcount=5\nmaxexecutiontime=90\nwarmuptime=10";
    let error = Workload::import("w", "w", text, Dialect::GoYcsb, &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("w:3: warmuptime: beside maxexecutiontime"), "{error}");
    let error = refusal(Dialect::Ycsb, "warmuptime=10");
    assert_eq!(error, "w:3: ycsb has no property `warmuptime`; --dialect go-ycsb has");
}

#[test]
fn each_dialect_has_its_own_properties_and_hash() {
    let keys = |dialect, more| import(dialect, more).workload.keys;
    assert_eq!(keys(Dialect::GoYcsb, "keyprefix=k").hash, KeyHash::GoYcsb);
    assert_eq!(keys(Dialect::YcsbCpp, "zipfian_const=0.99").hash, KeyHash::YcsbCpp);
    assert_eq!(
        refusal(Dialect::Ycsb, "keyprefix=k"),
        "w:3: ycsb has no property `keyprefix`; --dialect go-ycsb has"
    );
    assert!(refusal(Dialect::YcsbCpp, "requestdistribution=hotspot").contains("is not one of"));
}

#[test]
fn what_belongs_to_measuring_and_to_databases_is_named_in_one_note() {
    let text =
        "measurementtype=hdrhistogram\nhdrhistogram.percentiles=50,99\nrocksdb.dir=/x\ntable=t";
    let notes = import(Dialect::Ycsb, text).notes;
    let expected = "w: of other programs, ignored: measurementtype, hdrhistogram.percentiles, rocksdb.dir, table";
    assert_eq!(notes[0], expected);
}

#[test]
fn what_cannot_be_honoured_is_refused_at_its_line_with_the_reason() {
    let cases = [
        ("\nrequestdistrubution=zipfian", 4, "did you mean `requestdistribution`?"),
        ("requestdistribution=zipfain", 3, "did you mean `zipfian`?"),
        ("requestdistribution=exponentiel", 3, "did you mean `exponential`?"),
        ("target=1000.5", 3, "target: `1000.5` is not a whole number"),
        ("\ntarget=1000000000", 4, "rate must be above 0 and at most"),
        ("readproportion=-0.5", 3, "readproportion: `-0.5` is negative"),
        ("readproportion=half", 3, "readproportion: `half` is no number"),
        ("readproportion=NaN", 3, "is not finite"),
        ("readproportion=0\nupdateproportion=0", 3, "every proportion is 0"),
        ("recordcount=-1", 3, "recordcount: `-1` is negative"),
        ("recordcount=many", 3, "recordcount: `many` is not a whole number"),
        ("recordcount=0", 3, "recordcount is missing or 0"),
        ("threadcount=0", 3, "threads must be 1 to"),
        ("threadcount=99999999999", 3, "is too large"),
        ("insertstart=5", 3, "begins with key number 0"),
        ("insertcount=10", 3, "10 of 1000 records"),
        ("maxexecutiontime=60", 3, "leave out one, or settle it with --ops or --duration"),
        ("readallfields=false", 3, "all of it is read"),
        ("readallfields=maybe", 3, "is not true or false"),
        ("fieldlengthdistribution=uniform", 3, "the sum of several uniform lengths"),
        ("fieldlengthdistribution=zipfian", 3, "lengths that are zipfian"),
        ("fieldlength=0", 3, "values have 1 to"),
        ("zeropadding=65", 3, "zero_pad is at most 64"),
        ("scanproportion=1\nscanlengthdistribution=zipfian", 4, "lengths that are zipfian"),
        ("scanproportion=1\nmaxscanlength=0", 4, "1 <= min <= max"),
        ("workload=site.ycsb.workloads.TimeSeriesWorkload", 3, "is not the core workload"),
        ("requestdistribution=hotspot\nhotspotdatafraction=2", 3, "hot_keys is 2"),
    ];
    for (more, line, words) in cases {
        let message = refusal(Dialect::Ycsb, more);
        assert!(message.starts_with(&format!("w:{line}: ")), "{more}: {message}");
        assert!(message.contains(words) && !message.contains('\n'), "{more}: {message}");
    }
    for (more, dialect, words) in [
        ("warmuptime=9999999999", Dialect::GoYcsb, "warmuptime: "),
        ("warmuptime=10\ntarget=5", Dialect::GoYcsb, "makes up for the warm-up's time"),
        ("target=10", Dialect::YcsbCpp, "ycsb-cpp does not read it"),
        ("batch.size=10", Dialect::GoYcsb, "are not done here"),
        ("zipfian_const=0.5", Dialect::YcsbCpp, "has the constant 0.99 here"),
        ("limit.ops=10", Dialect::YcsbCpp, "its token bucket forgets"),
        ("limit.file=x", Dialect::YcsbCpp, "rates that change"),
        ("sleepafterload=10", Dialect::YcsbCpp, "a rest after the load"),
    ] {
        let message = refusal(dialect, more);
        assert!(message.starts_with("w:3: ") && message.contains(words), "{message}");
    }
    let nothing = Workload::import("w", "w", "", Dialect::Ycsb, &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(nothing.starts_with("w:1: "), "{nothing}");
}

#[test]
fn every_property_operation_and_distribution_is_in_the_document() {
    let text = include_str!("../../../docs/workloads.md");
    let properties =
        names::KNOWN.iter().map(|(name, _)| *name).chain(names::IGNORED.iter().copied());
    let operations = crate::OpKind::ALL.map(crate::OpKind::name);
    let distributions = [
        Distribution::Uniform,
        Distribution::Zipfian,
        Distribution::YcsbZipfian,
        Distribution::Latest,
        Distribution::Hotspot,
        Distribution::Exponential,
        Distribution::Sequential,
        Distribution::Oldest,
    ]
    .map(Distribution::name);
    for name in properties.chain(operations).chain(distributions) {
        assert!(text.contains(&format!("`{name}`")), "docs/workloads.md does not explain `{name}`");
    }
}
