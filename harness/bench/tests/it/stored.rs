//! Stored results that are not what they were: of another schema, damaged, or of another experiment.

use crate::{bench, said};
use std::fs;
use std::path::{Path, PathBuf};

const RUN: &[&str] =
    &["run", "ycsb-c", "--engine", "noop", "--records", "2000", "--ops", "2000", "--out", "o"];

/// An experiment of one run that ended; the run's directory.
fn ended(dir: &Path) -> PathBuf {
    let output = bench(RUN, dir);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let mut runs = fs::read_dir(dir.join("o/runs")).expect("an experiment has runs");
    runs.next().and_then(Result::ok).expect("of which there is one").path()
}

fn replace(path: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(path).expect("the file is there");
    let after = before.replace(from, to);
    assert_ne!(before, after, "{} does not hold `{from}`", path.display());
    fs::write(path, after).expect("the file can be written");
}

/// Checks that a command is refused with one line that holds all words.
fn assert_refused(dir: &Path, args: &[&str], words: &[&str]) {
    let output = bench(args, dir);
    let error = said(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{args:?}: {error}");
    }
}

#[test]
fn results_of_another_schema_are_refused_by_every_command_with_file_and_schemas() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    let resumed: Vec<&str> = RUN.iter().copied().chain(["--resume"]).collect();
    let readers: [&[&str]; 3] = [&["report", "o"], &["plot", "latency", "o"], &resumed];
    let manifest = run.join("manifest.json");
    replace(&manifest, "norikv.manifest/1", "norikv.manifest/99");
    for args in readers {
        assert_refused(dir.path(), args, &["manifest.json", "manifest/99", "`norikv.manifest/1`"]);
    }
    replace(&manifest, "norikv.manifest/99", "norikv.manifest/1");
    let note = dir.path().join("o/experiment.json");
    // Nothing but the schema has to be as it is here.
    for other in [
        fs::read_to_string(&note).unwrap().replace("experiment-result/1", "experiment/99"),
        "{\"schema\": \"norikv.experiment/99\", \"runs\": 7}".into(),
    ] {
        fs::write(&note, other).unwrap();
        for args in readers.into_iter().chain([RUN]) {
            let words = ["experiment.json", "norikv.experiment/99", "`norikv.experiment-result/1`"];
            assert_refused(dir.path(), args, &words);
        }
    }
    assert_refused(dir.path(), RUN, &["remove it or choose another directory"]);
    assert!(manifest.exists(), "nothing was removed");
    // What `doctor` measures is kept as an experiment, too.
    let kept = dir.path().join("d/doctor");
    fs::create_dir_all(&kept).unwrap();
    fs::copy(&note, kept.join("experiment.json")).unwrap();
    let output = bench(&["doctor", "--dir", "d"], dir.path());
    let told = said(&output.stdout) + &said(&output.stderr);
    assert!(!output.status.success() && told.contains("norikv.experiment/99"), "{told}");
    assert!(kept.join("experiment.json").exists(), "{told}");
}

#[test]
fn a_run_file_that_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    for name in [
        "manifest.json",
        "summary.csv",
        "intervals.csv",
        "engine.csv",
        "events.jsonl",
        "latency/00-ycsb-c-load.hlog",
        "latency/01-ycsb-c-run.hlog",
    ] {
        let (path, aside) = (run.join(name), dir.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        for args in [&["report", "o"], &["plot", "latency", "o"][..]] {
            assert_refused(dir.path(), args, &[name, "is missing"]);
        }
        fs::rename(&aside, &path).unwrap();
    }
    assert!(bench(&["report", "o"], dir.path()).status.success());
}

#[test]
fn a_report_never_replaces_the_numbers_of_runs_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    let summary = dir.path().join("o/summary.csv");
    let before = fs::read(&summary).unwrap();
    fs::remove_dir_all(dir.path().join("o/runs")).unwrap();
    let name = run.file_name().unwrap().to_str().unwrap();
    assert_refused(dir.path(), &["report", "o"], &[name, "is missing", "summary.csv"]);
    assert_eq!(fs::read(&summary).unwrap(), before);
}

