//! Which part of a level moves first.

use crate::{Candidate, Movement, Plan, Pressure, Seed, TableId, TreeView};
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// The table behind the one that went last, round and round through the keys of each level.
///
/// The cursor of a level is the least key of the table that went last. It is saved, so that a restart does not begin
/// at the least keys again.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    cursors: BTreeMap<u8, Arc<[u8]>>,
    /// Where the tables stood that were ranked last: what is needed to move a cursor when one of them goes.
    ranked: BTreeMap<TableId, (u8, Arc<[u8]>)>,
}

impl Movement for RoundRobin {
    fn rank(&mut self, view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate> {
        let Some(level) = view.levels.get(pressure.level) else { return Vec::new() };
        let at = pressure.level as u8;
        self.ranked.retain(|_, (other, _)| *other != at);
        let mut tables: Vec<_> =
            level.tables().filter(|table| !view.busy.has(table.id)).cloned().collect();
        tables.sort_by(|a, b| a.keys.min.cmp(&b.keys.min));
        self.ranked.extend(tables.iter().map(|t| (t.id, (at, Arc::clone(&t.keys.min)))));
        let cursor = self.cursors.get(&at);
        let passed = tables.partition_point(|t| cursor.is_some_and(|last| t.keys.min <= *last));
        tables.rotate_left(passed);
        let candidate = |(n, table): (usize, &Arc<crate::TableStats>)| Candidate {
            seed: Seed::Table(table.id),
            cost: n as f64,
        };
        tables.iter().enumerate().map(candidate).collect()
    }

    fn began(&mut self, plan: &Plan) {
        let seed = plan.inputs.first().and_then(|id| self.ranked.get(id));
        // What stays in its level did not go.
        if let Some((level, key)) = seed
            && plan.out.level > usize::from(*level)
        {
            self.cursors.insert(*level, Arc::clone(key));
        }
    }

    /// Each cursor: level u8, length u16 little-endian, key.
    fn save(&self) -> Vec<u8> {
        let mut state = Vec::new();
        for (level, key) in &self.cursors {
            state.push(*level);
            let length = u16::try_from(key.len()).expect("a key has at most 65,535 bytes");
            state.extend_from_slice(&length.to_le_bytes());
            state.extend_from_slice(key);
        }
        state
    }

    fn restore(&mut self, mut state: &[u8]) {
        while let Some(([level, low, high], rest)) = state.split_first_chunk::<3>() {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let Some((key, rest)) = rest.split_at_checked(length) else { return };
            self.cursors.insert(*level, Arc::from(key));
            state = rest;
        }
    }
}
