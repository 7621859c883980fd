//! An experiment: the same phases on each target, every run in a fresh process and directory.
//!
//! 1. Lock the directory; clear what an earlier experiment of the same name left.
//! 2. Note which runs are planned, so that whoever reads the directory later knows what is missing.
//! 3. For each target: write a plan, start this same program as a child, and listen to it.
//! 4. Put the rows of all runs into one `summary.csv`; draw plots; write the report.
//!
//! A run that fails does not end the experiment, but the experiment has then failed. A signal does end it: what
//! finished is kept, the store of the run under way is removed.

use crate::Ended;
use crate::guard::{self, DirLock};
use crate::interrupt::Interrupts;
use crate::manifest::{FAILED, INTERRUPTED, Manifest, utc};
use crate::names::{Target, usage};
use crate::out;
use crate::overhead::{self, Overhead};
use crate::plan::{RunPlan, Step, file_name, target_name};
use crate::progress::Progress;
use crate::rows::{Row, write_rows};
use crate::stored::Stored;
use crate::worker::Message;
use crate::{plot, report};
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What an experiment leaves in its directory, and so what is removed before the next.
const LEFT_BEHIND: [&str; 6] =
    ["summary.csv", "report.html", "runs", "plots", "data", "experiment.json"];

/// The file in a run's directory that tells its process what to do.
const PLAN: &str = "plan.json";

/// What is to be run.
pub(crate) struct Experiment {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) targets: Vec<Target>,
    pub(crate) steps: Vec<Step>,
    pub(crate) memory_bytes: u64,
    pub(crate) durability: String,
    pub(crate) seed: u64,
}

/// `experiment.json`: what all runs have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) started_at: String,
    pub(crate) argv: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) harness: Overhead,
    /// What was to be run, in order. Empty in notes of an earlier version, which did not say.
    #[serde(default)]
    pub(crate) runs: Vec<Planned>,
}

/// A run that was to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) run_id: String,
    pub(crate) target: String,
    /// How many phases it has.
    pub(crate) phases: usize,
}

const SCHEMA: &str = "norikv.experiment-result/1";

impl Note {
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("experiment.json");
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("experiment.json");
        out::replace(&path, (serde_json::to_string_pretty(self)? + "\n").as_bytes())
    }

    /// The command that repeats the experiment, from a checkout.
    pub(crate) fn command(&self) -> String {
        let quoted = self.argv.iter().skip(1).map(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c);
            if word.chars().all(plain) { word.clone() } else { format!("'{word}'") }
        });
        let words: Vec<String> = quoted.collect();
        if words.is_empty() {
            "cargo run --release".into()
        } else {
            format!("cargo run --release -- {}", words.join(" "))
        }
    }
}

impl Target {
    /// The name in tables.
    pub(crate) fn name(&self) -> String {
        target_name(&self.engine, &self.choices)
    }
}

/// What an experiment came to.
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// A sentence for each run that failed.
    pub(crate) failures: Vec<String>,
}

/// Makes the experiment's directory ready: it is locked, and empty of what an earlier experiment left.
///
/// # Errors
///
/// A usage error that names the directory, if it cannot be had.
pub(crate) fn prepare(experiment: &Experiment) -> Result<DirLock> {
    let lock = DirLock::take(&experiment.dir)?;
    clear(&experiment.dir)?;
    Ok(lock)
}

