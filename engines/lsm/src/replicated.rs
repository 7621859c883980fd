//! Entries of a replicated log, applied to a store that has no log of its own.
//!
//! **Apply.** Nobody waits:
//!
//! 1. Where a writer would be held up (a brake of the tree, no room for another sealed memtable, the shared budget used up), the answer
//!    is a signal that fires when that may be over, and nothing has changed.
//! 2. Under the lock of the order the operations take their numbers, go into the memtable, and become visible. Whoever applies is
//!    alone, so there is nobody to share the lock with.
//! 3. The entry's place and its tail are noted in the order. When a memtable is sealed the tail goes into it, if it is new, and it takes
//!    that place along, and the edit that installs its tables says it: a crash leaves exactly the entries up to there, with the
//!    tail of the last.
//!
//! **Flush through.** Somebody waits for an entry to be in tables. If it is in the active memtable that is sealed; if it is in a sealed one
//! its flush is under way; if all memtables are empty and no tail is new, what came since were empty entries, and an edit without tables says so. This
//! is looked at again whenever an entry was applied or a flush has ended, as long as somebody waits.

use crate::core::{Core, WriteOrder};
use crate::edit::Edit;
use crate::install::install;
use crate::jobs::Token;
use crate::mem::Sealed;
use crate::read::SuperVersion;
use crate::write::{Order, check_size, count, has_room_to_seal, seal, take_alone};
use nori_env::{Class, Job, Signal, Slice, Step};
use nori_kv::{Applied, Error, Progress, Reason, Result, WriteBatch};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Applies an entry with its tail.
pub(crate) fn apply(
    core: &Arc<Core>,
    batch: &WriteBatch,
    tail: &WriteBatch,
    at: Applied,
) -> Result<Progress> {
    core.check_poison()?;
    check_size(batch)?;
    check_size(tail)?;
    let is_empty = batch.is_empty();
    if !is_empty && let Some(signal) = core.hold_up() {
        return Ok(Progress::Busy(signal));
    }
    let mut order = core.order.lock();
    let last = order.applied;
    if at.index <= last.index || at.term < last.term {
        return Err(Error::Invalid { what: format!("{at:?} was to be applied behind {last:?}") });
    }
    if !is_empty {
        if let Some((why, signal)) = make_room(core, &mut order)? {
            drop(order);
            core.begin_pause(why);
            // So that there is a flush whose end is worth waiting for.
            core.relieve();
            return Ok(Progress::Busy(signal));
        }
        let WriteOrder { last, active, .. } = &mut *order;
        take_alone(core, last, active, batch)?;
    }
    order.applied = at;
    if order.tail != *tail {
        order.tail.copy_from(tail);
        order.is_tail_new = !tail.is_empty();
    }
    drop(order);
    if !is_empty {
        core.end_pause();
        core.owe(batch.payload_bytes());
        count(core, batch);
        core.relieve();
    }
    flush_wanted(core);
    Ok(Progress::Done)
}

/// Sees to it that the active memtable takes another entry; why it does not, and when to try again.
fn make_room(core: &Arc<Core>, order: &mut Order<'_>) -> Result<Option<(Reason, Signal)>> {
    let is_spent = || core.shared.as_ref().is_some_and(|shared| shared.is_spent());
    if is_spent() {
        // Taken before the second look, so that what ends in between is not missed.
        let signal = core.shared.as_ref().map(|shared| shared.progress()).unwrap_or_default();
        if is_spent() {
            return Ok(Some((Reason::SharedBudget, signal)));
        }
    }
    if order.active.bytes() < core.settings.memtable_bytes || order.active.is_empty() {
        return Ok(None);
    }
    if !has_room_to_seal(core) {
        let signal = core.jobs.progress();
        if !has_room_to_seal(core) {
            return Ok(Some((Reason::MemtableFull, signal)));
        }
    }
    seal(core, order, Reason::MemtableFull, 0)?;
    Ok(None)
}

impl Core {
    /// The last entry that will be in tables once `sealed`, the oldest memtable that waits, is.
    pub(crate) fn applied_with(&self, sealed: &Arc<Sealed>) -> Applied {
        let order = self.order.lock();
        let is_last = self.super_version.load().sealed.len() == 1;
        if is_last && order.is_empty() { order.applied } else { sealed.applied }
    }
}

/// Starts what somebody waits for.
pub(crate) fn flush_wanted(core: &Arc<Core>) {
    let Some(wanted) = core.durable.wanted() else { return };
    let mut order = core.order.lock();
    if order.applied.index < wanted || core.jobs.is_closing() || core.poison.get().is_some() {
        return;
    }
    let newest = core.super_version.load().sealed.first().map(|sealed| sealed.applied.index);
    if newest.is_some_and(|newest| newest >= wanted) {
        return;
    }
    if !order.is_empty() {
        // Without room the flush that makes some looks again.
        if has_room_to_seal(core)
            && let Err(error) = seal(core, &mut order, Reason::LogRelease, 0)
        {
            drop(order);
            core.end_writing(&error);
        }
    } else if newest.is_none() {
        let note = Note { core: Arc::clone(core), _token: core.jobs.begin() };
        core.parts.tasks.submit(Class::Flush, Box::new(note));
    }
}

/// Has the manifest say how far entries without operations have come.
struct Note {
    core: Arc<Core>,
    _token: Token,
}

impl Note {
    fn install(&self) -> Result<()> {
        let core = &self.core;
        let applied = {
            let order = core.order.lock();
            let has_nothing = core.super_version.load().sealed.is_empty();
            if !has_nothing || !order.is_empty() {
                // A flush will say it.
                return Ok(());
            }
            order.applied
        };
        let mut tree = core.tree.lock();
        if tree.numbers.applied.is_some_and(|said| said >= applied) {
            return Ok(());
        }
        let edit = Edit { applied: Some(applied), ..Edit::default() };
        install(core, &mut tree, edit, &BTreeMap::new(), |sv, version| SuperVersion {
            active: Arc::clone(&sv.active),
            sealed: sv.sealed.clone(),
            version,
        })
    }
}

impl Job for Note {
    fn step(&mut self, _: &Slice) -> Step {
        if !self.core.jobs.is_closing()
            && let Err(error) = self.install()
        {
            self.core.end_writing(&error);
        }
        Step::Done
    }
}
