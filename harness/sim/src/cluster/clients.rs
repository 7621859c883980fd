//! What clients ask for, and how they ask again.
//!
//! 1. A client does one thing at a time. It asks who it believes to lead, and somebody else if it gets no answer, or another name.
//! 2. A write bears the same name in all its attempts. Some clients name each request, others have sessions.
//! 3. After its deadline it gives up: what came of a write that may have arrived is unknown for ever.

use super::machine::{id_of, value_of};
use super::{Happening as WorldHappening, MILLI, SECOND, World};
use crate::history::{Asked, Operation, Seen};
use bytes::Bytes;
use nori_consensus::ShardId;
use nori_kv::Tick;
use norikv_placement::{ShardCount, shard_of};
use norikv_replica::{
    Answer, Condition, Freshness, Identity, KeyChange, Refusal, Reply, Request, RequestId, Session,
    Target,
};
use std::collections::BTreeMap;
use std::time::Duration;

const CLIENTS: u32 = 8;
const KEYS: u64 = 24;
/// Between two operations of a client.
const THINK: (u64, u64) = (10 * MILLI, 300 * MILLI);
/// For an answer to an attempt.
const PATIENCE: (u64, u64) = (150 * MILLI, 900 * MILLI);
/// For the whole of an operation.
const DEADLINE: u64 = 6 * SECOND;
/// An answer that does not get back to the client, of a million.
const ANSWER_LOSS_PPM: u32 = 5_000;

/// Something that happens to a client.
pub(super) enum Happening {
    Begin(u32),
    Attempt(u32, u64),
    Arrive { client: u32, operation: u64, attempt: u32, machine: usize },
    Reply { client: u32, operation: u64, outcome: Outcome },
    Timeout { client: u32, operation: u64, attempt: u32 },
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Written(u64),
    Row {
        value: Option<(u64, u64)>,
        age: Option<Duration>,
        at: u64,
    },
    Mismatch,
    /// Somebody else leads; nothing has happened.
    Elsewhere(Option<usize>),
    /// Nothing has happened, and it may be asked again.
    Later,
    /// Nobody knows.
    Unknown,
    Expired,
}

/// Whose an answer is.
pub(super) struct Waiter {
    machine: usize,
    client: u32,
    operation: u64,
    is_write: bool,
}

/// What a client is at.
#[derive(Clone, Debug)]
struct Doing {
    number: u64,
    keys: Vec<String>,
    shard: u32,
    asked: Asked,
    condition: Condition,
    freshness: Option<Freshness>,
    identity: Option<Identity>,
    ttl: Option<Duration>,
    values: Vec<u64>,
    call: u64,
    begun: u64,
    attempts: u32,
    /// An attempt may have arrived, and nobody has said what came of it.
    is_maybe: bool,
}

/// See the module.
pub(super) struct Client {
    number: u32,
    doing: Option<Doing>,
    operations: u64,
    /// It names a session, not each request.
    has_session: bool,
    /// One for each shard, and how many it has had.
    sessions: BTreeMap<u32, Session>,
    begun: u64,
    /// Who leads which shard, as far as it knows.
    leaders: BTreeMap<u32, usize>,
    /// What it saw last of each key: value and version.
    seen: BTreeMap<String, (u64, u64)>,
    pub(super) is_done: bool,
}

impl Client {
    /// The name of its next request in its session with a shard, or in a new one.
    fn next_of_session(&mut self, shard: u32, issued_at: Tick) -> Session {
        let begun = &mut self.begun;
        let session = self.sessions.entry(shard).or_insert_with(|| {
            *begun += 1;
            Session { issued_at, client: *begun * 1_000 + u64::from(self.number), sequence: 0 }
        });
        session.sequence += 1;
        *session
    }
}

fn key(n: u64) -> String {
    format!("key-{n}")
}

impl World {
    pub(super) fn begin_clients(&mut self) {
        for number in 0..CLIENTS {
            self.clients.push(Client {
                number,
                doing: None,
                operations: 0,
                has_session: number % 2 == 1,
                sessions: BTreeMap::new(),
                begun: 0,
                leaders: BTreeMap::new(),
                seen: BTreeMap::new(),
                is_done: false,
            });
            self.think(number);
        }
    }

