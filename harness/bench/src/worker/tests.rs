//! Runs with open loops, warm-ups and settling: what they leave.

use super::*;
use crate::rows::{ALL, read_rows};
use crate::testing::plan_of;
use std::collections::BTreeSet;

const HEAD: &str = r#"
schema = "norikv.workload/1"
name = "w"
[keys]
records = 20_000
[values]
record = "blob"
size = { dist = "constant", bytes = 100 }
check_every = 100
[[phase]]
kind = "load"
load = { model = "closed", threads = 1 }
"#;

fn run(dir: &Path, engine: &str, phases: &str) -> (RunPlan, Vec<Message>) {
    let plan = plan_of(dir, engine, &format!("{HEAD}{phases}"));
    let mut messages = Vec::new();
    carry_out(&plan, &mut |message| messages.push(message.clone())).unwrap();
    (plan, messages)
}

fn all_rows(plan: &RunPlan) -> Vec<Row> {
    let mut rows = read_rows(&plan.dir.join("summary.csv")).unwrap();
    rows.retain(|row| row.op == ALL);
    rows
}

fn events(plan: &RunPlan) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(plan.dir.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const UPDATES: &str = r#"
mix = { update = 1.0 }
pick = { dist = "uniform" }
"#;

#[test]
fn settling_fills_what_the_phase_before_it_left_open_and_has_a_row_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let phases = format!(
        "[[phase]]\nkind = \"run\"\nops = 60_000{UPDATES}load = {{ model = \"closed\", threads = 1 }}\n\
         [[phase]]\nkind = \"settle\"\ntimeout = \"60s\""
    );
    let (plan, _) = run(dir.path(), "nori-lsm", &phases);
    let rows = all_rows(&plan);
    let phases: Vec<&str> = rows.iter().map(|row| row.phase.as_str()).collect();
    assert_eq!(phases, ["load", "run", "settle"]);
    let of_run = &rows[1];
    assert!(of_run.wa_settled.unwrap() >= of_run.wa_stop.unwrap(), "{of_run:?}");
    assert!(of_run.sa_settled.unwrap() >= 1.0 / 2.0, "{of_run:?}");
    assert!(of_run.sa_peak.unwrap() >= of_run.sa_stop.unwrap());
    assert_eq!((rows[0].wa_settled, rows[0].sa_settled), (None, None), "nothing settled after it");
    let settle = &rows[2];
    assert_eq!((settle.ops, settle.svc_max_us, settle.model.as_str()), (0, None, ""));
    assert!(settle.seconds < 60.0);
}

