//! The rules that keep a tree whole, whatever a strategy plans.
//!
//! A plan is checked against the tree when it is made and, with its outputs, when it is installed:
//!
//! 1. Its inputs are in the tree, once, and idle; its output level and run exist, now and once the running jobs are
//!    installed; data does not go up.
//! 2. **Order**: of two tables that overlap on keys, of which one is an input and one stays, the one
//!    that is probed first now is probed first afterwards. It is checked in the tree as it is and in the
//!    tree as it will be once the running jobs are installed, so that the order in which jobs end
//!    does not matter.
//! 3. **Runs**: outputs do not overlap what stays in their run, nor what a running job will write there.
//! 4. Forgetting: `Drop(Expired)` takes whole runs, and the oldest of the store; `Drop(Covered)` needs a
//!    newer table with range tombstones over all keys of the input, older than every snapshot.
//! 5. **Progress**: no plan leaves the tree as it is. In particular, a rewrite that only could
//!    drop what a snapshot or an older table still pins is refused: it would be planned again for ever.
//!
//! What may be dropped inside a merge is the compactor's decision, entry by entry; [`older_beneath`]
//! tells it where older versions can still be.
//!
//! Metadata cannot prove everything. That a range tombstone really covers a dropped table, and that
//! outputs hold what the inputs held, is for the compactor.

use crate::apply::{Located, located, located_of};
use crate::view::hull_of;
use crate::{
    BusyJob, DropWhy, KeySpan, LevelView, Plan, PlanKind, Refusal, RunId, RunPlace, TableStats,
    TreeView, apply,
};
use nori_kv::{Reason, SeqNo};
use std::sync::Arc;

/// Whether `plan` may run beside the jobs in `view.busy`.
pub fn validate(view: &TreeView<'_>, plan: &Plan) -> Result<(), Refusal> {
    let inputs = check_inputs(view, plan)?;
    let hull = hull_of(inputs.iter().map(|input| &input.table.keys)).ok_or(Refusal::NoInputs)?;
    check_order(view.levels, plan, &inputs, &hull)?;
    if !view.busy.is_empty() {
        let later = as_if_installed(view);
        check_run(&later, plan)?;
        let inputs = located_of(&later, &plan.inputs);
        check_order(&later, plan, &inputs, &hull)?;
        check_busy_outputs(view, plan, &hull)?;
    }
    check_drop(view, plan, &inputs)?;
    check_progress(view, plan, &inputs)?;
    check_room(view, plan, &inputs)
}

/// Whether `outputs` of `plan`, in order of keys, may be installed in the tree as it is now. `view.busy` is
/// without the job that made them ([`crate::Busy::without`]).
///
/// The tree may have changed since the plan was made: flushes came, other jobs were installed.
pub fn validate_install(
    view: &TreeView<'_>,
    plan: &Plan,
    outputs: &[Arc<TableStats>],
) -> Result<(), Refusal> {
    let inputs = check_inputs(view, plan)?;
    let hull = hull_of(inputs.iter().map(|input| &input.table.keys)).ok_or(Refusal::NoInputs)?;
    check_order(view.levels, plan, &inputs, &hull)?;
    check_drop(view, plan, &inputs)?;
    check_outputs(plan, &inputs, &hull, outputs)
}

/// The spans of all tables that may hold older versions of the keys of `plan`'s inputs than the inputs
/// do: a tombstone for a key in one of them must be kept, as must one that a snapshot does not see.
pub fn older_beneath(view: &TreeView<'_>, plan: &Plan) -> Vec<KeySpan> {
    let inputs = located_of(view.levels, &plan.inputs);
    // The order of the newest input counts: what is between two inputs is older than one of them.
    let Some(newest) = inputs.iter().map(Located::probe_order).min() else { return Vec::new() };
    let Some(hull) = hull_of(inputs.iter().map(|input| &input.table.keys)) else {
        return Vec::new();
    };
    let stay = located(view.levels).filter(|other| !plan.inputs.contains(&other.table.id));
    let older =
        stay.filter(|other| other.probe_order() > newest && other.table.keys.overlaps(&hull));
    let mut spans: Vec<KeySpan> = older.map(|other| other.table.keys.clone()).collect();
    // What running jobs write lies inside the hull of what they read, gaps included.
    let outputs = view.busy.jobs().map(|(_, job)| job).filter(|job| job.plan.inputs != plan.inputs);
    spans.extend(outputs.map(|job| &job.keys).filter(|keys| keys.overlaps(&hull)).cloned());
    spans
}

