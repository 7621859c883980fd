//! Background work, as a seam: jobs that are stepped, signals that are waited for.
//!
//! Threads cannot be retrofitted into a seeded simulation, so every piece of background work is a
//! [`Job`] from the first day:
//!
//! 1. A job is submitted with a [`Class`] and stepped until it is done. A step is short: at most one
//!    output block.
//! 2. A job that cannot go on returns [`Step::Wait`] and is stepped again after the signal fired.
//! 3. A caller that cannot go on calls [`Tasks::wait`], the only blocking call there is.
//! 4. Time passes through [`Tasks::alarm`]: a signal that fires at an instant.
//!
//! [`PoolTasks`] runs jobs on threads. [`SeededTasks`] runs them inside `wait` on the caller's thread, in an
//! order drawn from a seed; if a signal is waited for and nothing can fire it, it says so.

mod pool;
mod seeded;
mod signal;

pub use pool::PoolTasks;
pub use seeded::SeededTasks;
pub use signal::Signal;

use crate::Instant;

/// How urgent a job is. Ordered: the least is run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The log: a timed sync, a segment made ready. Writers are about to wait for it.
    Log,
    /// Writing a sealed memtable to a table.
    Flush,
    /// Removing a file that nobody reads any more: short, and room for what the others write.
    Removal,
    /// A compaction out of level 0.
    CompactionShallow,
    /// Any other compaction.
    CompactionDeep,
}

/// What one step may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// A step returns once it has produced this many bytes, or one block if that is more.
    pub bytes_max: usize,
}

/// How a step ended.
#[derive(Debug)]
pub enum Step {
    /// There is more to do.
    Again,
    /// There may be more to do once the signal has fired.
    Wait(Signal),
    /// The job is finished and will be dropped.
    Done,
}

/// How a wait ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The signal fired.
    Fired,
    /// Nothing is left that could fire it. Only a simulation can know this.
    Stuck,
}

/// Runs background work.
///
/// # Contract
///
/// * A job is stepped by one thread at a time, and again only after its last step returned.
/// * `wait` is never called from inside a job's step, nor while holding a lock that a job's step takes: the job that would
///   end the wait may be behind it.
/// * No order is promised between two jobs, of whatever class; classes are a preference.
/// * A job that will not be run, because what runs it stops, is dropped; its owner learns of it by its `Drop`.
pub trait Tasks: Send + Sync {
    /// Hands over a job.
    fn submit(&self, class: Class, job: Box<dyn Job>);
    /// Waits until the signal has fired.
    fn wait(&self, signal: &Signal) -> Waited;
    /// A signal that fires at `at` or soon after.
    fn alarm(&self, at: Instant) -> Signal;
}

/// A piece of background work.
///
/// # Contract
///
/// * A step does at most one block's worth of output, then returns.
/// * A job that fails keeps its error where its owner looks; it does not panic.
pub trait Job: Send {
    /// Does a little.
    fn step(&mut self, slice: &Slice) -> Step;
    /// Called instead of further steps if a step panicked, so that whoever waits for the job learns of it.
    fn panicked(&mut self) {}
}
