//! Groups of replicas by real protocols, whose logs and network are memory.

use super::*;
use crate::command::{Condition, Identity, Session};
use crate::error::Refusal;
use crate::request::{KeyChange, Reply, Request, Value};
use nori_consensus::{ConsensusFactory, Input, MemLog, Membership, Solo};
use nori_kv::{EngineFactory, Tick};
use nori_model::ModelFactory;
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;

struct Node {
    replica: Replica,
    log: Arc<MemLog>,
}

/// A group, its clock, and what was answered.
struct Group {
    protocol: Box<dyn ConsensusFactory>,
    disks: Vec<ModelFactory>,
    nodes: Vec<Option<Node>>,
    now: Now,
    last: RequestId,
    under_way: VecDeque<(NodeId, NodeId, Bytes)>,
    answers: BTreeMap<RequestId, Answer>,
}

impl Group {
    fn new(protocol: impl ConsensusFactory + 'static, size: u64) -> Self {
        let mut group = Self {
            protocol: Box::new(protocol),
            disks: (0..size).map(|_| ModelFactory::new()).collect(),
            nodes: Vec::new(),
            now: Now { steady: Instant { nanos: 1 }, wall: Tick(1_000_000) },
            last: RequestId(0),
            under_way: VecDeque::new(),
            answers: BTreeMap::new(),
        };
        for n in 1..=size {
            let node = group.open(n, Arc::default(), 1);
            group.nodes.push(Some(node));
        }
        group.wait(3_000);
        group
    }

    fn solo() -> Self {
        Self::new(Solo, 1)
    }

    fn three() -> Self {
        Self::new(nori_raft::NoriRaft::new(nori_consensus::Settings::default()).unwrap(), 3)
    }

    fn open(&self, n: u64, log: Arc<MemLog>, life: u64) -> Node {
        let voters = (1..=self.disks.len() as u64).map(NodeId);
        let founding = self.protocol.founding(&Membership::founding(voters));
        let (parts, _) = seeded(n, nori_env::MemFs::new(), Arc::new(NullMeter));
        let opening = Opening {
            me: NodeId(n),
            shard: ShardId(7),
            protocol: &*self.protocol,
            founding,
            state: State::open(
                self.disks[n as usize - 1].open(Path::new("/shard"), parts).unwrap(),
            )
            .unwrap(),
            log: Arc::clone(&log) as Arc<dyn LogView>,
            hard_state: log.hard_state(),
            life,
            seed: n + 10 * life,
            standing: Standing::Whole,
            priority: 0,
            settings: Settings { identities_max: 4, ..Settings::default() },
        };
        Node { replica: Replica::open(opening, self.now).unwrap(), log }
    }

