//! A file system that keeps room back for who uses it: a file of nothing, which goes when the disk is full.
//!
//! A watch over what is free comes too late where a neighbour fills the disk faster than anybody looks. Room that is a file is nobody else's:
//!
//! 1. [`BallastFs::hold`] makes the file, with all of its blocks.
//! 2. A call that fails for want of room has the file removed, and is made once more; so is one that failed while another had it removed. All that is called again are calls
//!    that may be: bytes go where they went before, a segment that was begun is removed first.
//! 3. Whoever watches the disk holds anew when there is room again.
//!
//! Syncs are never called again, and segments are not watched: their bytes have their blocks from the beginning.

use crate::{Completion, File, Fs, Lock, NameChange, OpenMode, Segment, SegmentKind, Zeros};
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Clones share the file.
#[derive(Clone)]
pub struct BallastFs {
    inner: Arc<dyn Fs>,
    ballast: Arc<Ballast>,
}

struct Ballast {
    path: PathBuf,
    bytes: u64,
    is_held: AtomicBool,
    /// How often the file was removed for want of room.
    given: AtomicU64,
    /// Of whoever makes or removes the file, which takes a while.
    turn: Mutex<()>,
}

impl BallastFs {
    /// `inner`, with so many bytes kept back in a file at `path` as soon as they are held.
    pub fn new(inner: Arc<dyn Fs>, path: PathBuf, bytes: u64) -> Self {
        let (is_held, given, turn) = Default::default();
        Self { inner, ballast: Arc::new(Ballast { path, bytes, is_held, given, turn }) }
    }

    /// The bytes that are kept back now.
    pub fn held_bytes(&self) -> u64 {
        if self.ballast.is_held.load(Ordering::Acquire) { self.ballast.bytes } else { 0 }
    }

    /// Keeps room back, unless it is kept already. A file that an earlier process left goes first: nobody knows how much of it is there.
    ///
    /// # Errors
    ///
    /// If there is no room. What was begun is gone.
    pub fn hold(&self) -> io::Result<()> {
        let _turn = self.turn();
        if self.held_bytes() > 0 {
            return Ok(());
        }
        let path = &self.ballast.path;
        self.remove_ballast()?;
        if let Err(error) = self.inner.reserve(path, self.ballast.bytes) {
            self.remove_ballast()?;
            return Err(error);
        }
        self.ballast.is_held.store(true, Ordering::Release);
        Ok(())
    }

