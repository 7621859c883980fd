//! The log of one shard as a node keeps it in memory: where each entry lies, and the entries that somebody may ask for soon.
//!
//! 1. All terms and places are here. Of the entries those above what was applied are here, and as many of the others as the cache may
//!    have; older ones are **fetched**.
//! 2. A slice that has to be fetched is noted ([`LogView::slice`] answers `Pending`). Whoever drives the replica fetches it where it may
//!    wait for a disk ([`NodeLog::fetch`](crate::NodeLog::fetch)), and tells the replica to ask again.
//! 3. A segment is **needed** as long as the hard state in force, the beginning of the log, or an entry lies in it.

use crate::record::Span;
use bytes::Bytes;
use nori_consensus::{Entry, Index, LogId, LogView, Slice, Term};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) term: Term,
    pub(crate) segment: u32,
    /// In the segment's file.
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// A place in the write-ahead log to which the spans of a payload are relative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) segment: u32,
    pub(crate) payload_at: u32,
}

impl Ground {
    pub(crate) fn place(self, term: Term, span: Span) -> Place {
        let offset = self.payload_at + span.offset;
        Place { term, segment: self.segment, offset, bytes: span.bytes }
    }
}

/// A slice that was asked for and is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) from: Index,
    pub(crate) upto: Index,
    pub(crate) bytes_max: usize,
}

/// The log of a shard: shared by the node's log, which writes, and the replica, which reads.
#[derive(Debug, Default)]
pub(crate) struct ShardLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hard_state: Bytes,
    /// The segment of the record with it; zero if there is none.
    pub(crate) hard_segment: u32,
    /// Before the first entry.
    pub(crate) base: LogId,
    /// The segment of the record that says so; zero if there is none.
    pub(crate) base_segment: u32,
    /// `places[n]` is that of the entry at `base.index + 1 + n`.
    pub(crate) places: VecDeque<Place>,
    /// The last entries. `cached.len() <= places.len()`
    cached: VecDeque<Entry>,
    /// The sum over `cached`.
    cached_bytes: usize,
    /// Entries up to there may leave the cache.
    applied: Index,
    wanted: Option<Wanted>,
    /// What was fetched last, adjoining.
    fetched: Vec<Entry>,
}

impl State {
    /// The state that a replay found.
    pub(crate) fn found(
        (hard_state, hard_segment): (Bytes, u32),
        (base, base_segment): (LogId, u32),
        entries: Vec<(Entry, Place)>,
    ) -> Self {
        let mut state = Self { hard_state, hard_segment, base, base_segment, ..Self::default() };
        for (entry, place) in entries {
            state.push(entry, place);
        }
        state
    }

    pub(crate) fn last(&self) -> LogId {
        let index = Index(self.base.index.0 + self.places.len() as u64);
        self.places.back().map_or(self.base, |place| LogId { term: place.term, index })
    }

