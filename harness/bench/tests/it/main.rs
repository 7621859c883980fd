//! The program as its user meets it: arguments in, files, lines and exit codes out.

mod blocks;
mod clusters;
mod doctor;
mod ends;
mod inspect;
mod limits;
mod open;
mod read_only;
mod stored;
mod workloads;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn bench(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_norikv-bench"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the program was built with its tests")
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_run_leaves_everything_the_schema_names() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "ycsb",
        "--engine",
        "noop",
        "--records",
        "20_000",
        "--ops",
        "20_000",
        "--value-bytes",
        "100",
        "--threads",
        "2",
        "--out",
        "out",
    ];
    let output = bench(&args, dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let out = dir.path().join("out");
    let summary = fs::read_to_string(out.join("summary.csv")).unwrap();
    let mut lines = summary.lines();
    let heading: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| heading.iter().position(|column| *column == name).unwrap();
    let (workload, phase, op) = (column("workload"), column("phase"), column("op"));
    let mut all: Vec<(String, String)> = lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|cells| cells[op] == "all")
        .map(|cells| (cells[workload].to_owned(), cells[phase].to_owned()))
        .collect();
    all.sort();
    let runs = ["ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f"];
    let mut expected: Vec<_> = runs.map(|name| (name.to_owned(), "run".to_owned())).into();
    expected.insert(0, ("ycsb".into(), "load".into()));
    assert_eq!(all, expected);
    let run = fs::read_dir(out.join("runs")).unwrap().next().unwrap().unwrap().path();
    for file in [
        "manifest.json",
        "summary.csv",
        "intervals.csv",
        "engine.csv",
        "events.jsonl",
        "latency/00-ycsb-load.hlog",
        "latency/01-ycsb-a-run.read.service.hgrm",
    ] {
        assert!(run.join(file).exists(), "{file} is missing");
    }
    for file in [
        "report.html",
        "experiment.json",
        "plots/ycsb-a-latency.svg",
        "plots/ycsb-a-throughput.png",
    ] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
    assert!(!out.join("data").exists(), "the store was left behind");
    let text = said(&output.stdout);
    assert!(text.contains("operations a second") && text.contains("0 errors"), "{text}");
    assert!(!text.contains('\u{1b}'), "no terminal, no escapes: {text}");
}

#[test]
fn a_stored_experiment_is_drawn_again_from_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["run", "ycsb-c", "--engine", "noop", "--records", "5000", "--ops", "5000", "--out", "x"];
    assert!(bench(&args, dir.path()).status.success());
    fs::remove_dir_all(dir.path().join("x/plots")).unwrap();
    fs::remove_file(dir.path().join("x/report.html")).unwrap();
    let output = bench(&["report", "x"], dir.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(dir.path().join("x/report.html").exists());
    assert!(dir.path().join("x/plots/ycsb-c-latency.png").exists());
}

/// Checks that each command line is refused with exit 2 and one line that holds the words.
fn assert_refused(dir: &Path, cases: &[(&str, &str)]) {
    for (line, words) in cases {
        let args: Vec<&str> = line.split(' ').collect();
        let output = bench(&args, dir);
        let message = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {message}");
        assert!(message.starts_with("error: ") && message.contains(words), "{line}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{line}: {message}");
        assert!(output.stdout.is_empty(), "{line}: {}", said(&output.stdout));
    }
    assert!(!dir.join("results").exists(), "nothing was started");
}

