//! The map as a row, and whoever leads its shard as conductor.
//!
//! The map is read once when this node begins to lead, and from then on written under the condition that it is the one that was read. So two who believe to
//! conduct do no harm: the second one's change is refused, and it reads again.

use super::member::INTERNAL;
use super::{Member, Output, Refused, map_shard};
use crate::conductor::{Act, Conductor, Report};
use crate::control::Control;
use crate::founding::Candidate;
use bytes::Bytes;
use nori_consensus::{Change, NodeId, Role, ShardId};
use norikv_placement::{
    self as placement, Change as MapChange, Command, Member as Placed, MemberState, ShardMap,
};
use norikv_replica::{
    Answer, Condition, Freshness, KeyChange, Now, Reply, Request, RequestId, Target, Version,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The key of the map's row.
const MAP: &[u8] = b"map";

/// What the conductor is at.
#[derive(Default)]
pub(super) struct Conducting {
    is_leading: bool,
    conductor: Conductor,
    /// The version of the map's row, as it was read or written last; `None`: it is to be read.
    version: Option<Version>,
    under_way: Option<(RequestId, Doing)>,
    /// Of operators.
    queue: VecDeque<(RequestId, MapChange)>,
    /// Nodes that want to be members.
    candidates: BTreeMap<NodeId, Candidate>,
    last: u64,
}

enum Doing {
    Reading,
    Writing { map: ShardMap, request: Option<RequestId> },
}

impl Conducting {
    pub(super) fn next_id(&mut self) -> RequestId {
        self.last += 1;
        RequestId(INTERNAL | self.last)
    }
}

impl Member {
    /// This node's role in the shard with the map is another.
    pub(super) fn map_led(&mut self, role: Role) {
        let is_leading = role == Role::Leader;
        if is_leading == self.conducting.is_leading {
            return;
        }
        self.conducting.is_leading = is_leading;
        self.conducting.conductor.forget();
        self.forget_map_row();
        if !is_leading {
            let conductor = self.leader(map_shard(&self.map)).1;
            for (request, _) in std::mem::take(&mut self.conducting.queue) {
                let result = Err(Refused::NotConductor { conductor });
                self.outputs.push(Output::Decided { request, result });
            }
        }
    }

    /// Whatever was asked of the map's row has no answer any more, and it is to be read anew.
    pub(super) fn forget_map_row(&mut self) {
        self.conducting.version = None;
        if let Some((_, Doing::Writing { request: Some(request), .. })) =
            self.conducting.under_way.take()
        {
            let result = Err(Refused::Unknown);
            self.outputs.push(Output::Decided { request, result });
        }
    }

    /// Whether this node conducts the cluster.
    pub fn conducts(&self) -> bool {
        self.conducting.is_leading
    }

    /// An operator wants the map changed.
    pub(super) fn decide(&mut self, request: RequestId, change: MapChange) {
        if self.conducting.is_leading {
            self.conducting.queue.push_back((request, change));
            return;
        }
        let conductor = self.leader(map_shard(&self.map)).1;
        let result = Err(Refused::NotConductor { conductor });
        self.outputs.push(Output::Decided { request, result });
    }

    /// A node wants to be a member: the conductor takes it in.
    pub(super) fn wants_in(&mut self, now: Now, node: NodeId, candidate: Candidate) {
        if self.map.members().contains_key(&placement::NodeId(node.0)) {
            return;
        }
        if self.conducting.is_leading {
            self.conducting.candidates.insert(node, candidate);
            return self.conduct(now);
        }
        // Only who came to us in person is passed on: who was passed on already has come to a node that believed us to conduct.
        if let (_, Some(conductor)) = self.leader(map_shard(&self.map))
            && conductor != self.me
        {
            let Candidate { addresses, zone, weight, .. } = candidate;
            self.say(conductor, &Control::Join { node, addresses, zone, weight });
        }
    }

    /// A node that has never been in the map asks for it, again and again.
    pub(super) fn ask_in(&mut self) {
        if self.has_joined || self.map.members().contains_key(&placement::NodeId(self.me.0)) {
            return;
        }
        let Candidate { addresses, zone, weight, .. } = self.settings.candidate.clone();
        let join = Control::Join { node: self.me, addresses, zone, weight };
        self.keepers().into_iter().for_each(|node| self.say(node, &join));
    }

    /// Who may lead the shard with the map, as far as this node knows: one of them conducts.
    pub(super) fn keepers(&self) -> Vec<NodeId> {
        let shard = map_shard(&self.map);
        let placed = super::placed(shard).and_then(|shard| self.map.shard(shard));
        placed.map_or_else(Vec::new, |placed| keepers(placed, self.leader(shard).1))
    }

    pub(super) fn hear_reports(&mut self, now: Now, from: NodeId, reports: Vec<Report>) {
        if self.conducting.is_leading {
            for report in reports {
                self.conducting.conductor.hear(now.steady, from, report);
            }
        }
    }

    /// Does the next thing, if this node conducts and is not at one.
    pub(super) fn conduct(&mut self, now: Now) {
        if !self.conducting.is_leading || self.conducting.under_way.is_some() {
            return;
        }
        let Some(version) = self.conducting.version else { return self.read_map(now) };
        while let Some((request, change)) = self.conducting.queue.pop_front() {
            match self.changed(change) {
                Ok(map) => return self.write_map(now, version, map, Some(request)),
                Err(error) => {
                    let result = Err(Refused::Placement(error));
                    self.outputs.push(Output::Decided { request, result });
                }
            }
        }
        // Who cannot be taken in now asks again.
        while let Some((node, candidate)) = self.conducting.candidates.pop_first() {
            let node = placement::NodeId(node.0);
            let Candidate { zone, weight, .. } = candidate;
            let member = Placed { zone, weight, state: MemberState::Active };
            if let Ok(map) = self.changed(MapChange::Join { node, member }) {
                return self.write_map(now, version, map, None);
            }
        }
        let seen = &self.swimming.seen;
        let me = self.me;
        let is_up = |node: NodeId| {
            use nori_swim::MemberState::{Alive, Suspect};
            node == me || matches!(seen.get(&node), Some(Alive | Suspect))
        };
        let limit = self.settings.moves;
        let acts = self.conducting.conductor.acts(now.steady, &self.map, limit, is_up);
        for act in acts {
            match act {
                Act::Decide(change) => {
                    if let Ok(map) = self.changed(change) {
                        self.write_map(now, version, map, None);
                    }
                }
                Act::Ask { leader, shard, change } if leader == self.me => {
                    self.reform(now, shard, change);
                }
                Act::Ask { leader, shard, change } => {
                    self.say(leader, &Control::Reform { shard, change });
                }
            }
        }
    }

    fn changed(&self, change: MapChange) -> Result<ShardMap, placement::PlacementError> {
        let mut map = self.map.clone();
        map.apply(&Command { made_at: map.epoch(), change })?;
        Ok(map)
    }

    fn read_map(&mut self, now: Now) {
        let target = Target::Row(Bytes::from_static(MAP));
        let read = Request::Read { freshness: Freshness::Linearizable, target };
        let id = self.conducting.next_id();
        if self.shards.request(now, map_shard(&self.map), id, read) {
            self.conducting.under_way = Some((id, Doing::Reading));
        }
    }

    fn write_map(&mut self, now: Now, version: Version, map: ShardMap, request: Option<RequestId>) {
        let change = KeyChange {
            key: Bytes::from_static(MAP),
            condition: Condition::Version(version),
            value: Some(map.encode().into()),
            ttl: None,
        };
        let id = self.conducting.next_id();
        if self.shards.request(now, map_shard(&self.map), id, Request::Own(change)) {
            self.conducting.under_way = Some((id, Doing::Writing { map, request }));
        }
    }

    /// The leader of a shard is asked for another membership. What comes of it, its report says.
    pub(super) fn reform(&mut self, now: Now, shard: ShardId, change: Change) {
        let id = self.conducting.next_id();
        self.shards.request(now, shard, id, Request::Reform(change));
    }

    /// An answer to the conductor; whether it was one.
    pub(super) fn conductor_answered(&mut self, now: Now, answer: &Answer) -> bool {
        let is_it = |(id, _): &mut (RequestId, Doing)| *id == answer.request;
        let Some((_, doing)) = self.conducting.under_way.take_if(is_it) else { return false };
        match doing {
            Doing::Reading => self.map_read(now, &answer.reply),
            Doing::Writing { map, request } => self.map_written(now, &answer.reply, map, request),
        }
        // What failed is tried again at the next chore: at once it would fail again.
        if self.conducting.version.is_some() {
            self.conduct(now);
        }
        true
    }

    fn map_read(&mut self, now: Now, reply: &Reply) {
        let row = match reply {
            Reply::Row(row) => row.clone(),
            // It is not in memory. To read one row once in a term here is less than what a job would cost.
            Reply::View(view) => match view.row(MAP) {
                Ok(row) => row,
                Err(_) => return,
            },
            _ => return,
        };
        match row {
            None => self.conducting.version = Some(0),
            Some(value) => {
                if let Ok(map) = ShardMap::decode(&value.bytes) {
                    self.conducting.version = Some(value.version);
                    self.adopt(now, map);
                }
            }
        }
    }

    fn map_written(&mut self, now: Now, reply: &Reply, map: ShardMap, request: Option<RequestId>) {
        let result = match reply {
            Reply::Written(version) => {
                self.conducting.version = Some(*version);
                self.adopt(now, map);
                Ok(())
            }
            _ => {
                self.conducting.version = None;
                Err(Refused::Unknown)
            }
        };
        if let Some(request) = request {
            self.outputs.push(Output::Decided { request, result });
        }
    }
}

/// Who may lead a group that is placed so. Its map is behind it: a voter may be a learner in the map still, and may lead.
fn keepers(placed: &placement::Shard, leader: Option<NodeId>) -> Vec<NodeId> {
    let all = [&placed.voters, &placed.learners, &placed.target].into_iter().flatten();
    let keepers: BTreeSet<NodeId> = all.map(|node| NodeId(node.0)).chain(leader).collect();
    keepers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_conducts_though_the_map_has_it_as_a_learner_is_told_of_everything() {
        let nodes = |of: &[u64]| of.iter().copied().map(placement::NodeId).collect::<Vec<_>>();
        let placed = placement::Shard {
            voters: nodes(&[1, 2, 3]),
            learners: nodes(&[4]),
            target: nodes(&[2, 3, 4]),
            leader: None,
        };
        assert_eq!(keepers(&placed, None), [1, 2, 3, 4].map(NodeId));
        assert_eq!(keepers(&placed, Some(NodeId(9))), [1, 2, 3, 4, 9].map(NodeId));
    }
}
