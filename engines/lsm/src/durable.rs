//! Up to which entry of the replicated log everything is in tables, and who waits for it to be more.

use nori_env::Signal;
use nori_kv::Applied;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module. Nobody waits for an index that is reached.
#[derive(Default)]
pub(crate) struct Durable {
    state: Mutex<State>,
    /// Whether anybody waits, so that an apply without followers takes no lock.
    is_wanted: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Only grows.
    applied: Applied,
    waiting: Vec<(u64, Signal)>,
    /// No more will be reached.
    has_ended: bool,
}

impl Durable {
    /// What an opening found.
    pub(crate) fn at(applied: Applied) -> Self {
        let durable = Self::default();
        durable.state.lock().applied = applied;
        durable
    }

    pub(crate) fn applied(&self) -> Applied {
        self.state.lock().applied
    }

    /// A manifest says so.
    pub(crate) fn reached(&self, applied: Applied) {
        let mut state = self.state.lock();
        debug_assert!(applied.index >= state.applied.index, "what is durable only grows");
        state.applied = state.applied.max(applied);
        let index = state.applied.index;
        let due: Vec<_> = state.waiting.extract_if(.., |(wanted, _)| *wanted <= index).collect();
        self.is_wanted.store(!state.waiting.is_empty(), Ordering::Release);
        drop(state);
        due.into_iter().for_each(|(_, signal)| signal.fire());
    }

    /// Fires `done` when `index` is reached, or never will be.
    pub(crate) fn want(&self, index: u64, done: Signal) {
        let mut state = self.state.lock();
        if state.applied.index >= index || state.has_ended {
            drop(state);
            done.fire();
            return;
        }
        state.waiting.push((index, done));
        self.is_wanted.store(true, Ordering::Release);
    }

    /// The least index that somebody waits for.
    pub(crate) fn wanted(&self) -> Option<u64> {
        if !self.is_wanted.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().waiting.iter().map(|(index, _)| *index).min()
    }

    /// Nobody waits for what will not come.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        self.is_wanted.store(false, Ordering::Release);
        drop(state);
        waiting.into_iter().for_each(|(_, signal)| signal.fire());
    }
}
