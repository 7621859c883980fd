//! A replica of raft-rs: its node, and what the seam wants beyond it.

mod ready;

use super::convert::{self, Config};
use super::storage::Store;
use crate::envelope::{self, Address};
use bytes::Bytes;
use nori_consensus::chance::Chance;
use nori_consensus::{
    Boot, BootError, Change, Consensus, Consistency, Effect, Index, Input, Instant, LogId, NodeId,
    Rejection, Role, Settings, ShardId, Snapshot, SnapshotHandle, Status, Term, Ticket, WriteId,
};
use protobuf::Message as _;
use raft::eraftpb::{HardState, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// A heartbeat is this many ticks.
const HEARTBEAT_TICKS: usize = 2;

pub(super) struct Replica {
    raw: RawNode<Store>,
    me: NodeId,
    shard: ShardId,
    settings: Settings,
    chance: Chance,
    now: Instant,
    tick: Duration,
    /// The time up to which ticks were made up for.
    ticked: Instant,
    /// The election timeout in force, in ticks, and the state for which it was drawn.
    timeout: usize,
    drawn_for: (StateRole, u64),
    last_write: WriteId,
    safe_write: WriteId,
    /// The last write with a hard state.
    hard_write: WriteId,
    /// Readies that are not persisted, each with the write that has to end for it.
    readies: VecDeque<(WriteId, u64)>,
    /// A snapshot that is being installed, and its ready.
    installing: Option<u64>,
    /// What it says once that is installed: that it has what the snapshot covers.
    after_install: Vec<Message>,
    /// The snapshot that arrived last: raft-rs may ask to install it.
    arrived: Option<SnapshotHandle>,
    /// Reads that wait for an entry of the term to commit.
    early_reads: Vec<Ticket>,
    /// Reads that raft-rs has.
    reads: BTreeSet<Ticket>,
    applied: Index,
    apply_debt_bytes: u64,
    is_halted: bool,
    told: Option<(Role, Term, Option<NodeId>)>,
    effects: Vec<Effect>,
}

impl Replica {
    pub(super) fn new(boot: Boot, settings: Settings) -> Result<Self, BootError> {
        let shard = boot.shard;
        let unreadable = |what: &'static str| BootError::Unreadable {
            shard,
            what,
            why: "it is not of raft-rs".to_owned(),
        };
        let mut hard_state = HardState::default();
        hard_state.merge_from_bytes(&boot.hard_state).map_err(|_| unreadable("hard state"))?;
        let config = Config::decode(&boot.membership).ok_or_else(|| unreadable("membership"))?;
        let term = boot.log.term(boot.applied).unwrap_or(Term::ZERO);
        let applied = LogId { term, index: boot.applied };
        // What was committed is written along with something else only, and may be of entries that are not there.
        hard_state.commit = hard_state.commit.clamp(boot.applied.0, boot.log.last().index.0);
        // In term 0 it panics when it has to refuse a pre-vote (raft 0.7.0): life begins in term 1.
        hard_state.term = hard_state.term.max(boot.log.last().term.0).max(1);
        let tick = settings.heartbeat / HEARTBEAT_TICKS as u32;
        let theirs = their_config(&boot, &settings, tick);
        let store = Store::new(boot.log, hard_state, config, applied);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&theirs, store, &logger)
            .map_err(|error| BootError::Inconsistent { shard, why: error.to_string() })?;
        let mut replica = Self {
            raw,
            me: boot.me,
            shard,
            settings,
            chance: Chance::new(boot.seed),
            now: boot.now,
            tick,
            ticked: boot.now,
            timeout: 0,
            drawn_for: (StateRole::Leader, 0),
            last_write: WriteId::ZERO,
            safe_write: WriteId::ZERO,
            hard_write: WriteId::ZERO,
            readies: VecDeque::new(),
            installing: None,
            after_install: Vec::new(),
            arrived: None,
            early_reads: Vec::new(),
            reads: BTreeSet::new(),
            applied: boot.applied,
            apply_debt_bytes: 0,
            is_halted: false,
            told: None,
            effects: Vec::new(),
        };
        replica.redraw();
        Ok(replica)
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn leader(&self) -> Option<NodeId> {
        Some(self.raw.raft.leader_id).filter(|leader| *leader != 0).map(NodeId)
    }

    fn reject(&mut self, ticket: Ticket, why: Rejection) {
        self.effects.push(Effect::Rejected { ticket, why });
    }

    /// Overwrites the election timeout, with a new draw if this may be another election.
    fn redraw(&mut self) {
        let state = (self.raw.raft.state, self.raw.raft.term);
        let (least, elapsed) = (self.raw.raft.election_timeout(), self.raw.raft.election_elapsed);
        if self.drawn_for != state || elapsed == 0 && self.timeout == 0 {
            self.drawn_for = state;
            self.timeout = least + self.chance.below(least as u64) as usize;
        }
        self.raw.raft.set_randomized_election_timeout(self.timeout);
    }

    /// Makes up for the ticks that have passed.
    fn make_up(&mut self) {
        if self.installing.is_some() {
            // It would look for changes of the membership among entries that are no longer there, and panic (raft 0.7.0).
            self.ticked = self.now;
        }
        while self.now.since(self.ticked) >= self.tick {
            self.ticked = self.ticked.after(self.tick);
            if self.raw.tick() {
                if !self.is_leader() {
                    // It has just campaigned, or could not.
                    self.drawn_for = (StateRole::Leader, 0);
                }
                self.redraw();
            }
        }
    }

    fn propose(&mut self, ticket: Ticket, payload: &Bytes) {
        if let Some(why) = self.refusal() {
            return self.reject(ticket, why);
        }
        let before = self.raw.raft.raft_log.last_index();
        let proposed = self.raw.propose(convert::proposal_context(), payload.to_vec());
        self.accept(ticket, before, proposed.is_ok());
    }

    /// Why nothing can be proposed now.
    fn refusal(&self) -> Option<Rejection> {
        if !self.is_leader() {
            return Some(Rejection::NotLeader { leader: self.leader() });
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Some(Rejection::Transferring);
        }
        (self.apply_debt_bytes > self.settings.apply_debt_bytes_max)
            .then_some(Rejection::Overloaded)
    }

    /// Ends the ticket of a proposal by what became of it.
    fn accept(&mut self, ticket: Ticket, before: u64, is_ok: bool) {
        let log = &self.raw.raft.raft_log;
        let at = LogId { term: Term(self.raw.raft.term), index: Index(log.last_index()) };
        if is_ok && at.index.0 == before + 1 {
            self.effects.push(Effect::Accepted { ticket, at });
        } else {
            self.reject(ticket, Rejection::Overloaded);
        }
    }

    fn change(&mut self, ticket: Ticket, change: &Change) {
        let now = self.raw.store().config.borrow().membership();
        let why = self.refusal().or(if !change.is_possible() {
            Some(Rejection::Impossible)
        } else if self.raw.raft.has_pending_conf() || now.is_joint() {
            Some(Rejection::ChangePending)
        } else if change.from != now.at {
            Some(Rejection::Outdated)
        } else {
            None
        });
        if let Some(why) = why {
            return self.reject(ticket, why);
        }
        let steps = convert::steps(&self.raw.store().config.borrow(), change);
        if steps.changes.is_empty() {
            // To it, a change without steps is the end of a joint membership.
            return self.reject(ticket, Rejection::Impossible);
        }
        let before = self.raw.raft.raft_log.last_index();
        let proposed = self.raw.propose_conf_change(Vec::new(), steps);
        self.accept(ticket, before, proposed.is_ok());
    }

    fn read(&mut self, ticket: Ticket, _consistency: Consistency) {
        if !self.is_leader() {
            let leader = self.leader();
            return self.reject(ticket, Rejection::NotLeader { leader });
        }
        if self.reads.len() + self.early_reads.len() >= self.settings.reads_max {
            return self.reject(ticket, Rejection::Overloaded);
        }
        self.early_reads.push(ticket);
    }

    /// Asks for the reads that waited, once it would not drop them.
    fn ask_reads(&mut self) {
        if !self.is_leader() || !self.raw.raft.commit_to_current_term() {
            return;
        }
        for ticket in std::mem::take(&mut self.early_reads) {
            self.reads.insert(ticket);
            self.raw.read_index(ticket.0.to_le_bytes().to_vec());
        }
    }

    /// Who lost the office has forgotten its reads.
    fn forget_reads(&mut self) {
        if !self.is_leader() {
            let forgotten = std::mem::take(&mut self.early_reads).into_iter();
            for ticket in forgotten.chain(std::mem::take(&mut self.reads)) {
                self.effects.push(Effect::Rejected { ticket, why: Rejection::Superseded });
            }
        }
    }

    fn receive(&mut self, from: NodeId, bytes: &Bytes) {
        if let Some(message) = self.decode(from, bytes)
            && message.get_msg_type() != MessageType::MsgSnapshot
            && (message.get_msg_type() != MessageType::MsgTimeoutNow || self.installing.is_none())
        {
            // What it cannot use it says so of, and that is all there is to do.
            let _ = self.raw.step(message);
        }
    }

    /// A message that is for this replica, and that peers send.
    fn decode(&self, from: NodeId, bytes: &Bytes) -> Option<Message> {
        let (address, inner) = envelope::open(bytes)?;
        let mut message = Message::default();
        message.merge_from_bytes(&inner).ok()?;
        let is_meant = address == Address { shard: self.shard, from, to: self.me }
            && message.from == from.0
            && message.to == self.me.0
            && from != self.me;
        let is_sent = !matches!(
            message.get_msg_type(),
            MessageType::MsgPropose | MessageType::MsgReadIndex | MessageType::MsgReadIndexResp
        );
        (is_meant && is_sent).then_some(message)
    }

    fn arrive(&mut self, from: NodeId, bytes: &Bytes, snapshot: &Snapshot) {
        let config = Config::decode(&snapshot.membership);
        let (Some(mut message), Some(config)) = (self.decode(from, bytes), config) else { return };
        if message.get_msg_type() != MessageType::MsgSnapshot || self.installing.is_some() {
            return;
        }
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (snapshot.through.index.0, snapshot.through.term.0);
        metadata.set_conf_state(config.state.clone());
        message.mut_snapshot().data = snapshot.membership.clone();
        self.arrived = Some(snapshot.handle);
        let _ = self.raw.step(message);
    }

    fn stored(&mut self, write: WriteId) {
        self.safe_write = self.safe_write.max(write);
        let mut persisted = None;
        while let Some((_, number)) = self.readies.pop_front_if(|(of, _)| *of <= write) {
            persisted = Some(number);
        }
        if let Some(number) = persisted {
            self.raw.on_persist_ready(number);
        }
    }

    fn installed(&mut self, through: LogId) {
        let Some(number) = self.installing.take() else { return };
        self.raw.store().reset_to.set(None);
        self.raw.on_persist_ready(number);
        self.raw.advance_apply_to(through.index.0);
        self.applied = through.index;
        for message in std::mem::take(&mut self.after_install) {
            self.send(&message, None);
        }
    }

    fn apply(&mut self, through: Index) {
        self.applied = through;
        self.raw.advance_apply_to(through.0);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Received { from, message } => self.receive(from, &message),
            Input::Proposed { ticket, payload } => self.propose(ticket, &payload),
            Input::ReadRequested { ticket, consistency } => self.read(ticket, consistency),
            Input::MembershipRequested { ticket, change } => self.change(ticket, &change),
            Input::TransferRequested { to } if self.is_leader() && to != self.me => {
                self.raw.transfer_leader(to.0);
            }
            // Who is no voter must not: it would count a vote that it does not have.
            Input::CampaignRequested
                if !self.is_leader() && self.raw.raft.promotable() && self.installing.is_none() =>
            {
                let _ = self.raw.campaign();
            }
            Input::Stored { write, result: Ok(()) } => self.stored(write),
            Input::Stored { result: Err(_), .. } => self.halt(),
            Input::LogFetched => {
                for context in self.raw.store().take_waiting() {
                    self.raw.on_entries_fetched(context);
                }
            }
            Input::Applied { through } => self.apply(through),
            Input::DurablyApplied { through } => self.truncate(through),
            Input::LogReleased { through } => self.release(through),
            Input::ApplyDebt { bytes } => self.apply_debt_bytes = bytes,
            Input::SnapshotArrived { from, message, snapshot } => {
                self.arrive(from, &message, &snapshot);
            }
            Input::SnapshotInstalled { through } => self.installed(through),
            Input::SnapshotShipped { to, is_delivered } => {
                let status =
                    if is_delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.raw.report_snapshot(to.0, status);
            }
            Input::PeerUnreachable { peer } => self.raw.report_unreachable(peer.0),
            _ => {}
        }
    }

    fn halt(&mut self) {
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, 0);
        self.forget_reads();
        self.is_halted = true;
    }

    /// Lets entries go that are safe in the state, but for those that who lags may want.
    fn truncate(&mut self, through: Index) {
        self.release(Index(through.0.saturating_sub(self.settings.trailing_entries)));
    }

    fn release(&mut self, through: Index) {
        if through.0 >= self.raw.store().first() {
            self.effects.push(Effect::TruncateLog { through });
        }
    }

    fn role(&self) -> Role {
        match self.raw.raft.state {
            _ if self.is_halted => Role::Halted,
            StateRole::Leader => Role::Leader,
            StateRole::Candidate => Role::Candidate,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Follower if self.raw.raft.promotable() => Role::Follower,
            StateRole::Follower => Role::Learner,
        }
    }

    fn tell_role(&mut self) {
        let now = (self.role(), Term(self.raw.raft.term), self.leader());
        if self.told != Some(now) {
            self.told = Some(now);
            let (role, term, leader) = now;
            self.effects.push(Effect::RoleChanged { role, term, leader });
        }
    }
}

