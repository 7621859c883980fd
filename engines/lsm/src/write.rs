//! The write path.
//!
//! 1. The brake holds up the writer if the tree is behind.
//! 2. Under the lock of the order: a full memtable is sealed, sequence numbers are taken, the batch is appended to the log.
//!    Sequence numbers and log positions grow together, so that a replay yields a prefix.
//! 3. Outside the lock the operations are inserted into the memtable.
//! 4. Under `sync` the writer waits until the log is safe up to its position; writers share one sync.
//! 5. The batch becomes visible after all before it.
//!
//! A failed append or sync ends writing: what the log holds is unknown until it is replayed.

use crate::core::{Core, WriteOrder};
use crate::flush;
use crate::jobs::Jobs;
use crate::mem::{Mem, Sealed};
use crate::read::SuperVersion;
use nori_env::{Class, Durability, Job, Signal, Slice, Step};
use nori_kv::{Error, Reason, Result, SeqNo, WriteBatch};
use nori_wal::{Position, SyncCall};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(crate) type Order<'a> = MutexGuard<'a, WriteOrder>;

/// A batch's place in the order of writes.
struct Taken {
    first: SeqNo,
    last: SeqNo,
    position: Position,
    mem: Arc<Mem>,
}

/// The longest batch: a log segment of its own stays below 4 GiB.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Applies a batch.
pub(crate) fn write(core: &Arc<Core>, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
    core.check_poison()?;
    if batch.is_empty() {
        return Ok(core.order.lock().last);
    }
    check_size(batch)?;
    if core.shared.is_some() && durability != Durability::None {
        let what = "a durability above none without a log";
        return Err(Error::Unsupported { engine: crate::engine::NAME, what });
    }
    core.throttle(batch.payload_bytes())?;
    let taken = take(core, batch)?;
    insert(&taken, batch);
    match durability {
        Durability::None | Durability::Os => {}
        Durability::Group { max_age } => {
            core.group_promised.fetch_max(taken.position, Ordering::SeqCst);
            sync_soon(core, max_age);
        }
        Durability::Sync => {
            if let Some(wal) = core.wal()? {
                wal.sync(taken.position).map_err(|error| core.log_failed(error))?;
            }
        }
    }
    core.publisher.publish(taken.first, taken.last, &*core.parts.tasks)?;
    count(core, batch);
    Ok(taken.last)
}

/// Takes note of a batch that is visible.
pub(crate) fn count(core: &Arc<Core>, batch: &WriteBatch) {
    core.counters.writes.add(batch.len() as u64);
    core.counters.user_bytes_in.add(batch.payload_bytes());
    core.charge();
}

pub(crate) fn check_size(batch: &WriteBatch) -> Result<()> {
    let bytes = batch.encoded().len();
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::Invalid {
            what: format!("a batch of {bytes} bytes exceeds {BATCH_BYTES_MAX}"),
        });
    }
    Ok(())
}

fn take(core: &Arc<Core>, batch: &WriteBatch) -> Result<Taken> {
    let (payload, wal) = (batch.encoded(), core.wal()?);
    let mut order = core.order.lock();
    loop {
        core.check_poison()?;
        let mem = &order.active;
        let why = if mem.bytes() >= core.settings.memtable_bytes {
            Reason::MemtableFull
        } else if wal.is_some_and(|wal| !wal.fits(payload.len())) {
            Reason::SegmentFull
        } else {
            break;
        };
        if mem.is_empty() {
            // A batch larger than a segment gets one of its own length.
            break;
        }
        if has_room_to_seal(core) {
            seal(core, &mut order, why, payload.len())?;
            break;
        }
        drop(order);
        core.stop(why, || has_room_to_seal(core))?;
        order = core.order.lock();
    }
    let first = order.last.plus(1);
    let last = order.last.plus(batch.len() as u64);
    let position = match wal {
        None => 0,
        Some(wal) => {
            let appended = wal.append(first.value(), batch.len() as u32, payload);
            appended.map_err(|error| core.log_failed(error))?
        }
    };
    order.last = last;
    Ok(Taken { first, last, position, mem: Arc::clone(&order.active) })
}

fn insert(taken: &Taken, batch: &WriteBatch) {
    taken.mem.insert(batch, taken.first);
}

