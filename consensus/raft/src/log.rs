//! A replica's log: what the driver shows of it, and over that what was made and not drained yet.
//!
//! 1. Entries are appended to the **tail**, and a conflict truncates: first the tail, then, if need be, what was drained before.
//! 2. A drain turns tail and truncation into one write.
//! 3. What a write brought is **safe** when it ended; a truncation takes that back at once, for what is safe then is another entry.

use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Entry, Index, LogId, LogView, Slice, Term, WriteId};
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) struct Log {
    view: Arc<dyn LogView>,
    /// `tail[n].id.index == tail_start + n`.
    tail: Vec<Entry>,
    tail_start: Index,
    /// From here on what was drained goes. `truncate_from <= tail_start`, and equal if the tail has anything.
    truncate_from: Option<Index>,
    last: LogId,
    /// Entries that a crash leaves, as far as this life knows. `safe <= last.index`.
    safe: Index,
    /// Writes under way with entries, and the last of each that still counts.
    writes: VecDeque<(WriteId, Index)>,
}

impl Log {
    pub(crate) fn new(view: Arc<dyn LogView>) -> Self {
        let last = view.last();
        Self {
            view,
            tail: Vec::new(),
            tail_start: last.index.next(),
            truncate_from: None,
            last,
            safe: last.index,
            writes: VecDeque::new(),
        }
    }

    pub(crate) fn first(&self) -> Index {
        self.view.first()
    }

    pub(crate) fn last(&self) -> LogId {
        self.last
    }

    pub(crate) fn safe(&self) -> Index {
        self.safe
    }

    /// The term of the entry at `index`, or of what a snapshot ends with there.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.last.index {
            return Some(self.last.term);
        }
        if index > self.last.index {
            return None;
        }
        if index >= self.tail_start {
            return self.tail.get((index.0 - self.tail_start.0) as usize).map(Entry::term);
        }
        self.view.term(index)
    }

    pub(crate) fn has(&self, id: LogId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// Whether a log that ends with `other` has all that this one may have committed.
    pub(crate) fn is_covered_by(&self, other: LogId) -> bool {
        if mutant::is(Mutant::IndexBeforeTerm) {
            return other.index >= self.last.index;
        }
        other >= self.last
    }

    /// The last entry at or below `index` of a term no later than `term`: where two logs may agree at best.
    pub(crate) fn at_or_below(&self, index: Index, term: Term) -> LogId {
        let mut index = index.min(self.last.index);
        loop {
            match self.term(index) {
                Some(of) if of <= term => return LogId { term: of, index },
                Some(_) if index > Index::ZERO => index = Index(index.0 - 1),
                // What a snapshot covers is committed, so both have it.
                _ => return LogId { term: Term::ZERO, index },
            }
        }
    }

    /// Entries from `from` on, before `upto`. See [`LogView::slice`].
    pub(crate) fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Slice {
        if from < self.tail_start {
            return self.view.slice(from, upto.min(self.tail_start), bytes_max);
        }
        let place = |index: Index| (index.0 - self.tail_start.0) as usize;
        let mut bytes = 0;
        let wanted = self.tail[place(from)..place(upto)].iter().take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.bytes();
            is_first || bytes <= bytes_max
        });
        Slice::Ready(wanted.cloned().collect())
    }

    /// Appends an entry that follows the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.id.index, self.last.index.next(), "entries adjoin");
        assert!(entry.id.term >= self.last.term, "terms never fall along a log");
        self.last = entry.id;
        self.tail.push(entry);
    }

    /// Takes back everything from `from` on. `from > committed`, as the caller asserts.
    pub(crate) fn truncate(&mut self, from: Index) {
        let kept = Index(from.0 - 1);
        let term = self.term(kept).expect("what follows a known entry is truncated");
        if from >= self.tail_start {
            self.tail.truncate((from.0 - self.tail_start.0) as usize);
        } else {
            self.tail.clear();
            self.tail_start = from;
            self.truncate_from = Some(from);
        }
        self.last = LogId { term, index: kept };
        self.safe = self.safe.min(kept);
        self.writes.iter_mut().for_each(|(_, last)| *last = kept.min(*last));
    }

    /// The truncation and the entries of the next write, if there are any.
    pub(crate) fn take(&mut self, write: WriteId) -> Option<(Option<Index>, Vec<Entry>)> {
        if self.tail.is_empty() && self.truncate_from.is_none() {
            return None;
        }
        self.writes.push_back((write, self.last.index));
        self.tail_start = self.last.index.next();
        Some((self.truncate_from.take(), std::mem::take(&mut self.tail)))
    }

    /// Whether there is something for a write.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.tail.is_empty() || self.truncate_from.is_some()
    }

    /// The last write under way with entries.
    pub(crate) fn last_write(&self) -> Option<WriteId> {
        self.writes.back().map(|(write, _)| *write)
    }

    /// Takes note that `write`, and all before it, ended.
    pub(crate) fn stored(&mut self, write: WriteId) {
        while let Some((_, last)) = self.writes.pop_front_if(|(of, _)| *of <= write) {
            self.safe = self.safe.max(last);
        }
        debug_assert!(self.safe <= self.last.index);
    }

    /// The log begins anew behind `to`, as the driver's does.
    pub(crate) fn reset(&mut self, to: LogId) {
        self.tail.clear();
        self.writes.clear();
        self.truncate_from = None;
        (self.tail_start, self.last, self.safe) = (to.index.next(), to, to.index);
    }
}
