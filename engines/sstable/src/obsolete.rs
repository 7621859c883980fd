//! What is left of a table that no version names any more: its file, still open.
//!
//! 1. A table keeps a [`LastHold`] beside the handles it reads with, as the last of its fields.
//! 2. When the last handle of the table goes, so do those of the file, and none of them is the file's last.
//! 3. Then the hold goes. If the table is obsolete, the file passes to whoever removes files; else it is closed here.
//!
//! So neither the name nor the content of the file goes at the cost of who dropped the table, in whatever order the two happen: of a file
//! without a name the last handle that is closed pays for the content.

use bytes::Bytes;
use nori_env::{File, Fs};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file of an obsolete table; nobody else has it open. Dropping it closes the file and leaves an orphan, which the next
/// opening sweeps.
pub struct Obsolete {
    path: PathBuf,
    file: Arc<dyn File>,
    map: Option<Bytes>,
}

impl Obsolete {
    /// Closes the file and removes it from `fs`, where the table was opened. May take long.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed; it is an orphan then.
    pub fn remove(self, fs: &dyn Fs) -> io::Result<()> {
        let Self { path, file, map } = self;
        drop((file, map));
        fs.remove(&path)
    }
}

/// Removes the file of an obsolete table. Called by whoever drops the table's last handle, a reader for instance: it should be quick.
pub type RemoveFile = Arc<dyn Fn(Obsolete) + Send + Sync>;

/// Holds a table's file open behind every other handle.
pub(crate) struct LastHold {
    /// `Some` until it is dropped.
    held: Option<Obsolete>,
    /// Set when no version of the tree will ever name the table again.
    is_obsolete: AtomicBool,
    remove: RemoveFile,
}

impl LastHold {
    pub(crate) fn new(
        path: PathBuf,
        file: &Arc<dyn File>,
        map: Option<&Bytes>,
        remove: &RemoveFile,
    ) -> Self {
        let held = Obsolete { path, file: Arc::clone(file), map: map.cloned() };
        Self { held: Some(held), is_obsolete: AtomicBool::new(false), remove: Arc::clone(remove) }
    }

    pub(crate) fn mark_obsolete(&self) {
        self.is_obsolete.store(true, Ordering::Release);
    }
}

impl Drop for LastHold {
    fn drop(&mut self) {
        if let Some(held) = self.held.take().filter(|_| self.is_obsolete.load(Ordering::Acquire)) {
            (self.remove)(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DIR, table};
    use crate::{ACCESSES, Cache, Table, TableContext, cache_policy};
    use std::path::Path;
    use std::sync::Mutex;

    #[test]
    fn the_file_passes_on_when_nobody_else_has_it_open() {
        for (_, access, _) in ACCESSES {
            let fs: Arc<dyn Fs> = Arc::new(table());
            let cache = Cache::new(cache_policy("lru", 1 << 16).unwrap(), 1 << 16);
            let passed = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&passed);
            let remove: RemoveFile = Arc::new(move |file| {
                assert_eq!(
                    Arc::strong_count(&file.file),
                    1,
                    "whose table goes closes the file later"
                );
                kept.lock().unwrap().push(file);
            });
            let context = TableContext::new(Arc::clone(&fs), cache, access).removing_with(remove);
            let open = || Table::open(&context, Path::new(DIR), 3).unwrap();
            drop(open());
            assert!(passed.lock().unwrap().is_empty(), "a table that is not obsolete");
            let (one, other) = (open(), open());
            one.mark_obsolete();
            drop((one, other));
            let file = passed.lock().unwrap().pop().unwrap();
            assert!(passed.lock().unwrap().is_empty());
            file.remove(&*fs).unwrap();
            assert!(fs.list(Path::new(DIR)).unwrap().is_empty());
        }
    }
}
