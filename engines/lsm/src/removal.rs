//! Removes the files of tables that a merge replaced.
//!
//! 1. The last handle of such a table goes with the last super-version that has it, and the last to let go of that is often a reader
//!    who was at work when the merge ended. Removing a file was measured to take up to twenty milliseconds, and a merge
//!    leaves a dozen: a read took a tenth of a second.
//! 2. So the file is removed by a job. It is one of the store's jobs: a store that closes waits for it, for the next opening may
//!    give the file's number to another.
//! 3. When the store closes, tables that go late are removed by who drops them, and so are those of jobs that are not run.

use crate::jobs::{Jobs, Token};
use nori_env::{Class, Fs, Job, Slice, Step, Tasks};
use nori_sstable::RemoveFile;
use std::path::PathBuf;
use std::sync::Arc;

/// Removes files by jobs of the store.
pub(crate) fn by_jobs(fs: Arc<dyn Fs>, tasks: Arc<dyn Tasks>, jobs: Arc<Jobs>) -> RemoveFile {
    Arc::new(move |path| {
        let fs = Arc::clone(&fs);
        let removal = Removal { fs, path: Some(path.to_owned()), _token: jobs.begin() };
        if !jobs.is_closing() {
            tasks.submit(Class::Removal, Box::new(removal));
        }
    })
}

struct Removal {
    fs: Arc<dyn Fs>,
    /// `None` when it is done.
    path: Option<PathBuf>,
    /// Last, so that whoever waits for the job finds the file removed.
    _token: Token,
}

impl Removal {
    fn remove(&mut self) {
        if let Some(path) = self.path.take() {
            // A file that cannot be removed now is an orphan, which the next opening sweeps.
            let _ = self.fs.remove(&path);
        }
    }
}

impl Job for Removal {
    fn step(&mut self, _: &Slice) -> Step {
        self.remove();
        Step::Done
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.remove();
    }
}
