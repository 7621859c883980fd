//! What an operator asks for: a flush, a compaction of a range, rest. The first two end, however steadily others write.
//!
//! **Flush.** The active memtable is sealed; the call waits until it and all older ones are flushed, and no longer.
//!
//! **Compact.** Level by level, each once:
//!
//! 1. Flush. Runs of level 0 that are made from here on are left out of the strategy's view, and so are the levels that
//!    are done: what writers bring meanwhile is not waited for.
//! 2. Wait until nothing runs. While somebody waits for that, nothing else is started (see [`compact::schedule`]).
//! 3. Ask the strategy for a manual plan. None: the end. Else run it, and when its inputs are gone from the tree the level
//!    they came from is done. A plan that was refused when it was to be installed is made again, a few times.

use crate::core::Core;
use crate::write::seal;
use crate::{compact, flush};
use nori_env::Waited;
use nori_kv::{Error, KeyRange, Reason, Result, SeqNo};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Steps a manual compaction may take for each level: one, and two more for plans that came to nothing.
const STEPS_PER_LEVEL_MAX: usize = 3;

/// Makes everything written before the call a table.
pub(crate) fn flush(core: &Arc<Core>) -> Result<()> {
    let upto = {
        let mut order = core.order.lock();
        core.check_poison()?;
        if !order.is_empty() {
            seal(core, &mut order, Reason::Manual, 0)?;
        }
        order.last
    };
    wait_for_flushed(core, upto)
}

/// Makes every memtable that is sealed now a table, as the only work there is: compactions that are due begin when that is done,
/// for they would take processors from those who wait.
pub(crate) fn flush_sealed(core: &Arc<Core>) -> Result<()> {
    let _turn = Turn::wait(core)?;
    flush::schedule(core);
    let newest = core.super_version.load().sealed.first().map(|sealed| sealed.last);
    newest.map_or(Ok(()), |upto| wait_for_flushed(core, upto))
}

fn wait_for_flushed(core: &Core, upto: SeqNo) -> Result<()> {
    // The oldest is the last.
    wait_for(core, || {
        core.super_version.load().sealed.last().is_none_or(|oldest| oldest.last > upto)
    })
}

/// Compacts what was in `range` before the call into as few runs as the strategy's shape has.
pub(crate) fn compact(core: &Arc<Core>, range: &KeyRange) -> Result<()> {
    flush(core)?;
    let scope = compact::Scope {
        range: range.clone(),
        run_end: core.next_number.load(Ordering::Relaxed),
        level_first: 0,
    };
    let (mut scope, levels) = (scope, core.tree.lock().version.levels.len());
    for _ in 0..levels * STEPS_PER_LEVEL_MAX {
        let turn = Turn::wait(core)?;
        let started = compact::start_manual(core, &scope)?;
        drop(turn);
        let Some(step) = started else { return core.check_poison() };
        let is_over =
            || core.tree.lock().version.tables().all(|table| table.number() != step.table);
        wait_for(core, || is_over() || !compact::is_running(core, step.job))?;
        if step.is_done_at_once || is_over() {
            scope.level_first = step.level + 1;
        }
    }
    Err(Error::Busy { what: "the steps of the compaction came to nothing each time".to_owned() })
}

/// Waits until no memtable waits for its flush and no job runs: what ends looks for more before it goes, so then nothing
/// is due either, unless the store stands in line for it. Whoever writes meanwhile is waited for as well.
pub(crate) fn settle(core: &Arc<Core>) -> Result<()> {
    let is_at_rest = || core.jobs.is_idle() && core.super_version.load().sealed.is_empty();
    wait_for(core, || is_at_rest() && !core.is_in_line())
}

/// The right to start the next compaction, while nothing runs.
struct Turn<'a> {
    core: &'a Arc<Core>,
}

impl<'a> Turn<'a> {
    fn wait(core: &'a Arc<Core>) -> Result<Self> {
        core.turns_wanted.fetch_add(1, Ordering::SeqCst);
        let turn = Self { core };
        wait_for(core, || compact::is_idle(core))?;
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.turns_wanted.fetch_sub(1, Ordering::SeqCst);
        compact::schedule(self.core);
    }
}

/// Waits until `is_over`, which changes only when a job ends or writing does.
fn wait_for(core: &Core, is_over: impl Fn() -> bool) -> Result<()> {
    loop {
        let progress = core.jobs.progress();
        core.check_poison()?;
        if is_over() {
            return Ok(());
        }
        if core.parts.tasks.wait(&progress) == Waited::Stuck {
            return Err(Error::Busy { what: "waiting for a job that cannot end".to_owned() });
        }
    }
}
