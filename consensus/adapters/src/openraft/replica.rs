//! A replica of openraft: what goes in is given to its tasks, which run until they all wait; what they want comes out.

use super::message::{Body, Message};
use super::network::Network;
use super::runtime::Enclave;
use super::shared::Shared;
use super::storage::{Log, Machine};
use super::types::{Proposal, TheirStored, Types, from_bytes, our_id, our_membership, their_id};
use crate::envelope::{self, Address};
use bytes::Bytes;
use futures_executor::LocalPool;
use nori_consensus::{
    Boot, BootError, Change, Consensus, Effect, Index, Input, Instant, LogId, NodeId, Rejection,
    Role, Settings, Snapshot, Status, Term, Ticket,
};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::AppendEntriesRequest;
use openraft::storage::SnapshotMeta;
use openraft::type_config::AsyncRuntime;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{ChangeMembers, Config, Raft, RaftMetrics, ReadPolicy, ServerState, SnapshotPolicy};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

type TheirRaft = Raft<Types, Machine>;

/// Elections that a snapshot may take until it is given up.
const SNAPSHOT_ELECTIONS: u64 = 100;

pub(super) struct Replica {
    /// `None` only while it is dropped.
    pool: Option<LocalPool>,
    enclave: Rc<Enclave>,
    raft: Option<TheirRaft>,
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    shared: Rc<Shared>,
    settings: Settings,
    apply_debt_bytes: u64,
    is_halted: bool,
    told: Option<(Role, Term, Option<NodeId>)>,
}

