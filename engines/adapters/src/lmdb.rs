//! LMDB behind the seam, through heed, from C code that is built with the crate.
//!
//! **Durability.** `sync` is LMDB's own default: the data is synced and the meta page is written through. `os` sets
//! `MDB_NOSYNC` for the write: its pages reach the page cache by `write(2)`, so it survives the process
//! being killed; a power loss may damage the file as a whole, which is why `group` is not offered.
//! `none` is the same as `os`, for LMDB keeps nothing back.
//!
//! **Reads.** Read transactions are kept and used again until the next write, since opening one costs a good part
//! of a read. A write drops them, so that they hold no page back. They are not tied to threads, for a
//! thread may hold a snapshot and read beside it.
//!
//! **Matched.** LMDB has no cache of its own: the page cache, all of the machine's memory, serves it. The
//! matched row cannot be held to a budget; it turns read-ahead off, as one does for random access.

mod walks;

use crate::Preset;
use crate::book::{self, Book};
use crate::walk::TwoWay;
use heed::types::Bytes;
use heed::{
    CommitOrAbort, Env, EnvFlags, EnvOpenOptions, FlagSetMode, MdbError, RoTxn, WithoutTls,
};
use nori_kv::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, EngineStats, Error, Feature, KeyRange,
    Kind, Maintain, Parts, ReadOptions, Reader, Result, Row, SeqNo, Tier, WriteBatch, stat,
};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use walks::{OwnWalks, SharedWalks};

/// The peer's folder below the store's.
const STORE: &str = "lmdb";
/// LMDB's limit in the default build.
const KEY_BYTES_MAX: usize = 511;
/// The most a store can hold. It is address space, not disk: the file grows as it is needed.
const MAP_BYTES: usize = 64 << 30;
/// Transactions and cursors that may be open at once.
const READERS_MAX: u32 = 1_024;
/// Read transactions kept for reuse: more than threads that read at once.
const IDLE_MAX: usize = 32;

type Data = heed::Database<'static, Bytes, Bytes>;
type ReadTxn = RoTxn<'static, WithoutTls>;

/// Opens LMDB stores.
#[derive(Clone, Copy, Debug)]
pub struct LmdbFactory {
    preset: Preset,
}

impl LmdbFactory {
    /// A factory for one row.
    pub const fn new(preset: Preset) -> Self {
        Self { preset }
    }

    const fn label(self) -> &'static str {
        self.preset.name("lmdb", "lmdb:default")
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
    let mut row = Capabilities::new(&classes, &features, KEY_BYTES_MAX);
    row.has_empty_key = false;
    row
}

impl EngineFactory for LmdbFactory {
    fn name(&self) -> &str {
        self.label()
    }

    fn capabilities(&self) -> Capabilities {
        row()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let read_ahead = match self.preset {
            Preset::Shipped => "on",
            Preset::Matched { .. } => "off",
        };
        let rows = [
            ("read_ahead", read_ahead.to_owned()),
            ("cache", "the page cache; no budget".to_owned()),
            ("map_bytes", MAP_BYTES.to_string()),
            ("os", "MDB_NOSYNC".to_owned()),
            ("version", "heed 0.23".to_owned()),
        ];
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn open(&self, dir: &Path, _parts: Parts) -> Result<Arc<dyn Engine>> {
        let book = Book::open(self.label(), dir, STORE)?;
        let flags = match self.preset {
            Preset::Shipped => EnvFlags::empty(),
            Preset::Matched { .. } => EnvFlags::NO_READ_AHEAD,
        };
        let env = open_env(book.store(), flags).map_err(|e| explain(&book, "opening", e))?;
        let create = || -> heed::Result<Data> {
            let created = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
                opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
            })?;
            Ok(created.unwrap_commit())
        };
        let data = create().map_err(|e| explain(&book, "opening", e))?;
        let idle = Mutex::new(Idle { epoch: 0, txns: Vec::new() });
        let core = Arc::new(Core { idle, data, env, book });
        Ok(Arc::new(LmdbEngine { core, writer: Mutex::new(Writer { syncs: true }), row: row() }))
    }

    fn destroy(&self, dir: &Path, _parts: &Parts) -> Result<()> {
        book::destroy(dir, STORE)
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file that others could change is unsafe, whatever the wrapper"
)]
fn open_env(path: &Path, flags: EnvFlags) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    // SAFETY: the adapter's lock on the folder keeps other openers out, and nothing else writes the file.
    // Read-ahead concerns speed alone.
    unsafe { options.flags(flags).open(path) }
}

