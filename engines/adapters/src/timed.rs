//! Syncs by the clock, for the class `group`.
//!
//! 1. A write tells that there is something to sync.
//! 2. If none is planned that comes in time, a job waits for half the age that the write may reach unsynced, then syncs. The
//!    other half is for the sync itself.
//! 3. A write that comes while a sync runs is covered by the next one.
//! 4. Closing does what is planned at once, and waits for a sync that runs: afterwards none does.

use nori_env::{Class, Clock, Job, Slice, Step, Tasks};
use nori_kv::{Parts, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// No sync is planned.
const NONE: u64 = u64::MAX;

/// What is done when the time has come.
pub(crate) type SyncFn = dyn Fn() -> Result<()> + Send + Sync;

/// Plans timed syncs.
pub(crate) struct TimedSync {
    tasks: Arc<dyn Tasks>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Held while a sync runs. Empty once closed: a job that comes later does nothing.
    sync: Mutex<Option<Box<SyncFn>>>,
    /// When the next planned sync begins, in the clock's nanoseconds; `NONE` if none is planned.
    planned: AtomicU64,
}

impl TimedSync {
    pub(crate) fn new(parts: &Parts, sync: Box<SyncFn>) -> Self {
        let shared =
            Arc::new(Shared { sync: Mutex::new(Some(sync)), planned: AtomicU64::new(NONE) });
        Self { tasks: Arc::clone(&parts.tasks), clock: Arc::clone(&parts.clock), shared }
    }

    /// Something was written that must be synced within `max_age`.
    pub(crate) fn within(&self, max_age: Duration) {
        let due = self.clock.now().after(max_age / 2);
        if self.shared.planned.fetch_min(due.nanos, Ordering::AcqRel) <= due.nanos {
            return;
        }
        let due = self.tasks.alarm(due);
        let job = SyncJob { due: Some(due), shared: Arc::clone(&self.shared) };
        self.tasks.submit(Class::Log, Box::new(job));
    }

    /// Syncs now if a sync is planned, and ends. A failure ends writing inside the sync.
    pub(crate) fn close(&self) {
        let sync = self.shared.sync.lock().take();
        if let Some(sync) = sync.filter(|_| self.shared.planned.load(Ordering::Acquire) != NONE) {
            let _ = sync();
        }
    }
}

struct SyncJob {
    due: Option<nori_env::Signal>,
    shared: Arc<Shared>,
}

impl Job for SyncJob {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some(due) = self.due.take() {
            return Step::Wait(due);
        }
        // Cleared first: what is written while the sync runs plans the next one.
        self.shared.planned.store(NONE, Ordering::Release);
        if let Some(sync) = &*self.shared.sync.lock() {
            // A failure ends writing inside `sync`; nobody waits here for it.
            let _ = sync();
        }
        Step::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_env::{ManualClock, MemFs, SeededEntropy, SeededTasks};

    #[test]
    fn closing_does_what_is_planned_and_nothing_runs_afterwards() {
        let clock = ManualClock::default();
        let parts = Parts {
            fs: Arc::new(MemFs::new()),
            tasks: Arc::new(SeededTasks::new(1, clock.clone())),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            meter: Arc::new(nori_observe::NullMeter),
        };
        let syncs = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&syncs);
        let sync = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let timed = TimedSync::new(&parts, Box::new(sync));
        timed.within(Duration::from_millis(5));
        timed.close();
        assert_eq!(syncs.load(Ordering::Relaxed), 1);
        let late = parts.tasks.alarm(clock.now().after(Duration::from_millis(50)));
        let _ = parts.tasks.wait(&late);
        timed.close();
        assert_eq!(syncs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn many_writes_share_a_sync_that_comes_in_time() {
        let clock = ManualClock::default();
        let tasks = SeededTasks::new(1, clock.clone());
        let parts = Parts {
            fs: Arc::new(MemFs::new()),
            tasks: Arc::new(tasks.clone()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            meter: Arc::new(nori_observe::NullMeter),
        };
        let syncs = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&syncs);
        let timed = TimedSync::new(
            &parts,
            Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }),
        );
        for round in 1..=3 {
            let before = clock.now();
            for _ in 0..10 {
                timed.within(Duration::from_millis(5));
            }
            // Waiting for an alarm beyond the age lets the simulation run whatever is due before.
            let late = parts.tasks.alarm(before.after(Duration::from_millis(5)));
            let _ = parts.tasks.wait(&late);
            assert_eq!(syncs.load(Ordering::Relaxed), round);
        }
    }
}
