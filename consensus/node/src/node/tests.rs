//! Three nodes in one thread: real engines and logs in memory, a network that loses nothing.

use super::*;
use nori_consensus::{ConsensusFactory, Membership};
use nori_env::{Fs, ManualClock, MemFs, SeededEntropy, SeededTasks, SegmentKind};
use nori_kv::Tick;
use nori_lsm::{Components, LsmFactory};
use nori_observe::NullMeter;
use nori_raft::NoriRaft;
use nori_raft_log::LogOptions;
use nori_wal::WalOptions;
use norikv_replica::{Condition, Freshness, KeyChange, Reply, Target, View};
use std::ops::ControlFlow;
use std::time::Duration;

const SHARDS: u64 = 4;
const CLUSTER: ClusterId = ClusterId(77);

struct Running {
    node: Node,
    tasks: SeededTasks,
    clock: ManualClock,
}

struct Cluster {
    disks: Vec<MemFs>,
    nodes: Vec<Option<Running>>,
    millis: u64,
    boots: u64,
    last: RequestId,
    under_way: VecDeque<(NodeId, NodeId, Bytes)>,
    answers: BTreeMap<RequestId, Answer>,
}

fn protocol() -> NoriRaft {
    let settings = nori_consensus::Settings { trailing_entries: 10, ..Default::default() };
    NoriRaft::new(settings).unwrap()
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            disks: (0..3).map(|_| MemFs::new()).collect(),
            nodes: Vec::new(),
            millis: 1_000,
            boots: 0,
            last: RequestId(0),
            under_way: VecDeque::new(),
            answers: BTreeMap::new(),
        };
        for n in 0..3 {
            let node = cluster.start(n);
            cluster.nodes.push(Some(node));
        }
        cluster.wait(2_000);
        cluster
    }

    fn now(&self) -> Now {
        Now { steady: Instant { nanos: self.millis * 1_000_000 }, wall: Tick(self.millis) }
    }

    fn start(&mut self, n: usize) -> Running {
        self.boots += 1;
        let clock = ManualClock::default();
        clock.advance(Duration::from_millis(self.millis));
        let tasks = SeededTasks::new(self.boots, clock.clone());
        let fs: Arc<dyn Fs> = Arc::new(self.disks[n].clone());
        let engine_parts = nori_kv::Parts {
            fs: Arc::clone(&fs),
            tasks: Arc::new(tasks.clone()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.boots)),
            meter: Arc::new(NullMeter),
        };
        let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 64 << 10 };
        let options = LogOptions { wal, cached_bytes_max: 4 << 10 };
        let meter = Arc::new(NullMeter);
        let (dir, handed) = (PathBuf::from("/node/log"), Arc::new(tasks.clone()));
        let log = nori_raft_log::open("shared", &dir, fs, handed, meter, options);
        let settings = nori_lsm::Settings {
            memtable_bytes: 16 << 10,
            cache_bytes: 16 << 10,
            block_bytes: 512,
            table_bytes: 8 << 10,
            ..nori_lsm::Settings::for_memory(1 << 20)
        };
        let parts = Parts {
            engine: Arc::new(LsmFactory::replicated(settings, Components::default())),
            engine_parts,
            protocol: Arc::new(protocol()),
            log: log.unwrap().unwrap(),
            waker: Arc::new(|| {}),
        };
        let config = Config {
            me: NodeId(n as u64 + 1),
            cluster: CLUSTER,
            boots: self.boots,
            dir: PathBuf::from("/node"),
            durability: Durability::Sync,
            replica: Settings::default(),
        };
        let mut node = Node::new(config, parts);
        let founding = protocol().founding(&Membership::founding((1..=3).map(NodeId)));
        for shard in (0..SHARDS).map(ShardId) {
            let opening = ShardOpening {
                shard,
                founding: founding.clone(),
                standing: Standing::Whole,
                priority: 0,
            };
            node.open_shard(self.now(), opening).unwrap();
        }
        Running { node, tasks, clock }
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        loop {
            let now = self.now();
            let mut is_idle = true;
            for n in 0..3 {
                let Some(running) = &mut self.nodes[n] else { continue };
                is_idle &= running.tasks.run(1_000) == 0;
                let mut outputs = Vec::new();
                running.node.turn(now, &mut outputs).unwrap();
                for output in outputs {
                    is_idle = false;
                    match output {
                        Output::Send { to, packet } => {
                            self.under_way.push_back((NodeId(n as u64 + 1), to, packet));
                        }
                        Output::Answer { answer, .. } => {
                            self.answers.insert(answer.request, answer);
                        }
                        Output::RoleChanged { .. } => {}
                        Output::Failed { shard, why } => panic!("{shard}: {why}"),
                    }
                }
            }
            while let Some((from, to, packet)) = self.under_way.pop_front() {
                if let Some(running) = &mut self.nodes[to.0 as usize - 1] {
                    running.node.receive(now, from, &packet).unwrap();
                    is_idle = false;
                }
            }
            if is_idle {
                return;
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
            running.as_ref().is_some_and(|running| {
                running.node.shards().any(|(of, status)| of == shard && status.role == Role::Leader)
            })
        };
        self.nodes.iter().position(leads).expect("somebody leads")
    }

    fn ask(&mut self, n: usize, shard: ShardId, request: Request) -> Reply {
        self.last.0 += 1;
        let (now, id) = (self.now(), self.last);
        assert!(self.nodes[n].as_mut().unwrap().node.request(now, shard, id, request));
        self.settle();
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
        match self.ask(self.leader(shard), shard, write) {
            Reply::Written(version) => version,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, shard: ShardId, key: &str) -> Option<Bytes> {
        let target = Target::Row(Bytes::copy_from_slice(key.as_bytes()));
        let read = Request::Read { freshness: Freshness::Linearizable, target };
        match self.ask(self.leader(shard), shard, read) {
            Reply::Row(row) => row.map(|row| row.bytes),
            Reply::View(view) => view.row(key.as_bytes()).unwrap().map(|row| row.bytes),
            other => panic!("{other:?}"),
        }
    }

    /// All rows that a node has of a shard.
    fn rows(&mut self, n: usize, shard: ShardId) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let freshness = Freshness::Stale { age_max: None, version_min: 0 };
        let view: View = match self.ask(n, shard, Request::Read { freshness, target: Target::View }) {
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

    fn assert_equal(&mut self, shard: ShardId) {
        let first = self.rows(0, shard);
        assert!(!first.is_empty());
        for n in 1..3 {
            assert!(self.rows(n, shard) == first, "{shard} differs on node {n}");
        }
    }
}

#[test]
fn every_shard_is_written_and_read_on_its_leader() {
    let mut cluster = Cluster::new();
    for shard in (0..SHARDS).map(ShardId) {
        cluster.put(shard, "a", b"1");
        cluster.put(shard, "b", &[2; 900]);
        assert_eq!(cluster.get(shard, "a").unwrap(), "1");
        assert_eq!(cluster.get(shard, "nosuch"), None);
    }
    cluster.wait(200);
    (0..SHARDS).map(ShardId).for_each(|shard| cluster.assert_equal(shard));
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_all_are_killed() {
    let mut cluster = Cluster::new();
    for round in 0..4u64 {
        for shard in (0..SHARDS).map(ShardId) {
            for n in 0..60 {
                cluster.put(shard, &format!("{round}-{n}"), &[n; 150]);
            }
        }
        for n in 0..3 {
            cluster.nodes[n] = None;
        }
        cluster.under_way.clear();
        for n in 0..3 {
            let node = cluster.start(n);
            cluster.nodes[n] = Some(node);
        }
        cluster.wait(3_000);
        for shard in (0..SHARDS).map(ShardId) {
            for old in 0..=round {
                for n in 0..60u8 {
                    assert_eq!(cluster.get(shard, &format!("{old}-{n}")).unwrap(), &[n; 150][..]);
                }
            }
        }
    }
}

#[test]
fn who_was_away_for_too_long_gets_a_snapshot() {
    let mut cluster = Cluster::new();
    let shard = ShardId(1);
    let away = (cluster.leader(shard) + 1) % 3;
    for round in 0..3u8 {
        cluster.put(shard, "before", &[round]);
        cluster.nodes[away] = None;
        cluster.wait(2_000);
        for n in 0..400u64 {
            cluster.put(shard, &format!("{n:04}"), &[round; 200]);
        }
        let node = cluster.start(away);
        let was_at = node.node.hosts[&shard].replica.applied().unwrap().index;
        cluster.nodes[away] = Some(node);
        cluster.wait(3_000);
        cluster.assert_equal(shard);
        // It cannot have come by entries: the others have let them go.
        let leader = cluster.leader(shard);
        let first = |n: usize| {
            let running = cluster.nodes[n].as_ref().unwrap();
            running.node.parts.log.view(shard).unwrap().first()
        };
        assert!(first(leader) > was_at.next() && first(away) > was_at.next());
        let running = cluster.nodes[away].as_ref().unwrap();
        assert!(running.node.received.is_empty() && running.node.shipments.is_empty());
    }
}
