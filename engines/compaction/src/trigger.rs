//! When to compact: too many runs, too many bytes.

use crate::{LevelView, Pressure, RunView, Target, TreeView, Trigger};
use nori_kv::Reason;

/// A level holds more runs than its target allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunCountTrigger;

impl Trigger for RunCountTrigger {
    fn pressures(&self, view: &TreeView<'_>, targets: &[Target]) -> Vec<Pressure> {
        let pressure = |(level, (held, target)): (usize, (&LevelView, &Target))| {
            let is_idle = |run: &&RunView| !run.tables.iter().all(|t| view.busy.has(t.id));
            let runs = held.runs.iter().filter(is_idle).count();
            (runs > target.runs_max).then(|| Pressure {
                level,
                next: target.next,
                range: None,
                score: runs as f64 / (target.runs_max + 1) as f64,
                why: Reason::RunCount {
                    level: level as u8,
                    runs: runs as u32,
                    runs_max: target.runs_max as u32,
                },
            })
        };
        view.levels.iter().zip(targets).enumerate().filter_map(pressure).collect()
    }
}

/// A level holds more bytes than its target allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct SaturationTrigger;

impl Trigger for SaturationTrigger {
    fn pressures(&self, view: &TreeView<'_>, targets: &[Target]) -> Vec<Pressure> {
        let pressure = |(level, (held, target)): (usize, (&LevelView, &Target))| {
            let idle = held.tables().filter(|table| !view.busy.has(table.id));
            let bytes: u64 = idle.map(|table| table.bytes).sum();
            (bytes > target.bytes && target.next > level).then(|| Pressure {
                level,
                next: target.next,
                range: None,
                score: bytes as f64 / target.bytes.max(1) as f64,
                why: Reason::LevelSaturation {
                    level: level as u8,
                    bytes,
                    bytes_target: target.bytes,
                },
            })
        };
        view.levels.iter().zip(targets).enumerate().filter_map(pressure).collect()
    }
}
