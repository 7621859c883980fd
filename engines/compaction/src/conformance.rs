//! What every strategy must keep, as checks that panic when it is not kept: seeded random histories on
//! the simulator, with several jobs running at once and ending in any order.

use crate::simulate::Simulation;
use crate::{LevelView, PlanKind, Shape, Strategy};
use nori_kv::{KeyRange, Reason};

/// Bytes of a simulated entry.
const ENTRY_BYTES: u64 = 100;
const HISTORIES: u64 = 40;
const STEPS: usize = 250;
/// Jobs that a settling may take, for each table there is; a healthy strategy needs about one for each
/// level that a table goes down.
const JOBS_PER_TABLE_MAX: usize = 30;

/// Makes the strategy under test.
pub type Make = fn(&Shape) -> Box<dyn Strategy>;

/// Panics unless the strategies of `make` keep the contract of [`Strategy`].
pub fn strategy_keeps_its_contract(make: Make) {
    an_empty_tree_is_at_rest(make);
    for seed in 0..HISTORIES {
        a_random_history_ends_well(make, seed);
    }
    ascending_keys_are_moved_not_merged(make);
    small_tables_are_gathered_at_a_bounded_price(make);
    a_manual_compaction_leaves_one_run(make);
    garbage_is_no_state(make);
}

fn an_empty_tree_is_at_rest(make: Make) {
    let shape = Shape::default();
    let mut simulation = Simulation::new(make(&shape), &shape, ENTRY_BYTES);
    assert_eq!(simulation.settle(0), Some(0));
    let debt = simulation.debt();
    assert!(debt.bytes == 0 && debt.brake == 0.0 && debt.why.is_none());
    assert_eq!(simulation.compact(&KeyRange::all(), 1), Some(0));
}

fn shape_of(random: &mut Random) -> Shape {
    Shape {
        buffer_bytes: 20 * ENTRY_BYTES,
        size_ratio: 2 + random.below(5),
        table_bytes_target: (5 + random.below(20)) * ENTRY_BYTES,
        l0_runs_trigger: 2 + random.below(4) as usize,
        levels_max: 2 + random.below(5) as usize,
        seek_bytes: random.below(3) * ENTRY_BYTES,
    }
}

/// The writes of one flush: uniform, ascending, or a few keys again and again; some deletes.
fn writes_of(random: &mut Random, pattern: u64, flush: u64) -> Vec<(u64, bool)> {
    let one = |random: &mut Random, n: u64| {
        let key = match pattern {
            0 => random.below(3_000),
            1 => flush * 20 + n,
            _ => random.below(60) * random.below(60),
        };
        (key, random.below(6) == 0)
    };
    (0..1 + random.below(20)).map(|n| one(random, n)).collect()
}

fn a_random_history_ends_well(make: Make, seed: u64) {
    let mut random = Random(seed);
    let shape = shape_of(&mut random);
    let mut simulation = Simulation::new(make(&shape), &shape, ENTRY_BYTES);
    let pattern = random.below(3);
    for step in 0..STEPS {
        match random.below(10) {
            0..=3 => {
                let writes = writes_of(&mut random, pattern, step as u64);
                simulation.flush(&writes);
            }
            4..=5 => {
                simulation.start(1 + random.below(4) as usize);
            }
            6..=8 => {
                let running = simulation.running();
                if !running.is_empty() {
                    let job = running[random.below(running.len() as u64) as usize];
                    if random.below(10) == 0 {
                        simulation.abandon(job);
                    } else {
                        let _refusals_are_counted = simulation.finish(job);
                    }
                }
            }
            _ if random.below(3) == 0 => simulation.release_snapshots(),
            _ if random.below(2) == 0 => seek_somewhere(&mut random, &simulation),
            _ => simulation.hold_snapshot(),
        }
        if step % 4 == 0 {
            let check = simulation.check();
            assert!(check.is_ok(), "seed {seed}, step {step}: {check:?}");
        }
        a_brake_comes_with_a_cure(&mut simulation, seed);
        if step % 16 == 0 {
            decisions_survive_a_restart(make, &mut simulation, &shape);
        }
    }
    let tables: usize = simulation.levels().iter().map(|level| level.tables().count()).sum();
    let settled = simulation.settle(JOBS_PER_TABLE_MAX * (tables + 1));
    assert!(settled.is_some(), "seed {seed}: {tables} tables do not settle, {shape:?}");
    assert_eq!(simulation.totals().refused, 0, "seed {seed}: it makes plans that are refused");
    assert_eq!(simulation.debt().brake, 0.0, "seed {seed}: at rest, and writers are held up");
    let check = simulation.check();
    assert!(check.is_ok(), "seed {seed}, settled: {check:?}");
}

/// Some seeks in one of the tables.
fn seek_somewhere(random: &mut Random, simulation: &Simulation) {
    let tables: Vec<_> = simulation.levels().iter().flat_map(LevelView::tables).collect();
    if !tables.is_empty() {
        let table = tables[random.below(tables.len() as u64) as usize];
        table.seeks_sampled.add(1 + random.below(200));
    }
}

fn a_brake_comes_with_a_cure(simulation: &mut Simulation, seed: u64) {
    let debt = simulation.debt();
    assert!(
        debt.brake.is_finite() && debt.brake >= 0.0 && (debt.brake > 0.0) == debt.why.is_some()
    );
    if debt.brake > 0.0 && simulation.running().is_empty() {
        let plans = simulation.with_view(|strategy, view| strategy.plan(view, usize::MAX));
        assert!(!plans.is_empty(), "seed {seed}: writers wait, and nobody works");
    }
}

