//! An engine's settings: numbers, each default with its source, and one budget they are cut from.

mod by_name;

pub use by_name::{BadSetting, SettingLine};

use nori_compaction::Shape;

/// The numbers of an engine. Objects are in [`crate::Components`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What memtables, cache, filters, indexes and buffers take together; see `budget`.
    pub memory_bytes: u64,
    /// A memtable is sealed at this size.
    pub memtable_bytes: u64,
    /// Writers stop while this many sealed memtables wait for their flush.
    pub memtables_sealed_max: usize,
    /// The capacity of the block cache, unless filters and indexes leave it less.
    pub cache_bytes: usize,
    /// The size at which a data block is closed.
    pub block_bytes: usize,
    /// Filter bits per key, before the budget distributes them.
    pub filter_bits_per_key: f64,
    /// Filters know also the first so many bytes of each key that has as many, so that a cursor over a range in which all keys
    /// begin alike can pass by a run; zero: they do not.
    pub filter_prefix_bytes: usize,
    /// The size at which a compaction's output table is closed.
    pub table_bytes: u64,
    /// How many times larger a level is than the one above.
    pub size_ratio: u64,
    /// Runs in level 0 that start a compaction.
    pub l0_runs_trigger: usize,
    /// Levels, level 0 included.
    pub levels_max: usize,
    /// The bytes whose merging costs as much as one seek of a cursor in a table: `leveled` merges down what was sought so often
    /// that it cost as much as that merge. Zero: reads start no compaction.
    pub seek_bytes: u64,
    /// Compactions that run at a time.
    pub compaction_jobs_max: usize,
}

/// 64 MiB: the write buffer that RocksDB ships with, beside a cache of half of it, plus filters and indexes.
pub const MEMORY_BYTES: u64 = 256 << 20;
/// The least memory the parts work in.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The most memory that may be asked for: no machine has it, so more is a slip of the pen.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;
/// 1 MiB: ten values of 100 kB. A flush of less costs more for its syncs than for its bytes.
pub const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
/// 4 MiB: a table of less costs more for its sync and its name than for its bytes. Memory it takes only for index and filter.
const TABLE_BYTES_MIN: u64 = 4 << 20;
/// 4 MiB in level 0 before they are merged, for each merge rewrites what they meet ...
const L0_BYTES_MIN: u64 = 4 << 20;
/// ... but no more runs than this, for each is a place where a read looks.
const L0_RUNS_TRIGGER_MAX: usize = 12;
/// 4 KiB: a page, and what RocksDB, LevelDB and fjall ship with.
pub const BLOCK_BYTES: usize = 4096;
/// 10: a false-positive rate of about one per cent, the choice of every peer.
pub const FILTER_BITS_PER_KEY: f64 = 10.0;
/// One that waits while one is flushed: a third would only delay the moment writers are slowed.
pub const MEMTABLES_SEALED_MAX: usize = 2;

impl Settings {
    /// The settings for a budget: an eighth for each memtable (one active, two sealed), up to 64 MiB; a sixteenth for buffers; the
    /// cache may have the rest, and gives way to filters and indexes.
    ///
    /// Of a budget below eight times [`MEMTABLE_BYTES_MIN`] memtables get up to a quarter each, and the cache not less than an
    /// eighth. Each flush costs its syncs however little it writes, while a small cache has the operating system's behind it.
    pub fn for_memory(memory_bytes: u64) -> Self {
        let memory_bytes = memory_bytes.max(MEMORY_BYTES_MIN);
        let eighth = memory_bytes / 8;
        let memtable_bytes = MEMTABLE_BYTES_MIN.min(2 * eighth).max(eighth);
        let memtable_bytes = memtable_bytes.min(nori_compaction::BUFFER_BYTES);
        let memtables = (1 + MEMTABLES_SEALED_MAX as u64) * memtable_bytes;
        let cache_bytes = (memory_bytes / 16 * 15).saturating_sub(memtables).max(eighth);
        Self {
            memory_bytes,
            memtable_bytes,
            memtables_sealed_max: MEMTABLES_SEALED_MAX,
            cache_bytes: cache_bytes as usize,
            block_bytes: BLOCK_BYTES,
            filter_bits_per_key: FILTER_BITS_PER_KEY,
            filter_prefix_bytes: 0,
            table_bytes: memtable_bytes.clamp(TABLE_BYTES_MIN, nori_compaction::TABLE_BYTES_TARGET),
            size_ratio: nori_compaction::SIZE_RATIO,
            l0_runs_trigger: usize::try_from(L0_BYTES_MIN / memtable_bytes)
                .unwrap_or(usize::MAX)
                .clamp(nori_compaction::L0_RUNS_TRIGGER, L0_RUNS_TRIGGER_MAX),
            levels_max: nori_compaction::LEVELS_MAX,
            seek_bytes: nori_compaction::SEEK_BYTES,
            compaction_jobs_max: 1,
        }
    }

    /// The tree's shape.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            buffer_bytes: self.memtable_bytes,
            size_ratio: self.size_ratio,
            table_bytes_target: self.table_bytes,
            l0_runs_trigger: self.l0_runs_trigger,
            levels_max: self.levels_max,
            seek_bytes: self.seek_bytes,
        }
        .clamped()
    }

    /// A segment holds what a memtable holds, with the headers of groups of one small operation.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.memtable_bytes + self.memtable_bytes / 4).max(4096).next_multiple_of(4096)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::for_memory(MEMORY_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_split_into_more_than_it_is() {
        let mut before = 0;
        for shift in 18..40 {
            for memory in [1u64 << shift, 3 << shift, 5 << shift] {
                let memory = memory.max(MEMORY_BYTES_MIN);
                let settings = Settings::for_memory(memory);
                let memtables = settings.memtable_bytes * (1 + MEMTABLES_SEALED_MAX as u64);
                let taken = memtables + settings.cache_bytes as u64;
                assert!(taken <= memory / 16 * 15, "{memory}: {taken}");
                assert!(settings.memtable_bytes >= MEMTABLE_BYTES_MIN.min(memory / 4));
            }
            let memtable = Settings::for_memory(1 << shift).memtable_bytes;
            assert!(memtable >= before, "a larger budget has a smaller memtable");
            before = memtable;
        }
        let usual = Settings::for_memory(MEMORY_BYTES);
        assert_eq!((usual.memtable_bytes, usual.cache_bytes), (32 << 20, 144 << 20));
    }
}
