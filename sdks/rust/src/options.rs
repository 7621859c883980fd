//! What can be said of a call, and of a client.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use norikv_proto::v1;
use std::time::Duration;

/// What a client is made with.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) nodes: Vec<String>,
    pub(crate) deadline: Duration,
    pub(crate) attempt: Duration,
    pub(crate) retry: Retry,
    pub(crate) consistency: Consistency,
}

/// How often, and after how long, an attempt follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The most attempts of a call, the first among them.
    pub attempts_max: u32,
    /// Before the second attempt up to this, before the third up to twice this, and so on: how long exactly, chance says.
    pub base: Duration,
    /// Never longer than this.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let (base, cap) = (Duration::from_millis(10), Duration::from_secs(1));
        Self { attempts_max: 256, base, cap }
    }
}

impl Builder {
    pub(crate) fn new(nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            deadline: Duration::from_secs(5),
            attempt: Duration::from_secs(1),
            retry: Retry::default(),
            consistency: Consistency::Lease,
        }
    }

    /// How long a call may take in all, attempts and pauses together. 5 s if nothing is said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one attempt may take before another node is asked. 1 s if nothing is said.
    #[must_use]
    pub fn attempt(mut self, attempt: Duration) -> Self {
        self.attempt = attempt;
        self
    }

    /// How attempts follow each other.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Of reads that do not say anything else.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// The client. It connects when it first has to.
    ///
    /// # Errors
    ///
    /// If no node is named, or one is no `host:port`.
    pub fn build(self) -> Result<Client, Error> {
        if self.nodes.is_empty() {
            let what = "a client without a node to ask";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        Client::new(self)
    }
}

/// How new what is read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// It has every write that ended before the read began, as long as the servers' clocks drift no more than they are set to.
    #[default]
    Lease,
    /// The same without a word about clocks.
    Linearizable,
    /// What some replica has.
    Stale {
        /// No older than this.
        age_max: Option<Duration>,
        /// With the write of this version.
        version_min: u64,
    },
}

impl Consistency {
    pub(crate) fn wire(self) -> v1::ReadOptions {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let (consistency, age_max_ms, version_min) = match self {
            Self::Lease => (v1::Consistency::Lease, None, 0),
            Self::Linearizable => (v1::Consistency::Linearizable, None, 0),
            Self::Stale { age_max, version_min } => {
                (v1::Consistency::Stale, age_max.map(millis), version_min)
            }
        };
        v1::ReadOptions { consistency: consistency.into(), age_max_ms, version_min }
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key has no row.
    Absent,
    /// The row has this version.
    Version(u64),
}

impl Condition {
    pub(crate) fn wire(self) -> Option<v1::Condition> {
        use v1::condition::What;
        let what = match self {
            Self::None => return None,
            Self::Absent => What::IfAbsent(true),
            Self::Version(version) => What::IfVersion(version),
        };
        Some(v1::Condition { what: Some(what) })
    }
}

/// What can be said of a put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// How long the row stays.
    pub ttl: Option<Duration>,
    /// What must hold.
    pub condition: Condition,
    /// The request's name, if not one of the client's making: at most 64 bytes that no other request has.
    pub idempotency_key: Option<String>,
}

/// What can be said of a delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// What must hold.
    pub condition: Condition,
    /// As of a put.
    pub idempotency_key: Option<String>,
}

/// What can be said of a get.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// How new it has to be; what the client is set to if nothing is said.
    pub consistency: Option<Consistency>,
}

/// Which rows to scan.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// From this key on.
    pub start: Bytes,
    /// Up to before this one; empty: to the end.
    pub end: Bytes,
    /// In place of both: keys that begin so.
    pub prefix: Bytes,
    /// At most so many; 0: all.
    pub limit: u64,
    /// Without values.
    pub keys_only: bool,
    /// How new they have to be; what the client is set to if nothing is said.
    pub consistency: Option<Consistency>,
}

impl ScanOptions {
    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }
}
