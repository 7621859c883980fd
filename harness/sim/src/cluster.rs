//! Ring 2: whole nodes, as a server runs them, with real stores on disks that fail, under clients that keep a history.
//!
//! One heap of events drives everything: turns of nodes, steps of their jobs, packets, datagrams, clients, faults, an operator. What follows from an event is planned by
//! chance that the seed determines, so that the same seed is the same world, to the last digit of its digest.
//!
//! | module | what it has |
//! |---|---|
//! | `climate` | what a seed is like |
//! | `machine` | a disk, clocks, and the node on it |
//! | `net` | streams and datagrams, and what becomes of them |
//! | `clients` | what clients ask for, and how they ask again |
//! | `traffic` | what nodes put out, and what becomes of it |
//! | `faults` | what goes wrong |
//! | `plots` | what goes wrong in several acts |
//! | `operator` | who joins, drains, moves |
//! | `calm` | everything is healed: nothing may be missing, and all replicas are alike |
//! | `chronicle` | what happened, counted |
//!
//! **Laws**: the history of each key is linearizable; a write is done once however often it is sent; a stale read keeps its promise of age; no node and no replica ends without a fault
//! of its disk; when everything is healed, every shard serves, every acknowledged write is there, and all replicas of a shard have the same rows, of clients and their own, and the same members.

mod calm;
mod chronicle;
mod clients;
mod climate;
mod faults;
mod machine;
mod net;
mod operator;
mod plots;
mod traffic;

use crate::history::History;
use bytes::Bytes;
use chronicle::Chronicle;
use clients::{Client, Happening as ClientHappening};
use climate::Climate;
use machine::{Death, Machine};
use net::Net;
use nori_consensus::chance::Chance;
use nori_consensus::{NodeId, ShardId};
use nori_env::FaultPlan;
use norikv_placement::ShardCount;
use norikv_replica::{Answer, RequestId};
use operator::Operator;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
/// The mean time between faults.
const FAULT_EVERY: u64 = 5 * SECOND;
/// Nodes find each other before anything goes wrong.
const FOUNDING: u64 = 4 * SECOND;

/// What a seed showed.
pub(crate) struct Played {
    pub(crate) digest: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) operations: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) violation: Option<String>,
    pub(crate) lines: Vec<String>,
}

/// Something that will happen.
enum Happening {
    Turn(usize),
    Work(usize, u64),
    Packet { from: usize, to: usize, epoch: u64, packet: Bytes },
    Buffered { from: usize, to: usize, life: u64, epoch: u64, packet: Bytes },
    Answer { m: usize, life: u64, answer: Box<Answer> },
    Gossip { to: usize, class: nori_swim::Class, packet: Bytes },
    Introduction { by: usize, to: usize, packet: Bytes },
    Introduced { by: usize, to: usize, packet: Bytes },
    Start(usize),
    Client(ClientHappening),
    Fault,
    Operator,
    Act(plots::Act),
}

struct Scheduled {
    at: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest, as a heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Everything there is.
struct World {
    climate: Climate,
    chance: Chance,
    /// True time, in nanoseconds since the world began.
    time: u64,
    number: u64,
    heap: BinaryHeap<Scheduled>,
    machines: Vec<Machine>,
    ids: BTreeMap<NodeId, usize>,
    net: Net,
    clients: Vec<Client>,
    /// Who waits for which answer, and of which life of which machine.
    waiting: BTreeMap<RequestId, clients::Waiter>,
    last_request: u64,
    history: History,
    chronicle: Chronicle,
    operator: Operator,
    /// Faults of disks were asked for in this life of these machines.
    faulty: BTreeSet<(usize, u64)>,
    /// Replicas whose state is being replaced.
    installing: BTreeSet<(usize, ShardId)>,
    /// Snapshots that come to machines, by the names of their folders.
    arriving: BTreeSet<(usize, String)>,
    /// Answers to questions of the calm.
    kept: BTreeMap<RequestId, Option<Answer>>,
    violation: Option<String>,
    is_stormy: bool,
}

/// Plays a seed: a storm of `time`, then the calm.
pub(crate) fn play(seed: u64, time: Duration, is_told: bool) -> Played {
    let mut world = World::new(seed, is_told);
    let storm = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    world.run(storm);
    world.finish()
}

impl World {
    fn new(seed: u64, is_told: bool) -> Self {
        let climate = Climate::of(seed);
        let mut chance = climate.chance.clone().fork();
        let machines = (0..climate.nodes)
            .map(|number| Machine::new(number, chance.between(0, 200) as i64 - 100))
            .collect();
        let mut world = Self {
            chance,
            time: 0,
            number: 0,
            heap: BinaryHeap::new(),
            machines,
            ids: BTreeMap::new(),
            net: Net::default(),
            clients: Vec::new(),
            waiting: BTreeMap::new(),
            last_request: 0,
            history: History::default(),
            chronicle: Chronicle::new(is_told),
            operator: Operator::default(),
            faulty: BTreeSet::new(),
            installing: BTreeSet::new(),
            arriving: BTreeSet::new(),
            kept: BTreeMap::new(),
            violation: None,
            is_stormy: false,
            climate,
        };
        for number in 0..world.machines.len() {
            let at = world.chance.between(0, 300 * MILLI);
            world.plan(at, Happening::Start(number));
        }
        world
    }

