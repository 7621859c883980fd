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
use crate::book::{self, Book};
use crate::timed::TimedSync;
use crate::walk::{Bounds, Direction, TwoWay, Walk, Walks};
use ::fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use ::fjall::{
    CompressionType, Database, Iter, Keyspace, KeyspaceCreateOptions, KvPair, LsmError,
    PersistMode, Readable, Snapshot,
};
use nori_kv::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, EngineStats, Error, Feature, KeyRange,
    Kind, Maintain, Parts, ReadOptions, Reader, Result, Row, SeqNo, Tier, WriteBatch, stat,
};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The peer's folder below the store's.
const STORE: &str = "fjall";
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

/// Opens fjall stores.
#[derive(Clone, Copy, Debug)]
pub struct FjallFactory {
    preset: Preset,
}

impl FjallFactory {
    /// A factory for one row.
    pub const fn new(preset: Preset) -> Self {
        Self { preset }
    }

    const fn label(self) -> &'static str {
        self.preset.name("fjall", "fjall:default")
    }
}

/// The cache and the memtable of a memory budget.
fn split(memory_bytes: u64) -> (u64, u64) {
    (memory_bytes / 2, (memory_bytes / 4).max(MEMTABLE_BYTES_MIN))
}

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

impl EngineFactory for FjallFactory {
    fn name(&self) -> &str {
        self.label()
    }

    fn capabilities(&self) -> Capabilities {
        row()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let rows: &[(&str, String)] = match self.preset {
            Preset::Shipped => &[("preset", "as shipped".into())],
            Preset::Matched { memory_bytes } => {
                let (cache, memtable) = split(memory_bytes);
                &[
                    ("cache_bytes", cache.to_string()),
                    ("memtable_bytes", memtable.to_string()),
                    ("filter", format!("bloom, {FILTER_BITS_PER_KEY} bits a key on every level")),
                    ("compression", "none, journal and tables".into()),
                ]
            }
        };
        let version = ("version".to_owned(), "3.1".to_owned());
        rows.iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .chain([version])
            .collect()
    }