fn check_inputs<'v>(view: &TreeView<'v>, plan: &Plan) -> Result<Vec<Located<'v>>, Refusal> {
    let mut ids = plan.inputs.clone();
    ids.sort_unstable();
    if ids.is_empty() {
        return Err(Refusal::NoInputs);
    }
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Refusal::RepeatedTable(pair[0]));
    }
    if let Some(busy) = ids.iter().find(|id| view.busy.has(**id)) {
        return Err(Refusal::BusyTable(*busy));
    }
    if plan.out.level >= view.levels.len() {
        return Err(Refusal::UnknownLevel(plan.out.level));
    }
    let inputs = located_of(view.levels, &ids);
    if let Some(missing) = ids.iter().find(|id| inputs.iter().all(|input| input.table.id != **id)) {
        return Err(Refusal::UnknownTable(*missing));
    }
    for input in &inputs {
        if input.level > plan.out.level {
            return Err(Refusal::GoesUp(input.table.id));
        }
        if plan.range.as_ref().is_some_and(|range| !input.table.keys.is_within(range)) {
            return Err(Refusal::OutsideRange(input.table.id));
        }
    }
    check_run(view.levels, plan)?;
    Ok(inputs)
}

/// Whether the run that takes the outputs is in its level; in a level without runs it will be the first.
fn check_run(levels: &[LevelView], plan: &Plan) -> Result<(), Refusal> {
    let out = levels.get(plan.out.level).ok_or(Refusal::UnknownLevel(plan.out.level))?;
    match plan.out.run {
        RunPlace::Into(id) if !out.runs.is_empty() && out.runs.iter().all(|run| run.id != id) => {
            Err(Refusal::UnknownRun)
        }
        _ => Ok(()),
    }
}

