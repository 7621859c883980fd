//! One replica on its node: what was drained from it and is under way.

use crate::shards::Wanted;
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Index, LogId, MessageClass, NodeId, SnapshotHandle, WriteId};
use norikv_replica::{Replica, State};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A message that waits for a write.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) after: WriteId,
    pub(crate) to: NodeId,
    pub(crate) class: MessageClass,
    pub(crate) message: Bytes,
}

/// A snapshot that takes the place of the state.
pub(crate) struct Install {
    pub(crate) handle: SnapshotHandle,
    /// What it covers: the log begins behind that.
    pub(crate) reset_to: LogId,
    pub(crate) stage: Stage,
}

/// How far that is.
pub(crate) enum Stage {
    /// Writes of the log are under way.
    Waiting,
    /// The state is being replaced.
    Working,
    /// It is; the log is to be reset.
    Installed(State),
    /// It is being.
    Resetting(State),
    /// It is: what was intended is being forgotten.
    Concluding(State),
}

/// A replica with what its node keeps of it.
pub(crate) struct Host {
    pub(crate) replica: Replica,
    /// Which life of the replica this is.
    pub(crate) life: u64,
    /// The last write that was handed to the log. `safe <= begun`.
    begun: WriteId,
    /// The last write that is safe.
    safe: WriteId,
    /// Messages that wait, by the order of their writes. Each `after > safe`.
    held: VecDeque<Held>,
    /// What the log was told to be applied.
    pub(crate) applied: Index,
    /// Entries are being fetched for the log.
    pub(crate) is_fetching: bool,
    /// Snapshots that wait for the state to be safe.
    pub(crate) wanted: VecDeque<Wanted>,
    /// A snapshot is to be made that covers this.
    pub(crate) building: Option<Index>,
    /// What the engine was asked to have safe.
    pub(crate) asked_safe: Index,
    pub(crate) install: Option<Install>,
    /// Set when this life is over, for jobs that would go on.
    pub(crate) is_over: Arc<AtomicBool>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl Host {
    pub(crate) fn new(replica: Replica, life: u64) -> Self {
        Self {
            replica,
            life,
            begun: WriteId::ZERO,
            safe: WriteId::ZERO,
            held: VecDeque::new(),
            applied: Index::ZERO,
            is_fetching: false,
            wanted: VecDeque::new(),
            building: None,
            asked_safe: Index::ZERO,
            install: None,
            is_over: Arc::default(),
        }
    }

    /// A write is handed to the log.
    pub(crate) fn begin(&mut self, write: WriteId) {
        debug_assert!(write > self.begun);
        self.begun = write;
    }

    /// Whether a write is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.begun > self.safe
    }

    /// The snapshot that is being installed.
    pub(crate) fn installing(&self) -> Option<SnapshotHandle> {
        self.install.as_ref().map(|install| install.handle)
    }

    /// The state is another, with everything up to `applied`.
    pub(crate) fn begin_anew(&mut self, applied: Index) {
        (self.applied, self.asked_safe) = (applied, applied);
        self.wanted.clear();
        self.building = None;
    }

    /// The message, if it may go now; else it is kept until it may.
    pub(crate) fn hold(&mut self, after: Option<WriteId>, mut held: Held) -> Option<Held> {
        match after.filter(|after| *after > self.safe && !mutant::is(Mutant::HoldIgnored)) {
            None => Some(held),
            Some(after) => {
                held.after = after;
                self.held.push_back(held);
                None
            }
        }
    }

    /// Everything up to `write` is safe: the messages that may go now.
    pub(crate) fn release(&mut self, write: WriteId) -> Vec<Held> {
        self.safe = self.safe.max(write);
        let safe = self.safe;
        let held = std::mem::take(&mut self.held);
        let (due, later): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| held.after <= safe);
        self.held = later.into();
        due
    }
}
