//! Decoders under bytes that nobody wrote.
//!
//! A **target** takes any bytes and must come back: with an error, or with what they say. Those that end with a checksum get a right one, so that a fuzzer is not
//! stopped at the door. `corpus/<target>/` has inputs that reach far; a test plays them, and what is near them, on every run, and
//! `cargo xtask fuzz TARGET` goes on from them with libFuzzer and keeps what reaches further.
//!
//! | target | bytes become |
//! |---|---|
//! | `raft-message` | a message of `nori` |
//! | `raft-promise` | its hard state |
//! | `raft-membership` | its membership |
//! | `raft-rs-message`, `openraft-message` | a message of an adapted protocol, in its envelope |
//! | `openraft-promise` | its hard state and its membership |
//! | `raft-log` | a group of the log of a node |
//! | `shard-map` | a map of shards, and a change of it |

use bytes::Bytes;
use nori_consensus::{
    Boot, ConsensusFactory, Index, Instant, MemLog, NodeId, Settings, ShardId, Standing,
};
use nori_consensus_adapters::{OpenRaft, RaftRs};
use nori_env::{Fs, ManualClock, MemFs, SeededTasks, SegmentKind, Tasks};
use nori_observe::NullMeter;
use nori_raft::NoriRaft;
use nori_raft_log::LogOptions;
use nori_wal::{Resume, Wal, WalOptions};
use std::path::Path;
use std::sync::Arc;

/// Takes any bytes, and comes back.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 8] = [
    ("raft-message", raft_message),
    ("raft-promise", raft_promise),
    ("raft-membership", raft_membership),
    ("raft-rs-message", raft_rs_message),
    ("openraft-message", openraft_message),
    ("openraft-promise", openraft_promise),
    ("raft-log", raft_log),
    ("shard-map", shard_map),
];

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    (sum as u32).to_le_bytes()
}

/// With a right checksum at the end, as ours have it.
fn sealed(bytes: &[u8]) -> Bytes {
    [bytes, &checksum(bytes)].concat().into()
}

/// With a right checksum at the beginning, as an envelope has it.
fn enveloped(bytes: &[u8]) -> Bytes {
    [&checksum(bytes), bytes].concat().into()
}

/// Boots a replica with these.
fn boot(factory: &dyn ConsensusFactory, hard_state: Bytes, membership: Bytes) {
    // Either it is a replica then, or it says why not.
    let _ = factory.boot(Boot {
        me: NodeId(1),
        shard: ShardId(1),
        seed: 1,
        life: 1,
        now: Instant::default(),
        hard_state,
        membership,
        snapshot: None,
        applied: Index::ZERO,
        log: Arc::new(MemLog::default()),
        standing: Standing::Whole,
        priority: 0,
    });
}

fn nori() -> NoriRaft {
    NoriRaft::new(Settings::default()).expect("the usual settings")
}

fn raft_message(bytes: &[u8]) {
    nori().describe(&Bytes::copy_from_slice(bytes));
    nori().describe(&sealed(bytes));
}

fn raft_promise(bytes: &[u8]) {
    boot(&nori(), Bytes::copy_from_slice(bytes), Bytes::new());
    boot(&nori(), sealed(bytes), Bytes::new());
}

fn raft_membership(bytes: &[u8]) {
    boot(&nori(), Bytes::new(), Bytes::copy_from_slice(bytes));
    boot(&nori(), Bytes::new(), sealed(bytes));
}

fn raft_rs_message(bytes: &[u8]) {
    let factory = RaftRs::new(Settings::default()).expect("the usual settings");
    factory.describe(&Bytes::copy_from_slice(bytes));
    factory.describe(&enveloped(bytes));
}

fn openraft() -> OpenRaft {
    OpenRaft::new(Settings::default()).expect("the usual settings")
}

fn openraft_message(bytes: &[u8]) {
    openraft().describe(&Bytes::copy_from_slice(bytes));
    openraft().describe(&enveloped(bytes));
}

fn openraft_promise(bytes: &[u8]) {
    boot(&openraft(), Bytes::copy_from_slice(bytes), Bytes::new());
    boot(&openraft(), Bytes::new(), Bytes::copy_from_slice(bytes));
}

/// The first byte says how many records the group claims to have.
fn raft_log(bytes: &[u8]) {
    let Some((records, payload)) = bytes.split_first() else { return };
    let (dir, meter) = (Path::new("/log"), Arc::new(NullMeter));
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let tasks: Arc<dyn Tasks> = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
    fs.create_dir(dir).expect("an empty file system takes a folder");
    let log = Wal::create(dir, Arc::clone(&fs), Arc::clone(&tasks), &*meter, wal, Resume::at(1));
    log.and_then(|log| log.append(1, u32::from(*records), payload)).expect("it takes any bytes");
    let options = LogOptions { wal, cached_bytes_max: 0 };
    let _ = nori_raft_log::open("shared", dir, fs, tasks, meter, options);
}

fn shard_map(bytes: &[u8]) {
    let _ = norikv_placement::ShardMap::decode(bytes);
    let _ = norikv_placement::Command::decode(bytes);
}
