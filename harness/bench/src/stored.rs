//! An experiment read back from its directory. Tables, plots and the report are made from this and from
//! nothing else, so they can be made again from stored results alone. What is damaged, missing or another
//! experiment's is refused by name ([`whole`]).

mod whole;

use crate::latency::{Latencies, Measure, read_log};
use crate::manifest::{FAILED, INVALID, Manifest, OK};
use crate::note::Note;
use crate::plan::WARMUP;
use crate::rows::{ALL, Row, read_rows};
use anyhow::{Context, Result, ensure};
use nori_workloads::{LoadModel, PhaseKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The runs of one experiment.
pub(crate) struct Stored {
    pub(crate) note: Note,
    /// In order of block and position.
    pub(crate) runs: Vec<StoredRun>,
    /// Of each phase and target, blocks merged. Not kept for each run: a histogram takes 200 KB.
    latencies: BTreeMap<(Cell, String), Latencies>,
    /// Response times of open loops, in the same way.
    responses: BTreeMap<(Cell, String), Latencies>,
}

/// A run that was planned and is not at its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) target: String,
    /// `never began`, or how many phases ended.
    pub(crate) how_far: String,
}

/// One run.
pub(crate) struct StoredRun {
    /// Where its files are. Empty for runs that were not read from any.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) rows: Vec<Row>,
    /// How many phases ended.
    pub(crate) phases_ended: usize,
}

/// A workload and a phase of it: one column of a table, one pair of plots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) workload: String,
    pub(crate) phase: String,
}

impl Cell {
    /// The name people read.
    pub(crate) fn name(&self) -> String {
        match (self.workload.as_str(), self.phase.as_str()) {
            ("ycsb", "load") => "load".into(),
            (workload, "run") => workload.into(),
            (workload, phase) => format!("{workload} {phase}"),
        }
    }

    /// The stem of its plots' file names.
    pub(crate) fn stem(&self) -> String {
        match self.phase.as_str() {
            "run" => self.workload.clone(),
            phase => format!("{}-{phase}", self.workload),
        }
    }
}

