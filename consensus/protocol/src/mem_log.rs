//! A log in memory that can lose what was not safe: for tests and simulations.
//!
//! It keeps two contents: what is **visible** (everything that was stored) and what is **safe** (what survives a crash of the process). Writes in
//! between are kept in order. The last safe writes that were not synced can be **undone**, as by a machine that loses its power: what they brought is
//! gone, and what they had replaced is back.

use crate::{Entry, Index, LogId, LogView, Slice, Store, Term, WriteId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One replica's log and hard state. Shared by the driver, who writes, and the replica, who reads.
#[derive(Debug, Default)]
pub struct MemLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    visible: Content,
    safe: Content,
    /// Begun and not safe, in order.
    pending: VecDeque<Store>,
    /// What undoes the last safe writes, of those since the last that was synced; [`UNDONE_MAX`] at most.
    undo: VecDeque<Undo>,
    /// A slice that begins below this has to be fetched.
    cold_below: Index,
}

/// What one write did to a content.
#[derive(Debug)]
struct Undo {
    /// The first entry that is another by it.
    from: Index,
    /// What it truncated; the first of it was at `from`.
    replaced: Vec<Entry>,
}

/// More writes than this are on the disk, synced or not.
const UNDONE_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
struct Content {
    hard_state: Bytes,
    /// Before the first entry.
    base: LogId,
    /// `entries[n].id.index == base.index + 1 + n`.
    entries: VecDeque<Entry>,
}

impl Content {
    fn last(&self) -> LogId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    /// Where `index` lies in `entries`; `None` if it was truncated.
    fn place(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.index.0 + 1).map(|place| place as usize)
    }

    fn put(&mut self, store: &Store) {
        if let Some(hard_state) = &store.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(from) = store.truncate_from {
            let place = self.place(from).expect("what a snapshot covers is never replaced");
            self.entries.truncate(place);
        }
        for entry in &store.entries {
            assert_eq!(entry.id.index, self.last().index.next(), "entries adjoin");
            self.entries.push_back(entry.clone());
        }
    }

    /// The same, with what undoes it.
    fn put_undoably(&mut self, store: &Store) -> Undo {
        let from = store.truncate_from.unwrap_or_else(|| self.last().index.next());
        let place = self.place(from).expect("what a snapshot covers is never replaced");
        let replaced = self.entries.range(place..).cloned().collect();
        self.put(store);
        Undo { from, replaced }
    }

    fn truncate(&mut self, through: Index) {
        while self.entries.front().is_some_and(|entry| entry.id.index <= through) {
            self.base = self.entries.pop_front().map_or(self.base, |entry| entry.id);
        }
    }

    fn reset(&mut self, to: LogId) {
        self.entries.clear();
        self.base = to;
    }
}

impl MemLog {
    /// An empty log that begins behind `base`.
    pub fn new(base: LogId) -> Self {
        let log = Self::default();
        log.reset(base);
        log
    }

    /// Makes a write visible.
    pub fn begin(&self, store: Store) {
        let mut inner = self.lock();
        inner.visible.put(&store);
        inner.pending.push_back(store);
    }

    /// The first write that is not safe.
    pub fn next_pending(&self) -> Option<WriteId> {
        self.lock().pending.front().map(|store| store.write)
    }

    /// Whether the first write that is not safe has a hard state.
    pub fn is_promise_pending(&self) -> bool {
        self.lock().pending.front().is_some_and(|store| store.hard_state.is_some())
    }

    /// Makes the first write that is not safe so; its name.
    pub fn make_safe(&self) -> Option<WriteId> {
        let mut inner = self.lock();
        let store = inner.pending.pop_front()?;
        let undo = inner.safe.put_undoably(&store);
        if store.sync {
            // Files are synced whole: what came before is there as well.
            inner.undo.clear();
        } else {
            if inner.undo.len() == UNDONE_MAX {
                inner.undo.pop_front();
            }
            inner.undo.push_back(undo);
        }
        Some(store.write)
    }