    fn nth(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.index.0 + 1).map(|nth| nth as usize)
    }

    pub(crate) fn place(&self, index: Index) -> Option<Place> {
        self.places.get(self.nth(index)?).copied()
    }

    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.place(index).map(|place| place.term)
    }

    /// The first entry that is cached.
    fn cached_from(&self) -> Index {
        Index(self.last().index.0 + 1 - self.cached.len() as u64)
    }

    /// The entry, if it is cached.
    pub(crate) fn cached(&self, index: Index) -> Option<&Entry> {
        let nth = index.0.checked_sub(self.cached_from().0)?;
        self.cached.get(nth as usize)
    }

    /// Appends an entry.
    ///
    /// # Panics
    ///
    /// If it does not adjoin.
    pub(crate) fn push(&mut self, entry: Entry, place: Place) {
        assert_eq!(entry.id.index, self.last().index.next(), "entries adjoin");
        self.cached_bytes += entry.bytes();
        self.cached.push_back(entry);
        self.places.push_back(place);
    }

    /// The entry at `index` lies at `place` too.
    pub(crate) fn moved(&mut self, index: Index, place: Place) {
        if let Some(known) = self.nth(index).and_then(|nth| self.places.get_mut(nth)) {
            debug_assert_eq!(known.term, place.term, "it is the same entry");
            *known = place;
        }
    }

    /// Entries from `from` on go.
    ///
    /// # Panics
    ///
    /// If one of them was before the log's beginning.
    pub(crate) fn cut(&mut self, from: Index) {
        let keep = self.nth(from).expect("what a snapshot covers is never replaced");
        self.fetched.clear();
        while self.places.len() > keep {
            self.places.pop_back();
            if let Some(entry) = self.cached.pop_back() {
                self.cached_bytes -= entry.bytes();
            }
        }
    }

    /// Entries up to `through` go.
    pub(crate) fn release(&mut self, through: LogId, segment: u32) {
        while self.base.index < through.index
            && let Some(place) = self.places.pop_front()
        {
            self.base = LogId { term: place.term, index: self.base.index.next() };
            if self.cached.len() > self.places.len() {
                self.uncache();
            }
        }
        (self.base, self.base_segment) = (self.base.max(through), segment);
    }

    /// All entries go; the log begins behind `to`.
    pub(crate) fn reset(&mut self, to: LogId, segment: u32) {
        self.places.clear();
        self.cached.clear();
        self.fetched.clear();
        (self.cached_bytes, self.wanted) = (0, None);
        (self.base, self.base_segment) = (to, segment);
    }

    fn uncache(&mut self) {
        if let Some(entry) = self.cached.pop_front() {
            self.cached_bytes -= entry.bytes();
        }
    }

    /// Entries up to `through` are applied, and leave the cache as far as it is above `bytes_max`.
    pub(crate) fn applied(&mut self, through: Index, bytes_max: usize) {
        self.applied = self.applied.max(through);
        while self.cached_bytes > bytes_max
            && !self.cached.is_empty()
            && self.cached_from() <= self.applied
        {
            self.uncache();
        }
    }

    /// The entries above `applied` that are not cached.
    pub(crate) fn lacking(&self, applied: Index) -> Vec<(Index, Place)> {
        let from = applied.max(self.base.index).next();
        let indices = (from.0..self.cached_from().0).map(Index);
        indices.filter_map(|index| Some((index, self.place(index)?))).collect()
    }

    /// Takes `entries` for those that were lacking above `applied`, if they still are: whether none is any more.
    pub(crate) fn recall(&mut self, applied: Index, entries: Vec<Entry>) -> bool {
        let is_same = |entry: &Entry| self.term(entry.id.index) == Some(entry.id.term);
        let adjoins =
            entries.last().is_none_or(|entry| entry.id.index.next() == self.cached_from());
        if adjoins && entries.iter().all(is_same) {
            for entry in entries.into_iter().rev() {
                self.cached_bytes += entry.bytes();
                self.cached.push_front(entry);
            }
        }
        self.applied = applied;
        self.lacking(applied).is_empty()
    }

    /// The oldest segment that is needed; `None` if none is.
    pub(crate) fn oldest_needed(&self) -> Option<u32> {
        let records = [self.hard_segment, self.base_segment].into_iter().filter(|of| *of > 0);
        // Copies lie later than what adjoins them: the first entry's is not always the oldest.
        let entries = self.places.iter().map(|place| place.segment);
        records.chain(entries).min()
    }

    /// Bytes of entries in segments below `below`.
    pub(crate) fn entries_below(&self, below: u32) -> (u64, Index) {
        let old = (1..).zip(&self.places).filter(|(_, place)| place.segment < below);
        old.fold((0, Index::ZERO), |(bytes, _), (n, place)| {
            (bytes + u64::from(place.bytes), Index(self.base.index.0 + n))
        })
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.wanted.is_some()
    }

    pub(crate) fn take_wanted(&mut self) -> Option<Wanted> {
        self.wanted.take()
    }

    /// Takes what was fetched, if it is still what the log holds.
    pub(crate) fn fetched(&mut self, entries: Vec<Entry>) {
        let is_same = entries.iter().all(|entry| self.term(entry.id.index) == Some(entry.id.term));
        self.fetched = if is_same { entries } else { Vec::new() };
    }

    fn slice(&mut self, from: Index, upto: Index, bytes_max: usize) -> Slice {
        debug_assert!(self.base.index < from && from < upto && upto.0 <= self.last().index.0 + 1);
        let known = self.fetched.first().map_or(Index(u64::MAX), |entry| entry.id.index);
        let entries: Vec<Entry> = if from >= self.cached_from() {
            let skipped = (from.0 - self.cached_from().0) as usize;
            limited(self.cached.iter().skip(skipped), upto, bytes_max)
        } else if from >= known {
            let skipped = (from.0 - known.0) as usize;
            limited(self.fetched.iter().skip(skipped), upto, bytes_max)
        } else {
            Vec::new()
        };
        if entries.is_empty() {
            self.wanted = Some(Wanted { from, upto, bytes_max });
            return Slice::Pending;
        }
        Slice::Ready(entries)
    }
}

/// The first of `entries` before `upto`, of at most `bytes_max` bytes, but one at least.
fn limited<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    upto: Index,
    bytes_max: usize,
) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let is_first = bytes == 0;
        bytes += entry.bytes();
        entry.id.index < upto && (is_first || bytes <= bytes_max)
    };
    entries.take_while(fits).cloned().collect()
}

impl ShardLog {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }
}

impl LogView for ShardLog {
    fn first(&self) -> Index {
        self.state.lock().base.index.next()
    }

    fn last(&self) -> LogId {
        self.state.lock().last()
    }

    fn term(&self, index: Index) -> Option<Term> {
        self.state.lock().term(index)
    }

    fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Slice {
        self.state.lock().slice(from, upto, bytes_max)
    }
}
