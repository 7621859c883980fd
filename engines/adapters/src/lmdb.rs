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
use crate::book::Book;
use crate::peer::{Peer, Store, View, two_way};
use heed::types::Bytes;
use heed::{
    CommitOrAbort, Env, EnvFlags, EnvOpenOptions, FlagSetMode, MdbError, RoTxn, WithoutTls,
};
use nori_kv::{
    Capabilities, Cursor, Durability, Error, Feature, KeyRange, Kind, Result, Row, WriteBatch, stat,
};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use walks::{OwnWalks, SharedWalks};

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

/// See the module.
pub(crate) struct Lmdb;

impl Peer for Lmdb {
    type Store = Core;
    const MATCHED: &'static str = "lmdb";
    const SHIPPED: &'static str = "lmdb:default";

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

    fn settings(preset: Preset) -> Vec<(&'static str, String)> {
        let read_ahead = match preset {
            Preset::Shipped => "on",
            Preset::Matched { .. } => "off",
        };
        vec![
            ("read_ahead", read_ahead.to_owned()),
            ("cache", "the page cache; no budget".to_owned()),
            ("map_bytes", MAP_BYTES.to_string()),
            ("os", "MDB_NOSYNC".to_owned()),
            ("version", "heed 0.23".to_owned()),
        ]
    }

    fn open(book: Book, preset: Preset) -> Result<Core> {
        let flags = match preset {
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
        let writer = Mutex::new(Writer { syncs: true });
        Ok(Core { idle, writer, data, env, book })
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

/// The open store. Fields are dropped in order: the lock goes last.
pub(crate) struct Core {
    idle: Mutex<Idle>,
    writer: Mutex<Writer>,
    data: Data,
    env: Env<WithoutTls>,
    book: Book,
}

/// What only the one writer at a time may touch.
struct Writer {
    /// Whether commits sync: the opposite of the flag `MDB_NOSYNC`.
    syncs: bool,
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

    fn look_up(&self, txn: &ReadTxn, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        // LMDB takes neither as a key, so no row has it.
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Ok(false);
        }
        let found = self.data.get(txn, key).map_err(|e| explain(&self.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value })).is_some())
    }

    #[expect(
        unsafe_code,
        reason = "what LMDB does to a file without syncs is for the caller to answer for"
    )]
    fn set_syncs(&self, writer: &mut Writer, syncs: bool) -> heed::Result<()> {
        if writer.syncs != syncs {
            let mode = if syncs { FlagSetMode::Disable } else { FlagSetMode::Enable };
            // SAFETY: the writer's lock is held, so one thread at a time sets flags. Without syncs a power loss
            // may damage the file, which the durability class says; nothing in memory depends on it.
            unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode)? };
            writer.syncs = syncs;
        }
        Ok(())
    }

    fn commit(&self, batch: &WriteBatch, syncs: bool) -> heed::Result<()> {
        let Self { env, data, .. } = self;
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

impl Store for Core {
    type View = LmdbView;

    fn book(&self) -> &Book {
        &self.book
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        let syncs = durability == Durability::Sync;
        self.commit(batch, syncs).map_err(|e| explain(&self.book, "writing", e))?;
        self.publish();
        Ok(())
    }

    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let (txn, epoch) = self.begin()?;
        let found = self.look_up(&txn, key, sink)?;
        self.give_back(txn, epoch);
        Ok(found)
    }

    fn view(self: Arc<Self>) -> Result<LmdbView> {
        let (txn, _) = self.begin()?;
        Ok(LmdbView { shared: Arc::new(Shared { txn: Mutex::new(txn), core: self }) })
    }

    /// A cursor with a transaction of its own streams; one of a snapshot looks each row up.
    fn cursor(self: Arc<Self>, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        let (txn, epoch) = self.begin()?;
        Ok(two_way(OwnWalks::new(self, txn, epoch), range))
    }

    fn count(&self, numbers: &mut Vec<(&'static str, u64)>) {
        numbers.extend(self.env.real_disk_size().map(|bytes| (stat::TABLE_BYTES, bytes)));
    }
}

/// A transaction that several readers use one at a time, as LMDB demands.
struct Shared {
    txn: Mutex<ReadTxn>,
    core: Arc<Core>,
}

pub(crate) struct LmdbView {
    shared: Arc<Shared>,
}

impl View for LmdbView {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        self.shared.core.look_up(&self.shared.txn.lock(), key, sink)
    }

    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        Ok(two_way(SharedWalks { shared: Arc::clone(&self.shared) }, range))
    }
}
