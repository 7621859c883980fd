//! Each rule by itself, and random plans: whatever the validator lets through does no harm.

use super::*;
use crate::conformance::Random;
use crate::simulate::Simulation;
use crate::{Busy, CutRule, JobId, Place, RunView, Shape, Strategy, TableId, strategies};
use nori_kv::{KeyRange, Tick};

fn table(id: u64, min: &str, max: &str) -> Arc<TableStats> {
    let keys = KeySpan::closed(min.as_bytes(), max.as_bytes());
    Arc::new(TableStats::new(TableId(id), keys, 100, 10))
}

fn run(id: u64, tables: &[Arc<TableStats>]) -> RunView {
    RunView { id: RunId(id), tables: tables.to_vec() }
}

/// Level 0: runs 1 (newest; table 1) and 2 (table 2). Level 1: run 3 (tables 3, 4, 5).
/// Level 2: run 6 (table 6).
fn tree() -> Vec<LevelView> {
    let level = |runs| LevelView { runs };
    vec![
        level(vec![run(1, &[table(1, "a", "m")]), run(2, &[table(2, "c", "f")])]),
        level(vec![run(3, &[table(3, "a", "d"), table(4, "g", "k"), table(5, "p", "z")])]),
        level(vec![run(6, &[table(6, "b", "q")])]),
    ]
}

fn plan(inputs: &[u64], level: usize, run: RunPlace, kind: PlanKind) -> Plan {
    let inputs = inputs.iter().map(|id| TableId(*id)).collect();
    let out = Place { level, run };
    Plan { inputs, range: None, out, kind, cuts: CutRule::default(), why: Reason::Recovery }
}

const RUN_3: RunPlace = RunPlace::Into(RunId(3));
const RUN_6: RunPlace = RunPlace::Into(RunId(6));

fn ask(levels: &[LevelView], busy: &Busy, plan: &Plan) -> Result<(), Refusal> {
    let (now, snapshots) = (Tick(0), &[SeqNo::MAX][..]);
    validate(&TreeView { levels, busy, now, snapshots, disk_free: Some(450) }, plan)
}

fn refusal(plan: &Plan) -> Option<Refusal> {
    ask(&tree(), &Busy::default(), plan).err()
}

#[test]
fn inputs_must_be_there_once_and_idle() {
    use PlanKind::Merge;
    assert_eq!(refusal(&plan(&[], 1, RUN_3, Merge)), Some(Refusal::NoInputs));
    assert_eq!(refusal(&plan(&[9], 1, RUN_3, Merge)), Some(Refusal::UnknownTable(TableId(9))));
    assert_eq!(refusal(&plan(&[5, 5], 2, RUN_6, Merge)), Some(Refusal::RepeatedTable(TableId(5))));
    assert_eq!(refusal(&plan(&[5], 3, RUN_6, Merge)), Some(Refusal::UnknownLevel(3)));
    assert_eq!(refusal(&plan(&[5], 2, RUN_3, Merge)), Some(Refusal::UnknownRun));
    assert_eq!(refusal(&plan(&[6], 1, RUN_3, Merge)), Some(Refusal::GoesUp(TableId(6))));
    let mut busy = Busy::default();
    busy.begin(JobId(1), &plan(&[5, 6], 2, RUN_6, Merge), &tree());
    let taken = ask(&tree(), &busy, &plan(&[5], 2, RUN_6, PlanKind::Move));
    assert_eq!(taken, Err(Refusal::BusyTable(TableId(5))));
    let outside = Plan { range: Some(KeyRange::from(b"q")), ..plan(&[5, 6], 2, RUN_6, Merge) };
    assert_eq!(refusal(&outside), Some(Refusal::OutsideRange(TableId(5))));
}

