//! Every test there is, and a plain account of what was not run.
//!
//! 1. The Rust tests of the whole workspace, with the examples in the documentation.
//! 2. The closing lines of every runner once more, so that the end of a log tells the whole story.
//! 3. One line with the sum: `N passed, N failed, N skipped`.

use crate::command::{cargo, watched};
use anyhow::Result;

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
    let (passed, closing) = watched(&mut command, |line| line.starts_with("test result:"))?;

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
