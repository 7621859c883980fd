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
    assert!(manifest.exists(), "nothing was removed");
}
