//! How far a client is in its loop, and what it records on the way.

use super::Recorded;
use super::client::{Client, ClientOutcome};
use super::pace::Pace;
use super::slot::Slot;
use nori_workloads::OpKind;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One client's way through a phase.
pub(super) struct Course<'s> {
    pub(super) slot: &'s Slot,
    recorded: Recorded,
    /// Of an open loop.
    pace: Option<Pace>,
    began: Instant,
    /// A phase without a time limit ends with its stream.
    deadline: Option<Instant>,
    /// When the last operation ended.
    end: Instant,
    ops: u64,
    errors: u64,
    late: Duration,
}

impl<'s> Course<'s> {
    pub(super) fn new(
        slot: &'s Slot,
        began: Instant,
        duration: Option<Duration>,
        pace: Option<Pace>,
    ) -> Self {
        Self {
            slot,
            recorded: Recorded::new(pace.is_some()),
            pace,
            began,
            deadline: duration.map(|duration| began + duration),
            end: began,
            ops: 0,
            errors: 0,
            late: Duration::ZERO,
        }
    }

    /// Waits for the time of the operation at hand, if it has one; when it is sent. `None` if that would be after the end.
    #[inline]
    pub(super) fn start(&mut self) -> Option<Instant> {
        let Some(pace) = &mut self.pace else { return Some(Instant::now()) };
        let intended = pace.next();
        self.slot.intended_nanos.store(pace.intended_nanos(), Ordering::Relaxed);
        if self.deadline.is_some_and(|deadline| intended >= deadline) {
            return None;
        }
        Some(pace.wait(&mut self.recorded))
    }

    /// An operation that was sent at `start` has just ended.
    #[inline]
    pub(super) fn record(&mut self, kind: OpKind, start: Instant) {
        self.end = Instant::now();
        self.recorded.latencies.record(kind, self.end.duration_since(start).as_nanos() as u64);
        if let Some(pace) = &mut self.pace {
            self.late = pace.ended(kind, start, self.end, &mut self.recorded);
        }
        self.ops += 1;
        self.slot.ops.store(self.ops, Ordering::Relaxed);
    }

    /// It failed; how many have.
    pub(super) fn count_error(&mut self) -> u64 {
        self.errors += 1;
        self.slot.errors.store(self.errors, Ordering::Relaxed);
        self.errors
    }

    /// Operations that failed.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Operations that were written unmeasured.
    pub(super) fn count_filled(&mut self, ops: u64) {
        self.ops += ops;
        self.slot.ops.store(self.ops, Ordering::Relaxed);
    }

    /// Whether there is time for another operation. Hands over what was recorded, if it is wanted.
    #[inline]
    pub(super) fn goes_on(&mut self) -> bool {
        if self.slot.is_asked() {
            self.hand_over();
        }
        self.deadline.is_none_or(|deadline| self.end < deadline)
    }

    /// Hands over what was recorded.
    pub(super) fn hand_over(&mut self) {
        self.slot.hand_over(&mut self.recorded);
    }

    /// Notes how long was measured, after everything that was is handed over.
    pub(super) fn note_measured(&mut self) {
        let nanos = self.end.duration_since(self.began).as_nanos() as u64;
        self.slot.measured_nanos.store(nanos.max(1), Ordering::Release);
    }

    /// What its client came to.
    pub(super) fn outcome(self, client: Client) -> ClientOutcome {
        ClientOutcome {
            counts: client.counts,
            first_error: client.first_error,
            began: self.began,
            end: self.end,
            late: self.late,
        }
    }
}