/// LMDB's error in the words of the seam.
fn explain(book: &Book, action: &'static str, error: heed::Error) -> Error {
    match error {
        heed::Error::Io(source) => book.io(action, source),
        heed::Error::EnvAlreadyOpened => {
            Error::Busy { what: format!("the store in {} is open", book.store().display()) }
        }
        heed::Error::Mdb(MdbError::MapFull) => book.io(action, io::ErrorKind::StorageFull.into()),
        heed::Error::Mdb(MdbError::ReadersFull) => Error::Busy {
            what: format!("{READERS_MAX} readers of {} are open", book.store().display()),
        },
        heed::Error::Mdb(
            error @ (MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Invalid
            | MdbError::VersionMismatch),
        ) => book.corrupt(error.to_string()),
        other => book.io(action, io::Error::other(other.to_string())),
    }
}

/// Read transactions that nobody uses, all of which see the newest state.
struct Idle {
    /// Counts the writes that have returned.
    epoch: u64,
    /// Opened when `epoch` had its present value. `len() <= IDLE_MAX`.
    txns: Vec<ReadTxn>,
}

/// What readers and cursors share. Fields are dropped in order: the lock goes last.
struct Core {
    idle: Mutex<Idle>,
    data: Data,
    env: Env<WithoutTls>,
    book: Book,
}

impl Core {
    /// A transaction that sees every write that has returned, and the epoch to give it back under.
    fn begin(&self) -> Result<(ReadTxn, u64)> {
        let mut idle = self.idle.lock();
        let epoch = idle.epoch;
        if let Some(txn) = idle.txns.pop() {
            return Ok((txn, epoch));
        }
        drop(idle);
        let txn =
            self.env.clone().static_read_txn().map_err(|e| explain(&self.book, "reading", e))?;
        Ok((txn, epoch))
    }

    /// Keeps a transaction for the next read, unless it has become old.
    fn give_back(&self, txn: ReadTxn, epoch: u64) {
        let mut idle = self.idle.lock();
        if idle.epoch == epoch && idle.txns.len() < IDLE_MAX {
            idle.txns.push(txn);
        }
    }

    /// Makes a write that has been committed visible to reads that begin from now on.
    fn publish(&self) {
        let mut idle = self.idle.lock();
        idle.epoch += 1;
        let old = std::mem::take(&mut idle.txns);
        drop(idle);
        drop(old);
    }

    fn read(&self, txn: &ReadTxn, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        // LMDB takes neither as a key, so no row has it.
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Ok(false);
        }
        let found = self.data.get(txn, key).map_err(|e| explain(&self.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value })).is_some())
    }

    fn read_many(
        &self,
        txn: &ReadTxn,
        keys: &[&[u8]],
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        for (index, key) in keys.iter().enumerate() {
            if !self.read(txn, key, &mut |row| sink(index, Some(row)))? {
                sink(index, None);
            }
        }
        Ok(())
    }

    fn refuse_cache_only(&self, options: &ReadOptions) -> Result<()> {
        match options.tier {
            Tier::Any => Ok(()),
            Tier::CacheOnly => Err(self.book.unsupported("reads of memory alone")),
        }
    }
}

/// What only the one writer at a time may touch.
struct Writer {
    /// Whether commits sync: the opposite of the flag `MDB_NOSYNC`.
    syncs: bool,
}

struct LmdbEngine {
    core: Arc<Core>,
    writer: Mutex<Writer>,
    row: Capabilities,
}

