//! Which jobs run, who waits for one to end, and how a store closes.

use nori_env::{Signal, Tasks};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The running jobs of a store.
#[derive(Default)]
pub(crate) struct Jobs {
    running: Arc<AtomicUsize>,
    is_closing: AtomicBool,
    /// Fires at the next change a waiter may be waiting for; then it is replaced.
    progress: Arc<Mutex<Signal>>,
}

/// A job that runs. Dropping it, however the job ended, tells whoever waits.
pub(crate) struct Token {
    running: Arc<AtomicUsize>,
    progress: Arc<Mutex<Signal>>,
}

impl Jobs {
    /// Takes note of a job.
    pub(crate) fn begin(&self) -> Token {
        self.running.fetch_add(1, Ordering::SeqCst);
        Token { running: Arc::clone(&self.running), progress: Arc::clone(&self.progress) }
    }

    /// A signal that fires at the next change. Take it *before* looking at what may change.
    pub(crate) fn progress(&self) -> Signal {
        self.progress.lock().clone()
    }

    /// Tells whoever waits that something changed.
    pub(crate) fn notify(&self) {
        notify(&self.progress);
    }

    /// Whether no job runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// Whether jobs should give up.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Has jobs give up and waits until none runs.
    pub(crate) fn close(&self, tasks: &dyn Tasks) {
        self.is_closing.store(true, Ordering::SeqCst);
        loop {
            let progress = self.progress();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            if tasks.wait(&progress) == nori_env::Waited::Stuck {
                return;
            }
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        notify(&self.progress);
    }
}

fn notify(progress: &Mutex<Signal>) {
    let past = std::mem::take(&mut *progress.lock());
    past.fire();
}
