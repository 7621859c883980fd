//! The state machine of a shard: what an entry does to the rows, and what it answers.
//!
//! An entry is applied in these steps:
//!
//! 1. The rows that its conditions are about are read, at the shard's time. If one is not in memory, the caller has them fetched and
//!    comes again with them: nothing here waits for a disk.
//! 2. From those, and from what is remembered of identities, follow an outcome and a batch.
//! 3. The batch is applied under the entry's place, with what of the answers is no full row yet as its tail. If the engine is busy,
//!    nothing has happened, and the caller comes again.
//! 4. Only then is what is in memory changed.
//!
//! What the engine may drop because it has expired follows what is **safe**, not what is applied: after a crash entries are applied again, and their
//! conditions have to find the rows that they found.

use crate::chunks::Chunks;
use crate::command::{Command, Condition, Identity, Operation};
use crate::error::ReplicaError;
use crate::identities::{Identities, Name, Outcome, Remembered, Verdict};
use crate::rows::{self, Version};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Entry, EntryKind, Index, LogId};
use nori_env::Signal;
use nori_kv::{
    Applied, Cursor, Engine, Error, Maintain, Progress, ReadOptions, Reader, Replicated, Tick,
    Tier, WriteBatch,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Rows that expire within the same so many milliseconds expire together.
pub const EXPIRY_BUCKET_MS: u64 = 100;

/// How many buckets one entry that expires takes away at most; the next one goes on.
const PASSED_MAX: usize = 1_024;

/// So many memberships are remembered, whether their entries are safe or not.
const MEMBERSHIPS_KEPT: usize = 64;

/// How far an entry came.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is applied. What came of it, if it was a write.
    Done(Option<Outcome>),
    /// The engine takes nothing until the signal fires.
    Busy(Signal),
    /// These rows have to be fetched first.
    Fetch(Fetch),
}

/// Rows to read from the disk, elsewhere.
pub struct Fetch {
    engine: Arc<dyn Engine>,
    at: LogId,
    keys: Vec<Vec<u8>>,
    now: Tick,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetch({} rows for {})", self.keys.len(), self.at)
    }
}

/// Rows that were read.
#[derive(Debug)]
pub struct Fetched {
    at: LogId,
    versions: Result<Vec<Version>, ReplicaError>,
}

impl Fetch {
    /// Reads them. Blocks on the disk.
    pub fn run(self) -> Fetched {
        let options = ReadOptions { tier: Tier::Any, fill: true, now: self.now };
        let versions = self.keys.iter().map(|key| version(&*self.engine, key, &options)).collect();
        Fetched { at: self.at, versions }
    }
}

fn version(
    reader: &dyn Reader,
    key: &[u8],
    options: &ReadOptions,
) -> Result<Version, ReplicaError> {
    let mut found = Some(0);
    reader.read(key, options, &mut |row| {
        found = rows::unseal(row.value).map(|(version, _)| version);
    })?;
    found.ok_or(ReplicaError::Row { what: "a client's row without a version" })
}

/// What an entry changes beside the client's rows.
#[derive(Default)]
struct Changes {
    outcome: Option<Outcome>,
    identity: Option<(Name, Remembered)>,
    /// When rows expire that were written.
    buckets: BTreeSet<u64>,
    expire: Option<Expiring>,
}

struct Expiring {
    time: Tick,
    floor: Tick,
    passed: Vec<u64>,
}

/// The state of a shard, read from its engine: what a replica begins with.
pub struct State(Machine);

impl State {
    /// Reads the state's own rows. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// If the engine cannot be read, or has rows that this program did not write, or has no [`Replicated`].
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, ReplicaError> {
        Machine::open(engine).map(Self)
    }

    /// The last entry that it has.
    pub fn applied(&self) -> LogId {
        self.0.applied
    }