impl Stored {
    /// Reads `<dir>/experiment.json` and `<dir>/runs/*`. A run that has not begun is not among the runs.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let note = Note::read(dir)?;
        let path = dir.join("runs");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let mut stored = Self::of(note, Vec::new());
        for entry in entries.with_context(|| format!("reading {}", path.display()))? {
            stored.take(&entry.path())?;
        }
        let is_empty = stored.runs.is_empty() && stored.note.runs.is_empty();
        ensure!(!is_empty, "{} holds no run", path.display());
        stored.runs.sort_by_key(|run| (run.manifest.block, run.manifest.position));
        Ok(stored)
    }

    /// Adds the run in `dir`, if it has begun.
    ///
    /// # Errors
    ///
    /// One that names what is missing, damaged or another experiment's.
    pub(crate) fn take(&mut self, dir: &Path) -> Result<()> {
        if !Manifest::exists(dir) {
            // A run has its manifest before any result.
            let has_result = dir.join("summary.csv").exists();
            ensure!(!has_result, "{} is missing", dir.join("manifest.json").display());
            return Ok(());
        }
        let run = StoredRun::read(dir)?;
        whole::check(&run, &self.note)?;
        self.merge_latencies(&run, dir)?;
        self.runs.push(run);
        Ok(())
    }

    /// These runs, without latencies.
    pub(crate) fn of(note: Note, runs: Vec<StoredRun>) -> Self {
        Self { note, runs, latencies: BTreeMap::new(), responses: BTreeMap::new() }
    }

    fn merge_latencies(&mut self, run: &StoredRun, dir: &Path) -> Result<()> {
        // A phase is told of when it has ended; the log of one that was cut off is left alone.
        let ended = run.manifest.workloads.iter().enumerate().take(run.phases_ended);
        let recorded = ended.filter(|(_, note)| note.phase != WARMUP);
        for ((number, note), row) in recorded.zip(run.rows.iter().filter(|row| row.op == ALL)) {
            let stem = format!("{number:02}-{}-{}", note.label, note.phase);
            let cell = Cell { workload: note.label.clone(), phase: note.phase.clone() };
            let of = (cell, run.manifest.engine.target.clone());
            for (measure, all) in
                [(Measure::Service, &mut self.latencies), (Measure::Response, &mut self.responses)]
            {
                let is_kept = match measure {
                    Measure::Service => row.phase != PhaseKind::Settle.name(),
                    Measure::Response => row.model == LoadModel::Open.name(),
                };
                if !is_kept {
                    continue;
                }
                let path = dir.join("latency").join(measure.log_name(&stem));
                ensure!(path.exists(), "{} is missing", path.display());
                let read = read_log(&path)?;
                let held = read.total().len();
                // Every operation is in the log when its phase has a row.
                ensure!(
                    held == row.ops,
                    "{} holds {held} of {} operations: it is damaged",
                    path.display(),
                    row.ops
                );
                all.entry(of.clone()).or_insert_with(Latencies::new).add(&read);
            }
        }
        Ok(())
    }

    /// Targets in the order in which they were named; in notes of an earlier version, in which they ran.
    pub(crate) fn targets(&self) -> Vec<String> {
        let planned = self.note.runs.iter().map(|run| &run.target);
        let mut targets: Vec<String> = self.note.targets.clone();
        for target in planned.chain(self.runs.iter().map(|run| &run.manifest.engine.target)) {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        targets
    }

    /// Whether the cell is of targets that stand apart.
    pub(crate) fn is_apart(&self, cell: &Cell) -> bool {
        let Some(apart) = &self.note.apart else { return false };
        self.rows().any(|row| row.is_of(cell) && apart.targets.contains(&row.target))
    }

    /// The targets that have the phases of this cell, in their order.
    pub(crate) fn targets_of(&self, cell: &Cell) -> Vec<String> {
        self.targets_apart(self.is_apart(cell))
    }

    /// The targets that stand apart, or the others.
    pub(crate) fn targets_apart(&self, is_apart: bool) -> Vec<String> {
        let stands_apart =
            |name: &String| self.note.apart.as_ref().is_some_and(|of| of.targets.contains(name));
        self.targets().into_iter().filter(|name| stands_apart(name) == is_apart).collect()
    }

    /// The cells of targets that stand apart, or of the others.
    pub(crate) fn cells_apart(&self, is_apart: bool) -> Vec<Cell> {
        self.cells().into_iter().filter(|cell| self.is_apart(cell) == is_apart).collect()
    }

    /// What the targets of a cell are compared with.
    pub(crate) fn baseline_of(&self, cell: &Cell) -> &str {
        match &self.note.apart {
            Some(apart) if self.is_apart(cell) => &apart.baseline,
            _ => &self.note.baseline,
        }
    }

    /// What is planned or begun and not at its end; runs that failed are.
    pub(crate) fn unfinished(&self) -> Vec<Unfinished> {
        let is_there = |id: &str| self.runs.iter().any(|run| run.manifest.run_id == id);
        let begun = self.runs.iter().filter(|run| {
            let state = run.manifest.status.state.as_str();
            !matches!(state, OK | FAILED | INVALID)
        });
        let begun = begun.map(|run| Unfinished {
            target: self.in_block(&run.manifest.engine.target, run.manifest.block),
            how_far: format!(
                "{} of {} phases ended",
                run.phases_ended,
                run.manifest.workloads.len()
            ),
        });
        let missing = self.note.runs.iter().filter(|run| !is_there(&run.run_id));
        let missing = missing.map(|run| Unfinished {
            target: self.in_block(&run.target, run.block),
            how_far: "never began".into(),
        });
        begun.chain(missing).collect()
    }

    /// A sentence for each run that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.runs.iter().filter(|run| run.manifest.status.state == FAILED);
        failed.map(|run| run.manifest.failure(self.blocks())).collect()
    }

    /// Each run that is not to be believed, and why.
    pub(crate) fn invalid(&self) -> Vec<(String, String)> {
        let invalid = self.runs.iter().filter(|run| run.is_invalid());
        let told = |run: &StoredRun| {
            let of = self.in_block(&run.manifest.engine.target, run.manifest.block);
            (of, run.manifest.status.reasons.join("; "))
        };
        invalid.map(told).collect()
    }

    /// Whether the row is of a run that is not to be believed.
    pub(crate) fn is_invalid(&self, row: &Row) -> bool {
        let of_row = |run: &&StoredRun| run.manifest.run_id == row.run_id;
        self.runs.iter().find(of_row).is_some_and(StoredRun::is_invalid)
    }

    /// How many runs came to their end without an error.
    pub(crate) fn finished(&self) -> usize {
        self.runs.iter().filter(|run| run.is_over()).count()
    }

    /// What stands in the place of a result that `target` does not have.
    pub(crate) fn lack(&self, target: &str) -> &'static str {
        let of_target = self.runs.iter().filter(|run| run.manifest.engine.target == target);
        let is_failed = of_target.into_iter().any(|run| run.manifest.status.state == FAILED);
        if is_failed { "failed" } else { "not run" }
    }

    /// Loads first, then workloads by name; those of targets that stand apart last.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::new();
        // Settling does no operations: there is nothing to compare.
        let has_ops = |row: &&Row| row.op == ALL && row.phase != PhaseKind::Settle.name();
        for row in self.rows().filter(has_ops) {
            let cell = Cell { workload: row.workload.clone(), phase: row.phase.clone() };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells.sort_by_cached_key(|cell| (self.is_apart(cell), cell.phase != "load", cell.clone()));
        cells
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.runs.iter().flat_map(|run| &run.rows)
    }

    /// The rows of a cell, target and kind of operation: one per block.
    pub(crate) fn rows_of<'a>(
        &'a self,
        cell: &'a Cell,
        target: &'a str,
        op: &'a str,
    ) -> impl Iterator<Item = &'a Row> {
        self.rows().filter(move |row| row.is_of(cell) && row.target == target && row.op == op)
    }

    /// The run whose course over time stands for a target: the first of its blocks that ended the phase.
    pub(crate) fn first_run(&self, cell: &Cell, target: &str) -> Option<&StoredRun> {
        let has_cell = |run: &&StoredRun| {
            let is_of = |row: &Row| row.workload == cell.workload && row.phase == cell.phase;
            run.manifest.engine.target == target && run.rows.iter().any(is_of)
        };
        self.runs.iter().find(has_cell)
    }

    /// Mean throughput of a cell and target over its blocks.
    pub(crate) fn ops_per_s(&self, cell: &Cell, target: &str) -> Option<f64> {
        let rates: Vec<f64> = self.rows_of(cell, target, ALL).map(|row| row.ops_per_s).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// How many operations of a cell and target failed. Where any did, a rate is not one of work done.
    pub(crate) fn errors(&self, cell: &Cell, target: &str) -> u64 {
        self.rows_of(cell, target, ALL).map(|row| row.errors).sum()
    }

    /// Mean throughput of a cell and target, if nothing in it failed: only such rates can be the best.
    pub(crate) fn sound_ops_per_s(&self, cell: &Cell, target: &str) -> Option<f64> {
        self.ops_per_s(cell, target).filter(|_| self.errors(cell, target) == 0)
    }

    /// How long the longest phase with operations took.
    pub(crate) fn longest_s(&self) -> f64 {
        let has_ops = |row: &&Row| row.phase != PhaseKind::Settle.name();
        self.rows().filter(has_ops).map(|row| row.seconds).fold(0.0, f64::max)
    }

    /// All latencies of a cell and target, blocks merged.
    pub(crate) fn latencies(&self, cell: &Cell, target: &str) -> Latencies {
        let of = (cell.clone(), target.to_owned());
        self.latencies.get(&of).cloned().unwrap_or_else(Latencies::new)
    }

    /// All response times of a cell and target, blocks merged; empty for a closed loop.
    pub(crate) fn responses(&self, cell: &Cell, target: &str) -> Latencies {
        let of = (cell.clone(), target.to_owned());
        self.responses.get(&of).cloned().unwrap_or_else(Latencies::new)
    }

    /// Whether the cell is an open loop.
    pub(crate) fn is_open(&self, cell: &Cell) -> bool {
        self.responses.keys().any(|(known, _)| known == cell)
    }

    /// How many blocks were planned.
    pub(crate) fn blocks(&self) -> u32 {
        self.note.blocks.max(self.runs.iter().map(|run| run.manifest.block).max().unwrap_or(0))
    }

    /// `target`, with its block where there are many.
    fn in_block(&self, target: &str, block: u32) -> String {
        if self.blocks() > 1 { format!("{target}, block {block}") } else { target.to_owned() }
    }
}

