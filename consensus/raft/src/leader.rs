//! Who leads: it takes proposals, brings them to its peers, commits what a quorum has, and answers reads.
//!
//! 1. Its first entry is a no-op; with it everything before commits. An entry of an earlier term never commits by counting alone (Raft, section 5.4.2).
//! 2. Entries go to peers before they are safe here; this replica counts for the quorum as far as its own log is safe.
//! 3. A **round** is a check of who still follows: each heartbeat begins one, and reads do. The latest round that a quorum answered was sent
//!    at a known time; lease and check-quorum both count from that.
//! 4. A change of membership is an entry with the whole of it, in force from its appending. Voters that differ by more than one go through a joint membership,
//!    which the leader ends as soon as it is committed.

use crate::codec::Config;
use crate::core::{Core, Need};
use crate::lease::Lease;
use crate::message::{Answer, Attempt, Body, Round};
use crate::progress::{Progress, State};
use crate::quorum::reached;
use crate::reads::Reads;
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{
    Consistency, Effect, EntryKind, Index, Instant, LeaseKind, LogId, Membership, NodeId,
    Rejection, Slice, Ticket,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) struct Leader {
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) reads: Reads,
    pub(crate) lease: Lease,
    pub(crate) transfer: Option<Transfer>,
    /// The no-op. Nothing is read, and no membership changed, before it is committed.
    term_start: Index,
    /// The last round that began, and when each was sent that no quorum has answered.
    round: Round,
    rounds: VecDeque<(Round, Instant)>,
    /// When the latest round that a quorum answered was sent; the beginning before there is one.
    contact: Instant,
    heartbeat_due: Instant,
    /// When something was last asked of it.
    active: Instant,
    pub(crate) is_asleep: bool,
    /// Nothing commits before: an earlier leader may have a lease that rests on the log.
    defer_until: Option<Instant>,
    /// Entries of this leader that are not committed, and when each was appended; kept if leases rest on the log.
    appended: VecDeque<(Index, Instant)>,
    /// Entries of this leader that are not committed: the last of each batch, and bytes. The sum is `uncommitted_bytes`.
    uncommitted: VecDeque<(Index, u64)>,
    uncommitted_bytes: u64,
}

/// A hand-over under way.
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// It is given up then.
    until: Instant,
    is_told: bool,
}