#[test]
fn the_series_of_the_engine_tells_what_waits_what_runs_and_who_has_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let phase = format!(
        "[[phase]]\nkind = \"run\"\nops = 20_000{UPDATES}load = {{ model = \"closed\", threads = 1 }}\n"
    );
    for (engine, knows) in [("nori-lsm", true), ("noop", false)] {
        let (plan, _) = run(dir.path(), engine, &phase);
        let mut reader = csv::Reader::from_path(plan.dir.join("engine.csv")).unwrap();
        let heading = reader.headers().unwrap().clone();
        let last = reader.records().last().unwrap().unwrap();
        for column in [
            "memtables_sealed",
            "memtables_sealed_bytes",
            "compactions_running",
            "filter_bytes",
            "index_bytes",
        ] {
            let at = heading.iter().position(|name| name == column).unwrap();
            assert_eq!(last[at].parse::<u64>().is_ok(), knows, "{engine} {column}: {last:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_asked_is_watched_until_it_rests() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, _) = run(dir.path(), "noop", "[[phase]]\nkind = \"settle\"");
    let rows = all_rows(&plan);
    assert_eq!(rows[1].phase, "settle");
    // It was at rest from the start; that it was watched for two seconds to be sure is not its time.
    assert!(rows[1].seconds < 1.0, "{}", rows[1].seconds);
    let late = "[[phase]]\nkind = \"settle\"\ntimeout = \"300ms\"";
    let plan = plan_of(dir.path(), "noop", &format!("{HEAD}{late}"));
    let error = carry_out(&plan, &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "w did not settle within 300ms");
}

/// As on a disk that was full when the phase failed: neither its rows nor how it ended can be noted.
#[test]
fn an_error_that_cannot_be_noted_is_told_before_the_one_of_noting_it() {
    let dir = tempfile::tempdir().unwrap();
    let phases = "[[phase]]\nkind = \"settle\"\ntimeout = \"300ms\"";
    let plan = plan_of(dir.path(), "noop", &format!("{HEAD}{phases}"));
    let error = carry_out(&plan, &mut |message| {
        if matches!(message, Message::Begin { step: 1 }) {
            for name in ["manifest.json.new", "summary.csv.new"] {
                std::fs::create_dir(plan.dir.join(name)).unwrap();
            }
        }
    });
    let told = format!("{:#}", error.unwrap_err());
    assert!(told.starts_with("w did not settle within 300ms; and then: writing "), "{told}");
    assert!(told.contains("summary.csv: ") && told.contains("manifest.json: "), "{told}");
}

#[test]
fn a_warm_up_runs_and_has_no_rows_but_keeps_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let phase = |record: &str| {
        format!(
            "[[phase]]\nkind = \"run\"\n{record}ops = 5_000{UPDATES}load = {{ model = \"closed\", threads = 1 }}\n"
        )
    };
    let (plan, _) = run(dir.path(), "noop", &(phase("record = false\n") + &phase("")));
    let phases: Vec<String> = all_rows(&plan).into_iter().map(|row| row.phase).collect();
    assert_eq!(phases, ["load", "run"]);
    let begun: Vec<String> = events(&plan)
        .iter()
        .filter(|event| event["kind"] == "phase_begin")
        .map(|event| event["phase"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(begun, ["load", "warmup", "run"]);
    let logs: BTreeSet<String> = std::fs::read_dir(plan.dir.join("latency"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".hlog"))
        .collect();
    assert_eq!(logs, ["00-w-load.hlog", "02-w-run.hlog"].map(str::to_owned).into());
    assert!(
        std::fs::read_to_string(plan.dir.join("intervals.csv")).unwrap().contains(",warmup,all,")
    );
}

#[test]
fn an_open_loop_at_a_share_of_the_maximum_measures_it_first_and_fills_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let phases = format!(
        "[[phase]]\nkind = \"run\"\nduration = \"600ms\"{UPDATES}\
         load = {{ model = \"open\", of_max = 0.1, arrival = \"fixed\", threads = 2 }}\n"
    );
    let (plan, messages) = run(dir.path(), "noop", &phases);
    let calibrated = messages.iter().find_map(|message| match message {
        Message::Calibrated { calibrated, .. } => Some(*calibrated),
        _ => None,
    });
    let calibrated = calibrated.unwrap();
    assert!((calibrated.rate / calibrated.closed_ops_per_s - 0.1).abs() < 1e-9);
    assert!((0.3..0.5).contains(&calibrated.seconds), "half of the phase: {}", calibrated.seconds);
    let row = all_rows(&plan).pop().unwrap();
    assert_eq!((row.model.as_str(), row.offered_rate), ("open", Some(calibrated.rate)));
    assert!(row.rsp_p50_us.unwrap() >= row.svc_p50_us.unwrap(), "{row:?}");
    assert!(row.rsp_max_us.is_some() && row.sched_lag_p99_us.is_some(), "{row:?}");
    assert!(row.late_own_share.is_some_and(|own| (0.0..=1.0).contains(&own)), "{row:?}");
    assert!(events(&plan).iter().any(|event| event["kind"] == "calibrated"));
    for name in [
        "01-w-run.hlog",
        "01-w-run.response.hlog",
        "01-w-run.update.service.hgrm",
        "01-w-run.update.response.hgrm",
        "01-w-run.sched_lag.hgrm",
    ] {
        assert!(plan.dir.join("latency").join(name).exists(), "{name} is missing");
    }
}

#[test]
fn a_phase_in_which_no_operation_came_due_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    // One in several minutes: what the maximum is, and so that this is too little, only the run itself finds out.
    let phases = format!(
        "[[phase]]\nkind = \"run\"\nduration = \"300ms\"{UPDATES}\
         load = {{ model = \"open\", of_max = 1e-10, threads = 1 }}\n"
    );
    let plan = plan_of(dir.path(), "noop", &format!("{HEAD}{phases}"));
    let error = carry_out(&plan, &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "w: the run phase carried out no operation: nothing was measured");
}

