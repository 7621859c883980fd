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
        let passed = now.nanos.saturating_sub(self.since.nanos);
        let passed = scaled(passed, self.rate(), MILLION as u64);
        Instant { nanos: self.shown.nanos.saturating_add(passed) }
    }

    /// The first moment of the world's at which it shows `local`; `None` if it stands still before it.
    pub fn when(&self, local: Instant) -> Option<Instant> {
        let wanted = local.nanos.saturating_sub(self.shown.nanos);
        if wanted == 0 {
            return Some(self.since);
        }
        if self.rate() == 0 {
            return None;
        }
        // Rounded up: one nanosecond less than it shows nothing yet.
        let nanos = scaled(wanted, MILLION as u64, self.rate());
        let is_early = scaled(nanos, self.rate(), MILLION as u64) < wanted;
        Some(Instant {
            nanos: self.since.nanos.saturating_add(nanos.saturating_add(u64::from(is_early))),
        })
    }

    /// Its nanoseconds in a millisecond of the world's.
    fn rate(&self) -> u64 {
        (MILLION + self.rate_ppm) as u64
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

/// `nanos * by / of`, rounded down. In 64 bits if that is enough: it is asked at every step of a world.
fn scaled(nanos: u64, by: u64, of: u64) -> u64 {
    match nanos.checked_mul(by) {
        Some(product) => product / of,
        None => {
            u64::try_from(u128::from(nanos) * u128::from(by) / u128::from(of)).unwrap_or(u64::MAX)
        }
    }
}

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
