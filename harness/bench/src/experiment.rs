//! An experiment: the same phases on each target, once or in blocks, every run in a fresh process and directory.
//!
//! 1. Lock the directory; clear what an earlier experiment left in it, unless that kept stores. One that is resumed
//!    loses only the runs that are not at their end.
//! 2. Note which runs are planned, so that whoever reads the directory later knows what is missing.
//! 3. For each run that is missing: write a plan, start this same program as a child, and listen to it.
//! 4. Put the rows of all runs into one `summary.csv`, their comparison into `ratios.csv`; draw plots; write the report.
//!
//! A run that fails does not end the experiment, but the experiment has then failed. A signal does end it: what
//! finished is kept, the store of the run under way is removed unless stores are to be kept.

use crate::guard::{self, DirLock};
use crate::interrupt::Interrupts;
use crate::machine::Build;
use crate::manifest::{FAILED, INTERRUPTED, Manifest, OK, utc};
use crate::names::{Target, usage};
use crate::note::{self, Note, Planned, SCHEMA};
use crate::overhead::{self, Overhead};
use crate::plan::{RunPlan, STORE, Step, target_name};
use crate::progress::Progress;
use crate::ratios::write_ratios;
use crate::rows::{Row, write_rows};
use crate::stored::Stored;
use crate::worker::Message;
use crate::{Ended, Usage, blocks, first_error, plot, ratios, report};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What an experiment leaves in its directory, and so what is removed before the next.
const LEFT_BEHIND: [&str; 7] =
    ["summary.csv", "ratios.csv", "report.html", "runs", "plots", "data", "experiment.json"];

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
    /// How often each target runs; at least 1.
    pub(crate) blocks: u32,
    /// Targets whose maximum the rates of open loops are shares of, each once.
    pub(crate) references: Vec<Target>,
    /// What the others are compared with.
    pub(crate) baseline: String,
    /// What an earlier bench left of this experiment is kept.
    pub(crate) is_resumed: bool,
    /// Stores stay, each in its run's directory.
    pub(crate) keeps_stores: bool,
    /// Targets with phases of their own, which run last.
    pub(crate) apart: Option<Apart>,
}

/// Targets that are not compared with the others, and do other phases.
pub(crate) struct Apart {
    pub(crate) title: String,
    /// At least one; the others are compared with the first.
    pub(crate) targets: Vec<Target>,
    /// Under labels that no phase of the others has.
    pub(crate) steps: Vec<Step>,
}

impl Experiment {
    /// Every target with its phases.
    pub(crate) fn races(&self) -> impl Iterator<Item = (&Target, &[Step])> {
        let own = self.targets.iter().map(|target| (target, &*self.steps));
        let apart = self
            .apart
            .iter()
            .flat_map(|apart| apart.targets.iter().map(|target| (target, &*apart.steps)));
        own.chain(apart)
    }
}

impl Target {
    /// The name in tables.
    pub(crate) fn name(&self) -> String {
        let label = self.label.map_or(String::new(), |label| format!(" {label}"));
        target_name(&self.engine, &self.choices) + &label
    }
}

impl Apart {
    fn note(&self) -> note::Apart {
        let targets: Vec<String> = self.targets.iter().map(Target::name).collect();
        let baseline = targets.first().cloned().unwrap_or_default();
        note::Apart { title: self.title.clone(), targets, baseline }
    }
}

/// What an experiment came to.
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// A sentence for each run that failed.
    pub(crate) failures: Vec<String>,
}

/// An experiment whose directory is ready for what is missing.
pub(crate) struct Prepared {
    note: Note,
    plans: Vec<RunPlan>,
    /// Runs that an earlier bench brought to their end, by name.
    done: BTreeSet<String>,
    /// A sentence for each run that failed before and is to be done again.
    again: Vec<String>,
    /// Whether there was an experiment to go on with.
    is_resumed: bool,
    _lock: DirLock,
}