#[test]
fn what_a_load_writes_in_batches_is_in_the_series_of_the_engine_and_not_in_that_of_operations() {
    let dir = tempfile::tempdir().unwrap();
    // The rest takes longer than it takes to notice that it began.
    let head = HEAD.replace("20_000", "1_000_000");
    let workload = format!("{head}duration = \"20ms\"\n");
    let plan = plan_of(dir.path(), "nori-lsm", &workload);
    carry_out(&plan, &mut |_| {}).unwrap();
    let lines = |name: &str| {
        let mut reader = csv::Reader::from_path(plan.dir.join(name)).unwrap();
        let heading = reader.headers().unwrap().clone();
        let ops = heading.iter().position(|column| column == "ops");
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        (rows.len(), ops.map(|at| rows.iter().map(|row| row[at].to_owned()).collect::<Vec<_>>()))
    };
    let (intervals, ops) = lines("intervals.csv");
    assert_eq!(intervals, 2, "one of all operations, one of inserts");
    assert!(ops.unwrap().iter().all(|ops| ops != "0"));
    assert!(lines("engine.csv").0 >= 2, "it was watched to its end");
}

#[test]
fn a_rate_that_the_clients_cannot_make_by_themselves_is_an_invalid_run() {
    let dir = tempfile::tempdir().unwrap();
    // Ten nanoseconds each: no client here makes an operation in that, and the engine does nothing.
    let phases = format!(
        "[[phase]]\nkind = \"run\"\nduration = \"300ms\"{UPDATES}load = {{ model = \"open\", rate = 1e8, threads = 1 }}\n"
    );
    let (plan, messages) = run(dir.path(), "noop", &phases);
    let manifest = Manifest::read(&plan.dir).unwrap();
    assert_eq!(manifest.status.state, "invalid");
    assert!(manifest.status.reasons[0].contains("the clients' own"), "{:?}", manifest.status);
    assert!(messages.iter().any(|message| matches!(message, Message::Invalid { .. })));
    assert_eq!(all_rows(&plan).len(), 2, "its rows are kept");
}

#[test]
fn no_writer_of_a_levelled_store_near_its_maximum_stalls_without_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let phases = format!(
        "[[phase]]\nkind = \"run\"\nops = 150_000{UPDATES}\
         load = {{ model = \"open\", of_max = 0.8, arrival = \"poisson\", threads = 2 }}\n\
         [[phase]]\nkind = \"settle\"\n"
    );
    let mut plan = plan_of(dir.path(), "nori-lsm", &format!("{HEAD}{phases}"));
    plan.choices = vec![("compaction".into(), "leveled".into())];
    carry_out(&plan, &mut |_| {}).unwrap();
    let events = events(&plan);
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    let ended = of("compaction_end");
    let last = ended.iter().filter_map(|event| event["level_out"].as_u64()).max().unwrap();
    let into_last = ended.iter().filter(|event| event["level_out"] == last).count();
    assert!(into_last >= 3, "{into_last} compactions into level {last}");
    for edge in ["stall_begin", "stall_end"] {
        for stall in of(edge) {
            let reason = stall["reason"].as_str().unwrap_or_default();
            assert!(!reason.is_empty(), "a stall without a reason: {stall}");
            let is_by_level = reason != "memtable_full" && reason != "segment_full";
            assert!(!is_by_level || stall["level"].is_u64(), "which level? {stall}");
        }
    }
    assert_eq!(of("stall_begin").len(), of("stall_end").len(), "each stall has its end");
    assert!(of("dropped").is_empty());
}