#[test]
fn what_only_an_engine_with_levels_or_an_open_loop_leaves_is_missed_too() {
    let dir = tempfile::tempdir().unwrap();
    let line = "run ycsb-c --engine nori-lsm --records 2000 --ops 2000 --rate 10000 --out o";
    let args: Vec<&str> = line.split(' ').collect();
    // On a busy machine it is invalid; its files are as whole as any.
    assert_ne!(bench(&args, dir.path()).status.code(), Some(2));
    let run = fs::read_dir(dir.path().join("o/runs")).unwrap().flatten().next().unwrap().path();
    for name in ["levels.csv", "latency/01-ycsb-c-run.response.hlog"] {
        fs::rename(run.join(name), dir.path().join("aside")).unwrap();
        assert_refused(dir.path(), &["report", "o"], &[name, "is missing"]);
        fs::rename(dir.path().join("aside"), run.join(name)).unwrap();
    }
    assert_ne!(bench(&["report", "o"], dir.path()).status.code(), Some(2));
}

#[test]
fn a_run_file_that_lost_its_end_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    for name in ["manifest.json", "summary.csv", "intervals.csv", "engine.csv", "events.jsonl"] {
        let path = run.join(name);
        let whole = fs::read(&path).unwrap();
        let last_line =
            whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        let cuts = match name {
            "manifest.json" => vec![whole.len() / 2],
            // A second more or less of samples is not seen.
            "engine.csv" => vec![(last_line + whole.len()) / 2],
            _ => vec![last_line, (last_line + whole.len()) / 2, whole.len() - 1],
        };
        for cut in cuts {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_refused(dir.path(), &["report", "o"], &[name]);
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(bench(&["report", "o"], dir.path()).status.success());
}

#[test]
fn a_number_that_nothing_measures_is_refused_with_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    for name in ["summary.csv", "intervals.csv"] {
        let path = run.join(name);
        let whole = fs::read_to_string(&path).unwrap();
        let heading: Vec<&str> = whole.lines().next().unwrap().split(',').collect();
        let at = heading.iter().position(|column| *column == "svc_p50_us").unwrap();
        for wrong in ["NaN", "-1e308", "inf", "-0.5"] {
            let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
            let mut cells: Vec<&str> = lines[2].split(',').collect();
            cells[at] = wrong;
            lines[2] = cells.join(",");
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            let words = format!("{name}:3: svc_p50_us is `{wrong}`");
            assert_refused(dir.path(), &["report", "o"], &[&words]);
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(bench(&["report", "o"], dir.path()).status.success());
}

#[test]
fn a_damaged_run_is_done_again_alone_when_its_folder_is_removed_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let two: Vec<&str> =
        RUN.iter().copied().chain(["--engine", "nori-model", "--durability", "none"]).collect();
    let resumed = [&two[..], &["--resume"]].concat();
    let output = bench(&resumed, dir.path());
    let told = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(
        told.contains("--resume: o holds no experiment to go on with: it is begun anew"),
        "{told}"
    );
    let runs = fs::read_dir(dir.path().join("o/runs")).unwrap().flatten().map(|run| run.path());
    let run = runs.into_iter().find(|run| run.to_string_lossy().contains("noop")).unwrap();
    let folder = run.strip_prefix(dir.path()).unwrap().display().to_string();
    for name in ["manifest.json", "summary.csv", "latency/01-ycsb-c-run.hlog"] {
        let whole = fs::read(run.join(name)).unwrap();
        fs::write(run.join(name), &whole[..whole.len() / 2]).unwrap();
        let words =
            [&*format!("--resume: the run in {folder} is damaged"), name, "remove that folder"];
        assert_refused(dir.path(), &resumed, &words);
        fs::write(run.join(name), &whole).unwrap();
    }
    fs::remove_dir_all(&run).unwrap();
    let told = said(&bench(&resumed, dir.path()).stdout);
    assert!(told.contains("resumed: 1 run done before"), "{told}");
    assert!(run.join("summary.csv").exists());
}

#[test]
fn a_run_that_contradicts_its_experiment_is_named_with_how() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    let id = run.file_name().unwrap().to_string_lossy().into_owned();
    let resumed: Vec<&str> = RUN.iter().copied().chain(["--resume"]).collect();
    for (file, from, to, words) in [
        ("manifest.json", "\"target\": \"noop\"", "\"target\": \"other\"", "other"),
        ("manifest.json", "\"seed\": 42", "\"seed\": 43", "the seed 43, the experiment 42"),
        ("manifest.json", "\"block\": 1", "\"block\": 2", "manifest.json"),
        ("manifest.json", &*format!("\"run_id\": \"{id}\""), "\"run_id\": \"1-x\"", "1-x"),
        ("manifest.json", "\"experiment\": \"ycsb-c\"", "\"experiment\": \"ycsb-d\"", "ycsb-d"),
        ("manifest.json", "\"label\": \"ycsb-c\"", "\"label\": \"ycsb-d\"", "summary.csv"),
        ("summary.csv", ",noop,", ",other,", "summary.csv"),
        ("summary.csv", &*id, "1-x", "1-x"),
        ("../../experiment.json", &*id, "1-x", "does not name"),
    ] {
        let path = run.join(file);
        let whole = fs::read(&path).unwrap();
        replace(&path, from, to);
        assert_refused(dir.path(), &["report", "o"], &[words]);
        assert_refused(dir.path(), &resumed, &["--resume"]);
        fs::write(&path, whole).unwrap();
    }
    assert!(bench(&["report", "o"], dir.path()).status.success());
}

