//! Runs one phase against an engine and measures it.
//!
//! 1. One thread per client, each with its own stream, buffers and histograms; all start at one barrier.
//! 2. A client prepares the key and the value, takes the time, calls the engine, takes the time again. Between
//!    the two is the engine and nothing else; nothing is allocated for an operation.
//! 3. Every 100 ms the coordinator shows progress; every second it takes what the clients recorded
//!    as one interval, lends it to the caller and adds it to the total: intervals are not kept, so a phase takes
//!    the same memory however long it is. Clients hand their histograms over at the first operation that ends
//!    after that.
//! 4. A client ends with its stream, at the deadline, or when errors pile up. At the deadline of a load it writes
//!    the rest in batches, unmeasured, so that the next phase finds every record.
//!
//! Closed loop: these are service times. Left to others: files, and what is done with the numbers.

mod client;

use crate::latency::Latencies;
use anyhow::{Context, Result, ensure};
use client::{Client, Slot};
use nori_kv::{Durability, Engine};
use nori_workloads::{Ledger, OpKind, OpStream, StreamId, Workload};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_secs(1);

/// One phase to run.
pub(crate) struct PhaseJob<'a> {
    pub(crate) engine: &'a Arc<dyn Engine>,
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
}

/// How far a phase is.
#[derive(Clone, Copy)]
pub(crate) struct Tick<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) ops: u64,
    /// What was recorded since the last tick that had it: about a second, or the rest of the phase.
    pub(crate) interval: Option<&'a Interval>,
}

/// What was recorded in a part of a phase.
pub(crate) struct Interval {
    /// Since the phase began.
    pub(crate) start: Duration,
    pub(crate) length: Duration,
    pub(crate) latencies: Latencies,
}

/// What a phase came to.
pub(crate) struct PhaseOutcome {
    /// From the start of the first client to the end of the last.
    pub(crate) seconds: f64,
    /// All intervals in one.
    pub(crate) latencies: Latencies,
    pub(crate) counts: Counts,
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
    let duration = phase.duration.map(|span| span.0);
    let slots: Vec<Slot> = (0..clients).map(|_| Slot::default()).collect();
    let barrier = Barrier::new(clients as usize + 1);
    let (done, ended) = channel();
    std::thread::scope(|scope| -> Result<PhaseOutcome> {
        let mut threads = Vec::new();
        for (slot, client) in slots.iter().zip(0..) {
            let id = StreamId { seed: job.seed, phase: job.number, client };
            let stream = OpStream::new(job.workload, job.phase, id, Arc::clone(&job.ledger));
            let client = Client::new(job, stream);
            let (barrier, done) = (&barrier, done.clone());
            let run = move || {
                barrier.wait();
                let outcome = client.run(slot, duration);
                // The coordinator hangs up only after it has heard of every client.
                let _ = done.send(());
                outcome
            };
            let name = format!("client-{}", id.client);
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, run)
                    .context("starting a client thread")?,
            );
        }
        drop(done);
        barrier.wait();
        let began = Instant::now();
        let latencies = coordinate(&slots, began, &ended, on_tick);
        let (mut counts, mut first_error) = (Counts::default(), None);
        let (mut first_begin, mut last_end) = (None::<Instant>, began);
        for thread in threads {
            let outcome = thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            counts.add(&outcome.counts);
            first_error = first_error.or(outcome.first_error);
            first_begin = Some(first_begin.map_or(outcome.began, |at| at.min(outcome.began)));
            last_end = last_end.max(outcome.end);
        }
        // The clients' own times: this thread may be woken late.
        let seconds = last_end.duration_since(first_begin.unwrap_or(began)).as_secs_f64();
        Ok(PhaseOutcome { seconds, latencies, counts, first_error })
    })
}

/// Waits until all clients have ended, and meanwhile collects intervals; all of them in one.
fn coordinate(
    slots: &[Slot],
    began: Instant,
    ended: &std::sync::mpsc::Receiver<()>,
    on_tick: &mut dyn FnMut(Tick<'_>),
) -> Latencies {
    let mut total = Latencies::new();
    let mut interval =
        Interval { start: Duration::ZERO, length: Duration::ZERO, latencies: Latencies::new() };
    let mut collect = |interval: &mut Interval, elapsed: Duration| {
        interval.start += interval.length;
        interval.length = elapsed - interval.start;
        interval.latencies.clear();
        slots.iter().for_each(|slot| slot.take(&mut interval.latencies));
        total.add(&interval.latencies);
    };
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
        let is_interval = elapsed >= interval.start + interval.length + INTERVAL;
        if is_interval {
            collect(&mut interval, elapsed);
            slots.iter().for_each(Slot::ask);
        }
        let ops = slots.iter().map(Slot::ops).sum();
        on_tick(Tick { elapsed, ops, interval: is_interval.then_some(&interval) });
    }
    let elapsed = began.elapsed();
    collect(&mut interval, elapsed);
    let ops = slots.iter().map(Slot::ops).sum();
    on_tick(Tick { elapsed, ops, interval: Some(&interval) });
    total
}

#[cfg(test)]
mod tests;
