//! Who joins, drains, moves: an operator who looks after the cluster twice a second, and asks whoever conducts it.

use super::machine::Death;
use super::{SECOND, World};
use nori_consensus::{NodeId, ShardId};
use norikv_node::{Member, Refused};
use norikv_placement::{self as placement, Change, MemberState, ShardMap, Step, Weight};
use norikv_replica::RequestId;
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// Nodes that are gone for good, and are members still.
    lost: BTreeSet<NodeId>,
    /// Nodes that are drained, and until when.
    drained: Vec<(NodeId, u64)>,
    /// What was asked for, and not answered yet.
    asked: BTreeSet<RequestId>,
    /// When the network is whole again.
    pub(super) heal_at: Option<u64>,
    /// Which machines are killed when.
    pub(super) kills: Vec<(u64, usize)>,
    /// Which disks have room again when.
    pub(super) room: Vec<(u64, usize, u64)>,
}

impl Operator {
    /// Whether nobody is to be replaced or drained.
    pub(super) fn is_idle(&self) -> bool {
        self.lost.is_empty() && self.drained.is_empty()
    }

    /// A node will never come back.
    pub(super) fn replace(&mut self, lost: NodeId) {
        self.lost.insert(lost);
    }

    /// Everything that was taken away is given back.
    pub(super) fn end_faults(&mut self) {
        self.kills.clear();
        self.room.clear();
        self.heal_at = None;
        self.drained.iter_mut().for_each(|(_, until)| *until = 0);
    }
}

impl World {
    /// The machine that conducts, as far as it knows itself, and its map.
    pub(super) fn conductor(&self) -> Option<(usize, ShardMap)> {
        let conducts = |m: &usize| {
            let machine = &self.machines[*m];
            let member = machine.running.as_ref().and_then(|running| running.node.member());
            machine.is_awake(self.time) && member.is_some_and(Member::conducts)
        };
        let m = (0..self.machines.len()).find(conducts)?;
        let member = self.machines[m].running.as_ref()?.node.member()?;
        Some((m, member.map().clone()))
    }

    pub(super) fn operate(&mut self) {
        let time = self.time;
        if self.operator.heal_at.is_some_and(|at| at <= time) {
            self.operator.heal_at = None;
            self.net.heal();
            self.tell(|| "the network is whole".to_owned());
        }
        let due: Vec<usize> =
            self.operator.kills.extract_if(.., |(at, _)| *at <= time).map(|(_, m)| m).collect();
        due.into_iter()
            .filter(|m| self.machines[*m].running.is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|m| self.die(m, Death::Kill));
        let room: Vec<(u64, usize, u64)> =
            self.operator.room.extract_if(.., |(at, ..)| *at <= time).collect();
        for (_, m, life) in room {
            if self.machines[m].life == life
                && let Some(running) = &self.machines[m].running
            {
                running.fs.set_plan(nori_env::FaultPlan::default());
                self.tell(|| format!("m{m} has room again"));
            }
        }
        let Some((m, map)) = self.conductor() else { return };
        if !self.operator.asked.is_empty() && !self.chance.hits(100_000) {
            return;
        }
        self.operator.asked.clear();
        if let Some(change) = self.next_change(&map) {
            self.decide(m, change);
        }
    }

    fn decide(&mut self, m: usize, change: Change) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.tell(|| format!("m{m} is to decide {change:?}"));
        if let Some(running) = &mut self.machines[m].running {
            running.node.decide(id, change);
            self.operator.asked.insert(id);
            self.touch(m);
        }
    }

    /// What is to be done next: first what has to be, then what chance says.
    fn next_change(&mut self, map: &ShardMap) -> Option<Change> {
        let alter = |node: placement::NodeId, state| {
            let weight = Weight::new(1).expect("it is above zero");
            Change::Alter { node, weight, state }
        };
        let lost: Vec<NodeId> = self.operator.lost.iter().copied().collect();
        for node in lost {
            let placed = placement::NodeId(node.0);
            let Some(member) = map.members().get(&placed) else {
                self.operator.lost.remove(&node);
                self.count("removal");
                continue;
            };
            if member.state == MemberState::Active {
                return Some(alter(placed, MemberState::Draining));
            }
            if !map.shards().any(|(_, shard)| shard.concerns(placed)) {
                return Some(Change::Leave(placed));
            }
        }
        let time = self.time;
        if let Some(place) = self.operator.drained.iter().position(|(_, until)| *until <= time) {
            let (node, _) = self.operator.drained[place];
            let placed = placement::NodeId(node.0);
            if map
                .members()
                .get(&placed)
                .is_some_and(|member| member.state == MemberState::Draining)
            {
                return Some(alter(placed, MemberState::Active));
            }
            self.operator.drained.remove(place);
            self.count("undrain");
        }
        if !self.is_stormy || !self.chance.hits(150_000) {
            return None;
        }
        self.whim(map)
    }

    fn whim(&mut self, map: &ShardMap) -> Option<Change> {
        let members: Vec<placement::NodeId> = map.members().keys().copied().collect();
        let node = *self.chance.pick(&members)?;
        let shard =
            placement::ShardId(self.chance.below(u64::from(map.shard_count().get())) as u32);
        match self.chance.below(4) {
            0 if self.operator.is_idle() && members.len() > usize::from(self.climate.replicas) => {
                self.count("drain");
                let until = self.time + self.chance.between(3 * SECOND, 15 * SECOND);
                self.operator.drained.push((NodeId(node.0), until));
                let weight = Weight::new(1).expect("it is above zero");
                Some(Change::Alter { node, weight, state: MemberState::Draining })
            }
            1 if self.operator.is_idle()
                && self.machines.len() < 7
                && self.chance.hits(200_000) =>
            {
                self.join();
                None
            }
            2 if members.len() > usize::from(self.climate.replicas) => {
                let mut voters = members.clone();
                while voters.len() > usize::from(self.climate.replicas) {
                    let place = self.chance.below(voters.len() as u64) as usize;
                    voters.swap_remove(place);
                }
                self.count("move");
                Some(Change::Retarget(vec![(shard, voters)]))
            }
            _ => {
                let voters = map.shard(shard)?.voters.to_vec();
                let node = *self.chance.pick(&voters)?;
                self.count("transfer");
                Some(Change::Step(Step::TransferLeader { shard, node }))
            }
        }
    }

    /// What was asked for has ended. What is refused is asked for again if it still has to be.
    pub(super) fn decided(&mut self, request: RequestId, result: &Result<(), Refused>) {
        self.operator.asked.remove(&request);
        self.tell(|| format!("decided {request:?}: {result:?}"));
    }

    /// Who has a replica of a shard.
    pub(super) fn holders(&self, shard: ShardId) -> Vec<usize> {
        let holds = |m: &usize| {
            let machine = &self.machines[*m];
            let member = machine.running.as_ref().and_then(|running| running.node.member());
            member.is_some_and(|member| member.replicas().shards().any(|(of, _)| of == shard))
        };
        (0..self.machines.len()).filter(holds).collect()
    }
}
