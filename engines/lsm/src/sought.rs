//! Seeks of cursors: which tables they came to, and when the strategy hears of it.
//!
//! 1. A cursor counts for itself, table by table. It tells when it goes, so nothing is shared while it works.
//! 2. Every [`SAMPLE`]-th seek of the store speaks for as many: the cursor that made it adds to its tables, the others do not. The
//!    numbers are estimates, and a short cursor costs one addition to memory that is shared.
//! 3. Every [`LOOK_EVERY`] seeks a job asks the strategy whether something is due now. Nothing else would: the jobs that writes
//!    start ask as well, and a store that is only read has none.

use crate::compact;
use crate::core::Core;
use crate::jobs::Token;
use nori_env::{Class, Job, Slice, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One seek in so many is counted, for all of them.
const SAMPLE: u64 = 8;
/// A plan is cheap, but takes the lock of the tree: some dozen times a second at a hundred thousand seeks.
const LOOK_EVERY: u64 = 4096;

/// What the cursors of a store have sought.
#[derive(Debug, Default)]
pub(crate) struct Sought {
    seeks: AtomicU64,
}

/// What to do about the seeks of one cursor.
pub(crate) struct Noted {
    /// For how many seeks each of them is to be counted.
    pub(crate) weight: u64,
    /// Whether the strategy is to look, once they are counted.
    pub(crate) is_look_due: bool,
}

impl Sought {
    /// Takes note of a cursor that has sought `seeks` times.
    pub(crate) fn note(&self, seeks: u64) -> Noted {
        let before = self.seeks.fetch_add(seeks, Ordering::Relaxed);
        let times = |every: u64| (before + seeks) / every - before / every;
        let weight = (times(SAMPLE) * SAMPLE).div_ceil(seeks.max(1));
        Noted { weight, is_look_due: times(LOOK_EVERY) > 0 }
    }
}

/// Has a job ask the strategy.
pub(crate) fn look_soon(core: &Arc<Core>) {
    // A store that is open for reading only, or has ended writing, compacts nothing.
    if core.wal().is_ok() && core.poison.get().is_none() {
        let look = Look { core: Arc::clone(core), _token: core.jobs.begin() };
        core.parts.tasks.submit(Class::CompactionDeep, Box::new(look));
    }
}

/// Asks the strategy once.
struct Look {
    core: Arc<Core>,
    _token: Token,
}

impl Job for Look {
    fn step(&mut self, _: &Slice) -> Step {
        compact::schedule(&self.core);
        Step::Done
    }
}
