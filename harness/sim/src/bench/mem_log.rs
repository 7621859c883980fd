//! A log in memory that is safe as soon as it is written: for measuring protocols without a disk.

use nori_consensus::{Entry, Index, LogId, LogView, Slice, Store, Term};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Inner {
    base: LogId,
    /// `entries[n].id.index == base.index + 1 + n`.
    entries: VecDeque<Entry>,
}

#[derive(Default)]
pub(crate) struct QuickLog(Mutex<Inner>);

impl Inner {
    fn at(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.index.0 + 1).map(|at| at as usize)
    }

    fn last(&self) -> LogId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }
}

impl QuickLog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, store: Store) {
        let mut inner = self.lock();
        if let Some(at) = store.truncate_from.and_then(|from| inner.at(from)) {
            inner.entries.truncate(at);
        }
        inner.entries.extend(store.entries);
    }

    pub(crate) fn release(&self, through: Index) {
        let mut inner = self.lock();
        while let Some(entry) = inner.entries.pop_front_if(|entry| entry.id.index <= through) {
            inner.base = entry.id;
        }
    }
}

impl LogView for QuickLog {
    fn first(&self) -> Index {
        self.lock().base.index.next()
    }

    fn last(&self) -> LogId {
        self.lock().last()
    }

    fn term(&self, index: Index) -> Option<Term> {
        let inner = self.lock();
        if index == inner.base.index {
            return Some(inner.base.term);
        }
        inner.entries.get(inner.at(index)?).map(Entry::term)
    }

    fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Slice {
        let inner = self.lock();
        let at = inner.at(from).unwrap_or_default();
        let mut bytes = 0;
        let wanted = inner.entries.range(at..).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.bytes();
            entry.id.index < upto && (is_first || bytes <= bytes_max)
        });
        Slice::Ready(wanted.cloned().collect())
    }
}
