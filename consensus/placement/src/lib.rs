//! Placement: which shard a key belongs to, which nodes hold a shard, and how shards move.
//!
//! 1. A key belongs to one of a number of shards that is fixed when a cluster is made ([`shard_of`]).
//! 2. The nodes of each shard stand in a replicated [`ShardMap`]. Only [`Command`]s change it; each names the
//!    epoch it was made at and raises the epoch by one, so of two coordinators that decide on the same map one is
//!    refused.
//! 3. When members come, go or drain, [`assign`](assign()) says where replicas ought to be, and the command
//!    [`Change::Retarget`] writes that into the map.
//! 4. [`plan`](plan()) compares where replicas are with where they ought to be, and names the steps that may be taken now;
//!    [`balance_leaders`] names the transfers that spread leadership.
//!
//! Nodes are never chosen by hash: jump hash can add and remove the last bucket only, and a node that leaves is
//! seldom the last.
//!
//! All of it is pure: no files, no clock, no threads, no entropy; the same input gives the same output on every machine.
//! Left to others: the log that carries commands and its checksums, whether a learner has caught up, which
//! member is alive, and the joint consensus inside a shard that [`Step::Promote`] asks for.

mod apportion;
mod assign;
mod encode;
mod error;
mod hash;
mod ids;
mod leaders;
mod map;
mod plan;

pub use assign::{Assignment, assign};
pub use error::PlacementError;
pub use hash::{jump, shard_of};
pub use ids::{
    Epoch, MEMBERS_MAX, NodeId, REPLICAS_MAX, ReplicaCount, SHARDS_MAX, ShardCount, ShardId,
    WEIGHT_MAX, Weight, ZONE_BYTES_MAX, Zone,
};
pub use leaders::balance_leaders;
pub use map::{Change, Command, LEARNERS_MAX, Member, MemberState, Shard, ShardMap};
pub use plan::{MoveLimit, Step, plan};
