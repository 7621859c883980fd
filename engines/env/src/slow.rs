//! A file system whose syncs end when a test says so.
//!
//! A sync makes safe what was there when it began, as the file system below does; that it has ended is told later. Those of
//! log segments and those of all other files are held back each by themselves. Everything else passes through.

use crate::{Completion, File, Fs, Lock, NameChange, OpenMode, Segment, SegmentKind, Zeros};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Waiting = Vec<(Completion, io::Result<()>)>;

/// Syncs that nobody has been told of, oldest first. Nothing is held back until [`Self::hold`].
#[derive(Clone, Default)]
pub struct HeldSyncs(Arc<Mutex<Option<Waiting>>>);

impl HeldSyncs {
    /// From now on ends are held back.
    pub fn hold(&self) {
        self.lock().get_or_insert_default();
    }

    /// How many are.
    pub fn waiting(&self) -> usize {
        self.lock().as_ref().map_or(0, Vec::len)
    }

    /// Tells of the oldest how it ended, or that it failed with `error` if there is one.
    ///
    /// # Panics
    ///
    /// If none is held back.
    pub fn end_first(&self, error: Option<io::Error>) {
        let first = self.lock().as_mut().filter(|waiting| !waiting.is_empty()).map(|w| w.remove(0));
        let (done, outcome) = first.expect("a sync is held back");
        done(error.map_or(outcome, Err));
    }

    /// Tells of all of them, the latest first, and holds back no more.
    pub fn release(&self) {
        let waiting = self.lock().take().unwrap_or_default();
        waiting.into_iter().rev().for_each(|(done, outcome)| done(outcome));
    }

    fn delay(&self, done: Completion) -> Completion {
        let held = self.clone();
        Box::new(move |outcome| {
            let mut waiting = held.lock();
            if let Some(waiting) = &mut *waiting {
                waiting.push((done, outcome));
                return;
            }
            drop(waiting);
            done(outcome);
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file system.
pub struct SlowFs<F> {
    /// What does the work.
    pub inner: F,
    /// Syncs of log segments.
    pub segments: HeldSyncs,
    /// Syncs of other files.
    pub files: HeldSyncs,
}

impl<F: Fs> SlowFs<F> {
    /// One that holds nothing back yet.
    pub fn new(inner: F) -> Self {
        Self { inner, segments: HeldSyncs::default(), files: HeldSyncs::default() }
    }
}

struct Slow<T: ?Sized> {
    inner: Arc<T>,
    held: HeldSyncs,
}

impl<F: Fs> Fs for SlowFs<F> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (inner, held) = (self.inner.open(path, mode)?, self.files.clone());
        Ok(Arc::new(Slow { inner, held }))
    }

    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        let (inner, held) = (self.inner.segment(path, kind, zeros, bytes)?, self.segments.clone());
        Ok(Arc::new(Slow { inner, held }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        self.inner.change(change)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

impl File for Slow<dyn File> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn map(&self) -> io::Result<Bytes> {
        self.inner.map()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync(&self, done: Completion) {
        self.inner.sync(self.held.delay(done));
    }
}

impl Segment for Slow<dyn Segment> {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.put(offset, bytes)
    }

    fn sync(&self, done: Completion) {
        self.inner.sync(self.held.delay(done));
    }
}