    /// What is remembered beside the client's rows, by name: the time, the members, when rows expire, and what was answered. Replicas
    /// that have applied the same remember the same, in whichever rows of their engines it stands.
    pub fn remembered(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let machine = &self.0;
        let of_time = rows::time_row(machine.time, machine.identities.floor());
        let members = machine.memberships.back().map(|(_, bytes)| bytes.to_vec());
        let buckets = machine.buckets.iter().map(|bucket| (rows::expiry_key(*bucket), Vec::new()));
        let answers = machine.identities.rows().map(|(name, row)| {
            let mut value = Vec::new();
            row.put(&mut value);
            ([b"answer ", name].concat(), value)
        });
        [(b"time".to_vec(), of_time), (b"members".to_vec(), members.unwrap_or_default())]
            .into_iter()
            .chain(buckets.map(|(key, value)| (key.to_vec(), value)))
            .chain(answers)
            .collect()
    }

    pub(crate) fn into_machine(self) -> Machine {
        self.0
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(as of {})", self.0.applied)
    }
}

/// The state of one shard on one node.
pub(crate) struct Machine {
    engine: Arc<dyn Engine>,
    identities: Identities,
    chunks: Chunks,
    /// The time of the shard: that of the last entry that expired. Only grows.
    time: Tick,
    /// When rows expire, in [`EXPIRY_BUCKET_MS`].
    buckets: BTreeSet<u64>,
    /// `safe <= applied`.
    applied: LogId,
    safe: LogId,
    /// Memberships with their entries. Of those up to `safe` the last is there, if there is one, and some before it.
    memberships: VecDeque<(Index, Bytes)>,
    /// The membership of the founding, until the first entry has put it into a row: then every snapshot has one.
    founding: Option<Bytes>,
    /// Times of the shard that are not safe yet, with their entries.
    times: VecDeque<(Index, Tick)>,
    batch: WriteBatch,
    /// Of the last entry.
    tail: WriteBatch,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Machine {
    /// The state in `engine`. Reads the disk.
    ///
    /// # Errors
    ///
    /// If the engine cannot be read, or has rows that this program did not write, or has no [`Replicated`].
    pub(crate) fn open(engine: Arc<dyn Engine>) -> Result<Self, ReplicaError> {
        let at = replicated(&*engine)?.durable_applied();
        let at = LogId::new(at.term, at.index);
        let mut machine = Self {
            engine,
            identities: Identities::default(),
            chunks: Chunks::default(),
            time: Tick(0),
            buckets: BTreeSet::new(),
            applied: at,
            safe: at,
            memberships: VecDeque::new(),
            founding: None,
            times: VecDeque::new(),
            batch: WriteBatch::new(),
            tail: WriteBatch::new(),
            key: Vec::new(),
            value: Vec::new(),
        };
        machine.read_own_rows()?;
        machine.set_expiry_floor(machine.time)?;
        Ok(machine)
    }

    fn read_own_rows(&mut self) -> Result<(), ReplicaError> {
        let engine = Arc::clone(&self.engine);
        if let Some(bytes) = engine.get(rows::TIME)? {
            let (time, floor) =
                rows::of_time(&bytes).ok_or(ReplicaError::Row { what: "the time of the shard" })?;
            self.time = time;
            self.identities.raise(floor);
        }
        if let Some(membership) = engine.get(rows::MEMBERSHIP)? {
            self.memberships.push_back((self.safe.index, membership));
        }
        let options = ReadOptions::default();
        let (mut chunks, mut cursor) = (Vec::new(), engine.cursor(&rows::chunks(), &options)?);
        while let Some(row) = next(&mut *cursor)? {
            let first = Chunks::read(row.key, row.value, |chunk, name, answer| {
                self.identities.insert(name.into(), answer, chunk);
            })?;
            chunks.push(first);
        }
        self.identities.forget_old();
        while self.identities.free_old(|_| ()) {}
        self.chunks.found(chunks, self.identities.chunks());
        let mut cursor = engine.cursor(&rows::expiries(), &options)?;
        while let Some(row) = next(&mut *cursor)? {
            let bucket = rows::of_expiry(row.key).ok_or(ReplicaError::Row { what: "an expiry" })?;
            self.buckets.insert(bucket);
        }
        Ok(())
    }

    /// The membership of the group is this, unless an entry that is applied has made another.
    pub(crate) fn found(&mut self, membership: Bytes) {
        if self.memberships.is_empty() && !membership.is_empty() {
            self.founding = Some(membership);
        }
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn applied(&self) -> LogId {
        self.applied
    }

    pub(crate) fn safe(&self) -> LogId {
        self.safe
    }

    pub(crate) fn time(&self) -> Tick {
        self.time
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// A planted bug's.
    pub(crate) fn forget_identities(&mut self) {
        self.identities.forget_all();
    }

    /// The membership as of `index`, which is `safe` or later; `None` if no entry up to there made one.
    pub(crate) fn membership(&self, index: Index) -> Option<&Bytes> {
        if mutant::is(Mutant::SnapshotEarlierMembership) {
            return self.memberships.front().map(|(_, bytes)| bytes);
        }
        self.memberships.iter().rev().find(|(at, _)| *at <= index).map(|(_, bytes)| bytes)
    }

    /// When rows expire next, if any do: then an entry that expires is due.
    pub(crate) fn next_expiry(&self) -> Option<Tick> {
        self.buckets.first().map(|bucket| Tick((bucket + 1).saturating_mul(EXPIRY_BUCKET_MS)))
    }

    /// Looks how far the state is safe; whether it is further than at the last look.
    ///
    /// # Errors
    ///
    /// As the engine says.
    pub(crate) fn look(&mut self) -> Result<bool, ReplicaError> {
        let at = replicated(&*self.engine)?.durable_applied();
        let safe = LogId::new(at.term, at.index);
        if safe.index <= self.safe.index {
            return Ok(false);
        }
        self.safe = safe;
        // A copy of the state that is being made may be as of an earlier entry.
        while self.memberships.len() > MEMBERSHIPS_KEPT
            && self.memberships.get(1).is_some_and(|(at, _)| *at <= safe.index)
        {
            self.memberships.pop_front();
        }
        let mut floor = None;
        while let Some((_, time)) = self.times.pop_front_if(|(at, _)| *at <= safe.index) {
            floor = Some(time);
        }
        if let Some(floor) = floor {
            self.set_expiry_floor(floor)?;
        }
        Ok(true)
    }

    fn set_expiry_floor(&self, floor: Tick) -> Result<(), ReplicaError> {
        match self.engine.maintain().map(|maintain: &dyn Maintain| maintain.set_expiry_floor(floor))
        {
            // Then it drops nothing that has expired, which costs room and nothing else.
            None | Some(Err(Error::Unsupported { .. })) => Ok(()),
            Some(result) => Ok(result?),
        }
    }

    /// Applies `entry`, the one behind those that are applied; with it the membership is `membership`. `fetched` is what was fetched for it, if
    /// it had to be.
    ///
    /// # Errors
    ///
    /// If it cannot be applied. The state is what it was.
    pub(crate) fn apply(
        &mut self,
        entry: &Entry,
        membership: Option<&Bytes>,
        fetched: Option<Fetched>,
    ) -> Result<Step, ReplicaError> {
        debug_assert_eq!(entry.id.index, self.applied.index.next());
        self.batch.clear();
        let changes = match entry.kind {
            EntryKind::Noop | EntryKind::Config => Changes::default(),
            EntryKind::Data => {
                let command = Command::decode(&entry.payload)
                    .map_err(|why| ReplicaError::Entry { at: entry.id, why })?;
                match self.plan(entry.id, command, fetched)? {
                    Ok(changes) => changes,
                    Err(fetch) => return Ok(Step::Fetch(fetch)),
                }
            }
        };
        let membership = membership.or(self.founding.as_ref()).cloned();
        if let Some(membership) = &membership {
            self.batch.put(rows::MEMBERSHIP, membership);
        }
        if mutant::is(Mutant::ToldBeforeApplied)
            && let Some((name, row)) = &changes.identity
        {
            self.identities.insert(Arc::clone(name), *row, entry.id.index);
        }
        let chunk = self.chunks.next(entry.id.index);
        if let Some(signal) = self.apply_batch(entry.id, &changes)? {
            return Ok(Step::Busy(signal));
        }
        self.applied = entry.id;
        self.founding = None;
        if let Some(membership) = membership {
            self.memberships.push_back((entry.id.index, membership));
        }
        Ok(Step::Done(self.take(changes, chunk)))
    }

    /// Has the engine take the batch, and what the entry answered; or says when to come again.
    fn apply_batch(
        &mut self,
        at: LogId,
        changes: &Changes,
    ) -> Result<Option<Signal>, ReplicaError> {
        let answer = changes.identity.as_ref().map(|(name, answer)| (&name[..], answer));
        let answer = answer.filter(|_| !mutant::is(Mutant::IdentityRowUnwritten));
        let draft = self.chunks.draft(at.index, answer, &mut self.batch, &mut self.tail);
        if mutant::is(Mutant::TailUnwritten) {
            self.tail.clear();
        }
        let place = Applied { index: at.index.0, term: at.term.0 };
        let applied = replicated(&*self.engine)
            .and_then(|engine| Ok(engine.apply(&self.batch, &self.tail, place)?));
        if let Ok(Progress::Done) = applied {
            self.chunks.keep(draft);
            return Ok(None);
        }
        self.chunks.undo(draft, &mut self.tail);
        applied.map(|progress| match progress {
            Progress::Done => None,
            Progress::Busy(signal) => Some(signal),
        })
    }

    /// Takes what an entry that is applied has changed; its answer stands in `chunk`.
    fn take(&mut self, changes: Changes, chunk: Index) -> Option<Outcome> {
        if let Some((name, row)) = changes.identity
            && let Some(before) = self.identities.insert(name, row, chunk)
        {
            self.chunks.discount(before);
        }
        self.buckets.extend(changes.buckets);
        if let Some(Expiring { time, floor, passed }) = changes.expire {
            if time > self.time {
                self.time = time;
                self.times.push_back((self.applied.index, time));
            }
            self.identities.raise(floor);
            self.identities.forget_old();
            passed.iter().for_each(|bucket| {
                self.buckets.remove(bucket);
            });
        }
        self.identities.free_old(|chunk| self.chunks.discount(chunk));
        changes.outcome
    }

    /// What `command` changes, with its batch in `self.batch`; or what has to be fetched first.
    fn plan(
        &mut self,
        at: LogId,
        command: Command,
        fetched: Option<Fetched>,
    ) -> Result<Result<Changes, Fetch>, ReplicaError> {
        let (identity, operations) = match command {
            Command::Expire { upto, floor } => return Ok(Ok(self.expire(upto, floor))),
            Command::Write { identity, operations } => (identity, operations),
        };
        if let Some(Verdict::Ended(outcome)) = identity.as_ref().map(|of| self.identities.judge(of))
        {
            return Ok(Ok(Changes { outcome: Some(outcome), ..Changes::default() }));
        }
        let versions = match fetched.filter(|fetched| fetched.at == at) {
            Some(fetched) => fetched.versions?,
            None => match self.versions(&operations)? {
                Some(versions) => versions,
                None => return Ok(Err(self.fetch(at, &operations))),
            },
        };
        Ok(Ok(self.write(at, identity.as_ref(), &operations, &versions)))
    }

    fn fetch(&self, at: LogId, operations: &[Operation]) -> Fetch {
        let keys = conditional(operations).map(|(_, operation)| {
            let mut key = Vec::new();
            rows::client_key(&mut key, &operation.key);
            key
        });
        Fetch { engine: Arc::clone(&self.engine), at, keys: keys.collect(), now: self.time }
    }

    /// The versions of the rows that have conditions; `None` if one is not in memory.
    fn versions(&mut self, operations: &[Operation]) -> Result<Option<Vec<Version>>, ReplicaError> {
        let options = ReadOptions { tier: Tier::CacheOnly, fill: true, now: self.time };
        let mut versions = Vec::new();
        for (_, operation) in conditional(operations) {
            rows::client_key(&mut self.key, &operation.key);
            match version(&*self.engine, &self.key, &options) {
                Ok(version) => versions.push(version),
                Err(ReplicaError::Store(Error::WouldBlock)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(versions))
    }

    fn write(
        &mut self,
        at: LogId,
        identity: Option<&Identity>,
        operations: &[Operation],
        versions: &[Version],
    ) -> Changes {
        let mismatch =
            conditional(operations).zip(versions).find_map(|((n, operation), actual)| {
                let wanted = match operation.condition {
                    Condition::None => return None,
                    Condition::Absent => 0,
                    Condition::Version(version) => version,
                };
                (wanted != *actual)
                    .then_some(Outcome::Mismatch { operation: n as u32, actual: *actual })
            });
        let mut buckets = BTreeSet::new();
        if mismatch.is_none() {
            for operation in operations {
                rows::client_key(&mut self.key, &operation.key);
                match &operation.value {
                    None => {
                        self.batch.delete(&self.key);
                    }
                    Some((value, expires)) => {
                        let is_early = mutant::is(Mutant::VersionOfEarlierEntry);
                        rows::seal(&mut self.value, at.index.0 - u64::from(is_early), value);
                        match expires {
                            None => self.batch.put(&self.key, &self.value),
                            Some(tick) => {
                                buckets.insert(tick.0 / EXPIRY_BUCKET_MS);
                                self.batch.put_until(&self.key, &self.value, *tick)
                            }
                        };
                    }
                }
            }
        }
        buckets.retain(|bucket| !self.buckets.contains(bucket));
        for bucket in &buckets {
            self.batch.put(&rows::expiry_key(*bucket), &[]);
        }
        let outcome = mismatch.unwrap_or(Outcome::Written(at.index.0));
        let identity = identity.map(|of| Identities::row(of, self.time, outcome));
        Changes { outcome: Some(outcome), identity, buckets, expire: None }
    }

    fn expire(&mut self, upto: Tick, floor: Tick) -> Changes {
        let (time, floor) = (self.time.max(upto), self.identities.floor().max(floor));
        let is_past = |bucket: &&u64| **bucket < time.0 / EXPIRY_BUCKET_MS;
        let passed: Vec<u64> =
            self.buckets.iter().take_while(is_past).take(PASSED_MAX).copied().collect();
        self.batch.put(rows::TIME, &rows::time_row(time, floor));
        for bucket in &passed {
            self.batch.delete(&rows::expiry_key(*bucket));
        }
        let expire = Some(Expiring { time, floor, passed });
        Changes { expire, ..Changes::default() }
    }
}

/// The operations that have a condition, with their numbers.
fn conditional(operations: &[Operation]) -> impl Iterator<Item = (usize, &Operation)> {
    operations.iter().enumerate().filter(|(_, operation)| operation.condition != Condition::None)
}

/// The calls for whoever has a log of its own.
pub(crate) fn replicated(engine: &dyn Engine) -> Result<&dyn Replicated, ReplicaError> {
    engine.replicated().ok_or_else(|| {
        Error::Unsupported { engine: "this engine", what: "going without a log of its own" }.into()
    })
}

fn next(cursor: &mut dyn Cursor) -> Result<Option<nori_kv::Row<'_>>, ReplicaError> {
    Ok(if cursor.next()? { cursor.row() } else { None })
}

#[cfg(test)]
mod tests;
