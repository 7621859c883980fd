//! Streams repeat, respect acknowledgements, and keep to their mix.

use super::*;
use crate::{Overrides, built_in};
use std::collections::HashSet;

fn workload(name: &str, records: u64, ops: u64, threads: u32) -> Workload {
    let overrides = Overrides {
        records: Some(records),
        ops: Some(ops),
        threads: Some(threads),
        ..Overrides::default()
    };
    built_in(name).unwrap().workload().unwrap().with(&overrides).unwrap()
}

fn run_stream(w: &Workload, seed: u64, client: u32, ledger: &Arc<Ledger>) -> OpStream {
    OpStream::new(w, 1, StreamId { seed, phase: 1, client }, Arc::clone(ledger))
}

fn all_ops(w: &Workload, seed: u64) -> Vec<Op> {
    let ledger = Arc::new(Ledger::new(w.keys.records, 1));
    let mut stream = run_stream(w, seed, 0, &ledger);
    std::iter::from_fn(|| {
        let op = stream.next_op()?;
        stream.acknowledge(&op);
        Some(op)
    })
    .collect()
}

#[test]
fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
    for name in ["ycsb-a", "ycsb-d", "ycsb-e", "ycsb-f"] {
        let w = workload(name, 1_000, 5_000, 1);
        assert_eq!(all_ops(&w, 42), all_ops(&w, 42));
        assert_ne!(all_ops(&w, 42), all_ops(&w, 43));
    }
}

#[test]
fn a_load_inserts_every_record_once_whatever_the_number_of_clients() {
    for clients in [1, 3, 7] {
        let w = workload("ycsb-a", 1_000, 1, clients);
        let ledger = Arc::new(Ledger::new(0, clients));
        let mut seen = HashSet::new();
        for client in 0..clients {
            let id = StreamId { seed: 1, phase: 0, client };
            let mut stream = OpStream::new(&w, 0, id, Arc::clone(&ledger));
            while let Some(op) = stream.next_op() {
                assert_eq!(op.kind, OpKind::Insert);
                assert!(seen.insert(op.key), "key {} twice", op.key);
                stream.acknowledge(&op);
            }
        }
        assert_eq!(seen, (0..1_000).collect());
        assert_eq!(ledger.settled(), 1_000);
    }
}

#[test]
fn no_operation_names_a_key_before_its_insert_is_acknowledged() {
    for name in ["ycsb-d", "ycsb-e"] {
        let w = workload(name, 50, 20_000, 2);
        let ledger = Arc::new(Ledger::new(50, 2));
        let mut exists: HashSet<u64> = (0..50).collect();
        let mut streams = [run_stream(&w, 3, 0, &ledger), run_stream(&w, 3, 1, &ledger)];
        // Client 1 runs behind and now and then: its gaps must hold back `latest`.
        for step in 0..20_000 {
            let stream = &mut streams[usize::from(step % 5 == 0)];
            let Some(op) = stream.next_op() else { break };
            if op.kind == OpKind::Insert {
                assert!(exists.insert(op.key), "{name}: key {} inserted twice", op.key);
                stream.acknowledge(&op);
            } else {
                assert!(exists.contains(&op.key), "{name}: key {} does not exist", op.key);
            }
        }
        assert!(exists.len() > 500, "{name}: the test saw {} inserts", exists.len() - 50);
    }
}

#[test]
fn another_interleaving_changes_picks_only() {
    let w = workload("ycsb-d", 100, 4_000, 2);
    let run = |turns: [usize; 3]| {
        let ledger = Arc::new(Ledger::new(100, 2));
        let mut streams = [run_stream(&w, 9, 0, &ledger), run_stream(&w, 9, 1, &ledger)];
        let mut ops = [Vec::new(), Vec::new()];
        for turn in turns.iter().cycle().take(3_000) {
            let Some(op) = streams[*turn].next_op() else { continue };
            streams[*turn].acknowledge(&op);
            ops[*turn].push(op);
        }
        ops
    };
    let (one, two) = (run([0, 1, 0]), run([1, 0, 1]));
    let mut picks_differ = false;
    for (a, b) in one.iter().flatten().zip(two.iter().flatten()).take(900) {
        assert_eq!((a.kind, a.version, a.check), (b.kind, b.version, b.check));
        if a.kind == OpKind::Insert {
            assert_eq!(a.key, b.key);
        }
        picks_differ |= a.key != b.key;
    }
    assert!(picks_differ, "the test shows nothing");
}

#[test]
fn kinds_and_lengths_keep_to_the_mix() {
    let w = workload("ycsb-e", 1_000, 100_000, 1);
    let ops = all_ops(&w, 5);
    let scans = ops.iter().filter(|op| op.kind == OpKind::Scan).count() as f64;
    let sigma = (100_000.0 * 0.95 * 0.05_f64).sqrt();
    assert!((scans - 95_000.0).abs() < 4.0 * sigma, "{scans} scans");
    let lengths: Vec<u32> =
        ops.iter().filter(|op| op.kind == OpKind::Scan).map(|op| op.scan_length).collect();
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&1), Some(&100)));
    let mean = lengths.iter().map(|n| f64::from(*n)).sum::<f64>() / scans;
    assert!((mean - 50.5).abs() < 4.0 * 28.9 / scans.sqrt(), "mean length {mean}");
}

#[test]
fn one_read_in_so_many_is_checked() {
    let mut w = workload("ycsb-a", 1_000, 10_000, 1);
    w.values.check_every = 100;
    let ops = all_ops(&w, 5);
    let reads = ops.iter().filter(|op| op.kind == OpKind::Read).count();
    let checked = ops.iter().filter(|op| op.check).count();
    assert_eq!(checked, reads / 100);
}

#[test]
fn operations_are_shared_out_to_the_last_one() {
    let w = workload("ycsb-c", 100, 1_001, 4);
    let ledger = Arc::new(Ledger::new(100, 4));
    let total: usize = (0..4)
        .map(|client| {
            let mut stream = run_stream(&w, 1, client, &ledger);
            std::iter::from_fn(|| stream.next_op()).count()
        })
        .sum();
    assert_eq!(total, 1_001);
}
