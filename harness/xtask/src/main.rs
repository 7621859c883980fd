//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! * `test` runs every test there is, some of them in every order of their threads, and says what it skipped;
//! * `tidy` checks the rules of the house that no compiler knows;
//! * `ci` runs formatting, lints, documentation and `tidy`, then `test`;
//! * `fuzz` has libFuzzer drive decoders, from the kept corpus on;
//! * `soak` puts the engine through trials, for as long as one likes.
//!
//! Exit code 0 means that everything asked for passed, 1 that something failed, 2 a wrong command.

#![expect(clippy::print_stdout, reason = "printing what was found is what these commands are for")]

mod ci;
mod command;
mod fuzz;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

commands:
  test              every test there is; says what it skipped for want of a tool
  tidy [--ratchet]  the rules of the house; --ratchet shrinks the list of long functions
  ci [--no-test]    formatting, lints, documentation, tidy, and then test
  fuzz [TARGET] [--seconds N]   decoders under bytes that nobody wrote; each target for N seconds, 60 if not told
  chaos [OPTION]...  servers as processes under clients, killed, stopped, cut off, replaced and moved: --minutes N --out DIR
  soak [OPTION]...  trials of the engine with ever new combinations of parts: --minutes N; goes on where it was
";

/// Starts the bench's campaign, in a build that is as quick as what is deployed.
fn soak(options: &[&str]) -> anyhow::Result<bool> {
    let mut bench = command::cargo();
    bench.args(["run", "--quiet", "--release", "--package", "norikv-bench", "--", "soak"]);
    command::passes(bench.args(options))
}

/// Starts the simulator's campaign on real processes, of the server as it is deployed.
fn chaos(options: &[&str]) -> anyhow::Result<bool> {
    let mut server = command::cargo();
    server.args(["build", "--quiet", "--release", "--package", "norikv-server"]);
    if !command::passes(&mut server)? {
        return Ok(false);
    }
    let mut sim = command::cargo();
    sim.args(["run", "--quiet", "--release", "--package", "norikv-sim", "--", "chaos"]);
    command::passes(sim.args(options))
}

/// How long each target is fuzzed unless it is told.
const FUZZ_SECONDS: u64 = 60;

fn for_seconds(target: Option<&str>, seconds: &str) -> anyhow::Result<bool> {
    match seconds.parse() {
        Ok(seconds @ 1..) => fuzz::run(target, seconds),
        _ => anyhow::bail!("--seconds: `{seconds}` is not a number above 0"),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::run(),
        ["tidy"] => tidy::run(tidy::Ratchet::Check),
        ["tidy", "--ratchet"] => tidy::run(tidy::Ratchet::Shrink),
        ["soak", rest @ ..] => soak(rest),
        ["chaos", rest @ ..] => chaos(rest),
        ["fuzz"] => fuzz::run(None, FUZZ_SECONDS),
        ["fuzz", "--seconds", seconds] => for_seconds(None, seconds),
        ["fuzz", target] => fuzz::run(Some(target), FUZZ_SECONDS),
        ["fuzz", target, "--seconds", seconds] => for_seconds(Some(target), seconds),
        ["ci"] => ci::run(ci::Tests::Run),
        ["ci", "--no-test"] => ci::run(ci::Tests::Skip),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