/// How many phases ended. A warm-up has no row: it has ended if one after it has, or if all have.
fn phases_ended(manifest: &Manifest, rows: &[Row]) -> usize {
    if matches!(manifest.status.state.as_str(), OK | INVALID) {
        return manifest.workloads.len();
    }
    let with_rows = rows.iter().filter(|row| row.op == ALL).count();
    let recorded = manifest.workloads.iter().enumerate().filter(|(_, note)| note.phase != WARMUP);
    let last = recorded.take(with_rows).last();
    last.map_or(0, |(index, _)| index + 1)
}

impl StoredRun {
    fn read(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        let summary = dir.join("summary.csv");
        // A run that failed before its first phase ended has no summary. It stays in, as nothing.
        let rows = if summary.exists() { read_rows(&summary)? } else { Vec::new() };
        let phases_ended = phases_ended(&manifest, &rows);
        let run = Self { dir: dir.to_owned(), manifest, rows, phases_ended };
        ensure!(summary.exists() || !run.is_over(), "{} is missing", summary.display());
        Ok(run)
    }

    /// Whether it came to its end without an error.
    fn is_over(&self) -> bool {
        matches!(self.manifest.status.state.as_str(), OK | INVALID)
    }

    /// Whether its numbers are not to be believed.
    pub(crate) fn is_invalid(&self) -> bool {
        self.manifest.status.state == INVALID
    }
}
