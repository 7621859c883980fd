//! redb's own file backend with a switch for its syncs.

use ::redb::backends::FileBackend;
use ::redb::{BackendError, DatabaseError, StorageBackend, StorageError};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns the syncs of one backend on and off. They are on at first.
pub(super) struct SyncSwitch {
    is_on: Arc<AtomicBool>,
}

impl SyncSwitch {
    /// Opens or makes the file.
    pub(super) fn open(path: &Path) -> Result<(Self, SwitchedBackend), DatabaseError> {
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|e| DatabaseError::Storage(StorageError::Io(e)))?;
        let is_on = Arc::new(AtomicBool::new(true));
        let backend = SwitchedBackend { inner: FileBackend::new(file)?, is_on: Arc::clone(&is_on) };
        Ok((Self { is_on }, backend))
    }

    pub(super) fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Release);
    }
}

/// Everything redb's file backend does, and its syncs only while the switch is on.
#[derive(Debug)]
pub(super) struct SwitchedBackend {
    inner: FileBackend,
    is_on: Arc<AtomicBool>,
}

impl StorageBackend for SwitchedBackend {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.is_on.load(Ordering::Acquire) { self.inner.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
