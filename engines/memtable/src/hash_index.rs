//! A hash index of newest versions, beside any ordered memtable: a get need not walk.
//!
//! The index holds, for each user key, the record of its newest version. A get for the present asks it
//! alone: what is found is the answer, and what is not there is nowhere. Only a get for a time before
//! the newest version goes down the ordered memtable. Cursors always do.
//!
//! It is split into *shards* by the high bits of the key's hash. Each has a table of slots, searched from
//! the place that the low bits say, slot by slot, up to an empty one:
//!
//! 1. A writer first inserts into the ordered memtable, then takes the shard's mutex and finds the key's
//!    slot. A newer version replaces the record; a new key takes the empty slot.
//! 2. When a table would be more than 13/16 full, the writer copies it into one of twice the size and
//!    publishes that. Old tables stay, because readers may be in them: they are as large as the present
//!    one, taken together.
//! 3. A reader loads the table, then slots, and takes no lock. A slot is one word: the record's address and
//!    16 bits of the hash, so that a record is looked at only if it is almost certainly the one.
//!
//! What a table's size is stands in the word that says where its slots are: in a store of many memtables each line of
//! memory is a wait, and there are two on the way to a record, the shard's and the slot's.
//!
//! A reader in an old table misses only what was inserted after its get began.

#![expect(unsafe_code, reason = "slots hold records of the memtable beside them")]

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::record::Record;
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::Mutex;
use std::ptr::null_mut;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// As many shards as 2 to this: so many that a writer who makes a table larger, in a memtable of the default
/// size, copies about 12,000 entries; so few that an empty index is small beside the smallest memtable.
const SHARD_BITS: u32 = 5;
const SLOTS_MIN: usize = 4;
/// So many slots ahead of where a table is copied its records are asked for.
const PREFETCHED: usize = 8;
/// A record's address has this many bits: so have all of x86-64 and AArch64 with tables of four levels.
const ADDRESS_BITS: u32 = 48;
const ADDRESS: usize = (1 << ADDRESS_BITS) - 1;

/// An ordered memtable and its index.
#[derive(Debug, Default)]
pub(crate) struct HashIndexed<M> {
    ordered: M,
    /// Invariant: it holds records of `ordered` only, and the newest version of every key whose insert
    /// has returned.
    index: HashIndex,
}

#[derive(Debug)]
struct HashIndex {
    shards: Box<[Shard]>,
    bytes: AtomicU64,
}

/// A part of the index on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    /// The first slot of the newest of `writer.tables`, with the binary logarithm of its length above the address; null before
    /// there is one.
    table: AtomicPtr<Slot>,
    writer: Mutex<ShardWriter>,
}

#[derive(Debug, Default)]
struct ShardWriter {
    /// All tables there ever were, the present one last.
    tables: Vec<Arc<Table>>,
    /// Slots taken in the present one: `taken * 16 <= slots * 13`.
    taken: usize,
}

/// Invariant: the number of slots is a power of two, and some of them are empty.
type Table = [Slot];

/// A record's address with the tag of its key's hash above it, or null.
///
/// Invariant: once it is not null, it stays with one key.
#[derive(Debug, Default)]
struct Slot(AtomicPtr<u8>);

/// Bits of the hash, at their place in a slot, that choose neither the shard nor (below 2^40 slots) the
/// place in the table.
#[inline]
fn tag(hash: u64) -> usize {
    ((hash >> (u64::BITS - SHARD_BITS - 16)) as usize) << ADDRESS_BITS
}

#[inline]
fn hash_of(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

impl Slot {
    fn store(&self, hash: u64, record: Record, order: Ordering) {
        let tagged = record.as_ptr().map_addr(|address| {
            assert!(address & !ADDRESS == 0, "an address of more than 48 bits");
            address | tag(hash)
        });
        self.0.store(tagged, order);
    }
}

fn table_of(slots: usize) -> Arc<Table> {
    (0..slots).map(|_| Slot::default()).collect()
}

/// The slot of `key` in `table` and the record in it; or the empty slot where the key would be.
///
/// # Safety
/// The arena of the records is alive.
#[inline]
unsafe fn find<'t>(table: &'t Table, hash: u64, key: &[u8]) -> (&'t Slot, Option<Record>) {
    let mask = table.len() - 1;
    let mut at = hash as usize & mask;
    loop {
        let slot = &table[at];
        let tagged = slot.0.load(Acquire);
        if tagged.is_null() {
            return (slot, None);
        }
        if tagged.addr() & !ADDRESS == tag(hash) {
            // SAFETY: without the tag this is the address of a record; the caller keeps the arena.
            let record = unsafe { Record::from_ptr(tagged.map_addr(|at| at & ADDRESS)) };
            // SAFETY: as above.
            if record.is_some_and(|record| unsafe { record.position() }.0 == key) {
                return (slot, record);
            }
        }
        at = (at + 1) & mask;
    }
}

