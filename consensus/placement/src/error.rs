//! Why a command, a number or some bytes are refused.

use crate::{Epoch, NodeId, ShardId};

/// Whatever placement refuses. A refused command leaves the map as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The map has changed since the command was made: decide again on the map as it is.
    #[error("the command was made at epoch {}, and the shard map is at {}", .made_at.0, .now.0)]
    StaleEpoch {
        /// The epoch the command names.
        made_at: Epoch,
        /// The epoch of the map.
        now: Epoch,
    },
    /// A number or a name is outside its bounds.
    #[error("{what} must be from {min} to {max}, not {given}")]
    OutOfBounds {
        /// What it is, with its unit.
        what: &'static str,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
        /// What was given.
        given: u64,
    },
    /// No such member.
    #[error("node {} is not a member", .0.0)]
    UnknownNode(NodeId),
    /// No such shard: its number is not below the number of shards.
    #[error("there is no shard {}", .0.0)]
    UnknownShard(ShardId),
    /// The node is a member already.
    #[error("node {} is a member already", .0.0)]
    AlreadyMember(NodeId),
    /// The node still holds a replica, or one is on its way to it: drain it first.
    #[error("node {} still holds or awaits a replica of shard {}", .node.0, .shard.0)]
    StillHolds {
        /// The node that was to leave.
        node: NodeId,
        /// The first shard of which it holds a replica.
        shard: ShardId,
    },
    /// The step does not fit the replicas of the shard as they are.
    #[error("shard {}, node {}: {what}", .shard.0, .node.0)]
    WrongStep {
        /// The shard.
        shard: ShardId,
        /// The node the step is about.
        node: NodeId,
        /// What does not hold.
        what: &'static str,
    },
    /// A set of voters that no shard may have: empty, too large, or with a node twice.
    #[error("shard {}: a set of voters is empty, too large or not in ascending order", .0.0)]
    WrongVoters(ShardId),
    /// Every member is draining or there is none: replicas have nowhere to go.
    #[error("no active member can hold a replica")]
    NoActiveMember,
    /// The bytes were written by a version that this one does not know.
    #[error("version {found} of the {what} is unknown; the newest known is {known}")]
    UnknownVersion {
        /// A map or a command.
        what: &'static str,
        /// The version in the bytes.
        found: u8,
        /// The newest version that can be read.
        known: u8,
    },
    /// The bytes are no map or command: cut short, too long, or not well-formed.
    #[error("the {what} is malformed at byte {at}")]
    Malformed {
        /// A map or a command.
        what: &'static str,
        /// Where reading stopped, in bytes from the beginning.
        at: usize,
    },
}
