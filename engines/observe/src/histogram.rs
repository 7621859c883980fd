//! How long things took: counts in buckets whose bounds never change, so that what several nodes or several hours counted adds up.
//!
//! Every octave of microseconds from 1 on is cut into [`CUTS`] equal buckets; below the first bound there is one, above the last another. A percentile that is
//! read from them is off by less than a quarter, and seldom by a tenth. The mean is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of an octave.
const CUTS: usize = 4;
/// From 1 microsecond to 2^24 of them, some 17 seconds.
const OCTAVES: usize = 24;
/// Buckets: what took at most a microsecond, the cuts of the octaves, and all that took longer.
const BUCKETS: usize = OCTAVES * CUTS + 2;

/// Times by how long they were. Cloning gives another handle to the same counts.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Self(Arc::new(Inner { buckets, sum_nanos: AtomicU64::new(0) }))
    }
}

impl Histogram {
    /// Counts a time. Relaxed, as [`Counter::add`](crate::Counter::add).
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.0.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Times {
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Times { counts, sum_nanos: self.0.sum_nanos.load(Ordering::Relaxed) }
    }
}

/// The bucket of a time: the first whose bound it does not exceed.
fn bucket(nanos: u64) -> usize {
    const CUT: u64 = CUTS as u64;
    // In these units every bound is a whole number, so rounding up crosses none.
    let units = nanos.div_ceil(1_000 / CUT);
    if units <= CUT {
        return 0;
    }
    // CUT 2^octave < units <= CUT 2^(octave + 1)
    let octave = ((units - 1) / CUT).ilog2();
    let within = (units - (CUT << octave) - 1) >> octave;
    (1 + octave as usize * CUTS + within as usize).min(BUCKETS - 1)
}

/// The bound of a bucket in microseconds, which belongs to it; the last has none.
fn bound(bucket: usize) -> Option<f64> {
    let Some(place) = bucket.checked_sub(1) else { return Some(1.0) };
    let (octave, within) = (place / CUTS, place % CUTS);
    (octave < OCTAVES).then(|| (1u64 << octave) as f64 * (1.0 + (within + 1) as f64 / CUTS as f64))
}

/// What a [`Histogram`] had counted when the snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    counts: Vec<u64>,
    /// All times together.
    pub sum_nanos: u64,
}

impl Times {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's bound in microseconds, which belongs to it, and its count; the last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(n, count)| (bound(n), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let far = [16_777_215_999, 16_777_216_000, 16_777_216_001, 40_000_000_000, u64::MAX];
        for nanos in (0..5_000_000).step_by(7).chain((0..40_000).step_by(250)).chain(far) {
            let (at, micros) = (bucket(nanos), nanos as f64 / 1e3);
            assert!(bound(at).is_none_or(|bound| micros <= bound), "{nanos} in {at}");
            let before = at.checked_sub(1).and_then(bound);
            assert!(before.is_none_or(|bound| micros > bound), "{nanos} in {at}");
        }
        let bounds: Vec<f64> = (0..BUCKETS).filter_map(bound).collect();
        assert_eq!(bounds.len(), BUCKETS - 1);
        assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        assert_eq!(bounds.last(), Some(&16_777_216.0));
    }

    #[test]
    fn counts_and_their_sum_are_exact() {
        let histogram = Histogram::default();
        for micros in [0, 1, 3, 3, 1_000, 60_000_000] {
            histogram.clone().record(Duration::from_micros(micros));
        }
        let times = histogram.snapshot();
        assert_eq!((times.count(), times.sum_nanos), (6, 60_001_007_000));
        let held: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(held, [(Some(1.0), 2), (Some(3.0), 2), (Some(1_024.0), 1), (None, 1)]);
    }
}
