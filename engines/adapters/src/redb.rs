//! redb 4 behind the seam.
//!
//! **Durability.** redb has two classes: commits that a sync makes safe, and commits kept in the process until
//! a later one of the first kind. `sync` is the first. `os` is the first as well, through a backend that
//! leaves out the sync ([`SyncSwitch`]): every byte has then reached the page cache by `write(2)`, so it
//! survives the process being killed; a power loss may damage the file as a whole, which is why `group`
//! is not offered. `none` is the second kind, with one commit of the first every [`NONE_COMMITS_MAX`], for redb
//! reuses no page before that.
//!
//! **Reads.** A read transaction and its open table are kept until the next write, since opening both costs more
//! than the read. A write drops them, so that they hold no page back.

mod backend;

use crate::Preset;
use crate::book::{self, Book};
use crate::walk::{Bounds, Direction, TwoWay, Walk, Walks};
use ::redb::{
    AccessGuard, Builder, Database, Durability as TheirDurability, Range, ReadOnlyTable,
    ReadableDatabase, TableDefinition, TableError,
};
use arc_swap::ArcSwapOption;
use backend::SyncSwitch;
use nori_kv::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, EngineStats, Error, Feature, KeyRange,
    Kind, Maintain, Parts, ReadOptions, Reader, Result, Row, SeqNo, Tier, WriteBatch, stat,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The peer's folder below the store's, and the file in it.
const STORE: &str = "redb";
const FILE: &str = "store.redb";
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Commits of class `none` between two that reach the file: they bound what redb keeps in memory, and pages it
/// cannot reuse.
const NONE_COMMITS_MAX: u64 = 1_000;

/// Opens redb stores.
#[derive(Clone, Copy, Debug)]
pub struct RedbFactory {
    preset: Preset,
}

impl RedbFactory {
    /// A factory for one row.
    pub const fn new(preset: Preset) -> Self {
        Self { preset }
    }

    const fn label(self) -> &'static str {
        self.preset.name("redb", "redb:default")
    }
}

fn row() -> Capabilities {
    let classes = [Durability::None, Durability::Os, Durability::Sync];
    let features = [
        Feature::Snapshots,
        Feature::Reverse,
        Feature::ReadMany,
        Feature::Settle,
        Feature::Batches,
        Feature::Lock,
    ];
    Capabilities::new(&classes, &features, WriteBatch::KEY_BYTES_MAX)
}

impl EngineFactory for RedbFactory {
    fn name(&self) -> &str {
        self.label()
    }

    fn capabilities(&self) -> Capabilities {
        row()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let cache = match self.preset {
            Preset::Shipped => "as shipped".to_owned(),
            Preset::Matched { memory_bytes } => memory_bytes.to_string(),
        };
        let os = "a durable commit without its sync".to_owned();
        let version = "4.6".to_owned();
        vec![
            ("cache_bytes".to_owned(), cache),
            ("os".to_owned(), os),
            ("version".to_owned(), version),
        ]
    }

    fn open(&self, dir: &Path, _parts: Parts) -> Result<Arc<dyn Engine>> {
        let book = Book::open(self.label(), dir, STORE)?;
        let mut builder = Builder::new();
        if let Preset::Matched { memory_bytes } = self.preset {
            builder.set_cache_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX));
        }
        let (switch, backend) = SyncSwitch::open(&book.store().join(FILE))
            .map_err(|e| explain(&book, "opening", e.into()))?;
        let db = builder
            .create_with_backend(backend)
            .map_err(|e| explain(&book, "opening", e.into()))?;
        let engine = RedbEngine {
            latest: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            none_commits: AtomicU64::new(0),
            db,
            switch,
            row: row(),
            book: Arc::new(book),
        };
        engine.create_table()?;
        Ok(Arc::new(engine))
    }

    fn destroy(&self, dir: &Path, _parts: &Parts) -> Result<()> {
        book::destroy(dir, STORE)
    }
}

