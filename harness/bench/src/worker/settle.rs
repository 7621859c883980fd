//! Lets the store come to rest, and says what that took.
//!
//! A target that can be asked to settle is asked. Of another, counters and files are watched until nothing has
//! changed for [`REST`]. Either way the step fails at its time limit: a store that never rests has no settled numbers.
//!
//! What the phase before it is told then: write amplification with all that it left to be done (`wa_settled`), and space
//! amplification (`sa_settled`). The settling has a row of its own.

use super::{Message, Run};
use crate::drive::{Counts, PhaseOutcome};
use crate::latency::Latencies;
use crate::plan::Step;
use crate::process::{Usage, reset_rss_peak, rss_peak_bytes};
use crate::rows::{Seen, rows_of, settled};
use crate::series::During;
use anyhow::{Context, Result, ensure};
use nori_kv::{Engine, EngineStats, Error, Maintain};
use nori_workloads::{PhaseKind, SETTLE_MAX, Span};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A store that cannot be asked is at rest when nothing has changed for so long: longer than peers put off what they
/// do in the background.
const REST: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

impl Run<'_> {
    pub(super) fn settle(
        &mut self,
        number: usize,
        step: &Step,
        tell: &mut dyn FnMut(&Message),
    ) -> Result<()> {
        let phase = PhaseKind::Settle.name();
        let limit = step.workload.phases[step.phase].timeout.unwrap_or(SETTLE_MAX);
        reset_rss_peak();
        let before = self.engine.stats();
        let usage = Usage::now();
        let begin = self.now();
        self.events.phase(begin, "phase_begin", &step.label, phase)?;
        let during = During { t_s: begin.t_s, workload: &step.label, phase, offered_rate: None };
        let (seconds, sa_peak) = self.rest(number, during, limit, tell)?;
        self.events.phase(self.now(), "phase_end", &step.label, phase)?;
        let (space, after) = (self.space(0), self.engine.stats());
        if let Some(settling) = self.settling.take()
            && let Some(row) = self.rows.get_mut(settling.row)
        {
            settled(row, &settling.before, &after, space);
        }
        let seen = Seen {
            usage: Usage::now().since(usage),
            rss_peak_bytes: rss_peak_bytes(),
            space,
            sa_peak: [sa_peak, space.amplification()].into_iter().flatten().reduce(f64::max),
            offered_rate: None,
            before,
            after,
        };
        let outcome = PhaseOutcome {
            seconds,
            latencies: Latencies::new(),
            open: None,
            counts: Counts::default(),
            late: Duration::ZERO,
            first_error: None,
        };
        self.rows.extend(rows_of(self.plan, step, &outcome, &seen));
        tell(&Message::End { step: number, seconds, ops: 0, errors: 0 });
        Ok(())
    }

    /// Waits until the store is at rest; how long that took, and the highest space amplification meanwhile.
    fn rest(
        &mut self,
        number: usize,
        during: During<'_>,
        limit: Span,
        tell: &mut dyn FnMut(&Message),
    ) -> Result<(f64, Option<f64>)> {
        let began = Instant::now();
        let mut waiting = Waiting::Asked(ask(&self.engine)?);
        let mut sampled = began;
        let mut sa_peak: Option<f64> = None;
        loop {
            if let Some(seconds) = waiting.look(&self.engine, || self.space(0).disk_bytes, began)? {
                return Ok((seconds, sa_peak));
            }
            let elapsed = began.elapsed();
            ensure!(elapsed < limit.0, "{} did not settle within {limit}", during.workload);
            let elapsed_s = elapsed.as_secs_f64();
            if sampled.elapsed() >= SAMPLE_EVERY {
                sampled = Instant::now();
                let space = self.space(0);
                sa_peak = [sa_peak, space.amplification()].into_iter().flatten().reduce(f64::max);
                self.series.sample(during, elapsed_s, &self.engine.stats(), space)?;
            }
            tell(&Message::Tick { step: number, elapsed_s, ops: 0 });
        }
    }
}

/// Asks the store to settle, from a thread of its own: the call has no time limit, the step has.
fn ask(engine: &Arc<dyn Engine>) -> Result<Receiver<nori_kv::Result<()>>> {
    let (answer, answered) = channel();
    let engine = Arc::clone(engine);
    let call = move || {
        let cannot = Err(Error::Unsupported { engine: "this engine", what: "settle" });
        let outcome = engine.maintain().map_or(cannot, Maintain::settle);
        drop(engine);
        // Nobody listens once the time is over.
        let _ = answer.send(outcome);
    };
    std::thread::Builder::new().name("settle".into()).spawn(call).context("starting a thread")?;
    Ok(answered)
}

/// How rest is awaited.
enum Waiting {
    /// The store was asked.
    Asked(Receiver<nori_kv::Result<()>>),
    /// It cannot be asked. What was seen last, and since when.
    Watched(Option<(EngineStats, Option<u64>)>, Instant),
}

impl Waiting {
    /// Waits a little; the seconds since `began` after which the store was at rest, if it is.
    fn look(
        &mut self,
        engine: &Arc<dyn Engine>,
        disk_bytes: impl Fn() -> Option<u64>,
        began: Instant,
    ) -> Result<Option<f64>> {
        match self {
            Self::Asked(answered) => match answered.recv_timeout(LOOK_EVERY) {
                Ok(Ok(())) => Ok(Some(began.elapsed().as_secs_f64())),
                Ok(Err(Error::Unsupported { .. })) => {
                    *self = Self::Watched(None, Instant::now());
                    Ok(None)
                }
                Ok(Err(error)) => Err(error).context("settling"),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("settling: the call panicked"),
            },
            Self::Watched(last, since) => {
                std::thread::sleep(LOOK_EVERY);
                let now = Some((engine.stats(), disk_bytes()));
                if *last != now {
                    (*last, *since) = (now, Instant::now());
                }
                // It was at rest from then on; that we waited to be sure is not its time.
                let rested = since.duration_since(began).as_secs_f64();
                Ok((since.elapsed() >= REST).then_some(rested))
            }
        }
    }
}
