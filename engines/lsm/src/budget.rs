//! One budget for all memory of a store.
//!
//! 1. Memtables have what they need: the one that takes writes its full size, and those that wait for their flush what they take. One
//!    of these is always counted, for it comes and goes with every flush; the cache has the room of the others as long as there are none.
//! 2. Filters, indexes and range tombstones of open tables take what they take, those of tables that only a reader still
//!    holds included: the more data, the more of it.
//! 3. A sixteenth is for buffers: of the log, flushes, compactions and cursors.
//! 4. The block cache has the rest: at most `cache_bytes`, at least a sixteenth of the budget, for a store that reads every
//!    block from its file is of no use to anybody.
//!
//! It is weighed anew whenever the tree changes and whenever a memtable is sealed.

use crate::Settings;
use crate::core::Core;
use nori_kv::stat;
use nori_sstable::Table;

/// The share of buffers, and the least of the cache.
const SHARE: u64 = 16;

/// The capacity of the cache beside tables that take `table_memory_bytes` and sealed memtables that take `sealed_bytes`.
fn cache_bytes(settings: &Settings, table_memory_bytes: u64, sealed_bytes: u64) -> usize {
    let memtables = settings.memtable_bytes + sealed_bytes.max(settings.memtable_bytes);
    let share = settings.memory_bytes / SHARE;
    let rest = settings.memory_bytes.saturating_sub(memtables + share + table_memory_bytes);
    settings.cache_bytes.min(rest.max(share) as usize)
}

impl Core {
    /// Gives the cache what tables and memtables leave.
    pub(crate) fn weigh_memory(&self) {
        if let Some(shared) = &self.shared {
            return self.weigh_shared(shared);
        }
        let tables = self.tables.memory_bytes() as u64;
        let sealed = self.super_version.load().sealed_bytes();
        self.tables.cache.resize(cache_bytes(&self.settings, tables, sealed));
    }

    /// What each owner has of the budget, by its name in [`stat`].
    pub(crate) fn memory(&self) -> [(&'static str, u64); 6] {
        let sv = self.super_version.load();
        let sealed = sv.sealed_bytes();
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
    fn filters_indexes_and_sealed_memtables_take_from_the_cache_and_never_all_of_it() {
        let settings = Settings::for_memory(64 << 20);
        for sealed in 0..3_u64 {
            let sealed_bytes = sealed * settings.memtable_bytes;
            let memtables = settings.memtable_bytes * (1 + sealed.max(1));
            let mut before = settings.cache_bytes;
            for mib in 0..200_u64 {
                let cache = cache_bytes(&settings, mib << 20, sealed_bytes);
                assert!(cache <= before && cache >= 4 << 20, "{mib} MiB of tables: {cache}");
                if cache > 4 << 20 {
                    assert!(memtables + (mib << 20) + cache as u64 <= 60 << 20, "{mib}: {cache}");
                }
                before = cache;
            }
            assert_eq!(before, 4 << 20);
        }
    }

    #[test]
    fn as_long_as_one_memtable_waits_at_most_the_cache_has_the_room_of_the_other() {
        let settings = Settings::for_memory(64 << 20);
        let (memtable, tables) = (settings.memtable_bytes, 6 << 20);
        let cache = |sealed: u64| cache_bytes(&settings, tables, sealed * memtable);
        assert_eq!([cache(0), cache(1), cache(2)].map(|bytes| bytes >> 20), [36, 36, 30]);
    }
}