impl Prepared {
    /// How many runs need not be done again.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// Where the stores are that are to be kept, once their runs have begun.
    pub(crate) fn stores_kept(&self) -> Vec<PathBuf> {
        self.plans.iter().filter(|plan| plan.keeps_store).map(RunPlan::store).collect()
    }

    /// Whether it goes on with an experiment that was there.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Why runs failed that are done again: a sentence for each.
    pub(crate) fn again(&self) -> &[String] {
        &self.again
    }
}

/// Makes the experiment's directory ready: it is locked, and empty of what an earlier experiment left, unless that is
/// to go on.
///
/// # Errors
///
/// A usage error that names the directory, if it cannot be had, holds another experiment than the one to go on with, or
/// stores that one which does not go on was told to keep.
pub(crate) fn prepare(experiment: &Experiment) -> Result<Prepared> {
    let lock = DirLock::take(&experiment.dir, "--out")?;
    let argv: Vec<String> = std::env::args().collect();
    let plans = blocks::plans(experiment, &argv)?;
    let mut note = Note {
        schema: SCHEMA.into(),
        name: experiment.name.clone(),
        started_at: utc(SystemTime::now()),
        argv,
        seed: experiment.seed,
        blocks: experiment.blocks,
        targets: experiment.races().map(|(target, _)| target.name()).collect(),
        baseline: experiment.baseline.clone(),
        offered: BTreeMap::new(),
        apart: experiment.apart.as_ref().map(Apart::note),
        harness: Overhead::default(),
        runs: plans.iter().map(Planned::of).collect(),
    };
    let (mut done, mut again) = (BTreeSet::new(), Vec::new());
    let is_resumed = experiment.is_resumed && Note::exists(&experiment.dir);
    if is_resumed {
        plans.iter().try_for_each(check_kept)?;
        let kept = keep(&experiment.dir, &note, &mut again)?;
        done.extend(kept.runs.iter().map(|run| run.manifest.run_id.clone()));
        // The note stays as it was; what it is compared with is asked anew each time.
        note = Note { baseline: note.baseline, ..kept.note };
    } else {
        clear(&experiment.dir)?;
    }
    Ok(Prepared { note, plans, done, again, is_resumed, _lock: lock })
}

/// Runs everything that is not done.
pub(crate) fn run(
    experiment: &Experiment,
    mut prepared: Prepared,
    progress: &mut Progress,
) -> Result<Outcome> {
    let interrupts = Interrupts::listen()?;
    if prepared.done.is_empty() {
        prepared.note.harness = overhead::measure(experiment.seed)?;
    }
    // Before anything else is in the directory: it is the note that says whose it is.
    prepared.note.write(&experiment.dir)?;
    offer(experiment, &mut prepared, progress, &interrupts)?;
    prepared.note.write(&experiment.dir)?;
    let mut failures = Vec::new();
    for plan in &prepared.plans {
        if interrupts.exit_code().is_some() {
            break;
        }
        if !prepared.done.contains(&plan.run_id)
            && let Err(error) =
                run_child(plan, &mut |message| progress.note(plan, message), &interrupts)
        {
            let many = experiment.blocks > 1;
            let block = if many { format!(", block {}", plan.block) } else { String::new() };
            failures.push(format!("{}{block}: {error:#}", plan.target));
        }
        progress.run_ended(plan);
    }
    // Only empty directories are left in it, unless a child was killed.
    let _ = fs::remove_dir_all(experiment.dir.join("data"));
    if interrupts.exit_code().is_none() {
        progress.say("drawing plots, writing the report");
    }
    let shown = show(&experiment.dir, interrupts.exit_code().is_none());
    progress.finish();
    let stored = match shown {
        // The run's own error came first, and may be why this failed too.
        Err(error) if !failures.is_empty() => {
            bail!("{}; and then: {error:#}", first_of(&failures))
        }
        shown => shown?,
    };
    match interrupts.exit_code() {
        None => Ok(Outcome { stored, failures }),
        Some(code) => Err(interrupted(&stored, &experiment.dir, code)),
    }
}

