//! sled 0.34 behind the seam.
//!
//! **Durability.** sled keeps writes in a buffer of the process. `none` leaves them there, for half a second as it is
//! shipped. `os` calls `flush` with each write, which hands the buffer to the page cache. `sync` and `group`
//! are not offered: on Linux sled's flush asks for `sync_file_range`, which writes no metadata and does not
//! empty the device's cache.
//!
//! **Reads.** There are no snapshots: a cursor sees what is written while it moves, and reads of many keys are not of
//! one state. The row leaves both out.
//!
//! **Matched.** All of the memory goes to sled's page cache; it has no memtables, filters or compression of blocks.

use crate::Preset;
use crate::book::Book;
use crate::peer::{Peer, Store, View, two_way};
use crate::walk::{Bounds, Direction, Walk, Walks};
use ::sled::{Batch, Db, IVec, Iter};
use nori_kv::{
    Capabilities, Cursor, Durability, Error, Feature, KeyRange, Kind, Result, Row, WriteBatch, stat,
};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(crate) struct Sled;

impl Peer for Sled {
    type Store = SledStore;
    const MATCHED: &'static str = "sled";
    const SHIPPED: &'static str = "sled:default";

    fn row() -> Capabilities {
        let classes = [Durability::None, Durability::Os];
        let features = [Feature::Reverse, Feature::Settle, Feature::Batches, Feature::Lock];
        Capabilities::new(&classes, &features, WriteBatch::KEY_BYTES_MAX)
    }

    fn settings(preset: Preset) -> Vec<(&'static str, String)> {
        let cache = match preset {
            Preset::Shipped => "as shipped".to_owned(),
            Preset::Matched { memory_bytes } => memory_bytes.to_string(),
        };
        vec![
            ("cache_bytes", cache),
            ("os", "a flush with each write".to_owned()),
            ("version", "0.34".to_owned()),
        ]
    }

    fn open(book: Book, preset: Preset) -> Result<SledStore> {
        let mut config = ::sled::Config::new().path(book.store());
        if let Preset::Matched { memory_bytes } = preset {
            config = config.cache_capacity(memory_bytes);
        }
        let db = once_unlocked(|| config.open(), || std::thread::sleep(PAUSE));
        let db = db.map_err(|e| explain(&book, "opening", e))?;
        Ok(SledStore { db, book })
    }
}

/// sled lets go of its lock by closing its file, and a child that another thread is just starting has a copy of that until it
/// runs its program. Nobody else can hold the lock: the book's own is ours.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Opens, again after each `pause` while the lock is held, at most `TRIES` times more.
fn once_unlocked<T>(
    open: impl Fn() -> ::sled::Result<T>,
    mut pause: impl FnMut(),
) -> ::sled::Result<T> {
    for _ in 0..TRIES {
        match open() {
            Err(error) if is_locked(&error) => pause(),
            outcome => return outcome,
        }
    }
    open()
}

fn is_locked(error: &::sled::Error) -> bool {
    // It puts the operating system's error into a text.
    matches!(error, ::sled::Error::Io(source) if source.to_string().contains("acquire lock"))
}

/// sled's error in the words of the seam.
fn explain(book: &Book, action: &'static str, error: ::sled::Error) -> Error {
    match error {
        ::sled::Error::Io(source) => book.io(action, source),
        ::sled::Error::Unsupported(what) => Error::invalid(format!("sled refuses: {what}")),
        other => book.corrupt(other.to_string()),
    }
}

/// Fields are dropped in order: the lock goes last.
pub(crate) struct SledStore {
    db: Db,
    book: Book,
}

impl SledStore {
    fn apply(&self, batch: &WriteBatch) -> ::sled::Result<()> {
        let mut ops = batch.iter();
        if let (1, Some((op, key, value))) = (batch.len(), ops.next()) {
            return match op.kind {
                Kind::Put => self.db.insert(key, value).map(drop),
                _ => self.db.remove(key).map(drop),
            };
        }
        let mut theirs = Batch::default();
        for (op, key, value) in batch.iter() {
            match op.kind {
                Kind::Put => theirs.insert(key, value),
                _ => theirs.remove(key),
            }
        }
        self.db.apply_batch(theirs)
    }
}

impl Store for SledStore {
    type View = SledView;

    fn book(&self) -> &Book {
        &self.book
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        self.apply(batch).map_err(|e| explain(&self.book, "writing", e))?;
        if durability == Durability::Os {
            self.db.flush().map_err(|e| explain(&self.book, "flushing", e))?;
        }
        Ok(())
    }

    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let found = self.db.get(key).map_err(|e| explain(&self.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn view(self: Arc<Self>) -> Result<SledView> {
        Ok(SledView { store: self })
    }

    fn count(&self, numbers: &mut Vec<(&'static str, u64)>) {
        numbers.extend(self.db.size_on_disk().ok().map(|bytes| (stat::TABLE_BYTES, bytes)));
    }
}

/// The store as it is at each step: sled has no other view.
#[derive(Clone)]
pub(crate) struct SledView {
    store: Arc<SledStore>,
}

impl View for SledView {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        self.store.read(key, sink)
    }

    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        Ok(two_way(self.clone(), range))
    }
}

impl Walks for SledView {
    type Walk = SledWalk;

    fn start(
        &mut self,
        _old: Option<SledWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<SledWalk> {
        let iter = self.store.db.range::<&[u8], _>(bounds);
        Ok(SledWalk { iter, way, row: None, store: Arc::clone(&self.store) })
    }
}

pub(crate) struct SledWalk {
    iter: Iter,
    way: Direction,
    row: Option<(IVec, IVec)>,
    store: Arc<SledStore>,
}

impl Walk for SledWalk {
    fn step(&mut self) -> Result<bool> {
        let next = match self.way {
            Direction::Up => self.iter.next(),
            Direction::Down => self.iter.next_back(),
        };
        self.row = next.transpose().map_err(|e| explain(&self.store.book, "reading", e))?;
        Ok(self.row.is_some())
    }

    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_waits_for_a_copy_of_the_lock_that_goes_and_not_for_ever() {
        let dir = tempfile::tempdir().expect("a folder for the store");
        let config = ::sled::Config::new().path(dir.path());
        drop(config.open().expect("a new store"));
        let lock = || {
            let copy = std::fs::File::open(dir.path().join("db")).expect("the file sled locks");
            copy.lock().expect("nobody holds it");
            Some(copy)
        };
        let mut copy = lock();
        let opened = once_unlocked(|| config.open(), || drop(copy.take()));
        assert!(opened.is_ok() && copy.is_none(), "it met the lock, and then none");
        drop(opened);
        let _copy = lock();
        let mut pauses = 0;
        let refused = once_unlocked(|| config.open(), || pauses += 1);
        assert!(refused.is_err_and(|error| is_locked(&error)));
        assert_eq!(pauses, TRIES);
    }
}
