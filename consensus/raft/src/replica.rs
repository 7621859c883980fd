//! One replica: the core, the role it has, and how one role becomes another.

use crate::candidate::Candidate;
use crate::codec::{COUNT_MAX, Config};
use crate::core::{Core, Need};
use crate::follower::{Append, Follower};
use crate::leader::Leader;
use crate::message::{Attempt, Body, Message, Round};
use crate::quorum::Tally;
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{
    Consensus, Effect, Index, Input, Instant, LeaseKind, LogId, NodeId, Rejection, Snapshot,
    Status, Term, Ticket,
};
use std::sync::Arc;

/// What a replica is. A follower has no lease and no progress of others to misread.
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
    Halted,
}

pub(crate) struct Replica {
    core: Core,
    role: Role,
    /// A snapshot that is being installed: who sent it, in which round, and its membership.
    installing: Option<(NodeId, Round, Bytes)>,
    /// What was last told of the role.
    told: Option<(nori_consensus::Role, Term, Option<NodeId>)>,
}

impl Replica {
    pub(crate) fn new(mut core: Core) -> Self {
        let follower = Follower::new(&mut core, None);
        Self { core, role: Role::Follower(follower), installing: None, told: None }
    }

    fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Leader(_) => Some(self.core.me),
            Role::Candidate(_) | Role::Halted => None,
        }
    }

    fn role(&self) -> nori_consensus::Role {
        match &self.role {
            Role::Follower(_) if self.core.configs.is_voter(self.core.me) => {
                nori_consensus::Role::Follower
            }
            Role::Follower(_) => nori_consensus::Role::Learner,
            Role::Candidate(candidate) if candidate.is_pre => nori_consensus::Role::PreCandidate,
            Role::Candidate(_) => nori_consensus::Role::Candidate,
            Role::Leader(_) => nori_consensus::Role::Leader,
            Role::Halted => nori_consensus::Role::Halted,
        }
    }

    /// Follows, in the present term.
    fn follow(&mut self, leader: Option<NodeId>) {
        if let Role::Leader(old) = &mut self.role {
            let forgotten = old.reads.take();
            for ticket in forgotten.into_iter().filter(|_| !mutant::is(Mutant::ReadsForgotten)) {
                self.core.reject(ticket, Rejection::Superseded);
            }
        }
        self.role = Role::Follower(Follower::new(&mut self.core, leader));
    }

    fn campaign(&mut self, is_transfer: bool) {
        if !self.core.may_campaign() {
            return self.follow(None);
        }
        let is_alone = self.core.configs.latest().is_quorum(|node| node == self.core.me);
        let candidate = if is_transfer || is_alone {
            Candidate::real(&mut self.core, is_transfer)
        } else {
            Candidate::pre(&mut self.core)
        };
        self.role = Role::Candidate(candidate);
        self.count_votes();
    }

    fn count_votes(&mut self) {
        let Role::Candidate(candidate) = &self.role else { return };
        match (candidate.tally(&self.core), candidate.is_pre) {
            (Tally::Open, _) => {}
            (Tally::Lost, _) => self.follow(None),
            (Tally::Won, true) => {
                self.role = Role::Candidate(Candidate::real(&mut self.core, false));
            }
            (Tally::Won, false) => {
                // An election is won by promises that are safe, its own among them or not needed.
                if self.core.is_promise_safe() {
                    self.role = Role::Leader(Box::new(Leader::new(&mut self.core)));
                }
            }
        }
    }

    fn receive(&mut self, from: NodeId, bytes: &Bytes) {
        let Ok(message) = Message::decode(bytes) else { return };
        let is_meant = message.shard == self.core.shard
            && message.to == self.core.me
            && message.from == from
            && from != self.core.me;
        if !is_meant {
            return;
        }
        self.stir(&message.body);
        match message.body {
            Body::PreVote { last } => return self.pre_vote(from, message.term, last),
            Body::PreVoteReply { is_granted } => {
                return self.pre_vote_reply(from, message.term, is_granted);
            }
            Body::Vote { is_transfer, .. } if !is_transfer && self.keeps_faith() => {
                if message.term <= self.core.term() {
                    self.core.send(from, Body::VoteReply { is_granted: false }, Need::Promise);
                }
                return;
            }
            _ => {}
        }
        if message.term > self.core.term() {
            self.core.enter(message.term);
            self.follow(None);
        }
        let is_ack = matches!(message.body, Body::Appended { .. }) && mutant::is(Mutant::StaleAck);
        if message.term < self.core.term() && !is_ack {
            return self.answer_late(from, &message.body);
        }
        self.heed(from, message.body);
    }

    /// Whether an election is out of place: a leader was heard, or leads, within an election's time.
    fn keeps_faith(&self) -> bool {
        self.core.is_loyal() || matches!(self.role, Role::Leader(_))
    }

    /// Somebody speaks: who sleeps, leader or not, wakes. Late answers to a leader's earlier rounds wake nobody.
    fn stir(&mut self, body: &Body) {
        match &mut self.role {
            Role::Leader(leader) if leader.is_asleep && !leader.is_late(body) => {
                leader.wake(&mut self.core);
            }
            Role::Follower(follower) if follower.is_asleep => {
                // The leader may sleep too, and is told of the same: it gets the time to say so.
                self.core.heard = self.core.now;
                follower.rest(&mut self.core);
            }
            _ => {}
        }
    }

    fn pre_vote(&mut self, from: NodeId, term: Term, last: LogId) {
        let is_granted = term > self.core.term()
            && self.core.may_vote()
            && !self.keeps_faith()
            && (self.core.log.is_covered_by(last) || mutant::is(Mutant::VoteIgnoresLog));
        let term = if is_granted { term } else { self.core.term() };
        self.core.send_in(term, from, Body::PreVoteReply { is_granted }, Need::Promise);
    }

    fn pre_vote_reply(&mut self, from: NodeId, term: Term, is_granted: bool) {
        if !is_granted && term > self.core.term() && !mutant::is(Mutant::PreVoteHidesTerm) {
            // Whoever is ahead must not be asked in a term that is gone.
            self.core.enter(term);
            return self.follow(None);
        }
        let own = self.core.term();
        if let Role::Candidate(candidate) = &mut self.role
            && candidate.is_pre
            && (term == own.next() || !is_granted)
        {
            candidate.hears(from, is_granted);
            self.count_votes();
        }
    }

    /// A message of a term that is over: who still leads or campaigns in it is told.
    fn answer_late(&mut self, from: NodeId, body: &Body) {
        match body {
            Body::Vote { .. } => {
                self.core.send(from, Body::VoteReply { is_granted: false }, Need::Promise);
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. } => {
                let body = Body::HeartbeatReply { answer: self.core.answer(Round(0)) };
                self.core.send(from, body, Need::Promise);
            }
            _ => {}
        }
    }

    /// Whether another leads in this term: then nobody else does.
    fn is_rival(&self, node: NodeId, term: Term) -> bool {
        term == self.core.term() && self.leader().is_some_and(|leader| leader != node)
    }

    /// A message of the present term.
    fn heed(&mut self, from: NodeId, body: Body) {
        let leads = matches!(body, Body::Append { .. } | Body::Heartbeat { .. });
        if leads && self.is_rival(from, self.core.term()) {
            return;
        }
        let core = &mut self.core;
        match (body, &mut self.role) {
            (Body::Vote { last, .. }, Role::Follower(_) | Role::Candidate(_)) => {
                self.vote(from, last);
            }
            (Body::VoteReply { is_granted }, Role::Candidate(candidate)) if !candidate.is_pre => {
                candidate.hears(from, is_granted);
                self.count_votes();
            }
            (body @ (Body::Append { .. } | Body::Heartbeat { .. }), Role::Candidate(_)) => {
                self.follow(Some(from));
                self.heed(from, body);
            }
            (
                Body::Append { before, commit, round, attempt, entries },
                Role::Follower(follower),
            ) => {
                follower.append(core, from, Append { before, commit, round, attempt, entries });
            }
            (
                Body::Heartbeat { commit, round, settled, life, is_asleep },
                Role::Follower(follower),
            ) => {
                // What the leader knows of an earlier life is not true of this one: what that one had may be gone, and what it had replaced be back. And
                // what is settled for an earlier life may yet grow by what that one said.
                let is_of_this = life == core.life || mutant::is(Mutant::EarlierLifeCommitted);
                let known = |index| if is_of_this { index } else { Index::ZERO };
                let (commit, settled) = (known(commit), known(settled));
                follower.heartbeat(core, from, (commit, round), (settled, is_asleep));
            }
            (Body::TimeoutNow, Role::Follower(follower)) if follower.leader == Some(from) => {
                self.campaign(true);
            }
            (Body::Appended { matched, attempt, answer }, Role::Leader(leader)) => {
                leader.appended(core, from, (matched, attempt), answer);
            }
            (Body::Refused { refused, hint, attempt, answer }, Role::Leader(leader)) => {
                leader.refused(core, from, (refused, hint, attempt), answer);
            }
            (Body::HeartbeatReply { answer }, Role::Leader(leader)) => {
                leader.beaten(core, from, answer);
            }
            _ => {}
        }
    }

    fn vote(&mut self, from: NodeId, last: LogId) {
        let is_granted = self.core.may_vote()
            && (self.core.voted().is_none_or(|voted| voted == from)
                || mutant::is(Mutant::DoubleVote))
            && (self.core.log.is_covered_by(last) || mutant::is(Mutant::VoteIgnoresLog));
        if is_granted {
            self.core.vote(from);
            if let Role::Follower(follower) = &mut self.role {
                follower.rest(&mut self.core);
            }
        }
        let is_early = mutant::is(Mutant::VoteBeforeSync);
        let need = if is_early { Need::Nothing } else { Need::Promise };
        self.core.send(from, Body::VoteReply { is_granted }, need);
    }

    /// A snapshot came with `bytes`.
    fn arrive(&mut self, from: NodeId, bytes: &Bytes, snapshot: Snapshot) {
        let Ok(message) = Message::decode(bytes) else { return };
        let Body::Snapshot { round } = message.body else { return };
        let is_meant = message.shard == self.core.shard
            && message.to == self.core.me
            && message.from == from
            && message.term >= self.core.term()
            && snapshot.through.term <= message.term
            && snapshot.through.index.0 <= COUNT_MAX
            && !self.is_rival(from, message.term);
        if !is_meant || matches!(self.role, Role::Leader(_)) && message.term == self.core.term() {
            return;
        }
        if message.term > self.core.term() {
            self.core.enter(message.term);
            self.follow(None);
        }
        if let Role::Candidate(_) = self.role {
            self.follow(Some(from));
        }
        if let Role::Follower(follower) = &mut self.role
            && follower.snapshot(&mut self.core, (from, round), &snapshot).is_some()
        {
            self.installing = Some((from, round, snapshot.membership));
        }
    }

    fn installed(&mut self, through: LogId) {
        let Some((from, round, membership)) = self.installing.take() else { return };
        let config = Config::decode(&membership).unwrap_or_default();
        let at = config.membership.at.min(through.index);
        let config = config.at(at);
        self.core.installed(through, config);
        if let Role::Follower(follower) = &mut self.role {
            follower.rest(&mut self.core);
            if follower.leader == Some(from) {
                let matched = through.index;
                let answer = self.core.answer(round);
                let body = Body::Appended { matched, attempt: Attempt(0), answer };
                self.core.send(from, body, Need::Entries(matched));
            }
        }
    }

    fn stored(&mut self, write: nori_consensus::WriteId) {
        self.core.stored(write);
        match &mut self.role {
            Role::Candidate(candidate) => {
                candidate.stored(&self.core);
                self.count_votes();
            }
            Role::Leader(leader) => leader.count(&mut self.core),
            Role::Follower(_) | Role::Halted => {}
        }
    }

    fn halt(&mut self) {
        self.follow(None);
        self.role = Role::Halted;
    }

    fn tick(&mut self) {
        if self.deadline().is_none_or(|deadline| self.core.now < deadline) {
            return;
        }
        match &mut self.role {
            Role::Follower(follower) if !self.core.may_campaign() => follower.ask(&mut self.core),
            Role::Follower(_) | Role::Candidate(_) => self.campaign(false),
            Role::Leader(leader) => {
                if !leader.tick(&mut self.core) {
                    self.follow(None);
                }
            }
            Role::Halted => {}
        }
    }

    /// Ends a ticket that only a leader could serve.
    fn refuse(&mut self, ticket: Ticket) {
        let leader = self.leader();
        self.core.reject(ticket, Rejection::NotLeader { leader });
    }

    /// Lets entries go that are safe in the state, but for those that who lags may want.
    fn truncate(&mut self, through: Index) {
        let is_past = mutant::is(Mutant::TruncatePastDurable);
        let through = if is_past { self.core.applied } else { through };
        let trailing = if is_past { 0 } else { self.core.settings.trailing_entries };
        self.release(Index(through.0.saturating_sub(trailing)));
    }

    fn release(&mut self, through: Index) {
        if through >= self.core.log.first() {
            self.core.effects.push(Effect::TruncateLog { through });
        }
    }

    /// A leader whom the group has dismissed hands over, then follows.
    fn retire(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.is_dismissed(&self.core) {
            return;
        }
        let last = self.core.log.last().index;
        let voters = leader.progress.iter().filter(|(node, _)| self.core.configs.is_voter(**node));
        let best = voters.max_by_key(|(node, peer)| (peer.matched, std::cmp::Reverse(**node)));
        let best = best.map(|(node, peer)| (*node, peer.matched));
        match best {
            Some((to, matched)) if matched == last => {
                self.core.send(to, Body::TimeoutNow, Need::Nothing);
                leader.lease.void();
                self.follow(None);
            }
            Some(_) => {}
            None => self.follow(None),
        }
    }

    fn tell_role(&mut self) {
        let now = (self.role(), self.core.term(), self.leader());
        if self.told != Some(now) {
            self.told = Some(now);
            let (role, term, leader) = now;
            self.core.effects.push(Effect::RoleChanged { role, term, leader });
        }
    }

    fn halted(&mut self, input: &Input) {
        match input {
            Input::Proposed { ticket, .. }
            | Input::ReadRequested { ticket, .. }
            | Input::MembershipRequested { ticket, .. } => self.refuse(*ticket),
            _ => {}
        }
    }

    fn take(&mut self, input: Input) {
        let core = &mut self.core;
        match (input, &mut self.role) {
            (Input::Received { from, message }, _) => self.receive(from, &message),
            (Input::Proposed { ticket, payload }, Role::Leader(leader)) => {
                leader.propose(core, ticket, payload);
            }
            (Input::ReadRequested { ticket, consistency }, Role::Leader(leader)) => {
                leader.read(core, ticket, consistency);
            }
            (Input::MembershipRequested { ticket, change }, Role::Leader(leader)) => {
                leader.change(core, ticket, change);
            }
            (
                Input::Proposed { ticket, .. }
                | Input::ReadRequested { ticket, .. }
                | Input::MembershipRequested { ticket, .. },
                _,
            ) => self.refuse(ticket),
            (Input::TransferRequested { to }, Role::Leader(leader)) => leader.hand_over(core, to),
            (Input::CampaignRequested, Role::Follower(_)) => {
                // A lease may rest on its faith, whatever its driver thinks of the leader.
                let is_bound = core.settings.lease == LeaseKind::Quorum && core.is_loyal();
                if !is_bound || mutant::is(Mutant::CampaignDisloyal) {
                    self.campaign(false);
                }
            }
            (Input::Stored { write, result: Ok(()) }, _) => self.stored(write),
            (Input::Stored { write, result: Err(_) }, _)
                if mutant::is(Mutant::StorageFaultIgnored) =>
            {
                self.stored(write);
            }
            (Input::Stored { result: Err(_), .. }, _) => self.halt(),
            (Input::LogFetched, Role::Leader(leader)) => leader.fetched(),
            (Input::Applied { through }, _) => {
                core.applied = through;
                if mutant::is(Mutant::TruncatePastDurable) {
                    self.truncate(through);
                }
            }
            (Input::DurablyApplied { through }, _) => self.truncate(through),
            (Input::LogReleased { through }, _) => self.release(through),
            (Input::ApplyDebt { bytes }, _) => core.apply_debt_bytes = bytes,
            (Input::SnapshotArrived { from, message, snapshot }, _) => {
                self.arrive(from, &message, snapshot);
            }
            (Input::SnapshotInstalled { through }, _) => self.installed(through),
            (Input::SnapshotShipped { to, is_delivered }, Role::Leader(leader)) => {
                leader.shipped(to, is_delivered);
            }
            (Input::PeerUnreachable { peer }, Role::Leader(leader)) => leader.unreachable(peer),
            (Input::PeerDown { .. }, Role::Leader(leader)) => leader.wake(core),
            (Input::PeerDown { peer }, Role::Follower(follower)) => follower.peer_down(core, peer),
            (Input::TimerFired, _) => self.tick(),
            _ => {}
        }
    }
}