impl Leader {
    /// Begins to lead in the core's term.
    pub(crate) fn new(core: &mut Core) -> Self {
        let last = core.log.last().index;
        let mut leader = Self {
            progress: BTreeMap::new(),
            reads: Reads::default(),
            lease: Lease::default(),
            transfer: None,
            term_start: last.next(),
            round: Round(0),
            rounds: VecDeque::new(),
            contact: core.now,
            heartbeat_due: core.now,
            active: core.now,
            is_asleep: false,
            defer_until: lease_of_others(core),
            appended: VecDeque::new(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
        };
        leader.follow_membership(core);
        leader.append(core, EntryKind::Noop, Bytes::new());
        leader.beat(core);
        leader.count(core);
        leader
    }

    /// Whether an entry of its term is committed.
    pub(crate) fn is_settled(&self, core: &Core) -> bool {
        core.commit >= self.term_start || mutant::is(Mutant::ReadBeforeNoop)
    }

    /// Peers are those of the newest membership.
    fn follow_membership(&mut self, core: &Core) {
        let (last, now) = (core.log.last().index, core.now);
        let nodes = core.configs.latest().nodes();
        self.progress.retain(|node, _| nodes.contains(node));
        for node in nodes.into_iter().filter(|node| *node != core.me) {
            self.progress.entry(node).or_insert_with(|| Progress::new(last, now));
        }
    }

    /// Takes a proposal.
    pub(crate) fn propose(&mut self, core: &mut Core, ticket: Ticket, payload: Bytes) {
        if self.transfer.is_some() || self.is_dismissed(core) {
            return core.reject(ticket, Rejection::Transferring);
        }
        let is_full = self.uncommitted_bytes >= core.settings.uncommitted_bytes_max
            || core.apply_debt_bytes > core.settings.apply_debt_bytes_max;
        if is_full {
            if mutant::is(Mutant::RefusedButAppended) {
                self.append(core, EntryKind::Data, payload);
            }
            return core.reject(ticket, Rejection::Overloaded);
        }
        self.wake(core);
        let bytes = payload.len() as u64 + nori_consensus::ENTRY_OVERHEAD_BYTES as u64;
        if mutant::is(Mutant::ProposalTwice) {
            self.append(core, EntryKind::Data, payload.clone());
        }
        let mut at = self.append(core, EntryKind::Data, payload);
        self.uncommitted.push_back((at.index, bytes));
        self.uncommitted_bytes += bytes;
        if mutant::is(Mutant::AcceptedElsewhere) {
            at.index = Index(at.index.0 - 1);
        }
        core.effects.push(Effect::Accepted { ticket, at });
    }

    fn append(&mut self, core: &mut Core, kind: EntryKind, payload: Bytes) -> LogId {
        let at = core.append(kind, payload);
        if core.settings.lease == LeaseKind::Log {
            self.appended.push_back((at.index, core.now));
        }
        at
    }

    /// Takes a read.
    pub(crate) fn read(&mut self, core: &mut Core, ticket: Ticket, consistency: Consistency) {
        if self.reads.count() >= core.settings.reads_max {
            return core.reject(ticket, Rejection::Overloaded);
        }
        self.wake(core);
        let lease = self.lease.holds(core.now).filter(|_| self.is_settled(core));
        if consistency == Consistency::Lease && lease.is_some() {
            let after_applying = core.commit;
            core.effects.push(Effect::ReadReady { ticket, after_applying, valid_until: lease });
        } else {
            self.reads.waiting.push(ticket);
            let is_wanted = consistency == Consistency::Lease && self.is_settled(core);
            if is_wanted && core.settings.lease == LeaseKind::Log && self.appended.is_empty() {
                // A lease that rests on the log is renewed by an entry.
                self.append(core, EntryKind::Noop, Bytes::new());
            }
        }
    }

    /// Takes a change of the membership.
    pub(crate) fn change(
        &mut self,
        core: &mut Core,
        ticket: Ticket,
        change: nori_consensus::Change,
    ) {
        let now = core.configs.latest();
        // Or two leaders' changes, each from the same membership, could commit by majorities that do not meet (Ongaro, "bug in single-server membership
        // changes", raft-dev, 2015).
        let has_begun = self.is_settled(core) || mutant::is(Mutant::ChangeBeforeNoop);
        let why = if !change.is_possible() {
            Some(Rejection::Impossible)
        } else if self.transfer.is_some() {
            Some(Rejection::Transferring)
        } else if (now.is_joint() || now.at > core.commit || !has_begun)
            && !mutant::is(Mutant::ChangeWhilePending)
        {
            Some(Rejection::ChangePending)
        } else if change.from != now.at && !mutant::is(Mutant::OutdatedChangeTaken) {
            Some(Rejection::Outdated)
        } else {
            None
        };
        if let Some(why) = why {
            return core.reject(ticket, why);
        }
        let is_joint = now.voters.symmetric_difference(&change.voters).count() > 1;
        let outgoing = if is_joint { now.voters.clone() } else { BTreeSet::new() };
        let is_kept = |_: &&NodeId| !mutant::is(Mutant::DemotedForgotten);
        let demoted = change.learners.intersection(&outgoing).filter(is_kept).copied().collect();
        let learners = change.learners.difference(&outgoing).copied().collect();
        let membership = Membership { at: now.at, voters: change.voters, outgoing, learners };
        let membership = Arc::new(membership);
        let at = self.reform(core, Config { membership, demoted });
        core.effects.push(Effect::Accepted { ticket, at });
    }

    /// Appends a membership, which is in force at once.
    fn reform(&mut self, core: &mut Core, config: Config) -> LogId {
        self.wake(core);
        let config = config.at(core.log.last().index.next());
        let at = self.append(core, EntryKind::Config, config.encode());
        core.configs.push(config);
        self.follow_membership(core);
        at
    }

    /// Begins to hand over.
    pub(crate) fn hand_over(&mut self, core: &mut Core, to: NodeId) {
        if to == core.me || !core.configs.is_voter(to) || self.transfer.is_some() {
            return;
        }
        self.wake(core);
        let until = core.now.after(core.settings.election_min);
        self.transfer = Some(Transfer { to, until, is_told: false });
        self.tell_successor(core);
    }

    /// Tells whom it hands over to, once that one has everything.
    fn tell_successor(&mut self, core: &mut Core) {
        let last = core.log.last().index;
        let Some(transfer) = &mut self.transfer else { return };
        let is_ready = self.progress.get(&transfer.to).is_some_and(|peer| peer.matched == last);
        if is_ready && !transfer.is_told {
            transfer.is_told = true;
            // From here on it may win at any time.
            let is_by_quorum = core.settings.lease == LeaseKind::Quorum;
            if is_by_quorum && !mutant::is(Mutant::LeaseAfterTransfer) {
                self.lease.void();
            }
            core.send(transfer.to, Body::TimeoutNow, Need::Nothing);
        }
    }

    /// A peer's log agrees with this one.
    pub(crate) fn appended(
        &mut self,
        core: &mut Core,
        from: NodeId,
        (matched, attempt): (Index, Attempt),
        answer: Answer,
    ) {
        let Some(peer) = self.progress.get_mut(&from) else { return };
        if matched > core.log.last().index {
            // No log of this term can; the checksum notwithstanding, somebody is wrong.
            return;
        }
        if !peer.hears(core.now, answer) {
            return;
        }
        if peer.matches(matched, attempt) {
            self.count(core);
            self.tell_successor(core);
        }
        self.answered(core, from, answer.round);
    }

    /// A peer does not have what was to be followed.
    pub(crate) fn refused(
        &mut self,
        core: &mut Core,
        from: NodeId,
        (refused, hint, attempt): (Index, LogId, Attempt),
        answer: Answer,
    ) {
        let Some(peer) = self.progress.get_mut(&from) else { return };
        if !peer.hears(core.now, answer) {
            return;
        }
        let agreed = core.log.at_or_below(hint.index, hint.term);
        if !mutant::is(Mutant::RefusalIgnored) {
            peer.refuses(refused, agreed.index, attempt);
        }
        self.answered(core, from, answer.round);
    }

    /// A peer has heard a heartbeat.
    pub(crate) fn beaten(&mut self, core: &mut Core, from: NodeId, answer: Answer) {
        let last = core.log.last().index;
        let Some(peer) = self.progress.get_mut(&from) else { return };
        if !peer.hears(core.now, answer) {
            return;
        }
        match &mut peer.state {
            // What it was sent, or its answer, may be lost.
            State::Probe { is_waiting } => *is_waiting = false,
            // It has the snapshot, or lost it again; its answer to what follows tells.
            State::Snapshot { at_least, is_delivered: true } => {
                peer.next = at_least.next();
                peer.probe();
            }
            State::Replicate(_) if peer.matched < last => {
                let before = Index(peer.next.0 - 1);
                match core.log.term(before) {
                    Some(term) => {
                        let (before, attempt) = (LogId { term, index: before }, peer.attempt);
                        send_empty(core, from, before, (self.round, attempt));
                    }
                    // It was away for so long that what it was sent is gone from the log.
                    None => peer.restart(),
                }
            }
            State::Replicate(_) | State::Snapshot { .. } => {}
        }
        self.answered(core, from, answer.round);
    }

    /// Takes note that `from` answered `round`, and of what follows for reads and lease.
    fn answered(&mut self, core: &mut Core, from: NodeId, round: Round) {
        let Some(peer) = self.progress.get_mut(&from) else { return };
        if round > self.round || round <= peer.round {
            return;
        }
        peer.round = round;
        self.settle_rounds(core);
    }

    fn settle_rounds(&mut self, core: &mut Core) {
        let (me, own, progress) = (core.me, self.round, &self.progress);
        let round_of = |node: NodeId| {
            if node == me { own } else { progress.get(&node).map_or(Round(0), |peer| peer.round) }
        };
        let Some(round) = reached(core.configs.latest(), round_of) else { return };
        while let Some((_, sent)) = self.rounds.pop_front_if(|(of, _)| *of <= round) {
            self.contact = self.contact.max(sent);
            if core.settings.lease == LeaseKind::Quorum {
                let is_late = mutant::is(Mutant::LeaseFromReceipt);
                self.lease.renew(if is_late { core.now } else { sent }, &core.settings);
            }
        }
        self.finish_reads(core, round);
    }

    fn finish_reads(&mut self, core: &mut Core, round: Round) {
        if let Some((after_applying, tickets)) = self.reads.answered(round) {
            for ticket in tickets {
                let ready = Effect::ReadReady { ticket, after_applying, valid_until: None };
                core.effects.push(ready);
            }
        }
    }

    /// Commits what a quorum has, if it is of this term.
    pub(crate) fn count(&mut self, core: &mut Core) {
        let is_early = mutant::is(Mutant::OwnBeforeSync);
        let safe = if is_early { core.log.last().index } else { core.log.safe() };
        let (me, progress) = (core.me, &self.progress);
        let matched = |node: NodeId| {
            if node == me {
                safe
            } else {
                progress.get(&node).map_or(Index::ZERO, |peer| peer.matched)
            }
        };
        let Some(commit) = reached(core.configs.latest(), matched) else { return };
        let is_own = core.log.term(commit) == Some(core.term());
        if commit <= core.commit || !is_own && !mutant::is(Mutant::PriorTermCommit) {
            return;
        }
        let is_deferred = self.defer_until.is_some_and(|until| core.now < until);
        if is_deferred && !mutant::is(Mutant::CommitNotDeferred) {
            return;
        }
        core.commit_to(commit);
        while let Some((_, since)) = self.appended.pop_front_if(|(index, _)| *index <= commit) {
            self.lease.renew(since, &core.settings);
        }
        while let Some((_, bytes)) = self.uncommitted.pop_front_if(|(last, _)| *last <= commit) {
            self.uncommitted_bytes -= bytes;
        }
        let membership = core.configs.latest();
        if membership.is_joint() && membership.at <= commit {
            let ended = core.configs.newest().ended();
            self.reform(core, ended);
        }
    }

    /// Whether it is no voter of a membership that is committed: its work here is done.
    pub(crate) fn is_dismissed(&self, core: &Core) -> bool {
        let membership = core.configs.latest();
        membership.at <= core.commit && !membership.is_voter(core.me)
    }

    /// When it is to be woken.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due =
            self.defer_until.map_or(self.heartbeat_due, |until| until.min(self.heartbeat_due));
        (!self.is_asleep).then_some(due)
    }

