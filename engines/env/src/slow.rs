//! A file system whose syncs end when a test says so.
//!
//! A sync makes safe what was there when it began, as the file system below does; that it has ended is told later. Those of
//! log segments and those of all other files are held back each by themselves. Everything else passes through.

use crate::around::{AroundFs, StartSync, Syncs};
use crate::{Completion, Fs};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Waiting = Vec<(Completion, io::Result<()>)>;

/// Syncs that nobody has been told of, oldest first. Nothing is held back until [`Self::hold`].
#[derive(Clone, Default)]
pub struct HeldSyncs(Arc<Mutex<Option<Waiting>>>);

impl HeldSyncs {
    /// From now on ends are held back.
    pub fn hold(&self) {
        self.lock().get_or_insert_default();
    }

    /// How many are.
    pub fn waiting(&self) -> usize {
        self.lock().as_ref().map_or(0, Vec::len)
    }

    /// Tells of the oldest how it ended, or that it failed with `error` if there is one.
    ///
    /// # Panics
    ///
    /// If none is held back.
    pub fn end_first(&self, error: Option<io::Error>) {
        let first = self.lock().as_mut().filter(|waiting| !waiting.is_empty()).map(|w| w.remove(0));
        let (done, outcome) = first.expect("a sync is held back");
        done(error.map_or(outcome, Err));
    }

    /// Tells of all of them, the latest first, and holds back no more.
    pub fn release(&self) {
        let waiting = self.lock().take().unwrap_or_default();
        waiting.into_iter().rev().for_each(|(done, outcome)| done(outcome));
    }

    fn delay(&self, done: Completion) -> Completion {
        let held = self.clone();
        Box::new(move |outcome| {
            let mut waiting = held.lock();
            if let Some(waiting) = &mut *waiting {
                waiting.push((done, outcome));
                return;
            }
            drop(waiting);
            done(outcome);
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Syncs for HeldSyncs {
    fn run(&self, sync: StartSync, done: Completion) {
        sync(self.delay(done));
    }
}

/// The file system.
pub type SlowFs = AroundFs<HeldSyncs, HeldSyncs>;

impl SlowFs {
    /// One that holds nothing back yet.
    pub fn new(inner: impl Fs + 'static) -> Self {
        let inner = Arc::new(inner);
        Self { inner, segments: HeldSyncs::default(), files: HeldSyncs::default() }
    }
}