/// Makes a run one that failed, one operation of its last phase with it.
fn fail(run: &Path) {
    replace(&run.join("manifest.json"), "\"ok\"", "\"failed\"");
    replace(&run.join("manifest.json"), "\"reasons\": []", "\"reasons\": [\"the disk hums\"]");
    replace(&run.join("summary.csv"), ",2000,0,", ",2000,7,");
}

#[test]
fn a_failed_run_tells_its_reason_and_its_rates_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    let args: Vec<&str> =
        RUN.iter().copied().chain(["--engine", "nori-model", "--durability", "none"]).collect();
    assert!(bench(&args, dir.path()).status.success());
    let failed = fs::read_dir(dir.path().join("o/runs")).unwrap().flatten().map(|run| run.path());
    fail(&failed.into_iter().find(|run| run.to_string_lossy().contains("1-noop")).unwrap());
    let output = bench(&["report", "o"], dir.path());
    let told = said(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("FAILED  noop: the disk hums"), "{told}");
    assert!(told.contains("! operations failed"), "{told}");
    let rates = told.lines().find(|line| line.starts_with("ycsb-c ")).unwrap();
    let rates: Vec<&str> = rates.split_whitespace().rev().collect();
    assert!(
        rates[1].ends_with('!') && rates[0].ends_with('*'),
        "only the other is the best: {told}"
    );
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("(7 failed)") && page.contains("noop failed:</b> the disk hums"));
}

#[test]
fn a_failed_run_is_done_again_when_its_experiment_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let run = ended(dir.path());
    fail(&run);
    let resumed: Vec<&str> = RUN.iter().copied().chain(["--resume"]).collect();
    let output = bench(&resumed, dir.path());
    let told = said(&output.stdout);
    assert!(output.status.success(), "{told}{}", said(&output.stderr));
    assert!(told.contains("resumed: 0 runs done before"), "{told}");
    assert!(told.contains("done again, for it failed: noop: the disk hums"), "{told}");
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"ok\"") && !manifest.contains("hums"), "{manifest}");
}

#[test]
fn a_run_tells_the_commit_it_was_built_from_wherever_it_is_started() {
    let head = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .output()
        .expect("git can be asked");
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(ended(dir.path()).join("manifest.json")).unwrap();
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    // A copy of the sources that is no repository has no commit.
    if head.status.success() {
        let head = said(&head.stdout);
        assert!(manifest.contains(&format!("\"git_commit\": \"{}\"", head.trim())), "{manifest}");
        assert!(page.contains(&format!("<dt>commit</dt><dd>{}", &head[..12])));
        assert!(page.contains("In a checkout of the commit below"));
    } else {
        assert!(manifest.contains("\"git_commit\": null") && page.contains("is not known"));
    }
}

#[test]
fn a_plot_over_time_says_how_long_a_phase_it_needs_and_how_long_there_was() {
    let dir = tempfile::tempdir().unwrap();
    ended(dir.path());
    let words = ["a phase of at least five seconds", "the longest took 0.", "`--duration 5s`"];
    for kind in ["latency-over-time", "throughput-over-time", "levels-over-time"] {
        assert_refused(dir.path(), &["plot", kind, "o"], &words);
    }
    let help = said(&bench(&["plot", "--help"], dir.path()).stdout);
    let line = help.lines().find(|line| line.trim_start().starts_with("latency-over-time "));
    assert!(line.is_some_and(|line| line.contains("5 s and more")), "{help}");
}
