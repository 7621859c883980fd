//! What clients do all the time, and what they saw.
//!
//! 1. Twelve clients put, read, compare and delete rows of a **round** of keys; each op is kept with when it was begun and ended.
//! 2. After a while the next round begins. When nobody is at the keys of the last one any more they are read once more, and their history is checked: a checker's work grows with operations of
//!    unknown outcome, so a history must not go on for ever.
//! 3. Each client counts a counter of its own up by one, by its version. Whatever the outcome of a count, the next look says whether it happened: anything but once breaks a law.

use crate::history::{Asked, History, Operation, Seen};
use bytes::Bytes;
use nori_consensus::chance::Chance;
use norikv_client::{
    Client, Condition, Consistency, DeleteOptions, Error, ErrorKind, GetOptions, PutOptions,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const CLIENTS: u32 = 12;
const KEYS: u64 = 48;
/// How long a round of keys is in use.
const ROUND: Duration = Duration::from_secs(30);
/// Between two operations of a client.
const THINK_MS: (u64, u64) = (1, 60);
/// The longest that anything stands still here, and some more.
const DOUBT: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_millis(700);

/// See the module.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    reader: Client,
    /// The round that is settled next.
    settled: Mutex<u64>,
}

struct Shared {
    begun: Instant,
    /// Grows with everything that is begun or ended.
    number: AtomicU64,
    values: AtomicU64,
    is_over: AtomicBool,
    operations: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    slowest_us: AtomicU64,
    rounds: Mutex<BTreeMap<u64, History>>,
    /// In which round each client is at something.
    busy: Mutex<BTreeMap<u32, u64>>,
    broken: Mutex<Vec<String>>,
    acks: Mutex<Acks>,
}

/// When writes were acknowledged, and the longest time in which none was.
struct Acks {
    last: Instant,
    longest: Duration,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(round: u64, n: u64) -> String {
    format!("round-{round}-{n}")
}

impl Shared {
    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::SeqCst)
    }

    fn round(&self) -> u64 {
        self.begun.elapsed().as_secs() / ROUND.as_secs()
    }

    fn break_law(&self, what: String) {
        lock(&self.broken).push(what);
    }

    fn acknowledge(&self) {
        let mut acks = lock(&self.acks);
        acks.longest = acks.longest.max(acks.last.elapsed());
        acks.last = Instant::now();
    }
}

fn builder(addresses: Vec<String>) -> norikv_client::Builder {
    Client::builder(addresses).deadline(DEADLINE).attempt(ATTEMPT)
}

