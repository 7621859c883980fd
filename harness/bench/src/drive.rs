//! Runs one phase against an engine and measures it.
//!
//! 1. One thread per client, each with its own stream, buffers and histograms; all start at one barrier. Where the store is a cluster, clients of a closed loop are tasks
//!    ([`task`]).
//! 2. A client prepares the key and the value, takes the time, calls the engine, takes the time again. Between
//!    the two is the engine and nothing else; nothing is allocated for an operation.
//! 3. Every 100 ms the coordinator shows progress; every second it asks for what the clients recorded and takes it
//!    as one interval, lends it to the caller and adds it to the total: intervals are not kept, so a phase takes
//!    the same memory however long it is. Clients hand their histograms over at the first operation that ends
//!    after they are asked; one that is held up for longer than [`ANSWER_MAX`] has them in the next interval.
//! 4. A client ends with its stream, at the deadline, or when errors pile up. At the deadline of a load it writes
//!    the rest in batches, unmeasured, so that the next phase finds every record.
//!
//! Closed loop: the next operation is sent when the last has ended, and there are service times only. Open loop: each
//! operation has its time ([`schedule`]), for which the client waits ([`pace`]); response times count from there.
//!
//! Left to others: files, and what is done with the numbers.

mod client;
mod course;
mod pace;
mod schedule;
mod slot;
mod task;

pub(crate) use task::TaskStore;

use crate::latency::{Latencies, OpenLatencies};
use anyhow::{Context, Result, ensure};
use client::{Client, ClientOutcome};
use nori_kv::{Durability, Engine};
use nori_workloads::{Ledger, LoadModel, OpKind, OpStream, StreamId, Workload};
use schedule::Schedule;
use slot::Slot;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the coordinator waits for clients to hand over, and how often it looks.
const ANSWER_MAX: Duration = Duration::from_millis(50);
const ANSWER_LOOK: Duration = Duration::from_millis(1);
/// An open loop begins so long after its threads were let go, so that all of them are awake when it does.
const OPEN_START_DELAY: Duration = Duration::from_millis(2);

/// One phase to run.
pub(crate) struct PhaseJob<'a> {
    pub(crate) engine: &'a Arc<dyn Engine>,
    /// The same store for tasks, if it has answers to wait for: clients of a closed loop are tasks then, and not threads.
    pub(crate) tasks: Option<&'a Arc<dyn TaskStore>>,
    pub(crate) workload: &'a Workload,
    pub(crate) phase: usize,
    pub(crate) seed: u64,
    /// Number of the phase in its run; makes its streams differ from other phases'.
    pub(crate) number: u32,
    pub(crate) durability: Durability,
    /// What exists before the phase.
    pub(crate) ledger: Arc<Ledger>,
    /// Whether what is read is looked at.
    pub(crate) checks: bool,
    /// Operations a second of all clients together, in an open loop; else nothing.
    pub(crate) rate: Option<f64>,
}

/// How far a phase is.
#[derive(Clone, Copy)]
pub(crate) struct Tick<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) ops: u64,
    /// Bytes of keys and values that the phase added so far.
    pub(crate) bytes_inserted: u64,
    /// What was recorded since the last tick that had it: about a second, or the rest of the phase.
    pub(crate) interval: Option<&'a Interval>,
}

/// What clients recorded.
pub(crate) struct Recorded {
    pub(crate) latencies: Latencies,
    /// In an open loop.
    pub(crate) open: Option<OpenLatencies>,
}

impl Recorded {
    fn new(is_open: bool) -> Self {
        Self { latencies: Latencies::new(), open: is_open.then(OpenLatencies::new) }
    }

    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        if let (Some(mine), Some(theirs)) = (&mut self.open, &other.open) {
            mine.add(theirs);
        }
    }

    fn clear(&mut self) {
        self.latencies.clear();
        self.open.iter_mut().for_each(OpenLatencies::clear);
    }
}

/// What was recorded in a part of a phase.
pub(crate) struct Interval {
    /// Since the phase began.
    pub(crate) start: Duration,
    pub(crate) length: Duration,
    pub(crate) recorded: Recorded,
    /// Operations that failed in it.
    pub(crate) errors: u64,
    /// In an open loop: operations that were due at its end and had not ended.
    pub(crate) backlog: Option<f64>,
    /// Whether anything was measured in it: not while a load writes its rest in batches. What was not measured is not
    /// zero, and has no place in series of operations.
    pub(crate) is_measured: bool,
}

/// What a phase came to.
pub(crate) struct PhaseOutcome {
    /// From the start of the first client to the end of the last.
    pub(crate) seconds: f64,
    /// All intervals in one.
    pub(crate) latencies: Latencies,
    /// All intervals of an open loop in one.
    pub(crate) open: Option<OpenLatencies>,
    pub(crate) counts: Counts,
    /// How long after its time the last operation of an open loop was sent, by the client that was latest.
    pub(crate) late: Duration,
    pub(crate) first_error: Option<String>,
}