pub(crate) fn has_room_to_seal(core: &Core) -> bool {
    core.super_version.load().sealed.len() < core.settings.memtables_sealed_max
}

/// Has a batch take its numbers, go into `active` and become visible, under the lock of the order: for whoever is the only writer.
pub(crate) fn take_alone(
    core: &Core,
    last: &mut SeqNo,
    active: &Mem,
    batch: &WriteBatch,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let first = last.plus(1);
    *last = last.plus(batch.len() as u64);
    active.insert(batch, first);
    core.publisher.publish(first, *last, &*core.parts.tasks)
}

/// Seals the active memtable, with the tail of the last entry in it, and begins the next, in a log segment with room for
/// `payload_bytes`.
pub(crate) fn seal(
    core: &Arc<Core>,
    order: &mut Order<'_>,
    why: Reason,
    payload_bytes: usize,
) -> Result<()> {
    let next_segment = match core.wal()? {
        None => None,
        Some(wal) => {
            let rotated = wal.rotate(payload_bytes);
            Some(rotated.map_err(|error| core.log_failed(error))?)
        }
    };
    if order.is_tail_new {
        let WriteOrder { last, tail, active, is_tail_new, .. } = &mut **order;
        take_alone(core, last, active, tail)?;
        *is_tail_new = false;
    }
    let active = Mem::new(&*core.components.memtable);
    let mem = std::mem::replace(&mut order.active, Arc::clone(&active));
    let sealed = match next_segment {
        None => Sealed::of_entries(mem, order.last, order.applied, why),
        Some(next_segment) => Sealed::new(mem, order.last, next_segment, why),
    };
    core.super_version.rcu(|sv| {
        let mut all = Vec::with_capacity(sv.sealed.len() + 1);
        all.push(Arc::clone(&sealed));
        all.extend(sv.sealed.iter().cloned());
        SuperVersion { active: Arc::clone(&active), sealed: all, version: Arc::clone(&sv.version) }
    });
    core.weigh_memory();
    flush::schedule(core);
    Ok(())
}

/// Sees to it that the log is synced within `max_age`.
fn sync_soon(core: &Arc<Core>, max_age: Duration) {
    let due = core.parts.clock.now().after(max_age);
    // One job serves every writer whose time is not before its own.
    if core.group_due.fetch_min(due.nanos, Ordering::SeqCst) <= due.nanos {
        return;
    }
    let alarm = core.parts.tasks.alarm(due);
    let job = GroupSync {
        jobs: Arc::clone(&core.jobs),
        core: Arc::downgrade(core),
        due: due.nanos,
        wait: Some(alarm),
        call: None,
    };
    core.parts.tasks.submit(Class::Log, Box::new(job));
}

/// No group write waits for its sync.
pub(crate) const NOT_DUE: u64 = u64::MAX;

/// Waits for its time, then syncs everything appended until then.
struct GroupSync {
    jobs: Arc<Jobs>,
    /// Weak: a store that closes syncs by itself and need not wait for the alarm.
    core: Weak<Core>,
    due: u64,
    wait: Option<Signal>,
    call: Option<(Position, SyncCall)>,
}

impl Job for GroupSync {
    fn step(&mut self, _: &Slice) -> Step {
        if let Some(alarm) = self.wait.take() {
            return Step::Wait(alarm);
        }
        // Whoever closes the store waits for the token, so that this is never the last to hold the store, and its lock.
        // The token is let go after the store: it was taken before.
        let _token = self.jobs.begin();
        if self.jobs.is_closing() {
            return Step::Done;
        }
        let Some(core) = self.core.upgrade() else { return Step::Done };
        let Ok(Some(wal)) = core.wal() else { return Step::Done };
        let (position, call) = self.call.get_or_insert_with(|| {
            // Cleared first: a write that is appended after the look at the tail arms the next job.
            // A job that a more urgent one overtook clears nothing, and syncs once more than needed.
            let cleared = (Ordering::SeqCst, Ordering::SeqCst);
            let _ = core.group_due.compare_exchange(self.due, NOT_DUE, cleared.0, cleared.1);
            (wal.tail().1, SyncCall::default())
        });
        match wal.poll_sync(*position, call) {
            Ok(None) => Step::Done,
            Ok(Some(signal)) => Step::Wait(signal),
            Err(error) => {
                core.log_failed(error);
                Step::Done
            }
        }
    }
}
