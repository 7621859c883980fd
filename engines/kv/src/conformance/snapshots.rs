//! Snapshots: the store as it was, in every call, for as long as the reader lives.

use super::Law;
use super::bench::{Bench, holds, ok, rows, same};
use crate::{Feature, KeyRange, ReadOptions};

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a snapshot sees what was written before it and nothing after",
        needs: &[Feature::Snapshots],
        check: fixed,
    },
    Law {
        name: "a snapshot of an empty store stays empty",
        needs: &[Feature::Snapshots],
        check: empty,
    },
    Law { name: "snapshots stand side by side", needs: &[Feature::Snapshots], check: side_by_side },
    Law {
        name: "a snapshot outlives flushes and compactions",
        needs: &[Feature::Snapshots, Feature::Flush],
        check: flushed,
    },
    Law {
        name: "a snapshot outlives the engine's handle",
        needs: &[Feature::Snapshots],
        check: outlives,
    },
];

fn fixed(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"changed", b"1");
    bench.put(&*engine, b"deleted", b"1");
    bench.delete(&*engine, b"returns");
    let snapshot = ok("snapshot", engine.snapshot());
    bench.put(&*engine, b"changed", b"2");
    bench.delete(&*engine, b"deleted");
    bench.put(&*engine, b"returns", b"2");
    for _ in 0..2 {
        holds(&*snapshot, b"changed", Some(b"1"));
        holds(&*snapshot, b"deleted", Some(b"1"));
        holds(&*snapshot, b"returns", None);
        let expected = [(b"changed".to_vec(), b"1".to_vec()), (b"deleted".to_vec(), b"1".to_vec())];
        same("rows of a snapshot", &rows(&*snapshot, &KeyRange::all()), &expected);
    }
    if bench.capabilities().has(Feature::ReadMany) {
        let mut seen = Vec::new();
        let read = snapshot.read_many(
            &[b"changed", b"returns"],
            &ReadOptions::default(),
            &mut |n, row| {
                seen.push((n, row.map(|row| row.value.to_vec())));
            },
        );
        ok("read_many", read);
        seen.sort();
        assert_eq!(seen, [(0, Some(b"1".to_vec())), (1, None)]);
    }
    holds(&*engine, b"changed", Some(b"2"));
    drop(snapshot);
    holds(&*engine, b"returns", Some(b"2"));
}

fn empty(bench: &Bench<'_>) {
    let engine = bench.open();
    let snapshot = ok("snapshot", engine.snapshot());
    bench.put(&*engine, b"a", b"1");
    holds(&*snapshot, b"a", None);
    assert!(rows(&*snapshot, &KeyRange::all()).is_empty());
}

fn side_by_side(bench: &Bench<'_>) {
    let engine = bench.open();
    let mut snapshots = Vec::new();
    for round in 0..20_u8 {
        bench.put(&*engine, b"k", &[round]);
        bench.put(&*engine, &[b'n', round], b"1");
        snapshots.push(ok("snapshot", engine.snapshot()));
    }
    for (round, snapshot) in (0..).zip(&snapshots) {
        holds(&**snapshot, b"k", Some(&[round]));
        assert_eq!(rows(&**snapshot, &KeyRange::prefix(b"n")).len(), usize::from(round) + 1);
    }
    // They may be dropped in any order.
    for (n, snapshot) in snapshots.into_iter().enumerate().rev().filter(|(n, _)| n % 2 == 0) {
        holds(&*snapshot, b"k", Some(&[n as u8]));
    }
}

fn flushed(bench: &Bench<'_>) {
    let engine = bench.open();
    let maintain = engine.maintain().expect("an engine that flushes has the operator's calls");
    let key = |n: u32| format!("{n:05}").into_bytes();
    for n in 0..500 {
        bench.put(&*engine, &key(n), b"1");
    }
    let snapshot = ok("snapshot", engine.snapshot());
    for round in [b"2", b"3"] {
        for n in (0..500).step_by(2) {
            bench.put(&*engine, &key(n), round);
        }
        for n in (1..500).step_by(2) {
            bench.delete(&*engine, &key(n));
        }
        ok("flush", maintain.flush());
    }
    if bench.capabilities().has(Feature::Compact) {
        ok("compact", maintain.compact(&KeyRange::all()));
    }
    let expected: Vec<_> = (0..500).map(|n| (key(n), b"1".to_vec())).collect();
    same("rows of the snapshot", &rows(&*snapshot, &KeyRange::all()), &expected);
    holds(&*snapshot, &key(7), Some(b"1"));
    drop(snapshot);
    assert_eq!(rows(&*engine, &KeyRange::all()).len(), 250);
}

fn outlives(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"1");
    let snapshot = ok("snapshot", engine.snapshot());
    drop(engine);
    holds(&*snapshot, b"a", Some(b"1"));
}
