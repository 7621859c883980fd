//! What can go wrong with a node, and what follows.

use nori_consensus::ShardId;
use nori_raft_log::LogError;
use norikv_replica::ReplicaError;

/// Why a node cannot go on, or not begin. Its process ends; nothing that was acknowledged is lost by that.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The log of the node failed: nothing can be made safe any more.
    #[error("the log of the node failed: {0}")]
    Log(#[from] LogError),
    /// A replica cannot begin.
    #[error("the replica of shard {} cannot begin: {why}", shard.0)]
    Replica {
        /// Whose.
        shard: ShardId,
        /// Why.
        why: ReplicaError,
    },
}
