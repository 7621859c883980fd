//! How a bench ends before its time, what it leaves then, and that nothing of it goes on.

use super::{bench, said};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A bench in the second phase of the first of its two runs, which goes on for a minute.
struct Started {
    child: Child,
    /// The plan that its worker carries out.
    plan: PathBuf,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const RUN: &str = "run ycsb-c --engine noop --engine nori-model --durability none --records 2000 --duration 60s --out o";

fn start(dir: &Path) -> Started {
    let child = Command::new(env!("CARGO_BIN_EXE_norikv-bench"))
        .args(RUN.split(' '))
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built with its tests");
    let mut started = Started { child, plan: PathBuf::new() };
    let run = wait_for("the load to end", || {
        let run = fs::read_dir(dir.join("o/runs")).ok()?.flatten().next()?.path();
        fs::metadata(run.join("summary.csv")).ok().map(|_| run)
    });
    started.plan = run.join("plan.json");
    started
}

fn is_carried_out(plan: &Path) -> bool {
    let file = OpenOptions::new().write(true).open(plan).expect("a started run has a plan");
    match file.try_lock() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => panic!("{error}"),
    }
}

/// Sends the signal and waits for the end of the bench.
fn signal(mut started: Started, name: &str) -> io::Result<Output> {
    let pid = started.child.id().to_string();
    let sent = Command::new("kill").args([format!("-{name}"), pid]).status()?;
    assert!(sent.success());
    let status = wait_for("the bench to end", || started.child.try_wait().transpose())?;
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    if let (Some(mut out), Some(mut err)) =
        (started.child.stdout.take(), started.child.stderr.take())
    {
        out.read_to_end(&mut output.stdout)?;
        err.read_to_end(&mut output.stderr)?;
    }
    Ok(output)
}

#[test]
fn a_worker_ends_when_its_bench_is_killed_and_the_report_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut started = start(dir.path());
    assert!(is_carried_out(&started.plan));
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    wait_for("the worker to end", || (!is_carried_out(&started.plan)).then_some(()));
    let output = bench(&["report", "o"], dir.path());
    let (told, error) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(5), "{told}{error}");
    assert_eq!(error, "error: 2 of 2 runs did not finish\n");
    assert!(told.contains("NOT FINISHED  noop: 1 of 2 phases ended"), "{told}");
    assert!(told.contains("NOT FINISHED  nori-model: never began"), "{told}");
    assert!(told.contains("0 errors in the phases that ended"), "{told}");
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("<b>noop did not finish:</b> 1 of 2 phases ended"));
    assert!(page.contains("<b>nori-model did not finish:</b> never began"));
    // What the killed bench left does not hinder the next.
    let again = RUN.replace("60s", "50ms");
    let output = bench(&again.split(' ').collect::<Vec<_>>(), dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(
        !dir.path().join("o/data").exists() && !dir.path().join("o/.norikv-bench.lock").exists()
    );
}

#[test]
fn stores_are_kept_where_that_was_asked_for_and_inspect_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run ycsb-a --records 3000 --ops 3000 --engine nori-lsm --engine fjall --out o";
    let with = |more: &str| {
        let line = format!("{run}{more}");
        bench(&line.split(' ').collect::<Vec<_>>(), dir.path())
    };
    let refused = |more: &str, words: &str| {
        let output = with(more);
        let error = said(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(words), "{error}");
    };
    refused(" --engine noop --keep", "--keep: noop has no files that could be kept");
    assert!(with("").status.success());
    refused(" --keep --resume", "was removed when its run ended; leave --keep or --resume out");
    let output = with(" --keep");
    let told = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let kept: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("kept: ")).collect();
    assert_eq!(kept.len(), 2, "{told}");
    assert!(!dir.path().join("o/data").exists());
    let files = fs::read_dir(dir.path().join(kept[0])).unwrap().flatten();
    let manifest = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    let manifest = manifest.unwrap().display().to_string();
    let shown = bench(&["inspect", "manifest", &manifest], dir.path());
    assert!(shown.status.success(), "{}{}", said(&shown.stdout), said(&shown.stderr));
    // It is no part of the results: they are read as before, and done runs stay with their stores.
    assert!(bench(&["report", "o"], dir.path()).status.success());
    assert!(said(&with(" --keep --resume").stdout).contains("resumed: 2 runs done before"));
    assert!(dir.path().join(kept[0]).exists() && dir.path().join(kept[1]).exists());
    // An experiment that does not go on with them would remove them: it is refused as long as there is one.
    for more in ["", " --keep"] {
        let first = kept.iter().min().unwrap();
        refused(
            more,
            &format!("would remove: {first} and 1 more; give another --out, or remove them"),
        );
    }
    assert!(dir.path().join(kept[0]).exists() && dir.path().join(kept[1]).exists());
    fs::remove_dir_all(dir.path().join(kept[0])).unwrap();
    refused("", &format!("would remove: {}; give another --out, or remove it", kept[1]));
    fs::remove_dir_all(dir.path().join(kept[1])).unwrap();
    assert!(with("").status.success());
}

