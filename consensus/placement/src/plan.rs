//! Moves as plans: from where the replicas of a shard are to where they ought to be.
//!
//! For each shard that is not settled, the steps are:
//!
//! 1. [`Step::Remove`] for every learner that the target does not name: what an older target had begun.
//! 2. [`Step::AddLearner`] on every node of the target that holds no replica. It fills up without a vote, so a slow one
//!    costs no availability.
//! 3. [`Step::TransferLeader`] to a voter that stays, if the preferred leader is to go.
//! 4. [`Step::Promote`]: one joint change from the voters to the target, once all learners are there. Until it commits, both
//!    the old and the new voters must agree by quorum, so no moment is decided by fewer. Who leaves becomes a learner.
//! 5. [`Step::Remove`] for them.
//!
//! [`plan`](plan()) names all steps that may be taken *now*; they may be taken in any order, and any of them may be left out. After one was
//! taken the next plan is made from the map that it made. So there is no state but the map: a
//! coordinator that dies loses nothing, because what it had begun is in the map as learners and what it had decided as
//! targets, and the next one computes the same plan from them. Two coordinators at once do no harm either: their
//! commands name the same epoch, and one of them is refused.
//!
//! A step belongs into the map once the shard's own log has committed it. Left to the coordinator: to see that a
//! learner has caught up before it asks for `Promote`.
//!
//! # The limit
//!
//! A shard *moves* from its first learner to its last removal, and the move counts on every node that joins or leaves. A
//! shard is admitted as a whole or not at all, when each of these nodes has a move to spare; so no two moves wait for each
//! other's nodes. A move that was admitted keeps its right when its target changes meanwhile: only
//! by those can a node exceed the limit.

use crate::{MemberState, NodeId, Shard, ShardId, ShardMap};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// One change of one shard's replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The node begins to receive the log of the shard, and has no vote.
    AddLearner {
        /// The shard.
        shard: ShardId,
        /// A node of the target that holds no replica.
        node: NodeId,
    },
    /// By one joint change, learners become voters and voters learners.
    Promote {
        /// The shard.
        shard: ShardId,
        /// The learners that become voters; they have caught up.
        joins: Vec<NodeId>,
        /// The voters that become learners.
        leaves: Vec<NodeId>,
    },
    /// A learner forgets its replica.
    Remove {
        /// The shard.
        shard: ShardId,
        /// The learner.
        node: NodeId,
    },
    /// A voter is to lead.
    TransferLeader {
        /// The shard.
        shard: ShardId,
        /// The voter.
        node: NodeId,
    },
}

impl Step {
    /// The shard that it changes.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::AddLearner { shard, .. }
            | Self::Promote { shard, .. }
            | Self::Remove { shard, .. }
            | Self::TransferLeader { shard, .. } => *shard,
        }
    }
}

/// The most shards that move onto or off one node at once.
pub type MoveLimit = NonZeroU32;

/// The steps that may be taken now, by shard. Empty only if every shard is settled.
pub fn plan(map: &ShardMap, limit: MoveLimit) -> Vec<Step> {
    let mut moves: BTreeMap<NodeId, u32> = BTreeMap::new();
    for shard in map.shards.iter().filter(|shard| is_moving(shard)) {
        concerned(shard).for_each(|node| *moves.entry(node).or_default() += 1);
    }
    let mut steps = Vec::new();
    for (id, shard) in map.shards().filter(|(_, shard)| !shard.is_settled()) {
        if !is_moving(shard) {
            let is_free = |node| moves.get(&node).is_none_or(|&moves| moves < limit.get());
            if !concerned(shard).all(is_free) {
                continue;
            }
            concerned(shard).for_each(|node| *moves.entry(node).or_default() += 1);
        }
        next_steps(map, id, shard, &mut steps);
    }
    steps
}

fn is_moving(shard: &Shard) -> bool {
    !shard.learners.is_empty()
}

/// The nodes on which a shard's move counts, each once: who joins, who leaves, who is about to be removed.
fn concerned(shard: &Shard) -> impl Iterator<Item = NodeId> {
    let leaves = shard.voters.iter().filter(|node| !shard.target.contains(node));
    let joins = shard
        .target
        .iter()
        .filter(|node| !shard.voters.contains(node) && !shard.learners.contains(node));
    leaves.chain(joins).chain(&shard.learners).copied()
}

fn next_steps(map: &ShardMap, id: ShardId, shard: &Shard, steps: &mut Vec<Step>) {
    let strays = absent(&shard.learners, &shard.target);
    if !strays.is_empty() {
        steps.extend(strays.into_iter().map(|node| Step::Remove { shard: id, node }));
        return;
    }
    let joins = absent(&shard.target, &shard.voters);
    let missing = absent(&joins, &shard.learners);
    if !missing.is_empty() {
        steps.extend(missing.into_iter().map(|node| Step::AddLearner { shard: id, node }));
        return;
    }
    let leaves = absent(&shard.voters, &shard.target);
    if joins.is_empty() && leaves.is_empty() {
        return;
    }
    let successor =
        shard.leader.filter(|leader| leaves.contains(leader)).and_then(|_| successor(map, shard));
    steps.push(match successor {
        Some(node) => Step::TransferLeader { shard: id, node },
        None => Step::Promote { shard: id, joins, leaves },
    });
}

/// Of the voters that stay, one that does not drain if there is one, then the one that leads the fewest shards; the
/// balance of leaders mends the rest.
fn successor(map: &ShardMap, shard: &Shard) -> Option<NodeId> {
    let stays = shard.voters.iter().copied().filter(|node| shard.target.contains(node));
    stays.min_by_key(|&node| {
        let drains = map.members.get(&node).is_none_or(|it| it.state == MemberState::Draining);
        (drains, map.shards.iter().filter(|other| other.leader == Some(node)).count(), node)
    })
}

/// Those of `nodes` that are not in `others`.
fn absent(nodes: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().copied().filter(|node| !others.contains(node)).collect()
}
