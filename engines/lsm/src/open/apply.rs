//! Reads the log's segments into memtables, in the background: each by a job of its own, into its own memtable.
//!
//! 1. [`Applying::submit`] hands a segment to a job, which reads it group by group, decodes the operations, inserts them, and
//!    seals the memtable, which may have to be sorted for that. Segments are independent of each other: every sequence number is
//!    given by its group.
//! 2. A few segments are under way at a time. Whoever submits them takes what came of them in their order
//!    ([`Applying::take_oldest`]), and holds it against the chain of the log: until then it is a guess.
//!
//! A batch that cannot be decoded though its group is whole is damage.

use crate::core::from_wal;
use crate::mem::Mem;
use nori_env::{Class, Fs, Job, Signal, Slice, Step, Tasks, Waited};
use nori_kv::{Error, Ops, Result, SeqNo};
use nori_wal::{Group, SegmentEnd, SegmentReader, WalError, segment_name};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments under way at the same time: one for each of a few processors.
const UNDER_WAY_MAX: usize = 4;

/// What a segment held.
pub(super) struct Applied {
    pub(super) segment: SegmentEnd,
    /// The first of its operations, if it has any: its number, and the offset of its group.
    pub(super) first: Option<(SeqNo, u64)>,
    /// The last of its operations; `first <= last`.
    pub(super) last: SeqNo,
    pub(super) ops: u64,
    pub(super) mem: Arc<Mem>,
    /// What is wrong with the operations from some group on. Nothing behind it was applied, and the segment's end is there.
    pub(super) damage: Option<Error>,
}

/// The segments under way, oldest first.
pub(super) struct Applying<'a> {
    fs: &'a Arc<dyn Fs>,
    tasks: &'a dyn Tasks,
    dir: &'a Path,
    under_way: VecDeque<UnderWay>,
}

struct UnderWay {
    number: u64,
    done: Signal,
    outcome: Outcome,
}

/// Empty as long as the job runs.
type Outcome = Arc<Mutex<Option<Result<Applied>>>>;

impl<'a> Applying<'a> {
    pub(super) fn new(fs: &'a Arc<dyn Fs>, tasks: &'a dyn Tasks, dir: &'a Path) -> Self {
        Self { fs, tasks, dir, under_way: VecDeque::new() }
    }

    /// Whether the oldest should be taken before another is submitted.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= UNDER_WAY_MAX
    }

    /// Starts to read segment `number` into `mem`.
    pub(super) fn submit(&mut self, number: u64, mem: Arc<Mem>) {
        let (done, outcome) = (Signal::new(), Outcome::default());
        let (waits, comes) = (done.clone(), Arc::clone(&outcome));
        self.under_way.push_back(UnderWay { number, done: waits, outcome: comes });
        let (fs, dir) = (Arc::clone(self.fs), self.dir.to_owned());
        let work = Work { mem, first: None, last: SeqNo::ZERO, ops: 0 };
        let job = Apply { fs, dir, number, reader: None, work: Some(work), done, outcome };
        self.tasks.submit(Class::Flush, Box::new(job));
    }

    /// Waits for the oldest segment under way; `None` if there is none.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) fn take_oldest(&mut self) -> Option<Result<Applied>> {
        let UnderWay { number, done, outcome } = self.under_way.pop_front()?;
        if self.tasks.wait(&done) == Waited::Stuck {
            return Some(Err(from_wal(WalError::Stuck)));
        }
        let outcome = outcome.lock().take();
        Some(outcome.unwrap_or_else(|| Err(given_up(self.dir, number))))
    }
}

impl Drop for Applying<'_> {
    /// Whoever gives up leaves no job behind that reads a folder of which the lock is gone.
    fn drop(&mut self) {
        for under_way in self.under_way.drain(..) {
            let _ = self.tasks.wait(&under_way.done);
        }
    }
}

/// Its job panicked, or the pool that had it stopped.
fn given_up(dir: &Path, number: u64) -> Error {
    let path = dir.join(segment_name(number));
    Error::Invalid { what: format!("the replay of {} was given up", path.display()) }
}

