//! The streams of YCSB A to F, as they were when they were first published.
//!
//! A recorded experiment can be repeated only as long as its workload and seed give the operations they gave. So a kind of
//! operation or a distribution that is added later changes none of these sums.

use nori_workloads::{Ledger, OpStream, Overrides, StreamId, Workload, built_in, fnv64};
use std::sync::Arc;

const OPS: u64 = 20_000;

fn workload(name: &str, threads: u32) -> Workload {
    let overrides = Overrides {
        records: Some(5_000),
        ops: Some(OPS),
        threads: Some(threads),
        ..Overrides::default()
    };
    let file = built_in(name).expect("it is built in");
    file.workload().and_then(|workload| workload.with(&overrides)).expect("it is right")
}

/// A sum over every field of every operation of all clients, who take turns.
fn sum(name: &str, threads: u32) -> u64 {
    let w = workload(name, threads);
    let ledger = Arc::new(Ledger::new(w.keys.records, threads));
    let stream =
        |client| OpStream::new(&w, 1, StreamId { seed: 42, phase: 1, client }, Arc::clone(&ledger));
    let mut streams: Vec<OpStream> = (0..threads).map(stream).collect();
    let (mut sum, mut count) = (0_u64, 0);
    for turn in 0..OPS as usize {
        let stream = &mut streams[turn % threads as usize];
        let Some(op) = stream.next_op() else { break };
        let kind: u64 = op.kind.name().bytes().map(u64::from).sum();
        for part in [kind, op.key, op.version, u64::from(op.scan_length), u64::from(op.check)] {
            sum = fnv64(sum ^ part);
        }
        stream.acknowledge(&op);
        count += 1;
    }
    assert_eq!(count, OPS);
    sum
}

#[test]
fn the_streams_of_the_core_workloads_never_change() {
    let golden = [
        ("ycsb-a", 3_046_430_918_930_211_631, 2_612_500_567_288_335_194),
        ("ycsb-b", 1_731_391_860_823_047_906, 2_197_067_315_533_416_749),
        ("ycsb-c", 1_959_563_191_334_645_440, 1_257_136_184_660_256_111),
        ("ycsb-d", 1_107_756_558_731_795_169, 3_557_960_150_008_619_196),
        ("ycsb-e", 3_459_790_641_021_036_210, 7_866_345_706_695_518_967),
        ("ycsb-f", 3_316_947_915_743_034_976, 8_923_447_772_193_591_292),
    ];
    let got = golden.map(|(name, ..)| (name, sum(name, 1), sum(name, 2)));
    assert_eq!(got, golden);
}
