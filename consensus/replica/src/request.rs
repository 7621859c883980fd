//! What clients ask for, and what they are answered.

use crate::command::{Condition, Identity};
use crate::error::{Refusal, ReplicaError};
use crate::rows::{self, Version};
use bytes::Bytes;
use nori_consensus::{Change, Instant, LogId};
use nori_kv::{Engine, ReadOptions, Reader, Tick, Tier};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// The present, by both of a node's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The one that only goes on: the protocol's.
    pub steady: Instant,
    /// Milliseconds since 1970: that of expiry. It may jump.
    pub wall: Tick,
}

/// A request, as whoever hands it over names it. Never used twice in one life of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// All of this, or nothing.
    Write {
        /// So that it is executed once however often it comes.
        identity: Option<Identity>,
        /// What is to become of which keys.
        changes: Vec<KeyChange>,
    },
    /// The same of whoever runs the replica, without a limit for lengths.
    Own(KeyChange),
    /// To see the rows.
    Read {
        /// How new they have to be.
        freshness: Freshness,
        /// Which.
        target: Target,
    },
    /// Another membership of the group.
    Reform(Change),
}

/// What is to become of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: Bytes,
    /// What must hold for anything of the request to happen.
    pub condition: Condition,
    /// What to put; `None`: the key goes.
    pub value: Option<Bytes>,
    /// How long it stays, in whole milliseconds, by the leader's clock from when it takes the request.
    pub ttl: Option<Duration>,
}

/// How new what is read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It has every write that ended before the read began. Asks a majority.
    Linearizable,
    /// The same, by the leader's lease: as long as clocks drift no more than the settings say.
    Lease,
    /// What this replica has.
    Stale {
        /// If that is certainly no older.
        age_max: Option<Duration>,
        /// When it has the write with this version; 0 is always.
        version_min: Version,
    },
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The row of a key.
    Row(Bytes),
    /// All of them, to look at elsewhere.
    View,
    /// None: only as of which entry they are.
    Point,
}

/// What came of a request.
#[derive(Debug)]
pub enum Reply {
    /// It is written; the rows have this version.
    Written(Version),
    /// The row; `None` if there is none.
    Row(Option<Value>),
    /// The rows as of now. Also in place of a row that is not in memory.
    View(View),
    /// As of which entry the rows are.
    Point(LogId),
    /// The change of the membership has this entry, which is applied. Where it is joint, the end of it is still to come.
    Reformed(LogId),
    /// Nothing, or nothing that is known.
    Refused(Refusal),
}

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Which write put it.
    pub version: Version,
    /// What it put.
    pub bytes: Bytes,
}

/// How old what was read can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Everything is in it that was written before it was asked for.
    Fresh,
    /// Everything is in it that was written before then, by the node's clock.
    Since(Instant),
    /// Nobody knows.
    Unknown,
}

impl Age {
    /// Its age at most when it is handed on, which may be long after it was read.
    pub fn at(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Fresh => Some(Duration::ZERO),
            Self::Since(asked) => Some(now.since(asked)),
            Self::Unknown => None,
        }
    }
}

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// Which.
    pub request: RequestId,
    /// What came of it.
    pub reply: Reply,
    /// What was read counts only if it is not later than this when it is handed on; otherwise ask again.
    pub valid_until: Option<Instant>,
    /// How old what was read can be at most.
    pub age: Age,
}

/// Takes rows: key, version and value of each. It breaks when it has enough.
pub type Sink<'s> = dyn FnMut(&[u8], Version, &[u8]) -> ControlFlow<()> + 's;

/// The rows of a shard as of one entry. Reading them may block on the disk.
#[derive(Clone)]
pub struct View {
    reader: Arc<dyn Reader>,
    now: Tick,
    at: LogId,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View(as of {})", self.at)
    }
}

impl View {
    pub(crate) fn new(engine: &dyn Engine, now: Tick, at: LogId) -> Result<Self, ReplicaError> {
        Ok(Self { reader: engine.snapshot()?, now, at })
    }

    /// The last entry that is in it.
    pub fn at(&self) -> LogId {
        self.at
    }

    /// The row of `key`.
    ///
    /// # Errors
    ///
    /// As the engine says, or that the row is none of ours.
    pub fn row(&self, key: &[u8]) -> Result<Option<Value>, ReplicaError> {
        read(&*self.reader, key, self.now, Tier::Any)
    }

    /// Lends the rows with `start <= key < end` to `sink`, in order, until it breaks.
    ///
    /// # Errors
    ///
    /// As [`row`](Self::row).
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReplicaError> {
        let options = ReadOptions { now: self.now, ..ReadOptions::default() };
        let mut cursor = self.reader.cursor(&rows::client_range(start, end), &options)?;
        while cursor.next()? {
            let Some(row) = cursor.row() else { break };
            let (version, value) = rows::unseal(row.value)
                .ok_or(ReplicaError::Row { what: "a client's row without a version" })?;
            if sink(rows::of_client(row.key), version, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Longer values are not read by who may not wait: to copy one takes as long as many requests, and thousands that are asked for at once would all be in memory.
const LONG_BYTES: usize = 64 << 10;

/// The row of a client's `key` as of `now`. Of a tier that may not wait a long one is as one that is not in memory.
pub(crate) fn read(
    reader: &dyn Reader,
    key: &[u8],
    now: Tick,
    tier: Tier,
) -> Result<Option<Value>, ReplicaError> {
    let mut engine_key = Vec::with_capacity(key.len() + 1);
    rows::client_key(&mut engine_key, key);
    let (mut value, mut is_put_off) = (Some(None), false);
    reader.read(&engine_key, &ReadOptions { tier, fill: true, now }, &mut |row| {
        is_put_off = tier == Tier::CacheOnly && row.value.len() > LONG_BYTES;
        if is_put_off {
            return;
        }
        value = rows::unseal(row.value)
            .map(|(version, bytes)| Some(Value { version, bytes: Bytes::copy_from_slice(bytes) }));
    })?;
    if is_put_off {
        return Err(nori_kv::Error::WouldBlock.into());
    }
    value.ok_or(ReplicaError::Row { what: "a client's row without a version" })
}
