//! `experiment.json`: what all runs of an experiment have in common, and which there were to be.

use crate::out;
use crate::overhead::Overhead;
use crate::plan::RunPlan;
use crate::schema;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The note.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) started_at: String,
    pub(crate) argv: Vec<String>,
    pub(crate) seed: u64,
    /// How often each target was to be run. 0 in notes of an earlier version, which meant once.
    #[serde(default)]
    pub(crate) blocks: u32,
    /// In the order in which they were named. Empty in notes of an earlier version.
    #[serde(default)]
    pub(crate) targets: Vec<String>,
    /// What the targets are compared with: one of them, or the better of a peer's rows. Empty means the first.
    #[serde(default)]
    pub(crate) baseline: String,
    /// Rates of open loops that are shares of a named target's maximum, by number of the step. Measured once, so
    /// that every run is offered the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) offered: BTreeMap<usize, f64>,
    /// Targets with phases of their own. They stand among `targets` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) apart: Option<Apart>,
    pub(crate) harness: Overhead,
    /// What was to be run, in order. Empty in notes of an earlier version, which did not say.
    #[serde(default)]
    pub(crate) runs: Vec<Planned>,
}

/// Targets that are shown and compared apart from the others, whose phases they do not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Apart {
    /// What they are called together.
    pub(crate) title: String,
    /// Each of them is among the experiment's.
    pub(crate) targets: Vec<String>,
    /// What they are compared with: one of them.
    pub(crate) baseline: String,
}

/// What to look for in figures of targets that stand apart, which are clusters.
pub(crate) const APART_LOOK_FOR: &str = "The same server and the same load under each protocol: look for which of them answers sooner, and whether its p99.9 pays \
     for that. Clients, three nodes and the disk share this machine's processors, so none of these numbers compares with a \
     single engine's.";

/// A run that was to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) run_id: String,
    /// From 1; 0 in notes of an earlier version, which knew one only.
    #[serde(default)]
    pub(crate) block: u32,
    pub(crate) target: String,
    /// How many phases it has.
    pub(crate) phases: usize,
}

impl Planned {
    pub(crate) fn of(plan: &RunPlan) -> Self {
        Self {
            run_id: plan.run_id.clone(),
            block: plan.block,
            target: plan.target.clone(),
            phases: plan.steps.len(),
        }
    }
}

pub(crate) const SCHEMA: &str = "norikv.experiment-result/1";

impl Note {
    /// Whether there is one in `dir`.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join("experiment.json").exists()
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        schema::read(&dir.join("experiment.json"), SCHEMA)
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

    /// What keeps the runs of an experiment noted here from being part of `other`; `None` if they are. Every setting
    /// is in a run's name by its hash, so the same runs in the same order are the same experiment.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let told = |what: &str, here: &str, there: &str| {
            (here != there).then(|| format!("{what} {here}, not {there}"))
        };
        let differs = |_| "other settings or another number of records or operations".to_owned();
        told("the workload", &self.name, &other.name)
            .or_else(|| told("seed", &self.seed.to_string(), &other.seed.to_string()))
            .or_else(|| told("blocks", &self.blocks.to_string(), &other.blocks.to_string()))
            .or_else(|| told("targets", &self.targets.join(", "), &other.targets.join(", ")))
            .or_else(|| Some(&self.runs).filter(|runs| **runs != other.runs).map(differs))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::note;

    #[test]
    fn the_command_to_repeat_is_quoted() {
        let command = |argv: &[&str]| {
            let mut note = note();
            note.argv = argv.iter().map(|&word| word.to_owned()).collect();
            note.command()
        };
        assert_eq!(command(&["bench"]), "cargo run --release");
        assert_eq!(
            command(&["bench", "run", "my load.toml", "-s", "cache=lru"]),
            "cargo run --release -- run 'my load.toml' -s cache=lru"
        );
    }

    #[test]
    fn a_note_of_the_same_runs_is_the_same_whenever_it_was_made_and_another_says_how_it_differs() {
        let mut other = note();
        (other.started_at, other.argv, other.harness.per_op_ns) = (String::new(), Vec::new(), 7.0);
        assert_eq!(note().difference(&other), None);
        other.seed = 2;
        assert_eq!(note().difference(&other).unwrap(), "seed 1, not 2");
        other = note();
        other.runs.push(crate::note::Planned {
            run_id: "1-x".into(),
            block: 1,
            target: "x".into(),
            phases: 1,
        });
        assert!(note().difference(&other).unwrap().starts_with("other settings"));
    }
}
