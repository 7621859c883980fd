//! Compaction that reads ask for: what cursors keep seeking in is merged down.
//!
//! A filter spares a point read the runs without its key, but a cursor has to seek in every run. Each seek costs something for
//! ever, the merge that ends it costs something once, and nobody knows how long the reading will go on. Whoever pays once the
//! seeks have cost as much as the merge never pays more than twice what one who knew would have paid (the ski rental problem:
//! Karlin et al., Algorithmica 3, 1988). LevelDB and Pebble compact on reads as well.
//!
//! 1. A seek costs as much as merging `seek_bytes`.
//! 2. The runs of level 0 overlap, so they are weighed together: all seeks in them against their bytes and what they meet.
//! 3. Below, each table is weighed alone, so that what is read goes down and what is not stays.
//! 4. Outputs begin without seeks, and the last level has nowhere to go: each merge was paid for, and without reads there is none.

use crate::view::hull_of;
use crate::{
    Candidate, LevelView, Movement, Pressure, Seed, TableStats, Target, TreeView, Trigger,
};
use nori_kv::Reason;
use std::sync::Arc;

/// When the seeks in level 0 or in a table have cost as much as merging it down would, and which table first: the one whose seeks
/// have cost the most in relation to that.
#[derive(Clone, Copy, Debug)]
pub struct SoughtTables {
    /// The bytes whose merging costs as much as one seek; zero: never.
    pub seek_bytes: u64,
}

/// What is weighed.
struct Weighed {
    seed: Seed,
    seeks: u64,
    /// What a merge would read.
    bytes: u64,
    /// Cost of the seeks for each of the merge.
    score: f64,
}

impl SoughtTables {
    /// What of `level` is due, if its data goes to `next`; what jobs are at is not.
    fn due(&self, view: &TreeView<'_>, level: usize, next: usize) -> Vec<Weighed> {
        let (Some(from), Some(to)) = (view.levels.get(level), view.levels.get(next)) else {
            return Vec::new();
        };
        if self.seek_bytes == 0 || next <= level {
            return Vec::new();
        }
        let idle: Vec<&Arc<TableStats>> =
            from.tables().filter(|table| !view.busy.has(table.id)).collect();
        let weighed: Vec<Weighed> = if level == 0 {
            vec![self.weigh(Seed::Level(0), &idle, to)]
        } else {
            let one = |table: &&Arc<TableStats>| self.weigh(Seed::Table(table.id), &[*table], to);
            idle.iter().map(one).collect()
        };
        weighed.into_iter().filter(|weighed| weighed.score >= 1.0).collect()
    }

    fn weigh(&self, seed: Seed, tables: &[&Arc<TableStats>], next: &LevelView) -> Weighed {
        let seeks: u64 = tables.iter().map(|table| table.seeks_sampled.count()).sum();
        let own: u64 = tables.iter().map(|table| table.bytes).sum();
        let hull = hull_of(tables.iter().map(|table| &table.keys));
        let met =
            hull.iter().flat_map(|hull| next.runs.iter().flat_map(|run| run.overlapping(hull)));
        let bytes = own + met.map(|table| table.bytes).sum::<u64>();
        let score = seeks.saturating_mul(self.seek_bytes) as f64 / bytes.max(1) as f64;
        Weighed { seed, seeks, bytes, score }
    }
}

impl Trigger for SoughtTables {
    fn pressures(&self, view: &TreeView<'_>, targets: &[Target]) -> Vec<Pressure> {
        let pressure = |(level, target): (usize, &Target)| {
            let due = self.due(view, level, target.next).into_iter();
            let most = due.max_by(|a, b| a.score.total_cmp(&b.score))?;
            Some(Pressure {
                level,
                next: target.next,
                range: None,
                // Not more urgent than anything else: writers wait for room, and readers for nothing.
                score: 1.0,
                why: Reason::Seeks { level: level as u8, seeks: most.seeks, bytes: most.bytes },
            })
        };
        targets.iter().enumerate().filter_map(pressure).collect()
    }
}

impl Movement for SoughtTables {
    fn rank(&mut self, view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate> {
        let due = self.due(view, pressure.level, pressure.next).into_iter();
        let mut candidates: Vec<Candidate> =
            due.map(|weighed| Candidate { seed: weighed.seed, cost: -weighed.score }).collect();
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        candidates
    }
}