    fn run(&mut self, storm: u64) {
        self.run_until(FOUNDING);
        self.begin_clients();
        self.is_stormy = true;
        let first = self.until_fault();
        self.plan_in(first, Happening::Fault);
        self.plan_in(SECOND, Happening::Operator);
        self.run_until(FOUNDING + storm);
        self.is_stormy = false;
        self.calm();
    }

    fn until_fault(&mut self) -> u64 {
        self.chance.between(FAULT_EVERY / 10, 2 * FAULT_EVERY - FAULT_EVERY / 10)
    }

    /// Lets everything happen up to `upto`, or until a law is broken.
    fn run_until(&mut self, upto: u64) {
        while self.violation.is_none()
            && let Some(next) = self.heap.peek()
            && next.at <= upto
            && let Some(Scheduled { at, what, .. }) = self.heap.pop()
        {
            self.time = self.time.max(at);
            self.happen(what);
        }
        self.time = self.time.max(upto);
    }

    fn finish(self) -> Played {
        let violation = self.violation.clone();
        Played {
            digest: self.chronicle.digest(),
            simulated_ms: self.time / MILLI,
            operations: self.history.len() as u64,
            counts: self.chronicle.counts().collect(),
            violation,
            lines: self.chronicle.into_lines(),
        }
    }

    /// A law is broken.
    fn break_law(&mut self, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            let time = self.time;
            self.chronicle.tell(time, || format!("BROKEN: {what}"));
            self.violation = Some(what);
        }
    }

    fn plan(&mut self, at: u64, what: Happening) {
        self.number += 1;
        let at = at.max(self.time);
        self.heap.push(Scheduled { at, number: self.number, what });
    }

    fn plan_in(&mut self, after: u64, what: Happening) {
        self.plan(self.time.saturating_add(after), what);
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        self.chronicle.tell(self.time, words);
    }

    fn shard_of(&self, key: &str) -> ShardId {
        let count = ShardCount::new(self.climate.shards).expect("they are few");
        ShardId(u64::from(norikv_placement::shard_of(key.as_bytes(), count).0))
    }