/// What of a segment was applied.
struct Work {
    mem: Arc<Mem>,
    first: Option<(SeqNo, u64)>,
    last: SeqNo,
    ops: u64,
}

impl Work {
    fn apply(&mut self, group: &Group<'_>) -> std::result::Result<(), String> {
        let first = SeqNo::new(group.first_seqno).filter(|first| *first > SeqNo::ZERO);
        let first = first.ok_or_else(|| format!("sequence number {}", group.first_seqno))?;
        if first <= self.last {
            return Err(goes_back(first.value(), self.last));
        }
        // The number after the last is one, too: the next operation will have it.
        let next = SeqNo::new(group.first_seqno + u64::from(group.ops));
        if next.is_none() || group.ops == 0 {
            return Err(format!("{} operations from {first} on", group.ops));
        }
        self.first.get_or_insert((first, group.offset));
        let (mut ops, mut seqno) = (0, first);
        for op in Ops::new(group.payload) {
            let op = op.map_err(|e| e.to_string())?;
            if ops == group.ops {
                return Err(format!("more operations than {ops}"));
            }
            self.mem.apply(op, seqno);
            (ops, seqno) = (ops + 1, seqno.plus(1));
        }
        if ops != group.ops {
            return Err(format!("{ops} operations, not {}", group.ops));
        }
        self.last = first.plus(u64::from(ops) - 1);
        self.ops += u64::from(ops);
        Ok(())
    }
}

pub(super) fn goes_back(first: u64, last: SeqNo) -> String {
    format!("sequence number {first} after {last}")
}

struct Apply {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    number: u64,
    /// `None` before the first step and after the last.
    reader: Option<SegmentReader>,
    /// `None` after the last step.
    work: Option<Work>,
    done: Signal,
    outcome: Outcome,
}

impl Apply {
    /// Goes on for a slice; what the segment held, if that is all.
    fn go_on(&mut self, slice: &Slice) -> Result<Option<Applied>> {
        let (Some(mut reader), Some(mut work)) = (self.reader.take(), self.work.take()) else {
            return Err(self.given_up());
        };
        let (mut bytes, mut damage) = (0, None);
        while damage.is_none()
            && let Some(group) = reader.next().map_err(from_wal)?
        {
            damage = work.apply(&group).err().map(|what| {
                Error::corrupt(&self.dir.join(segment_name(self.number)), group.offset, what)
            });
            bytes += group.payload.len();
            if bytes >= slice.bytes_max && damage.is_none() {
                (self.reader, self.work) = (Some(reader), Some(work));
                return Ok(None);
            }
        }
        let segment = reader.end().map_err(from_wal)?;
        let Work { mem, first, last, ops } = work;
        // A flush would seal it, but none begins before all segments are read.
        mem.memtable.seal();
        Ok(Some(Applied { segment, first, last, ops, mem, damage }))
    }

    fn try_step(&mut self, slice: &Slice) -> Result<Option<Applied>> {
        if self.reader.is_none() {
            let reader = SegmentReader::open(&*self.fs, &self.dir, self.number);
            self.reader = Some(reader.map_err(from_wal)?);
        }
        self.go_on(slice)
    }

    fn given_up(&self) -> Error {
        given_up(&self.dir, self.number)
    }

    fn end(&self, outcome: Result<Applied>) -> Step {
        *self.outcome.lock() = Some(outcome);
        self.done.fire();
        Step::Done
    }
}

impl Job for Apply {
    fn step(&mut self, slice: &Slice) -> Step {
        match self.try_step(slice) {
            Ok(None) => Step::Again,
            Ok(Some(applied)) => self.end(Ok(applied)),
            Err(error) => self.end(Err(error)),
        }
    }

    fn panicked(&mut self) {
        self.end(Err(self.given_up()));
    }
}

impl Drop for Apply {
    fn drop(&mut self) {
        // A pool that stops drops its jobs: whoever waits must not wait for ever.
        if !self.done.is_fired() {
            self.end(Err(self.given_up()));
        }
    }
}
