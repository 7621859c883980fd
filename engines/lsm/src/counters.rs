//! What the engine counts besides its tables.

use nori_kv::stat;
use nori_observe::{Counter, Meter};

/// Handles, fetched once.
pub(crate) struct Counters {
    pub(crate) user_bytes_in: Counter,
    pub(crate) user_bytes_out: Counter,
    pub(crate) writes: Counter,
    pub(crate) point_reads: Counter,
    pub(crate) scan_entries: Counter,
    pub(crate) wal_bytes: Counter,
    pub(crate) wal_syncs: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_bytes: Counter,
    pub(crate) compactions: Counter,
    pub(crate) trivial_moves: Counter,
    pub(crate) compaction_bytes_read: Counter,
    pub(crate) compaction_bytes_written: Counter,
    pub(crate) plans_refused: Counter,
    pub(crate) stalls: Counter,
    pub(crate) stall_micros: Counter,
}

impl Counters {
    pub(crate) fn new(meter: &dyn Meter) -> Self {
        Self {
            user_bytes_in: meter.counter(stat::USER_BYTES_IN),
            user_bytes_out: meter.counter(stat::USER_BYTES_OUT),
            writes: meter.counter(stat::WRITES),
            point_reads: meter.counter(stat::POINT_READS),
            scan_entries: meter.counter(stat::SCAN_ENTRIES),
            wal_bytes: meter.counter(stat::WAL_BYTES),
            wal_syncs: meter.counter(stat::WAL_SYNCS),
            flushes: meter.counter(stat::FLUSHES),
            flush_bytes: meter.counter(stat::FLUSH_BYTES),
            compactions: meter.counter(stat::COMPACTIONS),
            trivial_moves: meter.counter(stat::TRIVIAL_MOVES),
            compaction_bytes_read: meter.counter(stat::COMPACTION_BYTES_READ),
            compaction_bytes_written: meter.counter(stat::COMPACTION_BYTES_WRITTEN),
            plans_refused: meter.counter(stat::PLANS_REFUSED),
            stalls: meter.counter(stat::STALLS),
            stall_micros: meter.counter(stat::STALL_MICROS),
        }
    }

    pub(crate) fn numbers(&self) -> [(&'static str, u64); 16] {
        [
            (stat::USER_BYTES_IN, self.user_bytes_in.value()),
            (stat::USER_BYTES_OUT, self.user_bytes_out.value()),
            (stat::WRITES, self.writes.value()),
            (stat::POINT_READS, self.point_reads.value()),
            (stat::SCAN_ENTRIES, self.scan_entries.value()),
            (stat::WAL_BYTES, self.wal_bytes.value()),
            (stat::WAL_SYNCS, self.wal_syncs.value()),
            (stat::FLUSHES, self.flushes.value()),
            (stat::FLUSH_BYTES, self.flush_bytes.value()),
            (stat::COMPACTIONS, self.compactions.value()),
            (stat::TRIVIAL_MOVES, self.trivial_moves.value()),
            (stat::COMPACTION_BYTES_READ, self.compaction_bytes_read.value()),
            (stat::COMPACTION_BYTES_WRITTEN, self.compaction_bytes_written.value()),
            (stat::PLANS_REFUSED, self.plans_refused.value()),
            (stat::STALLS, self.stalls.value()),
            (stat::STALL_MICROS, self.stall_micros.value()),
        ]
    }
}
