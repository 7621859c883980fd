//! The peers by their own API, as shipped: what somebody would write who has no other engine to compare with.

use ::redb::{ReadableDatabase, StorageBackend};
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};
use nori_env::Durability;
use std::path::Path;

#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;

/// A peer's open store.
pub(crate) trait Direct: Sized {
    /// What gets may share while nothing is written.
    type Held;
    /// The name of its rows.
    const NAME: &'static str;
    /// The class of the seam that its puts have.
    const CLASS: Durability = Durability::Os;
    /// Whether a get needs a transaction.
    const HAS_TRANSACTIONS: bool = false;
    /// Makes a store in an empty folder.
    fn open(dir: &Path) -> Self;
    /// Begins to read.
    fn hold(&self) -> Self::Held;
    /// Lends the value of `key`; whether there is one.
    fn get(&self, held: &Self::Held, key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool;
    /// Sets `key` to `value`.
    fn put(&self, key: &[u8], value: &[u8]);
}

pub(crate) struct Fjall {
    keyspace: fjall::Keyspace,
    _db: fjall::Database,
}

impl Direct for Fjall {
    type Held = ();
    const NAME: &'static str = "fjall";

    fn open(dir: &Path) -> Self {
        let db = fjall::Database::builder(dir).open().expect("opened");
        let keyspace =
            db.keyspace("data", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        Self { keyspace, _db: db }
    }

    fn hold(&self) {}

    fn get(&self, (): &(), key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.keyspace.get(key).expect("readable");
        found.map(|value| sink(&value)).is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.keyspace.insert(key, value).expect("written");
    }
}

pub(crate) struct Sled {
    db: sled::Db,
}

impl Direct for Sled {
    type Held = ();
    const NAME: &'static str = "sled";
    const CLASS: Durability = Durability::None;

    fn open(dir: &Path) -> Self {
        Self { db: sled::Config::new().path(dir).open().expect("opened") }
    }

    fn hold(&self) {}

    fn get(&self, (): &(), key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.db.get(key).expect("readable");
        found.map(|value| sink(&value)).is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.insert(key, value).expect("written");
    }
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("data");

pub(crate) struct Redb {
    db: redb::Database,
}

/// redb's file without syncs, which is what the class `os` is for it.
#[derive(Debug)]
struct Unsynced(redb::backends::FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

impl Direct for Redb {
    type Held = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;
    const NAME: &'static str = "redb";
    const HAS_TRANSACTIONS: bool = true;

    fn open(dir: &Path) -> Self {
        let mut options = std::fs::File::options();
        let file = options.create_new(true).read(true).write(true).open(dir.join("store.redb"));
        let backend = redb::backends::FileBackend::new(file.expect("a file")).expect("a backend");
        let db = redb::Builder::new().create_with_backend(Unsynced(backend)).expect("opened");
        Self { db }
    }

    fn hold(&self) -> Self::Held {
        self.db.begin_read().expect("a transaction").open_table(TABLE).expect("the table")
    }

    fn get(&self, held: &Self::Held, key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let found = held.get(key).expect("readable");
        found.map(|value| sink(value.value())).is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        let txn = self.db.begin_write().expect("a transaction");
        txn.open_table(TABLE).expect("the table").insert(key, value).expect("written");
        txn.commit().expect("committed");
    }
}

pub(crate) struct Lmdb {
    data: heed::Database<'static, Bytes, Bytes>,
    env: heed::Env<WithoutTls>,
}

impl Direct for Lmdb {
    type Held = RoTxn<'static, WithoutTls>;
    const NAME: &'static str = "lmdb";
    const HAS_TRANSACTIONS: bool = true;

    #[expect(unsafe_code, reason = "heed's way to open a store, and to leave out its syncs")]
    fn open(dir: &Path) -> Self {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(1 << 30);
        // SAFETY: nobody else opens the folder, and no power loss is survived by a bench.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(dir) }.expect("opened");
        let txn = env.write_txn().expect("a transaction");
        let created = env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        Self { data: created.expect("a database").unwrap_commit(), env }
    }

    fn hold(&self) -> Self::Held {
        self.env.clone().static_read_txn().expect("a transaction")
    }

    fn get(&self, held: &Self::Held, key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.data.get(held, key).expect("readable");
        found.map(sink).is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        let mut txn = self.env.write_txn().expect("a transaction");
        self.data.put(&mut txn, key, value).expect("written");
        txn.commit().expect("committed");
    }
}
