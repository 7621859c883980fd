//! Every test there is, and a plain account of what was not run.
//!
//! 1. The Rust tests of the whole workspace, with the examples in the documentation.
//! 2. Those of code that threads share without a lock once more, in every order of the threads (`loom`).
//! 3. Groups of replicas under seeded storms, each seed twice, in a release build.
//! 4. The closing lines of every runner once more, so that the end of a log tells the whole story.
//! 5. One line with the sum: `N passed, N failed, N skipped`.

use crate::command::{cargo, watched};
use anyhow::Result;
use std::ffi::OsString;
use std::path::PathBuf;

/// Tests that `loom` runs in every order of their threads: a crate, and what their names contain.
const IN_EVERY_ORDER: [(&str, &str); 1] = [("nori-sstable", "slot::")];

/// Protocols alone, and how many seeds of one simulated minute each has to hold.
const STORMS: [(&str, u64); 3] = [("nori", 300), ("raft-rs", 60), ("openraft", 60)];
/// How many seeds of one simulated minute whole nodes have to hold; among them everything that there is occurs.
const NODE_SEEDS: u64 = 60;

/// How many tests a runner's closing lines speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Adds what one closing line of a Rust test binary says.
    fn add(&mut self, line: &str) {
        let counts = line.split(['.', ';']).map(str::trim);
        for count in counts {
            let Some((number, word)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// True if every test passed, and at least one ran.
pub(crate) fn run() -> Result<bool> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let (mut passed, mut closing) = watched(&mut command, is_closing)?;
    for (package, names) in IN_EVERY_ORDER {
        let (ok, lines) = loom(package, names)?;
        passed &= ok;
        closing.extend(lines);
    }
    for (protocol, seeds) in STORMS {
        let (ok, lines) = storm(protocol, seeds)?;
        passed &= ok;
        closing.extend(lines);
    }
    let (ok, lines) = storm_of_nodes()?;
    passed &= ok;
    closing.extend(lines);

    let mut tally = Tally::default();
    println!("\nclosing lines of the test runners:");
    for line in &closing {
        println!("{line}");
        tally.add(line);
    }
    if tally.skipped == 0 {
        println!("skipped for want of a tool: nothing");
    } else {
        println!("skipped: {} tests marked as ignored (see above)", tally.skipped);
    }
    let Tally { passed: ok, failed, skipped } = tally;
    println!("{ok} passed, {failed} failed, {skipped} skipped");
    Ok(passed && ok > 0 && failed == 0)
}

fn is_closing(line: &str) -> bool {
    line.starts_with("test result:")
}

/// Runs the tests of `package` whose names contain `names` in every order. In a folder of their own, for all that the package
/// needs is compiled with another flag.
fn loom(package: &str, names: &str) -> Result<(bool, Vec<String>)> {
    let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(" --cfg nori_loom");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    let mut command = cargo();
    command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", PathBuf::from(target).join("loom"));
    command.args(["test", "--release", "--package", package, "--lib", names]);
    watched(&mut command, is_closing)
}

/// Plays the first seeds of a protocol. Those of ours have to have met every fault there is.
fn storm(protocol: &str, seeds: u64) -> Result<(bool, Vec<String>)> {
    let mut command = sim();
    command.args(["--protocol", protocol, "--minutes", "1", "--seeds", &format!("0..{seeds}")]);
    if protocol == "nori" {
        command.arg("--covered");
    }
    let is_sum = format!("{protocol}: {seeds} seeds");
    watched(&mut command, |line| line.starts_with(&is_sum))
}

/// Plays the first seeds of whole nodes.
fn storm_of_nodes() -> Result<(bool, Vec<String>)> {
    let mut command = sim();
    let seeds = format!("0..{NODE_SEEDS}");
    command.args(["--ring", "2", "--minutes", "1", "--seeds", &seeds, "--covered"]);
    watched(&mut command, |line| line.starts_with("nodes: "))
}

fn sim() -> std::process::Command {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "norikv-sim", "--"]);
    command
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_add_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        tally.add("test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s");
        assert_eq!(tally, Tally { passed: 14, failed: 5, skipped: 1 });
    }

    #[test]
    fn a_line_without_counts_adds_nothing() {
        let mut tally = Tally::default();
        tally.add("test result: nothing to say");
        assert_eq!(tally, Tally::default());
    }
}
