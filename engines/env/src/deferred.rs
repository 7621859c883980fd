//! A file system whose log segments are synced by jobs: whoever asks for a sync goes on at once, and is told when it has ended.
//!
//! A sync through the operating system ends before the call returns, which is right for a thread that has nothing else to do. One that serves many must not wait: with this the sync runs wherever the
//! [`Tasks`] run it, in a pool of its own on a real machine, in seeded order in a simulation. Everything else passes through.

use crate::{
    Class, Completion, File, Fs, Job, Lock, NameChange, OpenMode, Segment, SegmentKind, Slice,
    Step, Tasks, Zeros,
};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// See the module.
#[derive(Clone)]
pub struct DeferredFs {
    inner: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
}

impl DeferredFs {
    /// `inner`, with the syncs of its segments run by `tasks`.
    pub fn new(inner: Arc<dyn Fs>, tasks: Arc<dyn Tasks>) -> Self {
        Self { inner, tasks }
    }
}

impl Fs for DeferredFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.inner.open(path, mode)
    }

    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        let inner = self.inner.segment(path, kind, zeros, bytes)?;
        Ok(Arc::new(Deferred { inner, tasks: Arc::clone(&self.tasks) }))
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

struct Deferred {
    inner: Arc<dyn Segment>,
    tasks: Arc<dyn Tasks>,
}

impl Segment for Deferred {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.put(offset, bytes)
    }

    fn sync(&self, done: Completion) {
        let sync = Sync { segment: Arc::clone(&self.inner), done: Some(done) };
        self.tasks.submit(Class::Log, Box::new(sync));
    }
}

struct Sync {
    segment: Arc<dyn Segment>,
    done: Option<Completion>,
}

impl Job for Sync {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some(done) = self.done.take() {
            self.segment.sync(done);
        }
        Step::Done
    }

    fn panicked(&mut self) {
        // If the sync itself panicked its completion went with it, and nothing is acknowledged any more; else it is told here.
        if let Some(done) = self.done.take() {
            done(Err(io::Error::other("the sync panicked")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, MemFs, SeededTasks, SyncTicket};

    #[test]
    fn a_sync_has_not_ended_before_its_job_ran() {
        let tasks = SeededTasks::new(1, ManualClock::default());
        let fs = DeferredFs::new(Arc::new(MemFs::new()), Arc::new(tasks.clone()));
        fs.create_dir(Path::new("/log")).unwrap();
        let path = Path::new("/log/1");
        let segment = fs.segment(path, SegmentKind::Pwrite, Zeros::Written, 4_096).unwrap();
        segment.put(0, b"bytes").unwrap();
        let sync = SyncTicket::start(|done| segment.sync(done));
        assert!(!sync.signal().is_fired());
        assert_eq!(tasks.run(10), 1);
        assert!(sync.take().unwrap().is_ok());
    }
}
