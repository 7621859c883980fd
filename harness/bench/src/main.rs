//! `norikv-bench`: workloads against engines, in tables, plots and a report.
//!
//! Without arguments it races our engine against its peers over YCSB A to F in under three minutes. Everything
//! it prints is made from files that it leaves behind (`results/README.md` is their schema), and a run
//! is always a process of its own, so that one engine's memory and threads never touch another's numbers.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `names` | what the user asked for |
//! | `plan`, `blocks`, `note`, `experiment`, `progress` | which runs that means; children that carry them out |
//! | `guard`, `interrupt` | one bench to a directory, no child without its bench; Ctrl-C |
//! | `generate` | the operations of a workload, without an engine |
//! | `worker`, `drive` | one run: phases, clients, the measured loop |
//! | `latency`, `rows`, `series`, `events`, `commits`, `manifest`, `machine`, `process` | what a run leaves |
//! | `distrust` | which figures of a valid run are the queue's, or the harness's own all the same |
//! | `effect`, `ratios` | how targets compare over blocks, and how sure that is |
//! | `soak`, `inspect` | trials of the engine, its files; no measuring |
//! | `doctor` | whether the machine is fit to measure on |
//! | `limits` | parts alone, beside what the machine could do |
//! | `stored`, `schema`, `course`, `table`, `plot`, `report` | what people see, from files alone |
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 5 runs that did not finish or are invalid (3 and 4 belong to claims, which come later);
//! 128 + n after signal n.

mod blocks;
mod cli;
mod commits;
mod course;
mod distrust;
mod doctor;
mod drive;
mod effect;
mod events;
mod experiment;
mod generate;
mod guard;
mod inspect;
mod interrupt;
mod latency;
mod limits;
mod list;
mod machine;
mod manifest;
mod names;
mod note;
mod out;
mod overhead;
mod plan;
mod plot;
mod process;
mod progress;
mod ratios;
mod registry;
mod remote;
mod report;
mod rows;
mod schema;
mod series;
mod soak;
mod stored;
mod table;
#[cfg(test)]
mod testing;
mod worker;

use anyhow::{Result, anyhow};
use std::process::ExitCode;

/// The same as the server's: what is measured is what runs.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command did not make sense; the sentence says what would.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The program did what it could and ends with a code of its own; the sentence says why.
#[derive(Debug)]
struct Ended {
    code: u8,
    what: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Ended {}

/// What went wrong first, and with it what went wrong after that. On a full disk the note of an error fails too, and
/// must not take the error's place.
fn first_error<T>(first: Result<T>, then: Result<()>) -> Result<T> {
    match (first, then) {
        (Err(first), Err(then)) => Err(anyhow!("{first:#}; and then: {then:#}")),
        (Ok(_), Err(then)) => Err(then),
        (first, Ok(())) => first,
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Runs that were planned did not come to their end.
const INCOMPLETE: u8 = 5;
/// Runs came to their end and are not to be believed.
const INVALID: u8 = 5;

/// Lets this process, and the runs it starts, open as many files as the system allows without asking: most engines keep every table
/// open, and the usual limit of 1,024 is a few gigabytes. Where it cannot be, `doctor` says how many there are.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    raise_open_files();
    match first_error(cli::run(), out::unwritten()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever an engine or a file had to say.
            let text = format!("{error:#}");
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            out::error(&format!("error: {}", lines.join("; ")));
            ExitCode::from(match error.downcast_ref::<Ended>() {
                Some(ended) => ended.code,
                None if error.is::<Usage>() => USAGE,
                None => FAILED,
            })
        }
    }
}