/// Rules 2 and 3 for what stays in the tree.
fn check_order(
    levels: &[LevelView],
    plan: &Plan,
    inputs: &[Located<'_>],
    hull: &KeySpan,
) -> Result<(), Refusal> {
    if matches!(plan.kind, PlanKind::Drop(_)) {
        return Ok(());
    }
    if plan.kind == PlanKind::Move {
        check_moved(inputs)?;
    }
    let out_place = place_after(levels, plan);
    for other in located(levels) {
        if plan.inputs.contains(&other.table.id) || !other.table.keys.overlaps(hull) {
            continue;
        }
        let other_place = (other.level, 2 * other.run + 1);
        let overlaps_output = match plan.kind {
            // Moved tables keep their bounds; merged ones may fill the gaps between the inputs.
            PlanKind::Move => inputs.iter().any(|i| i.table.keys.overlaps(&other.table.keys)),
            _ => true,
        };
        if other_place == out_place && overlaps_output {
            return Err(Refusal::OverlapInRun(other.table.id));
        }
        for input in inputs.iter().filter(|i| i.table.keys.overlaps(&other.table.keys)) {
            let input_first = input.probe_order() < other.probe_order();
            if input_first != (out_place < other_place) {
                let (newer, older) = if input_first { (input, &other) } else { (&other, input) };
                return Err(Refusal::OlderFirst { newer: newer.table.id, older: older.table.id });
            }
        }
    }
    Ok(())
}

/// Where outputs will be: the level, and on a scale on which run `r` is at `2 r + 1` and a new run
/// before it at `2 r`.
fn place_after(levels: &[LevelView], plan: &Plan) -> (usize, usize) {
    let runs = levels.get(plan.out.level).map(|level| level.runs.as_slice()).unwrap_or_default();
    let newest_input =
        runs.iter().position(|run| run.tables.iter().any(|t| plan.inputs.contains(&t.id)));
    let named = match plan.out.run {
        RunPlace::Into(id) => runs.iter().position(|run| run.id == id),
        RunPlace::New => None,
    };
    let half_run = match (named, newest_input) {
        (Some(named), _) => 2 * named + 1,
        (None, Some(newest)) => 2 * newest,
        (None, None) => 0,
    };
    (plan.out.level, half_run)
}

/// Moved tables are not merged, so they must not overlap each other.
fn check_moved(inputs: &[Located<'_>]) -> Result<(), Refusal> {
    let mut tables: Vec<&Arc<TableStats>> = inputs.iter().map(|input| input.table).collect();
    tables.sort_by(|a, b| a.keys.min.cmp(&b.keys.min));
    match tables.windows(2).find(|pair| !pair[0].keys.is_before(&pair[1].keys)) {
        Some(pair) => Err(Refusal::OverlapInRun(pair[1].id)),
        None => Ok(()),
    }
}

/// The tree as it will be when every running job is installed, its outputs being one table that fills
/// the hull of its inputs.
fn as_if_installed(view: &TreeView<'_>) -> Vec<LevelView> {
    let mut levels = view.levels.to_vec();
    for (job, busy) in view.busy.jobs() {
        let inputs = located_of(&levels, &busy.plan.inputs);
        let outputs: Vec<Arc<TableStats>> = match busy.plan.kind {
            PlanKind::Move => inputs.iter().map(|input| Arc::clone(input.table)).collect(),
            PlanKind::Drop(_) => Vec::new(),
            PlanKind::Merge | PlanKind::Rewrite => {
                let Some(first) = inputs.first() else { continue };
                let mut whole = TableStats::clone(first.table);
                whole.keys = busy.keys.clone();
                vec![Arc::new(whole)]
            }
        };
        // The name cannot meet that of a real run: those are counted up from zero.
        levels = apply(&levels, &busy.plan, &outputs, RunId(u64::MAX - job.0));
    }
    levels
}

/// Rule 3 for what running jobs will write: which of two new runs is the newer one would depend on
/// which job ends first.
fn check_busy_outputs(view: &TreeView<'_>, plan: &Plan, hull: &KeySpan) -> Result<(), Refusal> {
    let to_same_keys = |job: &BusyJob| {
        job.plan.out.level == plan.out.level
            && !matches!(job.plan.kind, PlanKind::Drop(_))
            && job.keys.overlaps(hull)
    };
    if view.busy.jobs().any(|(_, job)| to_same_keys(job)) {
        return Err(Refusal::BusyOutput(plan.out.level));
    }
    Ok(())
}

/// Rule 4.
fn check_drop(view: &TreeView<'_>, plan: &Plan, inputs: &[Located<'_>]) -> Result<(), Refusal> {
    let PlanKind::Drop(why) = plan.kind else { return Ok(()) };
    let stay = || located(view.levels).filter(|other| !plan.inputs.contains(&other.table.id));
    for input in inputs {
        let is_allowed = match why {
            DropWhy::Expired => stay().all(|other| other.probe_order() < input.probe_order()),
            DropWhy::Covered => stay().any(|other| {
                other.probe_order() < input.probe_order()
                    && other.table.range_tombstones > 0
                    && other.table.keys.covers(&input.table.keys)
                    && is_seen_by_all(view, other.table.seqno_min)
                    && other.table.seqno_max > input.table.seqno_max
            }),
        };
        if !is_allowed {
            return Err(match why {
                DropWhy::Expired => Refusal::NotExpired(input.table.id),
                DropWhy::Covered => Refusal::NotCovered(input.table.id),
            });
        }
    }
    Ok(())
}

/// Whether no snapshot is older than `seqno`.
fn is_seen_by_all(view: &TreeView<'_>, seqno: SeqNo) -> bool {
    view.snapshots.first().is_none_or(|oldest| seqno <= *oldest)
}

/// Rule 5.
fn check_progress(view: &TreeView<'_>, plan: &Plan, inputs: &[Located<'_>]) -> Result<(), Refusal> {
    let goes_down = inputs.iter().any(|input| input.level < plan.out.level);
    let mut runs: Vec<_> = inputs.iter().map(|input| input.run_id).collect();
    runs.sort_unstable();
    runs.dedup();
    let progresses = match plan.kind {
        PlanKind::Drop(_) => true,
        PlanKind::Move => goes_down,
        // The number of runs or of tables shrinks, or data comes closer to the last level.
        PlanKind::Merge => goes_down || runs.len() > 1 || makes_fewer_tables(plan, inputs),
        PlanKind::Rewrite => plan.why == Reason::Manual || can_drop(view, plan, inputs),
    };
    if progresses { Ok(()) } else { Err(Refusal::NoProgress) }
}

