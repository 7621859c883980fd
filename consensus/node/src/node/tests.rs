//! Whole nodes in one thread: real engines and logs in memory, a network that loses nothing.

use super::*;
use crate::packet::ClusterId;
use nori_env::{Fs, ManualClock, MemFs, SeededEntropy, SeededTasks, SegmentKind};
use nori_kv::Tick;
use nori_lsm::{Components, LsmFactory};
use nori_observe::NullMeter;
use nori_raft::NoriRaft;
use nori_raft_log::LogOptions;
use nori_swim::{Class, MemberState as Seen};
use nori_wal::WalOptions;
use norikv_placement::{Change as MapChange, MemberState, ReplicaCount, ShardCount, Weight, Zone};
use norikv_replica::{Age, Condition, Freshness, KeyChange, Reply, Target, View};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod leaving;

const SHARDS: u32 = 4;

struct Running {
    node: Node,
    tasks: SeededTasks,
    clock: ManualClock,
    log: Arc<dyn nori_raft_log::NodeLog>,
}

enum Sent {
    Packet(NodeId, NodeId, Bytes),
    Gossip(String, Class, Bytes),
    Introduction(usize, String, Bytes),
}

/// Folders, processes, clocks and a network.
struct Rig {
    founders: usize,
    disks: Vec<MemFs>,
    nodes: Vec<Option<Running>>,
    millis: u64,
    starts: u64,
    last: RequestId,
    under_way: VecDeque<Sent>,
    answers: BTreeMap<RequestId, Answer>,
    decided: BTreeMap<RequestId, Result<(), Refused>>,
    events: Vec<(usize, Event)>,
}

impl Rig {
    fn new(founders: usize) -> Self {
        let mut rig = Self {
            founders,
            disks: Vec::new(),
            nodes: Vec::new(),
            millis: 1_000_000,
            starts: 0,
            last: RequestId(0),
            under_way: VecDeque::new(),
            answers: BTreeMap::new(),
            decided: BTreeMap::new(),
            events: Vec::new(),
        };
        (0..founders).for_each(|_| rig.add());
        rig.wait(3_000);
        rig
    }

    /// One more folder, and a node in it.
    fn add(&mut self) {
        self.disks.push(MemFs::new());
        self.nodes.push(None);
        self.start(self.nodes.len() - 1);
    }

    fn now(&self) -> Now {
        Now { steady: Instant { nanos: self.millis * 1_000_000 }, wall: Tick(self.millis) }
    }

