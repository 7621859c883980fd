//! Requests of clients in the house's own words: which shard, what came of it, and whether that may still be handed on.
//!
//! 1. A request is admitted, or told that there are too many.
//! 2. Its keys say which shard it is of. A node without a replica of that shard, or one that does not lead it, says who does.
//! 3. A read that the replica answers from memory is done; one that needs the disk is finished on a thread that may wait.
//! 4. An answer that rests upon a lease is looked at once more: if the lease has run out meanwhile, the read is asked for again.

use crate::driver::{Handle, NoAnswer};
use crate::errors::Failure;
use crate::faults::Faults;
use crate::room::{Held, Room};
use bytes::Bytes;
use nori_consensus::ShardId;
use norikv_replica::{
    Answer, Freshness, Identity, KeyChange, Refusal, Reply, Request, Target, Value, Version, View,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A read by lease whose lease ran out on the way is asked for again, so often.
const READS_MAX: usize = 4;

/// How large things may be, and how many.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of every replica.
    pub replica: norikv_replica::Settings,
    /// Requests of clients that may be under way on this node at once.
    pub requests_max: usize,
    /// Bytes of requests that have come, in part or whole, and are not answered, all together.
    pub request_bytes_max: usize,
    /// Bytes of answers that clients may leave untaken, all together.
    pub answer_bytes_max: usize,
    /// Connections of clients at once.
    pub connections_max: usize,
    /// Connections of other nodes at once, at each of the two sockets for them.
    pub peer_connections_max: usize,
    /// Rows of one piece of a scan.
    pub scan_rows_max: usize,
    /// Bytes of one piece of a scan.
    pub scan_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replica: norikv_replica::Settings::default(),
            requests_max: 16_384,
            request_bytes_max: 256 << 20,
            answer_bytes_max: 256 << 20,
            connections_max: 1_024,
            peer_connections_max: 256,
            scan_rows_max: 1_024,
            scan_bytes_max: 256 << 10,
        }
    }
}

/// What was read, and as of when.
#[derive(Clone, Debug)]
pub struct Read {
    /// The row; `None` if there is none.
    pub row: Option<Value>,
    /// How old it can be at most; `None` if that is not known.
    pub age: Option<Duration>,
    /// Who answered.
    pub node: u64,
    /// Room for the row until the client has taken it.
    pub(crate) held: Option<Held>,
}

/// Requests of clients, on their way to the loop and back. Clones are the same.
#[derive(Clone)]
pub struct Serving {
    handle: Handle,
    limits: Arc<Limits>,
    admission: Arc<Semaphore>,
    answers: Room,
    is_full: Arc<AtomicBool>,
    tally: Arc<Tally>,
    faults: Arc<Faults>,
}

/// What kinds of requests there are, as they are counted.
const KINDS: [&str; 3] = ["get", "write", "scan"];
/// How they end: well, or for one of the reasons of [`crate::errors`].
const RESULTS: [&str; 13] = [
    "OK",
    "NOT_LEADER",
    "WRONG_SHARD",
    "VERSION_MISMATCH",
    "OVERLOADED",
    "DISK_FULL",
    "TOO_LARGE",
    "INVALID",
    "TOO_STALE",
    "SESSION_EXPIRED",
    "OUTCOME_UNKNOWN",
    "NOT_READY",
    "STORE",
];

#[derive(Debug, Default)]
struct Tally {
    ended: [[AtomicU64; RESULTS.len()]; KINDS.len()],
}

