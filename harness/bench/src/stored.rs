//! An experiment read back from its directory. Tables, plots and the report are made from this and from
//! nothing else, so they can be made again from stored results alone.

use crate::experiment::Note;
use crate::latency::{Latencies, read_log};
use crate::manifest::{FAILED, Manifest, OK};
use crate::rows::{ALL, Row, read_rows};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The runs of one experiment.
pub(crate) struct Stored {
    pub(crate) note: Note,
    /// In order of block and position.
    pub(crate) runs: Vec<StoredRun>,
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
    pub(crate) manifest: Manifest,
    pub(crate) rows: Vec<Row>,
    /// Of each phase that ended, in order.
    pub(crate) phases: Vec<StoredPhase>,
}

/// The latencies of one phase.
pub(crate) struct StoredPhase {
    pub(crate) workload: String,
    pub(crate) phase: String,
    pub(crate) latencies: Latencies,
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
        let mut runs = Vec::new();
        for entry in entries.with_context(|| format!("reading {}", path.display()))? {
            if Manifest::exists(&entry.path()) {
                runs.push(StoredRun::read(&entry.path())?);
            }
        }
        ensure!(!runs.is_empty() || !note.runs.is_empty(), "{} holds no run", path.display());
        runs.sort_by_key(|run| (run.manifest.block, run.manifest.position));
        Ok(Self { note, runs })
    }

    /// Targets in the order in which they run.
    pub(crate) fn targets(&self) -> Vec<String> {
        let planned = self.note.runs.iter().map(|run| &run.target);
        let mut targets: Vec<String> = Vec::new();
        for target in planned.chain(self.runs.iter().map(|run| &run.manifest.engine.target)) {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        targets
    }

    /// What is planned or begun and not at its end; runs that failed are.
    pub(crate) fn unfinished(&self) -> Vec<Unfinished> {
        let is_there = |id: &str| self.runs.iter().any(|run| run.manifest.run_id == id);
        let begun = self.runs.iter().filter(|run| {
            let state = run.manifest.status.state.as_str();
            !matches!(state, OK | FAILED)
        });
        let begun = begun.map(|run| Unfinished {
            target: run.manifest.engine.target.clone(),
            how_far: format!(
                "{} of {} phases ended",
                run.phases.len(),
                run.manifest.workloads.len()
            ),
        });
        let missing = self.note.runs.iter().filter(|run| !is_there(&run.run_id));
        let missing = missing
            .map(|run| Unfinished { target: run.target.clone(), how_far: "never began".into() });
        begun.chain(missing).collect()
    }

    /// How many runs came to their end without an error.
    pub(crate) fn finished(&self) -> usize {
        self.runs.iter().filter(|run| run.manifest.status.state == OK).count()
    }

    /// What stands in the place of a result that `target` does not have.
    pub(crate) fn lack(&self, target: &str) -> &'static str {
        let of_target = self.runs.iter().filter(|run| run.manifest.engine.target == target);
        let is_failed = of_target.into_iter().any(|run| run.manifest.status.state == FAILED);
        if is_failed { "failed" } else { "not run" }
    }

    /// Loads first, then workloads by name.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::new();
        for row in self.rows().filter(|row| row.op == ALL) {
            let cell = Cell { workload: row.workload.clone(), phase: row.phase.clone() };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells.sort_by_key(|cell| (cell.phase != "load", cell.clone()));
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
        self.rows().filter(move |row| {
            row.workload == cell.workload
                && row.phase == cell.phase
                && row.target == target
                && row.op == op
        })
    }

    /// Mean throughput of a cell and target over its blocks.
    pub(crate) fn ops_per_s(&self, cell: &Cell, target: &str) -> Option<f64> {
        let rates: Vec<f64> = self.rows_of(cell, target, ALL).map(|row| row.ops_per_s).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// All latencies of a cell and target, blocks merged.
    pub(crate) fn latencies(&self, cell: &Cell, target: &str) -> Latencies {
        let mut merged = Latencies::new();
        let of_target = self.runs.iter().filter(|run| run.manifest.engine.target == target);
        for phase in of_target.flat_map(|run| &run.phases) {
            if phase.workload == cell.workload && phase.phase == cell.phase {
                merged.add(&phase.latencies);
            }
        }
        merged
    }
}

impl StoredRun {
    fn read(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        let summary = dir.join("summary.csv");
        // A run that failed before its first phase ended has no summary. It stays in, as nothing.
        let rows = if summary.exists() { read_rows(&summary)? } else { Vec::new() };
        let mut phases = Vec::new();
        // A phase is told of when it has ended; the log of one that was cut off is left alone.
        let ended = rows.iter().filter(|row| row.op == ALL).count();
        for (number, note) in manifest.workloads.iter().enumerate().take(ended) {
            let stem = format!("{number:02}-{}-{}", note.label, note.phase);
            let path = dir.join("latency").join(stem + ".hlog");
            if path.exists() {
                let latencies = read_log(&path)?;
                let (workload, phase) = (note.label.clone(), note.phase.clone());
                phases.push(StoredPhase { workload, phase, latencies });
            }
        }
        Ok(Self { manifest, rows, phases })
    }
}
