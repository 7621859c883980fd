//! Everything a change must pass: formatting, lints, documentation, the rules of the house, the tests.
//!
//! Every step runs even if one before it failed, so that one look shows all there is to mend.

use crate::command::{cargo, passes};
use crate::{test, tidy};
use anyhow::Result;

/// Whether `ci` runs the tests too, or leaves them to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tests {
    Run,
    Skip,
}

/// True if every step passed.
pub(crate) fn run(tests: Tests) -> Result<bool> {
    let mut failed: Vec<&str> = Vec::new();
    let mut note = |step: &'static str, passed: bool| {
        if !passed {
            failed.push(step);
        }
    };
    note("fmt", passes(cargo().args(["fmt", "--all", "--check"]))?);
    note("tidy", tidy::run(tidy::Ratchet::Check)?);
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    note("clippy", passes(cargo().args(clippy))?);
    // Private items too: headers of crates lead their readers to modules, and those links must not rot.
    let mut doc = cargo();
    doc.args([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--keep-going",
    ]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    note("doc", passes(&mut doc)?);
    if tests == Tests::Run {
        note("test", test::run()?);
    }
    if failed.is_empty() {
        println!("\nci: every step passed");
    } else {
        println!("\nci: FAILED in {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}