#[test]
fn what_is_older_stays_behind_what_is_newer() {
    use PlanKind::{Merge, Move};
    // The newest run would sink below an older one of level 0.
    let sinks = Refusal::OlderFirst { newer: TableId(1), older: TableId(2) };
    assert_eq!(refusal(&plan(&[1, 3, 4], 1, RUN_3, Merge)), Some(sinks));
    assert_eq!(refusal(&plan(&[1, 2, 3, 4], 1, RUN_3, Merge)), None);
    // Table 2 overlaps table 3 of the run it would join.
    assert_eq!(refusal(&plan(&[2], 1, RUN_3, Move)), Some(Refusal::OverlapInRun(TableId(3))));
    // A new run in front of run 3 is in the right order; one level further down is not.
    assert_eq!(refusal(&plan(&[2], 1, RunPlace::New, Move)), None);
    let jumps = refusal(&plan(&[2], 2, RunPlace::New, Move));
    assert_eq!(jumps, Some(Refusal::OlderFirst { newer: TableId(2), older: TableId(3) }));
}

#[test]
fn merged_outputs_may_fill_the_gaps_between_inputs() {
    // The hull of 3 and 5 covers 4, which would stay in the same run.
    let over_four = plan(&[1, 2, 3, 5], 1, RUN_3, PlanKind::Merge);
    assert_eq!(refusal(&over_four), Some(Refusal::OverlapInRun(TableId(4))));
}

#[test]
fn two_jobs_do_not_write_to_the_same_keys() {
    let mut busy = Busy::default();
    busy.begin(JobId(1), &plan(&[4, 6], 2, RUN_6, PlanKind::Merge), &tree());
    let mut levels = tree();
    let late = ask(&levels, &busy, &plan(&[3], 2, RunPlace::New, PlanKind::Move));
    assert_eq!(late, Err(Refusal::BusyOutput(2)));
    levels[1].runs[0].tables.push(table(7, "zz", "zzz"));
    assert_eq!(ask(&levels, &busy, &plan(&[7], 2, RUN_6, PlanKind::Move)), Ok(()));
}

#[test]
fn only_the_oldest_can_expire() {
    let expired = PlanKind::Drop(DropWhy::Expired);
    assert_eq!(refusal(&plan(&[6], 2, RUN_6, expired)), None);
    assert_eq!(refusal(&plan(&[5], 2, RUN_6, expired)), Some(Refusal::NotExpired(TableId(5))));
    let half_a_run = plan(&[6, 3], 2, RUN_6, expired);
    assert_eq!(refusal(&half_a_run), Some(Refusal::NotExpired(TableId(3))));
}

#[test]
fn only_what_a_visible_range_tombstone_can_cover_is_dropped() {
    let covered = plan(&[3], 1, RUN_3, PlanKind::Drop(DropWhy::Covered));
    assert_eq!(refusal(&covered), Some(Refusal::NotCovered(TableId(3))));
    let mut levels = tree();
    let mut with_tombstone = TableStats::clone(&levels[0].runs[0].tables[0]);
    with_tombstone.range_tombstones = 1;
    with_tombstone.seqno_min = SeqNo::ZERO.plus(50);
    with_tombstone.seqno_max = SeqNo::ZERO.plus(60);
    levels[0].runs[0].tables[0] = Arc::new(with_tombstone);
    assert_eq!(ask(&levels, &Busy::default(), &covered), Ok(()));
    let (busy, now) = (Busy::default(), Tick(0));
    let snapshots = &[SeqNo::ZERO.plus(49), SeqNo::ZERO.plus(60)][..];
    let view = TreeView { levels: &levels, busy: &busy, now, snapshots, disk_free: None };
    assert_eq!(validate(&view, &covered), Err(Refusal::NotCovered(TableId(3))));
}

#[test]
fn a_plan_changes_something() {
    let in_place = plan(&[5], 1, RUN_3, PlanKind::Merge);
    assert_eq!(refusal(&in_place), Some(Refusal::NoProgress));
    assert_eq!(refusal(&plan(&[5], 1, RUN_3, PlanKind::Move)), Some(Refusal::NoProgress));
    assert_eq!(refusal(&plan(&[5], 1, RUN_3, PlanKind::Rewrite)), Some(Refusal::NoProgress));
}

