//! The edit that a plan makes: inputs leave the tree, outputs enter it.

use crate::{LevelView, Plan, PlanKind, RunId, RunPlace, RunView, TableId, TableStats};
use std::sync::Arc;

/// The levels after `plan` was run and wrote `outputs` (in order of keys; for a move, the inputs).
///
/// 1. All inputs leave their runs; a run without tables leaves its level.
/// 2. Outputs go into the run that the plan names. A new run, which is called `new_run`, takes the place
///    of the newest input of its level, or is the newest run if no input comes from there. So
///    does a run that the plan names and that is gone.
/// 3. Without outputs nothing else happens.
///
/// The edit is only right for a plan that [`crate::validate_install`] accepts.
pub fn apply(
    levels: &[LevelView],
    plan: &Plan,
    outputs: &[Arc<TableStats>],
    new_run: RunId,
) -> Vec<LevelView> {
    let leaves = |table: &Arc<TableStats>| plan.inputs.contains(&table.id);
    let mut after: Vec<LevelView> = Vec::with_capacity(levels.len());
    let mut place_of_new = 0;
    for (at, level) in levels.iter().enumerate() {
        let mut runs: Vec<RunView> = Vec::with_capacity(level.runs.len() + 1);
        let mut has_input = false;
        for run in &level.runs {
            if at == plan.out.level && !has_input && run.tables.iter().any(leaves) {
                (has_input, place_of_new) = (true, runs.len());
            }
            let stays_named = at == plan.out.level && plan.out.run == RunPlace::Into(run.id);
            let tables: Vec<_> =
                run.tables.iter().filter(|table| !leaves(table)).cloned().collect();
            // The run that outputs go into stays for the moment, even if it is empty now.
            if !tables.is_empty() || stays_named {
                runs.push(RunView { id: run.id, tables });
            }
        }
        after.push(LevelView { runs });
    }
    insert_outputs(&mut after[plan.out.level], plan, outputs, new_run, place_of_new);
    after[plan.out.level].runs.retain(|run| !run.tables.is_empty());
    after
}

fn insert_outputs(
    level: &mut LevelView,
    plan: &Plan,
    outputs: &[Arc<TableStats>],
    new_run: RunId,
    place_of_new: usize,
) {
    if outputs.is_empty() || matches!(plan.kind, PlanKind::Drop(_)) {
        return;
    }
    if let RunPlace::Into(id) = plan.out.run
        && let Some(run) = level.runs.iter_mut().find(|run| run.id == id)
    {
        run.tables.extend(outputs.iter().cloned());
        run.tables.sort_by(|a, b| a.keys.min.cmp(&b.keys.min));
        return;
    }
    let mut tables = outputs.to_vec();
    tables.sort_by(|a, b| a.keys.min.cmp(&b.keys.min));
    level.runs.insert(place_of_new, RunView { id: new_run, tables });
}

/// Where a table is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'v> {
    pub(crate) level: usize,
    /// The place of its run in the level, 0 for the newest.
    pub(crate) run: usize,
    pub(crate) run_id: RunId,
    pub(crate) table: &'v Arc<TableStats>,
}

impl Located<'_> {
    /// The smaller, the sooner it is probed.
    pub(crate) fn probe_order(&self) -> (usize, usize) {
        (self.level, self.run)
    }
}

/// Every table of the tree with its place, in probe order.
pub(crate) fn located(levels: &[LevelView]) -> impl Iterator<Item = Located<'_>> {
    levels.iter().enumerate().flat_map(|(level, view)| {
        view.runs.iter().enumerate().flat_map(move |(run, view)| {
            view.tables.iter().map(move |table| Located { level, run, run_id: view.id, table })
        })
    })
}

/// The tables of `ids` with their places; an id that is not in the tree is left out.
pub(crate) fn located_of<'v>(levels: &'v [LevelView], ids: &[TableId]) -> Vec<Located<'v>> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    located(levels).filter(|found| ids.binary_search(&found.table.id).is_ok()).collect()
}
