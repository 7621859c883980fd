//! Who takes part in a group.
//!
//! A membership that is being changed is **joint**: from the entry that begins the change to the one that ends it, both the
//! incoming and the outgoing voters must agree on everything, each by a majority of its own (Ongaro, "Consensus: bridging
//! theory and practice", 2014, section 4.3).

use crate::{Index, NodeId};
use std::collections::BTreeSet;
use std::fmt;

/// The nodes of a group as of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The entry that made it so; zero for the one the group was founded with.
    pub at: Index,
    /// Who votes; the incoming ones if it is joint. Never empty.
    pub voters: BTreeSet<NodeId>,
    /// The outgoing voters; empty unless it is joint.
    pub outgoing: BTreeSet<NodeId>,
    /// Who follows without a vote. `learners & (voters | outgoing) == {}`.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// The membership that a group of `voters` is founded with.
    pub fn founding(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether a change is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` has a vote.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` takes part at all.
    pub fn has(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Everybody, each once, in order.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Whether `yes` holds for a majority of the voters, and of the outgoing ones if there are any.
    pub fn is_quorum(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        let agrees = |voters: &BTreeSet<NodeId>| {
            let agreeing = voters.iter().filter(|voter| yes(**voter)).count();
            voters.is_empty() || agreeing > voters.len() / 2
        };
        !self.voters.is_empty() && agrees(&self.voters) && agrees(&self.outgoing)
    }

    /// The change to `voters` and `learners`, if the membership is still this one when it is asked for.
    pub fn to(&self, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId>) -> Change {
        Change { from: self.at, voters, learners }
    }

    /// The change that adds `node` as a learner.
    pub fn with_learner(&self, node: NodeId) -> Change {
        let mut change = self.to(self.voters.clone(), self.learners.clone());
        change.learners.insert(node);
        change
    }

    /// The change that gives `node` a vote.
    pub fn with_voter(&self, node: NodeId) -> Change {
        let mut change = self.to(self.voters.clone(), self.learners.clone());
        change.learners.remove(&node);
        change.voters.insert(node);
        change
    }

    /// The change that removes `node`.
    pub fn without(&self, node: NodeId) -> Change {
        let mut change = self.to(self.voters.clone(), self.learners.clone());
        change.learners.remove(&node);
        change.voters.remove(&node);
        change
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &BTreeSet<NodeId>| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        write!(f, "({}", list(&self.voters))?;
        if self.is_joint() {
            write!(f, " && {}", list(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " | {}", list(&self.learners))?;
        }
        write!(f, ")@{}", self.at)
    }
}

/// A membership that is wanted in place of a known one.
///
/// It says the whole, not the difference, so that who asks twice, or for the remainder of what died halfway, does no harm; and
/// it names the one it was thought out from, so that two who change at once do not undo each other's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// [`Membership::at`] of the one it was made from. Another is refused as [`Rejection::Outdated`](crate::Rejection::Outdated).
    pub from: Index,
    /// Who is to vote. Not empty.
    pub voters: BTreeSet<NodeId>,
    /// Who is to follow without a vote. Nobody is in both.
    pub learners: BTreeSet<NodeId>,
}

impl Change {
    /// Whether there can be such a membership.
    pub fn is_possible(&self) -> bool {
        !self.voters.is_empty() && self.voters.is_disjoint(&self.learners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(of: &[u64]) -> BTreeSet<NodeId> {
        of.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_joint_membership_needs_a_majority_of_each_half() {
        let mut membership = Membership::founding(nodes(&[1, 2, 3]));
        let quorum = |membership: &Membership, yes: &[u64]| {
            let yes = nodes(yes);
            membership.is_quorum(|node| yes.contains(&node))
        };
        assert!(quorum(&membership, &[1, 3]) && !quorum(&membership, &[1, 4, 5]));
        membership.outgoing = nodes(&[3, 4, 5]);
        assert!(quorum(&membership, &[1, 3, 4]) && quorum(&membership, &[1, 2, 4, 5]));
        assert!(!quorum(&membership, &[1, 2, 3]) && !quorum(&membership, &[3, 4, 5]));
        assert_eq!(membership.to_string(), "(n1 n2 n3 && n3 n4 n5)@i0");
    }

    #[test]
    fn even_halves_are_no_majority_and_nobody_is_no_quorum() {
        assert!(!Membership::founding(nodes(&[1, 2])).is_quorum(|node| node == NodeId(1)));
        assert!(!Membership::default().is_quorum(|_| true));
    }

    #[test]
    fn a_change_says_the_whole_and_where_it_began() {
        let membership = Membership { at: Index(7), ..Membership::founding(nodes(&[1, 2])) };
        let change = membership.with_learner(NodeId(3));
        assert_eq!((change.from, &change.learners), (Index(7), &nodes(&[3])));
        let change = Membership { learners: nodes(&[3]), ..membership }.with_voter(NodeId(3));
        assert_eq!((change.voters.clone(), change.learners.len()), (nodes(&[1, 2, 3]), 0));
        assert!(change.is_possible());
        assert!(!Membership::founding(nodes(&[1])).without(NodeId(1)).is_possible());
    }
}
