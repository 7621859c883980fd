//! A disk that makes safe what was there when a sync began, and says so when the test lets it.

use nori_env::{Completion, FaultFs, File, Fs, Lock, NameChange, OpenMode, Segment, SegmentKind};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Waiting = Vec<(Completion, io::Result<()>)>;

/// Syncs that have ended and whose end is held back.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Option<Waiting>>>);

impl Held {
    /// From now on ends are held back.
    pub(crate) fn hold(&self) {
        *self.0.lock().unwrap() = Some(Vec::new());
    }

    /// How many are.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// Tells all of them, the latest first, and holds back no more.
    pub(crate) fn release(&self) {
        let waiting = self.0.lock().unwrap().take().unwrap_or_default();
        waiting.into_iter().rev().for_each(|(done, outcome)| done(outcome));
    }

    fn delay(&self, done: Completion) -> Completion {
        let held = self.clone();
        Box::new(move |outcome| {
            let mut waiting = held.0.lock().unwrap();
            match &mut *waiting {
                Some(waiting) => waiting.push((done, outcome)),
                None => {
                    drop(waiting);
                    done(outcome);
                }
            }
        })
    }
}

/// The disk. Syncs of log segments and those of all other files are held back each by themselves.
pub(crate) struct SlowFs {
    pub(crate) inner: FaultFs,
    pub(crate) segments: Held,
    pub(crate) files: Held,
}

impl SlowFs {
    pub(crate) fn new(inner: &FaultFs) -> Self {
        Self { inner: inner.clone(), segments: Held::default(), files: Held::default() }
    }
}

struct Slow<T: ?Sized> {
    inner: Arc<T>,
    held: Held,
}

impl Fs for SlowFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (inner, held) = (self.inner.open(path, mode)?, self.files.clone());
        Ok(Arc::new(Slow { inner, held }))
    }

    fn segment(&self, path: &Path, kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let (inner, held) = (self.inner.segment(path, kind, bytes)?, self.segments.clone());
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

    fn map(&self) -> io::Result<bytes::Bytes> {
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
