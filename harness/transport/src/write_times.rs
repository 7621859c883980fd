//! Where the time of clients' writes goes on this node, stage by stage, as histograms.
//!
//! One of [`FOLLOWED_EVERY`] writes is followed, by turns: its stages cost some reads of the clock. Only one that ends well is counted. The stages add up to the whole:
//! `queue`, from when the request was put into the loop's queue to the turn that takes it, then those of [`norikv_node::Stages`].

use nori_observe::{Histogram, Times};
use norikv_node::Stages;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of so many writes one is followed: enough for percentiles within a second of load, and a clock that is read once for each write on average.
const FOLLOWED_EVERY: u64 = 4;

/// The stages, in their order.
const STAGES: [&str; 6] = ["queue", "append", "sync", "replicate", "apply", "reply"];

/// See the module.
#[derive(Debug, Default)]
pub struct WriteTimes {
    seen: AtomicU64,
    stages: [Histogram; STAGES.len()],
    whole: Histogram,
}

impl WriteTimes {
    /// Whether the write that has come is to be followed.
    pub(crate) fn is_next_followed(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(FOLLOWED_EVERY)
    }

    pub(crate) fn record(&self, queued: Duration, stages: &Stages) {
        let named = std::iter::once((STAGES[0], queued)).chain(stages.named());
        for (n, (name, took)) in named.enumerate() {
            debug_assert_eq!(STAGES[n], name);
            self.stages[n].record(took);
        }
        self.whole.record(queued + stages.total());
    }

    /// What was counted of each stage, by name and in order.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, Times)> + '_ {
        STAGES.into_iter().zip(self.stages.iter().map(Histogram::snapshot))
    }

    /// What was counted of the whole.
    pub fn whole(&self) -> Times {
        self.whole.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_of_a_write_add_up_to_the_whole() {
        let times = WriteTimes::default();
        let followed = (0..100).filter(|_| times.is_next_followed()).count();
        assert_eq!(followed as u64, 100 / FOLLOWED_EVERY);
        let millis = Duration::from_millis;
        let stages = Stages {
            append: millis(2),
            sync: millis(4),
            replicate: millis(8),
            apply: millis(16),
            reply: millis(32),
        };
        times.record(millis(1), &stages);
        let sums: Vec<(&str, u64)> =
            times.stages().map(|(name, times)| (name, times.sum_nanos / 1_000_000)).collect();
        let expected = STAGES.into_iter().zip([1, 2, 4, 8, 16, 32]).collect::<Vec<_>>();
        assert_eq!(sums, expected);
        assert_eq!((times.whole().count(), times.whole().sum_nanos), (1, 63_000_000));
    }
}
