//! A file system whose syncs run, or end, otherwise than the one below does it. Everything else passes through.
//!
//! [`AroundFs`] hands each sync to a [`Syncs`], one for log segments and one for all other files:
//!
//! | syncs | what they do |
//! |---|---|
//! | [`AtOnce`] | as below |
//! | [`HeldSyncs`](crate::HeldSyncs) | end when a test says so |
//! | [`SubmittedSyncs`](crate::SubmittedSyncs) | are jobs |

use crate::{Completion, File, Fs, Lock, NameChange, OpenMode, Segment, SegmentKind, Zeros};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A sync of the file system below that has not begun.
pub type StartSync = Box<dyn FnOnce(Completion) + Send>;

/// What becomes of syncs.
///
/// # Contract
///
/// `done` is told how the sync ended, not before it has, and once. If it is never told nothing that waits for it is acknowledged.
pub trait Syncs: Clone + Send + Sync + 'static {
    /// Has `sync` run, and `done` told of its end.
    fn run(&self, sync: StartSync, done: Completion);
}

/// Syncs as the file system below has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtOnce;

impl Syncs for AtOnce {
    fn run(&self, sync: StartSync, done: Completion) {
        sync(done);
    }
}

/// The file system.
#[derive(Clone)]
pub struct AroundFs<S, T> {
    /// What does the work.
    pub inner: Arc<dyn Fs>,
    /// Syncs of log segments.
    pub segments: S,
    /// Syncs of other files.
    pub files: T,
}

struct Around<I: ?Sized, S> {
    inner: Arc<I>,
    syncs: S,
}

impl<S: Syncs, T: Syncs> Fs for AroundFs<S, T> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (inner, syncs) = (self.inner.open(path, mode)?, self.files.clone());
        Ok(Arc::new(Around { inner, syncs }))
    }

    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        let (inner, syncs) = (self.inner.segment(path, kind, zeros, bytes)?, self.segments.clone());
        Ok(Arc::new(Around { inner, syncs }))
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

impl<S: Syncs> File for Around<dyn File, S> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn map(&self) -> io::Result<Bytes> {
        self.inner.map()
    }

    fn read_onto(&self, into: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
        self.inner.read_onto(into, offset, len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync(&self, done: Completion) {
        let file = Arc::clone(&self.inner);
        self.syncs.run(Box::new(move |done| file.sync(done)), done);
    }
}

impl<S: Syncs> Segment for Around<dyn Segment, S> {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.put(offset, bytes)
    }

    fn sync(&self, done: Completion) {
        let segment = Arc::clone(&self.inner);
        self.syncs.run(Box::new(move |done| segment.sync(done)), done);
    }
}
