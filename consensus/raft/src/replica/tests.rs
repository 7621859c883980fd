//! One replica that hears what no sound peer says, or what was meant for an earlier life: it takes no harm, and starts again.

use crate::NoriRaft;
use crate::codec::{Config, HardState};
use crate::message::{Answer, Attempt, Body, Life, Message, Round};
use bytes::Bytes;
use nori_consensus::{
    Boot, Consensus, ConsensusFactory, Effect, Entry, EntryKind, Index, Input, Instant, LogId,
    LogView, MemLog, Membership, NodeId, Role, Settings, ShardId, Snapshot, SnapshotHandle,
    Standing, Store, Term, WriteId,
};
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);

/// Node 1 of three, with its log; what it writes is safe at once.
struct Node {
    replica: Box<dyn Consensus>,
    log: Arc<MemLog>,
    now: Instant,
}

fn entry(term: u64, index: u64, kind: EntryKind) -> Entry {
    Entry { id: LogId::new(term, index), kind, payload: Bytes::from_static(b"payload") }
}

fn data(term: u64, indices: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indices.map(|index| entry(term, index, EntryKind::Data)).collect()
}

fn founders() -> Bytes {
    let membership = Arc::new(Membership::founding([1, 2, 3].map(NodeId)));
    Config { membership, ..Config::default() }.encode()
}

impl Node {
    /// In term 5, with `entries`, of which so many are applied.
    fn new(entries: Vec<Entry>, applied: u64, standing: Standing) -> Self {
        let log = Arc::new(MemLog::default());
        let hard_state = Some(HardState { term: Term(5), voted: None }.encode());
        let write = WriteId(1);
        log.begin(Store { write, hard_state, truncate_from: None, entries, sync: true });
        log.make_safe();
        Self::boot(log, applied, 2, standing)
    }

    fn boot(log: Arc<MemLog>, applied: u64, life: u64, standing: Standing) -> Self {
        let now = Instant { nanos: 1_000_000_000 };
        let boot = Boot {
            me: NodeId(1),
            shard: SHARD,
            seed: 7,
            life,
            now,
            hard_state: log.hard_state(),
            membership: founders(),
            snapshot: None,
            applied: Index(applied),
            log: Arc::clone(&log) as Arc<dyn LogView>,
            standing,
            priority: 0,
        };
        let replica = NoriRaft::new(Settings::default()).unwrap().boot(boot).unwrap();
        let mut node = Self { replica, log, now };
        node.drain();
        node
    }

    /// What was written can be read again by the next life.
    fn starts_again(self, applied: u64) {
        Self::boot(self.log, applied, 3, Standing::Whole);
    }

    fn drain(&mut self) -> Vec<Effect> {
        let (mut all, mut effects) = (Vec::new(), Vec::new());
        loop {
            self.replica.drain(&mut effects);
            if effects.is_empty() {
                return all;
            }
            for effect in &effects {
                if let Effect::Store(store) = effect {
                    self.log.begin(store.clone());
                }
            }
            all.append(&mut effects);
            while let Some(write) = self.log.make_safe() {
                self.replica.step(self.now, Input::Stored { write, result: Ok(()) });
            }
        }
    }

    fn hears(&mut self, from: u64, term: u64, body: Body) -> Vec<Effect> {
        let (from, to) = (NodeId(from), NodeId(1));
        let message = Message { shard: SHARD, from, to, term: Term(term), body }.encode();
        self.now.nanos += 1_000;
        self.replica.step(self.now, Input::Received { from, message });
        self.drain()
    }

    fn gets_snapshot(&mut self, through: LogId, membership: Bytes) -> Vec<Effect> {
        let (from, body) = (NodeId(2), Body::Snapshot { round: Round(1) });
        let message = Message { shard: SHARD, from, to: NodeId(1), term: Term(5), body }.encode();
        let snapshot = Snapshot { through, membership, handle: SnapshotHandle(1) };
        self.replica.step(self.now, Input::SnapshotArrived { from, message, snapshot });
        self.drain()
    }

    /// Elections pass.
    fn wait(&mut self) {
        for _ in 0..5 {
            self.now.nanos += 5_000_000_000;
            self.replica.step(self.now, Input::TimerFired);
            self.drain();
        }
    }

    fn last(&self) -> LogId {
        self.replica.status().last
    }
}

fn heartbeat(commit: u64, life: u64) -> Body {
    let (commit, settled) = (Index(commit), Index::ZERO);
    Body::Heartbeat { commit, round: Round(1), settled, life: Life(life), is_asleep: false }
}

fn append(before: (u64, u64), commit: u64, entries: Vec<Entry>) -> Body {
    let (before, commit) = (LogId::new(before.0, before.1), Index(commit));
    Body::Append { before, commit, round: Round(1), attempt: Attempt(1), entries }
}

fn has_applied(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Apply { .. }))
}

fn installs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::InstallSnapshot { .. }))
}

/// A machine lost its power before a truncation was synced: what had been truncated is back, and the leader has not heard of it.
#[test]
fn what_is_committed_of_an_earlier_life_is_not_taken_for_what_this_one_has() {
    let mut node = Node::new(data(3, 1..=7), 5, Standing::Doubtful);
    assert!(!has_applied(&node.hears(2, 5, heartbeat(7, 1))), "of the life before");
    let refused = node.hears(2, 5, append((5, 7), 8, data(5, 8..=8)));
    assert!(!has_applied(&refused));
    assert!(has_applied(&node.hears(2, 5, append((3, 5), 7, data(5, 6..=7)))));
    assert_eq!(node.last(), LogId::new(5, 7));
    // The same of a life that the leader has heard of.
    let mut node = Node::new(data(5, 1..=7), 5, Standing::Doubtful);
    assert!(has_applied(&node.hears(2, 5, heartbeat(7, 2))));
}

