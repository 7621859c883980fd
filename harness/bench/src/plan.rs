//! What a run is to do: everything a fresh process needs to do it, as one JSON file.
//!
//! The unit of replication is a whole run in a fresh process and directory. So the process that the
//! user started makes the plans, and a child of the same program carries each of them out.

use anyhow::{Context, Result};
use nori_workloads::{PhaseKind, Workload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One run: one target, one or more phases on one store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunPlan {
    pub(crate) run_id: String,
    pub(crate) experiment: String,
    /// Which of the interleaved repetitions, from 1.
    pub(crate) block: u32,
    /// Which run of its block, from 1.
    pub(crate) position: u32,
    /// The target's name in tables: the engine, and what was chosen for it.
    pub(crate) target: String,
    pub(crate) engine: String,
    pub(crate) choices: Vec<(String, String)>,
    pub(crate) memory_bytes: u64,
    pub(crate) durability: String,
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
    /// Rates of open loops that are shares of another target's maximum, by number of the step.
    #[serde(default)]
    pub(crate) offered: BTreeMap<usize, f64>,
    /// Whether only the maxima that steps ask of this target are measured: of its phases, loads and settling are done.
    #[serde(default)]
    pub(crate) is_reference: bool,
    /// Where the results go.
    pub(crate) dir: PathBuf,
    /// Where the store is; removed after the run, unless it is the run's own directory.
    pub(crate) data_dir: PathBuf,
    /// Whether the store stays, in the run's own directory.
    #[serde(default)]
    pub(crate) keeps_store: bool,
    /// The command that started it all.
    pub(crate) argv: Vec<String>,
}

/// The directory of the engine's files, in a run's directory if they are kept.
pub(crate) const STORE: &str = "store";

/// The name of phases that are not recorded.
pub(crate) const WARMUP: &str = "warmup";

/// One phase of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The workload's name in tables. A load that several workloads share has the name of the suite.
    pub(crate) label: String,
    pub(crate) workload: Workload,
    /// Which of the workload's phases.
    pub(crate) phase: usize,
}

impl RunPlan {
    /// Reads a plan back.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no plan", path.display()))
    }

    /// Where the engine's files are.
    pub(crate) fn store(&self) -> PathBuf {
        self.data_dir.join(STORE)
    }

    /// Removes the store, if it is not to stay.
    pub(crate) fn remove_store(&self) -> Result<()> {
        if self.keeps_store {
            return Ok(());
        }
        let dir = &self.data_dir;
        std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))
    }
}

impl Step {
    pub(crate) fn kind(&self) -> PhaseKind {
        self.workload.phases[self.phase].kind
    }

    /// The target whose maximum its rate is a share of, where that is named.
    pub(crate) fn reference(&self) -> Option<&str> {
        self.workload.phases[self.phase].load.of.as_deref()
    }

    /// The name of its phase in files and tables.
    pub(crate) fn phase_name(&self) -> &'static str {
        if self.is_recorded() { self.kind().name() } else { WARMUP }
    }

    /// Whether it has rows in the summary.
    pub(crate) fn is_recorded(&self) -> bool {
        self.workload.phases[self.phase].record
    }

    /// The stem of this step's files.
    pub(crate) fn stem(&self, number: usize) -> String {
        format!("{number:02}-{}-{}", self.label, self.phase_name())
    }
}

/// The target's name: the engine and what was chosen for it.
pub(crate) fn target_name(engine: &str, choices: &[(String, String)]) -> String {
    let mut name = engine.to_owned();
    for (seam, part) in choices {
        name.push_str(&format!("+{seam}={part}"));
    }
    name
}

/// A name for a directory: letters, digits and `-_.+=` stay.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+=".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_name_tells_its_choices_and_its_directory_is_harmless() {
        let choices = [("compaction".to_owned(), "tiered".to_owned())];
        assert_eq!(target_name("nori-lsm", &choices), "nori-lsm+compaction=tiered");
        assert_eq!(target_name("fjall", &[]), "fjall");
        assert_eq!(file_name("fjall:default/../x"), "fjall-default-..-x");
    }
}
