//! What can go wrong, and what the caller can do about it.

use nori_consensus::{BootError, Index, LogId, NodeId};
use nori_kv::ErrorKind;
use std::time::Duration;

/// An entry that is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Of a version that this program does not know.
    #[error("a command of version {0} is not known to this program")]
    Version(u8),
    /// Not even that.
    #[error("it is no command")]
    Unreadable,
}

/// Why a request was not served. Every one but [`Refusal::Unknown`] says that nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another replica leads, or none is known to. Ask that one.
    #[error("this replica does not lead the shard")]
    NotLeader {
        /// Whom to ask.
        leader: Option<NodeId>,
    },
    /// There is more under way than may be. Ask again later.
    #[error("more is under way than the shard takes; ask again later")]
    Overloaded,
    /// It may or may not happen, or have happened. Only a request with an identity can be asked again without harm.
    #[error("the leader was replaced before the request ended; the outcome is unknown")]
    Unknown,
    /// The row's version is another.
    #[error("the version is {actual}")]
    VersionMismatch {
        /// The number of the operation whose condition does not hold, from 0 on.
        operation: u32,
        /// The version of the row; 0 if there is none.
        actual: u64,
    },
    /// The identity is older than what is remembered: it may have been executed long ago. It never is again.
    #[error("the request's identity is older than the shard remembers, and may have been executed")]
    SessionExpired,
    /// What was asked for is larger than the shard takes.
    #[error("the {what} has {bytes} bytes, and may have {bytes_max}")]
    TooLarge {
        /// Key, value or write.
        what: &'static str,
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// The state is older than the request allows, or may be.
    #[error("what this replica has may be older than {age_max:?}")]
    TooStale {
        /// How old it can be at most, if that is known.
        age: Option<Duration>,
        /// What was allowed.
        age_max: Duration,
    },
    /// The write that a stale read wants to see has not come here in time.
    #[error("what this replica has ends at version {version}, and {version_min} is wanted")]
    Behind {
        /// What is wanted.
        version_min: u64,
        /// What there is.
        version: u64,
    },
    /// What is asked for breaks a rule.
    #[error("{what}")]
    Invalid {
        /// Which.
        what: String,
    },
    /// The store cannot serve it.
    #[error("{}{what}", if *kind == ErrorKind::Full { "" } else { "the store of the shard failed: " })]
    Store {
        /// What the caller can do.
        kind: ErrorKind,
        /// As the store says it.
        what: String,
    },
}

/// Why a replica cannot go on. Its state is what it was before the entry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// A committed entry cannot be read: another version of this program made it, or memory failed.
    #[error("entry {at} cannot be applied: {why}")]
    Entry {
        /// Which.
        at: LogId,
        /// Why.
        why: BadEntry,
    },
    /// What is to be applied is not in the log.
    #[error("entry {at} is to be applied, and the log does not have it")]
    Log {
        /// Which.
        at: Index,
    },
    /// What was stored is not this protocol's.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] nori_kv::Error),
    /// A row of the replica's own cannot be read.
    #[error("a row of the replica's own cannot be read: {what}")]
    Row {
        /// Which.
        what: &'static str,
    },
}
