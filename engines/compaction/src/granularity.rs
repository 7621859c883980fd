//! How much to compact at once: some tables into the run below, or whole levels into a new run.

use crate::apply::{Located, located, located_of};
use crate::layout::LazyLayout;
use crate::view::hull_of;
use crate::{
    Extent, Granularity, LevelView, Place, Pressure, RunPlace, Seed, TableId, Target, TreeView,
};
use nori_kv::KeyRange;
use std::sync::Arc;

/// The seed, and whatever has to come along so that it can be merged into the run of the next level.
///
/// 1. Start with the tables of the seed.
/// 2. Add each table of the same and deeper levels, down to the next one, that is probed after one taken
///    and overlaps the hull of those taken: left behind, it would be found before newer data. In
///    the next level the hull counts because outputs may fill it.
/// 3. Repeat until nothing is added.
///
/// Nothing, if a table that is needed is busy.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntoNextRun;

impl Granularity for IntoNextRun {
    fn extent(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        seed: &Seed,
        _targets: &[Target],
    ) -> Option<Extent> {
        let mut inputs = tables_of(view, seed);
        let next = view.levels.get(pressure.next)?;
        let within = pressure.level..=pressure.next;
        loop {
            let taken = located_of(view.levels, &inputs);
            let first = taken.iter().map(Located::probe_order).min()?;
            let hull = hull_of(taken.iter().map(|found| &found.table.keys))?;
            let left_behind = located(view.levels).filter(|other| {
                within.contains(&other.level)
                    && other.probe_order() > first
                    && other.table.keys.overlaps(&hull)
                    && !inputs.contains(&other.table.id)
            });
            let added: Vec<TableId> = left_behind.map(|other| other.table.id).collect();
            if added.is_empty() {
                break;
            }
            inputs.extend(added);
        }
        if inputs.iter().any(|id| view.busy.has(*id)) {
            return None;
        }
        let run = match next.runs.last() {
            // Within one level, what is merged is a run of its own in place of the inputs.
            Some(run) if pressure.next > pressure.level => RunPlace::Into(run.id),
            _ => RunPlace::New,
        };
        Some(Extent { inputs, out: Place { level: pressure.next, run } })
    }
}

/// All runs of the level, into one new run of the next: what tiering does.
#[derive(Clone, Copy, Debug, Default)]
pub struct LevelIntoNewRun;

impl Granularity for LevelIntoNewRun {
    fn extent(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        _seed: &Seed,
        _targets: &[Target],
    ) -> Option<Extent> {
        let level = view.levels.get(pressure.level)?;
        let inputs: Vec<TableId> = level.tables().map(|table| table.id).collect();
        if inputs.is_empty() || inputs.iter().any(|id| view.busy.has(*id)) {
            return None;
        }
        Some(Extent { inputs, out: Place { level: pressure.next, run: RunPlace::New } })
    }
}

/// What lazy leveling does: into a new run, but into *the* run where the next level is the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LazyIntoNext;

impl Granularity for LazyIntoNext {
    fn extent(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        seed: &Seed,
        targets: &[Target],
    ) -> Option<Extent> {
        if pressure.next >= LazyLayout::last(view) {
            IntoNextRun.extent(view, pressure, seed, targets)
        } else {
            LevelIntoNewRun.extent(view, pressure, seed, targets)
        }
    }
}

/// The tables that a seed names.
fn tables_of(view: &TreeView<'_>, seed: &Seed) -> Vec<TableId> {
    let level = |level: usize| view.levels.get(level).into_iter();
    match seed {
        Seed::Table(id) => vec![*id],
        Seed::Tables(ids) => ids.clone(),
        Seed::Level(at) => level(*at).flat_map(LevelView::tables).map(|t| t.id).collect(),
        Seed::Runs { level: at, count } => level(*at)
            .flat_map(|held| held.runs.iter().rev().take(*count))
            .flat_map(|run| &run.tables)
            .map(|table| table.id)
            .collect(),
        Seed::Range { level: at, range } => level(*at)
            .flat_map(LevelView::tables)
            .filter(|table| is_in(table, range))
            .map(|table| table.id)
            .collect(),
    }
}

/// Whether the table holds keys of `range`.
pub(crate) fn is_in(table: &Arc<crate::TableStats>, range: &KeyRange) -> bool {
    let keys = &table.keys;
    let starts_after_end = keys.max_excluded && *keys.max <= *range.start;
    range.overlaps(&keys.min, &keys.max) && !starts_after_end
}
