//! The seam between a part that counts and whoever reads the counts.

use crate::VizEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a part fetches its handles and sends its events.
///
/// # Contract
///
/// * Handles are fetched when a part is built, never on a hot path. Asking twice for one name gives
///   handles to the **same** number.
/// * [`Meter::event`] may be called from any thread and must not block on I/O: an implementation
///   that writes files queues.
/// * Names are `snake_case` with the unit last (`wal_bytes`, `stall_micros`).
pub trait Meter: Send + Sync {
    /// A number that only grows.
    fn counter(&self, name: &'static str) -> Counter;
    /// A number that is set.
    fn gauge(&self, name: &'static str) -> Gauge;
    /// Takes note of an event.
    fn event(&self, event: VizEvent);
}

/// A number that only grows. Cloning gives another handle to the same number.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`. Relaxed: counts of different counters may be seen out of order.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set. Cloning gives another handle to the same number.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n` to the value.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` off the value. The caller never takes off more than it added.
    pub fn sub(&self, n: u64) {
        let before = self.0.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "gauge went below zero: {before} - {n}");
    }

    /// The value last set.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hands out handles that nobody reads and drops events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullMeter;

impl Meter for NullMeter {
    fn counter(&self, _name: &'static str) -> Counter {
        Counter::default()
    }

    fn gauge(&self, _name: &'static str) -> Gauge {
        Gauge::default()
    }

    fn event(&self, _event: VizEvent) {}
}