/// Why a run failed; of many, how many and why the first did. Each is told by the table, the report and its manifest.
pub(crate) fn first_of(failures: &[String]) -> String {
    match failures {
        [one] => one.clone(),
        [first, ..] => format!("{} runs failed; the first, {first}", failures.len()),
        [] => "no run failed".into(),
    }
}

/// What is stored of an experiment, and where `is_over`, everything that is made from it.
fn show(dir: &Path, is_over: bool) -> Result<Stored> {
    let stored = Stored::read(dir)?;
    if is_over {
        finish(&stored, dir)?;
    }
    Ok(stored)
}

/// Measures what the rates of open loops are shares of, where they name a target, and puts the rates into the plans.
/// What an earlier bench measured stays.
fn offer(
    experiment: &Experiment,
    prepared: &mut Prepared,
    progress: &mut Progress,
    interrupts: &Interrupts,
) -> Result<()> {
    for target in &experiment.references {
        let name = target.name();
        let asked = |(_, step): &(usize, &Step)| step.reference() == Some(name.as_str());
        let steps = experiment.steps.iter().enumerate().filter(asked);
        let is_known = |number: &usize| prepared.note.offered.contains_key(number);
        if steps.map(|(number, _)| number).all(|number| is_known(&number)) {
            continue;
        }
        let plan = blocks::reference(experiment, target, &prepared.note.argv)?;
        let offered = &mut prepared.note.offered;
        let listen = &mut |message: &Message| {
            progress.note(&plan, message);
            if let Message::Calibrated { step, calibrated } = message {
                offered.insert(*step, calibrated.rate);
            }
        };
        run_child(&plan, listen, interrupts)
            .with_context(|| format!("measuring the maximum of {name}"))?;
    }
    for plan in &mut prepared.plans {
        plan.offered.clone_from(&prepared.note.offered);
    }
    Ok(())
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

/// Makes everything that is made from stored runs: the joint summary, the ratios, the plots, the report.
pub(crate) fn finish(stored: &Stored, dir: &Path) -> Result<()> {
    let rows: Vec<Row> = stored.rows().cloned().collect();
    write_rows(&dir.join("summary.csv"), &rows)?;
    let ratios = ratios::ratios(stored);
    if !ratios.is_empty() {
        write_ratios(&dir.join("ratios.csv"), &ratios)?;
    }
    let plots = plot::draw_all(stored, dir)?;
    report::write(stored, &plots, &ratios, dir)
}

/// What an interrupted experiment left that is at its end without an error, if it is the one that `wanted` describes; the
/// rest is removed. Why runs had failed that are removed is added to `again`.
fn keep(dir: &Path, wanted: &Note, again: &mut Vec<String>) -> Result<Stored> {
    let cannot = |why: String| {
        usage(format!("--resume: {} holds {why}; leave --resume out to begin anew", dir.display()))
    };
    // One run that is damaged can be done again alone.
    let damaged = |run: &Path, error: anyhow::Error| match error.is::<Usage>() {
        true => error,
        false => {
            let run = run.display();
            let remedy =
                "remove that folder and give --resume again, or leave --resume out to begin anew";
            usage(format!("--resume: the run in {run} is damaged ({error:#}): {remedy}"))
        }
    };
    let note = Note::read(dir).map_err(|error| match error.is::<Usage>() {
        true => error,
        false => cannot(format!("no experiment: {error:#}")),
    })?;
    if let Some(how) = note.difference(wanted) {
        return Err(cannot(format!("another experiment ({how})")));
    }
    let build = Build::look();
    let mut unfit = Vec::new();
    for entry in fs::read_dir(dir.join("runs")).into_iter().flatten().flatten() {
        let run = entry.path();
        guard::await_plan_end(&run.join(PLAN))?;
        if !Manifest::exists(&run) {
            unfit.push(run);
            continue;
        }
        let manifest = Manifest::read(&run).map_err(|error| damaged(&run, error))?;
        match manifest.status.state.as_str() {
            OK if manifest.build == build => {
                let mut alone = Stored::of(note.clone(), Vec::new());
                alone.take(&run).map_err(|error| damaged(&run, error))?;
            }
            OK => {
                let why = "runs of another build, which cannot be compared with this one's";
                return Err(cannot(why.into()));
            }
            state => {
                if state == FAILED {
                    again.push(manifest.failure(note.blocks));
                }
                unfit.push(run);
            }
        }
    }
    for run in unfit {
        fs::remove_dir_all(&run).with_context(|| format!("removing {}", run.display()))?;
    }
    let _ = fs::remove_dir_all(dir.join("data"));
    Stored::read(dir).map_err(|error| cannot(format!("{error:#}")))
}

/// Whether a run that is not done again has the store that is to be kept.
fn check_kept(plan: &RunPlan) -> Result<()> {
    let is_missed = plan.keeps_store && Manifest::exists(&plan.dir) && !plan.store().exists();
    if is_missed && Manifest::read(&plan.dir)?.status.state == OK {
        return Err(usage(format!(
            "--keep: the store of {} was removed when its run ended; leave --keep or --resume out",
            plan.run_id
        )));
    }
    Ok(())
}

/// Refuses a directory in which an earlier experiment was told to keep stores: clearing it would remove them.
fn check_no_store(dir: &Path) -> Result<()> {
    let runs = fs::read_dir(dir.join("runs")).into_iter().flatten().flatten();
    let mut stores: Vec<PathBuf> = runs.map(|run| run.path().join(STORE)).collect();
    stores.retain(|store| store.exists());
    stores.sort();
    let Some(first) = stores.first() else { return Ok(()) };
    let (what, more, them) = match stores.len() {
        1 => ("a store that was kept", String::new(), "it"),
        many => ("stores that were kept", format!(" and {} more", many - 1), "them"),
    };
    Err(usage(format!(
        "{} holds {what}, which a new experiment would remove: {}{more}; give another --out, or remove {them}",
        dir.display(),
        first.display(),
    )))
}

/// Removes what an earlier experiment left in the directory, and nothing else.
fn clear(dir: &Path) -> Result<()> {
    // Names like `runs` and `data` are anybody's: only our own note says that they are ours. It goes last.
    guard::check_own(dir, "experiment.json", "an experiment")?;
    if !Note::exists(dir) {
        return Ok(());
    }
    let cannot = |why| usage(format!("{why:#}; remove it or choose another directory"));
    Note::read(dir).map_err(cannot)?;
    check_no_store(dir)?;
    for name in LEFT_BEHIND {
        let path = dir.join(name);
        if !path.exists() {
            continue;
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

/// Runs one plan in a child process. A signal to this one ends it, which is no failure.
fn run_child(
    plan: &RunPlan,
    listen: &mut dyn FnMut(&Message),
    interrupts: &Interrupts,
) -> Result<()> {
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
            listen(&message);
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
    let _ = plan.remove_store();
    if interrupts.exit_code().is_some() {
        return Manifest::close(&plan.dir, INTERRUPTED, "the bench was told to stop".into());
    }
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    let why = format!("the run's process ended with {status}{said}");
    let noted = Manifest::close(&plan.dir, FAILED, why.clone());
    first_error(Err(anyhow!(why)), noted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_an_experiments_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".gitkeep"), "").unwrap();
        clear(dir.path()).unwrap();
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
        crate::testing::note().write(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(!dir.path().join("summary.csv").exists());
        assert!(!dir.path().join("experiment.json").exists());
        assert!(dir.path().join("notes.txt").exists());
        // A folder with nothing left of an experiment is as anybody's.
        let error = clear(dir.path()).unwrap_err();
        assert!(
            error.is::<Usage>() && error.to_string().contains("holds a `notes.txt`"),
            "{error}"
        );
    }
}
