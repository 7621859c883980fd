//! The shapes of the strategies, in numbers known from the literature.

use super::*;
use crate::conformance::Random;
use crate::strategy;

const ENTRY_BYTES: u64 = 128;

/// 160 memtables of uniform writes with a ratio of 10, the scale of the PVLDB 2021 study, settled.
fn study(name: &str, keys: u64) -> Simulation {
    let shape = Shape {
        buffer_bytes: 500 * ENTRY_BYTES,
        table_bytes_target: 500 * ENTRY_BYTES,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(strategy(name, &shape).unwrap(), &shape, ENTRY_BYTES);
    let mut random = Random(3);
    for _ in 0..160 {
        let writes: Vec<_> = (0..500).map(|_| (random.below(keys), false)).collect();
        simulation.flush(&writes);
        assert!(simulation.settle(10_000).is_some());
    }
    simulation
}

/// More keys than any of these trees will hold: nothing is overwritten.
const DISTINCT: u64 = 1 << 40;

#[test]
fn leveled_keeps_nearly_all_data_in_the_last_level() {
    let simulation = study("leveled", DISTINCT);
    let bytes: Vec<u64> = simulation.levels().iter().map(LevelView::bytes).collect();
    let total: u64 = bytes.iter().sum();
    assert!(bytes[6] as f64 >= total as f64 * 0.85, "{bytes:?}");
    assert!(simulation.levels()[1..].iter().all(|level| level.runs.len() <= 1));
    // Measured 8.8 when this was written; a level costs between 1 and the ratio plus 1, here of two
    // levels below the base and the base itself.
    let amplification = simulation.totals().write_amplification();
    assert!((5.0..=11.0).contains(&amplification), "{amplification}");
}

#[test]
fn leveled_holds_little_more_than_what_is_alive() {
    let amplification = study("leveled", 20_000).space_amplification();
    assert!(amplification <= 1.12, "{amplification}");
}

#[test]
fn tiered_writes_each_byte_once_a_level() {
    let simulation = study("tiered", DISTINCT);
    let levels = simulation.levels().iter().rposition(|level| !level.runs.is_empty()).unwrap();
    let amplification = simulation.totals().write_amplification();
    assert!(amplification <= 1.0 + levels as f64, "{amplification} with {levels} levels");
    assert!(simulation.levels().iter().all(|level| level.runs.len() <= 3));
}

#[test]
fn reads_of_a_leveled_tree_look_into_few_runs() {
    let simulation = study("leveled", 20_000);
    let worst = (0..20_000).map(|key| simulation.get(key).1).max();
    assert!(worst <= Some(3), "{worst:?} runs");
}

/// What a tree of uniform writes comes to when compaction cannot keep up.
struct Pressed {
    write_amplification: f64,
    /// What compaction read while writers stood still, for each byte flushed.
    stopped: f64,
}

/// 600 memtables into a tree that reads at most `pace` bytes for each byte flushed, one job at a time; writers stop where
/// the layout says so.
fn press(name: &str, pace: f64) -> Pressed {
    let shape = Shape {
        buffer_bytes: 200 * ENTRY_BYTES,
        table_bytes_target: 400 * ENTRY_BYTES,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(strategy(name, &shape).unwrap(), &shape, ENTRY_BYTES);
    let mut random = Random(5);
    let (mut credit, mut stopped) = (0.0, 0.0);
    for _ in 0..600 {
        let writes: Vec<_> = (0..200).map(|_| (random.below(DISTINCT), false)).collect();
        simulation.flush(&writes);
        credit += shape.buffer_bytes as f64 * pace;
        while simulation.start(1) > 0 || !simulation.running().is_empty() {
            let (job, busy) = simulation.busy.jobs().next().unwrap();
            let inputs = located_of(&simulation.levels, &busy.plan.inputs);
            let bytes: u64 = inputs.iter().map(|found| found.table.bytes).sum();
            let cost = if busy.plan.kind == PlanKind::Move { 0.0 } else { bytes as f64 };
            if credit < cost && simulation.debt().brake < 1.0 {
                break;
            }
            stopped += (cost - credit).max(0.0);
            credit = (credit - cost).max(0.0);
            simulation.finish(job).unwrap();
        }
        if simulation.running().is_empty() {
            credit = 0.0;
        }
    }
    let flushed = simulation.totals().flushed_bytes as f64;
    Pressed {
        write_amplification: simulation.totals().write_amplification(),
        stopped: stopped / flushed,
    }
}

#[test]
fn a_level_that_is_behind_gets_room_before_it_gets_more() {
    // With level 0 first, whatever waited below, these were 10.7 and 5.8 for leveled, 33 and 28 for lo1; measured now: 6.6
    // and 1.6, 7.3 and 2.3.
    for name in ["leveled", "lo1"] {
        let pressed = press(name, 4.0);
        assert!(pressed.write_amplification < 9.0, "{name}: {}", pressed.write_amplification);
        assert!(pressed.stopped < 3.0, "{name}: {}", pressed.stopped);
    }
}

#[test]
fn what_cursors_seek_in_goes_down_once_that_cost_as_much_and_not_before() {
    let shape = Shape {
        buffer_bytes: 500 * ENTRY_BYTES,
        table_bytes_target: 500 * ENTRY_BYTES,
        seek_bytes: ENTRY_BYTES,
        ..Shape::default()
    };
    for (seek_bytes, is_due) in [(ENTRY_BYTES, true), (0, false)] {
        let shape = Shape { seek_bytes, ..shape };
        let mut simulation =
            Simulation::new(strategy("leveled", &shape).unwrap(), &shape, ENTRY_BYTES);
        for flush in 0..2 {
            let writes: Vec<_> = (0..500).map(|n| (2 * n + flush, false)).collect();
            simulation.flush(&writes);
        }
        let seek = |simulation: &Simulation, seeks: u64| {
            let run = simulation.levels()[0].runs.first().unwrap();
            run.tables[0].seeks_sampled.add(seeks);
        };
        // Two runs of 500 entries: a thousand seeks cost as much as merging them.
        seek(&simulation, 999);
        assert_eq!(simulation.settle(10), Some(0), "two runs are fewer than level 0 may hold");
        seek(&simulation, 1);
        assert_eq!(simulation.settle(10), Some(usize::from(is_due)));
        assert_eq!(simulation.levels()[0].runs.is_empty(), is_due);
    }
}

#[test]
fn below_level_0_only_the_tables_that_are_sought_go_down() {
    let shape = Shape {
        buffer_bytes: 500 * ENTRY_BYTES,
        table_bytes_target: 100 * ENTRY_BYTES,
        l0_runs_trigger: 2,
        seek_bytes: ENTRY_BYTES,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(strategy("leveled", &shape).unwrap(), &shape, ENTRY_BYTES);
    for flush in 0..24 {
        let writes: Vec<_> = (0..500).map(|n| (24 * n + flush, false)).collect();
        simulation.flush(&writes);
        assert!(simulation.settle(1_000).is_some());
    }
    let last = shape.levels_max - 1;
    let is_deep = |level: &usize| !simulation.levels()[*level].runs.is_empty();
    let upper = (1..last).find(is_deep).expect("the last level does not hold everything");
    let tables = simulation.levels()[upper].runs[0].tables.clone();
    tables[1].seeks_sampled.add(1_000);
    assert!(simulation.settle(1_000).is_some());
    let left: Vec<_> = simulation.levels()[upper].tables().map(|table| table.id).collect();
    let expected: Vec<_> =
        tables.iter().map(|table| table.id).filter(|id| *id != tables[1].id).collect();
    assert_eq!(left, expected);
}