    /// The time of day, as a client with a right clock has it.
    fn wall(&self) -> u64 {
        1_700_000_000_000 + self.time / MILLI
    }

    fn think(&mut self, client: u32) {
        let pause = self.chance.between(THINK.0, THINK.1);
        self.plan_in(pause, WorldHappening::Client(Happening::Begin(client)));
    }

    pub(super) fn client(&mut self, what: Happening) {
        match what {
            Happening::Begin(client) => self.begin(client),
            Happening::Attempt(client, operation) => self.attempt(client, operation),
            Happening::Arrive { client, operation, attempt, machine } => {
                self.arrive(client, operation, attempt, machine);
            }
            Happening::Reply { client, operation, outcome } => {
                self.reply(client, operation, outcome);
            }
            Happening::Timeout { client, operation, attempt } => {
                let of = &self.clients[client as usize];
                let is_it = of
                    .doing
                    .as_ref()
                    .is_some_and(|doing| doing.number == operation && doing.attempts == attempt);
                if is_it {
                    self.count("attempt without an answer");
                    self.again(client, None);
                }
            }
        }
    }

    /// The keys of a shard.
    fn keys_of(&self, shard: u32) -> Vec<String> {
        let count = ShardCount::new(self.climate.shards).expect("they are few");
        (0..KEYS).map(key).filter(|key| shard_of(key.as_bytes(), count).0 == shard).collect()
    }

    fn begin(&mut self, client: u32) {
        if !self.is_stormy {
            self.clients[client as usize].is_done = true;
            return;
        }
        let count = ShardCount::new(self.climate.shards).expect("they are few");
        let first = key(self.chance.below(KEYS));
        let shard = shard_of(first.as_bytes(), count).0;
        self.number += 1;
        let number = self.number;
        let mut doing = Doing {
            number,
            keys: vec![first],
            shard,
            asked: Asked::Get,
            condition: Condition::None,
            freshness: None,
            identity: None,
            ttl: None,
            values: vec![number],
            call: number,
            begun: self.time,
            attempts: 0,
            is_maybe: false,
        };
        self.draw(client, &mut doing);
        let issued_at = Tick(self.wall());
        let of = &mut self.clients[client as usize];
        if doing.freshness.is_none() {
            doing.identity = Some(if of.has_session {
                Identity::Session(of.next_of_session(shard, issued_at))
            } else {
                let name = format!("{client}-{number}");
                Identity::Key { issued_at, key: Bytes::from(name) }
            });
        }
        of.operations += 1;
        of.doing = Some(doing);
        self.attempt(client, number);
    }

    /// What is asked, of the first key of `doing`.
    fn draw(&mut self, client: u32, doing: &mut Doing) {
        let (first, number) = (doing.keys[0].clone(), doing.number);
        let seen = self.clients[client as usize].seen.get(&first).copied();
        match self.chance.below(100) {
            0..6 => {
                doing.asked = Asked::PutUntil(number);
                doing.ttl = Some(Duration::from_millis(self.chance.between(100, 3_000)));
                self.history.begin_delete(&first);
            }
            6..30 => doing.asked = Asked::Put(number),
            30..45 => match seen {
                Some((value, version)) => {
                    doing.asked = Asked::PutIf(number, Some(value));
                    doing.condition = Condition::Version(version);
                }
                None => {
                    doing.asked = Asked::PutIf(number, None);
                    doing.condition = Condition::Absent;
                }
            },
            45..50 => {
                doing.asked = Asked::Delete;
                self.history.begin_delete(&first);
            }
            50..55 => {
                let others = self.keys_of(doing.shard);
                let second = self.chance.pick(&others).cloned().unwrap_or_else(|| first.clone());
                doing.asked = Asked::Put(number);
                if second != first {
                    self.number += 1;
                    doing.values.push(self.number);
                    doing.keys.push(second);
                }
            }
            55..75 => doing.freshness = Some(Freshness::Lease),
            75..88 => doing.freshness = Some(Freshness::Linearizable),
            _ => {
                let age_max = self
                    .chance
                    .hits(700_000)
                    .then(|| Duration::from_millis(self.chance.between(20, 2_000)));
                let version_min =
                    if self.chance.hits(300_000) { seen.map_or(0, |of| of.1) } else { 0 };
                doing.freshness = Some(Freshness::Stale { age_max, version_min });
            }
        }
    }

