//! How a replica begins a life.

use crate::{Consensus, Index, Instant, LogId, LogView, Membership, NodeId, ShardId};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;

/// What a replica is given when it starts, for the first time or again.
///
/// Everything in it is what was safe when the last life ended: the driver has finished an installation that was cut
/// short, and the log shows no entry that may still go.
pub struct Boot {
    /// Its node.
    pub me: NodeId,
    /// Its group.
    pub shard: ShardId,
    /// Where its choices come from; another in every life.
    pub seed: u64,
    /// Which life of the replica this is: more than in every earlier one, above 0.
    pub life: u64,
    /// The present.
    pub now: Instant,
    /// The last that was stored; empty in a first life.
    pub hard_state: Bytes,
    /// The membership as of `applied`: as the last [`Apply`](crate::Effect::Apply) up to there, or the snapshot, told it, or as
    /// [`ConsensusFactory::founding`] made it. Empty in one that joins a group and has heard nothing yet.
    pub membership: Bytes,
    /// The last entry that the state's snapshot covers, if the log begins behind one.
    pub snapshot: Option<LogId>,
    /// What the state has.
    pub applied: Index,
    /// Its log.
    pub log: Arc<dyn LogView>,
    /// Whether it can still keep what it promised.
    pub standing: Standing,
    /// Among those that could lead, who has more of this leads rather; 0 is usual.
    pub priority: u8,
}

/// Whether a replica remembers what it told others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Everything it ever acknowledged is there.
    #[default]
    Whole,
    /// Its term and vote are there, but entries that it acknowledged may be lost, and others back that they had replaced: the machine stopped before
    /// they were synced. It neither votes nor campaigns until a leader has brought it to what was committed when it came back. A next life before that is doubtful too.
    Doubtful,
}

/// Makes replicas of one protocol.
///
/// # Contract
///
/// * A name stands for the same protocol, messages and hard states for ever.
/// * `boot` of the same values gives replicas that do the same for the same inputs.
pub trait ConsensusFactory: Send + Sync {
    /// Its name in files of experiments and of servers.
    fn name(&self) -> &str;

    /// What its replicas can do.
    fn capabilities(&self) -> Capabilities;

    /// What the replicas of a group that is being founded boot with as their membership. All of them boot with the same.
    fn founding(&self, membership: &Membership) -> Bytes;

    /// A message in words, for people who read what happened. Any bytes will do.
    fn describe(&self, message: &Bytes) -> String {
        format!("{} bytes", message.len())
    }

    /// A replica. It may have effects at once: the driver drains it before its first step.
    ///
    /// # Errors
    ///
    /// If what was stored is not this protocol's.
    fn boot(&self, boot: Boot) -> Result<Box<dyn Consensus>, BootError>;
}

/// Why a replica cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootError {
    /// It cannot be read.
    #[error("the {what} of a replica of shard {} cannot be read: {why}", shard.0)]
    Unreadable {
        /// Whose.
        shard: ShardId,
        /// Hard state or membership.
        what: &'static str,
        /// As the decoder says it.
        why: String,
    },
    /// What was stored does not go together.
    #[error("what was stored of a replica of shard {} does not go together: {why}", shard.0)]
    Inconsistent {
        /// Whose.
        shard: ShardId,
        /// What does not.
        why: String,
    },
}

/// Something that not every protocol can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Groups of more than one.
    Replication,
    /// Who cannot win does not disturb.
    PreVote,
    /// A leader that hears no majority steps down.
    CheckQuorum,
    /// The leader sends entries before they are safe with itself.
    ParallelAppend,
    /// More than one append to a peer is under way.
    Pipelining,
    /// Followers without a vote.
    Learners,
    /// Memberships change, by joint ones.
    MembershipChange,
    /// Leaders hand over.
    Transfer,
    /// Leaders by preference.
    Priority,
    /// Linearizable reads without an entry.
    ReadIndex,
    /// Reads without a message.
    Lease,
    /// While somebody holds a lease nobody else leads. Without it, nobody else commits.
    ExclusiveLease,
    /// Snapshots bring followers up.
    Snapshots,
    /// Idle groups cost nothing.
    Quiescence,
    /// [`Standing::Doubtful`] is heeded.
    DoubtfulStart,
}

impl Feature {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 15] = [
        Self::Replication,
        Self::PreVote,
        Self::CheckQuorum,
        Self::ParallelAppend,
        Self::Pipelining,
        Self::Learners,
        Self::MembershipChange,
        Self::Transfer,
        Self::Priority,
        Self::ReadIndex,
        Self::Lease,
        Self::ExclusiveLease,
        Self::Snapshots,
        Self::Quiescence,
        Self::DoubtfulStart,
    ];

    /// Its name where people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replication => "replication",
            Self::PreVote => "pre-vote",
            Self::CheckQuorum => "check-quorum",
            Self::ParallelAppend => "parallel append",
            Self::Pipelining => "pipelining",
            Self::Learners => "learners",
            Self::MembershipChange => "membership change",
            Self::Transfer => "transfer",
            Self::Priority => "priority",
            Self::ReadIndex => "read index",
            Self::Lease => "lease",
            Self::ExclusiveLease => "exclusive-lease",
            Self::Snapshots => "snapshots",
            Self::Quiescence => "quiescence",
            Self::DoubtfulStart => "doubtful start",
        }
    }
}

/// What a protocol can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    features: BTreeSet<Feature>,
}

impl Capabilities {
    /// These and no others.
    pub fn of(features: impl IntoIterator<Item = Feature>) -> Self {
        Self { features: features.into_iter().collect() }
    }

    /// Whether it can do this.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// All that it can do, in order.
    pub fn iter(&self) -> impl Iterator<Item = Feature> + '_ {
        self.features.iter().copied()
    }
}
