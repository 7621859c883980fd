//! A file system in memory that knows which bytes and names are safe.
//!
//! Every file keeps two contents, the present one and the one of its last sync, and the names of files and folders are kept in the
//! same way ([`names`]). [`MemFs::after_power_loss`] builds from them what a disk may show afterwards: each unsynced sector and
//! each unsynced name meets a [`Fate`] of its own.
//!
//! A sync that failed leaves the sectors it was to write **stuck**, as a kernel that forgets that their pages are dirty: a
//! sync that goes afterwards does not make them safe. Only writing them again does.

mod names;

use crate::fs::outside_segment;
use crate::{
    Completion, Entropy, File, Fs, Lock, NameChange, OpenMode, SECTOR_BYTES, SeededEntropy,
    Segment, SegmentKind, Zeros,
};
use bytes::Bytes;
use names::{Change, NameLog, Names};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file system in memory. Clones are the same file system.
#[derive(Clone, Default)]
pub struct MemFs {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    names: NameLog,
    locks: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Inode {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    /// The content as of the last sync.
    safe: Vec<u8>,
    /// Sectors, by number, that a failed sync was to write and nobody has written since.
    stuck: BTreeSet<usize>,
    /// Where writes since the last sync ended: there a sector can be torn.
    ends: BTreeSet<usize>,
}

/// What becomes of one sector or name that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// A sector is as it was between two writes to it: its first bytes are new. A renamed file has both names.
    Torn,
}

/// How much of what was not synced a power loss takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    /// Each sector and each name on its own, by this seed.
    Drawn(u64),
    /// The same, and some of them torn.
    Torn(u64),
}

impl MemFs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes that all files take together.
    pub fn bytes(&self) -> u64 {
        let tree = self.lock_tree();
        let files: BTreeMap<_, _> =
            tree.names.now.files.values().map(|inode| (Arc::as_ptr(inode), inode)).collect();
        files.values().map(|inode| inode.lock().now.len() as u64).sum()
    }

    /// Flips the bits of `mask` in the byte at `offset`, on the medium itself.
    ///
    /// # Errors
    ///
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let inode = self.inode(path)?;
        let mut content = inode.lock();
        let Content { now, safe, .. } = &mut *content;
        let byte = now.get_mut(offset as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        *byte ^= mask;
        if let Some(byte) = safe.get_mut(offset as usize) {
            *byte ^= mask;
        }
        Ok(())
    }

    /// Cuts a file to `len` bytes, on the medium itself.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let inode = self.inode(path)?;
        let mut content = inode.lock();
        content.now.truncate(len as usize);
        content.safe.truncate(len as usize);
        Ok(())
    }

    /// What the disk holds after a power loss now. The image is separate: handles to `self` do not
    /// reach it, locks are gone, and everything in it is safe.
    pub(crate) fn after_power_loss(&self, keep: Keep) -> Self {
        let tree = self.lock_tree();
        let seed = if let Keep::Drawn(seed) | Keep::Torn(seed) = keep { seed } else { 0 };
        let entropy = SeededEntropy::new(seed);
        let mut fate = || match keep {
            Keep::Nothing => Fate::Lost,
            Keep::Everything => Fate::Kept,
            Keep::Drawn(_) => [Fate::Lost, Fate::Kept][entropy.below(2) as usize],
            Keep::Torn(_) => [Fate::Lost, Fate::Kept, Fate::Torn][entropy.below(3) as usize],
        };
        let mut names = tree.names.survivors(&mut fate);
        // By the file before the loss: one with two names has one fate.
        let mut survivors: BTreeMap<*const Inode, Arc<Inode>> = BTreeMap::new();
        for inode in names.files.values_mut() {
            let survivor = survivors
                .entry(Arc::as_ptr(inode))
                .or_insert_with(|| Arc::new(inode.survivor(&mut fate, &entropy)));
            *inode = Arc::clone(survivor);
        }
        let image = Tree { names: NameLog::safe(names), locks: BTreeSet::new() };
        Self { tree: Arc::new(Mutex::new(image)) }
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Inode>> {
        self.lock_tree().names.now.files.get(path).cloned().ok_or_else(|| missing(path))
    }

    fn create(&self, path: &Path, content: Content) -> io::Result<Arc<Inode>> {
        let mut tree = self.lock_tree();
        let dir = parent(path);
        if !tree.names.now.dirs.contains(&dir) {
            return Err(missing(&dir));
        }
        if tree.names.now.files.contains_key(path) {
            return Err(exists(path));
        }
        let inode = Arc::new(Inode { content: Mutex::new(content) });
        tree.names.alter(Change::Link(path.to_owned(), Arc::clone(&inode)));
        Ok(inode)
    }

    fn lock_tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemFs {
    pub(crate) fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<MemFile> {
        Ok(MemFile(match mode {
            OpenMode::Read => self.inode(path)?,
            OpenMode::CreateNew => self.create(path, Content::default())?,
        }))
    }

    pub(crate) fn make_segment(&self, path: &Path, bytes: u64) -> io::Result<MemSegment> {
        let zeros = vec![0; bytes as usize];
        Ok(MemSegment { file: MemFile(self.create(path, Content::safe(zeros))?), bytes })
    }
}

impl Fs for MemFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn segment(
        &self,
        path: &Path,
        _: SegmentKind,
        _: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        Ok(Arc::new(self.make_segment(path, bytes)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.lock_tree();
        let Names { files, dirs } = &tree.names.now;
        if !dirs.contains(dir) {
            return Err(missing(dir));
        }
        let below = files.keys().chain(dirs).filter(|path| path.parent() == Some(dir));
        let names = below.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        let mut tree = self.lock_tree();
        let Names { files, dirs } = &tree.names.now;
        let change = match change {
            NameChange::CreateDir(path) => {
                let missing = path.ancestors().filter(|dir| !dirs.contains(*dir));
                let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
                for dir in missing.into_iter().rev() {
                    tree.names.alter(Change::MakeDir(dir));
                }
                return Ok(());
            }
            NameChange::RemoveDir(path) => {
                if files.keys().any(|name| name.parent() == Some(path)) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                if !dirs.contains(path) {
                    return Err(missing(path));
                }
                Change::RemoveDir(path.to_owned())
            }
            NameChange::Rename { from, to } => {
                let inode = files.get(from).cloned().ok_or_else(|| missing(from))?;
                debug_assert_eq!(from.parent(), to.parent(), "a rename stays in its folder");
                Change::Rename(from.to_owned(), to.to_owned(), inode)
            }
            NameChange::Link { from, to } => {
                let inode = files.get(from).cloned().ok_or_else(|| missing(from))?;
                let dir = parent(to);
                if !dirs.contains(&dir) {
                    return Err(missing(&dir));
                }
                if files.contains_key(to) {
                    return Err(exists(to));
                }
                Change::Link(to.to_owned(), inode)
            }
            NameChange::Remove(path) => {
                if !files.contains_key(path) {
                    return Err(missing(path));
                }
                Change::Unlink(path.to_owned())
            }
        };
        tree.names.alter(change);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.lock_tree();
        if !tree.names.now.dirs.contains(dir) {
            return Err(missing(dir));
        }
        tree.names.sync(dir);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.lock_tree().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { fs: self.clone(), path: path.to_owned() }))
    }
}

