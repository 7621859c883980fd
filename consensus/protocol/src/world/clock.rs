//! A node's clock over the world's time: it may run fast or slow, jump ahead, or stand still. It never goes back.

use crate::Instant;
use std::time::Duration;

/// A node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeClock {
    /// From this moment of the world's on, it has run at the present rate.
    since: Instant,
    /// What it showed then.
    shown: Instant,
    /// By how much it is faster than the world's time, in millionths; -1,000,000 stands still.
    rate_ppm: i64,
}

impl NodeClock {
    /// A clock that shows `shown` at the world's `now`.
    pub fn new(now: Instant, shown: Instant, rate_ppm: i64) -> Self {
        Self { since: now, shown, rate_ppm: rate_ppm.max(-MILLION) }
    }

    /// What it shows at the world's `now`, which is not before it was last set.
    pub fn shows(&self, now: Instant) -> Instant {
        let passed = i128::from(now.nanos.saturating_sub(self.since.nanos));
        let passed = passed * i128::from(MILLION + self.rate_ppm) / i128::from(MILLION);
        Instant {
            nanos: self.shown.nanos.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)),
        }
    }

    /// The first moment of the world's at which it shows `local`; `None` if it stands still before it.
    pub fn when(&self, local: Instant) -> Option<Instant> {
        let wanted = i128::from(local.nanos.saturating_sub(self.shown.nanos));
        let rate = i128::from(MILLION + self.rate_ppm);
        if wanted == 0 {
            return Some(self.since);
        }
        if rate == 0 {
            return None;
        }
        let nanos = (wanted * i128::from(MILLION) + rate - 1) / rate;
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Some(Instant { nanos: self.since.nanos.saturating_add(nanos) })
    }

    /// Runs at another rate from `now` on.
    pub fn set_rate(&mut self, now: Instant, rate_ppm: i64) {
        *self = Self::new(now, self.shows(now), rate_ppm);
    }

    /// Jumps ahead.
    pub fn jump(&mut self, now: Instant, by: Duration) {
        *self = Self::new(now, self.shows(now).after(by), self.rate_ppm);
    }
}

const MILLION: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_when_the_clock_shows_it() {
        let start = Instant { nanos: 1_000 };
        for rate in [-500_000, -1, 0, 1, 500, 1_000_000] {
            let clock = NodeClock::new(start, Instant { nanos: 7 }, rate);
            for nanos in [7, 8, 1_000, 123_456_789] {
                let (local, when) = (Instant { nanos }, clock.when(Instant { nanos }).unwrap());
                assert!(clock.shows(when) >= local, "{rate} {nanos}");
                let before = Instant { nanos: when.nanos - 1 };
                assert!(when == start || clock.shows(before) < local, "{rate} {nanos}");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_still_never_shows_what_is_to_come() {
        let mut clock = NodeClock::new(Instant::default(), Instant::default(), 0);
        let now = Instant { nanos: 50 };
        clock.set_rate(now, -1_000_000);
        assert_eq!(clock.shows(Instant { nanos: 5_000 }), now);
        assert_eq!((clock.when(now), clock.when(Instant { nanos: 51 })), (Some(now), None));
        clock.jump(Instant { nanos: 60 }, Duration::from_nanos(5));
        assert_eq!(clock.shows(Instant { nanos: 70 }), Instant { nanos: 55 });
    }
}
