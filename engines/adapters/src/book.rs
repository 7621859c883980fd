//! What an adapter keeps beside a peer's store: a lock, the sequence numbers, and whether writing has ended.
//!
//! The folder of a store holds `adapter.lock`, `adapter.opens` and the peer's own folder. Peers number
//! batches or nothing, while the seam promises a number for each operation that grows even across opens.
//! So `adapter.opens` counts the opens, and a number is the open's count, then a count of operations:
//! 20 bits and 36.

use nori_kv::{Capabilities, Error, Kind, Result, SeqNo, WriteBatch};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK: &str = "adapter.lock";
const OPENS: &str = "adapter.opens";
const OPENS_NEW: &str = "adapter.opens.new";

/// Bits of a sequence number that count operations within an open: 68 thousand million of them.
const OPERATION_BITS: u32 = 36;

/// What an open store's adapter keeps. Dropping it frees the lock.
pub(crate) struct Book {
    engine: &'static str,
    /// The peer's own folder.
    store: PathBuf,
    /// The last sequence number given out; it only grows.
    last: AtomicU64,
    /// Set once, by the first write that failed for good.
    poisoned: OnceLock<Error>,
    lock: File,
}

impl Book {
    /// Locks the folder, counts this open, and makes the peer's folder.
    pub(crate) fn open(engine: &'static str, dir: &Path, store: &str) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|e| Error::io("making", dir, e))?;
        let lock = lock(dir)?;
        let opens = count_open(dir)?;
        let store = dir.join(store);
        fs::create_dir_all(&store).map_err(|e| Error::io("making", &store, e))?;
        let last = AtomicU64::new(opens << OPERATION_BITS);
        Ok(Self { engine, store, last, poisoned: OnceLock::new(), lock })
    }

    /// The peer's own folder.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// Gives out numbers for the operations of a batch that was written; the last of them.
    ///
    /// Two batches that are written at the same time are numbered in either order.
    pub(crate) fn number(&self, batch: &WriteBatch) -> SeqNo {
        let n = batch.len() as u64;
        let last = self.last.fetch_add(n, Ordering::AcqRel) + n;
        SeqNo::new(last).expect("a store is opened fewer than 2^20 times")
    }

    /// The last number given out.
    pub(crate) fn last(&self) -> SeqNo {
        SeqNo::new(self.last.load(Ordering::Acquire))
            .expect("a store is opened fewer than 2^20 times")
    }

    /// Whether a batch may be written: writing has not ended, and the peer can do all of it.
    pub(crate) fn admit(&self, batch: &WriteBatch, row: &Capabilities) -> Result<()> {
        if let Some(cause) = self.poisoned.get() {
            return Err(cause.poison());
        }
        for (op, key, _) in batch.iter() {
            if op.kind == Kind::DeleteRange {
                return Err(self.unsupported("range deletes"));
            }
            if op.expires.is_some() {
                return Err(self.unsupported("puts that expire"));
            }
            if key.is_empty() && !row.has_empty_key {
                return Err(Error::invalid(format!("{} has no empty key", self.engine)));
            }
            if key.len() > row.key_bytes_max {
                let what = format!(
                    "{} takes keys of up to {} bytes, not of {}",
                    self.engine,
                    row.key_bytes_max,
                    key.len()
                );
                return Err(Error::invalid(what));
            }
        }
        Ok(())
    }

    /// The error of a write that failed; writing ends if it failed for good.
    pub(crate) fn failed(&self, error: Error) -> Error {
        if matches!(error, Error::Io { .. } | Error::Full { .. } | Error::Poisoned { .. }) {
            let _ = self.poisoned.set(error.clone());
        }
        error
    }

    pub(crate) fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { engine: self.engine, what }
    }

    /// A call of the peer's that failed for a reason that is no I/O error of its own.
    pub(crate) fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::io(action, &self.store, source)
    }

    /// Damage that the peer found; where in its files, it does not tell.
    pub(crate) fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::corrupt(&self.store, 0, what)
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting has a copy of the file until it runs its
        // program, and the lock would last as long. If this fails, it does.
        let _ = self.lock.unlock();
    }
}

/// Removes a store: the peer's folder, the adapter's files, and the folder itself if nothing else is in it.
pub(crate) fn destroy(dir: &Path, store: &str) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let held = lock(dir)?;
    let gone = |path: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing", path, error))
        }
        _ => Ok(()),
    };
    let store = dir.join(store);
    gone(&store, fs::remove_dir_all(&store))?;
    for name in [OPENS, OPENS_NEW, LOCK] {
        let path = dir.join(name);
        gone(&path, fs::remove_file(&path))?;
    }
    drop(held);
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => gone(dir, result),
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|e| Error::io("opening", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Busy { what: format!("the store in {} is open", dir.display()) })
        }
        Err(TryLockError::Error(error)) => Err(Error::io("locking", &path, error)),
    }
}

/// Adds one to the count of opens, safely; the new count.
fn count_open(dir: &Path) -> Result<u64> {
    let path = dir.join(OPENS);
    let before = match fs::read_to_string(&path) {
        Ok(text) => {
            text.trim().parse::<u64>().map_err(|_| Error::corrupt(&path, 0, "no count of opens"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Error::io("reading", &path, error)),
    };
    let opens = before + 1;
    if opens >> (56 - OPERATION_BITS) != 0 {
        return Err(Error::invalid("the store was opened 2^20 times: rewrite it"));
    }
    let new = dir.join(OPENS_NEW);
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        writeln!(file, "{opens}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| Error::io("writing", &new, e))?;
    Ok(opens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_kv::ErrorKind;

    #[test]
    fn numbers_grow_across_opens() {
        let dir = tempfile::tempdir().unwrap();
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1").delete(b"b");
        let first = Book::open("peer", dir.path(), "store").unwrap();
        let last = first.number(&batch);
        assert_eq!(first.number(&batch), last.plus(2));
        drop(first);
        let second = Book::open("peer", dir.path(), "store").unwrap();
        assert!(second.last() > last.plus(2));
    }

    #[test]
    fn the_lock_ends_with_the_book_though_a_child_holds_a_copy_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open("peer", dir.path(), "store").unwrap();
        let copy = book.lock.try_clone().unwrap();
        assert!(Book::open("peer", dir.path(), "store").is_err());
        drop(book);
        assert!(Book::open("peer", dir.path(), "store").is_ok());
        drop(copy);
    }

    #[test]
    fn a_damaged_count_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        drop(Book::open("peer", dir.path(), "store").unwrap());
        fs::write(dir.path().join(OPENS), "many").unwrap();
        let Err(error) = Book::open("peer", dir.path(), "store") else { panic!("it was opened") };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(OPENS), "{error}");
    }

    #[test]
    fn after_a_write_failed_for_good_no_batch_is_admitted() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open("peer", dir.path(), "store").unwrap();
        let row = Capabilities::new(&[], &[], 10);
        assert!(book.admit(&WriteBatch::new(), &row).is_ok());
        let busy = book.failed(Error::Busy { what: "now".into() });
        assert_eq!(busy.kind(), ErrorKind::Busy);
        assert!(book.admit(&WriteBatch::new(), &row).is_ok());
        book.failed(book.io("syncing", io::Error::other("gone")));
        let error = book.admit(&WriteBatch::new(), &row).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned);
    }
}