    /// Its time has come; whether it still leads.
    pub(crate) fn tick(&mut self, core: &mut Core) -> bool {
        let now = core.now;
        if self.defer_until.take_if(|until| now >= *until).is_some() {
            self.count(core);
        }
        if now < self.heartbeat_due {
            return true;
        }
        let is_alone = core.configs.latest().is_quorum(|node| node == core.me);
        if now.since(self.contact) >= core.settings.election_min && !is_alone {
            return false;
        }
        if self.transfer.as_ref().is_some_and(|transfer| now >= transfer.until) {
            self.transfer = None;
        }
        if self.may_sleep(core) {
            self.sleep(core);
            return true;
        }
        self.prefer(core);
        self.beat(core);
        true
    }

    /// Begins a round with all.
    fn beat(&mut self, core: &mut Core) {
        self.heartbeat_due = core.now.after(core.settings.heartbeat);
        self.begin_round(core, false);
    }

    fn begin_round(&mut self, core: &mut Core, is_asleep: bool) {
        self.round.0 += 1;
        self.rounds.push_back((self.round, core.now));
        let settled = if self.is_settled(core) { core.commit } else { Index::ZERO };
        for (node, peer) in &self.progress {
            let is_bounded = !mutant::is(Mutant::HeartbeatCommitUnbounded);
            let commit = if is_bounded { core.commit.min(peer.matched) } else { core.commit };
            let (round, life) = (self.round, peer.life);
            let body = Body::Heartbeat { commit, round, settled, life, is_asleep };
            core.send(*node, body, Need::Nothing);
        }
        self.settle_rounds(core);
    }