#[test]
fn a_misspelt_name_is_one_line_with_the_nearest_name_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("w.toml"), "schema = \"norikv.workload/1\"\nnmae = \"x\"\n").unwrap();
    let cases = [
        ("run ycbs-a --engine noop", "did you mean `ycsb-a`?"),
        ("run ycsb_a --engine noop", "no workload is called `ycsb_a`; did you mean `ycsb-a`?"),
        ("run ycsb-z --engine noop", "no workload is called `ycsb-z`; did you mean `ycsb-a`?"),
        ("run ycsb --engine noopp", "no engine is called `noopp`; did you mean `noop`?"),
        ("run ycsb --engine noop -s cash=lru", "`cash`"),
        ("run w.toml --engine noop", "w.toml:2: unknown field `nmae`; did you mean `name`?"),
        ("run no.toml --engine noop", "no.toml cannot be read"),
        ("run ./no --engine noop", "workload ./no cannot be read: "),
        ("run /tmp --engine noop", "workload /tmp is a folder: give a workload file, or a name"),
        ("gen /dev/null", "workload /dev/null is no file: give a workload file, or a name"),
        ("run ycsb -s memtable=bptre", "no memtable is called `bptre`; did you mean `bptree`?"),
        ("list enigne", "did you mean `engine`?"),
        ("rnu ycsb", "no command is called `rnu`; did you mean `run`?"),
        ("help", "no command is called `help`; did you mean `--help`?"),
        ("--quick", "no option is called `--quick`; did you mean `quick`?"),
        ("run ycsb --record 5", "no option is called `--record`; did you mean `--records`?"),
        ("run ycsb noop", "`noop` is one argument too many; did you mean `--engine noop`?"),
        (
            "report nowhere",
            "nowhere holds no experiment (nowhere/experiment.json is missing): give",
        ),
        ("plot wat", "KIND: no plot is called `wat`, only overview, throughput, latency, "),
        (
            "inspect wal 7.table",
            "7.table is not called NUMBER.wal but as a file of another kind: give `inspect table 7.table`",
        ),
        (
            "run ycsb -s engine=fjall",
            "-s engine=fjall: an engine is not chosen like its parts: give --engine fjall",
        ),
        ("plot latencyy o", "no plot is called `latencyy`; did you mean `latency`?"),
        ("plot levels-over-time nowhere", "nowhere/experiment.json"),
        ("plot latency", "DIRS... is missing"),
        ("inspect tabel x", "`tabel` is not one of table, wal, manifest; did you mean `table`?"),
        ("run --ycsb x --dialect foo", "--dialect: no dialect is called `foo`, only ycsb, go-ycsb"),
        ("run --ycsb x --dialect goycsb", "did you mean `go-ycsb`?"),
        ("run ycsb --rate 5 --arrival poison", "did you mean `poisson`?"),
    ];
    assert_refused(dir.path(), &cases);
}

#[test]
fn a_value_that_does_not_fit_is_one_line_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("run ycsb --records abc", "--records: `abc` is not a whole number"),
        ("run ycsb --records -5", "--records: `-5` is negative"),
        ("run ycsb --seed -1", "--seed: `-1` is negative"),
        ("run ycsb --records", "--records needs a value"),
        ("run", "WORKLOAD is missing"),
        ("run ycsb -s memtable", "-s: `memtable` is not NAME=VALUE"),
        ("run ycsb --ops 5 --duration 5s", "--ops and --duration exclude each other"),
        ("run ycsb --duration 99999999999h", "is longer than a year (8760h)"),
        ("run ycsb --duration -5s", "--duration: `-5s` is negative"),
        ("run ycsb --memory -1MiB", "--memory: `-1MiB` is negative"),
        ("run ycsb -5", "`-5` is no option, and no number here is negative"),
        ("run ycsb --threads 100000", "--threads: `100000` is too many: the most is 1024"),
        ("soak --minutes 0", "--minutes: `0` is no number of minutes that is above 0"),
        ("inspect table 7.table --limit 0", "--limit: `0` is not above 0"),
        ("run ycsb --memory 0", "--memory: `0` is too little: the smallest is 1MiB"),
        ("run ycsb --memory 4KB", "`KB` is no unit of bytes: KiB, MiB, GiB or TiB"),
        ("run ycsb --memory 2000GiB", "--memory: `2000GiB` is too much: the largest is 1TiB"),
        ("run ycsb -s memtable_bytes=1GiB", "are 3073 MiB, more than the memory of 16 MiB"),
        ("run ycsb -s cache=none -s cache_bytes=8MiB", "cache_bytes says nothing with cache=none"),
        ("run ycsb --value-bytes 0", "values have 1 to"),
        ("run ycsb --blocks 0", "--blocks: `0` is not from 1 to 20"),
        ("run ycsb --blocks 21", "--blocks: `21` is not from 1 to 20"),
        ("doctor --blocks 0", "--blocks: `0` is not from 1 to 20"),
        (
            "run ycsb --engine noop --baseline nop",
            "`nop` is not among the targets noop; did you mean `noop`?",
        ),
        ("run ycsb --threads 0", "--threads: `0` is not above 0"),
        ("run ycsb --records 0", "--records: `0` is not above 0"),
        ("run ycsb --ops 0", "--ops: `0` is not above 0"),
        (
            "run ycsb --engine noop --engine noop",
            "--engine noop is given twice; `norikv-bench doctor` runs an engine against itself",
        ),
        (
            "run ycsb-a --rate 1e-9 --duration 300ms",
            "a rate of 0.000000001 for a duration of 300ms is less than one operation",
        ),
        (
            "run ycsb-a --rate 1e-9 --ops 5",
            "5 ops at a rate of 0.000000001 take longer than a year",
        ),
        ("run ycsb --rate 0", "--rate: `0` is not above 0"),
        ("run ycsb --rate fast", "--rate: `fast` is not a number"),
        ("run ycsb --rate 1e9", "rate must be above 0 and at most 100000000"),
        ("run ycsb --of-max 3", "of_max must be above 0 and at most 2"),
        ("run ycsb --of-max 0.5 --rate 5", "--of-max and --rate exclude each other"),
        (
            "run ycsb --arrival fixed",
            "--arrival is of an open loop: give --rate or --of-max with it",
        ),
        ("run ycsb --engine noop --durability fsync", "--durability: "),
        ("run ycsb --engine noop --durability fsync", "none, os, group:<n>ms"),
        (
            "run ycsb --engine nori-model",
            "nori-model does not offer durability `os`, only `none`; give `--durability none`",
        ),
    ];
    assert_refused(dir.path(), &cases);
}

