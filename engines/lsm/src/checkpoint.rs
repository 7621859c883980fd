//! Copies of a store, by second names for its files: no file of a store is written any more once it is closed, and tables never.
//!
//! **Checkpoint.** What is in tables, as of one version:
//!
//! 1. The version is held, so that no compaction takes a table away.
//! 2. Each of its tables gets a second name in the new folder.
//! 3. A manifest is written there that makes the version from nothing and knows of no log; `CURRENT` comes last.
//!
//! **Install.** The folder gets all files of the copy, in place of its own:
//!
//! 1. A **marker** is written and its name made safe. From here on the folder is no store.
//! 2. What was there is removed; each file of the copy gets a second name; the folder is synced.
//! 3. The marker is removed, and the folder synced again.
//!
//! Cut off anywhere between, the marker is there at the next opening, which says so. To install again begins with 1.

use crate::core::Core;
use crate::manifest::{self, Manifest};
use crate::open::{enter, is_own, make_dir, take_lock};
use nori_env::{Fs, OpenMode};
use nori_kv::{Applied, Error, Result};
use nori_sstable::table_name;
use std::io::{Error as OsError, ErrorKind as ErrorOf};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A folder with a file of this name has half of a copy.
const MARKER: &str = "INSTALLING";

/// That there is nothing in `dir`, if there is such a folder.
pub(crate) fn check_empty(fs: &dyn Fs, dir: &Path) -> Result<()> {
    match fs.list(dir) {
        Ok(names) if !names.is_empty() => {
            Err(Error::Invalid { what: format!("there is something in {} already", dir.display()) })
        }
        Err(e) if e.kind() != ErrorOf::NotFound => Err(Error::io("listing", dir, e)),
        _ => Ok(()),
    }
}

/// Copies what is in tables into the new folder `dir`; the last entry of the replicated log in it.
pub(crate) fn copy(core: &Core, dir: &Path) -> Result<Applied> {
    let fs = &*core.parts.fs;
    check_empty(fs, dir)?;
    make_dir(fs, dir)?;
    let (version, mut numbers, kind) = {
        let tree = core.tree.lock();
        let kind = tree.manifest.as_ref().map_err(Error::poison)?.kind();
        (Arc::clone(&tree.version), tree.numbers.clone(), kind)
    };
    for table in version.tables() {
        let name = table_name(table.number());
        duplicate(fs, &core.dir.join(&name), &dir.join(&name))?;
    }
    let number = core.next_number.load(Ordering::Relaxed);
    (numbers.log_number, numbers.begun) = (None, None);
    numbers.next_number = Some(number + 1);
    numbers.levels = Some(version.levels.len() as u64);
    let mut whole = version.as_edit();
    whole.merge_numbers(&numbers);
    Manifest::create(fs, dir, number, kind, &whole)?;
    Ok(numbers.applied.unwrap_or_default())
}

/// Makes the store in `dir` a copy of the one in `checkpoint`.
pub(crate) fn install(fs: &dyn Fs, dir: &Path, checkpoint: &Path) -> Result<()> {
    let names = fs.list(checkpoint).map_err(|e| Error::io("listing", checkpoint, e))?;
    let _theirs = take_lock(fs, checkpoint)?;
    check_whole(fs, checkpoint)?;
    if manifest::read(fs, checkpoint)?.is_none() {
        let what = format!("there is no checkpoint in {}", checkpoint.display());
        return Err(Error::Invalid { what });
    }
    let _ours = enter(fs, dir)?;
    mark(fs, dir)?;
    for name in fs.list(dir).map_err(|e| Error::io("listing", dir, e))? {
        if is_own(&name) {
            let path = dir.join(&name);
            fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
        }
    }
    for name in names.iter().filter(|name| is_own(name)) {
        duplicate(fs, &checkpoint.join(name), &dir.join(name))?;
    }
    sync_dir(fs, dir)?;
    remove_marker(fs, dir)?;
    sync_dir(fs, dir)
}

/// That no installation into `dir` was cut off.
pub(crate) fn check_whole(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    match fs.exists(&path).map_err(|e| Error::io("opening", &path, e))? {
        true => {
            let what = "a copy was being installed here and is not whole: install it again, or destroy the store";
            Err(Error::corrupt(&path, 0, what))
        }
        false => Ok(()),
    }
}

fn mark(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    match fs.open(&path, OpenMode::CreateNew) {
        Err(e) if e.kind() != ErrorOf::AlreadyExists => {
            return Err(Error::io("creating", &path, e));
        }
        _ => {}
    }
    sync_dir(fs, dir)
}

/// Removes the marker, if there is one.
pub(crate) fn remove_marker(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    match fs.remove(&path) {
        Err(e) if e.kind() != ErrorOf::NotFound => Err(Error::io("removing", &path, e)),
        _ => Ok(()),
    }
}

/// Gives a file a second name; where the file system has no such thing, or the names are on two of them, its bytes are copied.
fn duplicate(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    match fs.link(from, to) {
        Ok(()) => Ok(()),
        Err(e) if is_no_link(&e) => {
            let content = fs.read(from).map_err(|e| Error::io("reading", from, e))?;
            let file =
                fs.open(to, OpenMode::CreateNew).map_err(|e| Error::io("creating", to, e))?;
            file.write_at(&content, 0).map_err(|e| Error::io("writing", to, e))?;
            manifest::sync_now(&*file, to)
        }
        Err(e) => Err(Error::io("linking", from, e)),
    }
}

fn is_no_link(error: &OsError) -> bool {
    use ErrorOf::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

fn sync_dir(fs: &dyn Fs, dir: &Path) -> Result<()> {
    fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))
}
