//! The logs of all replicas of a node, on the write-ahead log of the storage engine.
//!
//! A node has many shards, and each has a log: entries of the replication protocol, and what the replica promised. [`SharedLog`] puts
//! them all into one file at a time, so that one `fdatasync` makes safe whatever was ready in any of them.
//!
//! | module | what it has |
//! |---|---|
//! | `record` | the bytes (`docs/formats/raft-log.md`) |
//! | `replay` | what they come to |
//! | `shard` | the log of one shard in memory, which is what a replica reads |
//! | `shared` | the log of a node |
//! | `first` | which segments count |
//! | `node_log` | the seam, and its kinds by name |
//! | `conformance` | what every kind promises, checked |
//! | `per_shard` | a log for each shard, to compare |
//!
//! Left to others: when to sync, what to tell replicas, when to flush a shard's state so that entries can go. Segments, group sync and the tail
//! after a crash are `nori-wal`'s.

mod batch;
pub mod conformance;
mod error;
mod first;
mod node_log;
mod per_shard;
mod record;
mod replay;
mod shard;
mod shared;

pub use batch::Batch;
pub use error::{LogError, Result};
pub use node_log::{KINDS, NodeLog, open};
pub use per_shard::LogPerShard;
pub use shared::{LogOptions, SharedLog};

use nori_consensus::{Index, ShardId};
use nori_wal::{Position, SyncCall};
use std::collections::BTreeMap;

/// How far logs have to be safe for an append to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark(Vec<(ShardId, Position)>);

impl Mark {
    fn of(log: ShardId, position: Position) -> Self {
        Self(vec![(log, position)])
    }

    /// The same as it, and `other` of the log of `shard`.
    fn join(&mut self, shard: ShardId, other: Self) {
        self.0.extend(other.0.into_iter().map(|(_, position)| (shard, position)));
    }

    fn each(&self) -> impl Iterator<Item = (ShardId, Position)> + '_ {
        self.0.iter().copied()
    }
}

/// Waits for the syncs of a mark. Keep it from poll to poll.
#[derive(Default)]
pub struct SyncCalls(BTreeMap<ShardId, SyncCall>);

impl SyncCalls {
    fn of(&mut self, log: ShardId) -> &mut SyncCall {
        self.0.entry(log).or_default()
    }
}

/// Why a segment cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Who needs it.
    pub shard: ShardId,
    /// The segment, the oldest there is.
    pub segment: u64,
    /// Bytes of its entries there; it may be only a promise or the log's beginning, and then there are none.
    pub bytes: u64,
    /// The last of them; zero if there are none.
    pub last: Index,
}