    fn attempt(&mut self, client: u32, operation: u64) {
        let time = self.time;
        let machines = self.machines.len() as u64;
        let somebody = self.chance.below(machines) as usize;
        let of = &mut self.clients[client as usize];
        let Some(doing) = of.doing.as_mut().filter(|doing| doing.number == operation) else {
            return;
        };
        if time >= doing.begun + DEADLINE {
            return self.give_up(client);
        }
        doing.attempts += 1;
        let (attempt, shard) = (doing.attempts, doing.shard);
        let is_any = matches!(doing.freshness, Some(Freshness::Stale { .. }));
        let machine = if is_any { somebody } else { *of.leaders.entry(shard).or_insert(somebody) };
        let patience = self.chance.between(PATIENCE.0, PATIENCE.1);
        let timeout = Happening::Timeout { client, operation, attempt };
        self.plan_in(patience, WorldHappening::Client(timeout));
        let delay = self.chance.between(self.climate.delay.0, self.climate.delay.1);
        let arrive = Happening::Arrive { client, operation, attempt, machine };
        self.plan_in(delay, WorldHappening::Client(arrive));
    }

    /// A request arrives at a machine.
    fn arrive(&mut self, client: u32, operation: u64, attempt: u32, machine: usize) {
        let of = &self.clients[client as usize];
        let Some(doing) = of.doing.as_ref().filter(|doing| doing.number == operation) else {
            // The client has given it up, and it arrives all the same: only a write could do harm. Its name protects it, but it is not kept here.
            return;
        };
        if self.machines[machine].running.is_none() {
            return self.send(client, operation, Outcome::Elsewhere(None));
        }
        if self.machines[machine].paused_until > self.time {
            // It waits in a buffer.
            let at = self.machines[machine].paused_until;
            let arrive = Happening::Arrive { client, operation, attempt, machine };
            return self.plan(at, WorldHappening::Client(arrive));
        }
        let request = request_of(doing);
        let (shard, is_write) = (ShardId(u64::from(doing.shard)), doing.freshness.is_none());
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let now = self.machines[machine].request_now(self.time);
        let Some(running) = &mut self.machines[machine].running else { return };
        if !running.node.request(now, shard, id, request) {
            return self.send(client, operation, Outcome::Elsewhere(None));
        }
        if is_write && let Some(doing) = &mut self.clients[client as usize].doing {
            doing.is_maybe = true;
        }
        self.waiting.insert(id, Waiter { machine, client, operation, is_write });
        self.touch(machine);
    }

    /// Something goes back to a client, perhaps in vain.
    fn send(&mut self, client: u32, operation: u64, outcome: Outcome) {
        if self.chance.hits(ANSWER_LOSS_PPM) {
            return self.count("answer lost");
        }
        let delay = self.chance.between(self.climate.delay.0, self.climate.delay.1);
        let reply = Happening::Reply { client, operation, outcome };
        self.plan_in(delay, WorldHappening::Client(reply));
    }

    /// A node has answered.
    pub(super) fn answered(&mut self, m: usize, answer: Answer) {
        let Some(waiter) = self.waiting.remove(&answer.request) else { return };
        let Waiter { client, operation, .. } = waiter;
        let now = self.machines[m].now(self.time).steady;
        if answer.valid_until.is_some_and(|until| now > until) {
            self.count("lease had run out");
            return self.send(client, operation, Outcome::Later);
        }
        let of = &self.clients[client as usize];
        let key = of
            .doing
            .as_ref()
            .filter(|doing| doing.number == operation)
            .map(|doing| doing.keys[0].clone());
        let at = self.time;
        let row = |value: Option<norikv_replica::Value>| {
            let value = value.and_then(|value| Some((id_of(&value.bytes)?, value.version)));
            Outcome::Row { value, age: answer.age.at(now), at }
        };
        let outcome = match answer.reply {
            Reply::Written(version) => Outcome::Written(version),
            Reply::Row(value) => row(value),
            Reply::View(view) => {
                self.count("row from the disk");
                let Some(key) = key else { return };
                match view.row(key.as_bytes()) {
                    Ok(value) => row(value),
                    Err(error) if self.faulty.contains(&(m, self.machines[m].life)) => {
                        self.tell(|| format!("m{m} cannot read {key}: {error}"));
                        Outcome::Later
                    }
                    Err(error) => {
                        return self.break_law(format!("a row of m{m} cannot be read: {error}"));
                    }
                }
            }
            Reply::Refused(refusal) => self.refused(m, refusal),
            other => return self.break_law(format!("a client was answered {other:?}")),
        };
        self.send(client, operation, outcome);
    }

