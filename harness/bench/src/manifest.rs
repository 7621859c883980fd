//! `manifest.json`: how a run came about, in full, so that it can be repeated and judged.

use crate::machine::{Build, Machine};
use crate::out;
use crate::plan::RunPlan;
use crate::schema;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SCHEMA: &str = "norikv.manifest/1";

/// How a run came about and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) schema: String,
    pub(crate) run_id: String,
    pub(crate) experiment: String,
    pub(crate) block: u32,
    pub(crate) position: u32,
    pub(crate) started_at: String,
    pub(crate) argv: Vec<String>,
    pub(crate) build: Build,
    pub(crate) machine: Machine,
    pub(crate) engine: EngineNote,
    pub(crate) workloads: Vec<WorkloadNote>,
    pub(crate) seed: u64,
    pub(crate) status: Status,
}

/// The engine and every setting it had.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EngineNote {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) durability: String,
    pub(crate) memory_bytes: u64,
    pub(crate) choices: Vec<(String, String)>,
    pub(crate) settings: Vec<(String, String)>,
}

/// A phase and the workload it is of, after all changes from the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkloadNote {
    pub(crate) label: String,
    pub(crate) phase: String,
    /// The workload file that says what was run.
    pub(crate) resolved: String,
    /// XXH3 of `resolved`.
    pub(crate) hash: String,
}

/// A run's state while it goes on, and for ever if it was killed.
pub(crate) const RUNNING: &str = "running";
/// All phases ended without an error.
pub(crate) const OK: &str = "ok";
/// An error ended the run.
pub(crate) const FAILED: &str = "failed";
/// All phases ended without an error, but the harness itself was not able to keep its promise in one of them.
pub(crate) const INVALID: &str = "invalid";
/// The bench was told to stop.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// [`RUNNING`], [`OK`], [`FAILED`], [`INVALID`] or [`INTERRUPTED`].
    pub(crate) state: String,
    pub(crate) reasons: Vec<String>,
}

impl Manifest {
    pub(crate) fn new(plan: &RunPlan, settings: Vec<(String, String)>) -> Self {
        let workloads = plan.steps.iter().map(|step| {
            let resolved = step.workload.to_toml();
            let hash = format!("xxh3:{:016x}", xxhash_rust::xxh3::xxh3_64(resolved.as_bytes()));
            let phase = step.phase_name().into();
            WorkloadNote { label: step.label.clone(), phase, resolved, hash }
        });
        Self {
            schema: SCHEMA.into(),
            run_id: plan.run_id.clone(),
            experiment: plan.experiment.clone(),
            block: plan.block,
            position: plan.position,
            started_at: utc(SystemTime::now()),
            argv: plan.argv.clone(),
            build: Build::look(),
            machine: Machine::look(&plan.data_dir),
            engine: EngineNote {
                name: plan.engine.clone(),
                target: plan.target.clone(),
                durability: plan.durability.clone(),
                memory_bytes: plan.memory_bytes,
                choices: plan.choices.clone(),
                settings,
            },
            workloads: workloads.collect(),
            seed: plan.seed,
            status: Status { state: RUNNING.into(), reasons: Vec::new() },
        }
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("manifest.json");
        out::replace(&path, (serde_json::to_string_pretty(self)? + "\n").as_bytes())
    }

    /// Whether a run in `dir` has come so far as to have one.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join("manifest.json").exists()
    }

    /// Notes how a run ended that could not note it itself. One that has not begun has nothing to note it in.
    pub(crate) fn close(dir: &Path, state: &str, reason: String) -> Result<()> {
        if !Self::exists(dir) {
            return Ok(());
        }
        let mut manifest = Self::read(dir)?;
        manifest.status = Status { state: state.into(), reasons: vec![reason] };
        manifest.write(dir)
    }

    /// The sentence of a run that failed in an experiment of so many blocks.
    pub(crate) fn failure(&self, blocks: u32) -> String {
        let block = if blocks > 1 { format!(", block {}", self.block) } else { String::new() };
        format!("{}{block}: {}", self.engine.target, self.status.reasons.join("; "))
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        schema::read(&dir.join("manifest.json"), SCHEMA)
    }
}

/// A point of time as `2026-01-31T23:59:59Z`.
pub(crate) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in years that begin in March, so that the leap day is a year's last; an era is the
    // 400 years after which the calendar repeats.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn points_of_time_are_written_in_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
