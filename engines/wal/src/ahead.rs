//! Segments made ready in advance, so that no writer waits for a file to be zeroed.
//!
//! A log that is synced wants zeros that are on the disk already: a sync then moves data only. One that is not, and is
//! removed soon after its memtable was written as a table, need not reach the disk at all: there the zeros would be
//! the larger part of its writes. Which of the two a log is, its owner tells with every segment ([`Zeros`]).

use crate::WalError;
use crate::format::SEGMENT_UNIT_BYTES;
use crate::wal::segment_path;
use nori_env::{Class, Fs, Job, Segment, SegmentKind, Signal, Slice, Step, Tasks, Waited, Zeros};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes segments: the next one in the background, or at once for who cannot wait.
pub(crate) struct Ahead {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    kind: SegmentKind,
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// A job is to make segment `number`; `done` fires when it has left its result.
    Making {
        number: u64,
        done: Signal,
        has_begun: bool,
    },
    Ready(u64, Result<Arc<dyn Segment>, WalError>),
}

impl Ahead {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path, kind: SegmentKind, bytes: u64) -> Arc<Self> {
        Arc::new(Self { fs, dir: dir.to_owned(), kind, bytes, state: Mutex::default() })
    }

    /// Starts to make segment `number`.
    pub(crate) fn prepare(self: &Arc<Self>, number: u64, zeros: Zeros, tasks: &dyn Tasks) {
        let done = Signal::new();
        *self.lock() = State::Making { number, done: done.clone(), has_begun: false };
        tasks
            .submit(Class::Log, Box::new(Prepare { ahead: Arc::clone(self), number, zeros, done }));
    }

    /// What to wait for before segment `number` is taken, if a job is making it.
    pub(crate) fn pending(&self, number: u64) -> Option<Signal> {
        match &*self.lock() {
            State::Making { number: of, done, .. } if *of == number => Some(done.clone()),
            _ => None,
        }
    }

    /// Segment `number`, at least `bytes_min` long: the one made in advance if it fits. Nothing makes it meanwhile.
    pub(crate) fn take(
        &self,
        number: u64,
        zeros: Zeros,
        bytes_min: u64,
    ) -> Result<Arc<dyn Segment>, WalError> {
        debug_assert!(self.pending(number).is_none());
        if let State::Ready(of, segment) = std::mem::take(&mut *self.lock())
            && of == number
        {
            let segment = segment?;
            if segment.capacity() >= bytes_min {
                return Ok(segment);
            }
            let path = segment_path(&self.dir, number);
            self.fs.remove(&path).map_err(|e| WalError::io("removing", &path, e))?;
        }
        self.make(number, zeros, self.bytes.max(bytes_min.next_multiple_of(SEGMENT_UNIT_BYTES)))
    }

    /// Calls the job off, or waits for its end if it has begun: the folder is quiet from then on. A job that has begun runs on
    /// another thread, so the wait ends even if this is the thread of the only worker.
    pub(crate) fn close(&self, tasks: &dyn Tasks) {
        let state = std::mem::take(&mut *self.lock());
        if let State::Making { done, has_begun: true, .. } = state {
            let _: Waited = tasks.wait(&done);
        }
    }

    /// Whether the job for segment `number` is still wanted; from now on it has begun.
    fn begin(&self, number: u64) -> bool {
        match &mut *self.lock() {
            State::Making { number: of, has_begun, .. } if *of == number => {
                *has_begun = true;
                true
            }
            _ => false,
        }
    }

    /// Makes the file and its name safe.
    fn make(&self, number: u64, zeros: Zeros, bytes: u64) -> Result<Arc<dyn Segment>, WalError> {
        let path = segment_path(&self.dir, number);
        let segment = self
            .fs
            .segment(&path, self.kind, zeros, bytes)
            .map_err(|e| WalError::io("creating", &path, e))?;
        self.fs.sync_dir(&self.dir).map_err(|e| WalError::io("syncing", &self.dir, e))?;
        Ok(segment)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Prepare {
    ahead: Arc<Ahead>,
    number: u64,
    zeros: Zeros,
    done: Signal,
}

impl Job for Prepare {
    fn step(&mut self, _: &Slice) -> Step {
        if self.ahead.begin(self.number) {
            let made = self.ahead.make(self.number, self.zeros, self.ahead.bytes);
            *self.ahead.lock() = State::Ready(self.number, made);
        }
        self.done.fire();
        Step::Done
    }

    fn panicked(&mut self) {
        *self.ahead.lock() = State::Idle;
        self.done.fire();
    }
}

impl Drop for Prepare {
    fn drop(&mut self) {
        // A pool that stops drops its jobs: whoever waits makes the segment itself.
        if !self.done.is_fired() {
            self.panicked();
        }
    }
}
