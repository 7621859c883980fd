//! Which neighbours are gathered, and what that costs whatever the sizes.

use super::*;
use crate::conformance::Random;
use crate::{Busy, CutRule, JobId, KeySpan, LevelView, Plan, PlanKind, RunId, RunView, TableId};
use nori_kv::Tick;

const TARGET: u64 = 8_000;
const SMALL: SmallTables = SmallTables { table_bytes_target: TARGET };

/// A level of one run whose tables have these sizes and are named from 0.
fn level(sizes: &[u64]) -> LevelView {
    let table = |(n, bytes): (usize, &u64)| {
        let key = (n as u64).to_be_bytes();
        Arc::new(TableStats::new(TableId(n as u64), KeySpan::closed(key, key), *bytes, 1))
    };
    let tables = sizes.iter().enumerate().map(table).collect();
    LevelView { runs: vec![RunView { id: RunId(1), tables }] }
}

fn due_beside(sizes: &[u64], busy: &Busy) -> Vec<Vec<u64>> {
    let levels = [level(sizes)];
    let view = TreeView { levels: &levels, busy, now: Tick(0), snapshots: &[], disk_free: None };
    let ids = |group: &Tables| group.iter().map(|table| table.id.0).collect();
    SMALL.due(&view, 0).into_iter().map(ids).collect()
}

fn due(sizes: &[u64]) -> Vec<Vec<u64>> {
    due_beside(sizes, &Busy::default())
}

#[test]
fn neighbours_of_like_size_are_gathered_and_three_are_not_enough() {
    assert_eq!(due(&[9, 9, 9]), Vec::<Vec<u64>>::new());
    assert_eq!(due(&[9, 9, 9, 9]), [[0, 1, 2, 3]]);
    // All at once where the largest has a quarter of all; else what is beside it.
    assert_eq!(due(&[16, 16, 16, 4, 4, 4, 1, 1, 1, 1]), [(0..10).collect::<Vec<_>>()]);
    assert_eq!(due(&[16, 16, 4, 4, 4, 1, 1, 1, 1]), [(2..9).collect::<Vec<_>>()]);
    assert_eq!(due(&[1, 1, 1, 1, 64, 2, 2, 2, 2]), [[0, 1, 2, 3], [5, 6, 7, 8]]);
}

#[test]
fn tables_that_are_not_small_or_not_idle_part_the_others() {
    let eighth = TARGET / 8;
    assert_eq!(due(&[eighth; 8]), Vec::<Vec<u64>>::new());
    assert_eq!(due(&[1, 1, eighth, 1, 1, 1, 1]), [[3, 4, 5, 6]]);
    let mut busy = Busy::default();
    let plan = Plan {
        inputs: vec![TableId(2)],
        range: None,
        out: Place { level: 0, run: RunPlace::New },
        kind: PlanKind::Merge,
        cuts: CutRule::default(),
        why: Reason::Manual,
    };
    let sizes = [1; 7];
    busy.begin(JobId(1), &plan, &[level(&sizes)]);
    assert_eq!(due_beside(&sizes, &busy), [[3, 4, 5, 6]]);
}

#[test]
fn no_more_is_gathered_than_makes_one_table() {
    let sizes = [TARGET / 10; 25];
    assert_eq!(due(&sizes), [(0..10).collect::<Vec<_>>()]);
}

#[test]
fn few_tables_stay_and_a_byte_is_rewritten_a_few_times_whatever_the_sizes() {
    for seed in 0..36 {
        let mut random = Random(seed);
        let (mut sizes, mut came, mut written) = (Vec::<u64>::new(), 0, 0);
        for _ in 0..1_000 {
            // At either end or anywhere, of one size or of any.
            let at = match seed % 3 {
                0 => sizes.len(),
                1 => 0,
                _ => random.below(sizes.len() as u64 + 1) as usize,
            };
            let bytes_max = if seed % 2 == 0 { 1 } else { 1 << random.below(13) };
            let bytes = 1 + random.below(bytes_max);
            sizes.insert(at, bytes);
            came += bytes;
            while let Some(group) = due(&sizes).first() {
                let (first, count) = (group[0] as usize, group.len());
                let merged: u64 = sizes.drain(first..first + count).sum();
                assert!(count >= 4 && merged <= TARGET, "seed {seed}");
                sizes.insert(first, merged);
                written += merged;
            }
        }
        let large = sizes.iter().filter(|bytes| **bytes >= TARGET / 8).count();
        assert!(large as u64 <= came / (TARGET / 8), "seed {seed}");
        let stay_max = if seed % 2 == 0 && seed % 3 < 2 {
            3 * (1 + came.ilog(4) as usize)
        } else {
            let groups = large + 1;
            let one = 2.0 * (came as f64 / groups as f64).powf(0.71);
            large + groups * one as usize
        };
        assert!(sizes.len() <= stay_max, "seed {seed}: {} tables", sizes.len());
        let rewrites_max = u64::from(TARGET.ilog(4)) + 1;
        assert!(written <= came * rewrites_max, "seed {seed}: {written} of {came}");
    }
}