    /// Hands over to who is preferred and has everything.
    fn prefer(&mut self, core: &mut Core) {
        let last = core.log.last().index;
        let is_fit = |node: &NodeId, peer: &Progress| {
            core.configs.is_voter(*node)
                && peer.priority > core.priority
                && peer.matched == last
                && core.now.since(peer.heard) < core.settings.election_min
        };
        let best = self.progress.iter().filter(|(node, peer)| is_fit(node, peer));
        let best = best.max_by_key(|(node, peer)| (peer.priority, std::cmp::Reverse(**node)));
        if let Some(to) = best.map(|(node, _)| *node).filter(|_| self.is_settled(core)) {
            self.hand_over(core, to);
        }
    }

    fn may_sleep(&self, core: &Core) -> bool {
        let last = core.log.last().index;
        core.settings.quiesce_after.is_some_and(|after| core.now.since(self.active) >= after)
            && core.commit == last
            && core.applied == last
            && self.reads.count() == 0
            && self.transfer.is_none()
            && !core.configs.latest().is_joint()
            && self.progress.values().all(|peer| {
                peer.matched == last && core.now.since(peer.heard) < core.settings.election_min
            })
    }

    /// Whether it only answers what was said before the good night: everybody had answered something as new by then.
    pub(crate) fn is_late(&self, body: &Body) -> bool {
        let (Body::HeartbeatReply { answer } | Body::Appended { answer, .. }) = body else {
            return false;
        };
        answer.round < self.round
    }

