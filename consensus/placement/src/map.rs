//! The shard map: who is a member, which nodes hold each shard, and where its replicas ought to be.
//!
//! The map is a state machine. Every node applies the same commands in the same order and has the same map; a command
//! that is refused changes nothing. It holds what was *decided*, not what is observed: neither who is alive nor
//! who leads at the moment is in it.
//!
//! For each shard it holds the voters, the learners, and the *target*: the voters that the last [`Change::Retarget`]
//! decided on. A shard is settled when its voters are its target and it has no learners.

use crate::{
    Epoch, MEMBERS_MAX, NodeId, PlacementError, REPLICAS_MAX, ReplicaCount, ShardCount, ShardId,
    Step, Weight, Zone, assign, balance_leaders,
};
use std::collections::BTreeMap;

/// The most learners of a shard: all voters of one target on their way in, all of another on their way out.
pub const LEARNERS_MAX: usize = 2 * REPLICAS_MAX as usize;

/// Whether a member takes replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// It holds its share.
    Active,
    /// It is to hold nothing: its replicas go elsewhere, and it leads as little as possible until then.
    Draining,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it fails together with.
    pub zone: Zone,
    /// How much it can take.
    pub weight: Weight,
    /// Whether it takes replicas.
    pub state: MemberState,
}

/// The replicas of one shard. Each list is in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The nodes whose votes count. 1 <= voters <= [`REPLICAS_MAX`], all members.
    pub voters: Vec<NodeId>,
    /// The nodes that receive the log without a vote: they fill up before they join, or are about to go.
    /// None of them is a voter; learners <= [`LEARNERS_MAX`], all members.
    pub learners: Vec<NodeId>,
    /// The voters it ought to have. 1 <= target <= [`REPLICAS_MAX`], all members.
    pub target: Vec<NodeId>,
    /// The voter that ought to lead; without one, any.
    pub leader: Option<NodeId>,
}

impl Shard {
    /// The replicas are where they ought to be, and nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.voters == self.target && self.learners.is_empty()
    }

    /// Whether the node holds a replica, or is to.
    pub fn concerns(&self, node: NodeId) -> bool {
        [&self.voters, &self.learners, &self.target].into_iter().any(|list| list.contains(&node))
    }
}

/// A change of the map, made at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The epoch of the map that whoever made this command looked at. At any other it is refused.
    pub made_at: Epoch,
    /// What is to change.
    pub change: Change,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node becomes a member. It holds nothing until a retarget.
    Join {
        /// The node; no member had its number before.
        node: NodeId,
        /// What it is.
        member: Member,
    },
    /// A member takes no new replicas, or does so again, or its weight changes. Nothing moves until a retarget.
    Alter {
        /// The member.
        node: NodeId,
        /// Its weight from now on.
        weight: Weight,
        /// Its state from now on.
        state: MemberState,
    },
    /// A member that no shard concerns any more is forgotten.
    Leave(NodeId),
    /// Shards are to have another number of replicas. Nothing moves until a retarget.
    SetReplicas(ReplicaCount),
    /// These shards are to have these voters.
    Retarget(Vec<(ShardId, Vec<NodeId>)>),
    /// A step towards the targets was taken, or a leader was preferred.
    Step(Step),
}

/// Members, shards and the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    pub(crate) epoch: Epoch,
    pub(crate) replicas: ReplicaCount,
    /// members <= [`MEMBERS_MAX`]
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// By number. 1 <= shards <= [`crate::SHARDS_MAX`], and it never changes.
    pub(crate) shards: Vec<Shard>,
}

impl ShardMap {
    /// The map of a new cluster, at epoch 1: replicas assigned, leaders spread.
    /// [`PlacementError::NoActiveMember`] if nobody can hold a replica.
    pub fn bootstrap(
        shards: ShardCount,
        replicas: ReplicaCount,
        members: BTreeMap<NodeId, Member>,
    ) -> Result<Self, PlacementError> {
        check_member_count(members.len())?;
        let none = vec![Vec::new(); shards.get() as usize];
        let shards = assign(&members, replicas, &none)?
            .into_iter()
            .map(|voters| Shard {
                target: voters.clone(),
                voters,
                learners: Vec::new(),
                leader: None,
            })
            .collect();
        let mut map = Self { epoch: Epoch(1), replicas, members, shards };
        for step in balance_leaders(&map) {
            map.take(&step)?;
        }
        Ok(map)
    }

    /// How often it was changed.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of shards.
    pub fn shard_count(&self) -> ShardCount {
        ShardCount::new(self.shards.len() as u32).expect("checked where a map begins")
    }

    /// The number of voters each shard is to have; fewer where there are not as many active members.
    pub fn replicas(&self) -> ReplicaCount {
        self.replicas
    }