#[test]
fn a_signal_keeps_what_finished_and_leaves_no_store_and_no_worker() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let dir = tempfile::tempdir().unwrap();
        let started = start(dir.path());
        let plan = started.plan.clone();
        let output = signal(started, name).unwrap();
        let error = said(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert_eq!(
            error,
            "error: interrupted: 0 of 2 runs finished, 1 phase is kept in o; `norikv-bench report o` shows them\n"
        );
        assert!(!is_carried_out(&plan), "the worker has ended before the bench");
        assert!(!dir.path().join("o/data").exists(), "the store was left behind");
        let summary = fs::read_to_string(dir.path().join("o/summary.csv")).unwrap();
        assert!(summary.contains(",load,all,"), "{summary}");
        let manifest = fs::read_to_string(plan.with_file_name("manifest.json")).unwrap();
        assert!(manifest.contains("\"state\": \"interrupted\""), "{manifest}");
        assert_eq!(bench(&["report", "o"], dir.path()).status.code(), Some(5));
    }
}

#[test]
fn two_benches_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let started = start(dir.path());
    let output = bench(&["run", "ycsb-c", "--engine", "noop", "--out", "o"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        said(&output.stderr),
        "error: another bench is writing to o; wait for it or choose another --out\n"
    );
    assert!(is_carried_out(&started.plan), "the first goes on");
    drop(started);
}

#[test]
fn a_run_whose_process_was_killed_has_failed_and_the_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["run", "ycsb-c", "--engine", "noop", "--records", "2000", "--ops", "2000", "--out", "o"];
    assert!(bench(&args, dir.path()).status.success());
    let run = fs::read_dir(dir.path().join("o/runs")).unwrap().next().unwrap().unwrap().path();
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    let failed = manifest
        .replace("\"ok\"", "\"failed\"")
        .replace("\"reasons\": []", "\"reasons\": [\"no more memory\"]");
    assert_ne!(manifest, failed);
    fs::write(run.join("manifest.json"), failed).unwrap();
    let output = bench(&["report", "o"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said(&output.stderr), "error: noop: no more memory\n");
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("<b>noop failed:</b> no more memory"));
}

#[test]
fn a_log_that_was_cut_off_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let mut started = start(dir.path());
    let log = started.plan.with_file_name("latency").join("01-ycsb-c-run.hlog");
    wait_for("the run to begin", || log.exists().then_some(()));
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    wait_for("the worker to end", || (!is_carried_out(&started.plan)).then_some(()));
    let file = File::options().append(true).open(&log).unwrap();
    let whole = file.metadata().unwrap().len();
    (&file).write_all(b"Tag=read,0.000,1.0").unwrap();
    assert!(file.metadata().unwrap().len() > whole);
    assert_eq!(bench(&["report", "o"], dir.path()).status.code(), Some(5));
}

/// An experiment of one run that ended, and its directory.
fn ended(dir: &Path) -> PathBuf {
    let args =
        ["run", "ycsb-c", "--engine", "noop", "--records", "2000", "--ops", "2000", "--out", "o"];
    assert!(bench(&args, dir).status.success());
    let mut runs = fs::read_dir(dir.join("o/runs")).expect("an experiment has runs");
    runs.next().and_then(Result::ok).expect("of which there is one").path()
}

#[test]
fn a_log_that_lost_some_of_its_operations_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = ended(dir.path()).join("latency/01-ycsb-c-run.hlog");
    let whole = fs::read_to_string(&log).unwrap();
    let heading: String =
        whole.split_inclusive('\n').filter(|line| line.starts_with('#')).collect();
    for (damaged, holds) in [("", 0), (&*heading, 0), (&*(whole.clone() + &whole), 4_000)] {
        fs::write(&log, damaged).unwrap();
        let output = bench(&["report", "o"], dir.path());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output.stdout));
        let (error, name) = (said(&output.stderr), "latency/01-ycsb-c-run.hlog");
        assert!(error.contains(&format!("{name} holds {holds} of 2000 operations")), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
    fs::write(&log, whole).unwrap();
    assert!(bench(&["report", "o"], dir.path()).status.success());
}

#[test]
fn a_run_that_failed_is_told_of_even_where_the_summary_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let workload = "schema = \"norikv.workload/1\"\nname = \"w\"\n[keys]\nrecords = 2000\n[values]\nrecord = \"blob\"\n\
         size = { dist = \"constant\", bytes = 100 }\ncheck_every = 0\n[[phase]]\nkind = \"load\"\n\
         load = { model = \"closed\", threads = 1 }\n[[phase]]\nkind = \"settle\"\ntimeout = \"100ms\"\n";
    fs::write(dir.path().join("w.toml"), workload).unwrap();
    let run = || bench(&["run", "w.toml", "--engine", "noop", "--out", "o"], dir.path());
    let error = said(&run().stderr);
    assert_eq!(error, "error: noop: w did not settle within 100ms\n");
    // Takes the place of the file that the summary is first written to, as a full disk would.
    fs::create_dir(dir.path().join("o/summary.csv.new")).unwrap();
    let output = run();
    let error = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let first = "error: noop: w did not settle within 100ms; and then: writing o/summary.csv: ";
    assert!(error.starts_with(first) && error.trim_end().lines().count() == 1, "{error}");
    // Of many the last line tells the first; the table has told all of them.
    let line = "run w.toml --engine noop --blocks 2 --out many";
    for args in [&line.split(' ').collect::<Vec<_>>()[..], &["report", "many"]] {
        let output = bench(args, dir.path());
        let (told, error) = (said(&output.stdout), said(&output.stderr));
        let why = "w did not settle within 100ms";
        for block in [1, 2] {
            let of_block = format!("FAILED  noop, block {block}: {why}");
            assert_eq!(told.matches(&of_block).count(), 1, "{told}");
        }
        assert_eq!(error, format!("error: 2 runs failed; the first, noop, block 1: {why}\n"));
    }
}
