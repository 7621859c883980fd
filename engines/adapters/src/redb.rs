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
use crate::book::Book;
use crate::peer::{Peer, Store, View, two_way};
use crate::walk::{Bounds, Direction, Walk, Walks};
use ::redb::{
    AccessGuard, Builder, Database, Durability as TheirDurability, Range, ReadOnlyTable,
    ReadableDatabase, TableDefinition, TableError,
};
use arc_swap::ArcSwapOption;
use backend::SyncSwitch;
use nori_kv::{
    Capabilities, Cursor, Durability, Error, Feature, KeyRange, Kind, Result, Row, WriteBatch,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file in the peer's folder.
const FILE: &str = "store.redb";
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Commits of class `none` between two that reach the file: they bound what redb keeps in memory, and pages it
/// cannot reuse.
const NONE_COMMITS_MAX: u64 = 1_000;

/// See the module.
pub(crate) struct Redb;

impl Peer for Redb {
    type Store = RedbStore;
    const MATCHED: &'static str = "redb";
    const SHIPPED: &'static str = "redb:default";

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

    fn settings(preset: Preset) -> Vec<(&'static str, String)> {
        let cache = match preset {
            Preset::Shipped => "as shipped".to_owned(),
            Preset::Matched { memory_bytes } => memory_bytes.to_string(),
        };
        vec![
            ("cache_bytes", cache),
            ("os", "a durable commit without its sync".to_owned()),
            ("version", "4.6".to_owned()),
        ]
    }

    fn open(book: Book, preset: Preset) -> Result<RedbStore> {
        let mut builder = Builder::new();
        if let Preset::Matched { memory_bytes } = preset {
            builder.set_cache_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX));
        }
        let (switch, backend) = SyncSwitch::open(&book.store().join(FILE))
            .map_err(|e| explain(&book, "opening", e.into()))?;
        let db = builder
            .create_with_backend(backend)
            .map_err(|e| explain(&book, "opening", e.into()))?;
        let store = RedbStore {
            latest: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            none_commits: AtomicU64::new(0),
            db,
            switch,
            book: Arc::new(book),
        };
        store.create_table()?;
        Ok(store)
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
#[derive(Clone)]
pub(crate) struct RedbView(Arc<Opened>);

struct Opened {
    /// The number of writes that had returned when it was opened, or less than it sees.
    epoch: u64,
    table: Table,
    book: Arc<Book>,
}

/// Fields are dropped in order: the lock goes last.
pub(crate) struct RedbStore {
    /// The view that reads share while no write comes.
    latest: ArcSwapOption<Opened>,
    /// Writes that are visible. A view is current if it has the same epoch.
    epoch: AtomicU64,
    /// Commits of class `none` since one that reached the file.
    none_commits: AtomicU64,
    db: Database,
    switch: SyncSwitch,
    book: Arc<Book>,
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.latest.store(None);
        // Closing syncs as redb means it to.
        self.switch.set(true);
    }
}

impl RedbStore {
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

    /// Calls `read` with a view that sees every write that has returned.
    fn with_latest<T>(&self, read: impl FnOnce(&Arc<Opened>) -> Result<T>) -> Result<T> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let latest = self.latest.load();
        if let Some(opened) = latest.as_ref().filter(|opened| opened.epoch == epoch) {
            return read(opened);
        }
        drop(latest);
        let open = || -> std::result::Result<Table, ::redb::Error> {
            Ok(self.db.begin_read()?.open_table(TABLE)?)
        };
        let table = open().map_err(|e| explain(&self.book, "reading", e))?;
        let opened = Arc::new(Opened { epoch, table, book: Arc::clone(&self.book) });
        self.latest.store(Some(Arc::clone(&opened)));
        read(&opened)
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

impl Store for RedbStore {
    type View = RedbView;

    fn book(&self) -> &Book {
        &self.book
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        self.commit(batch, durability).map_err(|e| explain(&self.book, "writing", e))?;
        self.publish();
        Ok(())
    }

    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        self.with_latest(|opened| opened.read(key, sink))
    }

    fn view(self: Arc<Self>) -> Result<RedbView> {
        self.with_latest(|opened| Ok(RedbView(Arc::clone(opened))))
    }
}

impl Opened {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let found = self.table.get(key).map_err(|e| explain(&self.book, "reading", e.into()))?;
        Ok(found.map(|value| sink(Row { key, value: value.value() })).is_some())
    }
}

impl View for RedbView {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        self.0.read(key, sink)
    }

    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        Ok(two_way(self.clone(), range))
    }
}

impl Walks for RedbView {
    type Walk = RedbWalk;

    fn start(
        &mut self,
        _old: Option<RedbWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<RedbWalk> {
        let Opened { table, book, .. } = &*self.0;
        let range = table.range::<&[u8]>(bounds);
        let range = range.map_err(|e| explain(book, "reading", e.into()))?;
        Ok(RedbWalk { range, way, row: None, book: Arc::clone(book) })
    }
}

type Guarded = AccessGuard<'static, &'static [u8]>;

pub(crate) struct RedbWalk {
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