/// redb's error in the words of the seam.
fn explain(book: &Book, action: &'static str, error: ::redb::Error) -> Error {
    use ::redb::Error as Redb;
    match error {
        Redb::Io(source) => book.io(action, source),
        Redb::PreviousIo => {
            book.io(action, std::io::Error::other("an earlier call failed")).poison()
        }
        Redb::DatabaseAlreadyOpen => {
            Error::Busy { what: format!("the store in {} is open", book.store().display()) }
        }
        Redb::ValueTooLarge(bytes) => {
            Error::invalid(format!("redb takes no value of {bytes} bytes"))
        }
        other => book.corrupt(other.to_string()),
    }
}

/// A state of the store with its table open.
struct View {
    /// The number of writes that had returned when it was opened, or less than it sees.
    epoch: u64,
    table: Table,
}

/// Fields are dropped in order: the lock goes last.
struct RedbEngine {
    /// The view that reads share while no write comes.
    latest: ArcSwapOption<View>,
    /// Writes that are visible. A view is current if it has the same epoch.
    epoch: AtomicU64,
    /// Commits of class `none` since one that reached the file.
    none_commits: AtomicU64,
    db: Database,
    switch: SyncSwitch,
    row: Capabilities,
    book: Arc<Book>,
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        self.latest.store(None);
        // Closing syncs as redb means it to.
        self.switch.set(true);
    }
}

impl RedbEngine {
    /// A table that was never opened for writing cannot be read.
    fn create_table(&self) -> Result<()> {
        let create = || -> std::result::Result<(), ::redb::Error> {
            if matches!(
                self.db.begin_read()?.open_table(TABLE),
                Err(TableError::TableDoesNotExist(_))
            ) {
                let txn = self.db.begin_write()?;
                drop(txn.open_table(TABLE)?);
                txn.commit()?;
            }
            Ok(())
        };
        create().map_err(|e| explain(&self.book, "opening", e))
    }

    fn open_view(&self, epoch: u64) -> Result<Arc<View>> {
        let open = || -> std::result::Result<Table, ::redb::Error> {
            Ok(self.db.begin_read()?.open_table(TABLE)?)
        };
        let table = open().map_err(|e| explain(&self.book, "reading", e))?;
        Ok(Arc::new(View { epoch, table }))
    }

    /// Calls `read` with a view that sees every write that has returned.
    fn with_view<T>(&self, read: impl FnOnce(&Arc<View>) -> Result<T>) -> Result<T> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let latest = self.latest.load();
        if let Some(view) = latest.as_ref().filter(|view| view.epoch == epoch) {
            return read(view);
        }
        drop(latest);
        let view = self.open_view(epoch)?;
        self.latest.store(Some(Arc::clone(&view)));
        read(&view)
    }

    /// Makes a write that has been committed visible to reads that begin from now on.
    fn publish(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if self.latest.load().is_some() {
            self.latest.store(None);
        }
    }

    fn commit(
        &self,
        batch: &WriteBatch,
        durability: Durability,
    ) -> std::result::Result<(), ::redb::Error> {
        let mut txn = self.db.begin_write()?;
        // There is one write transaction at a time, so these are this one's alone until it has committed.
        let in_memory = durability == Durability::None
            && self.none_commits.fetch_add(1, Ordering::Relaxed) + 1 < NONE_COMMITS_MAX;
        if in_memory {
            txn.set_durability(TheirDurability::None)?;
        } else {
            self.none_commits.store(0, Ordering::Relaxed);
        }
        {
            let mut table = txn.open_table(TABLE)?;
            for (op, key, value) in batch.iter() {
                match op.kind {
                    Kind::Put => drop(table.insert(key, value)?),
                    _ => drop(table.remove(key)?),
                }
            }
        }
        self.switch.set(durability == Durability::Sync);
        txn.commit()?;
        Ok(())
    }
}