#[test]
fn a_merge_within_a_run_makes_fewer_tables_of_it() {
    let in_place = |inputs: &[u64], target: u64, before: &[&str]| {
        let before = before.iter().map(|key| Arc::from(key.as_bytes())).collect();
        let cuts = CutRule { table_bytes_target: target, before };
        refusal(&Plan { cuts, ..plan(inputs, 1, RUN_3, PlanKind::Merge) })
    };
    assert_eq!(in_place(&[3, 4, 5], 301, &[]), None);
    assert_eq!(in_place(&[3, 4, 5], 300, &[]), None, "one full and a rest");
    assert_eq!(in_place(&[3, 4, 5], 150, &[]), Some(Refusal::NoProgress));
    assert_eq!(in_place(&[3, 4, 5], 0, &["h"]), None);
    assert_eq!(in_place(&[3, 4, 5], 0, &["h", "r"]), Some(Refusal::NoProgress));
    assert_eq!(in_place(&[3, 5], 0, &[]), Some(Refusal::OverlapInRun(TableId(4))));
}

#[test]
fn a_tombstone_that_a_snapshot_pins_is_not_rewritten() {
    let mut levels = tree();
    let mut pinned = TableStats::clone(&levels[2].runs[0].tables[0]);
    (pinned.tombstones, pinned.seqno_min) = (3, SeqNo::ZERO.plus(70));
    levels[2].runs[0].tables[0] = Arc::new(pinned);
    let (busy, now) = (Busy::default(), Tick(0));
    let rewrite = plan(&[6], 2, RUN_6, PlanKind::Rewrite);
    for (oldest, expected) in [(69, Err(Refusal::NoProgress)), (70, Ok(()))] {
        let snapshots = &[SeqNo::ZERO.plus(oldest)][..];
        let view = TreeView { levels: &levels, busy: &busy, now, snapshots, disk_free: None };
        assert_eq!(validate(&view, &rewrite), expected);
    }
}

#[test]
fn a_merge_must_fit_on_the_disk() {
    let large = plan(&[1, 2, 3, 4, 6], 2, RUN_6, PlanKind::Merge);
    let refused = refusal(&large);
    assert_eq!(refused, Some(Refusal::NoRoom { needed_bytes: 500, free_bytes: 450 }));
}

#[test]
fn outputs_must_fit_the_plan() {
    let levels = tree();
    let (busy, now, snapshots) = (Busy::default(), Tick(0), &[SeqNo::MAX][..]);
    let view = TreeView { levels: &levels, busy: &busy, now, snapshots, disk_free: None };
    let merge = plan(&[5, 6], 2, RUN_6, PlanKind::Merge);
    let install = |outputs: &[Arc<TableStats>]| validate_install(&view, &merge, outputs);
    assert_eq!(install(&[table(8, "b", "k"), table(9, "l", "z")]), Ok(()));
    assert_eq!(install(&[]), Ok(()), "everything may have been dead");
    assert!(install(&[table(8, "b", "k"), table(9, "k", "z")]).is_err(), "a key in two tables");
    assert!(install(&[table(8, "a", "k")]).is_err(), "a key that no input held");
    let mut newer = TableStats::clone(&table(8, "b", "k"));
    newer.seqno_max = SeqNo::MAX;
    assert!(install(&[Arc::new(newer)]).is_err(), "newer than the inputs");
    let moved = plan(&[5], 2, RunPlace::New, PlanKind::Move);
    assert!(validate_install(&view, &moved, &[table(8, "p", "z")]).is_err());
}