    /// Something that is counted.
    fn count(&mut self, what: &'static str) {
        self.chronicle.count(what);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Turn(m) => {
                // Only the turn that was planned last counts.
                if self.machines[m].turn_at == Some(self.time) {
                    self.machines[m].turn_at = None;
                    self.turn(m);
                }
            }
            Happening::Work(m, life) => self.work(m, life),
            Happening::Packet { from, to, epoch, packet } => self.packet(from, to, epoch, &packet),
            Happening::Buffered { from, to, life, epoch, packet } => {
                self.buffered((from, to), (life, epoch), &packet);
            }
            Happening::Answer { m, life, answer } => self.handed(m, life, answer),
            Happening::Gossip { to, class, packet } => {
                if self.machines[to].is_awake(self.time) {
                    let now = self.machines[to].now(self.time);
                    if let Some(running) = &mut self.machines[to].running {
                        running.node.gossip(now, class, &packet);
                    }
                    self.touch(to);
                }
            }
            Happening::Introduction { by, to, packet } => self.introduction(by, to, &packet),
            Happening::Introduced { by, to, packet } => self.introduced(by, to, &packet),
            Happening::Start(m) => self.start(m),
            Happening::Client(what) => self.client(what),
            Happening::Fault => {
                if self.is_stormy {
                    self.fault();
                    let next = self.until_fault();
                    self.plan_in(next, Happening::Fault);
                }
            }
            Happening::Operator => {
                self.operate();
                self.plan_in(SECOND / 2, Happening::Operator);
            }
            Happening::Act(act) => self.act(act),
        }
    }

    /// A node has something to look at: it takes a turn soon.
    fn touch(&mut self, m: usize) {
        let soon = self.time + self.chance.between(1_000, 30_000);
        self.plan_turn(m, soon);
    }

    fn plan_turn(&mut self, m: usize, at: u64) {
        // What waits in buffers comes first, and may still be handled by the clock as it was.
        let at = at.max(self.time + 1).max(self.machines[m].paused_until + 1);
        if self.machines[m].running.is_some()
            && self.machines[m].turn_at.is_none_or(|planned| at < planned)
        {
            self.machines[m].turn_at = Some(at);
            self.plan(at, Happening::Turn(m));
        }
    }

    fn plan_work(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        if machine.is_working || machine.running.is_none() {
            return;
        }
        machine.is_working = true;
        let life = machine.life;
        let times = if machine.slow_until > self.time { 100 } else { 1 };
        let pause = self.chance.between(5_000, 400_000) * times;
        self.plan_in(pause, Happening::Work(m, life));
    }

    fn turn(&mut self, m: usize) {
        if self.machines[m].paused_until > self.time {
            return self.touch(m);
        }
        let now = self.machines[m].now(self.time);
        self.machines[m].held = None;
        self.machines[m].take_wake();
        let Some(running) = &mut self.machines[m].running else { return };
        let mut outputs = Vec::new();
        let result = running.node.turn(now, &mut outputs);
        if self.machines[m].has_crashed() {
            self.count("power loss in an event");
            return self.die(m, Death::Power(self.number));
        }
        self.chronicle.mix(&[1, m as u64, self.time, outputs.len() as u64]);
        outputs.into_iter().for_each(|output| self.output(m, output));
        if let Err(fatal) = result {
            return self.ended(m, &fatal.to_string());
        }
        self.plan_next(m);
        self.watch_installs(m);
    }

    /// A node's next turn, and its jobs.
    fn plan_next(&mut self, m: usize) {
        self.plan_work(m);
        let machine = &self.machines[m];
        let deadline = machine.running.as_ref().and_then(|running| running.node.deadline());
        if let Some(deadline) = deadline {
            let at = machine.world_time(deadline.nanos);
            self.plan_turn(m, at);
        }
    }

    fn work(&mut self, m: usize, life: u64) {
        if self.machines[m].life != life || self.machines[m].running.is_none() {
            return;
        }
        self.machines[m].is_working = false;
        self.watch_arrivals(m);
        if self.machines[m].paused_until > self.time {
            let at = self.machines[m].paused_until;
            self.machines[m].is_working = true;
            return self.plan(at, Happening::Work(m, life));
        }
        let steps = self.chance.between(1, 12);
        let done = self.machines[m].work(self.time, steps);
        if self.machines[m].has_crashed() {
            self.count("power loss in an event");
            return self.die(m, Death::Power(self.number));
        }
        if self.machines[m].take_wake() {
            self.touch(m);
        }
        if done == steps {
            self.plan_work(m);
        } else if let Some(at) = self.machines[m].alarm_at() {
            self.machines[m].is_working = true;
            self.plan(at, Happening::Work(m, life));
        }
    }

    fn start(&mut self, m: usize) {
        if self.machines[m].running.is_some() || self.machines[m].is_gone {
            return;
        }
        let plan = self.next_plan(m);
        let has_fault = plan != FaultPlan::default();
        let result = self.machines[m].start(self.time, &self.climate, plan);
        let life = self.machines[m].life;
        if has_fault {
            self.faulty.insert((m, life));
        }
        match result {
            Ok(()) => {
                let id = self.machines[m].id;
                self.tell(|| format!("m{m} starts, life {life}, node {id:?}"));
                if let Some(id) = id {
                    self.ids.insert(id, m);
                }
                self.touch(m);
                self.plan_work(m);
            }
            Err(fatal) if has_fault => {
                self.tell(|| format!("m{m} cannot start: {fatal}"));
                self.plan_in(SECOND, Happening::Start(m));
            }
            Err(fatal) => self.break_law(format!("machine {m} cannot start: {fatal}")),
        }
    }

    fn die(&mut self, m: usize, death: Death) {
        self.tell(|| format!("m{m} {death:?}"));
        self.machines[m].die(self.time, death);
        let machines = self.machines.len();
        self.net.reset_all(m, machines);
        self.installing.retain(|(of, _)| *of != m);
        self.lose_requests(m);
        if !self.machines[m].is_gone {
            let pause = self.chance.between(10 * MILLI, 5 * SECOND);
            self.plan_in(pause, Happening::Start(m));
        }
    }

    /// A node cannot go on.
    fn ended(&mut self, m: usize, why: &str) {
        self.tell(|| format!("m{m} ends: {why}"));
        if self.faulty.contains(&(m, self.machines[m].life)) {
            self.count("node ended by itself");
            let is_power = self.loses_unsynced() && self.chance.hits(500_000);
            self.die(m, if is_power { Death::Power(self.number) } else { Death::Kill });
        } else {
            self.break_law(format!("the node on machine {m} ended: {why}"));
        }
    }
}
