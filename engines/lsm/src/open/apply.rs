//! Puts what the log holds into memtables, in the background: each segment by a job of its own, into its own memtable.
//!
//! 1. Whoever reads the log checks its chain and its groups and hands over a segment at a time ([`Applying::submit`]): its content
//!    and where the groups are.
//! 2. A job decodes the groups, inserts their operations and seals the memtable, which may have to be sorted for that. Segments
//!    are independent of each other: every sequence number is given by its group.
//! 3. A few segments are under way at a time; more would only take memory. [`Applying::finish`] waits for all.
//!
//! A batch that cannot be decoded though its group is whole is damage; of several, and of what is wrong with the chain, the place in
//! the oldest segment is told.

use crate::core::from_wal;
use crate::mem::Mem;
use nori_env::{Class, Job, Signal, Slice, Step, Tasks, Waited};
use nori_kv::{Error, Ops, Result, SeqNo};
use nori_wal::{WalError, segment_name};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments that are read or applied at the same time: one for each of a few processors.
const UNDER_WAY_MAX: usize = 4;

/// A segment whose groups were found whole.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) content: Arc<Vec<u8>>,
    pub(super) groups: Vec<Group>,
    pub(super) mem: Arc<Mem>,
}

/// A group of a segment.
pub(super) struct Group {
    /// For an error about it.
    pub(super) offset: u64,
    /// Where its operations lie in the segment's content.
    pub(super) payload: Range<usize>,
    pub(super) ops: u32,
    pub(super) first: SeqNo,
}

/// The segments under way, oldest first.
pub(super) struct Applying<'a> {
    tasks: &'a dyn Tasks,
    dir: &'a Path,
    under_way: VecDeque<UnderWay>,
}

struct UnderWay {
    done: Signal,
    outcome: Outcome,
}

/// Empty as long as the job runs.
type Outcome = Arc<Mutex<Option<Result<()>>>>;

impl<'a> Applying<'a> {
    pub(super) fn new(tasks: &'a dyn Tasks, dir: &'a Path) -> Self {
        Self { tasks, dir, under_way: VecDeque::new() }
    }

    /// Starts to apply `segment`. May wait for an older one first.
    ///
    /// # Errors
    ///
    /// What is wrong with that older one.
    pub(super) fn submit(&mut self, segment: Segment) -> Result<()> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            self.wait_for_oldest()?;
        }
        let (done, outcome) = (Signal::new(), Outcome::default());
        self.under_way.push_back(UnderWay { done: done.clone(), outcome: Arc::clone(&outcome) });
        let path = self.dir.join(segment_name(segment.number));
        let job = Apply { segment, path, next: 0, done, outcome };
        self.tasks.submit(Class::Flush, Box::new(job));
        Ok(())
    }

    /// Waits until all is applied.
    ///
    /// # Errors
    ///
    /// What is wrong with the oldest segment that has something wrong.
    pub(super) fn finish(&mut self) -> Result<()> {
        while !self.under_way.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        let Some(UnderWay { done, outcome }) = self.under_way.pop_front() else { return Ok(()) };
        if self.tasks.wait(&done) == Waited::Stuck {
            return Err(from_wal(WalError::Stuck));
        }
        let outcome = outcome.lock().take();
        outcome.unwrap_or_else(|| Err(given_up()))
    }
}

fn given_up() -> Error {
    Error::Invalid { what: "the replay of a segment was given up".to_owned() }
}

struct Apply {
    segment: Segment,
    path: PathBuf,
    /// `next <= segment.groups.len()`
    next: usize,
    done: Signal,
    outcome: Outcome,
}

impl Apply {
    fn apply(&self, group: &Group) -> Result<()> {
        let damaged = |what: String| Error::corrupt(&self.path, group.offset, what);
        let (mut ops, mut seqno) = (0, group.first);
        for op in Ops::new(&self.segment.content[group.payload.clone()]) {
            let op = op.map_err(|e| damaged(e.to_string()))?;
            if ops == group.ops {
                return Err(damaged(format!("more operations than {ops}")));
            }
            self.segment.mem.apply(op, seqno);
            (ops, seqno) = (ops + 1, seqno.plus(1));
        }
        if ops != group.ops {
            return Err(damaged(format!("{ops} operations, not {}", group.ops)));
        }
        Ok(())
    }

    fn try_step(&mut self, slice: &Slice) -> Result<Step> {
        let mut bytes = 0;
        while let Some(group) = self.segment.groups.get(self.next) {
            if bytes >= slice.bytes_max {
                return Ok(Step::Again);
            }
            self.apply(group)?;
            bytes += group.payload.len();
            self.next += 1;
        }
        // The memtable is the segment's alone. A flush would seal it, but none begins before all segments are read.
        self.segment.mem.memtable.seal();
        Ok(Step::Done)
    }

    fn end(&self, outcome: Result<()>) -> Step {
        *self.outcome.lock() = Some(outcome);
        self.done.fire();
        Step::Done
    }
}

impl Job for Apply {
    fn step(&mut self, slice: &Slice) -> Step {
        match self.try_step(slice) {
            Ok(Step::Done) => self.end(Ok(())),
            Ok(step) => step,
            Err(error) => self.end(Err(error)),
        }
    }

    fn panicked(&mut self) {
        self.end(Err(given_up()));
    }
}

impl Drop for Apply {
    fn drop(&mut self) {
        // A pool that stops drops its jobs: whoever waits must not wait for ever.
        if !self.done.is_fired() {
            self.end(Err(given_up()));
        }
    }
}
