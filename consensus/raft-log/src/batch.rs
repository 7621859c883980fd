//! What is appended at once: the changes of all groups that were ready.

use nori_consensus::{Index, LogId, ShardId, Store};
use std::collections::BTreeMap;

/// Changes of the logs of one node, in order. A crash loses all of them or none. A release is of what was there before the batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<(ShardId, Change)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Store(Store),
    Release(Index),
    Reset(LogId),
    Forget,
}

impl Batch {
    /// What a replica wants stored.
    pub fn store(&mut self, shard: ShardId, store: Store) {
        self.changes.push((shard, Change::Store(store)));
    }

    /// Entries up to `through` are not needed any more; there are none of them beyond the last.
    pub fn release(&mut self, shard: ShardId, through: Index) {
        self.changes.push((shard, Change::Release(through)));
    }

    /// All entries go: the shard's state is a snapshot's, and its log begins behind `to`.
    pub fn reset(&mut self, shard: ShardId, to: LogId) {
        self.changes.push((shard, Change::Reset(to)));
    }

    /// The shard is not on this node any more: its log and its promises go.
    pub fn forget(&mut self, shard: ShardId) {
        self.changes.push((shard, Change::Forget));
    }

    /// The changes of each shard.
    pub(crate) fn by_shard(self) -> BTreeMap<ShardId, Self> {
        let mut batches: BTreeMap<ShardId, Self> = BTreeMap::new();
        for (shard, change) in self.changes {
            batches.entry(shard).or_default().changes.push((shard, change));
        }
        batches
    }

    /// Shards that go.
    pub(crate) fn forgotten(&self) -> impl Iterator<Item = ShardId> + '_ {
        let is_gone = |(_, change): &&(ShardId, Change)| matches!(change, Change::Forget);
        self.changes.iter().filter(is_gone).map(|(shard, _)| *shard)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
