//! Which part of a level moves first.

use crate::{Candidate, Movement, Pressure, Seed, TreeView};

/// No choice: the whole level.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeLevel;

impl Movement for WholeLevel {
    fn rank(&mut self, _view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate> {
        vec![Candidate { seed: Seed::Level(pressure.level), cost: 0.0 }]
    }
}

/// The table that meets the fewest bytes in the next level for each of its own (`LO+1` in the study,
/// `kMinOverlappingRatio` in RocksDB); among equals, the one with the smallest keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastOverlap;

impl Movement for LeastOverlap {
    fn rank(&mut self, view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate> {
        let (Some(level), Some(next)) =
            (view.levels.get(pressure.level), view.levels.get(pressure.next))
        else {
            return Vec::new();
        };
        let idle = level.tables().filter(|table| !view.busy.has(table.id));
        let mut candidates: Vec<Candidate> = idle
            .map(|table| {
                let met = next.runs.iter().flat_map(|run| run.overlapping(&table.keys));
                let met: u64 = met.map(|other| other.bytes).sum();
                let cost = met as f64 / table.bytes.max(1) as f64;
                Candidate { seed: Seed::Table(table.id), cost }
            })
            .collect();
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        candidates
    }
}