    /// What a crash does: everything that is not safe goes.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.pending.clear();
        inner.cold_below = Index::ZERO;
        inner.visible = inner.safe.clone();
    }

    /// Undoes up to `writes` of the last writes that were not synced; how many. What is up to `floor` stays. No write is pending.
    pub fn forget(&self, writes: u64, floor: Index) -> u64 {
        let mut inner = self.lock();
        assert!(inner.pending.is_empty(), "a process that writes forgets nothing");
        let floor = floor.max(inner.safe.base.index);
        let mut undone = 0;
        while undone < writes
            && let Some(Undo { from, replaced }) = inner.undo.pop_back_if(|undo| undo.from > floor)
        {
            let place = inner.safe.place(from).expect("it is above the floor");
            inner.safe.entries.truncate(place);
            inner.safe.entries.extend(replaced);
            undone += 1;
        }
        inner.visible = inner.safe.clone();
        undone
    }

    /// The hard state that a next life would find.
    pub fn hard_state(&self) -> Bytes {
        self.lock().safe.hard_state.clone()
    }

    /// Lets entries go from the front, of those that are safe. Nobody reads them any more.
    pub fn truncate(&self, through: Index) {
        let mut inner = self.lock();
        let through = through.min(inner.safe.last().index);
        inner.safe.truncate(through);
        inner.visible.truncate(through);
    }

    /// Empties the log; it begins behind `to` from now on. No write is pending.
    pub fn reset(&self, to: LogId) {
        let mut inner = self.lock();
        assert!(inner.pending.is_empty(), "a log is reset when its writes have ended");
        inner.visible.reset(to);
        inner.safe.reset(to);
        inner.undo.clear();
    }

    /// From now on slices that begin below `index`, which is applied, have to be fetched, until [`fetch`](Self::fetch).
    pub fn chill(&self, index: Index) {
        self.lock().cold_below = index;
    }

    /// Has everything at hand.
    pub fn fetch(&self) {
        self.lock().cold_below = Index::ZERO;
    }

    /// The entry at `index`, as a next life would find it.
    pub fn safe_entry(&self, index: Index) -> Option<Entry> {
        let inner = self.lock();
        inner.safe.entries.get(inner.safe.place(index)?).cloned()
    }

    /// The entry at `index`.
    pub fn entry(&self, index: Index) -> Option<Entry> {
        let inner = self.lock();
        inner.visible.entries.get(inner.visible.place(index)?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogView for MemLog {
    fn first(&self) -> Index {
        self.lock().visible.base.index.next()
    }

    fn last(&self) -> LogId {
        self.lock().visible.last()
    }

    fn term(&self, index: Index) -> Option<Term> {
        let inner = self.lock();
        if index == inner.visible.base.index {
            return Some(inner.visible.base.term);
        }
        inner.visible.entries.get(inner.visible.place(index)?).map(Entry::term)
    }

    fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Slice {
        let inner = self.lock();
        if from < inner.cold_below {
            return Slice::Pending;
        }
        let place = inner.visible.place(from).expect("first <= from");
        let mut bytes = 0;
        let wanted = inner.visible.entries.range(place..).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.bytes();
            entry.id.index < upto && (is_first || bytes <= bytes_max)
        });
        Slice::Ready(wanted.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryKind;

    fn store(write: u64, truncate_from: Option<u64>, ids: &[(u64, u64)]) -> Store {
        let entries = ids.iter().map(|(term, index)| Entry {
            id: LogId::new(*term, *index),
            kind: EntryKind::Data,
            payload: Bytes::from_static(b"12345678"),
        });
        Store {
            write: WriteId(write),
            hard_state: None,
            truncate_from: truncate_from.map(Index),
            entries: entries.collect(),
            sync: false,
        }
    }

    fn ids(log: &MemLog, from: u64, upto: u64, bytes_max: usize) -> Vec<LogId> {
        match log.slice(Index(from), Index(upto), bytes_max) {
            Slice::Ready(entries) => entries.into_iter().map(|entry| entry.id).collect(),
            Slice::Pending => panic!("nothing is cold"),
        }
    }

    #[test]
    fn a_crash_takes_back_what_was_not_safe() {
        let log = MemLog::default();
        log.begin(store(1, None, &[(1, 1), (1, 2), (1, 3)]));
        assert_eq!(log.make_safe(), Some(WriteId(1)));
        log.begin(store(2, Some(2), &[(2, 2)]));
        assert_eq!(log.last(), LogId::new(2, 2));
        log.crash();
        assert_eq!((log.last(), log.next_pending()), (LogId::new(1, 3), None));
    }

    #[test]
    fn what_was_not_synced_is_undone_with_all_that_it_replaced() {
        let log = MemLog::default();
        for (write, from, ids) in [
            (1, None, &[(1, 1), (1, 2), (1, 3)][..]),
            (2, Some(2), &[(2, 2)]),
            (3, None, &[(2, 3)]),
        ] {
            log.begin(store(write, from, ids));
            log.make_safe();
        }
        assert_eq!((log.forget(1, Index(1)), log.last()), (1, LogId::new(2, 2)));
        assert_eq!((log.forget(9, Index(2)), log.last()), (0, LogId::new(2, 2)));
        assert_eq!((log.forget(1, Index(1)), log.last()), (1, LogId::new(1, 3)));
        assert_eq!(log.safe_entry(Index(2)).map(|entry| entry.id), Some(LogId::new(1, 2)));
        log.begin(Store { sync: true, ..store(4, None, &[(3, 4)]) });
        log.make_safe();
        assert_eq!((log.forget(9, Index::ZERO), log.last()), (0, LogId::new(3, 4)));
    }

    #[test]
    fn a_slice_has_one_entry_at_least_and_no_more_bytes_than_asked() {
        let log = MemLog::default();
        log.begin(store(1, None, &[(1, 1), (1, 2), (1, 3), (1, 4)]));
        assert_eq!(ids(&log, 2, 5, 0), [LogId::new(1, 2)]);
        assert_eq!(ids(&log, 2, 5, 80).len(), 2);
        assert_eq!(ids(&log, 2, 4, usize::MAX).len(), 2);
        log.chill(Index(3));
        assert_eq!(log.slice(Index(2), Index(3), 100), Slice::Pending);
        log.fetch();
        assert_eq!(ids(&log, 2, 3, 100).len(), 1);
    }

    #[test]
    fn a_truncated_log_knows_the_term_before_its_first_entry() {
        let log = MemLog::new(LogId::new(3, 9));
        log.begin(store(1, None, &[(3, 10), (4, 11)]));
        log.truncate(Index(10));
        assert_eq!(log.first(), Index(10), "what is not safe stays");
        log.make_safe();
        log.truncate(Index(10));
        assert_eq!((log.first(), log.term(Index(10))), (Index(11), Some(Term(3))));
        assert_eq!((log.term(Index(9)), log.term(Index(12))), (None, None));
        log.truncate(Index(11));
        assert_eq!((log.first(), log.last()), (Index(12), LogId::new(4, 11)));
    }
}
