//! Segments made ready in advance, so that no writer waits for a file to be zeroed.

use crate::WalError;
use crate::wal::segment_path;
use nori_env::{Class, Fs, Job, Segment, SegmentKind, Signal, Slice, Step, Tasks, Waited};
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
    /// A job makes segment `.0`; the signal fires when it has left its result.
    Making(u64, Signal),
    Ready(u64, Result<Arc<dyn Segment>, WalError>),
}

impl Ahead {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path, kind: SegmentKind, bytes: u64) -> Arc<Self> {
        Arc::new(Self { fs, dir: dir.to_owned(), kind, bytes, state: Mutex::default() })
    }

    /// Starts to make segment `number`.
    pub(crate) fn prepare(self: &Arc<Self>, number: u64, tasks: &dyn Tasks) {
        let done = Signal::new();
        *self.lock() = State::Making(number, done.clone());
        tasks.submit(Class::Log, Box::new(Prepare { ahead: Arc::clone(self), number, done }));
    }

    /// What to wait for before segment `number` is taken, if a job is making it.
    pub(crate) fn pending(&self, number: u64) -> Option<Signal> {
        match &*self.lock() {
            State::Making(of, signal) if *of == number => Some(signal.clone()),
            _ => None,
        }
    }

    /// Segment `number`, at least `bytes_min` long: the one made in advance if it fits. Nothing makes it meanwhile.
    pub(crate) fn take(&self, number: u64, bytes_min: u64) -> Result<Arc<dyn Segment>, WalError> {
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
        self.make(number, self.bytes.max(bytes_min))
    }

    /// Waits until no job of this log is under way: the folder is quiet from then on.
    pub(crate) fn close(&self, tasks: &dyn Tasks) {
        let making = match &*self.lock() {
            State::Making(_, signal) => signal.clone(),
            _ => return,
        };
        let _: Waited = tasks.wait(&making);
    }

    /// Makes the file and its name safe.
    fn make(&self, number: u64, bytes: u64) -> Result<Arc<dyn Segment>, WalError> {
        let path = segment_path(&self.dir, number);
        let segment = self
            .fs
            .segment(&path, self.kind, bytes)
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
    done: Signal,
}

impl Job for Prepare {
    fn step(&mut self, _: &Slice) -> Step {
        let made = self.ahead.make(self.number, self.ahead.bytes);
        *self.ahead.lock() = State::Ready(self.number, made);
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