    fn open(&self, dir: &Path, parts: Parts) -> Result<Arc<dyn Engine>> {
        let book = Book::open(self.label(), dir, STORE)?;
        let mut builder = Database::builder(book.store());
        let mut options = KeyspaceCreateOptions::default();
        if let Preset::Matched { memory_bytes } = self.preset {
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
        let core = Arc::new(Core { keyspace, db, book });
        let weak = Arc::downgrade(&core);
        let timed = TimedSync::new(&parts, Box::new(move || sync_if_open(&weak)));
        Ok(Arc::new(FjallEngine { core, timed, row: row() }))
    }

    fn destroy(&self, dir: &Path, _parts: &Parts) -> Result<()> {
        book::destroy(dir, STORE)
    }
}

/// What readers, cursors and timed syncs share. Fields are dropped in order: the lock goes last.
struct Core {
    keyspace: Keyspace,
    db: Database,
    book: Book,
}

fn sync_if_open(core: &Weak<Core>) -> Result<()> {
    let Some(core) = core.upgrade() else { return Ok(()) };
    let synced = core.db.persist(PersistMode::SyncData);
    synced.map_err(|e| core.book.failed(explain(&core.book, "syncing", e)))
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

fn refuse_cache_only(book: &Book, options: &ReadOptions) -> Result<()> {
    match options.tier {
        Tier::Any => Ok(()),
        Tier::CacheOnly => Err(book.unsupported("reads of memory alone")),
    }
}

struct FjallEngine {
    core: Arc<Core>,
    timed: TimedSync,
    row: Capabilities,
}

impl FjallEngine {
    fn now(&self) -> FjallSnapshot {
        FjallSnapshot { snapshot: self.core.db.snapshot(), core: Arc::clone(&self.core) }
    }

    /// Writes one operation the short way, which persists as `os` does.
    fn write_one(&self, batch: &WriteBatch) -> ::fjall::Result<()> {
        let keyspace = &self.core.keyspace;
        batch.iter().try_for_each(|(op, key, value)| match op.kind {
            Kind::Put => keyspace.insert(key, value),
            _ => keyspace.remove(key),
        })
    }

    fn write_batch(&self, batch: &WriteBatch, mode: Option<PersistMode>) -> ::fjall::Result<()> {
        let mut theirs = self.core.db.batch().durability(mode);
        for (op, key, value) in batch.iter() {
            match op.kind {
                Kind::Put => theirs.insert(&self.core.keyspace, key, value),
                _ => theirs.remove(&self.core.keyspace, key),
            }
        }
        theirs.commit()
    }
}

impl Reader for FjallEngine {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        refuse_cache_only(&self.core.book, options)?;
        let found =
            self.core.keyspace.get(key).map_err(|e| explain(&self.core.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.now().cursor(range, options)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.now().read_many(keys, options, sink)
    }
}

impl Engine for FjallEngine {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        let book = &self.core.book;
        book.admit(batch, &self.row)?;
        let written = match durability {
            Durability::Os | Durability::Group { .. } if batch.len() == 1 => self.write_one(batch),
            Durability::None => self.write_batch(batch, None),
            Durability::Os | Durability::Group { .. } => {
                self.write_batch(batch, Some(PersistMode::Buffer))
            }
            Durability::Sync if batch.is_empty() => self.core.db.persist(PersistMode::SyncData),
            Durability::Sync => self.write_batch(batch, Some(PersistMode::SyncData)),
        };
        written.map_err(|e| book.failed(explain(book, "writing", e)))?;
        if let Durability::Group { max_age } = durability {
            self.timed.within(max_age);
        }
        Ok(book.number(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        Ok(Arc::new(self.now()))
    }

    fn stats(&self) -> EngineStats {
        let Core { db, keyspace, book } = &*self.core;
        let numbers = vec![
            (stat::COMPACTIONS, db.compactions_completed() as u64),
            (stat::MEMTABLE_BYTES, db.write_buffer_size()),
            (stat::CACHE_BYTES, db.cache_size()),
            (stat::TABLE_BYTES, keyspace.disk_space()),
            (stat::LAST_SEQNO, book.last().value()),
            ("tables", keyspace.table_count() as u64),
        ];
        EngineStats { numbers, levels: Vec::new() }
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }
}

impl Maintain for FjallEngine {
    fn flush(&self) -> Result<()> {
        let flushed = self.core.keyspace.rotate_memtable_and_wait();
        flushed.map_err(|e| explain(&self.core.book, "flushing", e))
    }

    /// fjall compacts all or nothing, so the range is taken as everything.
    fn compact(&self, _range: &KeyRange) -> Result<()> {
        self.flush()?;
        let compacted = self.core.keyspace.major_compact();
        compacted.map_err(|e| explain(&self.core.book, "compacting", e))
    }

    fn settle(&self) -> Result<()> {
        let mut quiet = 0;
        while quiet < SETTLE_QUIET {
            let db = &self.core.db;
            let is_busy = db.outstanding_flushes() > 0 || db.active_compactions() > 0;
            quiet = if is_busy { 0 } else { quiet + 1 };
            std::thread::sleep(SETTLE_PAUSE);
        }
        Ok(())
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    core: Arc<Core>,
}

impl Reader for FjallSnapshot {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        refuse_cache_only(&self.core.book, options)?;
        let found = self.snapshot.get(&self.core.keyspace, key);
        let found = found.map_err(|e| explain(&self.core.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        refuse_cache_only(&self.core.book, options)?;
        let walks = FjallWalks { snapshot: self.snapshot.clone(), core: Arc::clone(&self.core) };
        Ok(Box::new(TwoWay::new(walks, range.clone())))
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        for (index, key) in keys.iter().enumerate() {
            if !self.read(key, options, &mut |row| sink(index, Some(row)))? {
                sink(index, None);
            }
        }
        Ok(())
    }
}

struct FjallWalks {
    snapshot: Snapshot,
    core: Arc<Core>,
}

impl Walks for FjallWalks {
    type Walk = FjallWalk;

    fn start(
        &mut self,
        _old: Option<FjallWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<FjallWalk> {
        let iter = self.snapshot.range::<&[u8], _>(&self.core.keyspace, bounds);
        Ok(FjallWalk { iter, way, row: None, core: Arc::clone(&self.core) })
    }
}

struct FjallWalk {
    iter: Iter,
    way: Direction,
    row: Option<KvPair>,
    core: Arc<Core>,
}

impl Walk for FjallWalk {
    fn step(&mut self) -> Result<bool> {
        let next = match self.way {
            Direction::Up => self.iter.next(),
            Direction::Down => self.iter.next_back(),
        };
        let row = next.map(::fjall::Guard::into_inner).transpose();
        self.row = row.map_err(|e| explain(&self.core.book, "reading", e))?;
        Ok(self.row.is_some())
    }

    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key, value })
    }
}
