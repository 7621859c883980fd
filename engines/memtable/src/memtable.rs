//! The seam.

use nori_kv::{EntryCursor, EntryRef, SeqNo};
use std::fmt;
use std::sync::Arc;

/// A sorted map of versions of keys, filled by many threads, read by many more, and never emptied.
///
/// # Contract
///
/// * `insert` takes puts and tombstones (not range tombstones). No two entries agree in key *and*
///   sequence number; entries of one key may come in any order of sequence numbers.
/// * **Once `insert` has returned, every `get` and every cursor made afterwards sees the entry.** While
///   it runs they may or may not; they never see half an entry.
/// * `get(key, at)` is the version of `key` with the largest sequence number `<= at`, of any kind.
/// * A cursor sees at least every entry whose insert had returned when the cursor was made, each
///   once and in order; of later ones it may see some. It keeps the memtable alive.
/// * Lent bytes stay in place as long as the memtable lives.
/// * Reads do not wait for more than the insert of one entry, or for work that inserts have put off until
///   somebody reads.
/// * `seal` is called when no insert is running; an insert afterwards panics, and a further `seal` changes nothing.
pub trait Memtable: fmt::Debug + Send + Sync {
    /// Adds an entry; key and value are copied. Panics on a key or value of 4 GiB or more, on a
    /// range tombstone, and after `seal`.
    fn insert(&self, entry: EntryRef<'_>);

    /// The newest version of `key` that is not newer than `at`.
    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>>;

    /// A cursor over all entries, off both ends.
    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor>;

    /// Memory in use, in bytes: never less than what was written to, and at most a few per cent more.
    fn bytes(&self) -> u64;

    /// The number of entries.
    fn len(&self) -> usize;

    /// Ends writing. An implementation may now rearrange itself for reads.
    fn seal(&self);

    /// Whether there are no entries.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes memtables of one kind.
pub trait MemtableFactory: fmt::Debug + Send + Sync {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;

    /// An empty memtable.
    fn create(&self) -> Arc<dyn Memtable>;

    /// A factory of the same kind whose memtables carry a hash index of newest versions; `None` if
    /// they cannot.
    fn indexed(&self) -> Option<Arc<dyn MemtableFactory>> {
        None
    }
}
