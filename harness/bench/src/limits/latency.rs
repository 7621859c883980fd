//! Service times of cached reads and of writes, with the store half as busy as it can be.
//!
//! 1. Load records that fit the cache, flush them, let the store rest, and read each: a memtable holds nothing, the cache all.
//! 2. One client, half reads and half updates (YCSB A), closed loop: the highest rate. Then flush and read as before.
//! 3. The same at half that rate, open loop with Poisson arrivals. The figures are the p99 of service times: how long an
//!    operation took once it was sent. An update puts its key into a memtable, where later reads find it: the share of reads that
//!    blocks of the cache served is told.
//! 4. The engine that does nothing at the same rate: what of it is the bench, the clock and the machine's own pauses.
//!
//! One client and one background thread: no more runnable threads than there are processors, where there are two.

use super::job::{ENGINE, Job, processors};
use super::row::{Figure, Row, Worth};
use super::{Section, physical};
use crate::drive::{PhaseJob, PhaseOutcome, run_phase};
use crate::latency::quantile_us;
use crate::plan::Step;
use crate::worker::fault;
use anyhow::{Context, Result, bail, ensure};
use nori_kv::{Durability, Engine, EngineStats, Parts, stat};
use nori_workloads::{
    Distribution, Ledger, Load, LoadModel, OpKind, Overrides, Pick, Span, Workload, built_in,
};
use norikv_parts::{EngineRequest, engine};
use std::sync::Arc;
use std::time::Duration;

pub(super) const SECTION: Section = Section {
    name: "latency",
    about: "p99 service time of a cached read and of an `os` write, open loop at half of the maximum, one client",
    seconds: [22, 22],
    jobs: || vec![String::new()],
    measure,
};

/// 25 MB with their keys: a quarter of the cache below.
const RECORDS: u64 = 200_000;
const VALUE_BYTES: u64 = 100;
const MEMORY: u64 = 256 << 20;
const CLOSED: Duration = Duration::from_secs(4);
const OPEN: Duration = Duration::from_secs(8);
const SHARE: f64 = 0.5;
const GOAL_READ_US: f64 = 10.0;
const GOAL_WRITE_US: f64 = 20.0;
const SEED: u64 = 42;
/// Of the workload's phases.
const LOAD: usize = 0;
const RUN: usize = 1;
/// Times that each record is read to warm the cache: one that a scan must not spoil keeps for good what is asked for twice.
const WARMINGS: u64 = 2;

fn measure(job: &mut Job<'_>) -> Result<()> {
    if processors() < 2 {
        job.doubt("one processor: client and background thread share it".into());
    }
    let store = Target::open(job, ENGINE)?;
    let none = Target::open(job, "noop")?;
    job.at(0.0, "loading");
    let records = job.count(RECORDS);
    let load = workload(records, CLOSED, None)?;
    let ledger = store.run(&load, LOAD, 0, Ledger::new(0, 1))?.1;
    let ledger = store.fill_cache(records, 3, ledger)?;
    job.at(0.1, "closed loop");
    let (closed, ledger) =
        store.run(&workload(records, CLOSED / job.divisor(), None)?, RUN, 1, ledger.next(1))?;
    let n = closed.counts.ops_total();
    let maximum = n as f64 / closed.seconds;
    let ledger = store.fill_cache(records, 4, ledger)?;
    job.at(0.3, "open loop");
    let open = workload(records, OPEN / job.divisor(), Some(maximum * SHARE))?;
    let before = store.engine.stats();
    let (measured, ledger) = store.run(&open, RUN, 2, ledger.next(1))?;
    let served = Served::of(&before, &store.engine.stats()).context("reads are not counted")?;
    job.at(0.7, "the engine that does nothing");
    let (idle, _) = none.run(&open, RUN, 2, ledger.next(1))?;
    let step = Step { label: "latency".into(), workload: open, phase: RUN };
    if let Some(why) = fault(&step, &measured, maximum * SHARE) {
        job.doubt(why);
    }
    let rate = Figure::new("closed loop, of which half is offered", maximum, "/s", n);
    job.found(Row::new(rate, &[physical::two_clock_reads(job.count(1_000_000))]));
    for (kind, what, goal) in [
        (OpKind::Read, "cached read, p99", GOAL_READ_US),
        (OpKind::Update, "os write, p99", GOAL_WRITE_US),
    ] {
        let nothing = p99(&idle, kind, "the engine that does nothing, p99")?;
        let figure = p99(&measured, kind, what)?;
        job.found(Row::new(figure, &[nothing]).at_most(Worth::Goal, goal));
        if kind == OpKind::Read {
            job.found(served.row());
        }
    }
    Ok(())
}

