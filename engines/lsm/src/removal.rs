//! Removes the files of tables that a merge replaced.
//!
//! 1. The last handle of such a table goes with the last super-version that has it, and the last to let go of that is often a reader
//!    who was at work when the merge ended. Removing a file was measured to take up to twenty milliseconds, and a merge
//!    leaves a dozen: a read took a tenth of a second.
//! 2. So the file, still open, passes to a job, which closes and removes it. A handle that stayed with the reader would cost it as
//!    much: the content of a file goes when its last handle does, if the name went before.
//! 3. The job is one of the store's: a store that closes waits for it, for the next opening may give the file's number to another.
//! 4. When the store closes, tables that go late are removed by who drops them, and so are those of jobs that are not run.

use crate::jobs::{Jobs, Token};
use nori_env::{Class, Fs, Job, Slice, Step, Tasks};
use nori_sstable::{Obsolete, RemoveFile};
use std::sync::Arc;

/// Removes files by jobs of the store.
pub(crate) fn by_jobs(fs: Arc<dyn Fs>, tasks: Arc<dyn Tasks>, jobs: Arc<Jobs>) -> RemoveFile {
    Arc::new(move |file| {
        let removal = Removal { fs: Arc::clone(&fs), file: Some(file), _token: jobs.begin() };
        if !jobs.is_closing() {
            tasks.submit(Class::Removal, Box::new(removal));
        }
    })
}

struct Removal {
    fs: Arc<dyn Fs>,
    /// `None` when it is done.
    file: Option<Obsolete>,
    /// Last, so that whoever waits for the job finds the file removed.
    _token: Token,
}

impl Removal {
    fn remove(&mut self) {
        if let Some(file) = self.file.take() {
            // A file that cannot be removed now is an orphan, which the next opening sweeps.
            let _ = file.remove(&*self.fs);
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
