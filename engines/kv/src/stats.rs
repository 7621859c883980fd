//! What an engine counts, by name: the bench, the claims and the dashboard read nothing else.

/// The names of the numbers in [`EngineStats`], units last. An engine leaves out what it does not know.
pub mod stat {
    /// Bytes of keys and values written by the user.
    pub const USER_BYTES_IN: &str = "user_bytes_in";
    /// Bytes of keys and values handed to the user.
    pub const USER_BYTES_OUT: &str = "user_bytes_out";
    /// Operations written by the user.
    pub const WRITES: &str = "writes";
    /// Point reads.
    pub const POINT_READS: &str = "point_reads";
    /// Bytes appended to the log.
    pub const WAL_BYTES: &str = "wal_bytes";
    /// Syncs of the log.
    pub const WAL_SYNCS: &str = "wal_syncs";
    /// Memtables flushed.
    pub const FLUSHES: &str = "flushes";
    /// Bytes of tables written by flushes.
    pub const FLUSH_BYTES: &str = "flush_bytes";
    /// Compactions that merged.
    pub const COMPACTIONS: &str = "compactions";
    /// Compactions that only moved tables.
    pub const TRIVIAL_MOVES: &str = "trivial_moves";
    /// Bytes of tables read by compactions.
    pub const COMPACTION_BYTES_READ: &str = "compaction_bytes_read";
    /// Bytes of tables written by compactions.
    pub const COMPACTION_BYTES_WRITTEN: &str = "compaction_bytes_written";
    /// Plans that the validator refused.
    pub const PLANS_REFUSED: &str = "plans_refused";
    /// Sorted runs probed by point reads.
    pub const RUNS_PROBED: &str = "runs_probed";
    /// Filters asked by point reads.
    pub const FILTER_PROBES: &str = "filter_probes";
    /// Filters that said no.
    pub const FILTER_NEGATIVES: &str = "filter_negatives";
    /// Filters that said perhaps where there was nothing.
    pub const FILTER_FALSE_POSITIVES: &str = "filter_false_positives";
    /// Filters that cursors asked whether a table holds keys of a prefix.
    pub const PREFIX_PROBES: &str = "prefix_probes";
    /// Of these, filters that said no: a run was passed by.
    pub const PREFIX_NEGATIVES: &str = "prefix_negatives";
    /// Blocks looked at.
    pub const BLOCKS_FETCHED: &str = "blocks_fetched";
    /// Blocks looked at that were in the cache.
    pub const CACHE_HITS: &str = "cache_hits";
    /// Blocks looked at that were read from a file.
    pub const CACHE_MISSES: &str = "cache_misses";
    /// Entries that scans passed over or returned.
    pub const SCAN_ENTRIES: &str = "scan_entries";
    /// Microseconds that writers were held up.
    pub const STALL_MICROS: &str = "stall_micros";
    /// Times that writers were held up.
    pub const STALLS: &str = "stalls";
    /// Compactions that have begun and not ended.
    pub const COMPACTIONS_RUNNING: &str = "compactions_running";
    /// Memtables that wait for their flush, or are being flushed.
    pub const MEMTABLES_SEALED: &str = "memtables_sealed";
    /// Bytes of these.
    pub const MEMTABLES_SEALED_BYTES: &str = "memtables_sealed_bytes";
    /// Bytes of memtables, of the sealed ones too.
    pub const MEMTABLE_BYTES: &str = "memtable_bytes";
    /// Bytes of cached blocks.
    pub const CACHE_BYTES: &str = "cache_bytes";
    /// Bytes of filters, indexes and range tombstones in memory, of tables that only a reader holds too.
    pub const TABLE_MEMORY_BYTES: &str = "table_memory_bytes";
    /// Bytes of the filters of live tables in memory.
    pub const FILTER_BYTES: &str = "filter_bytes";
    /// Bytes of the indexes of live tables in memory.
    pub const INDEX_BYTES: &str = "index_bytes";
    /// Bytes of live tables.
    pub const TABLE_BYTES: &str = "table_bytes";
    /// Bytes that compaction is behind.
    pub const DEBT_BYTES: &str = "debt_bytes";
    /// Point tombstones in live tables.
    pub const TOMBSTONES: &str = "tombstones";
    /// The last sequence number.
    pub const LAST_SEQNO: &str = "last_seqno";
}

/// What an engine has counted since it was opened, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Numbers by the names in [`stat`], and an engine's own. No name twice.
    pub numbers: Vec<(&'static str, u64)>,
    /// The levels from 0 on, for an engine that has levels.
    pub levels: Vec<LevelStats>,
}

/// One level of a log-structured engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Its sorted runs.
    pub runs: u64,
    /// Its tables.
    pub tables: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their entries.
    pub entries: u64,
    /// Their point tombstones.
    pub tombstones: u64,
    /// Bytes that compactions and flushes wrote into it since the engine was opened.
    pub bytes_written: u64,
}

impl EngineStats {
    /// The number called `name`, if the engine knows it.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}
