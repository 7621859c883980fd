//! `norikv-bench limits`: parts alone, each beside what this machine could do at best, and beside the goal.
//!
//! 1. A **section** measures one subject in one or more **jobs**, each in a fresh process: this program again, with the
//!    hidden command `limits-job`. So no job finds the heap, the threads or the files of another.
//! 2. A job says how far it is and what it found, a JSON object a line ([`job`]). A figure is a median of trials or a
//!    percentile of samples, and says of how many; the physical figures beside it come from the same process.
//! 3. Bounds are goals, which may be missed, and floors, which may not: one that is exceeded fails the command.
//!
//! A job's store lies in its own folder, which goes with the job, also if that was killed or the user pressed Ctrl-C. Left
//! to others: whole workloads (`run`), and parts in more variants than the defaults (the benches of each crate).

mod fdatasync;
mod filter;
mod harness;
mod job;
mod latency;
mod memory;
mod memtable;
mod merge;
mod opening;
mod physical;
mod replay;
mod row;
mod show;
mod wal;

use crate::guard::{self, DirLock};
use crate::interrupt::Interrupts;
use crate::machine::{Build, Machine};
use crate::manifest::utc;
use crate::names::usage;
use crate::{Ended, FAILED, out};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use job::{Job, Told};
use nori_workloads::nearest;
use row::Row;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

const SCHEMA: &str = "norikv.limits/1";
/// The folder of the job under way, in the one that the user chose. The name is nobody else's: what is found under it was
/// left by a bench that was killed, and is removed.
const JOB_DIR: &str = "norikv-limits.tmp";
/// Units of the bar for each second that was estimated.
const UNITS_PER_SECOND: f64 = 100.0;

/// One subject.
struct Section {
    name: &'static str,
    /// What is measured, in one line.
    about: &'static str,
    /// How long it takes, about: as a rule, and with `--full`.
    seconds: [u64; 2],
    /// The names of its jobs; never empty.
    jobs: fn() -> Vec<String>,
    measure: fn(&mut Job<'_>) -> Result<()>,
}

/// All of them, in the order in which they run.
static SECTIONS: [Section; 10] = [
    harness::SECTION,
    filter::SECTION,
    memtable::SECTION,
    wal::SECTION,
    fdatasync::SECTION,
    latency::SECTION,
    replay::SECTION,
    merge::SECTION,
    opening::SECTION,
    memory::SECTION,
];

/// What the user asks for.
#[derive(Args)]
pub(crate) struct Limits {
    /// What is measured [default: everything]
    #[arg(value_name = "SECTION")]
    sections: Vec<String>,
    /// Open a store of 10 GB, not of 2
    #[arg(long = "full")]
    is_full: bool,
    /// As JSON
    #[arg(long = "json")]
    is_json: bool,
    /// Where the stores lie while they are measured
    #[arg(long, default_value = "results/limits")]
    dir: PathBuf,
}

/// What a job's process is told.
#[derive(Args)]
pub(crate) struct LimitsJob {
    section: String,
    job: String,
    dir: PathBuf,
    #[arg(long = "full")]
    is_full: bool,
}

/// What a section came to.
#[derive(Serialize)]
struct Found {
    name: &'static str,
    about: &'static str,
    rows: Vec<Row>,
    /// Why some of them are not to be believed.
    doubts: Vec<String>,
}

/// All that was measured, as `--json` prints it.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    started_at: String,
    full: bool,
    build: Build,
    machine: Machine,
    sections: Vec<Found>,
    /// Rows beyond a goal, and beyond a floor.
    goals_missed: usize,
    floors_missed: usize,
}

/// The sections, a line each, for the help.
pub(crate) fn sections() -> String {
    let line = |section: &Section| format!("\n  {:10}{}", section.name, section.about);
    format!("Sections:{}", SECTIONS.iter().map(line).collect::<String>())
}

fn section(name: &str) -> Result<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name).ok_or_else(|| {
        let known = || SECTIONS.iter().map(|section| section.name);
        let hint = match nearest(name, known()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => format!(", only {}", known().collect::<Vec<_>>().join(", ")),
        };
        usage(format!("no section is called `{name}`{hint}"))
    })
}

/// The sections that were asked for, each once.
fn chosen(names: &[String]) -> Result<Vec<&'static Section>> {
    if names.is_empty() {
        return Ok(SECTIONS.iter().collect());
    }
    let mut chosen: Vec<&'static Section> = Vec::new();
    for name in names {
        let one = section(name)?;
        if chosen.iter().all(|known| known.name != one.name) {
            chosen.push(one);
        }
    }
    Ok(chosen)
}

/// Measures, and prints what came of it.
pub(crate) fn limits(asked: &Limits) -> Result<()> {
    let chosen = chosen(&asked.sections)?;
    let interrupts = Interrupts::listen()?;
    let lock = DirLock::take(&asked.dir, "--dir")?;
    let mut document = Document::new(asked);
    let outcome = document.fill(&chosen, asked, &interrupts);
    drop(lock);
    // Nothing of ours is left in it; what else there is stays.
    let _ = fs::remove_dir(&asked.dir);
    if let Some(code) = interrupts.exit_code() {
        let what =
            format!("interrupted after {} of {} sections", document.sections.len(), chosen.len());
        return Err(anyhow::Error::new(Ended { code, what }));
    }
    outcome?;
    if asked.is_json {
        out::line(&serde_json::to_string_pretty(&document)?);
    }
    match document.floors_missed {
        0 => Ok(()),
        n => {
            let what = format!("{n} figure{} beyond a floor", if n == 1 { " is" } else { "s are" });
            Err(anyhow::Error::new(Ended { code: FAILED, what }))
        }
    }
}