/// Its own settings.
fn their_config(boot: &Boot, settings: &Settings, tick: Duration) -> raft::Config {
    let election_tick = (settings.election_min.as_nanos() / tick.as_nanos().max(1)) as usize;
    raft::Config {
        id: boot.me.0,
        election_tick: election_tick.max(HEARTBEAT_TICKS + 1),
        heartbeat_tick: HEARTBEAT_TICKS,
        applied: boot.applied.0,
        max_size_per_msg: settings.append_bytes_max as u64,
        max_inflight_msgs: settings.inflight_messages_max,
        check_quorum: true,
        pre_vote: true,
        max_uncommitted_size: settings.uncommitted_bytes_max.max(settings.append_bytes_max as u64),
        ..raft::Config::default()
    }
}

impl Consensus for Replica {
    fn step(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        self.raw.store().settle();
        if self.is_halted {
            let leader = None;
            if let Input::Proposed { ticket, .. }
            | Input::ReadRequested { ticket, .. }
            | Input::MembershipRequested { ticket, .. } = input
            {
                self.reject(ticket, Rejection::NotLeader { leader });
            }
            return;
        }
        self.make_up();
        self.take(input);
        self.ask_reads();
        self.forget_reads();
        self.redraw();
    }

    fn drain(&mut self, effects: &mut Vec<Effect>) {
        self.tell_role();
        // What is accepted is told when it is in the log.
        let mut told = std::mem::take(&mut self.effects);
        self.collect();
        self.ask_reads();
        self.collect();
        self.forget_reads();
        self.tell_role();
        self.redraw();
        effects.append(&mut self.effects);
        effects.append(&mut told);
    }

    fn deadline(&self) -> Option<Instant> {
        let raft = &self.raw.raft;
        let ticks = match raft.state {
            _ if self.is_halted || self.installing.is_some() => return None,
            StateRole::Leader => {
                let heartbeat = raft.heartbeat_timeout().saturating_sub(raft.heartbeat_elapsed());
                heartbeat.min(raft.election_timeout().saturating_sub(raft.election_elapsed))
            }
            _ if !raft.promotable() => return None,
            _ => self.timeout.saturating_sub(raft.election_elapsed),
        };
        Some(self.ticked.after(self.tick * ticks.max(1) as u32))
    }

    fn status(&self) -> Status {
        let log = &self.raw.raft.raft_log;
        Status {
            role: self.role(),
            term: Term(self.raw.raft.term),
            leader: self.leader(),
            commit: Index(log.committed),
            applied: self.applied,
            last: LogId { term: Term(log.last_term()), index: Index(log.last_index()) },
            membership: self.raw.store().config.borrow().membership().into(),
            lease_until: None,
            is_doubtful: false,
        }
    }
}

#[cfg(test)]
mod tests;