fn config(settings: &Settings) -> Config {
    let election = settings.election_min.as_millis() as u64;
    Config {
        cluster_name: String::new(),
        election_timeout_min: election,
        election_timeout_max: 2 * election,
        heartbeat_interval: settings.heartbeat.as_millis() as u64,
        install_snapshot_timeout: election * SNAPSHOT_ELECTIONS,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: settings.trailing_entries,
        replication_lag_threshold: u64::MAX,
        purge_batch_size: 1,
        enable_pre_vote: Some(true),
        // Who starts anew in the term it led may lack entries that it sent before they were safe.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}

impl Replica {
    pub(super) fn new(boot: &Boot, settings: Settings) -> Result<Self, BootError> {
        let shard = boot.shard;
        let shared = Shared::new(boot).map(Rc::new).ok_or(BootError::Unreadable {
            shard,
            what: "hard state or membership",
            why: "it is not of openraft".to_owned(),
        })?;
        let mut pool = LocalPool::new();
        let enclave = Enclave::new(&pool, boot.now, boot.seed);
        let begun: Rc<Begun> = Rc::default();
        let begins = Rc::clone(&begun);
        enclave.within(|| {
            let shared = Rc::clone(&shared);
            let (me, config) = (shared.me.0, Arc::new(config(&settings)));
            let (network, log) = (Network(Rc::clone(&shared)), Log(Rc::clone(&shared)));
            super::runtime::Runtime::spawn(async move {
                let raft = TheirRaft::new(me, config, network, log, Machine(shared)).await;
                begins.replace(Some(raft));
            });
            pool.run_until_stalled();
        });
        let inconsistent = |why: String| BootError::Inconsistent { shard, why };
        let raft = begun
            .take()
            .ok_or_else(|| inconsistent("it waits for something before it begins".to_owned()))?
            .map_err(|error| inconsistent(error.to_string()))?;
        shared.is_beginning.set(false);
        let metrics = raft.metrics();
        Ok(Self {
            pool: Some(pool),
            enclave,
            raft: Some(raft),
            metrics,
            shared,
            settings,
            apply_debt_bytes: 0,
            is_halted: false,
            told: None,
        })
    }

    fn run(&mut self) {
        if let Some(pool) = &mut self.pool {
            self.enclave.within(|| pool.run_until_stalled());
        }
    }

    /// Has a task do something with openraft.
    fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        work: impl FnOnce(TheirRaft, Rc<Shared>) -> F,
    ) {
        let Some(raft) = self.raft.clone() else { return };
        let shared = Rc::clone(&self.shared);
        self.enclave.within(|| {
            let task = work(raft, shared);
            super::runtime::Runtime::spawn(task);
        });
    }

    fn role(&self) -> Role {
        if self.is_halted {
            return Role::Halted;
        }
        match self.metrics.borrow_watched().state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        }
    }

    fn leader(&self) -> Option<NodeId> {
        self.metrics.borrow_watched().current_leader.map(NodeId)
    }

    fn refusal(&self) -> Option<Rejection> {
        if self.is_halted || self.role() != Role::Leader {
            let leader = self.leader().filter(|leader| *leader != self.shared.me);
            return Some(Rejection::NotLeader { leader });
        }
        (self.apply_debt_bytes > self.settings.apply_debt_bytes_max)
            .then_some(Rejection::Overloaded)
    }

    fn propose(&self, ticket: Ticket, payload: Bytes) {
        self.shared.ask(ticket);
        if let Some(why) = self.refusal() {
            return self.shared.reject(ticket, why);
        }
        self.spawn(|raft, shared| async move {
            let proposal = Proposal { payload, ticket: Some(ticket) };
            if let Err(error) = raft.client_write(proposal).await {
                shared.reject(ticket, why_of_write(error));
            }
        });
    }

    fn read(&self, ticket: Ticket) {
        self.shared.ask(ticket);
        if let Some(why @ Rejection::NotLeader { .. }) = self.refusal() {
            return self.shared.reject(ticket, why);
        }
        self.spawn(|raft, shared| async move {
            match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
                Ok((read, _)) => {
                    // It may name the first entry of its term, and leave the waiting for its commit to the reader.
                    let index = our_id(Some(read.log_id())).index;
                    let is_committed = |metrics: &RaftMetrics<Types>| {
                        our_id(metrics.local_committed.as_ref()).index >= index
                    };
                    let ended = |metrics: &RaftMetrics<Types>| {
                        is_committed(metrics) || metrics.state != ServerState::Leader
                    };
                    match raft.metrics().wait_until(ended).await {
                        // Who leads no more may have heard of another entry there.
                        Ok(metrics)
                            if is_committed(&metrics) && metrics.state == ServerState::Leader =>
                        {
                            shared.ready(ticket, index);
                        }
                        _ => shared.reject(ticket, Rejection::Superseded),
                    }
                }
                Err(error) => shared.reject(ticket, why_of_read(error)),
            }
        });
    }

    fn change(&self, ticket: Ticket, change: Change) {
        self.shared.ask(ticket);
        let metrics = self.metrics.borrow_watched();
        let now = our_membership(&metrics.membership_config);
        let is_pending = now.is_joint()
            || metrics.committed_membership_config != metrics.membership_config
            || self.shared.change.get().is_some();
        drop(metrics);
        let why = self.refusal().or(if !change.is_possible() {
            Some(Rejection::Impossible)
        } else if is_pending {
            Some(Rejection::ChangePending)
        } else if change.from != now.at {
            Some(Rejection::Outdated)
        } else {
            None
        });
        if let Some(why) = why {
            return self.shared.reject(ticket, why);
        }
        self.shared.change.set(Some(ticket));
        self.spawn(|raft, shared| async move {
            let voters = change.voters.iter().map(|node| node.0).collect();
            let nodes: BTreeMap<u64, ()> = now
                .voters
                .iter()
                .chain(&change.voters)
                .chain(&change.learners)
                .map(|node| (node.0, ()))
                .collect();
            let steps = ChangeMembers::Batch(vec![
                ChangeMembers::ReplaceAllNodes(nodes),
                ChangeMembers::ReplaceAllVoters(voters),
            ]);
            // Whoever votes no more and is to learn stays; one whom that cannot tell apart from others stays too.
            let retain = now.voters.intersection(&change.learners).next().is_some();
            if let Err(error) = raft.change_membership(steps, retain).await {
                if shared.change.get() == Some(ticket) {
                    shared.change.set(None);
                }
                shared.reject(ticket, why_of_write(error));
            }
        });
    }

    fn receive(&self, from: NodeId, bytes: &Bytes) {
        let Some(Message { life, call, body }) = self.decode(from, bytes) else { return };
        let to = (life, call);
        match body {
            Body::Append(request) => self.spawn(|raft, shared| async move {
                if let Ok(answer) = raft.append_entries(request).await {
                    shared.reply(from, to, Body::Appended(answer));
                }
            }),
            Body::PreVote(request) => self.spawn(|raft, shared| async move {
                if let Ok(answer) = raft.pre_vote(request).await {
                    shared.reply(from, to, Body::PreVoted(answer));
                }
            }),
            Body::Vote(request) => self.spawn(|raft, shared| async move {
                if let Ok(answer) = raft.vote(request).await {
                    shared.reply(from, to, Body::Voted(answer));
                }
            }),
            Body::Transfer(request) => self.spawn(|raft, shared| async move {
                if let Ok(answer) = raft.handle_transfer_leader(request).await {
                    shared.reply(from, to, Body::Transferred(answer));
                }
            }),
            Body::Snapshot(_) => {}
            answer => self.shared.answered(life, call, answer),
        }
    }

    /// A message that is for this replica.
    fn decode(&self, from: NodeId, bytes: &Bytes) -> Option<Message> {
        let (address, inner) = envelope::open(bytes)?;
        let meant = Address { shard: self.shared.shard, from, to: self.shared.me };
        if address != meant || from == self.shared.me {
            return None;
        }
        from_bytes(&inner)
    }

    fn arrive(&self, from: NodeId, bytes: &Bytes, snapshot: &Snapshot) {
        let Some(Message { life, call, body: Body::Snapshot(vote) }) = self.decode(from, bytes)
        else {
            return;
        };
        let Some(stored) = from_bytes::<TheirStored>(&snapshot.membership) else { return };
        let (through, handle) = (snapshot.through, snapshot.handle);
        let has_it = self.shared.log.borrow().has(through);
        self.spawn(|raft, shared| async move {
            let last_log_id = Some(their_id(through));
            let answer = if has_it {
                // A log that has its last entry needs no snapshot, and keeps what follows.
                let request = AppendEntriesRequest {
                    vote,
                    prev_log_id: last_log_id,
                    entries: Vec::new(),
                    leader_commit: last_log_id,
                };
                let is_taken =
                    raft.append_entries(request).await.is_ok_and(|answer| answer.is_success());
                is_taken.then(|| openraft::raft::SnapshotResponse::new(vote))
            } else {
                let meta = SnapshotMeta { last_log_id, last_membership: stored };
                let snapshot = openraft::storage::Snapshot { meta, snapshot: Some(handle) };
                raft.install_full_snapshot(vote, snapshot).await.ok()
            };
            if let Some(answer) = answer {
                shared.reply(from, (life, call), Body::Installed(answer));
            }
        });
    }

    fn durably_applied(&self, through: Index) {
        self.shared.durably_applied(through);
        let kept = through.0.saturating_sub(self.settings.trailing_entries);
        if kept > self.shared.log.borrow().base().index.0 {
            self.spawn(|raft, _| async move {
                // It lets entries go that a snapshot covers.
                let _ = raft.trigger().snapshot().await;
            });
        }
    }

    fn release(&self, through: Index) {
        let through = through.0;
        self.spawn(move |raft, _| async move {
            // It lets entries go that a snapshot covers, which is there some time after it was asked for.
            let _ = raft.trigger().snapshot().await;
            let covers = |metrics: &RaftMetrics<Types>| {
                metrics.snapshot.as_ref().is_some_and(|last| last.index() >= through)
            };
            if raft.metrics().wait_until(covers).await.is_ok() {
                let _ = raft.trigger().purge_log(through).await;
            }
        });
    }

    fn halt(&mut self) {
        self.is_halted = true;
        self.end();
        for ticket in self.shared.open() {
            self.shared.reject(ticket, Rejection::Superseded);
        }
    }

    /// Ends all tasks.
    fn end(&mut self) {
        let (raft, pool) = (self.raft.take(), self.pool.take());
        self.enclave.within(|| {
            drop(raft);
            drop(pool);
        });
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Received { from, message } => self.receive(from, &message),
            Input::Proposed { ticket, payload } => self.propose(ticket, payload),
            Input::ReadRequested { ticket, .. } => self.read(ticket),
            Input::MembershipRequested { ticket, change } => self.change(ticket, change),
            // It takes nothing more until somebody else leads: nobody ever does if that was itself, or no voter.
            Input::TransferRequested { to }
                if self.role() == Role::Leader
                    && self.leader() != Some(to)
                    && self.status().membership.is_voter(to) =>
            {
                self.spawn(|raft, _| async move {
                    let _ = raft.trigger().transfer_leader(to.0).await;
                });
            }
            Input::CampaignRequested => self.spawn(|raft, _| async move {
                let _ = raft.trigger().elect(true).await;
            }),
            Input::Stored { write, result: Ok(()) } => {
                self.enclave.within(|| self.shared.stored(write));
            }
            Input::Stored { result: Err(_), .. } => self.halt(),
            Input::LogFetched => self.shared.fetched(),
            Input::Applied { through } => self.shared.applied(through),
            Input::DurablyApplied { through } => self.durably_applied(through),
            Input::LogReleased { through } => self.release(through),
            Input::ApplyDebt { bytes } => self.apply_debt_bytes = bytes,
            Input::SnapshotArrived { from, message, snapshot } => {
                self.arrive(from, &message, &snapshot);
            }
            Input::SnapshotInstalled { through } => self.shared.installed(through),
            Input::SnapshotShipped { to, is_delivered } => self.shared.shipped(to, is_delivered),
            _ => {}
        }
    }

    fn tell_role(&mut self) {
        let now = {
            let metrics = self.metrics.borrow_watched();
            (self.role(), Term(metrics.current_term), self.leader())
        };
        if self.told != Some(now) {
            self.told = Some(now);
            let (role, term, leader) = now;
            self.shared.effect(Effect::RoleChanged { role, term, leader });
        }
    }
}

