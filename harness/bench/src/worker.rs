//! The child process that carries out one plan.
//!
//! 1. Open a store in an empty directory.
//! 2. For each step: run the phase, then write what it came to. While it runs, each second's row goes into its file
//!    from this thread, which measures nothing. An open loop whose rate is a share of the maximum has that
//!    measured first ([`offered`]); a step may also be to let the store come to rest ([`settle`]).
//! 3. Close the store, remove its directory unless it is to be kept, write how it ended.
//!
//! What it says on standard output is one JSON object a line, for the parent. A phase with an error ends the
//! run: what would come after it is not comparable.

mod offered;
mod settle;

pub(crate) use offered::fault;

use crate::commits::Commits;
use crate::drive::{Interval, PhaseJob, PhaseOutcome, TaskStore, Tick, run_phase};
use crate::events::{Calibrated, EventLog, Moment};
use crate::first_error;
use crate::guard;
use crate::latency::{IntervalLog, Measure, write_lag, write_percentiles};
use crate::manifest::{FAILED, INVALID, Manifest, OK};
use crate::plan::{RunPlan, Step};
use crate::process::{Usage, reset_rss_peak, rss_peak_bytes};
use crate::registry::{self, Opened};
use crate::rows::{Row, Seen, rows_of, write_rows};
use crate::series::{During, Series, Space, disk_bytes};
use anyhow::{Context, Result, bail, ensure};
use nori_env::PoolTasks;
use nori_kv::{Durability, Engine, EngineStats, Parts};
use nori_observe::Registry;
use nori_workloads::{Ledger, PhaseKind, SizeKind};
use norikv_parts::{EngineRequest, Role};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What the child tells the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Message {
    /// A phase began.
    Begin { step: usize },
    /// A phase goes on.
    Tick { step: usize, elapsed_s: f64, ops: u64 },
    /// What the rate of an open loop is made from was measured.
    Calibrated { step: usize, calibrated: Calibrated },
    /// A phase ended.
    End { step: usize, seconds: f64, ops: u64, errors: u64 },
    /// What was measured is not to be believed.
    Invalid { why: String },
    /// The run ended early.
    Failed { why: String },
}

