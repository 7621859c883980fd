//! Who ought to lead: leaderships in proportion to weight, without a transfer that gains nothing.
//!
//! 1. A shard without a preferred leader, or with one that drains, gets the active voter that leads the least for its weight; of
//!    equals the one whose zone leads the least, then the smaller number.
//! 2. While there is a chain of transfers from a node to another that leads less for its weight, even with one more: the
//!    cheapest is taken, from the node that leads the most. Each shard on the chain passes its leadership to the next node; a
//!    shard that is transferred anyway costs nothing.
//!
//! With equal weights this is the optimal semi-matching of Harvey, Ladner, Lovász and Tamir ("Semi-Matchings for
//! Bipartite Graphs and Load Balancing", WADS 2003): no other choice of leaders is more even. If replicas are balanced to within one, as
//! [`crate::assign()`] leaves them, so are leaders. Where all is even, nothing is
//! transferred.
//!
//! Shards that are on the move, and draining members as successors, are left out; so zones have the
//! leaders that their members' weights give them.

use crate::{MemberState, NodeId, ShardId, ShardMap, Step};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The transfers that spread leadership, by shard; none where nothing can be gained. They may be made one by one,
/// each from a new look at the map or all from this one.
pub fn balance_leaders(map: &ShardMap) -> Vec<Step> {
    let mut loads = Loads::new(map);
    loads.appoint();
    while let Some(chain) = loads.cheapest_chain() {
        for (shard, to) in chain {
            loads.pass(shard, to);
        }
    }
    let transfers = loads.leaders.into_iter();
    transfers
        .filter(|(shard, leader)| map.shards[*shard].leader != Some(*leader))
        .map(|(shard, node)| Step::TransferLeader { shard: ShardId(shard as u32), node })
        .collect()
}

struct Loads<'m> {
    map: &'m ShardMap,
    /// Of settled shards.
    leaders: BTreeMap<usize, NodeId>,
    /// The shards that each active member leads, those on the move included.
    led: BTreeMap<NodeId, u64>,
}

impl<'m> Loads<'m> {
    fn new(map: &'m ShardMap) -> Self {
        let active = map.members.iter().filter(|(_, member)| member.state == MemberState::Active);
        let mut loads =
            Self { map, leaders: BTreeMap::new(), led: active.map(|(id, _)| (*id, 0)).collect() };
        for (at, shard) in map.shards.iter().enumerate() {
            if let Some(leader) = shard.leader
                && let Some(led) = loads.led.get_mut(&leader)
            {
                *led += 1;
                if shard.is_settled() {
                    loads.leaders.insert(at, leader);
                }
            }
        }
        loads
    }

    fn weight(&self, node: NodeId) -> u64 {
        u64::from(self.map.members[&node].weight.get())
    }

    /// Compares `load / weight` of two nodes, if they lead so many.
    fn compare(&self, a: (NodeId, u64), b: (NodeId, u64)) -> Ordering {
        let scaled = |led: u64, other: NodeId| u128::from(led) * u128::from(self.weight(other));
        scaled(a.1, b.0).cmp(&scaled(b.1, a.0))
    }

    fn successors(&self, shard: usize) -> impl Iterator<Item = NodeId> {
        let voters = self.map.shards[shard].voters.iter().copied();
        voters.filter(|node| self.led.contains_key(node))
    }

    /// What the zone of a node leads, and its weight.
    fn zone_load(&self, node: NodeId) -> (u128, u128) {
        let zone = &self.map.members[&node].zone;
        self.led.iter().filter(|(id, _)| self.map.members[id].zone == *zone).fold(
            (0, 0),
            |(load, weight), (id, led)| {
                (load + u128::from(*led), weight + u128::from(self.weight(*id)))
            },
        )
    }

    /// Step 1.
    fn appoint(&mut self) {
        for (at, shard) in self.map.shards.iter().enumerate() {
            if !shard.is_settled() || self.leaders.contains_key(&at) {
                continue;
            }
            let best = self.successors(at).min_by(|&a, &b| {
                self.compare((a, self.led[&a] + 1), (b, self.led[&b] + 1))
                    .then_with(|| {
                        let (a, b) = (self.zone_load(a), self.zone_load(b));
                        (a.0 * b.1).cmp(&(b.0 * a.1))
                    })
                    .then(a.cmp(&b))
            });
            if let Some(node) = best {
                self.pass(at, node);
            }
        }
    }

    fn pass(&mut self, shard: usize, to: NodeId) {
        if let Some(from) = self.leaders.insert(shard, to) {
            self.led.entry(from).and_modify(|led| *led -= 1);
        }
        self.led.entry(to).and_modify(|led| *led += 1);
    }

    /// Step 2: the transfers of the cheapest chain that gains something, the first node the most loaded for
    /// which there is one.
    fn cheapest_chain(&self) -> Option<Vec<(usize, NodeId)>> {
        let mut from: Vec<NodeId> = self.led.keys().copied().collect();
        from.sort_by(|&a, &b| self.compare((b, self.led[&b]), (a, self.led[&a])).then(a.cmp(&b)));
        let mut led_by: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        self.leaders
            .iter()
            .for_each(|(shard, leader)| led_by.entry(*leader).or_default().push(*shard));
        from.into_iter().find_map(|from| self.chain_from(from, &led_by))
    }

    fn chain_from(
        &self,
        first: NodeId,
        led_by: &BTreeMap<NodeId, Vec<usize>>,
    ) -> Option<Vec<(usize, NodeId)>> {
        let load = (first, self.led[&first]);
        let mut came_by: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
        let mut settled: BTreeSet<NodeId> = BTreeSet::new();
        let mut queue = VecDeque::from([(first, None)]);
        while let Some((node, by)) = queue.pop_front() {
            if !settled.insert(node) {
                continue;
            }
            by.map(|by| came_by.insert(node, by));
            if node != first && self.compare((node, self.led[&node] + 1), load).is_lt() {
                return Some(chain_to(node, &came_by));
            }
            for &shard in led_by.get(&node).into_iter().flatten() {
                let is_transferred = self.map.shards[shard].leader != Some(node);
                for to in self.successors(shard).filter(|to| !settled.contains(to)) {
                    let step = (to, Some((shard, node)));
                    if is_transferred {
                        queue.push_front(step);
                    } else {
                        queue.push_back(step);
                    }
                }
            }
        }
        None
    }
}

/// The transfers that lead to a node, the last one first.
fn chain_to(mut to: NodeId, came_by: &BTreeMap<NodeId, (usize, NodeId)>) -> Vec<(usize, NodeId)> {
    let mut chain = Vec::new();
    while let Some(&(shard, from)) = came_by.get(&to) {
        chain.push((shard, to));
        to = from;
    }
    chain
}
