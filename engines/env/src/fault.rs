//! A file system that fails on purpose: at a chosen event, at a chosen size, or by losing its power.
//!
//! 1. Every call that could change the disk is an **event** and has a number, counted from 1.
//! 2. A [`FaultPlan`] names the event at which the power fails, the event, sync or read that fails, or the number
//!    of bytes the disk has room for.
//! 3. After the power failed every call fails. [`FaultFs::after_power_loss`] and
//!    [`FaultFs::after_kill`] give the disk that the next process finds.
//!
//! A put that the power loss interrupts is torn: its leading half may be there and the rest not. A write that fails is
//! short in the same way.

use crate::mem::Keep;
use crate::{Completion, File, Fs, Lock, MemFs, NameChange, OpenMode, Segment, SegmentKind};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is to go wrong, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The power fails in the middle of this event, counted from 1.
    pub crash_at_event: Option<u64>,
    /// This event, counted from 1, fails with this kind of error; the next ones go.
    pub fail_at_event: Option<(u64, io::ErrorKind)>,
    /// This sync, counted from 1, fails, and what it should have made safe is not.
    pub fail_at_sync: Option<u64>,
    /// This read, counted from 1, fails: of a file's bytes or length, of a folder, or the opening of a file.
    pub fail_at_read: Option<u64>,
    /// Files may take this many bytes together; a write past it is cut short and fails with `StorageFull`.
    pub capacity_bytes: Option<u64>,
}

/// What a power loss does with bytes and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// All of them are lost.
    LosesAll,
    /// All of them are kept.
    KeepsAll,
    /// Each sector and each name is kept or lost by a draw from this seed.
    Draws(u64),
}

/// A [`MemFs`] that follows a [`FaultPlan`]. Clones are the same file system.
#[derive(Clone)]
pub struct FaultFs {
    inner: MemFs,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    plan: Mutex<FaultPlan>,
    events: AtomicU64,
    syncs: AtomicU64,
    reads: AtomicU64,
}

/// What an event may do.
enum Event {
    /// All of it.
    Goes,
    /// Half of it, if it has halves: the power fails in the middle of it, or it fails by itself.
    Tears(io::Error),
}

impl FaultFs {
    /// An empty disk with a plan.
    pub fn new(plan: FaultPlan) -> Self {
        Self::over(MemFs::new(), plan)
    }

    /// A disk that holds something already.
    pub fn over(inner: MemFs, plan: FaultPlan) -> Self {
        let faults = Faults { plan: Mutex::new(plan), ..Faults::default() };
        Self { inner, faults: Arc::new(faults) }
    }

    /// Replaces the plan. Events that happened stay counted.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.faults.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// The number of events so far.
    pub fn events(&self) -> u64 {
        self.faults.events.load(Ordering::SeqCst)
    }

    /// The number of syncs so far, of files and folders.
    pub fn syncs(&self) -> u64 {
        self.faults.syncs.load(Ordering::SeqCst)
    }

    /// The number of reads so far.
    pub fn reads(&self) -> u64 {
        self.faults.reads.load(Ordering::SeqCst)
    }

    /// Whether the power has failed.
    pub fn has_crashed(&self) -> bool {
        self.plan().crash_at_event.is_some_and(|at| self.events() >= at)
    }

    /// The disk as the next process finds it if the power fails now.
    pub fn after_power_loss(&self, loss: PowerLoss) -> MemFs {
        self.inner.after_power_loss(match loss {
            PowerLoss::LosesAll => Keep::Nothing,
            PowerLoss::KeepsAll => Keep::Everything,
            PowerLoss::Draws(seed) => Keep::Drawn(seed),
        })
    }

    /// The disk as the next process finds it if this one is killed now: the page cache is all there.
    pub fn after_kill(&self) -> MemFs {
        self.inner.after_power_loss(Keep::Everything)
    }

    fn plan(&self) -> FaultPlan {
        *self.faults.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self) -> io::Result<Event> {
        let plan = self.plan();
        let number = self.faults.events.fetch_add(1, Ordering::SeqCst) + 1;
        match plan.crash_at_event {
            Some(at) if number > at => return Err(power_is_off()),
            Some(at) if number == at => return Ok(Event::Tears(power_is_off())),
            _ => {}
        }
        Ok(match plan.fail_at_event {
            Some((at, kind)) if number == at => {
                Event::Tears(io::Error::new(kind, "failed on purpose"))
            }
            _ => Event::Goes,
        })
    }

    /// An event that happens whole or not at all.
    fn whole_event(&self) -> io::Result<()> {
        match self.event()? {
            Event::Goes => Ok(()),
            Event::Tears(error) => Err(error),
        }
    }

    fn reading(&self) -> io::Result<()> {
        let number = self.faults.reads.fetch_add(1, Ordering::SeqCst) + 1;
        if self.has_crashed() {
            return Err(power_is_off());
        }
        match self.plan().fail_at_read {
            Some(at) if number == at => Err(io::Error::other("failed on purpose")),
            _ => Ok(()),
        }
    }

    fn sync_event(&self) -> io::Result<()> {
        self.whole_event()?;
        let number = self.faults.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        match self.plan().fail_at_sync {
            Some(at) if number == at => Err(io::Error::other("sync failed on purpose")),
            _ => Ok(()),
        }
    }

    /// How many of `bytes` more bytes there is room for.
    fn room(&self, bytes: u64) -> u64 {
        match self.plan().capacity_bytes {
            Some(capacity) => bytes.min(capacity.saturating_sub(self.inner.bytes())),
            None => bytes,
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the fault-injecting disk")
}

impl Fs for FaultFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read => self.reading()?,
            OpenMode::CreateNew => self.whole_event()?,
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultFile { fs: self.clone(), inner }))
    }

    fn segment(&self, path: &Path, kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        self.whole_event()?;
        if self.room(bytes) < bytes {
            return Err(no_room());
        }
        let inner = self.inner.segment(path, kind, bytes)?;
        Ok(Arc::new(FaultSegment { fs: self.clone(), inner }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.reading()?;
        self.inner.list(dir)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        self.whole_event()?;
        self.inner.change(change)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync_event()?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.reading()?;
        self.inner.lock(path)
    }
}

struct FaultFile {
    fs: FaultFs,
    inner: Arc<dyn File>,
}

impl File for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.reading()?;
        self.inner.read_at(buf, offset)
    }

    /// Mapping can fail as a read does; what is mapped cannot fail any more.
    fn map(&self) -> io::Result<Bytes> {
        self.fs.reading()?;
        self.inner.map()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Event::Tears(error) = self.fs.event()? {
            self.inner.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(self.inner.len()?);
        let short = grows - self.fs.room(grows);
        if short > 0 {
            let fits = bytes.len() - (short as usize).min(bytes.len());
            self.inner.write_at(&bytes[..fits], offset)?;
            return Err(no_room());
        }
        self.inner.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.reading()?;
        self.inner.len()
    }

    fn sync(&self, done: Completion) {
        match self.fs.sync_event() {
            Ok(()) => self.inner.sync(done),
            Err(error) => done(Err(error)),
        }
    }
}

struct FaultSegment {
    fs: FaultFs,
    inner: Arc<dyn Segment>,
}

impl Segment for FaultSegment {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.fs.event()? {
            Event::Goes => self.inner.put(offset, bytes),
            Event::Tears(error) => {
                self.inner.put(offset, &bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn sync(&self, done: Completion) {
        match self.fs.sync_event() {
            Ok(()) => self.inner.sync(done),
            Err(error) => done(Err(error)),
        }
    }
}