impl Inode {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn survivor(&self, fate: &mut impl FnMut() -> Fate, entropy: &SeededEntropy) -> Self {
        let content = self.lock();
        let (now, safe) = (&content.now, &content.safe);
        let len =
            if now.len() == safe.len() || fate() != Fate::Lost { now.len() } else { safe.len() };
        let mut image = vec![0; len];
        for number in 0..len.div_ceil(SECTOR_BYTES) {
            let (new, old) = (sector(now, number), sector(safe, number));
            let start = number * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(len);
            let mut survivor = old;
            if new != old {
                let new_bytes = match fate() {
                    Fate::Lost => 0,
                    Fate::Kept => SECTOR_BYTES,
                    Fate::Torn => {
                        let ends: Vec<_> =
                            content.ends.range(start + 1..start + SECTOR_BYTES).collect();
                        let at = entropy.below(ends.len().max(1) as u64) as usize;
                        ends.get(at).map_or(0, |end| **end - start)
                    }
                };
                survivor[..new_bytes].copy_from_slice(&new[..new_bytes]);
            }
            image[start..end].copy_from_slice(&survivor[..end - start]);
        }
        Self { content: Mutex::new(Content::safe(image)) }
    }
}

impl Content {
    /// Bytes that are all safe.
    fn safe(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), safe: bytes, ..Self::default() }
    }

    fn sync(&mut self) {
        let mut safe = self.now.clone();
        for number in &self.stuck {
            let start = number * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(safe.len());
            safe[start..end].copy_from_slice(&sector(&self.safe, *number)[..end - start]);
        }
        self.safe = safe;
        self.ends.clear();
    }

    fn fail_sync(&mut self) {
        let sectors = 0..self.now.len().div_ceil(SECTOR_BYTES);
        let (now, safe) = (&self.now, &self.safe);
        self.stuck.extend(sectors.filter(|number| sector(now, *number) != sector(safe, *number)));
    }
}

/// Sector `number` of `bytes`, filled up with zeros.
fn sector(bytes: &[u8], number: usize) -> [u8; SECTOR_BYTES] {
    let rest = bytes.get(number * SECTOR_BYTES..).unwrap_or_default();
    let len = rest.len().min(SECTOR_BYTES);
    let mut sector = [0; SECTOR_BYTES];
    sector[..len].copy_from_slice(&rest[..len]);
    sector
}

pub(crate) struct MemFile(Arc<Inode>);

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.0.lock();
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    /// A copy as of now, which is all that the contract lets anyone see.
    fn map(&self) -> io::Result<Bytes> {
        Ok(Bytes::copy_from_slice(&self.0.lock().now))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.0.lock();
        let end = offset as usize + bytes.len();
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[offset as usize..end].copy_from_slice(bytes);
        content.ends.insert(end);
        if !content.stuck.is_empty() {
            let written = offset as usize / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
            content.stuck.retain(|number| !written.contains(number));
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn sync(&self, done: Completion) {
        self.0.lock().sync();
        done(Ok(()));
    }
}

impl MemFile {
    /// A sync that fails: what it was to make safe is stuck.
    pub(crate) fn fail_sync(&self) {
        self.0.lock().fail_sync();
    }
}

pub(crate) struct MemSegment {
    file: MemFile,
    bytes: u64,
}

impl MemSegment {
    /// See [`MemFile::fail_sync`].
    pub(crate) fn fail_sync(&self) {
        self.file.fail_sync();
    }
}

impl Segment for MemSegment {
    fn capacity(&self) -> u64 {
        self.bytes
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match offset.checked_add(bytes.len() as u64) {
            Some(end) if end <= self.bytes => self.file.write_at(bytes, offset),
            _ => Err(outside_segment(offset, bytes.len(), self.bytes)),
        }
    }

    fn sync(&self, done: Completion) {
        self.file.sync(done);
    }
}

struct MemLock {
    fs: MemFs,
    path: PathBuf,
}

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.fs.lock_tree().locks.remove(&self.path);
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn exists(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display()))
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