    fn remove_ballast(&self) -> io::Result<()> {
        match self.inner.remove(&self.ballast.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.ballast.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is more room than when `given` was read.
    fn give(&self, given: u64) -> bool {
        let _turn = self.turn();
        if self.held_bytes() > 0 && self.remove_ballast().is_ok() {
            self.ballast.is_held.store(false, Ordering::Release);
            self.ballast.given.fetch_add(1, Ordering::Relaxed);
        }
        self.ballast.given.load(Ordering::Relaxed) > given
    }

    /// A call, and once more if it failed for want of room and there is more now. `undo` is called in between.
    fn with_room<T>(&self, call: impl Fn() -> io::Result<T>, undo: impl FnOnce()) -> io::Result<T> {
        let given = self.ballast.given.load(Ordering::Relaxed);
        match call() {
            Err(error) if error.kind() == ErrorKind::StorageFull && self.give(given) => {
                undo();
                call()
            }
            result => result,
        }
    }
}

impl Fs for BallastFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.with_room(|| self.inner.open(path, mode), || ())?;
        Ok(Arc::new(Ballasted { inner: file, fs: self.clone() }))
    }

    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        let begun = || {
            // If it was not begun there is nothing to remove; if it cannot be removed it is told again.
            let _ = self.inner.remove(path);
        };
        self.with_room(|| self.inner.segment(path, kind, zeros, bytes), begun)
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.inner.reserve(path, bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        self.with_room(|| self.inner.change(change), || ())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

/// A file whose writes may have the room that is kept back.
struct Ballasted {
    inner: Arc<dyn File>,
    fs: BallastFs,
}

impl File for Ballasted {
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
        self.fs.with_room(|| self.inner.write_at(bytes, offset), || ())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync(&self, done: Completion) {
        self.inner.sync(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultFs, FaultPlan};

    const BYTES: u64 = 64 << 10;
    const CAPACITY: u64 = 1 << 20;

    /// A disk, and on it a file system with ballast.
    fn disk() -> (Arc<dyn Fs>, BallastFs) {
        let plan = FaultPlan { capacity_bytes: Some(CAPACITY), ..FaultPlan::default() };
        let disk: Arc<dyn Fs> = Arc::new(FaultFs::new(plan));
        disk.create_dir(Path::new("/d")).unwrap();
        let fs = BallastFs::new(Arc::clone(&disk), "/d/BALLAST".into(), BYTES);
        (disk, fs)
    }

    /// Takes all room that there is.
    fn fill(disk: &Arc<dyn Fs>, name: &str) {
        let file = disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
        let mut at = 0;
        while file.write_at(&[7; 4_096], at).is_ok() {
            at += 4_096;
        }
    }

    #[test]
    fn whoever_is_last_on_a_full_disk_has_what_was_kept_back_once() {
        let (disk, fs) = disk();
        fs.hold().unwrap();
        fs.hold().unwrap();
        fill(&disk, "/d/neighbour");
        assert_eq!(fs.held_bytes(), BYTES);
        let path = Path::new("/d/file");
        let file = fs.open(path, OpenMode::CreateNew).unwrap();
        file.write_at(&[1; 10_000], 0).unwrap();
        assert_eq!((fs.held_bytes(), file.len().unwrap()), (0, 10_000));
        assert_eq!(fs.read(path).unwrap(), [1; 10_000]);
        fill(&disk, "/d/neighbour-2");
        assert_eq!(file.write_at(&[1; 10_000], 10_000).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(fs.hold().is_err() && fs.held_bytes() == 0);
        assert!(!disk.exists(Path::new("/d/BALLAST")).unwrap());
        disk.remove(Path::new("/d/neighbour")).unwrap();
        fs.hold().unwrap();
        assert_eq!(fs.held_bytes(), BYTES);
    }

    #[test]
    fn a_segment_that_was_begun_is_made_again() {
        let (disk, fs) = disk();
        fs.hold().unwrap();
        fill(&disk, "/d/neighbour");
        let path = Path::new("/d/1.wal");
        let segment = fs.segment(path, SegmentKind::Pwrite, Zeros::Written, 32 << 10).unwrap();
        segment.put(0, b"bytes").unwrap();
        assert_eq!((fs.held_bytes(), segment.capacity()), (0, 32 << 10));
    }

    #[test]
    fn what_failed_while_another_had_it_removed_is_called_again_too() {
        let (_, fs) = disk();
        fs.hold().unwrap();
        let full = || io::Error::from(ErrorKind::StorageFull);
        let calls = std::cell::Cell::new(0);
        let result = fs.with_room(
            || {
                calls.set(calls.get() + 1);
                if calls.get() == 1 {
                    assert!(fs.give(0), "another one has it");
                    return Err(full());
                }
                Ok(())
            },
            || (),
        );
        assert!(result.is_ok() && calls.get() == 2);
        assert!(fs.with_room(|| Err::<(), _>(full()), || ()).is_err());
    }

    #[test]
    fn what_an_earlier_process_left_is_made_anew() {
        let (disk, fs) = disk();
        let file = disk.open(Path::new("/d/BALLAST"), OpenMode::CreateNew).unwrap();
        file.write_at(b"half", 0).unwrap();
        fs.hold().unwrap();
        let length = disk.open(Path::new("/d/BALLAST"), OpenMode::Read).unwrap().len().unwrap();
        assert_eq!(length, BYTES);
    }
}
