//! Any legal tree, under any registered strategy: its plans are valid, each one relieves what it was made for, and they end.
//!
//! 1. A tree is grown by flushes, by jobs of *other* strategies with other shapes, by moves and merges of tables drawn at random
//!    where the validator lets them, and by readers that hold snapshots: so by more than the strategy itself would do.
//! 2. The strategy under test takes over, as when a store is opened with other settings, with jobs perhaps still running.
//! 3. What fails is shrunk to the shortest way to such a tree.
//!
//! The suite of `conformance` has seeded histories of one strategy alone. `PROPTEST_CASES` makes this a campaign.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

use nori_compaction::simulate::Simulation;
use nori_compaction::{
    CutRule, LevelView, Place, Plan, PlanKind, RunPlace, Shape, TableId, strategies,
};
use nori_kv::Reason;
use proptest::prelude::*;
use proptest::test_runner::Config;

const ENTRY_BYTES: u64 = 100;
/// Cases unless `PROPTEST_CASES` says otherwise: a few seconds.
const CASES: u32 = 3_000;
/// Jobs that settling may take, for each table there is, as in the suite of `conformance`.
const JOBS_PER_TABLE_MAX: usize = 30;

/// A step of a tree's growth.
#[derive(Clone, Debug)]
enum Step {
    /// Keys, and whether each is deleted.
    Flush(Vec<(u64, bool)>),
    /// Up to so many jobs of the strategy of that number, finished or left running.
    Foreign(usize, usize, bool),
    /// These tables, by number, to that level, into its newest run or a new one; merged or moved.
    Anything {
        tables: Vec<usize>,
        level: usize,
        is_new_run: bool,
        is_move: bool,
    },
    Finish(usize),
    Abandon(usize),
    Hold,
    Release,
    /// So many seeks in the table of that number.
    Seek(usize, u64),
}

