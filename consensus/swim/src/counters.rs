//! What a member counts. The handles are fetched once.

use crate::Refusal;
use nori_observe::{Counter, Gauge, Meter};

/// Handles, fetched once.
pub(crate) struct Counters {
    pub(crate) probes: Counter,
    pub(crate) probes_failed: Counter,
    pub(crate) probes_rescued: Counter,
    pub(crate) probes_rescued_by_stream: Counter,
    pub(crate) nacks_missed: Counter,
    pub(crate) suspicions: Counter,
    pub(crate) downs: Counter,
    pub(crate) refutations: Counter,
    pub(crate) stale_rumours: Counter,
    pub(crate) late_timers: Counter,
    pub(crate) relays_refused: Counter,
    pub(crate) packets_out: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) packets_in: Counter,
    pub(crate) refused_foreign: Counter,
    pub(crate) refused_unauthentic: Counter,
    pub(crate) refused_malformed: Counter,
    pub(crate) refused_other: Counter,
    pub(crate) members: Gauge,
    pub(crate) local_health: Gauge,
}

impl Counters {
    pub(crate) fn new(meter: &dyn Meter) -> Self {
        Self {
            probes: meter.counter("swim_probes"),
            probes_failed: meter.counter("swim_probes_failed"),
            probes_rescued: meter.counter("swim_probes_rescued"),
            probes_rescued_by_stream: meter.counter("swim_probes_rescued_by_stream"),
            nacks_missed: meter.counter("swim_nacks_missed"),
            suspicions: meter.counter("swim_suspicions"),
            downs: meter.counter("swim_downs"),
            refutations: meter.counter("swim_refutations"),
            stale_rumours: meter.counter("swim_stale_rumours"),
            late_timers: meter.counter("swim_late_timers"),
            relays_refused: meter.counter("swim_relays_refused"),
            packets_out: meter.counter("swim_packets_out"),
            bytes_out: meter.counter("swim_out_bytes"),
            packets_in: meter.counter("swim_packets_in"),
            refused_foreign: meter.counter("swim_refused_foreign_cluster"),
            refused_unauthentic: meter.counter("swim_refused_unauthentic"),
            refused_malformed: meter.counter("swim_refused_malformed"),
            refused_other: meter.counter("swim_refused_other"),
            members: meter.gauge("swim_members"),
            local_health: meter.gauge("swim_local_health"),
        }
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::ForeignCluster => &self.refused_foreign,
            Refusal::Unsealed | Refusal::Sealed | Refusal::Unauthentic => &self.refused_unauthentic,
            Refusal::Short
            | Refusal::Long
            | Refusal::Damaged
            | Refusal::Version(_)
            | Refusal::Malformed(_) => &self.refused_malformed,
            Refusal::NotForMe | Refusal::FromMyself | Refusal::StaleSender => &self.refused_other,
        }
        .add(1);
    }
}
