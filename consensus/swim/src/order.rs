//! Whom to probe next: all in a shuffled round, then in another one. So a member that is down is probed within two rounds, whatever
//! chance says; a newcomer is put in at random, so that not all probe it at one time.

use crate::{Chance, NodeId};

/// The round.
#[derive(Debug, Default)]
pub(crate) struct ProbeOrder {
    nodes: Vec<NodeId>,
    /// next <= nodes.len()
    next: usize,
}

impl ProbeOrder {
    pub(crate) fn insert(&mut self, node: NodeId, chance: &mut Chance) {
        let at = chance.below(self.nodes.len() as u64 + 1) as usize;
        self.nodes.insert(at, node);
        if at < self.next {
            // Behind us in this round: its turn is in the next one, and nobody is probed twice.
            self.next += 1;
        }
        debug_assert!(self.next <= self.nodes.len());
    }

    pub(crate) fn remove(&mut self, node: NodeId) {
        if let Some(at) = self.nodes.iter().position(|of| *of == node) {
            self.nodes.remove(at);
            if at < self.next {
                self.next -= 1;
            }
        }
        debug_assert!(self.next <= self.nodes.len());
    }

    /// The next one; `None` if there is nobody.
    pub(crate) fn next(&mut self, chance: &mut Chance) -> Option<NodeId> {
        if self.next == self.nodes.len() {
            chance.shuffle(&mut self.nodes);
            self.next = 0;
        }
        let node = self.nodes.get(self.next).copied()?;
        self.next += 1;
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_probed_once_in_a_round() {
        let (mut order, mut chance) = (ProbeOrder::default(), Chance::new(1));
        (0..20).for_each(|node| order.insert(NodeId(node), &mut chance));
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let round: Vec<_> = (0..20).filter_map(|_| order.next(&mut chance)).collect();
            let mut sorted = round.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 20);
            rounds.push(round);
        }
        assert_ne!(rounds[1], rounds[2], "each round has an order of its own");
    }

    #[test]
    fn nobody_is_skipped_or_doubled_when_members_come_and_go_within_a_round() {
        for seed in 0..200 {
            let (mut order, mut chance) = (ProbeOrder::default(), Chance::new(seed));
            (0..8).for_each(|node| order.insert(NodeId(node), &mut chance));
            let mut probed: Vec<_> = (0..4).filter_map(|_| order.next(&mut chance)).collect();
            order.insert(NodeId(8), &mut chance);
            let gone = probed.first().copied().into_iter().next();
            gone.into_iter().for_each(|node| order.remove(node));
            while probed.iter().filter(|node| node.0 < 8).count() < 8 {
                probed.extend(order.next(&mut chance));
            }
            probed.sort_unstable();
            let before = probed.len();
            probed.dedup();
            assert_eq!(probed.len(), before, "seed {seed}");
        }
    }

    #[test]
    fn a_newcomer_may_stand_anywhere() {
        let mut places = [0; 5];
        for seed in 0..500 {
            let (mut order, mut chance) = (ProbeOrder::default(), Chance::new(seed));
            (0..4).for_each(|node| order.insert(NodeId(node), &mut chance));
            order.insert(NodeId(9), &mut chance);
            let at = order.nodes.iter().position(|node| node.0 == 9).unwrap();
            places[at] += 1;
        }
        assert!(places.iter().all(|&times| times > 60), "{places:?}");
    }
}
