//! What a log holds.

use crate::{LogId, Term};
use bytes::Bytes;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a leader's first, with which everything before it commits.
    Noop,
    /// A proposal's payload, which the driver applies to the state of the shard.
    Data,
    /// A change of the membership; its payload is the protocol's own.
    Config,
}

/// An entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: LogId,
    /// What it is for.
    pub kind: EntryKind,
    /// What it says; empty in a [`Noop`](EntryKind::Noop).
    pub payload: Bytes,
}

/// What an entry counts for beside its payload wherever bytes are bounded.
pub const ENTRY_OVERHEAD_BYTES: usize = 32;

impl Entry {
    /// The bytes it counts for wherever bytes are bounded.
    pub fn bytes(&self) -> usize {
        self.payload.len() + ENTRY_OVERHEAD_BYTES
    }

    /// The term it was made in.
    pub fn term(&self) -> Term {
        self.id.term
    }
}
