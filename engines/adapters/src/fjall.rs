//! fjall 3 behind the seam.
//!
//! **Durability.** `os` is fjall's own default: each write goes to the journal with one `write(2)` before it
//! returns. `sync` asks for `PersistMode::SyncData` with the write. `group` writes as `os` and syncs by
//! the clock. `none` leaves the write in the journal's buffer inside the process.
//!
//! **Reads.** A point read asks for the newest version, as fjall's own `get` does. Outside a snapshot two
//! such reads can fall before and after one key of a batch that is being written; cursors and snapshots
//! see batches whole.
//!
//! **Matched.** Half of the memory goes to the block cache and a quarter is the size of a memtable, of which one
//! is active while another is flushed; fjall has no budget of its own.

use crate::Preset;
use crate::book::Book;
use crate::peer::{Peer, Store, View, two_way};
use crate::walk::{Bounds, Direction, Walk, Walks};
use ::fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use ::fjall::{
    CompressionType, Database, Iter, Keyspace, KeyspaceCreateOptions, KvPair, LsmError,
    PersistMode, Readable, Snapshot,
};
use nori_kv::{
    Capabilities, Cursor, Durability, Error, Feature, KeyRange, Kind, Result, Row, WriteBatch, stat,
};
use std::sync::Arc;
use std::time::Duration;

/// fjall's own limit.
const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// Below it fjall would seal a memtable every few thousand writes.
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
/// As in the filters of the engines it is compared with.
const FILTER_BITS_PER_KEY: f32 = 10.0;
/// How often settling looks whether work is left, and how often in a row it must find none: fjall tells what
/// runs, not what is about to.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
const SETTLE_QUIET: u32 = 5;

/// The cache and the memtable of a memory budget.
fn split(memory_bytes: u64) -> (u64, u64) {
    (memory_bytes / 2, (memory_bytes / 4).max(MEMTABLE_BYTES_MIN))
}

/// See the module.
pub(crate) struct Fjall;

impl Peer for Fjall {
    type Store = FjallStore;
    const MATCHED: &'static str = "fjall";
    const SHIPPED: &'static str = "fjall:default";

    fn row() -> Capabilities {
        let features = [
            Feature::Snapshots,
            Feature::Reverse,
            Feature::ReadMany,
            Feature::Flush,
            Feature::Compact,
            Feature::Settle,
            Feature::Batches,
            Feature::Lock,
        ];
        let mut row = Capabilities::new(&Capabilities::ALL_DURABILITIES, &features, KEY_BYTES_MAX);
        row.has_empty_key = false;
        row
    }

    fn settings(preset: Preset) -> Vec<(&'static str, String)> {
        let mut rows = match preset {
            Preset::Shipped => vec![("preset", "as shipped".to_owned())],
            Preset::Matched { memory_bytes } => {
                let (cache, memtable) = split(memory_bytes);
                vec![
                    ("cache_bytes", cache.to_string()),
                    ("memtable_bytes", memtable.to_string()),
                    ("filter", format!("bloom, {FILTER_BITS_PER_KEY} bits a key on every level")),
                    ("compression", "none, journal and tables".to_owned()),
                ]
            }
        };
        rows.push(("version", "3.1".to_owned()));
        rows
    }

    fn open(book: Book, preset: Preset) -> Result<FjallStore> {
        let mut builder = Database::builder(book.store());
        let mut options = KeyspaceCreateOptions::default();
        if let Preset::Matched { memory_bytes } = preset {
            let (cache, memtable) = split(memory_bytes);
            let bloom = BloomConstructionPolicy::BitsPerKey(FILTER_BITS_PER_KEY);
            builder = builder.cache_size(cache).journal_compression(CompressionType::None);
            options = options
                .max_memtable_size(memtable)
                .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(bloom)))
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None));
        }
        let db = builder.open().map_err(|e| explain(&book, "opening", e))?;
        let keyspace = db.keyspace("data", || options).map_err(|e| explain(&book, "opening", e))?;
        Ok(FjallStore { keyspace, db, book })
    }
}

/// Fields are dropped in order: the lock goes last.
pub(crate) struct FjallStore {
    keyspace: Keyspace,
    db: Database,
    book: Book,
}

/// fjall's error in the words of the seam.
fn explain(book: &Book, action: &'static str, error: ::fjall::Error) -> Error {
    use ::fjall::Error as Fjall;
    match error {
        Fjall::Io(source) | Fjall::Storage(LsmError::Io(source)) => book.io(action, source),
        Fjall::Locked => {
            Error::Busy { what: format!("the store in {} is open", book.store().display()) }
        }
        Fjall::Poisoned => {
            book.io(action, std::io::Error::other("an earlier write failed")).poison()
        }
        other => book.corrupt(other.to_string()),
    }
}

