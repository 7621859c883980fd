//! What a majority has reached: one function, for commits, reads, leases and votes.
//!
//! A **position** is anything of which more includes less: a matched index, an acknowledged round, a time, a yes. What a group has reached is
//! the largest position that a majority of the voters has reached, and of the outgoing voters too while it is joint.

use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Membership, NodeId};
use std::collections::BTreeSet;

/// The largest position that a majority of `voters` has reached; `None` if nobody votes.
fn of_majority<P: Ord + Copy>(
    voters: &BTreeSet<NodeId>,
    position: &impl Fn(NodeId) -> P,
) -> Option<P> {
    let mut reached: Vec<P> = voters.iter().map(|voter| position(*voter)).collect();
    // With n voters, a majority of n / 2 + 1 has reached what stands n / 2 places below the top.
    let place = (reached.len().checked_sub(1)?) / 2;
    let (_, of_majority, _) = reached.select_nth_unstable(place);
    Some(*of_majority)
}

/// The largest position that a quorum of `membership` has reached; `None` of nobody.
pub(crate) fn reached<P: Ord + Copy>(
    membership: &Membership,
    position: impl Fn(NodeId) -> P,
) -> Option<P> {
    let incoming = if mutant::is(Mutant::LearnerCounted) {
        let all = membership.voters.union(&membership.learners).copied().collect();
        of_majority(&all, &position)?
    } else {
        of_majority(&membership.voters, &position)?
    };
    match of_majority(&membership.outgoing, &position) {
        Some(_) if mutant::is(Mutant::JointNewOnly) => Some(incoming),
        Some(outgoing) => Some(incoming.min(outgoing)),
        None => Some(incoming),
    }
}

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Won,
    Lost,
    Open,
}

/// How a vote stands in which `vote` tells what each has said, if anything.
pub(crate) fn tally(membership: &Membership, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    // No is below silence, and silence below yes: with the silent as yes, can it be won still?
    let stands = reached(membership, |node| match vote(node) {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    });
    match stands {
        Some(2) => Tally::Won,
        Some(1) => Tally::Open,
        _ => Tally::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], outgoing: &[u64]) -> Membership {
        let nodes = |of: &[u64]| of.iter().copied().map(NodeId).collect();
        Membership { voters: nodes(voters), outgoing: nodes(outgoing), ..Membership::default() }
    }

    #[test]
    fn a_majority_is_more_than_half() {
        /// Voters, outgoing voters, positions, what is reached.
        type Case = (&'static [u64], &'static [u64], [u64; 5], u64);
        let cases: [Case; 7] = [
            (&[1], &[], [7, 0, 0, 0, 0], 7),
            (&[1, 2], &[], [7, 5, 0, 0, 0], 5),
            (&[1, 2, 3], &[], [7, 5, 6, 0, 0], 6),
            (&[1, 2, 3, 4], &[], [7, 5, 6, 1, 0], 5),
            (&[1, 2, 3, 4, 5], &[], [1, 2, 3, 4, 5], 3),
            (&[1, 2, 3], &[3, 4, 5], [9, 9, 1, 2, 3], 2),
            (&[1, 2, 3], &[1], [4, 9, 9, 0, 0], 4),
        ];
        for (voters, outgoing, positions, expected) in cases {
            let at = |node: NodeId| positions[node.0 as usize - 1];
            assert_eq!(reached(&members(voters, outgoing), at), Some(expected), "{voters:?}");
        }
        assert_eq!(reached(&members(&[], &[]), |_| 1), None);
    }

    #[test]
    fn a_joint_vote_needs_both_halves() {
        let joint = members(&[1, 2, 3], &[4, 5, 6]);
        let vote = |yes: &'static [u64], no: &'static [u64]| {
            tally(&joint, |node| match (yes.contains(&node.0), no.contains(&node.0)) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            })
        };
        assert_eq!(vote(&[1, 2, 3], &[]), Tally::Open);
        assert_eq!(vote(&[1, 2, 4, 5], &[]), Tally::Won);
        assert_eq!(vote(&[1, 2, 3], &[4, 5]), Tally::Lost);
        assert_eq!(vote(&[], &[2, 3]), Tally::Lost);
    }

    #[test]
    fn what_is_reached_is_what_is_quorum() {
        let mut chance = nori_consensus::chance::Chance::new(3);
        for _ in 0..2_000 {
            let mut some = |most| {
                let count = chance.between(0, most);
                (0..count).map(|_| chance.between(1, 6)).collect::<Vec<_>>()
            };
            let membership = members(&[&[1], &some(5)[..]].concat(), &some(4));
            let positions: Vec<u64> = (0..6).map(|_| chance.below(4)).collect();
            let at = |node: NodeId| positions[node.0 as usize - 1];
            let reached = reached(&membership, at).unwrap();
            assert!(membership.is_quorum(|node| at(node) >= reached));
            assert!(!membership.is_quorum(|node| at(node) > reached));
        }
    }
}
