//! The numbers and names of placement, each of its own type and within its bounds.

use crate::PlacementError;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;

/// The most shards of a cluster: the largest number in the vectors every client is tested with. Shares are
/// computed in 128 bits, which this bound, [`WEIGHT_MAX`] and [`MEMBERS_MAX`] keep from overflowing.
pub const SHARDS_MAX: u32 = 1 << 20;
/// The most replicas of a shard. Each doubles as a bound for decoders; beyond seven, quorums only get slower.
pub const REPLICAS_MAX: u8 = 15;
/// The largest weight of a member.
pub const WEIGHT_MAX: u32 = 1 << 20;
/// The most members of a cluster.
pub const MEMBERS_MAX: usize = 1 << 16;
/// The longest name of a zone, in bytes: its length is stored in one.
pub const ZONE_BYTES_MAX: usize = 255;

/// A shard, from 0 to one less than the number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// A node: a process with a data directory. A number is never given to a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// How often the shard map was changed; the map of a new cluster has epoch 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of shards of a cluster, fixed for its life: another number sends keys elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardCount(
    /// 1 <= shards <= [`SHARDS_MAX`]
    NonZeroU32,
);

impl ShardCount {
    /// So many shards; [`PlacementError::OutOfBounds`] for none or more than [`SHARDS_MAX`].
    pub fn new(shards: u32) -> Result<Self, PlacementError> {
        NonZeroU32::new(shards).filter(|n| n.get() <= SHARDS_MAX).map(Self).ok_or(
            PlacementError::OutOfBounds {
                what: "the number of shards",
                min: 1,
                max: u64::from(SHARDS_MAX),
                given: u64::from(shards),
            },
        )
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// The number of voters that each shard is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaCount(
    /// 1 <= replicas <= [`REPLICAS_MAX`]
    NonZeroU8,
);

impl ReplicaCount {
    /// So many replicas; [`PlacementError::OutOfBounds`] for none or more than [`REPLICAS_MAX`].
    pub fn new(replicas: u8) -> Result<Self, PlacementError> {
        NonZeroU8::new(replicas).filter(|n| n.get() <= REPLICAS_MAX).map(Self).ok_or(
            PlacementError::OutOfBounds {
                what: "the number of replicas",
                min: 1,
                max: u64::from(REPLICAS_MAX),
                given: u64::from(replicas),
            },
        )
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

/// How much a member can take, in proportion to the others: of weight 2, twice the replicas of weight 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(
    /// 1 <= weight <= [`WEIGHT_MAX`]
    NonZeroU32,
);

impl Weight {
    /// The weight; [`PlacementError::OutOfBounds`] for 0 or more than [`WEIGHT_MAX`]. A member that is to hold
    /// nothing drains.
    pub fn new(weight: u32) -> Result<Self, PlacementError> {
        NonZeroU32::new(weight).filter(|n| n.get() <= WEIGHT_MAX).map(Self).ok_or(
            PlacementError::OutOfBounds {
                what: "the weight of a member",
                min: 1,
                max: u64::from(WEIGHT_MAX),
                given: u64::from(weight),
            },
        )
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// What fails together: a rack, a hall, a region. Two members are in one zone if the names are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(
    /// 1 <= bytes <= [`ZONE_BYTES_MAX`]
    Arc<str>,
);

impl Zone {
    /// The zone of that name; [`PlacementError::OutOfBounds`] for an empty name or a longer one than
    /// [`ZONE_BYTES_MAX`].
    pub fn new(name: &str) -> Result<Self, PlacementError> {
        if name.is_empty() || name.len() > ZONE_BYTES_MAX {
            return Err(PlacementError::OutOfBounds {
                what: "the bytes of a zone's name",
                min: 1,
                max: ZONE_BYTES_MAX as u64,
                given: name.len() as u64,
            });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert!(ShardCount::new(0).is_err() && ShardCount::new(SHARDS_MAX + 1).is_err());
        assert!(ReplicaCount::new(0).is_err() && ReplicaCount::new(REPLICAS_MAX + 1).is_err());
        assert!(Weight::new(0).is_err() && Weight::new(WEIGHT_MAX + 1).is_err());
        assert!(Zone::new("").is_err() && Zone::new(&"z".repeat(256)).is_err());
        assert_eq!(ShardCount::new(SHARDS_MAX).map(ShardCount::get), Ok(SHARDS_MAX));
        assert_eq!(
            ShardCount::new(0).unwrap_err().to_string(),
            "the number of shards must be from 1 to 1048576, not 0"
        );
    }
}