/// A table of twice the size with the records of `table`. Only under the writer's mutex.
///
/// # Safety
/// The arena of the records is alive.
unsafe fn grown(table: &Table) -> Arc<Table> {
    let larger = table_of(table.len() * 2);
    let mask = larger.len() - 1;
    // SAFETY: this is null or the address of a record.
    let record_of =
        |slot: &Slot| unsafe { Record::from_ptr(slot.0.load(Relaxed).map_addr(|at| at & ADDRESS)) };
    for (n, slot) in table.iter().enumerate() {
        // Records are all over the arena; the next ones are on their way while this one is hashed.
        if let Some(record) = table.get(n + PREFETCHED).and_then(record_of) {
            record.prefetch();
        }
        let Some(record) = record_of(slot) else { continue };
        // SAFETY: the caller keeps the arena.
        let hash = hash_of(unsafe { record.position() }.0);
        let mut at = hash as usize & mask;
        while !larger[at].0.load(Relaxed).is_null() {
            at = (at + 1) & mask;
        }
        larger[at].store(hash, record, Relaxed);
    }
    larger
}

impl Shard {
    /// The present table, if there is one.
    #[inline]
    fn present(&self) -> Option<&Table> {
        let tagged = self.table.load(Acquire);
        if tagged.is_null() {
            return None;
        }
        let slots = 1_usize << (tagged.addr() >> ADDRESS_BITS);
        // SAFETY: `publish` put both here of a table that is freed with `self` only.
        Some(unsafe { slice::from_raw_parts(tagged.map_addr(|at| at & ADDRESS), slots) })
    }

    /// Makes `table` the present one.
    fn publish(&self, writer: &mut ShardWriter, table: Arc<Table>) {
        let size = (table.len().ilog2() as usize) << ADDRESS_BITS;
        let tagged = Arc::as_ptr(&table).cast::<Slot>().cast_mut().map_addr(|address| {
            assert!(address & !ADDRESS == 0, "an address of more than 48 bits");
            address | size
        });
        // First it is kept, then it is seen.
        writer.tables.push(table);
        self.table.store(tagged, Release);
    }
}

impl Default for HashIndex {
    fn default() -> Self {
        let shards: Box<[Shard]> = (0..1 << SHARD_BITS).map(|_| Shard::default()).collect();
        let bytes = AtomicU64::new(size_of_val(&*shards) as u64);
        Self { shards, bytes }
    }
}

impl HashIndex {
    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> (u64::BITS - SHARD_BITS)) as usize]
    }

    /// The record of the newest version of `key`.
    ///
    /// # Safety
    /// The arena of the records is alive.
    #[inline]
    unsafe fn newest(&self, key: &[u8]) -> Option<Record> {
        let hash = hash_of(key);
        let table = self.shard(hash).present()?;
        // SAFETY: the caller keeps the arena.
        unsafe { find(table, hash, key) }.1
    }

    /// Takes note of a version of `key`.
    ///
    /// # Safety
    /// The arena of `record` lives as long as `self`.
    unsafe fn note(&self, key: &[u8], seqno: SeqNo, record: Record) {
        let hash = hash_of(key);
        let shard = self.shard(hash);
        let mut writer = shard.writer.lock();
        if let Some(table) = shard.present() {
            // SAFETY: the records of the index are of one arena, which the caller keeps.
            let (slot, present) = unsafe { find(table, hash, key) };
            if let Some(present) = present {
                // SAFETY: as above.
                if unsafe { present.position() }.1 < seqno {
                    slot.store(hash, record, Release);
                }
                return;
            }
            if (writer.taken + 1) * 16 <= table.len() * 13 {
                slot.store(hash, record, Release);
                writer.taken += 1;
                return;
            }
        }
        // SAFETY: as above.
        let table = unsafe { self.larger(shard, &mut writer) };
        // SAFETY: as above.
        let (slot, _) = unsafe { find(table, hash, key) };
        slot.store(hash, record, Release);
        writer.taken += 1;
    }

    /// A larger table with the same records, or the first one.
    ///
    /// # Safety
    /// The arena of the records is alive.
    unsafe fn larger<'s>(&self, shard: &'s Shard, writer: &mut ShardWriter) -> &'s Table {
        let table = match shard.present() {
            // SAFETY: as the caller says.
            Some(present) => unsafe { grown(present) },
            None => table_of(SLOTS_MIN),
        };
        self.bytes.fetch_add(size_of_val(&*table) as u64, Relaxed);
        shard.publish(writer, table);
        shard.present().expect("one was published")
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // Nobody reads any more; a dangling address would only look as if somebody could.
        *self.table.get_mut() = null_mut();
    }
}

