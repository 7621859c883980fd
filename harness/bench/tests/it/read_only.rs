//! Directories that the user may read and not write to.

use super::{bench, said};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// Whom permissions are no matter to, and a user who owns nothing.
const SUPERUSER: u32 = 0;
const NOBODY: u32 = 65_534;

/// Runs a copy of the program in `dir`, as somebody to whom permissions matter.
fn as_anybody(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(dir.join("bench"));
    command.args(line.split(' ')).current_dir(dir);
    if fs::metadata("/proc/self").is_ok_and(|me| me.uid() == SUPERUSER) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("the copy can be executed")
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is the test's own");
}

#[test]
fn a_directory_that_may_only_be_read_is_one_line_that_names_it_before_anything_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run ycsb-c --engine noop --records 2000 --ops 2000 --out";
    let args = format!("{run} o");
    assert!(bench(&args.split(' ').collect::<Vec<_>>(), dir.path()).status.success());
    // Nobody may look into the folder that the program was built in, perhaps.
    fs::copy(env!("CARGO_BIN_EXE_norikv-bench"), dir.path().join("bench")).unwrap();
    let out = dir.path().join("o");
    let before = fs::read_to_string(out.join("report.html")).unwrap();
    // As a bench leaves it that was killed; it may be written to, and lets nobody make other files.
    fs::write(out.join(".norikv-bench.lock"), "").unwrap();
    allow(&out.join(".norikv-bench.lock"), 0o666);
    allow(&out, 0o555);
    allow(dir.path(), 0o555);
    let cases = [
        (format!("{run} o"), "o cannot be written to: "),
        (format!("{run} o/new"), "--out o/new cannot be used: "),
        (format!("{run} new"), "--out new cannot be used: "),
        ("quick --out new".into(), "--out new cannot be used: "),
        ("soak --minutes 1 --out new".into(), "--out new cannot be used: "),
        ("report o".into(), "o cannot be written to: "),
        ("plot latency o".into(), "o cannot be written to: "),
    ];
    let ended: Vec<Output> = cases.iter().map(|(line, _)| as_anybody(dir.path(), line)).collect();
    // So that it can be removed.
    allow(dir.path(), 0o755);
    allow(&out, 0o755);
    for ((line, words), output) in cases.iter().zip(ended) {
        let error = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {error}");
        assert!(error.starts_with(&format!("error: {words}")), "{line}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{line}: {error}");
        assert!(output.stdout.is_empty(), "{line}: {}", said(&output.stdout));
    }
    assert_eq!(fs::read_to_string(out.join("report.html")).unwrap(), before);
    assert!(!dir.path().join("new").exists() && !out.join("new").exists());
}
