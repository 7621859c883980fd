//! One budget for all memory of a store.
//!
//! 1. Memtables have their share: one that takes writes, and those that wait for their flush.
//! 2. Filters, indexes and range tombstones of open tables take what they take, those of tables that only a reader still
//!    holds included: the more data, the more of it.
//! 3. A sixteenth is for buffers: of the log, flushes, compactions and cursors.
//! 4. The block cache has the rest: at most `cache_bytes`, at least a sixteenth of the budget, for a store that reads every
//!    block from its file is of no use to anybody.
//!
//! It is weighed anew whenever the tree changes.

use crate::Settings;
use crate::core::Core;
use nori_kv::stat;
use nori_sstable::Table;

/// The share of buffers, and the least of the cache.
const SHARE: u64 = 16;

/// The capacity of the cache beside tables that take `table_memory_bytes`.
pub(crate) fn cache_bytes(settings: &Settings, table_memory_bytes: u64) -> usize {
    let memtables = settings.memtable_bytes * (1 + settings.memtables_sealed_max as u64);
    let share = settings.memory_bytes / SHARE;
    let rest = settings.memory_bytes.saturating_sub(memtables + share + table_memory_bytes);
    settings.cache_bytes.min(rest.max(share) as usize)
}

impl Core {
    /// Gives the cache what the tables leave.
    pub(crate) fn weigh_memory(&self) {
        let tables = self.tables.memory_bytes() as u64;
        self.tables.cache.resize(cache_bytes(&self.settings, tables));
    }

    /// What each owner has of the budget, by its name in [`stat`].
    pub(crate) fn memory(&self) -> [(&'static str, u64); 6] {
        let sv = self.super_version.load();
        let sealed: u64 = sv.sealed.iter().map(|sealed| sealed.mem.bytes()).sum();
        let of_tables = |bytes: fn(&Table) -> usize| {
            sv.version.tables().map(|table| bytes(table) as u64).sum::<u64>()
        };
        [
            (stat::MEMTABLE_BYTES, sealed + sv.active.bytes()),
            (stat::MEMTABLES_SEALED_BYTES, sealed),
            (stat::CACHE_BYTES, self.tables.cache.bytes() as u64),
            (stat::TABLE_MEMORY_BYTES, self.tables.memory_bytes() as u64),
            (stat::FILTER_BYTES, of_tables(Table::filter_bytes)),
            (stat::INDEX_BYTES, of_tables(Table::index_bytes)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_indexes_take_from_the_cache_and_never_all_of_it() {
        let settings = Settings::for_memory(64 << 20);
        assert_eq!(cache_bytes(&settings, 0), settings.cache_bytes, "room for all");
        let mut before = settings.cache_bytes;
        for mib in 0..200_u64 {
            let cache = cache_bytes(&settings, mib << 20);
            assert!(cache <= before && cache >= 4 << 20, "{mib} MiB of tables: {cache}");
            let memtables = settings.memtable_bytes * 3;
            if cache > 4 << 20 {
                assert!(memtables + (mib << 20) + cache as u64 <= 60 << 20, "{mib}: {cache}");
            }
            before = cache;
        }
        assert_eq!(before, 4 << 20);
    }
}