    /// Says good night. Who has everything says nothing to that, and sleeps; who lacks something answers, which wakes this leader.
    fn sleep(&mut self, core: &mut Core) {
        self.begin_round(core, true);
        self.is_asleep = true;
        self.lease.lapse();
        self.rounds.clear();
    }

    /// Something is asked of it, or somebody stirs.
    pub(crate) fn wake(&mut self, core: &mut Core) {
        self.active = core.now;
        if std::mem::replace(&mut self.is_asleep, false) {
            self.contact = core.now;
            self.progress.values_mut().for_each(|peer| peer.heard = core.now);
            self.beat(core);
        }
    }

    /// Sends what there is to send, and begins the round that reads wait for.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        if self.is_settled(core) && self.reads.want_round() {
            let is_new = !mutant::is(Mutant::ReadRoundReused);
            self.reads.ask(Round(self.round.0 + u64::from(is_new)), core.commit);
            if is_new {
                self.begin_round(core, false);
            } else {
                self.settle_rounds(core);
            }
        }
        let peers: Vec<NodeId> = self.progress.keys().copied().collect();
        for node in peers {
            while self.send_entries(core, node) {}
        }
    }

    /// Sends a peer the next entries; whether it may be sent more.
    fn send_entries(&mut self, core: &mut Core, node: NodeId) -> bool {
        let last = core.log.last().index;
        let Some(peer) = self.progress.get_mut(&node) else { return false };
        let is_probe = matches!(peer.state, State::Probe { .. });
        if !peer.is_ready(&core.settings) || (peer.next > last && !is_probe) {
            return false;
        }
        let before = Index(peer.next.0 - 1);
        let Some(term) = core.log.term(before).filter(|_| peer.next >= core.log.first()) else {
            ship(core, node, peer, self.round);
            return false;
        };
        let entries = if peer.next > last {
            Vec::new()
        } else {
            match core.log.slice(peer.next, last.next(), core.settings.append_bytes_max) {
                Slice::Ready(entries) => entries,
                Slice::Pending => {
                    peer.is_fetching = true;
                    return false;
                }
            }
        };
        let sent = entries.last().map_or(before, |entry| entry.id.index);
        peer.sent(sent, entries.iter().map(nori_consensus::Entry::bytes).sum());
        let (before, commit) = (LogId { term, index: before }, core.commit);
        let (round, attempt) = (self.round, peer.attempt);
        core.send(node, Body::Append { before, commit, round, attempt, entries }, Need::Nothing);
        !is_probe && sent < last
    }

    /// What was being fetched is there.
    pub(crate) fn fetched(&mut self) {
        self.progress.values_mut().for_each(|peer| peer.is_fetching = false);
    }

    /// The shipping of a snapshot ended.
    pub(crate) fn shipped(&mut self, to: NodeId, arrived: bool) {
        let Some(peer) = self.progress.get_mut(&to) else { return };
        if let State::Snapshot { is_delivered, .. } = &mut peer.state {
            *is_delivered = arrived;
            if !arrived {
                peer.restart();
            }
        }
    }

    /// Messages to a peer do not get through.
    pub(crate) fn unreachable(&mut self, peer: NodeId) {
        if let Some(peer) = self.progress.get_mut(&peer)
            && matches!(peer.state, State::Replicate(_))
        {
            peer.restart();
        }
    }
}

/// Until when an earlier leader may have a lease that rests on an entry of this log.
fn lease_of_others(core: &Core) -> Option<Instant> {
    let is_by_log = core.settings.lease == LeaseKind::Log && core.log.last() != LogId::ZERO;
    is_by_log.then(|| core.received.after(core.settings.election_min))
}

/// Asks whether a peer still has what it was sent.
fn send_empty(core: &mut Core, node: NodeId, before: LogId, (round, attempt): (Round, Attempt)) {
    let (commit, entries) = (core.commit, Vec::new());
    core.send(node, Body::Append { before, commit, round, attempt, entries }, Need::Nothing);
}

/// Brings a peer a snapshot, for what it needs is gone from the log.
fn ship(core: &mut Core, node: NodeId, peer: &mut Progress, round: Round) {
    let at_least = Index(core.log.first().0 - 1);
    peer.state = State::Snapshot { at_least, is_delivered: false };
    let body = Body::Snapshot { round };
    let message = crate::message::Message {
        shard: core.shard,
        from: core.me,
        to: node,
        term: core.term(),
        body,
    };
    core.effects.push(Effect::ShipSnapshot { to: node, message: message.encode(), at_least });
}
