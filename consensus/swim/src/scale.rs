//! What grows with the number of members: how long a suspicion lasts, how often a rumour is passed on, how seldom all is exchanged.
//!
//! Logarithms are of whole numbers and in fixed point, so that every machine computes the same.

use crate::Settings;
use std::time::Duration;

/// Fractional bits of a logarithm.
const FRACTION_BITS: u32 = 16;

/// The binary logarithm of `x >= 1`, in units of 2^-16, rounded down.
fn log2(x: u64) -> u64 {
    debug_assert!(x >= 1);
    let whole = x.max(1).ilog2();
    // 1 <= y < 2, with 32 bits behind the point; squaring it doubles its logarithm.
    let mut y = (u128::from(x.max(1)) << 32) >> whole;
    let mut log = u64::from(whole) << FRACTION_BITS;
    for bit in (0..FRACTION_BITS).rev() {
        y = (y * y) >> 32;
        if y >= 2 << 32 {
            y >>= 1;
            log |= 1 << bit;
        }
    }
    log
}

/// `duration * a / b`, to the nanosecond.
fn ratio(duration: Duration, a: u64, b: u64) -> Duration {
    let nanos = duration.as_nanos() * u128::from(a) / u128::from(b.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The natural logarithm of 2, in units of 2^-16.
const LN_2: u64 = 45_426;

/// How often a rumour is passed on in a cluster of `n`: a multiple of the natural logarithm of `n + 1`, rounded up.
pub(crate) fn transmissions_max(settings: &Settings, n: usize) -> u32 {
    let ln = (log2(n as u64 + 1) * LN_2) >> FRACTION_BITS;
    settings.retransmit_multiplier * ln.div_ceil(1 << FRACTION_BITS) as u32
}

/// The shortest a suspicion lasts in a cluster of `n`.
pub(crate) fn suspicion_min(settings: &Settings, n: usize) -> Duration {
    let least = settings.period * settings.suspicion_multiplier;
    least.max(ratio(least, log2(n.max(1) as u64), log2(10)))
}

/// How many confirmations shorten a suspicion all the way: no more than there are others to confirm.
pub(crate) fn confirmations(settings: &Settings, n: usize) -> u32 {
    settings.confirmations.min(u32::try_from(n.saturating_sub(2)).unwrap_or(u32::MAX))
}

/// How long a suspicion lasts in a cluster of `n` once it was confirmed `confirmed` times: from the longest down to the shortest, by the
/// logarithm of the confirmations.
pub(crate) fn suspicion(settings: &Settings, n: usize, confirmed: u32) -> Duration {
    let (min, most) = (suspicion_min(settings, n), confirmations(settings, n));
    if most == 0 {
        return min;
    }
    let max = min * settings.suspicion_stretch;
    let shorter = ratio(max - min, log2(u64::from(confirmed) + 1), log2(u64::from(most) + 1));
    max.saturating_sub(shorter).max(min)
}

/// Up to this many members exchange at the plain interval (memberlist's `pushPullScaleThreshold`).
const SYNC_PLAIN_MEMBERS: u64 = 32;

/// How often a member of a cluster of `n` begins an exchange: each doubling beyond 32 adds one interval.
pub(crate) fn sync_interval(settings: &Settings, n: usize) -> Duration {
    let n = n as u64;
    if n <= SYNC_PLAIN_MEMBERS {
        return settings.sync_interval;
    }
    let doublings = n.next_power_of_two().ilog2() - SYNC_PLAIN_MEMBERS.ilog2();
    settings.sync_interval * (doublings + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_the_textbook() {
        for x in [1u64, 2, 3, 7, 10, 64, 1_000, 123_456_789] {
            let error = log2(x) as f64 / 65_536.0 - (x as f64).log2();
            assert!((-0.000_1..=0.000_001).contains(&error), "log2({x}) is off by {error}");
        }
    }

    #[test]
    fn a_rumour_is_passed_on_a_multiple_of_the_logarithm() {
        let settings = Settings::default();
        let times = [1, 9, 19, 20, 60, 127].map(|n| transmissions_max(&settings, n));
        assert_eq!(times, [4, 12, 12, 16, 20, 20]);
    }

    #[test]
    fn a_suspicion_shortens_with_confirmations_and_no_further() {
        let settings = Settings::default();
        let last = |confirmed| suspicion(&settings, 100, confirmed).as_millis();
        assert_eq!(last(0), 48_000);
        assert!((27_990..=28_010).contains(&last(1)), "{}", last(1));
        assert_eq!(last(3), 8_000);
        assert_eq!(last(9), 8_000);
    }

    #[test]
    fn a_suspicion_that_nobody_can_confirm_is_short() {
        assert_eq!(suspicion(&Settings::default(), 2, 0), Duration::from_secs(4));
        let three = suspicion(&Settings::default(), 3, 1);
        assert_eq!(three, Duration::from_secs(4), "one confirmation is all there can be");
    }

    #[test]
    fn larger_clusters_exchange_more_seldom() {
        let settings = Settings::default();
        let seconds = [32, 33, 64, 65, 128].map(|n| sync_interval(&settings, n).as_secs());
        assert_eq!(seconds, [30, 60, 60, 90, 90]);
    }
}