/// Runs everything.
pub(crate) fn run(
    experiment: &Experiment,
    _lock: &DirLock,
    progress: &mut Progress,
) -> Result<Outcome> {
    let interrupts = Interrupts::listen()?;
    let argv: Vec<String> = std::env::args().collect();
    let positioned = (1..).zip(&experiment.targets);
    let plans = positioned.map(|(position, target)| plan(experiment, target, position, &argv));
    let plans: Vec<RunPlan> = plans.collect::<Result<_>>()?;
    let planned = |plan: &RunPlan| Planned {
        run_id: plan.run_id.clone(),
        target: plan.target.clone(),
        phases: plan.steps.len(),
    };
    let note = Note {
        schema: SCHEMA.into(),
        name: experiment.name.clone(),
        started_at: utc(SystemTime::now()),
        argv: argv.clone(),
        seed: experiment.seed,
        harness: overhead::measure(experiment.seed)?,
        runs: plans.iter().map(planned).collect(),
    };
    note.write(&experiment.dir)?;
    let mut failures = Vec::new();
    for plan in &plans {
        if interrupts.exit_code().is_some() {
            break;
        }
        if let Err(error) = run_child(plan, progress, &interrupts) {
            failures.push(format!("{}: {error:#}", plan.target));
        }
        progress.run_ended();
    }
    // Only empty directories are left in it, unless a child was killed.
    let _ = fs::remove_dir_all(experiment.dir.join("data"));
    if interrupts.exit_code().is_none() {
        progress.say("drawing plots, writing the report");
        finish(&Stored::read(&experiment.dir)?, &experiment.dir)?;
    }
    progress.finish();
    let stored = Stored::read(&experiment.dir)?;
    match interrupts.exit_code() {
        None => Ok(Outcome { stored, failures }),
        Some(code) => Err(interrupted(&stored, &experiment.dir, code)),
    }
}

/// Tells what a signal left, and how to see it.
fn interrupted(stored: &Stored, dir: &Path, code: u8) -> anyhow::Error {
    let shown = dir.display();
    let rows: Vec<Row> = stored.rows().cloned().collect();
    let what = if rows.is_empty() {
        format!("interrupted before a phase had ended: {shown} holds no results")
    } else if let Err(error) = write_rows(&dir.join("summary.csv"), &rows) {
        format!("interrupted, and the summary was not written: {error:#}")
    } else {
        let phases = rows.iter().filter(|row| row.op == crate::rows::ALL).count();
        format!(
            "interrupted: {} of {} runs finished, {phases} phase{} kept in {shown}; `norikv-bench report {shown}` shows them",
            stored.finished(),
            stored.note.runs.len(),
            if phases == 1 { " is" } else { "s are" },
        )
    };
    anyhow::Error::new(Ended { code, what })
}

/// Makes everything that is made from stored runs: the joint summary, the plots, the report.
pub(crate) fn finish(stored: &Stored, dir: &Path) -> Result<()> {
    let rows: Vec<Row> = stored.rows().cloned().collect();
    write_rows(&dir.join("summary.csv"), &rows)?;
    let plots = plot::draw_all(stored, dir)?;
    report::write(stored, &plots, dir)
}