#[test]
fn older_versions_are_known_wherever_they_are() {
    let levels = tree();
    let (busy, now, snapshots) = (Busy::default(), Tick(0), &[SeqNo::MAX][..]);
    let view = TreeView { levels: &levels, busy: &busy, now, snapshots, disk_free: None };
    let spans = |inputs: &[u64]| {
        let spans = older_beneath(&view, &plan(inputs, 1, RUN_3, PlanKind::Merge));
        spans.iter().map(|span| span.min.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(spans(&[1, 2, 3, 4]), [b"b".to_vec()]);
    assert_eq!(spans(&[5, 6]), Vec::<Vec<u8>>::new());
    assert_eq!(spans(&[2]), [b"a".to_vec(), b"b".to_vec()]);
}

/// A strategy that plans nothing: the test plans.
struct Idle;

impl Strategy for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn plan(&mut self, _view: &TreeView<'_>, _plans_max: usize) -> Vec<Plan> {
        Vec::new()
    }

    fn debt(&self, _view: &TreeView<'_>) -> crate::Debt {
        crate::Debt::default()
    }

    fn plan_manual(&mut self, _view: &TreeView<'_>, _range: &KeyRange) -> Option<Plan> {
        None
    }
}

fn random_plan(random: &mut Random, simulation: &Simulation) -> Plan {
    let levels = simulation.levels();
    let share = 1 + random.below(4);
    let inputs: Vec<u64> = located(levels)
        .filter(|_| random.below(share) == 0)
        .map(|found| found.table.id.0)
        .collect();
    let level = random.below(levels.len() as u64) as usize;
    let runs = &levels[level].runs;
    let at = random.below(runs.len() as u64 + 1) as usize;
    let place = runs.get(at).map_or(RunPlace::New, |run| RunPlace::Into(run.id));
    let kind = match random.below(4) {
        0 => PlanKind::Move,
        1 => PlanKind::Rewrite,
        _ => PlanKind::Merge,
    };
    let cuts = CutRule { table_bytes_target: 1 + random.below(20) * 10, before: Vec::new() };
    Plan { cuts, why: Reason::Manual, ..plan(&inputs, level, place, kind) }
}

#[test]
fn random_plans_that_pass_do_no_harm() {
    let shape = Shape { levels_max: 4, ..Shape::default() };
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..100 {
        let mut random = Random(seed);
        let mut simulation = Simulation::new(Box::new(Idle), &shape, 10);
        for step in 0..300 {
            let running = simulation.running();
            match random.below(8) {
                0 | 1 => {
                    let first = random.below(40);
                    let writes: Vec<_> = (0..1 + random.below(6))
                        .map(|n| ((first + n * n) % 40, random.below(4) == 0))
                        .collect();
                    simulation.flush(&writes);
                }
                2 if !running.is_empty() => {
                    let job = running[random.below(running.len() as u64) as usize];
                    let _may_be_refused_at_install = simulation.finish(job);
                    let check = simulation.check();
                    assert!(check.is_ok(), "seed {seed}, step {step}: {check:?}");
                }
                3 if random.below(4) == 0 => simulation.hold_snapshot(),
                3 if random.below(4) == 0 => simulation.release_snapshots(),
                _ => {
                    let plan = random_plan(&mut random, &simulation);
                    match simulation.begin(&plan) {
                        Ok(_) => accepted += 1,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn changing_the_strategy_of_a_tree_does_no_harm() {
    let shape =
        Shape { buffer_bytes: 200, table_bytes_target: 100, size_ratio: 3, ..Shape::default() };
    let mut random = Random(5);
    let mut simulation = Simulation::new(Box::new(Idle), &shape, 10);
    for round in 0..40 {
        let entries = strategies();
        simulation.replace_strategy((entries[round % entries.len()].make)(&shape));
        for _ in 0..10 {
            let writes: Vec<_> = (0..20).map(|_| (random.below(2_000), false)).collect();
            simulation.flush(&writes);
        }
        assert!(simulation.settle(5_000).is_some(), "round {round}");
        assert_eq!(simulation.check(), Ok(()), "round {round}");
    }
    assert_eq!(simulation.totals().refused, 0);
}