impl LmdbEngine {
    #[expect(
        unsafe_code,
        reason = "what LMDB does to a file without syncs is for the caller to answer for"
    )]
    fn set_syncs(&self, writer: &mut Writer, syncs: bool) -> heed::Result<()> {
        if writer.syncs != syncs {
            let mode = if syncs { FlagSetMode::Disable } else { FlagSetMode::Enable };
            // SAFETY: the writer's lock is held, so one thread at a time sets flags. Without syncs a power loss
            // may damage the file, which the durability class says; nothing in memory depends on it.
            unsafe { self.core.env.set_flags(EnvFlags::NO_SYNC, mode)? };
            writer.syncs = syncs;
        }
        Ok(())
    }

    fn commit(&self, batch: &WriteBatch, syncs: bool) -> heed::Result<()> {
        let Core { env, data, .. } = &*self.core;
        let mut writer = self.writer.lock();
        self.set_syncs(&mut writer, syncs)?;
        let mut txn = env.write_txn()?;
        let mut is_changed = false;
        for (op, key, value) in batch.iter() {
            if op.kind == Kind::Put {
                data.put(&mut txn, key, value)?;
                is_changed = true;
            } else {
                is_changed |= data.delete(&mut txn, key)?;
            }
        }
        txn.commit()?;
        // LMDB does not sync a transaction that changed nothing, but the write it repeats may be unsynced.
        if syncs && !is_changed { env.force_sync() } else { Ok(()) }
    }
}

impl Reader for LmdbEngine {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.core.refuse_cache_only(options)?;
        let (txn, epoch) = self.core.begin()?;
        let found = self.core.read(&txn, key, sink)?;
        self.core.give_back(txn, epoch);
        Ok(found)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.core.refuse_cache_only(options)?;
        let (txn, epoch) = self.core.begin()?;
        let walks = OwnWalks::new(Arc::clone(&self.core), txn, epoch);
        Ok(Box::new(TwoWay::new(walks, range.clone())))
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.core.refuse_cache_only(options)?;
        let (txn, epoch) = self.core.begin()?;
        self.core.read_many(&txn, keys, sink)?;
        self.core.give_back(txn, epoch);
        Ok(())
    }
}

impl Engine for LmdbEngine {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        let book = &self.core.book;
        book.admit(batch, &self.row)?;
        if !self.row.offers(durability) {
            return Err(book
                .unsupported("syncs by the clock: a power loss may damage the file between two"));
        }
        let syncs = durability == Durability::Sync;
        if batch.is_empty() && !syncs {
            return Ok(book.last());
        }
        self.commit(batch, syncs).map_err(|e| book.failed(explain(book, "writing", e)))?;
        self.core.publish();
        Ok(book.number(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        let (txn, _) = self.core.begin()?;
        let snapshot = LmdbSnapshot {
            shared: Arc::new(Shared { txn: Mutex::new(txn), core: Arc::clone(&self.core) }),
        };
        Ok(Arc::new(snapshot))
    }

    fn stats(&self) -> EngineStats {
        let Core { env, book, .. } = &*self.core;
        let mut numbers = vec![(stat::LAST_SEQNO, book.last().value())];
        if let Ok(bytes) = env.real_disk_size() {
            numbers.push((stat::TABLE_BYTES, bytes));
        }
        EngineStats { numbers, levels: Vec::new() }
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }
}

impl Maintain for LmdbEngine {
    /// LMDB works inside its callers only: nothing is ever left to wait for.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// A transaction that several readers use one at a time, as LMDB demands.
struct Shared {
    txn: Mutex<ReadTxn>,
    core: Arc<Core>,
}

struct LmdbSnapshot {
    shared: Arc<Shared>,
}

impl Reader for LmdbSnapshot {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.shared.core.refuse_cache_only(options)?;
        self.shared.core.read(&self.shared.txn.lock(), key, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.shared.core.refuse_cache_only(options)?;
        let walks = SharedWalks { shared: Arc::clone(&self.shared) };
        Ok(Box::new(TwoWay::new(walks, range.clone())))
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.shared.core.refuse_cache_only(options)?;
        self.shared.core.read_many(&self.shared.txn.lock(), keys, sink)
    }
}