    fn refused(&mut self, m: usize, refusal: Refusal) -> Outcome {
        match refusal {
            Refusal::NotLeader { leader } => {
                let leader = leader.and_then(|node| super::net::machine_of(&self.ids, node));
                Outcome::Elsewhere(leader.filter(|leader| *leader != m))
            }
            Refusal::Overloaded | Refusal::TooStale { .. } | Refusal::Behind { .. } => {
                Outcome::Later
            }
            Refusal::Unknown => Outcome::Unknown,
            Refusal::VersionMismatch { .. } => Outcome::Mismatch,
            Refusal::SessionExpired => Outcome::Expired,
            Refusal::Store { .. } if self.faulty.contains(&(m, self.machines[m].life)) => {
                Outcome::Unknown
            }
            refusal => {
                self.break_law(format!("m{m} refused a client: {refusal}"));
                Outcome::Later
            }
        }
    }

    /// A machine has died, and with it what was asked of it.
    pub(super) fn lose_requests(&mut self, m: usize) {
        let lost: Vec<RequestId> = self
            .waiting
            .iter()
            .filter(|(_, waiter)| waiter.machine == m)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let Some(Waiter { client, operation, is_write, .. }) = self.waiting.remove(&id) else {
                continue;
            };
            // The connection breaks, which the client may see at once.
            if self.chance.hits(500_000) {
                let outcome = if is_write { Outcome::Unknown } else { Outcome::Later };
                self.send(client, operation, outcome);
            }
        }
    }

    fn reply(&mut self, client: u32, operation: u64, outcome: Outcome) {
        let of = &mut self.clients[client as usize];
        let Some(doing) = of.doing.as_mut().filter(|doing| doing.number == operation) else {
            return;
        };
        match outcome {
            Outcome::Written(version) => self.written(client, version),
            Outcome::Row { value, age, at } => self.row(client, value, age, at),
            Outcome::Mismatch => {
                self.count("condition did not hold");
                self.end(client, Seen::Mismatch);
            }
            Outcome::Elsewhere(leader) => {
                // That attempt did nothing; whether an earlier one did is as unknown as it was.
                self.count("attempt sent elsewhere");
                self.again(client, leader);
            }
            Outcome::Later | Outcome::Unknown => self.again(client, None),
            Outcome::Expired => {
                let is_certain = doing.attempts == 1;
                of.sessions.remove(&doing.shard);
                self.chronicle.count("session or key too old");
                if is_certain {
                    // It has never happened.
                    of.doing = None;
                    self.think(client);
                } else {
                    self.give_up(client);
                }
            }
        }
    }

    /// Another attempt, there or anywhere.
    fn again(&mut self, client: u32, leader: Option<usize>) {
        let pause = self.chance.between(MILLI, 60 * MILLI);
        let of = &mut self.clients[client as usize];
        let Some(doing) = &of.doing else { return };
        match leader {
            Some(leader) => of.leaders.insert(doing.shard, leader),
            None => of.leaders.remove(&doing.shard),
        };
        let operation = doing.number;
        self.plan_in(pause, WorldHappening::Client(Happening::Attempt(client, operation)));
    }

    fn written(&mut self, client: u32, version: u64) {
        let Some(doing) = self.clients[client as usize].doing.clone() else { return };
        self.count(match doing.asked {
            Asked::Delete => "delete acknowledged",
            Asked::PutUntil(_) => "write that expires",
            Asked::PutIf(..) => "condition held",
            _ if doing.keys.len() > 1 => "batch acknowledged",
            _ => "write acknowledged",
        });
        for (n, key) in doing.keys.iter().enumerate() {
            self.history.acknowledge(key, self.time, version);
            if doing.asked != Asked::Delete {
                if let Err(what) = self.history.see(doing.values[n], version) {
                    return self.break_law(what);
                }
                self.clients[client as usize].seen.insert(key.clone(), (doing.values[n], version));
            }
        }
        self.end(client, Seen::Done);
    }

    fn row(&mut self, client: u32, value: Option<(u64, u64)>, age: Option<Duration>, at: u64) {
        let Some(doing) = self.clients[client as usize].doing.clone() else { return };
        let key = doing.keys[0].clone();
        if let Some((value, version)) = value
            && let Err(what) = self.history.see(value, version)
        {
            return self.break_law(what);
        }
        match value {
            Some(seen) => self.clients[client as usize].seen.insert(key.clone(), seen),
            None => self.clients[client as usize].seen.remove(&key),
        };
        if let Some(Freshness::Stale { version_min, .. }) = doing.freshness {
            self.count("read stale");
            // Clocks drift by a little, and the age is by the node's.
            let age = age.map(|age| age.as_nanos() as u64 + age.as_nanos() as u64 / 1_000 + 1_000);
            let version = value.map_or(0, |(_, version)| version);
            if let Err(what) = self.history.check_stale(&key, at, age, version_min, version) {
                return self.break_law(what);
            }
            self.clients[client as usize].doing = None;
            return self.think(client);
        }
        let by_lease = doing.freshness == Some(Freshness::Lease);
        self.count(if by_lease { "read by lease" } else { "read linearizable" });
        self.end(client, Seen::Row(value.map(|(value, _)| value)));
    }

    /// The operation has ended, and what came of it is known.
    fn end(&mut self, client: u32, seen: Seen) {
        self.number += 1;
        let end = self.number;
        self.record(client, &seen, end);
        self.think(client);
    }

    /// The client does not ask again.
    fn give_up(&mut self, client: u32) {
        let is_maybe =
            self.clients[client as usize].doing.as_ref().is_some_and(|doing| doing.is_maybe);
        if is_maybe {
            self.count("outcome unknown");
            self.record(client, &Seen::Unknown, u64::MAX);
        } else {
            self.clients[client as usize].doing = None;
        }
        self.think(client);
    }

    fn record(&mut self, client: u32, seen: &Seen, end: u64) {
        let of = &mut self.clients[client as usize];
        let Some(doing) = of.doing.take() else { return };
        let number = of.number;
        self.chronicle.mix(&[5, u64::from(number), doing.number, end, u64::from(doing.attempts)]);
        for (n, key) in doing.keys.iter().enumerate() {
            let asked = match doing.asked {
                Asked::Put(_) => Asked::Put(doing.values[n]),
                ref asked => asked.clone(),
            };
            let operation =
                Operation { client: number, asked, seen: seen.clone(), call: doing.call, end };
            self.history.add(key, operation);
        }
        let words = doing.clone();
        self.tell(|| {
            format!(
                "c{number} {:?} {:?}: {seen:?} after {} attempts",
                words.keys, words.asked, words.attempts
            )
        });
    }

    /// Reads a key as a client that has nothing else to do, for the calm: what it saw becomes part of the history.
    pub(super) fn final_read(&mut self, key: &str, call: u64, value: Option<u64>) {
        self.number += 1;
        let end = self.number;
        let seen = Seen::Row(value);
        self.history.add(key, Operation { client: CLIENTS, asked: Asked::Get, seen, call, end });
    }

    pub(super) fn all_keys() -> impl Iterator<Item = String> {
        (0..KEYS).map(key)
    }
}

fn request_of(doing: &Doing) -> Request {
    if let Some(freshness) = doing.freshness {
        let key = Bytes::from(doing.keys[0].clone());
        return Request::Read { freshness, target: Target::Row(key) };
    }
    let change = |(n, key): (usize, &String)| KeyChange {
        key: Bytes::from(key.clone()),
        condition: if n == 0 { doing.condition } else { Condition::None },
        value: (doing.asked != Asked::Delete)
            .then(|| value_of(doing.values[n], 16 + (doing.values[n] % 200) as usize)),
        ttl: doing.ttl,
    };
    let changes = doing.keys.iter().enumerate().map(change).collect();
    Request::Write { identity: doing.identity.clone(), changes }
}
