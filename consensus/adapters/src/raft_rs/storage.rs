//! The log as raft-rs reads it: what the driver shows, and over it what the present drain has handed out and the driver has not begun yet.

use super::convert::{Config, to_ours, to_theirs};
use nori_consensus::{Index, LogId, LogView, Slice, Term};
use raft::eraftpb::{self, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

pub(super) struct Store {
    view: Arc<dyn LogView>,
    hard_state: HardState,
    /// As of what was handed out to be applied.
    pub(super) config: RefCell<Config>,
    /// What was handed out last.
    pub(super) handed_out: RefCell<LogId>,
    /// The term and the vote that were handed out to be stored last.
    pub(super) promised: Cell<(u64, u64)>,
    /// What was committed by the hard state that was handed out last.
    pub(super) stored_commit: Cell<u64>,
    /// A snapshot that is being installed: the log is as it will be, empty and behind it.
    pub(super) reset_to: Cell<Option<LogId>>,
    /// Entries that were handed out to be stored since the last step, adjoining.
    fresh: RefCell<Vec<eraftpb::Entry>>,
    /// Who waits for entries that are being fetched.
    waiting: RefCell<Vec<GetEntriesContext>>,
}

impl Store {
    pub(super) fn new(
        view: Arc<dyn LogView>,
        hard_state: HardState,
        config: Config,
        applied: LogId,
    ) -> Self {
        Self {
            view,
            promised: Cell::new((hard_state.term, hard_state.vote)),
            stored_commit: Cell::new(hard_state.commit),
            hard_state,
            config: RefCell::new(config),
            handed_out: RefCell::new(applied),
            reset_to: Cell::new(None),
            fresh: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// The driver has begun what was handed out.
    pub(super) fn settle(&self) {
        self.fresh.borrow_mut().clear();
    }

    /// Takes entries that are being handed out; where what was stored before is replaced, if it is.
    pub(super) fn take(&self, entries: &[eraftpb::Entry]) -> Option<Index> {
        let first = entries.first()?.index;
        let last = self.last();
        let mut fresh = self.fresh.borrow_mut();
        fresh.retain(|entry| entry.index < first);
        if fresh.last().is_some_and(|entry| entry.index + 1 != first) {
            fresh.clear();
        }
        fresh.extend_from_slice(entries);
        (first <= last).then_some(Index(first))
    }

    pub(super) fn take_waiting(&self) -> Vec<GetEntriesContext> {
        self.waiting.take()
    }

    pub(super) fn first(&self) -> u64 {
        self.reset_to.get().map_or(self.view.first().0, |to| to.index.0 + 1)
    }

    pub(super) fn last(&self) -> u64 {
        let base = self.reset_to.get().unwrap_or_else(|| self.view.last());
        self.fresh.borrow().last().map_or(base.index.0, |entry| entry.index)
    }

    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        let fresh = self.fresh.borrow();
        match fresh.first() {
            Some(first) if index >= first.index => {
                fresh.get((index - first.index) as usize).map(|entry| entry.term)
            }
            _ => match self.reset_to.get() {
                Some(to) => (to.index.0 == index).then_some(to.term.0),
                None => self.view.term(Index(index)).map(|term| term.0),
            },
        }
    }

    /// Entries before those that are fresh.
    fn seen(&self, low: u64, high: u64, bytes_max: usize) -> Option<Vec<eraftpb::Entry>> {
        match self.view.slice(Index(low), Index(high), bytes_max) {
            Slice::Ready(entries) => Some(entries.into_iter().map(to_theirs).collect()),
            Slice::Pending => None,
        }
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.config.borrow().state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        let bytes_max = max_size.into().map_or(usize::MAX, |bytes| bytes as usize);
        let fresh_from = self.fresh.borrow().first().map_or(u64::MAX, |entry| entry.index);
        let mut entries = if low < fresh_from {
            match self.seen(low, high.min(fresh_from), bytes_max) {
                Some(entries) => entries,
                None if context.can_async() => {
                    self.waiting.borrow_mut().push(context);
                    return Err(StorageError::LogTemporarilyUnavailable.into());
                }
                None => return Err(StorageError::Unavailable.into()),
            }
        } else {
            Vec::new()
        };
        let next = low + entries.len() as u64;
        let mut bytes: usize = entries.iter().map(|entry| to_ours(entry).bytes()).sum();
        for entry in self.fresh.borrow().iter() {
            if entry.index >= next && entry.index < high {
                bytes += to_ours(entry).bytes();
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(entry.clone());
            }
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.term_at(index).ok_or_else(|| match index < self.first() {
            true => StorageError::Compacted.into(),
            false => StorageError::Unavailable.into(),
        })
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Only what a snapshot has to cover: the driver brings one when it has it.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let covers = *self.handed_out.borrow();
        if covers.index.0 < request_index || covers.term == Term::ZERO {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (covers.index.0, covers.term.0);
        metadata.set_conf_state(self.config.borrow().state.clone());
        Ok(snapshot)
    }
}
