//! A one-shot event.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Waiter = Box<dyn FnOnce() + Send>;

/// An event that happens once. Clones are the same event.
///
/// Thread safety: all methods may be called from any thread. What was done before [`Signal::fire`] is
/// seen by whoever saw the signal fired.
#[derive(Clone, Default)]
pub struct Signal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    fired: AtomicBool,
    /// Empty once `fired`.
    waiters: Mutex<Vec<Waiter>>,
    changed: Condvar,
}

impl Signal {
    /// An event that has not happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// An event that has happened already.
    pub fn fired() -> Self {
        let signal = Self::default();
        signal.fire();
        signal
    }

    /// Makes it happen. Later calls do nothing.
    pub fn fire(&self) {
        let waiters = {
            let mut waiters = self.lock();
            self.0.fired.store(true, Ordering::Release);
            std::mem::take(&mut *waiters)
        };
        self.0.changed.notify_all();
        for waiter in waiters {
            waiter();
        }
    }

    /// Whether it has happened.
    pub fn is_fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// Runs `then` when it happens: at once, on this thread, if it has.
    pub fn on_fire(&self, then: impl FnOnce() + Send + 'static) {
        let mut waiters = self.lock();
        if self.is_fired() {
            drop(waiters);
            then();
        } else {
            waiters.push(Box::new(then));
        }
    }

    /// Parks the thread until it happens.
    pub(crate) fn park(&self) {
        let mut waiters = self.lock();
        while !self.is_fired() {
            waiters = self.0.changed.wait(waiters).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.is_fired()).finish()
    }
}
