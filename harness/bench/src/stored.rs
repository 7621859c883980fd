//! An experiment read back from its directory. Tables, plots and the report are made from this and from
//! nothing else, so they can be made again from stored results alone.

use crate::latency::{Latencies, read_log};
use crate::manifest::Manifest;
use crate::rows::{ALL, Row, read_rows};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The runs of one experiment.
pub(crate) struct Stored {
    /// In order of block and position.
    pub(crate) runs: Vec<StoredRun>,
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
    /// Reads `<dir>/runs/*`.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("runs");
        let entries =
            std::fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut runs = Vec::new();
        for entry in entries {
            runs.push(StoredRun::read(&entry?.path())?);
        }
        ensure!(!runs.is_empty(), "{} holds no run", path.display());
        runs.sort_by_key(|run| (run.manifest.block, run.manifest.position));
        Ok(Self { runs })
    }

    /// Targets in the order in which they first ran.
    pub(crate) fn targets(&self) -> Vec<String> {
        let mut targets: Vec<String> = Vec::new();
        for run in &self.runs {
            if !targets.contains(&run.manifest.engine.target) {
                targets.push(run.manifest.engine.target.clone());
            }
        }
        targets
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
        for (number, note) in manifest.workloads.iter().enumerate() {
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