impl Serving {
    /// Requests for the node behind `handle`. While `is_full` is set, nothing that needs room is taken.
    pub fn new(handle: Handle, limits: Limits, is_full: Arc<AtomicBool>) -> Self {
        let admission = Arc::new(Semaphore::new(limits.requests_max));
        let answers = Room::new(limits.answer_bytes_max);
        Self {
            handle,
            limits: Arc::new(limits),
            admission,
            answers,
            is_full,
            tally: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// How to talk to the node.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How large things may be.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Room for answers.
    pub(crate) fn answers(&self) -> &Room {
        &self.answers
    }

    /// Requests that are under way.
    pub fn under_way(&self) -> usize {
        self.limits.requests_max - self.admission.available_permits()
    }

    /// What tests let go wrong.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Whether nothing that needs room is taken.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Requests that have ended, by kind and result.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        KINDS.iter().zip(&self.tally.ended).flat_map(|(kind, ended)| {
            let counts = RESULTS.iter().zip(ended);
            counts.map(|(result, count)| (*kind, *result, count.load(Ordering::Relaxed)))
        })
    }

    /// Counts a request of that kind.
    fn count<T>(&self, kind: usize, result: Result<T, Failure>) -> Result<T, Failure> {
        let reason = result.as_ref().err().map_or(RESULTS[0], Failure::reason);
        if let Some(place) = RESULTS.iter().position(|of| *of == reason) {
            self.tally.ended[kind][place].fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Takes a request in, for as long as what is returned is kept.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`].
    pub fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.admission).try_acquire_owned().map_err(|_| Failure::Overloaded)
    }

    /// The shard that a key belongs to.
    ///
    /// # Errors
    ///
    /// If the node is of no cluster yet.
    pub fn shard_of(&self, key: &[u8]) -> Result<u32, Failure> {
        self.handle.topology().shard_of(key).ok_or_else(not_founded)
    }

    /// Reads the row of a key.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Read, Failure> {
        self.faults.before()?;
        let read = self.read(key, freshness).await;
        self.faults.after().await?;
        self.count(0, read)
    }

    async fn read(&self, key: Bytes, freshness: Freshness) -> Result<Read, Failure> {
        let _admitted = self.admit()?;
        if key.is_empty() {
            return Err(Failure::Invalid("a key has one byte at least".to_owned()));
        }
        let (bytes, bytes_max) = (key.len(), self.limits.replica.key_bytes_max);
        if bytes > bytes_max {
            return Err(Refusal::TooLarge { what: "key", bytes, bytes_max }.into());
        }
        let shard = self.shard_of(&key)?;
        for _ in 0..READS_MAX {
            let target = Target::Row(key.clone());
            let answer = self.ask(shard, Request::Read { freshness, target }).await?;
            let (row, held) = match answer.reply {
                Reply::Row(row) => {
                    let held = self.hold(row.as_ref())?;
                    (row, held)
                }
                Reply::View(view) => {
                    let (own, key) = (self.clone(), key.clone());
                    // Room is taken before anybody else reads: as many rows are in memory as there is room for, and one for each thread.
                    let read = move || {
                        let row = view.row(&key).map_err(internal)?;
                        let held = own.hold(row.as_ref())?;
                        Ok::<_, Failure>((row, held))
                    };
                    blocking(read).await??
                }
                other => return Err(Failure::Internal(format!("a read was answered {other:?}"))),
            };
            if self.is_valid(answer.valid_until) {
                let age = answer.age.at(self.handle.now().steady);
                return Ok(Read { row, age, node: self.handle.topology().me, held });
            }
        }
        Err(Failure::not_leader(&self.handle.topology(), shard, None))
    }

    fn hold(&self, row: Option<&Value>) -> Result<Option<Held>, Failure> {
        row.map_or(Ok(None), |row| self.answers.hold(row.bytes.len()))
    }

    /// The rows of a shard as of one moment.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn view(&self, shard: u32, freshness: Freshness) -> Result<View, Failure> {
        let view = self.look(shard, freshness).await;
        self.count(2, view)
    }

    async fn look(&self, shard: u32, freshness: Freshness) -> Result<View, Failure> {
        if shard as usize >= self.handle.topology().shards.len() {
            return Err(Failure::Invalid(format!("there is no shard {shard}")));
        }
        for _ in 0..READS_MAX {
            let read = Request::Read { freshness, target: Target::View };
            let answer = self.ask(shard, read).await?;
            let Reply::View(view) = answer.reply else {
                return Err(Failure::Internal("a view was asked for, and none came".to_owned()));
            };
            // What it shows was fixed before now.
            if self.is_valid(answer.valid_until) {
                return Ok(view);
            }
        }
        Err(Failure::not_leader(&self.handle.topology(), shard, None))
    }

    /// Changes keys of one shard, all of them or none; the version of what was written.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn write(
        &self,
        identity: Option<Identity>,
        changes: Vec<KeyChange>,
    ) -> Result<Version, Failure> {
        self.faults.before()?;
        let written = self.change(identity, changes).await;
        self.faults.after().await?;
        self.count(1, written)
    }

    async fn change(
        &self,
        identity: Option<Identity>,
        changes: Vec<KeyChange>,
    ) -> Result<Version, Failure> {
        let _admitted = self.admit()?;
        let Some(first) = changes.first() else {
            return Err(Failure::Invalid("a batch without a change".to_owned()));
        };
        let shard = self.shard_of(&first.key)?;
        let mut shards = Vec::new();
        for change in &changes {
            shards.push(self.shard_of(&change.key)?);
        }
        if shards.iter().any(|of| *of != shard) {
            shards.sort_unstable();
            shards.dedup();
            let what = "the keys of a batch are of several shards";
            return Err(Failure::WrongShard { what, shards });
        }
        // What takes away makes room in the end.
        let needs_room = changes.iter().any(|change| change.value.is_some());
        if needs_room && self.is_full() {
            let what = "the disk of this node is nearly full: nothing but deletes is taken".into();
            return Err(Refusal::Store { kind: nori_kv::ErrorKind::Full, what }.into());
        }
        match self.ask(shard, Request::Write { identity, changes }).await?.reply {
            Reply::Written(version) => Ok(version),
            other => Err(Failure::Internal(format!("a write was answered {other:?}"))),
        }
    }

    async fn ask(&self, shard: u32, request: Request) -> Result<Answer, Failure> {
        let is_read = matches!(request, Request::Read { .. });
        let answer = match self.handle.request(ShardId(u64::from(shard)), request).await {
            Ok(answer) => answer,
            Err(NoAnswer::NotHere) => {
                return Err(Failure::not_leader(&self.handle.topology(), shard, None));
            }
            Err(NoAnswer::Lost) if is_read => {
                return Err(Failure::NotReady("the replica ended during the read".to_owned()));
            }
            Err(NoAnswer::Lost) => return Err(Failure::Unknown),
        };
        match answer.reply {
            Reply::Refused(Refusal::NotLeader { leader }) => {
                let leader = leader.map(|node| node.0);
                Err(Failure::not_leader(&self.handle.topology(), shard, leader))
            }
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Ok(answer),
        }
    }

    fn is_valid(&self, until: Option<nori_consensus::Instant>) -> bool {
        until.is_none_or(|until| self.handle.now().steady <= until)
    }
}

pub(crate) fn not_founded() -> Failure {
    Failure::NotReady("the node is of no cluster yet".to_owned())
}

pub(crate) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::Internal(error.to_string())
}

/// Has something done where waiting for the disk keeps nobody else waiting.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(internal)
}
