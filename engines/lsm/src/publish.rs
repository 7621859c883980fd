//! Makes writes visible in the order of their sequence numbers.
//!
//! 1. A writer that took `first ..= last` inserts its operations, then publishes.
//! 2. It waits until everything before `first` is visible, then moves the visible number to `last`: a reader
//!    at the visible number sees every batch wholly or not at all, and no gap.
//! 3. Its predecessor is another writer between two instructions, so it spins a little before it parks.
//! 4. When a write failed for good, nothing behind it will ever be visible; all who wait are told.

use nori_env::{Signal, Tasks, Waited};
use nori_kv::{Error, Result, SeqNo};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The visible sequence number and who waits for it.
pub(crate) struct Publisher {
    /// Every write up to here is inserted and may be read. Only grows.
    visible: AtomicU64,
    /// The number of entries in `waiting`, so that a publisher without followers takes no lock.
    waiters: AtomicUsize,
    /// By the number they wait for.
    waiting: Mutex<BTreeMap<u64, Signal>>,
    failed: OnceLock<Error>,
}

/// About a microsecond: the time of a memtable insert.
const SPINS: u32 = 200;

impl Publisher {
    pub(crate) fn new(visible: SeqNo) -> Self {
        Self {
            visible: AtomicU64::new(visible.value()),
            waiters: AtomicUsize::new(0),
            waiting: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// The newest sequence number that may be read.
    #[inline]
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo::ZERO.plus(self.visible.load(Ordering::Acquire))
    }

    /// Makes `first ..= last` visible, after everything before.
    pub(crate) fn publish(&self, first: SeqNo, last: SeqNo, tasks: &dyn Tasks) -> Result<()> {
        self.wait_until(first.value() - 1, tasks)?;
        // SeqCst pairs with the one in `reached`: either the waiter sees this number, or this writer sees the waiter.
        self.visible.store(last.value(), Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.wake(last.value());
        }
        Ok(())
    }

    /// A signal that fires once `number` is visible, or never will be.
    pub(crate) fn reached(&self, number: SeqNo) -> Signal {
        let number = number.value();
        let mut waiting = self.waiting.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        if self.visible.load(Ordering::SeqCst) >= number || self.failed.get().is_some() {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            return Signal::fired();
        }
        let mut is_new = false;
        let signal = waiting.entry(number).or_insert_with(|| {
            is_new = true;
            Signal::new()
        });
        if !is_new {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
        }
        signal.clone()
    }

    /// Tells all who wait, now and later, that `error` ended writing.
    pub(crate) fn fail(&self, error: &Error) {
        let _ = self.failed.set(error.clone());
        self.wake(u64::MAX);
    }

    fn wait_until(&self, number: u64, tasks: &dyn Tasks) -> Result<()> {
        for _ in 0..SPINS {
            if self.visible.load(Ordering::Acquire) == number {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        while self.visible.load(Ordering::Acquire) != number {
            if let Some(error) = self.failed.get() {
                return Err(error.poison());
            }
            let signal = self.reached(SeqNo::ZERO.plus(number));
            if tasks.wait(&signal) == Waited::Stuck {
                return Err(Error::Busy { what: "waiting for a write that cannot end".into() });
            }
        }
        Ok(())
    }

    fn wake(&self, upto: u64) {
        let due = {
            let mut waiting = self.waiting.lock();
            let later = match upto.checked_add(1) {
                Some(next) => waiting.split_off(&next),
                None => BTreeMap::new(),
            };
            std::mem::replace(&mut *waiting, later)
        };
        self.waiters.fetch_sub(due.len(), Ordering::SeqCst);
        due.into_values().for_each(|signal| signal.fire());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_env::{OsClock, PoolTasks};
    use std::path::Path;
    use std::sync::Arc;

    fn seqno(n: u64) -> SeqNo {
        SeqNo::ZERO.plus(n)
    }

    #[test]
    fn numbers_become_visible_in_order_whoever_comes_first() {
        let tasks = PoolTasks::new(1, Arc::new(OsClock::default())).unwrap();
        let publisher = Publisher::new(SeqNo::ZERO);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (publisher, tasks) = (&publisher, &tasks);
                scope.spawn(move || {
                    for n in (1..=400).filter(|n| n % 4 == thread) {
                        publisher.publish(seqno(2 * n - 1), seqno(2 * n), tasks).unwrap();
                        assert!(publisher.visible() >= seqno(2 * n));
                    }
                });
            }
        });
        assert_eq!(publisher.visible(), seqno(800));
        assert_eq!(publisher.waiters.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_failure_frees_all_who_wait() {
        let tasks = PoolTasks::new(1, Arc::new(OsClock::default())).unwrap();
        let publisher = Publisher::new(SeqNo::ZERO);
        let reached = publisher.reached(seqno(5));
        publisher.fail(&Error::corrupt(Path::new("x"), 0, "gone"));
        assert!(reached.is_fired());
        assert!(publisher.publish(seqno(4), seqno(4), &tasks).is_err());
    }
}
