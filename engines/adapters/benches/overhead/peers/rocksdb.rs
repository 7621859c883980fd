//! RocksDB by its own API, with the cargo feature `rocksdb`.

use super::Direct;
use ::rocksdb::{DB, Options, WriteOptions};
use std::path::Path;

pub(crate) struct RocksDb {
    db: DB,
    plain: WriteOptions,
}

impl Direct for RocksDb {
    type Held = ();
    const NAME: &'static str = "rocksdb";

    fn open(dir: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        // As many as its adapter gives it.
        options.set_max_background_jobs(2);
        let db = DB::open(&options, dir).expect("opened");
        Self { db, plain: WriteOptions::default() }
    }

    fn hold(&self) {}

    fn get(&self, (): &(), key: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.db.get_pinned(key).expect("readable");
        found.map(|value| sink(&value)).is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.put_opt(key, value, &self.plain).expect("written");
    }
}
