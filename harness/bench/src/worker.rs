//! The child process that carries out one plan.
//!
//! 1. Open a store in an empty directory.
//! 2. For each step: run the phase, then write what it came to. While it runs, each second's row goes into its file
//!    from this thread, which measures nothing.
//! 3. Close the store, remove its directory, write how it ended.
//!
//! What it says on standard output is one JSON object a line, for the parent. A phase with an error ends the
//! run: what would come after it is not comparable.

use crate::drive::{PhaseJob, PhaseOutcome, Tick, run_phase};
use crate::events::EventLog;
use crate::guard;
use crate::latency::{IntervalLog, write_percentiles};
use crate::manifest::{FAILED, Manifest, OK};
use crate::plan::{RunPlan, Step};
use crate::process::{Usage, reset_rss_peak, rss_peak_bytes};
use crate::rows::{Row, Seen, rows_of, write_rows};
use crate::series::{During, Series, disk_bytes};
use anyhow::{Context, Result, bail, ensure};
use nori_kv::{Durability, Engine, Parts};
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
    /// A phase ended.
    End { step: usize, seconds: f64, ops: u64, errors: u64 },
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
    let removed = std::fs::remove_dir_all(&plan.data_dir);
    if let Err(error) = &outcome {
        tell(&Message::Failed { why: format!("{error:#}") });
    }
    outcome?;
    removed.with_context(|| format!("removing {}", plan.data_dir.display()))
}

/// Carries out a plan; the store's directory stays.
pub(crate) fn carry_out(plan: &RunPlan, tell: &mut dyn FnMut(&Message)) -> Result<()> {
    for dir in [&plan.dir, &plan.data_dir] {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let entry = norikv_parts::engine(&plan.engine)?;
    let request = EngineRequest { memory_bytes: plan.memory_bytes, choices: &plan.choices };
    let factory = entry.build(&request)?;
    let mut manifest = Manifest::new(plan, factory.settings());
    manifest.write(&plan.dir)?;
    let outcome = (|| {
        let durability: Durability = plan.durability.parse()?;
        ensure!(
            factory.capabilities().offers(durability),
            "{} does not offer durability `{durability}`",
            plan.engine
        );
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let registry = Arc::new(Registry::default());
        let parts = Parts::os(workers)?.with_meter(Arc::clone(&registry) as _);
        let clock = Arc::clone(&parts.clock);
        let store = plan.data_dir.join("store");
        let engine = factory.open(&store, parts)?;
        let events = EventLog::create(&plan.dir.join("events.jsonl"))?;
        Run {
            plan,
            store: &store,
            durability,
            checks: entry.role != Role::Probe,
            engine,
            registry,
            now_nanos: Box::new(move || clock.now().nanos),
            events,
            series: Series::new(&plan.dir),
            rows: Vec::new(),
            began: Instant::now(),
            existing: None,
            live_bytes: Some(0),
        }
        .all_steps(tell)
    })();
    let reasons = outcome.as_ref().err().map(|error| format!("{error:#}"));
    manifest.status.state = if reasons.is_none() { OK } else { FAILED }.into();
    manifest.status.reasons.extend(reasons);
    manifest.write(&plan.dir)?;
    outcome
}

/// A run under way.
struct Run<'a> {
    plan: &'a RunPlan,
    store: &'a Path,
    durability: Durability,
    checks: bool,
    engine: Arc<dyn Engine>,
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
}

