//! Files, as a seam: what an engine may do to a disk, and how it learns that bytes are safe.
//!
//! The seam is narrow on purpose. Names change through one call ([`Fs::change`]), bytes are made safe
//! through one ([`File::sync`]), and a log segment takes bytes at an offset and never lends a raw
//! slice, so that a fault-injecting implementation sees every event there is.

use crate::Signal;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Called once when a sync has ended, with its result.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// How a segment's bytes reach the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// One positioned write per put.
    Pwrite,
    /// A copy into a shared mapping.
    Mapped,
}

impl SegmentKind {
    /// All of them: what a user calls each, and one line about it.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        (
            "mmap",
            Self::Mapped,
            "copies into a mapped, preallocated segment: no system call per write",
        ),
        (
            "pwrite",
            Self::Pwrite,
            "one positioned write per write batch into a preallocated segment",
        ),
    ];

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| *kind)
    }
}

/// How a new segment comes by its zeros. What is read and what survives is the same; what differs is who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// Written and synced in advance: the disk takes every byte twice, and a later sync moves data only.
    Written,
    /// Promised by the file system: the disk takes a byte when it is put, or never if the segment is removed before, and a
    /// sync also has to note which blocks are no longer zeros.
    Allocated,
}

/// A change of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameChange<'a> {
    /// Makes a folder and those above it; one that exists stays as it is.
    CreateDir(&'a Path),
    /// Gives a file another name in the same folder, atomically taking the place of a file there.
    Rename {
        /// The name it has.
        from: &'a Path,
        /// The name it gets.
        to: &'a Path,
    },
    /// Gives a file a second name, perhaps in another folder of the same file system; the name must be free. Both are the same
    /// file: only what nobody writes any more is fit to be linked.
    Link {
        /// The name it has.
        from: &'a Path,
        /// The name it gets besides.
        to: &'a Path,
    },
    /// Removes a name of a file. Handles that are open stay readable.
    Remove(&'a Path),
    /// Removes an empty folder.
    RemoveDir(&'a Path),
}

/// A file system.
///
/// # Contract
///
/// * A change of names survives power loss only after [`Fs::sync_dir`] of the folder; bytes only after
///   [`File::sync`] or [`Segment::sync`] **of that file** completed with `Ok`.
/// * A file that was removed stays readable through handles that are open.
/// * Errors are those of the operating system, unchanged; `NotFound`, `AlreadyExists` and
///   `StorageFull` are told apart by [`io::Error::kind`].
pub trait Fs: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Creates a log segment of `bytes` zeros whose length and zeros are already safe; the name is not
    /// until the folder is synced. The file must not exist.
    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Changes names.
    fn change(&self, change: NameChange<'_>) -> io::Result<()>;
    /// Makes a folder's names safe.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a lock that ends when it is dropped or the process dies; `WouldBlock` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?)
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "file exceeds memory"))?;
        let mut content = vec![0; len];
        let read = file.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content)
    }

    /// Whether a file of that name exists.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.open(path, OpenMode::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(NameChange::CreateDir(dir))
    }

    /// Renames a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(NameChange::Rename { from, to })
    }

    /// Gives a file a second name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(NameChange::Link { from, to })
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(NameChange::Remove(path))
    }
}

/// An open file.
///
/// # Contract
///
/// Calls may come from several threads. `write_at` past the end fills the gap with zeros.
pub trait File: Send + Sync {
    /// Fills `buf` from `offset` on; the number read is below `buf.len()` only at the file's end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The content as memory that is shared with the page cache where there is one. Only for a file that nobody
    /// writes, truncates or replaces in place any more: what the bytes are otherwise is not defined. It stays
    /// whole after the file was removed. Where the disk fails under such memory there is no error to
    /// return: the operating system ends the process (SIGBUS).
    fn map(&self) -> io::Result<Bytes>;
    /// Appends to `into` the `len` bytes from `offset` on; fewer only at the file's end. Whoever knows how to fill memory
    /// that was never written does so: for a block the zeros would cost as much as its checksum.
    fn read_onto(&self, into: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
        let start = into.len();
        into.resize(start + len, 0);
        let read = self.read_at(&mut into[start..], offset);
        into.truncate(start + read.as_ref().map_or(0, |read| *read));
        read.map(|_| ())
    }
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes every byte written so far, and the length, safe; then calls `done`, perhaps on another
    /// thread, perhaps before returning. A sync that failed says nothing about any byte: never retry it.
    fn sync(&self, done: Completion);
}

/// A log file of fixed length that takes bytes at offsets.
///
/// # Contract
///
/// * Puts that run at the same time touch ranges that do not overlap.
/// * After `put` returned, a killed process loses nothing of it. Below `sync`, power loss may keep
///   or lose each sector of it on its own.
pub trait Segment: Send + Sync {
    /// The fixed length in bytes.
    fn capacity(&self) -> u64;
    /// Copies `bytes` to `offset`; `offset + bytes.len() <= capacity()`, else `InvalidInput`.
    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes every byte put so far safe. See [`File::sync`].
    fn sync(&self, done: Completion);
}

/// A lock on a folder, held until it is dropped.
pub trait Lock: Send + Sync {}

/// A sync under way: a [`Signal`] to wait for and the result it leaves.
#[derive(Clone)]
pub struct SyncTicket {
    done: Signal,
    result: Arc<Mutex<Option<io::Result<()>>>>,
}

impl SyncTicket {
    /// Starts a sync through `start`, which is handed the completion.
    pub fn start(start: impl FnOnce(Completion)) -> Self {
        let ticket = Self { done: Signal::new(), result: Arc::default() };
        let (done, result) = (ticket.done.clone(), Arc::clone(&ticket.result));
        start(Box::new(move |outcome| {
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            done.fire();
        }));
        ticket
    }

    /// Fires when the sync has ended.
    pub fn signal(&self) -> &Signal {
        &self.done
    }

    /// The result, once; `None` while the sync runs or after it was taken.
    pub fn take(&self) -> Option<io::Result<()>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A put outside a segment, told apart from an I/O error.
pub(crate) fn outside_segment(offset: u64, len: usize, capacity: u64) -> io::Error {
    let what = format!("put of {len} bytes at {offset} leaves a segment of {capacity} bytes");
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