#[test]
fn bytes_with_a_wrong_unit_or_a_fraction_are_told_that_and_not_that_they_are_out_of_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "run ycsb -s block_bytes=16KB",
            "block_bytes cannot be `16KB`: `KB` is no unit of bytes: KiB, MiB, GiB or TiB",
        ),
        (
            "run ycsb -s block_bytes=1.5KiB",
            "block_bytes cannot be `1.5KiB`: give a whole number: bytes, KiB, MiB, GiB or TiB",
        ),
        ("run ycsb --memory 1.5MiB", "--memory: `1.5MiB` is not a whole number of bytes, KiB,"),
    ];
    assert_refused(dir.path(), &cases);
}

#[test]
fn an_out_that_cannot_be_used_is_one_line_that_names_it_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "mine").unwrap();
    fs::create_dir_all(dir.path().join("theirs/runs")).unwrap();
    for file in ["notes/diary.txt", "campaign/soak.json", "empty/.gitkeep"] {
        let path = dir.path().join(file);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    let cases = [
        ("run ycsb --engine noop --out file", "--out file cannot be used: "),
        ("run ycsb --engine noop --out file/below", "--out file/below cannot be used: "),
        // Nobody may write there, not even the superuser.
        ("run ycsb --engine noop --out /proc/norikv", "--out /proc/norikv cannot be used: "),
        (
            "run ycsb --engine noop --out theirs",
            "theirs holds a `runs` that is not an experiment's",
        ),
        (
            "run ycsb --engine noop --out notes",
            "notes holds a `diary.txt` that is not an experiment's; choose another --out",
        ),
        ("run ycsb --engine noop --out notes --resume", "notes holds a `diary.txt` that"),
        ("run ycsb --engine noop --out campaign", "campaign holds a `soak.json` that is not an"),
        ("quick --out notes", "notes holds a `diary.txt` that is not an experiment's"),
        ("soak --out notes", "notes holds a `diary.txt` that is not a soak's"),
    ];
    assert_refused(dir.path(), &cases);
    for name in ["theirs", "notes", "campaign"] {
        let left = fs::read_dir(dir.path().join(name)).unwrap();
        assert_eq!(left.count(), 1, "nothing is left in {name}, no lock either");
    }
    let line = "run ycsb-c --engine noop --records 2000 --ops 2000 --out empty";
    let output = bench(&line.split(' ').collect::<Vec<_>>(), dir.path());
    assert!(output.status.success(), "a hidden file is nothing: {}", said(&output.stderr));
}

#[test]
fn help_is_what_it_was_and_goes_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--help"][..], &["run", "--help"], &["limits", "--help"], &["--version"]] {
        let output = bench(args, dir.path());
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
        assert!(said(&output.stdout).contains("norikv-bench"), "{args:?}");
    }
}

#[test]
fn a_plan_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plan.json"), "{").unwrap();
    for (name, words) in
        [("plan.json", "plan.json is no plan: "), ("none.json", "reading none.json: ")]
    {
        let message = said(&bench(&["worker", name], dir.path()).stderr);
        assert!(message.contains(words) && message.trim_end().lines().count() == 1, "{message}");
    }
}

#[test]
fn everything_with_a_name_is_listed_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = said(&bench(&["list"], dir.path()).stdout);
    for name in ["engine:", "noop", "workload:", "ycsb-a", "ycsb-f"] {
        assert!(text.contains(name), "{name} is not in:\n{text}");
    }
    let json = bench(&["list", "engine", "--json"], dir.path());
    let groups: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(groups[0]["seam"], "engine");
    assert!(groups[0]["parts"].as_array().unwrap().iter().all(|part| part["about"].is_string()));
    let text = said(&bench(&["list", "setting"], dir.path()).stdout);
    let block = "(default 4KiB, from 64 to 1MiB)";
    assert!(
        text.lines().next().unwrap().ends_with("defaults are those of --memory 16MiB"),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.contains("block_bytes") && line.ends_with(block)),
        "{text}"
    );
    let numbers = |line: &&str| line.contains("(default ") && line.contains(", from ");
    assert_eq!(text.lines().filter(numbers).count(), text.lines().count() - 1, "{text}");
    let all = bench(&["list", "setting", "--json"], dir.path());
    let all: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    let of_name = |part: &&serde_json::Value| part["name"] == "filter_bits_per_key";
    let bits = all[0]["parts"].as_array().unwrap().iter().find(of_name).unwrap();
    assert_eq!((&bits["default"], &bits["min"], &bits["max"]), (&10.into(), &0.into(), &64.into()));
    // What another build would have is listed with what turns it on, and named where it is asked for.
    if !cfg!(feature = "rocksdb") {
        let engines = said(&bench(&["list", "engine"], dir.path()).stdout);
        let has_feature = |line: &str| line.ends_with("(not built in: cargo feature `rocksdb`)");
        assert_eq!(engines.lines().filter(|line| has_feature(line)).count(), 2, "{engines}");
        let all: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(all[0]["not_built_in"][0]["feature"], "rocksdb", "{all}");
        let refused = "rocksdb is not built in: build with the cargo feature `rocksdb`";
        assert_refused(dir.path(), &[("run ycsb-a --engine rocksdb", refused)]);
    }
}