    /// Everything that can happen now.
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for n in 0..self.nodes.len() {
                is_idle &= !self.round(n);
            }
            let Some((from, to, message)) = self.under_way.pop_front() else {
                if is_idle {
                    return;
                }
                continue;
            };
            if let Some(node) = &mut self.nodes[to.0 as usize - 1] {
                node.replica.step(self.now, Input::Received { from, message });
            }
        }
    }

    /// A round of one node; whether anything came of it.
    fn round(&mut self, n: usize) -> bool {
        let now = self.now;
        let Some(node) = &mut self.nodes[n] else { return false };
        let mut outputs = Vec::new();
        node.replica.drain(&mut outputs);
        let has_outputs = !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Store(store) => {
                    node.log.begin(store);
                    let write = node.log.make_safe().unwrap();
                    node.replica.step(now, Input::Stored { write, result: Ok(()) });
                }
                Output::Send { to, message, .. } => {
                    self.under_way.push_back((NodeId(n as u64 + 1), to, message));
                }
                Output::Answer(answer) => {
                    assert!(self.answers.insert(answer.request, answer).is_none());
                }
                Output::Fetch(fetch) => node.replica.fetched(fetch.run()),
                Output::TruncateLog { through } => node.log.truncate(through),
                Output::RoleChanged { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
        node.replica.work(now).unwrap() || has_outputs
    }

    /// Time passes.
    fn wait(&mut self, millis: u64) {
        let end = self.now.steady.after(Duration::from_millis(millis));
        self.settle();
        loop {
            let deadlines = self.nodes.iter().flatten().filter_map(|node| node.replica.deadline());
            let Some(next) = deadlines.min().filter(|next| *next <= end) else { break };
            self.pass(next.max(self.now.steady));
            let now = self.now;
            self.nodes.iter_mut().flatten().for_each(|node| node.replica.tick(now));
            self.settle();
        }
        self.pass(end);
        self.settle();
    }

    fn pass(&mut self, to: Instant) {
        let millis = to.nanos / 1_000_000 - self.now.steady.nanos / 1_000_000;
        self.now = Now { steady: to, wall: Tick(self.now.wall.0 + millis) };
    }

    fn leader(&self) -> usize {
        let leads = |node: &Option<Node>| {
            node.as_ref().is_some_and(|node| node.replica.status().role == Role::Leader)
        };
        self.nodes.iter().position(leads).expect("somebody leads")
    }

    fn ask(&mut self, n: usize, request: Request) -> RequestId {
        self.last.0 += 1;
        self.nodes[n].as_mut().unwrap().replica.request(self.now, self.last, request);
        self.settle();
        self.last
    }

    fn reply(&mut self, n: usize, request: Request) -> Reply {
        let id = self.ask(n, request);
        self.answers.remove(&id).expect("it is answered at once").reply
    }

    fn write(&mut self, identity: Option<Identity>, change: KeyChange) -> Result<Version, Refusal> {
        let leader = self.leader();
        match self.reply(leader, Request::Write { identity, changes: vec![change] }) {
            Reply::Written(version) => Ok(version),
            Reply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, n: usize, freshness: Freshness, key: &'static str) -> Option<Value> {
        match self.reply(n, Request::Read { freshness, target: Target::Row(key.into()) }) {
            Reply::Row(row) => row,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, key: &'static str) -> Option<Value> {
        self.read(self.leader(), Freshness::Linearizable, key)
    }
}

use crate::rows::Version;

const STALE: Freshness = Freshness::Stale { age_max: None, version_min: 0 };

fn put(key: &'static str, value: &'static str) -> KeyChange {
    let (condition, value) = (Condition::None, Some(value.into()));
    KeyChange { key: key.into(), condition, value, ttl: None }
}

fn key(issued_at: Tick, key: &'static str) -> Option<Identity> {
    Some(Identity::Key { issued_at, key: key.into() })
}

#[test]
fn rows_are_written_read_and_compared_in_every_way() {
    for mut group in [Group::solo(), Group::three()] {
        let version = group.write(None, put("a", "1")).unwrap();
        let row = Some(Value { version, bytes: "1".into() });
        let leader = group.leader();
        for freshness in [Freshness::Linearizable, Freshness::Lease, STALE] {
            if freshness != Freshness::Lease || group.nodes.len() > 1 {
                assert_eq!(group.read(leader, freshness, "a"), row, "{freshness:?}");
                assert_eq!(group.read(leader, freshness, "b"), None, "{freshness:?}");
            }
        }
        let absent = KeyChange { condition: Condition::Absent, ..put("a", "2") };
        let mismatch = Refusal::VersionMismatch { operation: 0, actual: version };
        assert_eq!(group.write(None, absent).unwrap_err(), mismatch);
        let swap = KeyChange { condition: Condition::Version(version), ..put("a", "3") };
        assert!(group.write(None, swap.clone()).unwrap() > version);
        assert!(group.write(None, swap).is_err());
        let gone = KeyChange { value: None, ..put("a", "") };
        group.write(None, gone).unwrap();
        assert_eq!(group.get("a"), None);
        group.wait(500);
    }
}

#[test]
fn a_request_with_an_identity_is_executed_once() {
    let mut group = Group::three();
    let name = key(group.now.wall, "name");
    let version = group.write(name.clone(), put("a", "1")).unwrap();
    assert_eq!(group.write(name.clone(), put("a", "2")).unwrap(), version);
    // The leader dies; whoever comes after it knows.
    let leader = group.leader();
    group.nodes[leader] = None;
    group.wait(3_000);
    assert_eq!(group.write(name.clone(), put("a", "3")).unwrap(), version);
    assert_eq!(group.get("a").unwrap().bytes, "1");
    // As long as identities are remembered, and then it is refused.
    group.wait(590_000);
    assert_eq!(group.write(name.clone(), put("a", "4")).unwrap(), version);
    group.wait(15_000);
    assert_eq!(group.write(name, put("a", "5")).unwrap_err(), Refusal::SessionExpired);
    assert_eq!(group.get("a").unwrap().bytes, "1");
}

#[test]
fn two_of_the_same_name_under_way_at_once_are_one() {
    let mut group = Group::three();
    let (leader, now) = (group.leader(), group.now);
    let replica = &mut group.nodes[leader].as_mut().unwrap().replica;
    for (id, value) in [(RequestId(101), "1"), (RequestId(102), "2")] {
        let identity = key(now.wall, "name");
        replica.request(now, id, Request::Write { identity, changes: vec![put("a", value)] });
    }
    group.settle();
    let version = |answer: &Answer| match answer.reply {
        Reply::Written(version) => version,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(version(&group.answers[&RequestId(101)]), version(&group.answers[&RequestId(102)]));
    assert_eq!(group.get("a").unwrap().bytes, "1");
}

#[test]
fn a_session_that_is_used_outlives_the_window_and_one_that_idles_does_not() {
    let mut group = Group::three();
    let issued_at = group.now.wall;
    let session = |sequence| Some(Identity::Session(Session { issued_at, client: 9, sequence }));
    let mut last = 0;
    for sequence in 1..=5 {
        let version = group.write(session(sequence), put("a", "x")).unwrap();
        assert!(version > last);
        last = version;
        group.wait(400_000);
    }
    assert_eq!(group.write(session(5), put("a", "y")).unwrap(), last);
    group.wait(1_300_000);
    assert_eq!(group.write(session(6), put("a", "y")).unwrap_err(), Refusal::SessionExpired);
}

#[test]
fn a_replica_that_lags_does_not_take_a_session_for_forgotten() {
    let mut group = Group::three();
    let issued_at = group.now.wall;
    let session = |sequence| Some(Identity::Session(Session { issued_at, client: 9, sequence }));
    let leader = group.leader();
    let lagging = (leader + 1) % 3;
    let away = group.nodes[lagging].take();
    group.write(session(1), put("a", "1")).unwrap();
    group.nodes[lagging] = away;
    let write = Request::Write { identity: session(2), changes: vec![put("a", "2")] };
    let now = group.now;
    let replica = &mut group.nodes[lagging].as_mut().unwrap().replica;
    replica.request(now, RequestId(900), write);
    let mut outputs = Vec::new();
    replica.drain(&mut outputs);
    let is_hint = |output: &Output| {
        matches!(
            output,
            Output::Answer(Answer { reply: Reply::Refused(Refusal::NotLeader { .. }), .. })
        )
    };
    assert!(outputs.iter().any(is_hint), "{outputs:?}");
}

#[test]
fn many_identities_expire_one_entry_after_the_other() {
    let mut group = Group::three();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        group.wait(10);
        group.write(key(group.now.wall, name), put("a", "x")).unwrap();
    }
    // No pause between entries that went well: there are as many as there may be at once.
    group.wait(10);
    let machine = group.nodes[group.leader()].as_ref().unwrap().replica.machine.as_ref();
    assert!(machine.unwrap().identities().len() <= 4);
}

#[test]
fn identities_that_are_too_many_go_oldest_first() {
    let mut group = Group::three();
    let names = ["1", "2", "3", "4", "5", "6"];
    let mut issued = Vec::new();
    for name in names {
        group.wait(10);
        issued.push(group.now.wall);
        group.write(key(group.now.wall, name), put("a", name)).unwrap();
    }
    group.wait(2_000);
    let oldest = group.write(key(issued[0], "1"), put("a", "again"));
    assert_eq!(oldest.unwrap_err(), Refusal::SessionExpired);
    assert!(group.write(key(issued[5], "6"), put("a", "again")).is_ok());
    assert_eq!(group.get("a").unwrap().bytes, "6");
}

#[test]
fn rows_expire_by_the_leaders_clock_for_all() {
    let mut group = Group::three();
    let ttl = Some(Duration::from_millis(1_500));
    group.write(None, KeyChange { ttl, ..put("a", "1") }).unwrap();
    group.write(None, put("b", "2")).unwrap();
    group.wait(1_400);
    assert!(group.get("a").is_some());
    // Its bucket is due within a tenth of a second after it, and the others hear of the commit with the next heartbeat, as much later.
    group.wait(301);
    for n in 0..3 {
        assert_eq!(group.read(n, STALE, "a"), None);
        assert!(group.read(n, STALE, "b").is_some());
    }
    assert_eq!(group.get("a"), None);
    let absent = KeyChange { condition: Condition::Absent, ..put("a", "3") };
    group.write(None, absent).unwrap();
    // Nothing is due any more: the group proposes nothing.
    let last = group.nodes[0].as_ref().unwrap().replica.status().last;
    group.wait(60_000);
    assert_eq!(group.nodes[0].as_ref().unwrap().replica.status().last, last);
}

#[test]
fn who_does_not_lead_says_who_does_and_serves_what_may_be_old() {
    let mut group = Group::three();
    let version = group.write(None, put("a", "1")).unwrap();
    group.wait(200);
    let leader = group.leader();
    let other = (leader + 1) % 3;
    let write = Request::Write { identity: None, changes: vec![put("a", "2")] };
    let hint = Some(NodeId(leader as u64 + 1));
    let reply = group.reply(other, write);
    assert!(matches!(reply, Reply::Refused(Refusal::NotLeader { leader }) if leader == hint));
    assert_eq!(group.read(other, STALE, "a").unwrap().version, version);
    // Not before it has the version that is asked for.
    let freshness = Freshness::Stale { age_max: None, version_min: version + 1 };
    let id = group.ask(other, Request::Read { freshness, target: Target::Row("a".into()) });
    assert!(!group.answers.contains_key(&id));
    group.write(None, put("a", "2")).unwrap();
    group.wait(200);
    assert!(matches!(&group.answers[&id].reply, Reply::Row(Some(row)) if row.bytes == "2"));
    // How old it is, it knows only by what the leader said.
    let freshness =
        |millis| Freshness::Stale { age_max: Some(Duration::from_millis(millis)), version_min: 0 };
    let read = |millis| Request::Read { freshness: freshness(millis), target: Target::View };
    assert!(matches!(group.reply(other, read(100)), Reply::Refused(Refusal::TooStale { .. })));
    let (now, commit) =
        (group.now.steady, group.nodes[leader].as_ref().unwrap().replica.status().commit);
    group.nodes[other].as_mut().unwrap().replica.refresh(now, commit);
    assert!(
        matches!(group.reply(other, read(100)), Reply::View(view) if view.at().index == commit)
    );
    group.wait(101);
    assert!(matches!(group.reply(other, read(100)), Reply::Refused(Refusal::TooStale { .. })));
    assert!(matches!(group.reply(other, read(200)), Reply::View(_)));
}

#[test]
fn a_leader_that_lost_its_office_says_what_it_knows() {
    let mut group = Group::three();
    let leader = group.leader();
    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    let others = [group.nodes[one].take(), group.nodes[two].take()];
    let write = Request::Write { identity: None, changes: vec![put("a", "1")] };
    let id = group.ask(leader, write);
    assert!(!group.answers.contains_key(&id), "nobody has it but the leader");
    // The others go on without it; then it hears of them, and its entry is replaced.
    let alone = group.nodes[leader].take();
    let [a, b] = others;
    (group.nodes[one], group.nodes[two]) = (a, b);
    group.wait(5_000);
    group.write(None, put("b", "2")).unwrap();
    group.nodes[leader] = alone;
    group.wait(5_000);
    let reply = &group.answers[&id].reply;
    assert!(
        matches!(reply, Reply::Refused(Refusal::NotLeader { .. } | Refusal::Unknown)),
        "{reply:?}"
    );
    assert_eq!(group.get("a"), None);
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_rule() {
    let mut group = Group::solo();
    let now = group.now.wall;
    let long = |bytes| Bytes::from(vec![1; bytes]);
    let cases = [
        (
            None,
            KeyChange { key: long(4_097), ..put("", "") },
            "the key has 4097 bytes, and may have 4096",
        ),
        (
            None,
            KeyChange { value: Some(long((1 << 20) + 1)), ..put("a", "") },
            "the value has 1048577 bytes, and may have 1048576",
        ),
        (None, put("", "1"), "the key is empty"),
        (
            None,
            KeyChange { ttl: Some(Duration::from_micros(9)), ..put("a", "") },
            "a time to live below a millisecond",
        ),
        (key(now, ""), put("a", ""), "an idempotency key has between 1 and 64 bytes"),
        (
            key(Tick(now.0 + 700_000), "x"),
            put("a", ""),
            "the identity was made 700s from now: look at the clocks",
        ),
    ];
    for (identity, change, text) in cases {
        assert_eq!(group.write(identity, change).unwrap_err().to_string(), text);
    }
    let many = Request::Write {
        identity: None,
        changes: vec![KeyChange { value: Some(long(1 << 20)), ..put("a", "") }; 5],
    };
    assert!(matches!(
        group.reply(0, many),
        Reply::Refused(Refusal::TooLarge { what: "write", .. })
    ));
    let none = Request::Write { identity: None, changes: Vec::new() };
    assert!(matches!(group.reply(0, none), Reply::Refused(Refusal::Invalid { .. })));
}

#[test]
fn a_next_life_has_what_the_last_one_had() {
    let mut group = Group::three();
    let name = key(group.now.wall, "name");
    let version = group.write(name.clone(), put("a", "1")).unwrap();
    group.wait(200);
    for n in 0..3 {
        let log = group.nodes[n].take().unwrap().log;
        let node = group.open(n as u64 + 1, log, 2);
        group.nodes[n] = Some(node);
    }
    group.wait(3_000);
    assert_eq!(group.get("a").unwrap().version, version);
    assert_eq!(group.write(name, put("a", "2")).unwrap(), version);
}