fn tell(message: &Message) {
    let line = serde_json::to_string(message).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // A parent that is gone cannot be told so.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Carries out the plan in the file at `path`, unless standard input ends before. Errors are told to the parent and
/// stand in the manifest.
pub(crate) fn work(path: &Path) -> Result<()> {
    let plan = RunPlan::read(path)?;
    let _held = guard::hold_plan(path)?;
    guard::end_with_parent()?;
    let outcome = carry_out(&plan, &mut tell);
    // The store is removed on failure too: the disk may be full because of it.
    let removed = plan.remove_store();
    if let Err(error) = &outcome {
        tell(&Message::Failed { why: format!("{error:#}") });
    }
    outcome?;
    removed
}

/// Carries out a plan; the store's directory stays.
pub(crate) fn carry_out(plan: &RunPlan, tell: &mut dyn FnMut(&Message)) -> Result<()> {
    for dir in [&plan.dir, &plan.data_dir] {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let entry = registry::engine(&plan.engine)?;
    let request = EngineRequest { memory_bytes: plan.memory_bytes, choices: &plan.choices };
    let factory = entry.build_for(&request, plan.durability.parse()?)?;
    let mut manifest = Manifest::new(plan, factory.settings());
    manifest.write(&plan.dir)?;
    let outcome = (|| {
        let durability: Durability = plan.durability.parse()?;
        ensure!(
            factory.capabilities().offers(durability),
            "{} does not offer durability `{durability}`",
            plan.engine
        );
        let workers = PoolTasks::workers_for_this_machine();
        let registry = Arc::new(Registry::default());
        let parts = Parts::os(workers)?.with_meter(Arc::clone(&registry) as _);
        let clock = Arc::clone(&parts.clock);
        let store = plan.store();
        let Opened { engine, tasks } = entry.open(&request, durability, &store, parts)?;
        let counted_at = entry.counted_at(&request)?;
        let commits = (!counted_at.is_empty()).then(|| Commits::new(counted_at, &plan.dir));
        let events = EventLog::create(&plan.dir.join("events.jsonl"))?;
        Run {
            plan,
            store: &store,
            durability,
            checks: entry.role != Role::Probe,
            engine,
            tasks,
            registry,
            now_nanos: Box::new(move || clock.now().nanos),
            events,
            series: Series::new(&plan.dir),
            rows: Vec::new(),
            began: Instant::now(),
            existing: None,
            live_bytes: Some(0),
            settling: None,
            commits,
            invalid: Vec::new(),
        }
        .all_steps(tell)
    })();
    let (state, reasons) = match &outcome {
        Ok(invalid) if invalid.is_empty() => (OK, Vec::new()),
        Ok(invalid) => (INVALID, invalid.clone()),
        Err(error) => (FAILED, vec![format!("{error:#}")]),
    };
    manifest.status.state = state.into();
    manifest.status.reasons.extend(reasons);
    let noted = manifest.write(&plan.dir);
    first_error(outcome.map(|_| ()), noted)
}

/// What the row of a phase still lacks until the store has come to rest.
struct Settling {
    /// Of the phase's row among the rows.
    row: usize,
    /// From before the phase.
    before: EngineStats,
}

/// A run under way.
struct Run<'a> {
    plan: &'a RunPlan,
    store: &'a Path,
    durability: Durability,
    checks: bool,
    engine: Arc<dyn Engine>,
    /// The same for tasks, of a cluster.
    tasks: Option<Arc<dyn TaskStore>>,
    registry: Arc<Registry>,
    /// The clock that the engine's events are stamped with.
    now_nanos: Box<dyn Fn() -> u64>,
    events: EventLog,
    series: Series,
    rows: Vec<Row>,
    began: Instant,
    /// Which keys exist.
    existing: Option<Arc<Ledger>>,
    /// Bytes of keys and values of live entries; `None` once it cannot be told.
    live_bytes: Option<u64>,
    /// Of the phase before, if it has rows.
    settling: Option<Settling>,
    /// Of a cluster whose nodes tell what they count.
    commits: Option<Commits>,
    /// A sentence for each phase that is not to be believed.
    invalid: Vec<String>,
}

impl Run<'_> {
    /// Carries out all steps; why the run is invalid, if it is.
    fn all_steps(mut self, tell: &mut dyn FnMut(&Message)) -> Result<Vec<String>> {
        for (number, step) in self.plan.steps.iter().enumerate() {
            let outcome = self.step(number, step, tell);
            // What was measured is kept, whatever happened.
            let kept = write_rows(&self.plan.dir.join("summary.csv"), &self.rows)
                .and_then(|()| self.events.drain(&self.registry));
            first_error(outcome, kept)?;
        }
        drop((self.engine, self.tasks));
        self.events.drain(&self.registry)?;
        Ok(self.invalid)
    }

    fn now(&self) -> Moment {
        Moment { nanos: (self.now_nanos)(), t_s: self.began.elapsed().as_secs_f64() }
    }

    /// What the store takes now; `inserted` is what a phase under way added.
    fn space(&self, inserted: u64) -> Space {
        let live_bytes = self.live_bytes.map(|bytes| bytes + inserted);
        Space { disk_bytes: disk_bytes(self.store), live_bytes }
    }

    fn step(&mut self, number: usize, step: &Step, tell: &mut dyn FnMut(&Message)) -> Result<()> {
        let mut step = step.clone();
        if let (true, Some(existing)) = (step.kind() != PhaseKind::Load, &self.existing) {
            // Earlier phases may have inserted; what they inserted is part of the key space now.
            step.workload.keys.records = existing.settled();
        }
        tell(&Message::Begin { step: number });
        if step.kind() == PhaseKind::Settle {
            return self.settle(number, &step, tell);
        }
        if self.plan.is_reference && step.kind() == PhaseKind::Run {
            return match step.reference() {
                Some(target) if target == self.plan.target => {
                    self.offered_rate(number, &step, tell).map(|_| ())
                }
                _ => Ok(()),
            };
        }
        let rate = self.offered_rate(number, &step, tell)?;
        reset_rss_peak();
        let before = self.engine.stats();
        if let Some(commits) = &mut self.commits {
            commits.begin()?;
        }
        let usage = Usage::now();
        let (outcome, sa_peak) = self.run(number, &step, step.phase_name(), rate, tell)?;
        let usage = Usage::now().since(usage);
        let space = self.space(0);
        let seen = Seen {
            usage,
            rss_peak_bytes: rss_peak_bytes(),
            sa_peak: [sa_peak, space.amplification()].into_iter().flatten().reduce(f64::max),
            space,
            offered_rate: rate,
            before: before.clone(),
            after: self.engine.stats(),
        };
        self.settling = None;
        if step.is_recorded() {
            kept(&outcome, self.write_percentiles(number, &step, &outcome))?;
            if let Some(commits) = &mut self.commits {
                kept(&outcome, commits.end(&step.label, step.phase_name()))?;
            }
            self.settling = Some(Settling { row: self.rows.len(), before });
            self.rows.extend(rows_of(self.plan, &step, &outcome, &seen));
            if let Some(why) = rate.and_then(|rate| fault(&step, &outcome, rate)) {
                tell(&Message::Invalid { why: why.clone() });
                self.invalid.push(why);
            }
        }
        let (ops, errors) = (outcome.counts.ops_total(), outcome.counts.errors_total());
        tell(&Message::End { step: number, seconds: outcome.seconds, ops, errors });
        failure(&outcome)?;
        ensure!(
            ops > 0 || !step.is_recorded(),
            "{}: the {} phase carried out no operation: nothing was measured",
            step.label,
            step.phase_name()
        );
        Ok(())
    }

    fn write_percentiles(&self, number: usize, step: &Step, outcome: &PhaseOutcome) -> Result<()> {
        let (dir, stem) = (self.plan.dir.join("latency"), step.stem(number));
        write_percentiles(&outcome.latencies, Measure::Service, &dir, &stem)?;
        if let Some(open) = &outcome.open {
            write_percentiles(open.response(), Measure::Response, &dir, &stem)?;
            write_lag(open.lag(), &dir, &stem)?;
        }
        Ok(())
    }

    /// Runs clients, under `phase` in events and series; what it came to, and the highest space amplification of its
    /// samples. An interval log is kept of what is recorded.
    fn run(
        &mut self,
        number: usize,
        step: &Step,
        phase: &str,
        rate: Option<f64>,
        tell: &mut dyn FnMut(&Message),
    ) -> Result<(PhaseOutcome, Option<f64>)> {
        let clients = step.workload.phases[step.phase].load.threads;
        let ledger = Arc::new(match (&self.existing, step.kind()) {
            (_, PhaseKind::Load) => Ledger::new(0, clients),
            (Some(existing), _) => existing.next(clients),
            (None, _) => bail!("{} runs on an empty store", step.label),
        });
        let begin = self.now();
        self.events.phase(begin, "phase_begin", &step.label, phase)?;
        let during = During { t_s: begin.t_s, workload: &step.label, phase, offered_rate: rate };
        let is_recorded = phase == step.kind().name();
        let store = Opened { engine: Arc::clone(&self.engine), tasks: self.tasks.clone() };
        let job = PhaseJob {
            engine: &store.engine,
            tasks: store.tasks.as_ref(),
            workload: &step.workload,
            phase: step.phase,
            seed: self.plan.seed,
            // What is not recorded does not use up the operations of what is.
            number: number as u32 + if is_recorded { 0 } else { offered::UNRECORDED },
            durability: self.durability,
            ledger: Arc::clone(&ledger),
            checks: self.checks,
            rate,
        };
        let mut logs = match is_recorded {
            true => Logs::create(self.plan, &step.stem(number), rate)?,
            false => Logs::default(),
        };
        if step.workload.values.size.dist != SizeKind::Constant {
            // An update changes the sum, and nobody keeps the old lengths.
            self.live_bytes = None;
        }
        // The state that the phase begins in; each second's follow.
        self.series.sample(during, 0.0, &self.engine.stats(), self.space(0))?;
        let mut sa_peak: Option<f64> = None;
        // How much is deleted is known when the phase has ended.
        let deletes = step.workload.phases[step.phase].mix.deletes();
        // Clients do not wait for a disk that is full; the phase fails when it has ended.
        let mut written = Ok(());
        let outcome = run_phase(&job, &mut |tick: Tick<'_>| {
            let elapsed_s = tick.elapsed.as_secs_f64();
            if let (Some(interval), Ok(())) = (tick.interval, &written) {
                let mut space = self.space(tick.bytes_inserted);
                space.live_bytes = space.live_bytes.filter(|_| !deletes);
                sa_peak = [sa_peak, space.amplification()].into_iter().flatten().reduce(f64::max);
                let stats = self.engine.stats();
                let series = &mut self.series;
                let measured = if interval.is_measured {
                    logs.push(interval).and_then(|()| series.interval(during, interval))
                } else {
                    Ok(())
                };
                written = measured.and_then(|()| series.sample(during, elapsed_s, &stats, space));
            }
            tell(&Message::Tick { step: number, elapsed_s, ops: tick.ops });
        })?;
        let noted =
            written.and_then(|()| self.events.phase(self.now(), "phase_end", &step.label, phase));
        kept(&outcome, noted)?;
        self.account(&outcome, ledger);
        Ok((outcome, sa_peak))
    }

    /// Keeps account of which keys exist, and of their bytes.
    fn account(&mut self, outcome: &PhaseOutcome, ledger: Arc<Ledger>) {
        self.existing = Some(ledger);
        let counts = &outcome.counts;
        self.live_bytes = self
            .live_bytes
            .and_then(|bytes| (bytes + counts.bytes_inserted).checked_sub(counts.bytes_deleted));
    }
}

