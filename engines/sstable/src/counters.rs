//! What reads of tables count.
//!
//! A read tallies on its own stack and adds once at its end, so that a look-up through six runs costs a
//! handful of atomic adds and not thirty.

use nori_kv::stat;
use nori_observe::{Counter, Meter};

/// The counters that all tables of a store share.
#[derive(Clone, Debug)]
pub struct ReadCounters {
    runs_probed: Counter,
    filter_probes: Counter,
    filter_negatives: Counter,
    filter_false_positives: Counter,
    prefix_probes: Counter,
    prefix_negatives: Counter,
    blocks_fetched: Counter,
    cache_hits: Counter,
    cache_misses: Counter,
}

/// What one read met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tables whose key range held the key.
    pub runs_probed: u64,
    /// Filters asked.
    pub filter_probes: u64,
    /// Filters that said no.
    pub filter_negatives: u64,
    /// Filters that said perhaps where there was nothing.
    pub filter_false_positives: u64,
    /// Filters that a cursor asked for a prefix.
    pub prefix_probes: u64,
    /// Of these, filters that said no.
    pub prefix_negatives: u64,
    /// Blocks found in the cache.
    pub cache_hits: u64,
    /// Blocks read from the file.
    pub cache_misses: u64,
}

impl ReadCounters {
    /// The handles, fetched from `meter`.
    pub fn new(meter: &dyn Meter) -> Self {
        Self {
            runs_probed: meter.counter(stat::RUNS_PROBED),
            filter_probes: meter.counter(stat::FILTER_PROBES),
            filter_negatives: meter.counter(stat::FILTER_NEGATIVES),
            filter_false_positives: meter.counter(stat::FILTER_FALSE_POSITIVES),
            prefix_probes: meter.counter(stat::PREFIX_PROBES),
            prefix_negatives: meter.counter(stat::PREFIX_NEGATIVES),
            blocks_fetched: meter.counter(stat::BLOCKS_FETCHED),
            cache_hits: meter.counter(stat::CACHE_HITS),
            cache_misses: meter.counter(stat::CACHE_MISSES),
        }
    }

    /// Adds what a read met.
    pub fn add(&self, tally: &Tally) {
        let pairs = [
            (&self.runs_probed, tally.runs_probed),
            (&self.filter_probes, tally.filter_probes),
            (&self.filter_negatives, tally.filter_negatives),
            (&self.filter_false_positives, tally.filter_false_positives),
            (&self.prefix_probes, tally.prefix_probes),
            (&self.prefix_negatives, tally.prefix_negatives),
            (&self.blocks_fetched, tally.cache_hits + tally.cache_misses),
            (&self.cache_hits, tally.cache_hits),
            (&self.cache_misses, tally.cache_misses),
        ];
        for (counter, n) in pairs {
            if n > 0 {
                counter.add(n);
            }
        }
    }

    /// Every number, by its name in [`stat`].
    pub fn numbers(&self) -> [(&'static str, u64); 9] {
        [
            (stat::RUNS_PROBED, self.runs_probed.value()),
            (stat::FILTER_PROBES, self.filter_probes.value()),
            (stat::FILTER_NEGATIVES, self.filter_negatives.value()),
            (stat::FILTER_FALSE_POSITIVES, self.filter_false_positives.value()),
            (stat::PREFIX_PROBES, self.prefix_probes.value()),
            (stat::PREFIX_NEGATIVES, self.prefix_negatives.value()),
            (stat::BLOCKS_FETCHED, self.blocks_fetched.value()),
            (stat::CACHE_HITS, self.cache_hits.value()),
            (stat::CACHE_MISSES, self.cache_misses.value()),
        ]
    }
}
