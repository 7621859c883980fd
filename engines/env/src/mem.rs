//! A file system in memory that knows which bytes and names are safe.
//!
//! Every file keeps two contents, the present one and the one of its last sync, and the folder tree
//! keeps two sets of names with the list of changes between them. [`MemFs::after_power_loss`] builds
//! from them what a disk may show afterwards: each unsynced sector and each unsynced name is kept or lost on its own.

use crate::fs::outside_segment;
use crate::{
    Completion, Entropy, File, Fs, Lock, NameChange, OpenMode, SECTOR_BYTES, SeededEntropy,
    Segment, SegmentKind,
};
use bytes::Bytes;
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
    names: BTreeMap<PathBuf, Arc<Inode>>,
    dirs: BTreeSet<PathBuf>,
    /// The names as of each folder's last sync; `names` is this plus `pending`.
    safe_names: BTreeMap<PathBuf, Arc<Inode>>,
    /// Changes since then, oldest first.
    pending: Vec<Pending>,
    locks: BTreeSet<PathBuf>,
}

struct Pending {
    dir: PathBuf,
    change: Change,
}

enum Change {
    Link(PathBuf, Arc<Inode>),
    Rename(PathBuf, PathBuf, Arc<Inode>),
    Unlink(PathBuf),
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
}

/// How much of what was not synced a power loss takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    /// Each sector and each name on its own, by this seed.
    Drawn(u64),
}

impl MemFs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes that all files take together.
    pub fn bytes(&self) -> u64 {
        let tree = self.lock_tree();
        tree.names.values().map(|inode| inode.lock().now.len() as u64).sum()
    }

    /// Flips the bits of `mask` in the byte at `offset`, on the medium itself.
    ///
    /// # Errors
    ///
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let inode = self.inode(path)?;
        let mut content = inode.lock();
        let Content { now, safe } = &mut *content;
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
        let entropy = SeededEntropy::new(if let Keep::Drawn(seed) = keep { seed } else { 0 });
        let mut kept = || match keep {
            Keep::Nothing => false,
            Keep::Everything => true,
            Keep::Drawn(_) => entropy.below(2) == 1,
        };
        let mut names = tree.safe_names.clone();
        for pending in &tree.pending {
            if kept() {
                pending.change.apply(&mut names);
            }
        }
        let survivors = names.into_iter().map(|(path, inode)| {
            let survivor = inode.survivor(&mut kept);
            (path, Arc::new(survivor))
        });
        let names: BTreeMap<PathBuf, Arc<Inode>> = survivors.collect();
        let image = Tree {
            safe_names: names.clone(),
            names,
            dirs: tree.dirs.clone(),
            pending: Vec::new(),
            locks: BTreeSet::new(),
        };
        Self { tree: Arc::new(Mutex::new(image)) }
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Inode>> {
        self.lock_tree().names.get(path).cloned().ok_or_else(|| missing(path))
    }

    fn create(&self, path: &Path, content: Content) -> io::Result<Arc<Inode>> {
        let mut tree = self.lock_tree();
        let dir = parent(path);
        if !tree.dirs.contains(&dir) {
            return Err(missing(&dir));
        }
        if tree.names.contains_key(path) {
            let what = format!("{} exists", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let inode = Arc::new(Inode { content: Mutex::new(content) });
        tree.alter(dir, Change::Link(path.to_owned(), Arc::clone(&inode)));
        Ok(inode)
    }

    fn lock_tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for MemFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inode = match mode {
            OpenMode::Read => self.inode(path)?,
            OpenMode::CreateNew => self.create(path, Content::default())?,
        };
        Ok(Arc::new(MemFile(inode)))
    }

    fn segment(&self, path: &Path, _kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let zeros = vec![0; bytes as usize];
        let inode = self.create(path, Content { now: zeros.clone(), safe: zeros })?;
        Ok(Arc::new(MemSegment { file: MemFile(inode), bytes }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.lock_tree();
        if !tree.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let below = tree.names.keys().chain(&tree.dirs).filter(|path| path.parent() == Some(dir));
        let names = below.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        let mut tree = self.lock_tree();
        match change {
            // Folders are made safe at once: no engine keeps anything in one before it synced its parent.
            NameChange::CreateDir(path) => {
                tree.dirs.extend(path.ancestors().map(Path::to_owned));
            }
            NameChange::RemoveDir(path) => {
                if tree.names.keys().any(|name| name.parent() == Some(path)) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                if !tree.dirs.remove(path) {
                    return Err(missing(path));
                }
            }
            NameChange::Rename { from, to } => {
                let inode = tree.names.get(from).cloned().ok_or_else(|| missing(from))?;
                debug_assert_eq!(from.parent(), to.parent(), "a rename stays in its folder");
                tree.alter(parent(to), Change::Rename(from.to_owned(), to.to_owned(), inode));
            }
            NameChange::Remove(path) => {
                if !tree.names.contains_key(path) {
                    return Err(missing(path));
                }
                tree.alter(parent(path), Change::Unlink(path.to_owned()));
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.lock_tree();
        if !tree.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let pending = std::mem::take(&mut tree.pending);
        for pending in pending {
            if pending.dir == dir {
                pending.change.apply(&mut tree.safe_names);
            } else {
                tree.pending.push(pending);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.lock_tree().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { fs: self.clone(), path: path.to_owned() }))
    }
}

impl Tree {
    fn alter(&mut self, dir: PathBuf, change: Change) {
        change.apply(&mut self.names);
        self.pending.push(Pending { dir, change });
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Arc<Inode>>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path.clone(), Arc::clone(inode));
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), Arc::clone(inode));
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
        }
    }
}

impl Inode {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn survivor(&self, kept: &mut impl FnMut() -> bool) -> Self {
        let content = self.lock();
        let (now, safe) = (&content.now, &content.safe);
        let len = if now.len() == safe.len() || kept() { now.len() } else { safe.len() };
        let mut image = vec![0; len];
        for start in (0..len).step_by(SECTOR_BYTES) {
            let end = (start + SECTOR_BYTES).min(len);
            let sector = |bytes: &[u8]| -> Vec<u8> {
                let mut sector: Vec<u8> =
                    bytes.get(start..end.min(bytes.len())).unwrap_or_default().to_vec();
                sector.resize(end - start, 0);
                sector
            };
            let (new, old) = (sector(now), sector(safe));
            let survivor = if new == old || kept() { new } else { old };
            image[start..end].copy_from_slice(&survivor);
        }
        Self { content: Mutex::new(Content { now: image.clone(), safe: image }) }
    }
}

struct MemFile(Arc<Inode>);

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
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn sync(&self, done: Completion) {
        let mut content = self.0.lock();
        content.safe = content.now.clone();
        drop(content);
        done(Ok(()));
    }
}

struct MemSegment {
    file: MemFile,
    bytes: u64,
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

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