type Begun = RefCell<Option<Result<TheirRaft, openraft::errors::Fatal<Types>>>>;

fn why_of_write(error: RaftError<Types, ClientWriteError<Types>>) -> Rejection {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            Rejection::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) => Rejection::Impossible,
        _ => Rejection::Superseded,
    }
}

fn why_of_read(error: RaftError<Types, LinearizableReadError<Types>>) -> Rejection {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            Rejection::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        _ => Rejection::Superseded,
    }
}

impl Consensus for Replica {
    fn step(&mut self, now: Instant, input: Input) {
        self.shared.settle();
        if self.is_halted {
            if let Input::Proposed { ticket, .. }
            | Input::ReadRequested { ticket, .. }
            | Input::MembershipRequested { ticket, .. } = input
            {
                self.shared.ask(ticket);
                self.shared.reject(ticket, Rejection::NotLeader { leader: None });
            }
            return;
        }
        self.enclave.pass(now);
        self.take(input);
        self.run();
    }

    fn drain(&mut self, effects: &mut Vec<Effect>) {
        self.tell_role();
        self.shared.drain(effects);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_halted { None } else { self.enclave.deadline() }
    }

    fn status(&self) -> Status {
        let metrics = self.metrics.borrow_watched();
        let log = self.shared.log.borrow();
        let applied = self.shared.applied.get().index;
        let last: LogId = log.last();
        let commit = our_id(metrics.local_committed.as_ref()).index;
        Status {
            role: self.role(),
            term: Term(metrics.current_term),
            leader: self.leader(),
            commit: commit.max(applied).min(last.index),
            applied,
            last,
            membership: our_membership(&metrics.membership_config).into(),
            lease_until: None,
            is_doubtful: false,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.end();
    }
}