#[test]
fn json_prints_the_rows_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "ycsb-a",
        "--engine",
        "noop",
        "--records",
        "2000",
        "--ops",
        "2000",
        "--json",
        "--out",
        "o",
    ];
    let rows: serde_json::Value = serde_json::from_slice(&bench(&args, dir.path()).stdout).unwrap();
    assert_eq!(rows[0]["op"], "all");
    assert_eq!(rows[0]["ops"], 2000);
}

#[test]
fn an_invalid_run_says_so_everywhere_and_ends_with_5() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        "run ycsb-c --engine noop --records 2000 --duration 300ms --rate 100_000_000 --out o";
    let args: Vec<&str> = args.split(' ').collect();
    for args in [&args[..], &["report", "o"]] {
        let output = bench(args, dir.path());
        let (told, error) = (said(&output.stdout), said(&output.stderr));
        assert_eq!(output.status.code(), Some(5), "{told}{error}");
        assert!(error.starts_with("error: the run of noop is invalid: ycsb-c: "), "{error}");
        assert!(told.contains("INVALID  noop: "), "{told}");
    }
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("<b>noop is invalid:</b>"));
    assert!(
        fs::read_to_string(dir.path().join("o/summary.csv")).unwrap().contains(",open,100000000")
    );
    // What is invalid is done again; what is not, not.
    let resumed = bench(&[&args[..], &["--resume"]].concat(), dir.path());
    assert!(
        said(&resumed.stdout).contains("resumed: 0 runs done before"),
        "{}",
        said(&resumed.stdout)
    );
}

#[test]
fn a_share_of_a_named_targets_maximum_offers_every_target_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let workload = |of: &str| {
        format!(
            "schema = \"norikv.workload/1\"\nname = \"w\"\n[keys]\nrecords = 2000\n[values]\nrecord = \"blob\"\n\
             size = {{ dist = \"constant\", bytes = 100 }}\ncheck_every = 0\n[[phase]]\nkind = \"load\"\n\
             load = {{ model = \"closed\", threads = 1 }}\n[[phase]]\nkind = \"run\"\nduration = \"400ms\"\n\
             mix = {{ read = 1.0 }}\npick = {{ dist = \"uniform\" }}\n\
             load = {{ model = \"open\", of_max = 0.001, of = \"{of}\", threads = 1 }}\n"
        )
    };
    let args = "run w.toml --engine nori-model --engine noop --durability none --out o";
    let args: Vec<&str> = args.split(' ').collect();
    fs::write(dir.path().join("w.toml"), workload("noopp")).unwrap();
    assert_refused(dir.path(), &[(&args.join(" "), "did you mean `noop`?")]);
    fs::write(dir.path().join("w.toml"), workload("noop")).unwrap();
    let output = bench(&args, dir.path());
    // 5 where the machine is too busy for a valid run; what was offered is the same all the same.
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", said(&output.stderr));
    let told = said(&output.stdout);
    assert_eq!(told.matches("ops/s in a closed loop").count(), 1, "measured once: {told}");
    let short = "warning: w of noop: distrust the response p99 and above: ";
    assert!(told.contains(short), "400 ms are few: {told}");
    let page = fs::read_to_string(dir.path().join("o/report.html")).unwrap();
    assert!(page.contains("<b>Warning:</b> w of noop: distrust the response p99"));
    let summary = fs::read_to_string(dir.path().join("o/summary.csv")).unwrap();
    let rates: Vec<&str> = summary
        .lines()
        .filter(|line| line.contains(",run,all,open,"))
        .map(|line| line.split(',').nth(9).unwrap())
        .collect();
    assert!(rates.len() == 2 && rates[0] == rates[1] && !rates[0].is_empty(), "{rates:?}");
    assert!(!dir.path().join("o/data").exists(), "the reference's store was left behind");
    let note = fs::read_to_string(dir.path().join("o/experiment.json")).unwrap();
    assert!(note.contains("\"offered\""), "{note}");
}