impl Load {
    pub(super) fn begin(addresses: Vec<String>) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            begun: now,
            number: AtomicU64::new(0),
            values: AtomicU64::new(1),
            is_over: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            slowest_us: AtomicU64::new(0),
            rounds: Mutex::default(),
            busy: Mutex::default(),
            broken: Mutex::default(),
            acks: Mutex::new(Acks { last: now, longest: Duration::ZERO }),
        });
        let begin = |number: u32| {
            let client = builder(addresses.clone()).build().expect("addresses of nodes are some");
            let worker = Worker::new(number, client, Arc::clone(&shared));
            tokio::spawn(worker.run())
        };
        let tasks = Mutex::new((0..CLIENTS).map(begin).collect());
        let reader = builder(addresses.clone()).deadline(Duration::from_secs(30));
        let reader = reader.build().expect("addresses of nodes are some");
        Self { shared, tasks, reader, settled: Mutex::new(0) }
    }

    pub(super) fn operations(&self) -> u64 {
        self.shared.operations.load(Ordering::Relaxed)
    }

    /// Calls that failed, and those of which nobody knows what came.
    pub(super) fn failures(&self) -> (u64, u64) {
        let (failed, unknown) = (&self.shared.failed, &self.shared.unknown);
        (failed.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed))
    }

    /// The longest time in which no write was acknowledged, and the longest call.
    pub(super) fn longest(&self) -> (Duration, Duration) {
        let slowest = Duration::from_micros(self.shared.slowest_us.load(Ordering::Relaxed));
        (lock(&self.shared.acks).longest, slowest)
    }

    /// Checks the rounds that nobody is at any more.
    pub(super) async fn settle(&self, broken: &mut Vec<String>) {
        let now = self.shared.round();
        self.settle_before(now, broken).await;
        broken.append(&mut lock(&self.shared.broken));
    }

    async fn settle_before(&self, upto: u64, broken: &mut Vec<String>) {
        let mut next = *lock(&self.settled);
        while next < upto && broken.is_empty() {
            let is_busy = lock(&self.shared.busy).values().any(|round| *round <= next);
            if is_busy {
                break;
            }
            let history = lock(&self.shared.rounds).remove(&next).unwrap_or_default();
            self.check(next, history, broken).await;
            next += 1;
            *lock(&self.settled) = next;
        }
    }

    async fn check(&self, round: u64, mut history: History, broken: &mut Vec<String>) {
        for n in 0..KEYS {
            let key = key(round, n);
            let call = self.shared.next();
            let options = GetOptions { consistency: Some(Consistency::Linearizable) };
            let row = match self.reader.get_with(key.clone(), options).await {
                Ok(entry) => entry.and_then(|entry| id_of(&entry.value)),
                // What cannot be read now is read by nobody: the history is checked without it.
                Err(_) => continue,
            };
            let end = self.shared.next();
            let seen = Seen::Row(row);
            history.add(&key, Operation { client: CLIENTS, asked: Asked::Get, seen, call, end });
        }
        let checked = tokio::task::spawn_blocking(move || history.check()).await;
        if let Ok(Err(what)) = checked {
            broken.push(what);
        }
    }

    /// Lets clients come to an end, and checks everything that is left.
    pub(super) async fn end(&self, broken: &mut Vec<String>) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            if let Err(error) = task.await {
                broken.push(format!("a client panicked: {error}"));
            }
        }
        broken.append(&mut lock(&self.shared.broken));
        self.settle_before(self.shared.round() + 1, broken).await;
    }

    /// Writes to one key again and again from now on, until a write that was begun after `from` is acknowledged: how long after `from` that was.
    pub(super) async fn first_ack(
        &self,
        addresses: Vec<String>,
        key: String,
        from: impl Future<Output = anyhow::Result<Instant>>,
    ) -> anyhow::Result<Duration> {
        let client = builder(addresses).build()?;
        client.put(key.clone(), "before").await?;
        let from = from.await?;
        loop {
            match client.put(key.clone(), "after").await {
                Ok(_) => return Ok(from.elapsed()),
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A client at work.
struct Worker {
    number: u32,
    client: Client,
    shared: Arc<Shared>,
    chance: Chance,
    /// What it saw last of each key: value and version.
    seen: BTreeMap<String, (u64, u64)>,
    round: u64,
    /// What its counter certainly is, and its version; and whether one more was asked for without an answer.
    count: u64,
    counted: u64,
    is_count_unknown: bool,
    /// After this an attempt that nobody has answered is not on its way any more.
    doubt_until: Option<Instant>,
}

impl Worker {
    fn new(number: u32, client: Client, shared: Arc<Shared>) -> Self {
        Self {
            number,
            client,
            shared,
            chance: Chance::new(u64::from(number) ^ u64::from(std::process::id()) << 32),
            seen: BTreeMap::new(),
            round: 0,
            count: 0,
            counted: 0,
            is_count_unknown: false,
            doubt_until: None,
        }
    }

    async fn run(mut self) {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let round = self.shared.round();
            if round != self.round {
                self.seen.clear();
                self.round = round;
            }
            lock(&self.shared.busy).insert(self.number, round);
            let begun = Instant::now();
            if self.chance.hits(100_000) {
                self.count().await;
            } else {
                self.operate().await;
            }
            lock(&self.shared.busy).remove(&self.number);
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.shared.slowest_us.fetch_max(took, Ordering::Relaxed);
            self.shared.operations.fetch_add(1, Ordering::Relaxed);
            let pause = self.chance.between(THINK_MS.0, THINK_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.finish_count().await;
    }

    async fn operate(&mut self) {
        let key = key(self.round, self.chance.below(KEYS));
        let value = self.shared.values.fetch_add(1, Ordering::SeqCst);
        let call = self.shared.next();
        let seen = self.seen.get(&key).copied();
        let (asked, outcome) = match self.chance.below(100) {
            0..35 => (Asked::Put(value), self.put(&key, value, Condition::None).await),
            35..50 => {
                let (expected, condition) = match seen {
                    Some((before, version)) => (Some(before), Condition::Version(version)),
                    None => (None, Condition::Absent),
                };
                (Asked::PutIf(value, expected), self.put(&key, value, condition).await)
            }
            50..55 => (Asked::Delete, self.delete(&key).await),
            55..78 => (Asked::Get, self.get(&key, Consistency::Lease).await),
            _ => (Asked::Get, self.get(&key, Consistency::Linearizable).await),
        };
        let is_read = asked == Asked::Get;
        let (seen, end) = match outcome {
            Ok(seen) => (seen, self.shared.next()),
            Err(error) if matches!(error.kind, ErrorKind::VersionMismatch { .. }) => {
                self.seen.remove(&key);
                (Seen::Mismatch, self.shared.next())
            }
            Err(error) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                if is_read || !error.maybe_committed {
                    return self.distrust(&key, &error);
                }
                self.shared.unknown.fetch_add(1, Ordering::Relaxed);
                (Seen::Unknown, u64::MAX)
            }
        };
        let operation = Operation { client: self.number, asked, seen, call, end };
        lock(&self.shared.rounds).entry(self.round).or_default().add(&key, operation);
    }

    /// An error that no fault excuses.
    fn distrust(&self, key: &str, error: &Error) {
        if !error.is_retryable() {
            self.shared.break_law(format!("{key}: {error} ({:?})", error.kind));
        }
    }

    async fn put(&mut self, key: &str, value: u64, condition: Condition) -> Result<Seen, Error> {
        let bytes = value_of(value, 20 + (value % 300) as usize);
        let options = PutOptions { condition, ..PutOptions::default() };
        let version = self.client.put_with(key.to_owned(), bytes, options).await?;
        self.shared.acknowledge();
        self.seen.insert(key.to_owned(), (value, version));
        Ok(Seen::Done)
    }

    async fn delete(&mut self, key: &str) -> Result<Seen, Error> {
        self.client.delete_with(key.to_owned(), DeleteOptions::default()).await?;
        self.shared.acknowledge();
        self.seen.remove(key);
        Ok(Seen::Done)
    }

    async fn get(&mut self, key: &str, consistency: Consistency) -> Result<Seen, Error> {
        let options = GetOptions { consistency: Some(consistency) };
        let entry = self.client.get_with(key.to_owned(), options).await?;
        let row = entry.and_then(|entry| Some((id_of(&entry.value)?, entry.version)));
        match row {
            Some(seen) => self.seen.insert(key.to_owned(), seen),
            None => self.seen.remove(key),
        };
        Ok(Seen::Row(row.map(|(value, _)| value)))
    }

    fn counter(&self) -> String {
        format!("counter-{}", self.number)
    }

    /// Counts one more; looks first, if nobody knows what came of the last.
    async fn count(&mut self) {
        if self.is_count_unknown && !self.look().await {
            return;
        }
        let condition = match self.counted {
            0 => Condition::Absent,
            version => Condition::Version(version),
        };
        let options = PutOptions { condition, ..PutOptions::default() };
        let next = (self.count + 1).to_string();
        match self.client.put_with(self.counter(), next, options).await {
            Ok(version) => {
                self.shared.acknowledge();
                (self.count, self.counted) = (self.count + 1, version);
            }
            Err(error) if matches!(error.kind, ErrorKind::VersionMismatch { .. }) => {
                let (counter, count) = (self.counter(), self.count);
                self.shared
                    .break_law(format!("{counter} was {count}, and somebody changed it: {error}"));
            }
            Err(error) if error.maybe_committed => self.is_count_unknown = true,
            Err(error) => self.distrust("counter", &error),
        }
    }

    /// Whether it is known now what the counter is.
    async fn look(&mut self) -> bool {
        let options = GetOptions { consistency: Some(Consistency::Linearizable) };
        let Ok(entry) = self.client.get_with(self.counter(), options).await else { return false };
        let (count, version) = entry.map_or((0, 0), |entry| {
            let text = String::from_utf8(entry.value.to_vec()).unwrap_or_default();
            (text.parse().unwrap_or(u64::MAX), entry.version)
        });
        let may_be = if self.is_count_unknown {
            self.count..=self.count + 1
        } else {
            self.count..=self.count
        };
        if !may_be.contains(&count) {
            let counter = self.counter();
            self.shared.break_law(format!("{counter} is {count}, and should be within {may_be:?}"));
        }
        if self.is_count_unknown && count == self.count {
            // It may come yet. Nothing is counted before it has, or certainly will not: its name is remembered for as long as an attempt of it can be on its way.
            let until = *self.doubt_until.get_or_insert_with(|| Instant::now() + DOUBT);
            if Instant::now() < until {
                return false;
            }
        }
        (self.count, self.counted) = (count, version);
        (self.is_count_unknown, self.doubt_until) = (false, None);
        true
    }

    async fn finish_count(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.look().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if Instant::now() >= until {
                let counter = self.counter();
                return self.shared.break_law(format!("{counter} cannot be read at the end"));
            }
        }
    }
}

fn value_of(id: u64, len: usize) -> Bytes {
    let mut value = id.to_le_bytes().to_vec();
    value.resize(len.max(8), id as u8);
    value.into()
}

fn id_of(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|id| u64::from_le_bytes(*id))
}