/// Where point reads found what they found.
struct Served {
    reads: u64,
    cache: u64,
    files: u64,
}

impl Served {
    /// Of the reads between two looks; `None` where the engine does not count them, or there were none.
    fn of(before: &EngineStats, after: &EngineStats) -> Option<Self> {
        let delta = |name| after.number(name)?.checked_sub(before.number(name)?);
        // A block that a filter let a read look at in vain served nothing; it was as likely in the cache as any.
        let in_vain = delta(stat::FILTER_FALSE_POSITIVES)?;
        let (hits, files) = (delta(stat::CACHE_HITS)?, delta(stat::CACHE_MISSES)?);
        let reads = delta(stat::POINT_READS).filter(|reads| *reads > 0)?;
        Some(Self { reads, cache: hits.saturating_sub(in_vain), files })
    }

    fn row(&self) -> Row {
        let share = |of: u64| of as f64 / self.reads as f64 * 100.0;
        let figure = |what: &str, of| Figure::new(what, share(of), "%", self.reads);
        let memtables = self.reads.saturating_sub(self.cache + self.files);
        Row::new(
            figure("of these reads, served by blocks in the cache", self.cache),
            &[figure("by memtables", memtables), figure("by blocks from files", self.files)],
        )
    }
}

fn p99(outcome: &PhaseOutcome, kind: OpKind, what: &str) -> Result<Figure> {
    let histogram = outcome.latencies.of(kind);
    let micros = quantile_us(histogram, 0.99).context("too few operations for a p99")?;
    Ok(Figure::new(what, micros, "us", histogram.len()))
}

/// YCSB A with small values for so long, open at a rate or closed.
fn workload(records: u64, duration: Duration, rate: Option<f64>) -> Result<Workload> {
    let open = |rate| Load { model: LoadModel::Open, rate: Some(rate), ..Load::default() };
    let overrides = Overrides {
        records: Some(records),
        value_bytes: Some(VALUE_BYTES),
        threads: Some(1),
        duration: Some(Span(duration)),
        load: rate.map(open),
        ..Overrides::default()
    };
    let file = built_in("ycsb-a").context("YCSB A is gone")?;
    Ok(file.workload()?.with(&overrides)?)
}

/// An engine under this workload.
struct Target {
    engine: Arc<dyn Engine>,
    /// Whether it gives back what was written.
    checks: bool,
}

impl Target {
    fn open(job: &Job<'_>, name: &str) -> Result<Self> {
        let request = EngineRequest { memory_bytes: MEMORY, choices: &[] };
        let engine = engine(name)?.build(&request)?.open(&job.path(name), Parts::os(1)?)?;
        Ok(Self { engine, checks: name == ENGINE })
    }

    /// Moves everything out of memtables into blocks of the cache.
    fn fill_cache(&self, records: u64, number: u32, ledger: Arc<Ledger>) -> Result<Arc<Ledger>> {
        let maintain = self.engine.maintain().context("the engine cannot be told to flush")?;
        maintain.flush()?;
        maintain.settle()?;
        let overrides = Overrides {
            records: Some(records),
            value_bytes: Some(VALUE_BYTES),
            threads: Some(1),
            ops: Some(records * WARMINGS),
            ..Overrides::default()
        };
        let file = built_in("ycsb-c").context("YCSB C is gone")?;
        let mut reads = file.workload()?.with(&overrides)?;
        reads.phases[RUN].pick = Some(Pick::of(Distribution::Sequential));
        Ok(self.run(&reads, RUN, number, ledger.next(1))?.1)
    }

    /// Runs one phase; what it came to, and which keys exist then.
    fn run(
        &self,
        workload: &Workload,
        phase: usize,
        number: u32,
        ledger: Ledger,
    ) -> Result<(PhaseOutcome, Arc<Ledger>)> {
        let ledger = Arc::new(ledger);
        let job = PhaseJob {
            engine: &self.engine,
            tasks: None,
            workload,
            phase,
            seed: SEED,
            number,
            durability: Durability::Os,
            ledger: Arc::clone(&ledger),
            checks: self.checks,
            rate: workload.phases[phase].load.rate,
        };
        let outcome = run_phase(&job, &mut |_| {})?;
        if let Some(error) = &outcome.first_error {
            bail!("{error}");
        }
        ensure!(outcome.counts.ops_total() > 0, "no operation was carried out");
        Ok((outcome, ledger))
    }
}
