//! A file system whose log segments are synced by jobs: whoever asks for a sync goes on at once, and is told when it has ended.
//!
//! A sync through the operating system ends before the call returns, which is right for a thread that has nothing else to do. One that serves many must not wait: with this the sync runs wherever the
//! [`Tasks`] run it, in a pool of its own on a real machine, in seeded order in a simulation. Everything else passes through.

use crate::around::{AroundFs, AtOnce, StartSync, Syncs};
use crate::{Class, Completion, Fs, Job, Slice, Step, Tasks};
use std::io;
use std::sync::Arc;

/// The file system.
pub type DeferredFs = AroundFs<SubmittedSyncs, AtOnce>;

impl DeferredFs {
    /// `inner`, with the syncs of its segments run by `tasks`.
    pub fn new(inner: Arc<dyn Fs>, tasks: Arc<dyn Tasks>) -> Self {
        Self { inner, segments: SubmittedSyncs(tasks), files: AtOnce }
    }
}

/// Syncs that are jobs.
#[derive(Clone)]
pub struct SubmittedSyncs(Arc<dyn Tasks>);

impl Syncs for SubmittedSyncs {
    fn run(&self, sync: StartSync, done: Completion) {
        self.0.submit(Class::Log, Box::new(Submitted { ends: Some((sync, done)) }));
    }
}

struct Submitted {
    ends: Option<(StartSync, Completion)>,
}

impl Job for Submitted {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some((sync, done)) = self.ends.take() {
            sync(done);
        }
        Step::Done
    }

    fn panicked(&mut self) {
        // If the sync itself panicked its completion went with it, and nothing is acknowledged any more; else it is told here.
        if let Some((_, done)) = self.ends.take() {
            done(Err(io::Error::other("the sync panicked")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, MemFs, SeededTasks, SegmentKind, SyncTicket, Zeros};
    use std::path::Path;

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