impl Reader for RedbEngine {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.with_view(|view| read(&self.book, &view.table, key, options, sink))
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.with_view(|view| cursor(&self.book, view, range, options))
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.with_view(|view| read_many(&self.book, &view.table, keys, options, sink))
    }
}

fn read(
    book: &Book,
    table: &Table,
    key: &[u8],
    options: &ReadOptions,
    sink: &mut dyn FnMut(Row<'_>),
) -> Result<bool> {
    if options.tier == Tier::CacheOnly {
        return Err(book.unsupported("reads of memory alone"));
    }
    let found = table.get(key).map_err(|e| explain(book, "reading", e.into()))?;
    Ok(found.map(|value| sink(Row { key, value: value.value() })).is_some())
}

fn read_many(
    book: &Book,
    table: &Table,
    keys: &[&[u8]],
    options: &ReadOptions,
    sink: &mut dyn FnMut(usize, Option<Row<'_>>),
) -> Result<()> {
    for (index, key) in keys.iter().enumerate() {
        if !read(book, table, key, options, &mut |row| sink(index, Some(row)))? {
            sink(index, None);
        }
    }
    Ok(())
}

fn cursor(
    book: &Arc<Book>,
    view: &Arc<View>,
    range: &KeyRange,
    options: &ReadOptions,
) -> Result<Box<dyn Cursor>> {
    if options.tier == Tier::CacheOnly {
        return Err(book.unsupported("reads of memory alone"));
    }
    let walks = RedbWalks { view: Arc::clone(view), book: Arc::clone(book) };
    Ok(Box::new(TwoWay::new(walks, range.clone())))
}

impl Engine for RedbEngine {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        self.book.admit(batch, &self.row)?;
        if !self.row.offers(durability) {
            return Err(self
                .book
                .unsupported("syncs by the clock: a power loss may damage the file between two"));
        }
        if batch.is_empty() && durability != Durability::Sync {
            return Ok(self.book.last());
        }
        self.commit(batch, durability)
            .map_err(|e| self.book.failed(explain(&self.book, "writing", e)))?;
        self.publish();
        Ok(self.book.number(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        let view = self.with_view(|view| Ok(Arc::clone(view)))?;
        Ok(Arc::new(RedbSnapshot { view, book: Arc::clone(&self.book) }))
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            numbers: vec![(stat::LAST_SEQNO, self.book.last().value())],
            levels: Vec::new(),
        }
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }
}

impl Maintain for RedbEngine {
    /// redb works inside its callers only: nothing is ever left to wait for.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

struct RedbSnapshot {
    view: Arc<View>,
    book: Arc<Book>,
}

impl Reader for RedbSnapshot {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        read(&self.book, &self.view.table, key, options, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        cursor(&self.book, &self.view, range, options)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        read_many(&self.book, &self.view.table, keys, options, sink)
    }
}

struct RedbWalks {
    view: Arc<View>,
    book: Arc<Book>,
}

impl Walks for RedbWalks {
    type Walk = RedbWalk;

    fn start(
        &mut self,
        _old: Option<RedbWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<RedbWalk> {
        let range = self.view.table.range::<&[u8]>(bounds);
        let range = range.map_err(|e| explain(&self.book, "reading", e.into()))?;
        Ok(RedbWalk { range, way, row: None, book: Arc::clone(&self.book) })
    }
}

type Guarded = AccessGuard<'static, &'static [u8]>;

struct RedbWalk {
    range: Range<'static, &'static [u8], &'static [u8]>,
    way: Direction,
    row: Option<(Guarded, Guarded)>,
    book: Arc<Book>,
}

impl Walk for RedbWalk {
    fn step(&mut self) -> Result<bool> {
        let next = match self.way {
            Direction::Up => self.range.next(),
            Direction::Down => self.range.next_back(),
        };
        self.row = next.transpose().map_err(|e| explain(&self.book, "reading", e.into()))?;
        Ok(self.row.is_some())
    }

    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key: key.value(), value: value.value() })
    }
}