fn shape() -> impl Strategy<Value = Shape> {
    (1..30u64, 2..7u64, 1..30u64, 2..6usize, 2..7usize, 0..3u64).prop_map(
        |(buffer, size_ratio, table, l0_runs_trigger, levels_max, seek_entries)| Shape {
            buffer_bytes: buffer * ENTRY_BYTES,
            size_ratio,
            table_bytes_target: table * ENTRY_BYTES,
            l0_runs_trigger,
            levels_max,
            seek_bytes: seek_entries * ENTRY_BYTES,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..40u64, prop::bool::weighted(0.2));
    let tables = prop::collection::vec(0..40usize, 1..5);
    let of = 0..strategies().len();
    prop_oneof![
        6 => prop::collection::vec(write, 1..25).prop_map(Step::Flush),
        2 => (of, 1..4usize, any::<bool>()).prop_map(|(of, jobs, ends)| Step::Foreign(of, jobs, ends)),
        6 => (tables, 0..7usize, any::<bool>(), any::<bool>()).prop_map(
            |(tables, level, is_new_run, is_move)| Step::Anything { tables, level, is_new_run, is_move }
        ),
        2 => (0..4usize).prop_map(Step::Finish),
        1 => (0..4usize).prop_map(Step::Abandon),
        2 => (0..40usize, 1..300u64).prop_map(|(table, seeks)| Step::Seek(table, seeks)),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
    ]
}

fn drawn(levels: &[LevelView], step: &Step) -> Option<Plan> {
    let Step::Anything { tables, level, is_new_run, is_move } = step else { return None };
    let all: Vec<TableId> =
        levels.iter().flat_map(LevelView::tables).map(|table| table.id).collect();
    let mut inputs: Vec<TableId> = tables.iter().filter_map(|at| all.get(*at).copied()).collect();
    inputs.sort();
    inputs.dedup();
    let newest = levels.get(*level)?.runs.first().map(|run| RunPlace::Into(run.id));
    let run = newest.filter(|_| !is_new_run).unwrap_or(RunPlace::New);
    Some(Plan {
        inputs,
        range: None,
        out: Place { level: *level, run },
        kind: if *is_move { PlanKind::Move } else { PlanKind::Merge },
        cuts: CutRule { table_bytes_target: 7 * ENTRY_BYTES, before: Vec::new() },
        why: Reason::Manual,
    })
}

fn grow(simulation: &mut Simulation, shape: &Shape, step: &Step) {
    let nth = |simulation: &Simulation, n: usize| simulation.running().get(n).copied();
    match step {
        Step::Flush(writes) => simulation.flush(writes),
        Step::Foreign(of, jobs, ends) => {
            simulation.replace_strategy((strategies()[*of].make)(shape));
            simulation.start(*jobs);
            if *ends {
                for job in simulation.running() {
                    let _a_refusal_is_a_legal_end = simulation.finish(job);
                }
            }
        }
        Step::Anything { .. } => {
            if let Some(plan) = drawn(simulation.levels(), step)
                && let Ok(job) = simulation.begin(&plan)
            {
                let _a_refusal_is_a_legal_end = simulation.finish(job);
            }
        }
        Step::Finish(n) => {
            if let Some(job) = nth(simulation, *n) {
                let _a_refusal_is_a_legal_end = simulation.finish(job);
            }
        }
        Step::Abandon(n) => {
            if let Some(job) = nth(simulation, *n) {
                simulation.abandon(job);
            }
        }
        Step::Hold => simulation.hold_snapshot(),
        Step::Release => simulation.release_snapshots(),
        Step::Seek(table, seeks) => {
            let tables: Vec<_> = simulation.levels().iter().flat_map(LevelView::tables).collect();
            if let Some(table) = tables.get(table % tables.len().max(1)) {
                table.seeks_sampled.add(*seeks);
            }
        }
    }
}

/// The measure of what pressed for a plan: runs or bytes of a level.
fn pressure(levels: &[LevelView], why: Reason) -> Option<(usize, u64)> {
    match why {
        Reason::RunCount { level, .. } => {
            Some((usize::from(level), levels[usize::from(level)].runs.len() as u64))
        }
        Reason::LevelSaturation { level, .. } => {
            Some((usize::from(level), levels[usize::from(level)].bytes()))
        }
        Reason::Seeks { level, .. } => {
            let tables = levels[usize::from(level)].tables();
            Some((usize::from(level), tables.map(|table| table.seeks_sampled.count()).sum()))
        }
        Reason::SmallTables { level, .. } => {
            Some((usize::from(level), levels[usize::from(level)].tables().count() as u64))
        }
        _ => None,
    }
}

/// Runs the plans of one answer, in order: all begin, and each by itself relieves what it was made for.
fn run_an_answer(simulation: &mut Simulation, name: &str) -> Result<usize, TestCaseError> {
    let plans = simulation.with_view(|strategy, view| strategy.plan(view, usize::MAX));
    let mut jobs = Vec::new();
    for plan in &plans {
        let begun = simulation.begin(plan);
        prop_assert!(begun.is_ok(), "{name}: {plan:?} is refused: {begun:?}");
        jobs.push((begun.unwrap(), plan));
    }
    for (job, plan) in jobs {
        let before = pressure(simulation.levels(), plan.why);
        let ended = simulation.finish(job);
        prop_assert!(ended.is_ok(), "{name}: the outputs of {plan:?} are refused: {ended:?}");
        let after = pressure(simulation.levels(), plan.why);
        prop_assert!(before.is_some(), "{name}: {:?} is no pressure of a level", plan.why);
        prop_assert!(after < before, "{name}: {plan:?} leaves {after:?} of {before:?}");
    }
    Ok(plans.len())
}

fn takes_over(steps: &[Step], shapes: &[Shape; 2], at: usize) -> Result<(), TestCaseError> {
    let entry = &strategies()[at];
    let [grown, taken] = shapes;
    let levels_max = grown.levels_max.max(taken.levels_max);
    let [grown, taken] = [grown, taken].map(|shape| Shape { levels_max, ..*shape });
    let mut simulation = Simulation::new((entry.make)(&grown), &grown, ENTRY_BYTES);
    for step in steps {
        grow(&mut simulation, &grown, step);
    }
    simulation.replace_strategy((entry.make)(&taken));
    // Beside what is running; then alone.
    let refused = simulation.totals().refused;
    simulation.start(usize::MAX);
    prop_assert_eq!(simulation.totals().refused, refused, "{} beside other jobs", entry.name);
    for job in simulation.running() {
        let _a_refusal_is_a_legal_end = simulation.finish(job);
    }
    let tables: usize = simulation.levels().iter().map(|level| level.tables().count()).sum();
    let jobs_max = JOBS_PER_TABLE_MAX * (tables + 1);
    let mut jobs = 0;
    loop {
        let count = run_an_answer(&mut simulation, entry.name)?;
        if count == 0 {
            break;
        }
        jobs += count;
        prop_assert!(jobs <= jobs_max, "{}: {tables} tables do not settle", entry.name);
    }
    let debt = simulation.debt();
    prop_assert!(debt.brake == 0.0, "{}: at rest, and writers are held up: {debt:?}", entry.name);
    prop_assert_eq!(simulation.check(), Ok(()), "{}", entry.name);
    Ok(())
}

/// As many cases as the environment asks for; what fails is printed, and kept in no file.
fn config() -> Config {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if is_asked { Config::default().cases } else { CASES };
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn every_strategy_brings_any_tree_to_rest_by_valid_plans_that_each_relieve_a_pressure(
        steps in prop::collection::vec(step(), 1..40),
        shapes in [shape(), shape()],
        at in 0..strategies().len(),
    ) {
        takes_over(&steps, &shapes, at)?;
    }
}