/// What clients count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// By kind of operation, in the order of [`OpKind::ALL`].
    pub(crate) ops: [u64; OpKind::ALL.len()],
    pub(crate) errors: [u64; OpKind::ALL.len()],
    /// Bytes of keys and values written.
    pub(crate) bytes_written: u64,
    /// Of these, bytes of keys that did not exist before.
    pub(crate) bytes_inserted: u64,
    /// Bytes of keys and values that deletes removed, where all values have one length.
    pub(crate) bytes_deleted: u64,
    /// Bytes of keys and values read.
    pub(crate) bytes_read: u64,
    /// Values looked at.
    pub(crate) checked: u64,
    /// Records that a load wrote after its time, in batches.
    pub(crate) filled: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.ops.iter_mut().zip(other.ops) {
            *mine += theirs;
        }
        for (mine, theirs) in self.errors.iter_mut().zip(other.errors) {
            *mine += theirs;
        }
        self.bytes_written += other.bytes_written;
        self.bytes_inserted += other.bytes_inserted;
        self.bytes_deleted += other.bytes_deleted;
        self.bytes_read += other.bytes_read;
        self.checked += other.checked;
        self.filled += other.filled;
    }

    pub(crate) fn ops_total(&self) -> u64 {
        self.ops.iter().sum()
    }

    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

/// Runs a phase. `on_tick` is called from this thread.
pub(crate) fn run_phase(
    job: &PhaseJob<'_>,
    on_tick: &mut dyn FnMut(Tick<'_>),
) -> Result<PhaseOutcome> {
    let phase = &job.workload.phases[job.phase];
    let clients = phase.load.threads;
    ensure!(clients > 0, "a phase has a client");
    let is_open = phase.load.model == LoadModel::Open;
    ensure!(is_open == job.rate.is_some(), "an open loop has a rate, a closed one none");
    let duration = phase.duration.map(|span| span.0);
    let slots: Arc<[Slot]> = (0..clients).map(|_| Slot::new(is_open)).collect();
    let tasks = job.tasks.filter(|_| !is_open);
    // When the clients of an open loop begin: all at once, for their times belong together.
    let open_start = OnceLock::new();
    let threads = if tasks.is_some() { 0 } else { clients as usize };
    let barrier = Barrier::new(threads + 1);
    let (done, ended) = channel();
    std::thread::scope(|scope| -> Result<PhaseOutcome> {
        let mut running: Vec<End<'_>> = Vec::new();
        for number in 0..clients {
            let id = StreamId { seed: job.seed, phase: job.number, client: number };
            let stream = OpStream::new(job.workload, job.phase, id, Arc::clone(&job.ledger));
            let schedule = |rate| Schedule::new(rate, phase.load.arrival(), clients, id);
            let client = Client::new(job, stream, job.rate.map(schedule));
            let done = done.clone();
            if let Some(store) = tasks {
                let slots = Arc::clone(&slots);
                running.push(begin_task(client, store, slots, number as usize, duration, done));
                continue;
            }
            let (barrier, open_start, slot) = (&barrier, &open_start, &slots[number as usize]);
            let run = move || {
                barrier.wait();
                let began = if is_open {
                    *open_start.get_or_init(|| Instant::now() + OPEN_START_DELAY)
                } else {
                    Instant::now()
                };
                let outcome = client.run(slot, began, duration);
                // The coordinator hangs up only after it has heard of every client.
                let _ = done.send(());
                outcome
            };
            let thread = std::thread::Builder::new().name(format!("client-{number}"));
            let thread = thread.spawn_scoped(scope, run).context("starting a client thread")?;
            running.push(Box::new(|| thread.join().ok()));
        }
        drop(done);
        barrier.wait();
        let began = Instant::now();
        let gap_nanos = job.rate.map(|rate| 1e9 * f64::from(clients) / rate);
        let mut collector = Collector::new(&slots, &open_start, gap_nanos);
        coordinate(&mut collector, began, &ended, on_tick);
        let Recorded { latencies, open } = collector.total;
        let (mut counts, mut first_error) = (Counts::default(), None);
        let mut late = Duration::ZERO;
        let (mut first_begin, mut last_end) = (None::<Instant>, began);
        for end in running {
            let outcome = end().context("a client panicked")?;
            counts.add(&outcome.counts);
            late = late.max(outcome.late);
            first_error = first_error.or(outcome.first_error);
            first_begin = Some(first_begin.map_or(outcome.began, |at| at.min(outcome.began)));
            last_end = last_end.max(outcome.end);
        }
        // The clients' own times: this thread may be woken late.
        let seconds = last_end.duration_since(first_begin.unwrap_or(began)).as_secs_f64();
        Ok(PhaseOutcome { seconds, latencies, open, counts, late, first_error })
    })
}

/// Waits for the end of a client; `None` if it panicked.
type End<'scope> = Box<dyn FnOnce() -> Option<ClientOutcome> + 'scope>;

/// Begins a client as a task.
fn begin_task(
    client: Client,
    store: &Arc<dyn TaskStore>,
    slots: Arc<[Slot]>,
    number: usize,
    duration: Option<Duration>,
    done: std::sync::mpsc::Sender<()>,
) -> End<'static> {
    let runtime = store.runtime().clone();
    let store = Arc::clone(store);
    let task = runtime.spawn(async move {
        let outcome = client.run_as_task(&*store, &slots[number], duration).await;
        let _ = done.send(());
        outcome
    });
    Box::new(move || runtime.block_on(task).ok())
}