    fn start(&mut self, n: usize) {
        self.starts += 1;
        let clock = ManualClock::default();
        clock.advance(Duration::from_millis(self.millis));
        let tasks = SeededTasks::new(self.starts, clock.clone());
        let fs: Arc<dyn Fs> = Arc::new(self.disks[n].clone());
        let engine_parts = nori_kv::Parts {
            fs: Arc::clone(&fs),
            tasks: Arc::new(tasks.clone()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.starts)),
            meter: Arc::new(NullMeter),
        };
        let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 64 << 10 };
        let options = LogOptions { wal, cached_bytes_max: 4 << 10 };
        let (meter, handed) = (Arc::new(NullMeter), Arc::new(tasks.clone()));
        let log = nori_raft_log::open("shared", Path::new("/node/log"), fs, handed, meter, options);
        let log = log.unwrap().unwrap();
        let engine = nori_lsm::Settings {
            memtable_bytes: 16 << 10,
            cache_bytes: 16 << 10,
            block_bytes: 512,
            table_bytes: 8 << 10,
            ..nori_lsm::Settings::for_memory(1 << 20)
        };
        let raft = nori_consensus::Settings { trailing_entries: 10, ..Default::default() };
        let parts = Parts {
            engine: Arc::new(LsmFactory::replicated(engine, Components::default())),
            engine_parts: engine_parts.clone(),
            protocol: Arc::new(NoriRaft::new(raft).unwrap()),
            log: Arc::clone(&log),
            machine_boot: "one".to_owned(),
            waker: Arc::new(|| {}),
        };
        let files = Files { fs: &*engine_parts.fs, tasks: &tasks };
        let identity =
            Identity::boot(Path::new("/node"), "one", files, &*engine_parts.entropy).unwrap();
        let text = |kind: &str| format!("{kind}{n}");
        let settings = Settings {
            candidate: Candidate {
                node: identity.node,
                cluster: "test".to_owned(),
                protocol: "nori".to_owned(),
                addresses: Addresses {
                    name: text("node"),
                    client: text("c"),
                    peer: text("p"),
                    swim: text("s"),
                    http: text("h"),
                },
                zone: Zone::new("zone").unwrap(),
                weight: Weight::new(1).unwrap(),
                shards: ShardCount::new(SHARDS).unwrap(),
                replicas: ReplicaCount::new(3).unwrap(),
            },
            seeds: (0..self.founders).map(|n| format!("p{n}")).collect(),
            dir: PathBuf::from("/node"),
            durability: Durability::Sync,
            replica: norikv_replica::Settings::default(),
            log_segments_max: 4,
            log_rewrite_bytes_max: LOG_REWRITE_BYTES_MAX,
            swim: nori_swim::Settings::default(),
            moves: 2.try_into().unwrap(),
        };
        let node = Node::boot(settings, identity, parts, self.now()).unwrap();
        self.nodes[n] = Some(Running { node, tasks, clock, log });
    }

    fn kill(&mut self, n: usize) {
        self.nodes[n] = None;
    }

    fn node(&mut self, n: usize) -> &mut Node {
        &mut self.nodes[n].as_mut().expect("it runs").node
    }

    fn member(&mut self, n: usize) -> &mut Member {
        self.node(n).member_mut().expect("it is a member")
    }

    fn id(&self, n: usize) -> NodeId {
        self.nodes[n].as_ref().expect("it runs").node.id()
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for n in 0..self.nodes.len() {
                is_idle &= !self.turn(n);
            }
            while let Some(sent) = self.under_way.pop_front() {
                is_idle = false;
                self.deliver(sent);
            }
            if is_idle {
                return;
            }
        }
    }

    fn turn(&mut self, n: usize) -> bool {
        let now = self.now();
        let Some(running) = &mut self.nodes[n] else { return false };
        let mut has_moved = running.tasks.run(1_000) > 0;
        let mut outputs = Vec::new();
        running.node.turn(now, &mut outputs).unwrap();
        let me = running.node.id();
        has_moved |= !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Send { to, packet } => {
                    self.under_way.push_back(Sent::Packet(me, to, packet));
                }
                Output::Introduce { address, packet } => {
                    self.under_way.push_back(Sent::Introduction(n, address, packet));
                }
                Output::Gossip { to, class, packet } => {
                    self.under_way.push_back(Sent::Gossip(to, class, packet));
                }
                Output::Answer { answer, .. } => {
                    assert!(self.answers.insert(answer.request, answer).is_none());
                }
                Output::Decided { request, result } => {
                    self.decided.insert(request, result);
                }
                Output::Event(event) => {
                    assert!(!matches!(event, Event::Failed { .. }), "{event:?}");
                    self.events.push((n, event));
                }
            }
        }
        has_moved
    }

    fn deliver(&mut self, sent: Sent) {
        let now = self.now();
        match sent {
            Sent::Packet(from, to, packet) => {
                let is_it = |running: &&mut Running| running.node.id() == to;
                if let Some(running) = self.nodes.iter_mut().flatten().find(is_it) {
                    running.node.receive(now, from, &packet).unwrap();
                }
            }
            Sent::Gossip(to, class, packet) => {
                let n: usize = to[1..].parse().unwrap();
                if let Some(Some(running)) = self.nodes.get_mut(n) {
                    running.node.gossip(now, class, &packet);
                }
            }
            Sent::Introduction(by, address, packet) => {
                let n: usize = address[1..].parse().unwrap();
                let Some(Some(running)) = self.nodes.get_mut(n) else { return };
                let answer = running.node.introduction(now, &format!("p{by}"), &packet).unwrap();
                if let Some(Some(running)) = self.nodes.get_mut(by) {
                    running.node.introduced(now, &address, &answer).unwrap();
                }
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(5) {
            self.millis += 5;
            for running in self.nodes.iter().flatten() {
                running.clock.advance(Duration::from_millis(5));
            }
            self.settle();
        }
    }

    fn leader(&self, shard: ShardId) -> usize {
        let leads = |running: &Option<Running>| {
            let member = running.as_ref().and_then(|running| running.node.member());
            member.is_some_and(|member| {
                let mut shards = member.replicas().shards();
                shards.any(|(of, status)| of == shard && status.role == Role::Leader)
            })
        };
        self.nodes.iter().position(leads).expect("somebody leads")
    }

    fn ask(&mut self, n: usize, shard: ShardId, request: Request) -> RequestId {
        self.last.0 += 1;
        let (now, id) = (self.now(), self.last);
        assert!(self.node(n).request(now, shard, id, request), "node {n} has no {shard}");
        self.settle();
        id
    }

    fn reply(&mut self, n: usize, shard: ShardId, request: Request) -> Reply {
        let id = self.ask(n, shard, request);
        self.answers.remove(&id).expect("it is answered").reply
    }

    fn put(&mut self, shard: ShardId, key: &str, value: &[u8]) -> u64 {
        let change = KeyChange {
            key: Bytes::copy_from_slice(key.as_bytes()),
            condition: Condition::None,
            value: Some(Bytes::copy_from_slice(value)),
            ttl: None,
        };
        let write = Request::Write { identity: None, changes: vec![change] };
        match self.reply(self.leader(shard), shard, write) {
            Reply::Written(version) => version,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, shard: ShardId, key: &str) -> Option<Bytes> {
        let target = Target::Row(Bytes::copy_from_slice(key.as_bytes()));
        let read = Request::Read { freshness: Freshness::Linearizable, target };
        match self.reply(self.leader(shard), shard, read) {
            Reply::Row(row) => row.map(|row| row.bytes),
            Reply::View(view) => view.row(key.as_bytes()).unwrap().map(|row| row.bytes),
            other => panic!("{other:?}"),
        }
    }

    /// All rows that a node has of a shard.
    fn rows(&mut self, n: usize, shard: ShardId) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let freshness = Freshness::Stale { age_max: None, version_min: 0 };
        let read = Request::Read { freshness, target: Target::View };
        let view: View = match self.reply(n, shard, read) {
            Reply::View(view) => view,
            other => panic!("{other:?}"),
        };
        let mut rows = Vec::new();
        view.scan(b"", None, &mut |key, version, value| {
            rows.push((key.to_vec(), version, value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }

    /// Who has a replica of a shard.
    fn holders(&self, shard: ShardId) -> Vec<usize> {
        let holds = |n: &usize| {
            let member = self.nodes[*n].as_ref().and_then(|running| running.node.member());
            member.is_some_and(|member| member.replicas().shards().any(|(of, _)| of == shard))
        };
        (0..self.nodes.len()).filter(holds).collect()
    }

    /// What the nodes say of their replicas, for whoever reads a failure.
    fn describe(&self, shard: ShardId) -> String {
        let mut text = String::new();
        for (n, running) in self.nodes.iter().enumerate() {
            let Some(member) = running.as_ref().and_then(|running| running.node.member()) else {
                continue;
            };
            for (_, status) in member.replicas().shards().filter(|(of, _)| *of == shard) {
                let safe = member.replicas().applied(shard);
                text += &format!(
                    "node {n} {}: {status:?}, state at {safe:?}\n",
                    running.as_ref().map_or(0, |of| of.node.id().0)
                );
            }
        }
        text
    }

    fn assert_equal(&mut self, shard: ShardId) {
        let holders = self.holders(shard);
        let first = self.rows(holders[0], shard);
        assert!(!first.is_empty());
        for n in &holders[1..] {
            assert!(self.rows(*n, shard) == first, "node {n} differs\n{}", self.describe(shard));
        }
    }

    fn fill(&mut self, count: usize) {
        for shard in shards() {
            for n in 0..count {
                self.put(shard, &format!("{n:03}"), &[n as u8; 120]);
            }
        }
    }

    fn check(&mut self, count: usize) {
        for shard in shards() {
            for n in 0..count {
                let value = self.get(shard, &format!("{n:03}")).unwrap();
                assert_eq!(value, &[n as u8; 120][..]);
            }
        }
    }

    /// The map as the conductor has it.
    fn map(&mut self) -> ShardMap {
        let conductor = self.leader(ShardId(u64::from(SHARDS)));
        assert!(self.member(conductor).conducts());
        self.member(conductor).map().clone()
    }

    fn decide(&mut self, change: MapChange) -> Result<(), Refused> {
        self.last.0 += 1;
        let id = self.last;
        let conductor = self.leader(ShardId(u64::from(SHARDS)));
        self.node(conductor).decide(id, change);
        self.wait(1_000);
        self.decided.remove(&id).expect("it is decided")
    }
}

fn shards() -> impl Iterator<Item = ShardId> {
    (0..u64::from(SHARDS)).map(ShardId)
}

#[test]
fn seeds_found_a_cluster_and_every_shard_serves() {
    let mut rig = Rig::new(3);
    let first: ClusterId = rig.member(0).charter().cluster;
    for n in 1..3 {
        assert_eq!(rig.member(n).charter().cluster, first);
    }
    rig.fill(3);
    rig.check(3);
    assert_eq!(rig.get(ShardId(0), "nosuch"), None);
    rig.wait(3_000);
    shards().for_each(|shard| rig.assert_equal(shard));
    for n in 0..3 {
        for other in (0..3).map(|n| rig.id(n)).collect::<Vec<_>>() {
            assert_eq!(rig.member(n).seen(other), Some(Seen::Alive));
        }
    }
    // Leaders are where the map wants them: spread.
    let map = rig.map();
    for (shard, placed) in map.shards() {
        let leader = rig.leader(ShardId(u64::from(shard.0)));
        assert_eq!(placed.leader.map(|node| node.0), Some(rig.id(leader).0));
    }
}

#[test]
fn one_node_alone_is_a_cluster() {
    let mut rig = Rig::new(1);
    rig.fill(2);
    rig.kill(0);
    rig.start(0);
    rig.wait(2_000);
    rig.check(2);
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_all_are_killed() {
    let mut rig = Rig::new(3);
    for count in [40, 80, 120] {
        rig.fill(count);
        (0..3).for_each(|n| rig.kill(n));
        rig.under_way.clear();
        (0..3).for_each(|n| rig.start(n));
        rig.wait(3_000);
        rig.check(count);
    }
}

#[test]
fn who_was_away_for_too_long_gets_a_snapshot() {
    let mut rig = Rig::new(3);
    let shard = ShardId(1);
    let away = (rig.leader(shard) + 1) % 3;
    for round in 0..3u8 {
        rig.put(shard, "before", &[round]);
        let was_at = rig.member(away).replicas().applied(shard).unwrap().index;
        rig.kill(away);
        rig.wait(2_000);
        for n in 0..400u64 {
            rig.put(shard, &format!("{n:04}"), &[round; 200]);
        }
        rig.start(away);
        rig.wait(4_000);
        rig.assert_equal(shard);
        // It cannot have come by entries: the others have let them go.
        let leader = rig.leader(shard);
        for n in [leader, away] {
            let log = &rig.nodes[n].as_ref().unwrap().log;
            assert!(log.view(shard).unwrap().first() > was_at.next());
        }
    }
}

#[test]
fn who_joins_gets_its_share_and_who_drains_loses_it() {
    let mut rig = Rig::new(3);
    rig.fill(60);
    rig.add();
    rig.wait(20_000);
    let map = rig.map();
    assert_eq!(map.members().len(), 4);
    assert!(map.shards().all(|(_, shard)| shard.is_settled() && shard.voters.len() == 3));
    let held = |rig: &Rig, n: usize| {
        (0..=u64::from(SHARDS)).filter(|shard| rig.holders(ShardId(*shard)).contains(&n)).count()
    };
    let shares: Vec<usize> = (0..4).map(|n| held(&rig, n)).collect();
    assert!(shares.iter().all(|share| (3..=4).contains(share)), "{shares:?}");
    rig.check(60);
    let drained = placement::NodeId(rig.id(0).0);
    let (weight, state) = (Weight::new(1).unwrap(), MemberState::Draining);
    rig.decide(MapChange::Alter { node: drained, weight, state }).unwrap();
    rig.wait(25_000);
    let map = rig.map();
    assert!(map.shards().all(|(_, shard)| shard.is_settled() && !shard.concerns(drained)));
    assert_eq!(held(&rig, 0), 0);
    rig.check(60);
    shards().for_each(|shard| rig.assert_equal(shard));
    rig.decide(MapChange::Leave(drained)).unwrap();
    assert_eq!(rig.map().members().len(), 3);
    // What moved away does not come back with its founder.
    rig.kill(0);
    rig.start(0);
    rig.wait(3_000);
    assert_eq!(held(&rig, 0), 0);
}

#[test]
fn who_joined_keeps_its_replicas_over_restarts_of_all() {
    let mut rig = Rig::new(3);
    rig.fill(30);
    rig.add();
    rig.wait(20_000);
    let held: Vec<Vec<usize>> =
        (0..=u64::from(SHARDS)).map(|shard| rig.holders(ShardId(shard))).collect();
    assert!(held.iter().any(|holders| holders.contains(&3)));
    let at: Vec<_> = shards().map(|shard| rig.member(3).replicas().applied(shard)).collect();
    (0..4).for_each(|n| rig.kill(n));
    rig.under_way.clear();
    // The one that joined comes first, and hears of no map but its own.
    rig.start(3);
    rig.wait(1_000);
    for (shard, before) in shards().zip(at) {
        let now = rig.member(3).replicas().applied(shard);
        assert_eq!(now.is_some(), before.is_some(), "{shard}");
    }
    (0..3).for_each(|n| rig.start(n));
    rig.wait(5_000);
    for (shard, before) in (0..=u64::from(SHARDS)).zip(held) {
        assert_eq!(rig.holders(ShardId(shard)), before);
    }
    rig.check(30);
}

#[test]
fn a_dead_node_is_replaced() {
    let mut rig = Rig::new(3);
    rig.fill(30);
    let dead = placement::NodeId(rig.id(2).0);
    rig.kill(2);
    rig.wait(10_000);
    rig.fill(40);
    rig.add();
    rig.wait(5_000);
    let (weight, state) = (Weight::new(1).unwrap(), MemberState::Draining);
    rig.decide(MapChange::Alter { node: dead, weight, state }).unwrap();
    rig.wait(30_000);
    let map = rig.map();
    assert!(map.shards().all(|(_, shard)| shard.is_settled() && !shard.concerns(dead)));
    rig.decide(MapChange::Leave(dead)).unwrap();
    rig.check(40);
    shards().for_each(|shard| rig.assert_equal(shard));
}

#[test]
fn a_stale_read_says_how_old_it_can_be() {
    let mut rig = Rig::new(3);
    let shard = ShardId(2);
    let version = rig.put(shard, "a", b"1");
    let other = (rig.leader(shard) + 1) % 3;
    let age_max = Some(Duration::from_millis(500));
    let freshness = Freshness::Stale { age_max, version_min: 0 };
    let read = Request::Read { freshness, target: Target::Row("a".into()) };
    let id = rig.ask(other, shard, read.clone());
    rig.wait(300);
    let answer = rig.answers.remove(&id).expect("the leader was asked");
    assert!(matches!(answer.age, Age::Since(_)), "{answer:?}");
    assert!(answer.valid_until.is_some(), "handed on late, it is as old as that");
    assert!(matches!(answer.reply, Reply::Row(Some(row)) if row.version == version));
    // Without a leader nobody can say.
    rig.kill(rig.leader(shard));
    rig.wait(600);
    let id = rig.ask(other, shard, read);
    rig.wait(1_000);
    let answer = rig.answers.remove(&id).expect("it is refused in the end");
    let reply = answer.reply;
    assert!(matches!(reply, Reply::Refused(norikv_replica::Refusal::TooStale { .. })), "{reply:?}");
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let mut rig = Rig::new(1);
    let own = Candidate { node: NodeId(5), ..rig.node(0).settings.candidate.clone() };
    let other = Candidate { cluster: "other".to_owned(), ..own.clone() };
    let unlike = Candidate { protocol: "raft-rs".to_owned(), ..own };
    let now = rig.now();
    for (stranger, words) in [(other, "it wants \"other\""), (unlike, "it is set to \"raft-rs\"")] {
        let packet = Introduction::Fresh(stranger).encode();
        let answer = rig.node(0).introduction(now, "p9", &packet).unwrap();
        let Some(Introduction::Refused(why)) = Introduction::decode(&answer) else { panic!() };
        assert!(why.ends_with(words), "{why}");
    }
    let answer = rig.node(0).introduction(now, "p9", &Bytes::from_static(b"hello")).unwrap();
    assert!(matches!(Introduction::decode(&answer), Some(Introduction::Refused(_))));
}
