//! The slot through which a client hands over what it measured.

use super::Recorded;
use super::pace::backlog;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where a client puts what the coordinator takes. One to a pair of cache lines.
#[repr(align(128))]
pub(super) struct Slot {
    pub(super) ops: AtomicU64,
    pub(super) errors: AtomicU64,
    /// Bytes of keys that did not exist before.
    pub(super) bytes_inserted: AtomicU64,
    /// In an open loop, when the operation at hand was to be sent: nanoseconds since the client began.
    pub(super) intended_nanos: AtomicU64,
    /// In a load, nanoseconds from its beginning to the end of what the client measures; 0 until then.
    pub(super) measured_nanos: AtomicU64,
    /// Whether the coordinator wants the client's histograms.
    pub(super) wanted: AtomicBool,
    handed_over: Mutex<HandedOver>,
}

struct HandedOver {
    /// Whether the coordinator has yet to take it.
    is_full: bool,
    recorded: Recorded,
}

impl Slot {
    pub(super) fn new(is_open: bool) -> Self {
        let handed_over = HandedOver { is_full: false, recorded: Recorded::new(is_open) };
        Self {
            ops: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes_inserted: AtomicU64::new(0),
            intended_nanos: AtomicU64::new(0),
            measured_nanos: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            handed_over: Mutex::new(handed_over),
        }
    }

    /// Operations ended so far.
    pub(super) fn ops(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// Of them failed.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Bytes of keys and values that are new.
    pub(super) fn bytes_inserted(&self) -> u64 {
        self.bytes_inserted.load(Ordering::Relaxed)
    }

    /// Operations of an open loop that are due and have not ended, `elapsed` after its clients began.
    pub(super) fn backlog(&self, elapsed: Duration, gap_nanos: f64) -> f64 {
        backlog(elapsed, self.intended_nanos.load(Ordering::Relaxed), gap_nanos)
    }

    /// How long the client of a load measured, once it has ended that and handed it over.
    pub(super) fn measured(&self) -> Option<Duration> {
        // Acquire: with it everything that was handed over before is seen.
        let nanos = self.measured_nanos.load(Ordering::Acquire);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Asks the client for what it recorded.
    pub(super) fn ask(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the client has yet to answer.
    pub(super) fn is_asked(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Adds what the client handed over to `interval`, and forgets it. `spare` is empty, and is afterwards.
    pub(super) fn take(&self, interval: &mut Recorded, spare: &mut Recorded) {
        {
            let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut handed.is_full) {
                return;
            }
            std::mem::swap(&mut handed.recorded, spare);
        }
        interval.add(spare);
        spare.clear();
    }

    /// Gives what was recorded to the coordinator. What it gave before and has been taken it gets back, empty, in
    /// exchange: a client that is to send on time has none to spare for adding up histograms.
    pub(super) fn hand_over(&self, recorded: &mut Recorded) {
        let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if handed.is_full {
            handed.recorded.add(recorded);
            recorded.clear();
        } else {
            std::mem::swap(&mut handed.recorded, recorded);
            handed.is_full = true;
        }
        self.wanted.store(false, Ordering::Relaxed);
    }
}
