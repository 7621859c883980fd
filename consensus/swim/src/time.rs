//! Time as a member is told it: nanoseconds of its own monotonic clock. Instants of two nodes do not compare.

use std::time::Duration;

/// A point in time of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Nanoseconds since the node's clock began.
    pub nanos: u64,
}

impl Instant {
    /// The point `duration` later. Saturates after 584 years.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let more = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos: self.nanos.saturating_add(more) }
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}
