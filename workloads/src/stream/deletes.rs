//! Streams that delete: what is picked exists, what is gone stays gone, and clients keep apart.

use super::*;
use std::collections::{BTreeSet, VecDeque};

/// A phase with this mix and these lines, over 1,000 ordered keys.
fn workload(mix: &str, pick: &str, more: &str, threads: u32) -> Workload {
    let text = format!(
        "schema = \"norikv.workload/1\"\nname = \"t\"\n\
         [keys]\nrecords = 1000\norder = \"ordered\"\nformat = {{ kind = \"be64\" }}\n\
         [values]\nrecord = \"blob\"\nsize = {{ dist = \"constant\", bytes = 10 }}\ncheck_every = 1\n\
         [[phase]]\nkind = \"load\"\nload = {{ model = \"closed\", threads = 1 }}\n\
         [[phase]]\nkind = \"run\"\nops = 20000\nmix = {{ {mix} }}\npick = {{ dist = \"{pick}\" }}\n{more}\n\
         load = {{ model = \"closed\", threads = {threads} }}\n"
    );
    Workload::parse("t.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn streams(w: &Workload, threads: u32) -> (Arc<Ledger>, Vec<OpStream>) {
    let ledger = Arc::new(Ledger::new(w.keys.records, threads));
    let stream =
        |client| OpStream::new(w, 1, StreamId { seed: 5, phase: 1, client }, Arc::clone(&ledger));
    let streams = (0..threads).map(stream).collect();
    (ledger, streams)
}

/// Carries the streams out on a set of key numbers; what each did.
fn carry_out(w: &Workload, threads: u32, turns: &[usize]) -> (Vec<Vec<Op>>, BTreeSet<u64>) {
    let (ledger, mut streams) = streams(w, threads);
    let mut exists: BTreeSet<u64> = (0..w.keys.records).collect();
    let mut done = vec![Vec::new(); threads as usize];
    for turn in turns.iter().cycle().take(20_000) {
        let Some(op) = streams[*turn].next_op() else { break };
        let before = exists.len();
        match op.kind {
            OpKind::Insert => assert!(exists.insert(op.key), "{op:?} exists"),
            OpKind::ReadAbsent => assert!(!exists.contains(&op.key), "{op:?} exists"),
            OpKind::DeleteBlind => {
                exists.remove(&op.key);
            }
            OpKind::Batch => {
                let batch = streams[*turn].batch();
                assert!(batch.iter().all(|key| exists.contains(key)), "{batch:?}");
            }
            _ => assert!(exists.contains(&op.key), "{op:?} does not exist"),
        }
        if op.kind == OpKind::Delete {
            exists.remove(&op.key);
        } else if op.kind == OpKind::DeleteRange {
            (op.key..op.key + u64::from(op.range_length)).for_each(|key| {
                exists.remove(&key);
            });
        }
        let gone = streams[*turn].acknowledge(&op);
        assert_eq!(gone, before.saturating_sub(exists.len()) as u64, "{op:?}");
        assert!(!exists.contains(&op.key) || ledger.exists(op.key), "{op:?}");
        done[*turn].push(op);
    }
    (done, exists)
}

const CHURN: &str = "read = 0.1, read_absent = 0.1, insert = 0.3, delete = 0.2, delete_blind = 0.1, \
                     update = 0.1, scan = 0.05, batch = 0.05";
const LENGTHS: &str = "scan_length = { min = 1, max = 5 }\nbatch_size = 4";

#[test]
fn every_pick_exists_and_every_absent_key_does_not_whatever_the_distribution_and_the_clients() {
    for pick in ["uniform", "zipfian", "ycsb_zipfian", "latest", "hotspot", "exponential"] {
        for threads in [1, 3] {
            let w = workload(CHURN, pick, LENGTHS, threads);
            let (done, _) = carry_out(&w, threads, &(0..threads as usize).collect::<Vec<_>>());
            let deletes = done.iter().flatten().filter(|op| op.kind == OpKind::Delete).count();
            assert!(deletes > 2_000, "{pick}, {threads} clients: {deletes} deletes");
        }
    }
}

#[test]
fn what_a_client_of_a_phase_with_deletes_does_depends_on_no_other_client() {
    for pick in ["uniform", "latest", "zipfian", "exponential"] {
        let w = workload(CHURN, pick, LENGTHS, 2);
        let (one, _) = carry_out(&w, 2, &[0, 1, 0]);
        let (two, _) = carry_out(&w, 2, &[1, 1, 0, 1]);
        for (a, b) in one.iter().zip(&two) {
            let both = a.len().min(b.len());
            assert!(both > 3_000 && a[..both] == b[..both], "{pick}");
        }
    }
}

#[test]
fn keys_that_are_inserted_again_keep_their_number_and_the_store_its_size() {
    let w = workload("insert = 0.5, delete = 0.5", "uniform", "reinsert = true", 1);
    let (ops, exists) = carry_out(&w, 1, &[0]);
    let mut gone = VecDeque::new();
    for op in &ops[0] {
        match op.kind {
            OpKind::Delete => gone.push_back(op.key),
            _ => assert!(gone.pop_front().is_none_or(|first| first == op.key), "{op:?}"),
        }
    }
    let highest = exists.last().copied().unwrap_or(0);
    assert!(highest < 1_500, "hardly a new number: {highest}");
    assert!((500..1_500).contains(&exists.len()), "{} keys", exists.len());
}

#[test]
fn a_range_delete_takes_the_keys_from_its_first_on() {
    let mix = "read = 0.4, insert = 0.5, delete_range = 0.1";
    let w = workload(mix, "uniform", "range_length = { min = 2, max = 9 }", 1);
    let (ops, _) = carry_out(&w, 1, &[0]);
    let lengths: BTreeSet<u32> = ops[0]
        .iter()
        .filter(|op| op.kind == OpKind::DeleteRange)
        .map(|op| op.range_length)
        .collect();
    assert_eq!(lengths, (2..=9).collect());
}

#[test]
fn a_stream_whose_keys_are_all_gone_ends_and_says_so() {
    let w = workload("delete_blind = 0.96, delete = 0.04", "uniform", "", 1);
    let (_, mut streams) = streams(&w, 1);
    let stream = &mut streams[0];
    let mut gone = 0;
    while let Some(op) = stream.next_op() {
        gone += stream.acknowledge(&op);
    }
    assert!(stream.is_exhausted());
    assert_eq!(gone, 1_000);
}

#[test]
fn deletes_of_one_phase_are_known_in_the_next() {
    let w = workload("delete = 0.5, insert = 0.5", "uniform", "", 1);
    let (ledger, mut streams) = streams(&w, 1);
    for _ in 0..5_000 {
        let op = streams[0].next_op().unwrap();
        streams[0].acknowledge(&op);
    }
    let next = workload("read = 1.0", "zipfian", "", 2);
    let after = Arc::new(ledger.next(2));
    let id = StreamId { seed: 5, phase: 2, client: 1 };
    let mut reads = OpStream::new(&next, 1, id, Arc::clone(&after));
    let mut count = 0;
    while let Some(op) = reads.next_op() {
        assert!(after.exists(op.key), "{op:?}");
        count += 1;
    }
    assert_eq!(count, 10_000);
}