/// Whether a merge cuts its outputs so that there are fewer of them than inputs: every one but the last has the target's bytes.
fn makes_fewer_tables(plan: &Plan, inputs: &[Located<'_>]) -> bool {
    let bytes: u64 = inputs.iter().map(|input| input.table.bytes).sum();
    let full = bytes.checked_div(plan.cuts.table_bytes_target).unwrap_or(0);
    inputs.len() as u64 > full + plan.cuts.before.len() as u64 + 1
}

/// Whether rewriting the inputs in their place can make anything disappear.
fn can_drop(view: &TreeView<'_>, plan: &Plan, inputs: &[Located<'_>]) -> bool {
    let older = older_beneath(view, plan);
    inputs.iter().any(|input| {
        let table = input.table;
        let has_dead = table.tombstones + table.range_tombstones + table.shadowed_bytes > 0;
        // The oldest entries are those that all readers have passed first.
        has_dead
            && is_seen_by_all(view, table.seqno_min)
            && !older.iter().any(|span| span.covers(&table.keys))
    })
}

fn check_room(view: &TreeView<'_>, plan: &Plan, inputs: &[Located<'_>]) -> Result<(), Refusal> {
    if !matches!(plan.kind, PlanKind::Merge | PlanKind::Rewrite) {
        return Ok(());
    }
    let Some(free_bytes) = view.disk_free else { return Ok(()) };
    // What running jobs still write is not yet gone from the free bytes.
    let promised: u64 = view.busy.jobs().map(|(_, job)| job.bytes).sum();
    let needed_bytes = promised + inputs.iter().map(|input| input.table.bytes).sum::<u64>();
    if needed_bytes > free_bytes {
        Err(Refusal::NoRoom { needed_bytes, free_bytes })
    } else {
        Ok(())
    }
}

fn check_outputs(
    plan: &Plan,
    inputs: &[Located<'_>],
    hull: &KeySpan,
    outputs: &[Arc<TableStats>],
) -> Result<(), Refusal> {
    let wrong = |what| Err(Refusal::WrongOutputs(what));
    match plan.kind {
        PlanKind::Drop(_) if !outputs.is_empty() => return wrong("a drop has none"),
        PlanKind::Move => {
            let is_input = |out: &Arc<TableStats>| inputs.iter().any(|i| i.table.id == out.id);
            if outputs.len() != inputs.len() || !outputs.iter().all(is_input) {
                return wrong("a move has its inputs as outputs");
            }
        }
        _ => {}
    }
    if !outputs.windows(2).all(|pair| pair[0].keys.is_before(&pair[1].keys)) {
        return wrong("they overlap or are out of order");
    }
    if !outputs.iter().all(|output| hull.covers(&output.keys)) {
        return wrong("they hold keys that no input held");
    }
    let newest = inputs.iter().map(|input| input.table.seqno_max).max();
    if outputs.iter().any(|output| Some(output.seqno_max) > newest) {
        return wrong("they hold entries newer than any input");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