    /// The members.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The shards with their numbers, in ascending order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = (ShardId, &Shard)> {
        self.shards.iter().enumerate().map(|(at, shard)| (ShardId(at as u32), shard))
    }

    /// One shard.
    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(shard.0 as usize)
    }

    /// The retarget that fits the members as they are, or `None` if every target does already. What is decided
    /// stays where it can: see [`assign`](assign()).
    pub fn retarget(&self) -> Result<Option<Change>, PlacementError> {
        let present: Vec<_> = self.shards.iter().map(|shard| shard.target.clone()).collect();
        let wanted = assign(&self.members, self.replicas, &present)?;
        let changed: Vec<_> = (0..)
            .map(ShardId)
            .zip(wanted)
            .filter(|(shard, wanted)| present[shard.0 as usize] != *wanted)
            .collect();
        Ok((!changed.is_empty()).then_some(Change::Retarget(changed)))
    }

    /// Applies a command and raises the epoch, or refuses it and leaves the map as it was.
    pub fn apply(&mut self, command: &Command) -> Result<(), PlacementError> {
        if command.made_at != self.epoch {
            return Err(PlacementError::StaleEpoch { made_at: command.made_at, now: self.epoch });
        }
        match &command.change {
            Change::Join { node, member } => self.join(*node, member)?,
            Change::Alter { node, weight, state } => {
                let member =
                    self.members.get_mut(node).ok_or(PlacementError::UnknownNode(*node))?;
                (member.weight, member.state) = (*weight, *state);
            }
            Change::Leave(node) => self.leave(*node)?,
            Change::SetReplicas(replicas) => self.replicas = *replicas,
            Change::Retarget(targets) => {
                for (shard, voters) in targets {
                    self.check_voters(*shard, voters)?;
                }
                for (shard, voters) in targets {
                    self.shards[shard.0 as usize].target.clone_from(voters);
                }
            }
            Change::Step(step) => self.take(step)?,
        }
        // 2^64 commands do not fit into any log.
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
        Ok(())
    }

    fn join(&mut self, node: NodeId, member: &Member) -> Result<(), PlacementError> {
        if self.members.contains_key(&node) {
            return Err(PlacementError::AlreadyMember(node));
        }
        check_member_count(self.members.len() + 1)?;
        self.members.insert(node, member.clone());
        Ok(())
    }

    fn leave(&mut self, node: NodeId) -> Result<(), PlacementError> {
        if !self.members.contains_key(&node) {
            return Err(PlacementError::UnknownNode(node));
        }
        if let Some((shard, _)) = self.shards().find(|(_, shard)| shard.concerns(node)) {
            return Err(PlacementError::StillHolds { node, shard });
        }
        self.members.remove(&node);
        Ok(())
    }

    /// Whether the shard exists and these may be its voters.
    pub(crate) fn check_voters(
        &self,
        shard: ShardId,
        voters: &[NodeId],
    ) -> Result<(), PlacementError> {
        if self.shard(shard).is_none() {
            return Err(PlacementError::UnknownShard(shard));
        }
        if !(1..=usize::from(REPLICAS_MAX)).contains(&voters.len()) || !is_ascending(voters) {
            return Err(PlacementError::WrongVoters(shard));
        }
        match voters.iter().find(|node| !self.members.contains_key(node)) {
            Some(node) => Err(PlacementError::UnknownNode(*node)),
            None => Ok(()),
        }
    }

    /// Takes a step, or refuses it if it does not fit the shard.
    fn take(&mut self, step: &Step) -> Result<(), PlacementError> {
        let id = step.shard();
        let members = &self.members;
        let shard = self.shards.get_mut(id.0 as usize).ok_or(PlacementError::UnknownShard(id))?;
        let wrong = |node, what| Err(PlacementError::WrongStep { shard: id, node, what });
        match step {
            Step::AddLearner { node, .. } => {
                if !members.contains_key(node) {
                    return Err(PlacementError::UnknownNode(*node));
                }
                if shard.voters.contains(node) || shard.learners.contains(node) {
                    return wrong(*node, "it holds a replica already");
                }
                if !shard.target.contains(node) {
                    return wrong(*node, "a learner that is not to become a voter");
                }
                if shard.learners.len() >= LEARNERS_MAX {
                    return wrong(*node, "the shard has too many learners: remove some first");
                }
                insert(&mut shard.learners, *node);
            }
            Step::Promote { joins, leaves, .. } => {
                if let Some(node) = joins.iter().find(|node| !shard.learners.contains(node)) {
                    return wrong(*node, "only a learner becomes a voter");
                }
                if let Some(node) = leaves.iter().find(|node| !shard.voters.contains(node)) {
                    return wrong(*node, "only a voter becomes a learner");
                }
                let mut voters = shard.voters.clone();
                voters.retain(|node| !leaves.contains(node));
                joins.iter().for_each(|&node| insert(&mut voters, node));
                if voters != shard.target {
                    return Err(PlacementError::WrongVoters(id));
                }
                let mut learners = shard.learners.clone();
                learners.retain(|node| !voters.contains(node));
                leaves.iter().for_each(|&node| insert(&mut learners, node));
                if let Some(node) = leaves.first().filter(|_| learners.len() > LEARNERS_MAX) {
                    return wrong(*node, "the shard has too many learners: remove some first");
                }
                shard.learners = learners;
                shard.leader = shard.leader.filter(|leader| voters.contains(leader));
                shard.voters = voters;
            }
            Step::Remove { node, .. } => {
                if !shard.learners.contains(node) {
                    return wrong(*node, "only a learner is removed");
                }
                shard.learners.retain(|learner| learner != node);
            }
            Step::TransferLeader { node, .. } => {
                if !shard.voters.contains(node) {
                    return wrong(*node, "only a voter leads");
                }
                shard.leader = Some(*node);
            }
        }
        Ok(())
    }
}

pub(crate) fn check_member_count(members: usize) -> Result<(), PlacementError> {
    if members <= MEMBERS_MAX {
        return Ok(());
    }
    let (max, given) = (MEMBERS_MAX as u64, members as u64);
    Err(PlacementError::OutOfBounds { what: "the number of members", min: 0, max, given })
}

/// Whether each is greater than the one before.
pub(crate) fn is_ascending(nodes: &[NodeId]) -> bool {
    nodes.windows(2).all(|pair| pair[0] < pair[1])
}

/// Inserts where the order says, once.
fn insert(nodes: &mut Vec<NodeId>, node: NodeId) {
    if let Err(place) = nodes.binary_search(&node) {
        nodes.insert(place, node);
    }
}

#[cfg(test)]
mod tests;