impl Consensus for Replica {
    fn step(&mut self, now: Instant, input: Input) {
        self.core.now = self.core.now.max(now);
        if matches!(self.role, Role::Halted) {
            return self.halted(&input);
        }
        self.take(input);
        self.retire();
    }

    fn drain(&mut self, effects: &mut Vec<Effect>) {
        self.tell_role();
        if let Role::Leader(leader) = &mut self.role {
            leader.flush(&mut self.core);
        }
        if matches!(self.role, Role::Halted) {
            effects.append(&mut self.core.effects);
        } else {
            self.core.drain(effects);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.role {
            Role::Follower(follower) => follower.deadline,
            Role::Candidate(candidate) => Some(candidate.deadline),
            Role::Leader(leader) => leader.deadline(),
            Role::Halted => None,
        }
    }

    fn status(&self) -> Status {
        let lease_until = match &self.role {
            Role::Leader(leader) if leader.is_settled(&self.core) => {
                leader.lease.holds(self.core.now)
            }
            _ => None,
        };
        Status {
            role: self.role(),
            term: self.core.term(),
            leader: self.leader(),
            commit: self.core.commit,
            applied: self.core.applied,
            last: self.core.log.last(),
            membership: Arc::clone(self.core.configs.latest()),
            lease_until,
            is_doubtful: self.core.doubt.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