impl<M: Kind> Memtable for HashIndexed<M> {
    fn insert(&self, entry: EntryRef<'_>) {
        let record = self.ordered.add(entry);
        // SAFETY: the arena is that of `ordered`, which lives as long as the index.
        unsafe { self.index.note(entry.key, entry.seqno, record) };
    }

    #[inline]
    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        // SAFETY: the arena is that of `ordered`, which lives as long as `self`.
        let newest = unsafe { self.index.newest(key)?.entry() };
        if newest.seqno <= at { Some(newest) } else { self.ordered.get(key, at) }
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(RecordCursor::new(self))
    }

    fn bytes(&self) -> u64 {
        self.ordered.bytes() + self.index.bytes.load(Relaxed)
    }

    fn len(&self) -> usize {
        self.ordered.len()
    }

    fn seal(&self) {
        self.ordered.seal();
    }
}

impl<M: Kind> Neighbours for HashIndexed<M> {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        self.ordered.from(key, seqno, beyond, out);
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        self.ordered.before(position, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BTreeMemtable;
    use nori_kv::Kind::{Delete, Put};

    #[test]
    fn an_older_version_that_comes_late_does_not_hide_the_newest() {
        let memtable = HashIndexed::<BTreeMemtable>::default();
        for (seqno, kind) in [(5, Put), (9, Delete), (7, Put)] {
            let seqno = SeqNo::new(seqno).unwrap();
            memtable.insert(EntryRef { key: b"k", seqno, kind, expires: None, value: b"" });
        }
        let seen = |at| memtable.get(b"k", SeqNo::new(at).unwrap()).map(|e| e.seqno.value());
        assert_eq!(
            [4, 5, 6, 7, 8, 9, 99].map(seen),
            [None, Some(5), Some(5), Some(7), Some(7), Some(9), Some(9)]
        );
    }

    #[test]
    fn a_small_memtable_is_not_filled_by_its_index() {
        let memtable = HashIndexed::<BTreeMemtable>::default();
        assert!(memtable.bytes() <= 2 << 10, "{} bytes for nothing", memtable.bytes());
        for n in 0..100_u64 {
            let (key, seqno) = (n.to_be_bytes(), SeqNo::new(n + 1).unwrap());
            memtable.insert(EntryRef { key: &key, seqno, kind: Put, expires: None, value: b"" });
        }
        assert!(memtable.index.bytes.load(Relaxed) <= 6 << 10, "of a hundred keys");
    }

    #[test]
    fn tables_are_never_too_full_and_hold_each_key_once() {
        let memtable = HashIndexed::<BTreeMemtable>::default();
        for n in 0..40_000_u64 {
            let (key, seqno) = ((n % 10_000).to_be_bytes(), SeqNo::new(n + 1).unwrap());
            memtable.insert(EntryRef { key: &key, seqno, kind: Put, expires: None, value: b"" });
        }
        let mut taken = 0;
        for shard in &memtable.index.shards {
            let writer = shard.writer.lock();
            let table = writer.tables.last().unwrap();
            let full = table.iter().filter(|slot| !slot.0.load(Relaxed).is_null()).count();
            assert_eq!(full, writer.taken);
            assert!(full * 16 <= table.len() * 13);
            taken += full;
        }
        assert_eq!(taken, 10_000);
    }
}