impl Run<'_> {
    fn all_steps(mut self, tell: &mut dyn FnMut(&Message)) -> Result<()> {
        for (number, step) in self.plan.steps.iter().enumerate() {
            let outcome = self.step(number, step, tell);
            // What was measured is kept, whatever happened.
            write_rows(&self.plan.dir.join("summary.csv"), &self.rows)?;
            self.events.drain(&self.registry)?;
            outcome?;
        }
        drop(self.engine);
        self.events.drain(&self.registry)
    }

    fn step(&mut self, number: usize, step: &Step, tell: &mut dyn FnMut(&Message)) -> Result<()> {
        let mut step = step.clone();
        if let (PhaseKind::Run, Some(existing)) = (step.kind(), &self.existing) {
            // Earlier phases may have inserted; what they inserted is part of the key space now.
            step.workload.keys.records = existing.settled();
        }
        tell(&Message::Begin { step: number });
        reset_rss_peak();
        let before = self.engine.stats();
        let usage = Usage::now();
        let t_s = self.began.elapsed().as_secs_f64();
        let (label, phase) = (step.label.clone(), step.kind().name());
        self.events.phase((self.now_nanos)(), "phase_begin", &label, phase)?;
        let during = During { t_s, workload: &label, phase };
        let (outcome, ledger) = self.run(number, &step, during, tell)?;
        self.events.phase((self.now_nanos)(), "phase_end", &label, phase)?;
        let seen_usage = Usage::now().since(usage);
        self.account(&step, &outcome, ledger);
        let seen = Seen {
            usage: seen_usage,
            rss_peak_bytes: rss_peak_bytes(),
            disk_bytes: disk_bytes(self.store),
            live_bytes: self.live_bytes,
            before,
            after: self.engine.stats(),
        };
        let dir = self.plan.dir.join("latency");
        write_percentiles(&outcome.latencies, &dir, &step.stem(number))?;
        self.rows.extend(rows_of(self.plan, &step, &outcome, &seen));
        let (ops, errors) = (outcome.counts.ops_total(), outcome.counts.errors_total());
        tell(&Message::End { step: number, seconds: outcome.seconds, ops, errors });
        if let Some(error) = outcome.first_error {
            bail!("{errors} of {ops} operations failed; the first: {error}");
        }
        Ok(())
    }

    fn run(
        &mut self,
        number: usize,
        step: &Step,
        during: During<'_>,
        tell: &mut dyn FnMut(&Message),
    ) -> Result<(PhaseOutcome, Arc<Ledger>)> {
        let clients = step.workload.phases[step.phase].load.threads;
        let ledger = Arc::new(match (&self.existing, step.kind()) {
            (_, PhaseKind::Load) => Ledger::new(0, clients),
            (Some(existing), _) => existing.next(clients),
            (None, _) => bail!("{} runs on an empty store", step.label),
        });
        let job = PhaseJob {
            engine: &self.engine,
            workload: &step.workload,
            phase: step.phase,
            seed: self.plan.seed,
            number: number as u32,
            durability: self.durability,
            ledger: Arc::clone(&ledger),
            checks: self.checks,
        };
        let (series, engine, store) = (&mut self.series, &self.engine, self.store);
        let dir = self.plan.dir.join("latency");
        let mut log = IntervalLog::create(&dir, &step.stem(number), SystemTime::now())?;
        // Clients do not wait for a disk that is full; the phase fails when it has ended.
        let mut written = Ok(());
        let outcome = run_phase(&job, &mut |tick: Tick<'_>| {
            let elapsed_s = tick.elapsed.as_secs_f64();
            if let (Some(interval), Ok(())) = (tick.interval, &written) {
                let disk = disk_bytes(store);
                written = log
                    .push(interval)
                    .and_then(|()| series.interval(during, interval))
                    .and_then(|()| series.sample(during, elapsed_s, &engine.stats(), disk));
            }
            tell(&Message::Tick { step: number, elapsed_s, ops: tick.ops });
        })?;
        written?;
        Ok((outcome, ledger))
    }

    /// Keeps account of which keys exist, and of their bytes.
    fn account(&mut self, step: &Step, outcome: &PhaseOutcome, ledger: Arc<Ledger>) {
        self.existing = Some(ledger);
        let counts = &outcome.counts;
        // With values of many lengths an update changes the sum, and nobody keeps the old lengths.
        self.live_bytes = self
            .live_bytes
            .filter(|_| step.workload.values.size.dist == SizeKind::Constant)
            .and_then(|bytes| (bytes + counts.bytes_inserted).checked_sub(counts.bytes_deleted));
    }
}
