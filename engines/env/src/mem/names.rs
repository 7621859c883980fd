//! The names of a file system in memory: as they are, as they are safe, and the changes between the two.
//!
//! 1. A change is applied to the present names and noted as pending, with the folder whose sync makes it safe.
//! 2. A sync of the folder applies its pending changes to the safe names. One that fails leaves them pending: a later one that goes
//!    makes them safe, unlike the bytes of a file, for a file system that cannot write its journal does not go on.
//! 3. A power loss begins with the safe names and draws for each pending change what becomes of it. What lies in a folder that is
//!    lost is lost with it, and what lay in one whose removal is safe never comes back, though one of its name is made again.

use super::{Fate, Inode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files and folders by path. Each but a root lies in a folder that is there.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, Arc<Inode>>,
    pub(super) dirs: BTreeSet<PathBuf>,
}

/// A change of one name, or of two by a rename.
pub(super) enum Change {
    Link(PathBuf, Arc<Inode>),
    Rename(PathBuf, PathBuf, Arc<Inode>),
    Unlink(PathBuf),
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
}

struct Pending {
    dir: PathBuf,
    change: Change,
}

/// See the module.
#[derive(Default)]
pub(super) struct NameLog {
    pub(super) now: Names,
    safe: Names,
    /// Changes since each folder's last sync, oldest first: `now` is `safe` and these.
    pending: Vec<Pending>,
}

impl NameLog {
    /// Names that are all safe.
    pub(super) fn safe(names: Names) -> Self {
        Self { now: names.clone(), safe: names, pending: Vec::new() }
    }

    /// Does `change`, which a sync of its folder makes safe.
    pub(super) fn alter(&mut self, change: Change) {
        change.apply(&mut self.now);
        match change.path().parent() {
            Some(dir) => {
                self.pending.push(Pending { dir: dir.to_owned(), change });
            }
            // A root is always there.
            None => change.apply(&mut self.safe),
        }
    }

    /// A sync of `dir` that went.
    pub(super) fn sync(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending);
        for of in pending {
            if of.dir != dir {
                self.pending.push(of);
                continue;
            }
            of.change.apply(&mut self.safe);
            if let Change::RemoveDir(gone) = &of.change {
                self.pending.retain(|before| before.dir != *gone);
            }
        }
    }

    /// What a power loss leaves.
    pub(super) fn survivors(&self, fate: &mut impl FnMut() -> Fate) -> Names {
        let mut names = self.safe.clone();
        for pending in &self.pending {
            match (fate(), &pending.change) {
                (Fate::Lost, _) => {}
                // The new name is there, and the old one not yet gone.
                (Fate::Torn, Change::Rename(_, to, inode)) => {
                    names.files.insert(to.clone(), Arc::clone(inode));
                }
                (_, change) => change.apply(&mut names),
            }
        }
        let mut dirs = BTreeSet::new();
        // Paths sort by component: a folder comes before what lies in it.
        for dir in names.dirs {
            if dir.parent().is_none_or(|above| dirs.contains(above)) {
                dirs.insert(dir);
            }
        }
        names.files.retain(|path, _| path.parent().is_some_and(|dir| dirs.contains(dir)));
        Names { files: names.files, dirs }
    }
}

impl Change {
    /// The name that it makes or removes.
    fn path(&self) -> &Path {
        match self {
            Self::Link(path, _) | Self::Rename(_, path, _) | Self::Unlink(path) => path,
            Self::MakeDir(path) | Self::RemoveDir(path) => path,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(path, inode) => {
                names.files.insert(path.clone(), Arc::clone(inode));
            }
            Self::Rename(from, to, inode) => {
                names.files.remove(from);
                names.files.insert(to.clone(), Arc::clone(inode));
            }
            Self::Unlink(path) => {
                names.files.remove(path);
            }
            Self::MakeDir(path) => {
                names.dirs.insert(path.clone());
            }
            Self::RemoveDir(path) => {
                names.dirs.remove(path);
                names.files.retain(|file, _| file.parent() != Some(path));
            }
        }
    }
}