impl Document {
    fn new(asked: &Limits) -> Self {
        Self {
            schema: SCHEMA,
            started_at: utc(SystemTime::now()),
            full: asked.is_full,
            build: Build::look(),
            machine: Machine::look(&asked.dir),
            sections: Vec::new(),
            goals_missed: 0,
            floors_missed: 0,
        }
    }

    /// Measures section after section, and shows each to people when it has ended.
    fn fill(
        &mut self,
        chosen: &[&'static Section],
        asked: &Limits,
        interrupts: &Interrupts,
    ) -> Result<()> {
        let seconds: u64 = chosen.iter().map(|one| one.seconds[usize::from(asked.is_full)]).sum();
        if !asked.is_json {
            out::line(&format!("{}; takes about {}", self.machine.line(), span(seconds)));
        }
        let bar = bar(seconds, asked.is_json);
        let outcome = chosen.iter().try_for_each(|section| {
            let found = measure(section, asked, &bar, interrupts)?;
            if !asked.is_json {
                bar.suspend(|| show::section(&found));
            }
            self.goals_missed += found.rows.iter().filter(|row| row.misses_goal()).count();
            self.floors_missed += found.rows.iter().filter(|row| row.misses_floor()).count();
            self.sections.push(found);
            anyhow::Ok(())
        });
        bar.finish_and_clear();
        outcome
    }
}

/// Seconds in the words of people.
fn span(seconds: u64) -> String {
    if seconds < 90 { format!("{seconds} s") } else { format!("{} minutes", seconds.div_ceil(60)) }
}

fn bar(seconds: u64, is_quiet: bool) -> ProgressBar {
    let shows = std::io::stderr().is_terminal() && !is_quiet;
    let target =
        if shows { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let units = (seconds as f64 * UNITS_PER_SECOND) as u64;
    let bar = ProgressBar::with_draw_target(Some(units), target);
    let style = ProgressStyle::with_template("{bar:32.cyan/blue} {percent:>3}% {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Runs all jobs of a section.
fn measure(
    section: &Section,
    asked: &Limits,
    bar: &ProgressBar,
    interrupts: &Interrupts,
) -> Result<Found> {
    let jobs = (section.jobs)();
    let seconds = section.seconds[usize::from(asked.is_full)] as f64;
    let units = seconds * UNITS_PER_SECOND / jobs.len() as f64;
    let (mut rows, mut doubts) = (Vec::new(), Vec::new());
    for job in &jobs {
        let before = bar.position();
        let mut listen = |told| match told {
            Told::At { share, what } => {
                bar.set_position(before + (share.clamp(0.0, 1.0) * units) as u64);
                bar.set_message(format!("{} {job} {what}", section.name));
            }
            Told::Row { row } => rows.push(*row),
            Told::Doubt { why } => doubts.push(why),
            Told::Failed { .. } => {}
        };
        run_child(section.name, job, asked, &mut listen, interrupts)
            .with_context(|| format!("{} {job}", section.name).trim().to_owned())?;
        bar.set_position(before + units as u64);
    }
    Ok(Found { name: section.name, about: section.about, rows, doubts })
}

/// Runs one job in a child process; its folder goes with it.
fn run_child(
    section: &str,
    job: &str,
    asked: &Limits,
    listen: &mut dyn FnMut(Told),
    interrupts: &Interrupts,
) -> Result<()> {
    let dir = asked.dir.join(JOB_DIR);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let complaints = dir.join("stderr.txt");
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(["limits-job", section, job]).arg(&dir);
    if asked.is_full {
        command.arg("--full");
    }
    let mut child = command
        // Never written to: the job ends when it ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&complaints)?)
        .process_group(0)
        .spawn()
        .context("starting a job's process")?;
    interrupts.worker_began(child.stdin.take());
    let mut failure = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let Ok(told) = serde_json::from_str::<Told>(&line?) else { continue };
            if let Told::Failed { why } = &told {
                failure = Some(why.clone());
            }
            listen(told);
        }
    }
    let status = child.wait()?;
    interrupts.worker_ended();
    let said = fs::read_to_string(&complaints).unwrap_or_default();
    let removed = fs::remove_dir_all(&dir);
    if !status.success() {
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        bail!(
            failure.map_or_else(
                || anyhow!("the process ended with {status} {last}"),
                |why| anyhow!(why)
            )
        );
    }
    removed.with_context(|| format!("removing {}", dir.display()))
}

/// Carries out one job, in a process of its own whose parent listens.
pub(crate) fn carry_out(asked: &LimitsJob) -> Result<()> {
    guard::end_with_parent()?;
    let section = section(&asked.section)?;
    let mut tell = job::tell;
    let mut job = Job::new(&asked.job, &asked.dir, asked.is_full, &mut tell);
    let outcome = (section.measure)(&mut job);
    if let Err(error) = &outcome {
        job::tell(Told::Failed { why: format!("{error:#}") });
    }
    outcome
}

#[cfg(test)]
mod tests;
