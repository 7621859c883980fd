//! What jobs and signals bring back to the loop, and how it is woken.
//!
//! A job runs elsewhere, and a signal fires on any thread; both leave a note here and wake whoever drives the node. The loop takes the notes at its
//! next turn. Nothing waits for the loop, and the loop waits for nothing.

use crate::shards::{Chore, InstallDone, ShardOpening, SnapshotDone};
use nori_consensus::ShardId;
use nori_env::{Class, Job, Signal, Slice, Step, Tasks};
use norikv_replica::{Fetched, ReplicaError, State};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Wakes the driver: after it, [`crate::Shards::turn`] is called once at least. Called from any thread.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Something that came back.
#[derive(Debug)]
pub(crate) enum Note {
    /// The shard's replica has work: what it waited for has come.
    Woken(ShardId),
    /// A sync has come further.
    Synced,
    /// Rows for the shard's replica of that life.
    Fetched(ShardId, u64, Fetched),
    /// Entries that the log of the shard was waiting for, for the replica of that life.
    LogFetched(ShardId, u64, nori_raft_log::Result<()>),
    /// A job on a snapshot.
    Snapshot(SnapshotDone),
    /// A state was installed.
    Install(InstallDone),
    /// What was intended for the replica of that life is forgotten.
    Concluded(ShardId, u64, Result<(), ReplicaError>),
    /// Segments of the log were let go; what keeps the oldest.
    Tidied(nori_raft_log::Result<Vec<nori_raft_log::Pin>>),
    /// The state of a shard was opened.
    Opened(Box<ShardOpening>, Result<State, String>),
    /// Something that whoever owns the replicas wanted done with the disk is done.
    Chore(Chore, Result<(), String>),
    /// A state was removed.
    Destroyed(ShardId, nori_kv::Result<()>),
}

pub(crate) struct Inbox {
    notes: Mutex<VecDeque<Note>>,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { notes: Mutex::default(), waker })
    }

    pub(crate) fn put(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
        (self.waker)();
    }

    pub(crate) fn take(&self) -> VecDeque<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves a note once the signal has fired.
    pub(crate) fn put_on(self: &Arc<Self>, signal: &Signal, note: Note) {
        let inbox = Arc::clone(self);
        signal.on_fire(move || inbox.put(note));
    }

    /// Has `work` done elsewhere, in one step, and leaves a note of what it returns.
    pub(crate) fn submit(
        self: &Arc<Self>,
        tasks: &dyn Tasks,
        class: Class,
        work: impl FnOnce() -> Note + Send + 'static,
    ) {
        tasks.submit(class, Box::new(Once { work: Some(work), inbox: Arc::clone(self) }));
    }
}

struct Once<W> {
    work: Option<W>,
    inbox: Arc<Inbox>,
}

impl<W: FnOnce() -> Note + Send> Job for Once<W> {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some(work) = self.work.take() {
            self.inbox.put(work());
        }
        Step::Done
    }
}
