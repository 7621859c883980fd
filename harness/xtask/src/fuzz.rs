//! Fuzzing: the targets of `harness/fuzz` under libFuzzer, each from its kept corpus on, which then takes what reaches
//! branches that it did not.
//!
//! The compiler counts which branches were taken (its coverage for sanitizers), which needs flags and no other compiler than the usual one. libFuzzer is
//! C++: a C++ compiler has to be there.

use crate::command::{cargo, host, passes, root};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// What has each branch counted.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
const LONGEST_BYTES: u32 = 4_096;

/// Fuzzes the named target, or all one after the other; whether nothing was found.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> Result<bool> {
    let corpora = root().join("harness/fuzz/corpus");
    let folders = std::fs::read_dir(&corpora).context("harness/fuzz/corpus")?;
    let mut names: Vec<String> = folders
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    if let Some(target) = target {
        if !names.iter().any(|name| name == target) {
            bail!("no target is called `{target}`, only {}", names.join(", "));
        }
        names.retain(|name| name == target);
    }
    let target_dir = root().join("target/fuzz");
    let mut build = cargo();
    build.args(["build", "--release", "--manifest-path", "harness/fuzz/libfuzzer/Cargo.toml"]);
    // With the host named as a target, the flags are not those of build scripts.
    let host = host()?;
    build.args(["--target", &host]);
    build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target_dir);
    if !passes(&mut build)? {
        return Ok(false);
    }
    let program = target_dir.join(&host).join("release/norikv-libfuzzer");
    let mut is_good = true;
    for name in names {
        let (kept, found) = (corpora.join(&name), target_dir.join("found").join(&name));
        std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let drive = |arguments: &[&str], folders: [&Path; 2]| {
            let mut drive = Command::new(&program);
            drive.current_dir(root()).env("NORI_FUZZ_TARGET", &name);
            passes(drive.args(arguments).args(folders))
        };
        let (time, length) =
            (format!("-max_total_time={seconds}"), format!("-max_len={LONGEST_BYTES}"));
        // What breaks it is shown, and lies where git does not look.
        let fuzz = [
            &*time,
            &length,
            "-artifact_prefix=target/fuzz/",
            "-print_final_stats=1",
            "-verbosity=0",
        ];
        is_good &= drive(&fuzz, [&found, &kept])?;
        is_good &= drive(&["-set_cover_merge=1", "-verbosity=0"], [&kept, &found])?;
    }
    Ok(is_good)
}