/// Waits until all clients have ended, and meanwhile collects intervals.
fn coordinate(
    collector: &mut Collector<'_>,
    began: Instant,
    ended: &std::sync::mpsc::Receiver<()>,
    on_tick: &mut dyn FnMut(Tick<'_>),
) {
    let slots = collector.slots;
    let mut next_tick = PROGRESS_EVERY;
    let mut running = slots.len();
    while running > 0 {
        let wait = next_tick.saturating_sub(began.elapsed());
        match ended.recv_timeout(wait) {
            Ok(()) => {
                running -= 1;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let elapsed = began.elapsed();
        next_tick = elapsed + PROGRESS_EVERY;
        if collector.end_measuring(elapsed) {
            on_tick(collector.tick(elapsed, true));
            continue;
        }
        let is_interval =
            elapsed >= collector.interval.start + collector.interval.length + INTERVAL;
        if is_interval {
            // A client that writes the rest of a load has nothing to hand over.
            if !collector.is_over {
                slots.iter().for_each(Slot::ask);
                while slots.iter().any(Slot::is_asked) && began.elapsed() < elapsed + ANSWER_MAX {
                    std::thread::sleep(ANSWER_LOOK);
                }
            }
            collector.collect(elapsed);
        }
        on_tick(collector.tick(elapsed, is_interval));
    }
    let elapsed = began.elapsed();
    if !collector.end_measuring(elapsed) {
        collector.collect(elapsed);
    }
    on_tick(collector.tick(elapsed, true));
}

/// Takes what clients hand over.
struct Collector<'a> {
    slots: &'a [Slot],
    /// When the clients of an open loop began.
    open_start: &'a OnceLock<Instant>,
    /// Mean distance of an open loop's operations of one client.
    gap_nanos: Option<f64>,
    /// The last that was taken.
    interval: Interval,
    /// All of them.
    total: Recorded,
    /// Empty; goes to clients in exchange.
    spare: Recorded,
    /// Errors before the interval.
    errors_before: u64,
    /// Whether all clients of a load have ended what is measured.
    is_over: bool,
}

impl<'a> Collector<'a> {
    fn new(slots: &'a [Slot], open_start: &'a OnceLock<Instant>, gap_nanos: Option<f64>) -> Self {
        let empty = || Recorded::new(gap_nanos.is_some());
        let (start, length) = (Duration::ZERO, Duration::ZERO);
        Self {
            slots,
            open_start,
            gap_nanos,
            interval: Interval {
                start,
                length,
                recorded: empty(),
                errors: 0,
                backlog: None,
                is_measured: true,
            },
            total: empty(),
            spare: empty(),
            errors_before: 0,
            is_over: false,
        }
    }

    /// Once all clients of a load have ended what is measured: takes the last of it, as an interval that ends when they did
    /// and not when this was noticed. Whether it did, which is once.
    fn end_measuring(&mut self, elapsed: Duration) -> bool {
        if self.is_over {
            return false;
        }
        let ends: Option<Vec<Duration>> = self.slots.iter().map(Slot::measured).collect();
        let Some(last) = ends.and_then(|ends| ends.into_iter().max()) else { return false };
        let begun = self.interval.start + self.interval.length;
        self.collect(last.clamp(begun, elapsed));
        self.is_over = true;
        true
    }

    fn collect(&mut self, elapsed: Duration) {
        let interval = &mut self.interval;
        interval.start += interval.length;
        interval.length = elapsed - interval.start;
        interval.is_measured = !self.is_over;
        interval.recorded.clear();
        for slot in self.slots {
            slot.take(&mut interval.recorded, &mut self.spare);
        }
        self.total.add(&interval.recorded);
        let errors = self.slots.iter().map(Slot::errors).sum::<u64>();
        interval.errors = errors - self.errors_before;
        self.errors_before = errors;
        let since = self.open_start.get().map_or(Duration::ZERO, Instant::elapsed);
        let due = |gap| self.slots.iter().map(|slot| slot.backlog(since, gap)).sum();
        interval.backlog = self.gap_nanos.map(due);
    }

    fn tick(&self, elapsed: Duration, is_interval: bool) -> Tick<'_> {
        Tick {
            elapsed,
            ops: self.slots.iter().map(Slot::ops).sum(),
            bytes_inserted: self.slots.iter().map(Slot::bytes_inserted).sum(),
            interval: is_interval.then_some(&self.interval),
        }
    }
}

#[cfg(test)]
mod tests;