/// A new strategy with the saved state decides as the old one, and a decision is no accident.
fn decisions_survive_a_restart(make: Make, simulation: &mut Simulation, shape: &Shape) {
    let state = simulation.strategy().save();
    let (mut one, mut two) = (make(shape), make(shape));
    one.restore(&state);
    two.restore(&state);
    let plans =
        simulation.with_view(|_, view| (one.plan(view, usize::MAX), two.plan(view, usize::MAX)));
    assert_eq!(plans.0, plans.1, "a pure function");
    let plan = simulation.with_view(|strategy, view| strategy.plan(view, usize::MAX));
    assert_eq!(plan, plans.0, "the saved state is the whole state");
    for plan in &plan {
        let parts = simulation.with_view(|strategy, view| strategy.split(view, plan, 4));
        assert!((1..=4).contains(&parts.len()));
        assert!(parts[0].start.is_empty() && parts[parts.len() - 1].end.is_none());
        assert!(parts.windows(2).all(|two| two[0].end.as_ref() == Some(&two[1].start)));
        assert!(parts.iter().all(|part| !part.is_empty()));
    }
    // What was planned by the way was not run; the strategy under test is the restored one from here.
    let mut fresh = make(shape);
    fresh.restore(&state);
    simulation.replace_strategy(fresh);
}

fn ascending_keys_are_moved_not_merged(make: Make) {
    // Full tables, and those of memtables an eighth of that in size.
    for tables_per_target in [1, 8] {
        let buffer_bytes = 20 * ENTRY_BYTES;
        let table_bytes_target = buffer_bytes * tables_per_target;
        let shape = Shape { buffer_bytes, table_bytes_target, size_ratio: 4, ..Shape::default() };
        let simulation = ascending(make, &shape, 200, 20);
        let totals = simulation.totals();
        assert!(totals.written_bytes == 0 && totals.moves > 0, "{totals:?}");
    }
}

/// So many flushes of `entries` entries each with ascending keys, every one settled.
fn ascending(make: Make, shape: &Shape, flushes: u64, entries: u64) -> Simulation {
    let mut simulation = Simulation::new(make(shape), shape, ENTRY_BYTES);
    for flush in 0..flushes {
        let writes: Vec<_> = (0..entries).map(|n| (flush * entries + n, false)).collect();
        simulation.flush(&writes);
        assert!(simulation.settle(1_000).is_some());
    }
    assert!(simulation.check().is_ok());
    simulation
}

/// 400 flushes of one row each, beneath a target that they never reach and one that they reach often.
fn small_tables_are_gathered_at_a_bounded_price(make: Make) {
    const FLUSHES: u64 = 400;
    for target_entries in [32, 100, FLUSHES * 100] {
        let shape = Shape {
            buffer_bytes: 20 * ENTRY_BYTES,
            table_bytes_target: target_entries * ENTRY_BYTES,
            ..Shape::default()
        };
        let simulation = ascending(make, &shape, FLUSHES, 1);
        let tables: usize = simulation.levels().iter().map(|level| level.tables().count()).sum();
        // Eight for each target, three of each size between one row and all of them, and what waits in levels of runs.
        let sizes = FLUSHES.ilog(4) as usize + 1;
        let waiting = shape.size_ratio as usize * 2;
        let tables_max = (8 * FLUSHES / target_entries) as usize + 3 * sizes + waiting;
        assert!(
            tables <= tables_max,
            "{tables} tables of {FLUSHES} rows, {target_entries} a table"
        );
        let amplification = simulation.totals().write_amplification();
        let rewrites = (target_entries.min(FLUSHES)).ilog(4) as f64;
        assert!(amplification <= 2.0 + rewrites, "a row is written {amplification} times");
    }
}

fn a_manual_compaction_leaves_one_run(make: Make) {
    let mut random = Random(99);
    let shape = Shape {
        buffer_bytes: 20 * ENTRY_BYTES,
        table_bytes_target: 40 * ENTRY_BYTES,
        size_ratio: 4,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(make(&shape), &shape, ENTRY_BYTES);
    for flush in 0..100 {
        simulation.flush(&writes_of(&mut random, 0, flush));
        assert!(simulation.settle(10_000).is_some());
    }
    assert!(simulation.compact(&KeyRange::all(), 10_000).is_some());
    let runs: usize = simulation.levels().iter().map(|level| level.runs.len()).sum();
    assert_eq!(runs, 1);
    assert!(simulation.check().is_ok());
    assert!(simulation.space_amplification() <= 1.0 + 1e-9, "nothing dead is left");
    let again = simulation.with_view(|strategy, view| strategy.plan_manual(view, &KeyRange::all()));
    assert!(again.is_none(), "there is nothing more to do");
    assert!(simulation.settle(100).is_some() && simulation.check().is_ok());
    // A part of the keys, after more writes.
    simulation.flush(&[(50, false), (500, true), (2_000, false)]);
    let range = KeyRange::between(&100_u64.to_be_bytes(), &900_u64.to_be_bytes());
    let plan = simulation.with_view(|strategy, view| strategy.plan_manual(view, &range));
    assert!(plan.is_some_and(|plan| plan.why == Reason::Manual && plan.kind != PlanKind::Rewrite));
}

fn garbage_is_no_state(make: Make) {
    let mut random = Random(7);
    for length in 0..64 {
        let garbage: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        let shape = Shape::default();
        let mut strategy = make(&shape);
        strategy.restore(&garbage);
        let mut simulation = Simulation::new(strategy, &shape, ENTRY_BYTES);
        (0..8).for_each(|flush| simulation.flush(&[(flush, false), (500, false)]));
        assert!(simulation.settle(100).is_some() && simulation.check().is_ok());
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
