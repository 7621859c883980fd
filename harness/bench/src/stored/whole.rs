//! Whether a stored run is whole and of its experiment. A file that lost its end, or is another run's, makes tables and plots
//! that are wrong and do not look so: it is refused by name instead.
//!
//! 1. The manifest says what the experiment planned under the run's name: block, seed, target, number of phases.
//! 2. The summary has a row for each recorded phase that ended, in their order, and what its kinds of operation add up to.
//! 3. The series have the operations of each phase, the events its end, and every file its last line.
//!
//! A run that failed or was cut off need not have what it did not come to write: of it only what is there is looked at.
//! Interval logs are looked at where they are read.

use super::StoredRun;
use crate::blocks::block_seed;
use crate::commits;
use crate::manifest::WorkloadNote;
use crate::note::Note;
use crate::plan::WARMUP;
use crate::rows::{ALL, Row};
use crate::series::read_intervals;
use anyhow::{Context, Result, bail, ensure};
use nori_workloads::PhaseKind;
use serde::Deserialize;
use std::fmt::Display;
use std::path::Path;

/// Checks everything but the interval logs.
///
/// # Errors
///
/// One that names the file that is missing, damaged or of another run.
pub(super) fn check(run: &StoredRun, note: &Note) -> Result<()> {
    belongs(run, note)?;
    rows(run)?;
    // Only clusters of ours have it, and only of this version on.
    if run.dir.join(commits::FILE).exists() {
        has_last_line(&run.dir.join(commits::FILE))?;
        commits::read(&run.dir)?;
    }
    if !run.is_over() {
        return Ok(());
    }
    let events = run.dir.join("events.jsonl");
    has_last_line(&events)?;
    events_of_all_phases(run, &events)?;
    let of_clients = |row: &&Row| row.op == ALL && row.phase != PhaseKind::Settle.name();
    let mut phases = run.rows.iter().filter(of_clients).peekable();
    if phases.peek().is_none() {
        return Ok(());
    }
    has_last_line(&run.dir.join("engine.csv"))?;
    // Only an engine with levels knows what it wrote into the deep ones.
    if run.rows.iter().any(|row| row.deep_write_bytes.is_some()) {
        has_last_line(&run.dir.join("levels.csv"))?;
    }
    let path = run.dir.join("intervals.csv");
    has_last_line(&path)?;
    let seconds = read_intervals(&run.dir)?;
    for phase in phases {
        let name = (&phase.workload, &phase.phase);
        // What a run does twice under the same name is in the series under the same name.
        let rows =
            run.rows.iter().filter(|row| row.op == ALL && (&row.workload, &row.phase) == name);
        let ops: u64 = rows.map(|row| row.ops).sum();
        // All kinds together stand in one row of each second, and each kind in one.
        for is_all in [true, false] {
            let of_phase = seconds.iter().filter(|second| {
                (second.op == ALL) == is_all && (&second.workload, &second.phase) == name
            });
            let held: u64 = of_phase.map(|second| second.ops).sum();
            ensure!(
                held == ops,
                "{} holds {held} of {ops} operations of {} {}: it is damaged",
                path.display(),
                phase.workload,
                phase.phase
            );
        }
    }
    Ok(())
}

/// Whether the run is the one that was planned under its name.
fn belongs(run: &StoredRun, note: &Note) -> Result<()> {
    let (manifest, path) = (&run.manifest, run.dir.join("manifest.json"));
    let same = |what: &str, here: &dyn Display, there: &dyn Display| {
        let (here, there) = (here.to_string(), there.to_string());
        ensure!(
            here == there,
            "{} has {what} {here}, the experiment {there}: one of them is another's",
            path.display()
        );
        Ok(())
    };
    let name = run.dir.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        manifest.run_id == name,
        "{} is of the run {}: it is another's",
        path.display(),
        manifest.run_id
    );
    same("the name", &manifest.experiment, &note.name)?;
    same("the seed", &manifest.seed, &block_seed(note.seed, manifest.block))?;
    // Notes of an earlier version name no runs, or no blocks.
    let Some(first) = note.runs.first() else { return Ok(()) };
    let is_this = |planned: &&crate::note::Planned| planned.run_id == manifest.run_id;
    let Some(planned) = note.runs.iter().find(is_this) else {
        bail!("{} is of a run that the experiment does not name", path.display());
    };
    same("the target", &manifest.engine.target, &planned.target)?;
    same("so many phases:", &manifest.workloads.len(), &planned.phases)?;
    if first.block > 0 { same("the block", &manifest.block, &planned.block) } else { Ok(()) }
}

/// Whether the rows are the run's and those of its phases.
fn rows(run: &StoredRun) -> Result<()> {
    let (manifest, path) = (&run.manifest, run.dir.join("summary.csv"));
    if !run.rows.is_empty() {
        has_last_line(&path)?;
    }
    let is_alien = |row: &&Row| {
        row.run_id != manifest.run_id
            || row.block != manifest.block
            || row.target != manifest.engine.target
    };
    if let Some(row) = run.rows.iter().find(is_alien) {
        bail!("{} has a row of the run {}: it is another's", path.display(), row.run_id);
    }
    let recorded: Vec<&WorkloadNote> =
        manifest.workloads.iter().filter(|note| note.phase != WARMUP).collect();
    let phases: Vec<&[Row]> = run.rows.chunk_by(|_, next| next.op != ALL).collect();
    let (held, wanted) = (phases.len(), recorded.len());
    let is_right = if run.is_over() { held == wanted } else { held <= wanted };
    ensure!(is_right, "{} holds {held} of {wanted} phases: it is damaged", path.display());
    for (rows, note) in phases.iter().zip(recorded) {
        let [all, kinds @ ..] = rows else { continue };
        let is_named = |row: &Row| row.workload == note.label && row.phase == note.phase;
        let ops: u64 = kinds.iter().map(|row| row.ops).sum();
        ensure!(
            all.op == ALL && rows.iter().all(is_named) && ops == all.ops,
            "{} has not the rows of {} {}: it is damaged",
            path.display(),
            note.label,
            note.phase
        );
    }
    Ok(())
}

/// The fields of an event that tell of phases.
#[derive(Deserialize)]
struct Event {
    kind: String,
    #[serde(default)]
    workload: String,
    #[serde(default)]
    phase: String,
}

/// Whether every line is an event, and the end of every phase among them.
fn events_of_all_phases(run: &StoredRun, path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut ends = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let event: Event = serde_json::from_str(line)
            .with_context(|| format!("{}:{} is no event", path.display(), number + 1))?;
        if event.kind == "phase_end" {
            ends.push((event.workload, event.phase));
        }
    }
    for note in &run.manifest.workloads {
        let has_ended =
            ends.iter().any(|(label, phase)| (label, phase) == (&note.label, &note.phase));
        ensure!(
            has_ended,
            "{} does not tell how {} {} ended: it is damaged",
            path.display(),
            note.label,
            note.phase
        );
    }
    Ok(())
}

/// Whether the file is there and ends with the end of a line, as all are written.
fn has_last_line(path: &Path) -> Result<()> {
    ensure!(path.exists(), "{} is missing", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(bytes.ends_with(b"\n"), "{} is damaged: its last line is cut off", path.display());
    Ok(())
}