#[test]
fn numbers_that_nobody_counts_to_are_no_message() {
    let last = LogId::new(9, 9);
    let bodies = [
        heartbeat(0, 0),
        Body::PreVoteReply { is_granted: false },
        Body::Vote { last, is_transfer: true },
    ];
    for body in bodies {
        let mut node = Node::new(vec![], 0, Standing::Whole);
        node.hears(2, u64::MAX, body);
        assert_eq!(node.replica.status().term, Term(5));
        node.wait();
    }
    let mut node = Node::new(vec![], 0, Standing::Whole);
    node.hears(2, 5, append((5, u64::MAX), u64::MAX, vec![]));
    node.hears(2, 5, heartbeat(u64::MAX, u64::MAX));
    assert!(!installs(&node.gets_snapshot(LogId::new(5, u64::MAX), founders())));
    let answer = Answer { round: Round(1), life: Life(u64::MAX), priority: 0 };
    node.hears(2, 5, Body::HeartbeatReply { answer });
    node.wait();
}

#[test]
fn entries_that_no_leader_has_are_not_taken() {
    // Behind what is committed here, of a term that is over.
    let mut node = Node::new(data(5, 1..=10), 10, Standing::Whole);
    node.hears(2, 5, append((1, 9), 0, data(1, 10..=11)));
    assert_eq!(node.last(), LogId::new(5, 10));
    // Of a term that has not begun.
    let mut node = Node::new(vec![], 0, Standing::Whole);
    node.hears(2, 5, append((0, 0), 0, data(9, 1..=1)));
    assert_eq!(node.last(), LogId::ZERO);
    // A membership that cannot be read, and what is behind it.
    let garbage = vec![entry(5, 1, EntryKind::Data), entry(5, 2, EntryKind::Config)];
    node.hears(2, 5, append((0, 0), 2, [garbage, data(5, 3..=3)].concat()));
    assert_eq!((node.last(), node.replica.status().commit), (LogId::new(5, 1), Index(1)));
    node.starts_again(1);
}

#[test]
fn a_snapshot_that_no_leader_has_is_not_installed() {
    let mut node = Node::new(vec![], 0, Standing::Whole);
    assert!(!installs(&node.gets_snapshot(LogId::new(9, 20), founders())), "of a later term");
    assert!(!installs(&node.gets_snapshot(LogId::new(5, 20), Bytes::new())), "of nobody");
    assert!(installs(&node.gets_snapshot(LogId::new(5, 20), founders())));
}

#[test]
fn who_says_that_it_leads_where_another_does_is_not_heard() {
    let mut node = Node::new(vec![], 0, Standing::Whole);
    node.hears(2, 5, heartbeat(0, 0));
    assert_eq!(node.hears(3, 5, heartbeat(0, 0)), []);
    assert_eq!(node.hears(3, 5, append((0, 0), 0, data(5, 1..=1))), []);
    assert_eq!((node.replica.status().leader, node.last()), (Some(NodeId(2)), LogId::ZERO));
}

/// Nodes 1, 2 and 3 of which 3 is gone for good, on the way to 2 alone. Both that live have the joint membership; node 1, which led, has the end of it
/// too, and nobody else does: without node 1 node 2 has no majority of the outgoing, and node 1 does not vote for a shorter log.
#[test]
fn who_alone_has_the_entry_that_takes_its_vote_campaigns_until_that_is_committed() {
    let nodes = |of: &[u64]| of.iter().copied().map(NodeId).collect();
    let reformed = |index: u64, outgoing: &[u64]| {
        let (at, outgoing) = (Index(index), nodes(outgoing));
        let membership = Membership { at, outgoing, ..Membership::founding([NodeId(2)]) };
        let config = Config { membership: Arc::new(membership), ..Config::default() };
        Entry { payload: config.encode(), ..entry(5, index, EntryKind::Config) }
    };
    let entries = vec![reformed(1, &[1, 2, 3]), reformed(2, &[])];
    let mut node = Node::new(entries, 1, Standing::Whole);
    assert_eq!(node.replica.status().role, Role::Learner);
    node.now.nanos += 5_000_000_000;
    node.replica.step(node.now, Input::TimerFired);
    node.drain();
    assert_eq!(node.replica.status().role, Role::PreCandidate, "its own vote does not count");
    node.hears(2, 6, Body::PreVoteReply { is_granted: true });
    assert_eq!(node.replica.status().role, Role::Candidate, "its own vote does not count");
    node.hears(2, 6, Body::VoteReply { is_granted: true });
    assert_eq!(node.replica.status().role, Role::Leader);
    let answer = Answer { round: Round(1), life: Life(1), priority: 0 };
    node.hears(2, 6, Body::Appended { matched: Index(3), attempt: Attempt(0), answer });
    let status = node.replica.status();
    assert_eq!((status.role, status.commit), (Role::Learner, Index(3)), "its work is done");
    node.wait();
    assert_eq!(node.replica.status().role, Role::Learner, "of what is committed it is no voter");
}

#[test]
fn what_waits_for_the_end_of_an_installation_is_bounded() {
    let mut node = Node::new(vec![], 0, Standing::Whole);
    node.gets_snapshot(LogId::new(5, 20), founders());
    for _ in 0..10_000 {
        node.hears(3, 6, heartbeat(0, 0));
    }
    node.log.reset(LogId::new(5, 20));
    node.replica.step(node.now, Input::SnapshotInstalled { through: LogId::new(5, 20) });
    let effects = node.drain();
    assert!((1..1_000).contains(&effects.len()), "{} effects", effects.len());
    assert_eq!(node.replica.status().role, Role::Follower);
}
