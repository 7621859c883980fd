//! Small tables of a run are merged with their neighbours, in their place.
//!
//! A trivial move brings a table down as it is, however small it is, and the last table of a merge is what was left. Each costs a file,
//! an opening, a handle, an index and a filter, for as long as nothing overlaps it: with ascending keys, for ever.
//!
//! 1. A table is *small* below an eighth of the target. A memtable has a quarter or more wherever a budget of 4 MiB or more is split, so
//!    what is loaded in order is moved and not rewritten, unless a small budget meets rows that compress well: then it is written once more.
//! 2. Of neighbours that are small and idle, those are gathered of which the largest has at most a quarter of the bytes of all;
//!    as many as make one table of the target at most.
//! 3. Where the largest has more, no group with it in it can be gathered, and the tables on either side are looked at by themselves.
//!
//! **Cost.** Each merge puts every byte into a table of at least four times the size, so a byte is rewritten at most
//! `log4(target / size of its flush)` times before its table is not small any more: 4 times for 400 flushes of one row. That holds where an
//! output is as large as its inputs; where it is smaller, because files have more than rows in them, bytes vanish and the rest is cheaper:
//! the sum of `bytes * log4(target / bytes)` over all tables falls with each merge by no less than the merge writes.
//!
//! **What stays.** Flushes of one size with ascending or descending keys leave at most three tables of each of `log4(flushes)` sizes. In
//! any order and of any size, those that cannot be gathered lie on both sides of the largest, which has more than a quarter of them, and so
//! on on each side: of neighbours that together are `s` times the least of them fewer than `2 * s^0.71` stay, for `2 * (3/8)^0.71 = 1`.
//! Between such neighbours lie tables that are not small: at most eight for each `target` bytes.

use crate::{
    Candidate, Extent, Granularity, Movement, Place, Pressure, RunPlace, Seed, TableStats, Target,
    TreeView, Trigger,
};
use nori_kv::Reason;
use std::sync::Arc;

/// Small is what has less than this part of the target.
const PARTS_PER_TARGET: u64 = 8;
/// How many times larger than the largest of its inputs a gathered table is, at least.
const GROWTH: u64 = 4;

/// When small tables have gathered in a run, and which of them become one.
#[derive(Clone, Copy, Debug)]
pub struct SmallTables {
    /// The size at which output tables are cut, in bytes.
    pub table_bytes_target: u64,
}

type Tables = [Arc<TableStats>];

impl SmallTables {
    /// What of `level` is due: neighbours of one run each, disjoint.
    fn due<'v>(&self, view: &TreeView<'v>, level: usize) -> Vec<&'v Tables> {
        let mut groups = Vec::new();
        let is_out = |table: &Arc<TableStats>| {
            table.bytes.saturating_mul(PARTS_PER_TARGET) >= self.table_bytes_target
                || view.busy.has(table.id)
        };
        for run in view.levels.get(level).into_iter().flat_map(|level| &level.runs) {
            run.tables.split(is_out).for_each(|small| self.gather(small, &mut groups));
        }
        groups
    }

    /// Steps 2 and 3.
    fn gather<'v>(&self, small: &'v Tables, groups: &mut Vec<&'v Tables>) {
        let largest = small.iter().enumerate().max_by_key(|(_, table)| table.bytes);
        let Some((at, largest)) = largest.filter(|_| small.len() as u64 >= GROWTH) else { return };
        let bytes: u64 = small.iter().map(|table| table.bytes).sum();
        if bytes < largest.bytes.saturating_mul(GROWTH) {
            self.gather(&small[..at], groups);
            self.gather(&small[at + 1..], groups);
            return;
        }
        let mut bytes = 0;
        let fits = |table: &&Arc<TableStats>| {
            bytes += table.bytes;
            bytes <= self.table_bytes_target
        };
        // More than seven eighths of the target if not all, and so no less than four times the largest.
        groups.push(&small[..small.iter().take_while(fits).count()]);
    }
}

impl Trigger for SmallTables {
    fn pressures(&self, view: &TreeView<'_>, targets: &[Target]) -> Vec<Pressure> {
        let pressure = |level: usize| {
            let most = self.due(view, level).into_iter().map(<[_]>::len).max()?;
            Some(Pressure {
                level,
                next: level,
                range: None,
                // Not more urgent than anything else: nobody waits for it.
                score: 1.0,
                why: Reason::SmallTables { level: level as u8, tables: most as u32 },
            })
        };
        (0..targets.len()).filter_map(pressure).collect()
    }
}

impl Movement for SmallTables {
    /// The most tables first.
    fn rank(&mut self, view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate> {
        let candidate = |group: &Tables| Candidate {
            seed: Seed::Tables(group.iter().map(|table| table.id).collect()),
            cost: -(group.len() as f64),
        };
        let mut candidates: Vec<_> =
            self.due(view, pressure.level).into_iter().map(candidate).collect();
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        candidates
    }
}

impl Granularity for SmallTables {
    /// The tables of the seed, which are neighbours in one run, and that run.
    fn extent(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        seed: &Seed,
        _targets: &[Target],
    ) -> Option<Extent> {
        let Seed::Tables(inputs) = seed else { return None };
        let runs = &view.levels.get(pressure.level)?.runs;
        let is_input = |table: &Arc<TableStats>| inputs.contains(&table.id);
        let run = runs.iter().find(|run| run.tables.iter().any(is_input))?;
        let out = Place { level: pressure.level, run: RunPlace::Into(run.id) };
        Some(Extent { inputs: inputs.clone(), out })
    }
}

#[cfg(test)]
mod tests;
