//! Who joins, is promoted, demoted or removed.

use super::{MACHINES_MAX, NODES_MAX, Storm};
use nori_consensus::world::Violation;
use nori_consensus::{Change, Feature, Membership, NodeId};
use std::sync::Arc;

impl Storm {
    /// Somebody joins, is promoted, demoted or removed, or several at once.
    pub(super) fn change(&mut self) -> Result<(), Violation> {
        if !self.features.has(Feature::MembershipChange) {
            return Ok(());
        }
        let (Some(leader), Some(now)) = (self.leader(), self.membership()) else {
            return Ok(());
        };
        // Now and then somebody asks who has slept through the last change.
        let is_late = self.chance.hits(150_000);
        let known = self.known.replace(Arc::clone(&now)).filter(|_| is_late);
        let change = self.draw_change(&known.unwrap_or(now))?;
        self.ask_change(leader, change)
    }

    /// Asks for a change after which those that can vote are still enough.
    pub(super) fn ask_change(&mut self, leader: NodeId, change: Change) -> Result<(), Violation> {
        let is_lost = |node: &&NodeId| self.gone.contains(node) || self.doubtful.contains(node);
        let lost = change.voters.iter().filter(is_lost).count();
        if change.is_possible() && 2 * lost < change.voters.len() {
            self.world.change(leader, change)?;
        }
        Ok(())
    }

    fn draw_change(&mut self, now: &Membership) -> Result<Change, Violation> {
        let (mut voters, mut learners) = (now.voters.clone(), now.learners.clone());
        // Whoever is gone for good is let go first.
        if let Some(dead) = now.nodes().into_iter().find(|node| self.gone.contains(node)) {
            voters.remove(&dead);
            learners.remove(&dead);
            return Ok(now.to(voters, learners));
        }
        for _ in 0..self.chance.between(1, 3) {
            let (some_voters, some_learners): (Vec<_>, Vec<_>) =
                (voters.iter().copied().collect(), learners.iter().copied().collect());
            match self.chance.below(4) {
                0 if voters.len() + learners.len() < NODES_MAX as usize && self.has_room(1) => {
                    learners.insert(self.join()?);
                }
                1 => {
                    if let Some(node) = self.chance.pick(&some_learners).copied() {
                        learners.remove(&node);
                        voters.insert(node);
                    }
                }
                2 if voters.len() > 3 => {
                    if let Some(node) = self.chance.pick(&some_voters).copied() {
                        voters.remove(&node);
                        if self.chance.hits(500_000) {
                            learners.insert(node);
                        }
                    }
                }
                _ => {
                    if let Some(node) = self.chance.pick(&some_learners).copied() {
                        learners.remove(&node);
                    }
                }
            }
        }
        Ok(now.to(voters, learners))
    }

    /// Whether so many more can join.
    pub(super) fn has_room(&self, newcomers: usize) -> bool {
        self.world.nodes().count() + newcomers <= MACHINES_MAX
    }

    pub(super) fn join(&mut self) -> Result<NodeId, Violation> {
        let node = NodeId(self.next_node);
        self.next_node += 1;
        self.world.add(node, Default::default());
        self.set_clock(node);
        self.world.start(node)?;
        Ok(node)
    }
}
