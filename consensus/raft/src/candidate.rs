//! Who campaigns: first it asks whether it would win (pre-vote; Ongaro, section 9.6), then in a term of its own.

use crate::core::{Core, Need};
use crate::message::Body;
use crate::quorum::{Tally, tally};
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Instant, Membership, NodeId};
use std::collections::BTreeMap;

pub(crate) struct Candidate {
    pub(crate) is_pre: bool,
    votes: BTreeMap<NodeId, bool>,
    /// When it tries again.
    pub(crate) deadline: Instant,
}

impl Candidate {
    /// Asks whether it would win.
    pub(crate) fn pre(core: &mut Core) -> Self {
        let mut candidate = Self::new(core, true);
        candidate.votes.insert(core.me, true);
        let body = Body::PreVote { last: core.log.last() };
        let term = core.term().next();
        for peer in core.other_voters() {
            core.send_in(term, peer, body.clone(), Need::Nothing);
        }
        candidate
    }

    /// Asks for votes in the next term. Its own counts once it is safe.
    pub(crate) fn real(core: &mut Core, is_transfer: bool) -> Self {
        core.enter(core.term().next());
        core.vote(core.me);
        let candidate = Self::new(core, false);
        let body = Body::Vote { last: core.log.last(), is_transfer };
        for peer in core.other_voters() {
            core.send(peer, body.clone(), Need::Promise);
        }
        candidate
    }

    fn new(core: &mut Core, is_pre: bool) -> Self {
        let wait = core.election_time();
        Self { is_pre, votes: BTreeMap::new(), deadline: core.now.after(wait) }
    }

    /// Takes note of a vote. The first of a voter counts.
    pub(crate) fn hears(&mut self, from: NodeId, is_granted: bool) {
        self.votes.entry(from).or_insert(is_granted);
    }

    /// Its own promise is safe.
    pub(crate) fn stored(&mut self, core: &Core) {
        if !self.is_pre && core.is_promise_safe() {
            self.votes.insert(core.me, true);
        }
    }

    pub(crate) fn tally(&self, core: &Core) -> Tally {
        let membership = core.configs.latest();
        let vote = |node| self.votes.get(&node).copied();
        if mutant::is(Mutant::JointVoteNewOnly) {
            return tally(&Membership::founding(membership.voters.clone()), vote);
        }
        tally(membership, vote)
    }
}