/// The error of a phase whose operations failed.
fn failure(outcome: &PhaseOutcome) -> Result<()> {
    let (ops, errors) = (outcome.counts.ops_total(), outcome.counts.errors_total());
    match &outcome.first_error {
        None => Ok(()),
        Some(error) => bail!("{errors} of {ops} operations failed; the first: {error}"),
    }
}

/// Whether what a phase came to was written. On a full disk the engine's operations fail as well as our files, and they
/// are what the run is about: their error comes first.
fn kept(outcome: &PhaseOutcome, written: Result<()>) -> Result<()> {
    if written.is_ok() { written } else { first_error(failure(outcome), written) }
}

/// The interval logs of a phase.
#[derive(Default)]
struct Logs {
    service: Option<IntervalLog>,
    response: Option<IntervalLog>,
}

impl Logs {
    fn create(plan: &RunPlan, stem: &str, rate: Option<f64>) -> Result<Self> {
        let (dir, now) = (plan.dir.join("latency"), SystemTime::now());
        let service = IntervalLog::create(&dir, stem, Measure::Service, now)?;
        let response =
            rate.map(|_| IntervalLog::create(&dir, stem, Measure::Response, now)).transpose()?;
        Ok(Self { service: Some(service), response })
    }

    fn push(&mut self, interval: &Interval) -> Result<()> {
        let (start, length) = (interval.start, interval.length);
        if let Some(service) = &mut self.service {
            service.push(&interval.recorded.latencies, start, length)?;
        }
        if let (Some(log), Some(open)) = (&mut self.response, &interval.recorded.open) {
            log.push(open.response(), start, length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