/// Removes what an earlier experiment left in the directory, and nothing else.
fn clear(dir: &Path) -> Result<()> {
    // Names like `runs` and `data` are anybody's: only our own note says that they are ours. It goes last.
    let is_ours = Note::read(dir).is_ok_and(|note| note.schema == SCHEMA);
    for name in LEFT_BEHIND {
        let path = dir.join(name);
        if !path.exists() {
            continue;
        }
        if !is_ours {
            return Err(usage(format!(
                "{} holds a `{name}` that is not an experiment's; choose another --out",
                dir.display()
            )));
        }
        if name == "runs" {
            for run in fs::read_dir(&path)?.flatten() {
                guard::await_plan_end(&run.path().join(PLAN))?;
            }
        }
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn plan(
    experiment: &Experiment,
    target: &Target,
    position: u32,
    argv: &[String],
) -> Result<RunPlan> {
    let block = 1;
    let name = target.name();
    let identity = serde_json::to_vec(&(
        &name,
        &experiment.steps,
        experiment.memory_bytes,
        &experiment.durability,
        experiment.seed,
    ))?;
    let hash = xxhash_rust::xxh3::xxh3_64(&identity) >> 32;
    let run_id = format!("{block}-{}-{}-{hash:08x}", file_name(&name), experiment.name);
    Ok(RunPlan {
        experiment: experiment.name.clone(),
        block,
        position,
        target: name,
        engine: target.engine.clone(),
        choices: target.choices.clone(),
        memory_bytes: experiment.memory_bytes,
        durability: experiment.durability.clone(),
        seed: experiment.seed,
        steps: experiment.steps.clone(),
        dir: experiment.dir.join("runs").join(&run_id),
        data_dir: experiment.dir.join("data").join(&run_id),
        argv: argv.to_vec(),
        run_id,
    })
}

/// Runs one plan in a child process. A signal to this one ends it, which is no failure.
fn run_child(plan: &RunPlan, progress: &mut Progress, interrupts: &Interrupts) -> Result<()> {
    fs::create_dir_all(&plan.dir).with_context(|| format!("creating {}", plan.dir.display()))?;
    let plan_path = plan.dir.join(PLAN);
    fs::write(&plan_path, serde_json::to_string_pretty(plan)? + "\n")
        .with_context(|| format!("writing {}", plan_path.display()))?;
    let complaints = plan.dir.join("stderr.txt");
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program)
        .arg("worker")
        .arg(&plan_path)
        // Never written to: the worker ends when it ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&complaints)?)
        .process_group(0)
        .spawn()
        .context("starting a run's process")?;
    interrupts.worker_began(child.stdin.take());
    let mut failure = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            // An engine may write to standard output itself; what is no message is not for us.
            let Ok(message) = serde_json::from_str::<Message>(&line?) else { continue };
            progress.note(plan, &message);
            if let Message::Failed { why } = message {
                failure = Some(why);
            }
        }
    }
    let status = child.wait()?;
    interrupts.worker_ended();
    let said = fs::read_to_string(&complaints).unwrap_or_default();
    if said.is_empty() {
        let _ = fs::remove_file(&complaints);
    }
    if status.success() {
        return Ok(());
    }
    if let Some(why) = failure {
        return Err(anyhow!(why));
    }
    // The child could neither say how it ended nor remove its store.
    let _ = fs::remove_dir_all(&plan.data_dir);
    if interrupts.exit_code().is_some() {
        return Manifest::close(&plan.dir, INTERRUPTED, "the bench was told to stop".into());
    }
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let why = format!("the run's process ended with {status}: {last}");
    Manifest::close(&plan.dir, FAILED, why.clone())?;
    bail!(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(argv: &[&str]) -> Note {
        Note {
            schema: SCHEMA.into(),
            name: "x".into(),
            started_at: String::new(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            seed: 1,
            harness: Overhead { per_op_ns: 1.0, in_service_ns: 1.0 },
            runs: Vec::new(),
        }
    }

    #[test]
    fn a_directory_that_is_not_an_experiments_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("summary.csv"), "mine").unwrap();
        assert!(clear(dir.path()).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("summary.csv")).unwrap(), "mine");
        fs::write(dir.path().join("notes.txt"), "mine too").unwrap();
        fs::create_dir(dir.path().join("runs")).unwrap();
        fs::write(dir.path().join("runs/precious"), "mine as well").unwrap();
        assert!(clear(dir.path()).is_err());
        fs::write(dir.path().join("experiment.json"), "{}").unwrap();
        assert!(clear(dir.path()).is_err());
        assert!(dir.path().join("runs/precious").exists());
        note(&["norikv-bench"]).write(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(!dir.path().join("summary.csv").exists());
        assert!(!dir.path().join("experiment.json").exists());
        assert!(dir.path().join("notes.txt").exists());
    }

    #[test]
    fn the_command_to_repeat_is_quoted() {
        assert_eq!(note(&["bench"]).command(), "cargo run --release");
        assert_eq!(
            note(&["bench", "run", "my load.toml", "-s", "cache=lru"]).command(),
            "cargo run --release -- run 'my load.toml' -s cache=lru"
        );
    }
}
