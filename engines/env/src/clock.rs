//! The clock, as a seam: nanoseconds since some start that only the clock itself knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point in time of one [`Clock`]. Points of two clocks do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Nanoseconds since the clock's own start.
    pub nanos: u64,
}

impl Instant {
    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// The point `duration` later. Saturates after 584 years.
    pub fn after(self, duration: Duration) -> Self {
        let more = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos: self.nanos.saturating_add(more) }
    }
}

/// Tells the time.
///
/// # Contract
///
/// `now` never goes backwards, from whatever thread it is called.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Instant;
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct OsClock {
    start: std::time::Instant,
}

impl Default for OsClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for OsClock {
    fn now(&self) -> Instant {
        Instant::default().after(self.start.elapsed())
    }
}

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the clock to `to`, or not at all if that is in the past.
    pub fn advance_to(&self, to: Instant) {
        self.nanos.fetch_max(to.nanos, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.now().after(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant { nanos: self.nanos.load(Ordering::SeqCst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_forward() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_millis(3));
        clock.advance_to(Instant { nanos: 1 });
        assert_eq!(clock.clone().now(), Instant { nanos: 3_000_000 });
    }
}