impl FjallStore {
    /// Writes operations the short way, which persists as `os` does.
    fn write_singly(&self, batch: &WriteBatch) -> ::fjall::Result<()> {
        batch.iter().try_for_each(|(op, key, value)| match op.kind {
            Kind::Put => self.keyspace.insert(key, value),
            _ => self.keyspace.remove(key),
        })
    }

    fn write_batch(&self, batch: &WriteBatch, mode: Option<PersistMode>) -> ::fjall::Result<()> {
        let mut theirs = self.db.batch().durability(mode);
        for (op, key, value) in batch.iter() {
            match op.kind {
                Kind::Put => theirs.insert(&self.keyspace, key, value),
                _ => theirs.remove(&self.keyspace, key),
            }
        }
        theirs.commit()
    }
}

impl Store for FjallStore {
    type View = FjallView;

    fn book(&self) -> &Book {
        &self.book
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        let written = match durability {
            Durability::None => self.write_batch(batch, None),
            Durability::Sync if batch.is_empty() => self.db.persist(PersistMode::SyncData),
            Durability::Sync => self.write_batch(batch, Some(PersistMode::SyncData)),
            _ if batch.len() == 1 => self.write_singly(batch),
            _ => self.write_batch(batch, Some(PersistMode::Buffer)),
        };
        written.map_err(|e| explain(&self.book, "writing", e))
    }

    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let found = self.keyspace.get(key).map_err(|e| explain(&self.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn view(self: Arc<Self>) -> Result<FjallView> {
        Ok(FjallView { snapshot: self.db.snapshot(), store: self })
    }

    fn sync(&self) -> Result<()> {
        let synced = self.db.persist(PersistMode::SyncData);
        synced.map_err(|e| explain(&self.book, "syncing", e))
    }

    fn count(&self, numbers: &mut Vec<(&'static str, u64)>) {
        let Self { db, keyspace, .. } = self;
        numbers.extend([
            (stat::COMPACTIONS, db.compactions_completed() as u64),
            (stat::COMPACTIONS_RUNNING, db.active_compactions() as u64),
            (stat::MEMTABLES_SEALED, keyspace.sealed_memtable_count() as u64),
            (stat::MEMTABLE_BYTES, db.write_buffer_size()),
            (stat::CACHE_BYTES, db.cache_size()),
            (stat::TABLE_BYTES, keyspace.disk_space()),
            ("tables", keyspace.table_count() as u64),
        ]);
    }

    fn flush(&self) -> Result<()> {
        let flushed = self.keyspace.rotate_memtable_and_wait();
        flushed.map_err(|e| explain(&self.book, "flushing", e))
    }

    /// fjall compacts all or nothing, so the range is taken as everything.
    fn compact(&self, _range: &KeyRange) -> Result<()> {
        self.flush()?;
        let compacted = self.keyspace.major_compact();
        compacted.map_err(|e| explain(&self.book, "compacting", e))
    }

    fn settle(&self) -> Result<()> {
        let mut quiet = 0;
        while quiet < SETTLE_QUIET {
            let is_busy = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
            quiet = if is_busy { 0 } else { quiet + 1 };
            std::thread::sleep(SETTLE_PAUSE);
        }
        Ok(())
    }
}

/// Fields are dropped in order: the snapshot before the store.
#[derive(Clone)]
pub(crate) struct FjallView {
    snapshot: Snapshot,
    store: Arc<FjallStore>,
}

impl View for FjallView {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let found = self.snapshot.get(&self.store.keyspace, key);
        let found = found.map_err(|e| explain(&self.store.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        Ok(two_way(self.clone(), range))
    }
}

impl Walks for FjallView {
    type Walk = FjallWalk;

    fn start(
        &mut self,
        _old: Option<FjallWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<FjallWalk> {
        let iter = self.snapshot.range::<&[u8], _>(&self.store.keyspace, bounds);
        Ok(FjallWalk { iter, way, row: None, store: Arc::clone(&self.store) })
    }
}

pub(crate) struct FjallWalk {
    iter: Iter,
    way: Direction,
    row: Option<KvPair>,
    store: Arc<FjallStore>,
}

impl Walk for FjallWalk {
    fn step(&mut self) -> Result<bool> {
        let next = match self.way {
            Direction::Up => self.iter.next(),
            Direction::Down => self.iter.next_back(),
        };
        let row = next.map(::fjall::Guard::into_inner).transpose();
        self.row = row.map_err(|e| explain(&self.store.book, "reading", e))?;
        Ok(self.row.is_some())
    }

    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key, value })
    }
}
