//! A file system that fails on purpose: at a chosen event, at a chosen size, or by losing its power.
//!
//! 1. Every call that could change the disk is an **event** and has a number, counted from 1. Reads and syncs are counted too.
//! 2. A [`FaultPlan`] names the event at which the power fails, the event, sync or read that fails, the event from which the
//!    disk is full, or the number of bytes it has room for.
//! 3. After the power failed every call fails. [`FaultFs::after_power_loss`] and
//!    [`FaultFs::after_kill`] give the disk that the next process finds.
//!
//! | what goes wrong | how it is asked for | what happens |
//! |---|---|---|
//! | the power fails | `crash_at_event` | a write is torn: its leading half is there, the rest not; a segment has half of its length; a change of names or a sync has not happened |
//! | unsynced bytes at a power loss | [`PowerLoss`] | all lost, all kept, or each sector kept or lost by itself; with `Tears` a sector may also be as it was between two writes to it |
//! | unsynced names at a power loss | [`PowerLoss`] | likewise each creation, rename and removal, of files and folders; a torn rename leaves both names |
//! | the process is killed | [`FaultFs::after_kill`] | all that was written is there, synced or not |
//! | a write, creation, rename, removal or sync fails | `fail_at_event`, with any kind of error | a write is short: half of it is there; nothing else has happened; the next call goes |
//! | a sync of a file fails | `fail_at_sync`, or its event | nothing becomes safe, and the bytes that were to are **stuck**: a later sync that goes does not make them safe, only writing them again |
//! | a sync of a folder fails | `fail_at_sync`, or its event | nothing becomes safe; a later sync that goes makes it so |
//! | a read, a listing, an opening or a lock fails | `fail_at_read` | the call fails; the next goes |
//! | a read or a mapping is short | `short_at_read` | half of what there is, as if the file ended there; its length does not lie |
//! | the disk is full | `full_from_event` | from this event on every call that takes room fails with `StorageFull`, writes that grow a file and syncs among them; reads, removals and writes in place go |
//! | the disk becomes full | `capacity_bytes` | a write past it is cut short and fails with `StorageFull` |
//! | bytes decay | [`MemFs::flip`], [`MemFs::truncate`] | on the medium itself |
//!
//! Left to others: an error after which the change has happened all the same, and disks that say that they have synced and have not.

use crate::mem::{Keep, MemFile, MemSegment};
use crate::{Completion, File, Fs, Lock, MemFs, NameChange, OpenMode, Segment, SegmentKind, Zeros};
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
    /// This read, counted from 1, gets half of what there is to get, if it is one of a file's bytes.
    pub short_at_read: Option<u64>,
    /// From this event on, counted from 1, there is no room for anything.
    pub full_from_event: Option<u64>,
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
    /// Each sector and each name is kept, lost or torn by a draw from this seed. A torn sector is as it was between two writes
    /// to it: up to where one of them ended it is new, and the rest is old. A renamed file that is torn has both names.
    Tears(u64),
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
            PowerLoss::Tears(seed) => Keep::Torn(seed),
        })
    }

    /// The disk as the next process finds it if this one is killed now: the page cache is all there.
    pub fn after_kill(&self) -> MemFs {
        self.inner.after_power_loss(Keep::Everything)
    }

    fn plan(&self) -> FaultPlan {
        *self.faults.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event. One that `takes_room` fails on a full disk.
    fn event(&self, takes_room: bool) -> io::Result<Event> {
        let plan = self.plan();
        let number = self.faults.events.fetch_add(1, Ordering::SeqCst) + 1;
        match plan.crash_at_event {
            Some(at) if number > at => return Err(power_is_off()),
            Some(at) if number == at => return Ok(Event::Tears(power_is_off())),
            _ => {}
        }
        if takes_room && plan.full_from_event.is_some_and(|at| number >= at) {
            return Ok(Event::Tears(no_room()));
        }
        Ok(match plan.fail_at_event {
            Some((at, kind)) if number == at => {
                Event::Tears(io::Error::new(kind, "failed on purpose"))
            }
            _ => Event::Goes,
        })
    }

    /// An event that happens whole or not at all.
    fn whole_event(&self, takes_room: bool) -> io::Result<()> {
        match self.event(takes_room)? {
            Event::Goes => Ok(()),
            Event::Tears(error) => Err(error),
        }
    }

    /// Counts a read; whether it is to be short.
    fn reading(&self) -> io::Result<bool> {
        let number = self.faults.reads.fetch_add(1, Ordering::SeqCst) + 1;
        if self.has_crashed() {
            return Err(power_is_off());
        }
        let plan = self.plan();
        match plan.fail_at_read {
            Some(at) if number == at => Err(io::Error::other("failed on purpose")),
            _ => Ok(plan.short_at_read == Some(number)),
        }
    }

    /// Counts a sync; it has failed if the outcome is an error.
    fn sync_event(&self) -> io::Result<()> {
        self.whole_event(true)?;
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
            OpenMode::Read => {
                self.reading()?;
            }
            OpenMode::CreateNew => self.whole_event(true)?,
        }
        let inner = self.inner.open_file(path, mode)?;
        Ok(Arc::new(FaultFile { fs: self.clone(), inner }))
    }

    fn segment(
        &self,
        path: &Path,
        _: SegmentKind,
        _: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        if let Event::Tears(error) = self.event(true)? {
            if self.has_crashed() {
                // Its name, and some of its zeros, none of them safe.
                let file = self.inner.open_file(path, OpenMode::CreateNew)?;
                file.write_at(&vec![0; bytes as usize / 2], 0)?;
            }
            return Err(error);
        }
        if self.room(bytes) < bytes {
            return Err(no_room());
        }
        let inner = self.inner.make_segment(path, bytes)?;
        Ok(Arc::new(FaultSegment { fs: self.clone(), inner }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.reading()?;
        self.inner.list(dir)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        let frees_room = matches!(change, NameChange::Remove(_) | NameChange::RemoveDir(_));
        self.whole_event(!frees_room)?;
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
    inner: MemFile,
}

impl File for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_short = self.fs.reading()?;
        let read = self.inner.read_at(buf, offset)?;
        Ok(if is_short { read / 2 } else { read })
    }

    /// Mapping can fail as a read does; what is mapped cannot fail any more.
    fn map(&self) -> io::Result<Bytes> {
        let is_short = self.fs.reading()?;
        let content = self.inner.map()?;
        Ok(if is_short { content.slice(..content.len() / 2) } else { content })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(self.inner.len()?);
        if let Event::Tears(error) = self.fs.event(grows > 0)? {
            self.inner.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
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
            Err(error) => {
                self.inner.fail_sync();
                done(Err(error));
            }
        }
    }
}

struct FaultSegment {
    fs: FaultFs,
    inner: MemSegment,
}

impl Segment for FaultSegment {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.fs.event(false)? {
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
            Err(error) => {
                self.inner.fail_sync();
                done(Err(error));
            }
        }
    }
}
