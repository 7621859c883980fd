//! A log as its replica knows it: what the driver shows, and over it what was handed out and the driver has not begun yet.

use bytes::Bytes;
use nori_consensus::{Entry, EntryKind, Index, LogId, LogView, Slice, Term};
use std::sync::Arc;

pub(crate) struct Overlay {
    view: Arc<dyn LogView>,
    /// Entries that are not in the view for certain; they adjoin, and replace what it has from the first one on.
    fresh: Vec<Entry>,
    /// What the view has from here on is gone. `fresh` begins here, if there is any.
    cut: Option<Index>,
    /// A snapshot is being installed: of the view nothing counts any more, and the log begins behind this.
    reset_to: Option<LogId>,
}

impl Overlay {
    pub(crate) fn new(view: Arc<dyn LogView>) -> Self {
        Self { view, fresh: Vec::new(), cut: None, reset_to: None }
    }

    /// The driver has begun everything that was handed out.
    pub(crate) fn settle(&mut self) {
        if self.reset_to.is_none() {
            self.fresh.clear();
            self.cut = None;
        }
    }

    /// The entry before the first.
    pub(crate) fn base(&self) -> LogId {
        self.reset_to.unwrap_or_else(|| {
            let index = Index(self.view.first().0 - 1);
            LogId { term: self.view.term(index).unwrap_or(Term::ZERO), index }
        })
    }

    pub(crate) fn last(&self) -> LogId {
        if let Some(entry) = self.fresh.last() {
            return entry.id;
        }
        match (self.reset_to, self.cut) {
            (Some(base), _) => base,
            (None, None) => self.view.last(),
            (None, Some(cut)) => {
                let index = Index(cut.0 - 1);
                LogId { term: self.view.term(index).unwrap_or(Term::ZERO), index }
            }
        }
    }

    pub(crate) fn has(&self, id: LogId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if let Some(first) = self.fresh.first()
            && index >= first.id.index
        {
            return self.fresh.get((index.0 - first.id.index.0) as usize).map(Entry::term);
        }
        match self.reset_to {
            Some(base) => (base.index == index).then_some(base.term),
            None if self.cut.is_some_and(|cut| index >= cut) => None,
            None => self.view.term(index),
        }
    }

    /// Takes away everything from `from` on; whether there was something.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        if from > self.last().index {
            return false;
        }
        self.fresh.retain(|entry| entry.id.index < from);
        if self.fresh.is_empty() && self.reset_to.is_none() {
            self.cut = Some(from);
        }
        true
    }

    /// Takes entries that follow the last one.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        debug_assert!(
            entries.first().is_none_or(|entry| entry.id.index == self.last().index.next())
        );
        self.fresh.extend_from_slice(entries);
    }

    /// A snapshot that ends with `through` is being installed.
    pub(crate) fn begin_reset(&mut self, through: LogId) {
        self.fresh.clear();
        self.cut = None;
        self.reset_to = Some(through);
    }

    /// It is installed, and the view is as it should be.
    pub(crate) fn end_reset(&mut self) {
        self.reset_to = None;
    }

    /// The names of entries from `from` to before `upto`, which are there, as entries without content.
    pub(crate) fn names(&self, from: Index, upto: Index) -> Vec<Entry> {
        let named = |index| {
            let id = LogId { term: self.term(Index(index))?, index: Index(index) };
            Some(Entry { id, kind: EntryKind::Noop, payload: Bytes::new() })
        };
        (from.0..upto.0).filter_map(named).collect()
    }

    /// Entries from `from` to before `upto`, which are there; `None` if they have to be fetched.
    pub(crate) fn slice(&self, from: Index, upto: Index) -> Option<Vec<Entry>> {
        let fresh_from = self.fresh.first().map_or(Index(u64::MAX), |entry| entry.id.index);
        let mut entries = Vec::new();
        let mut next = from;
        while next < upto.min(fresh_from) {
            match self.view.slice(next, upto.min(fresh_from), usize::MAX) {
                Slice::Ready(some) => entries.extend(some),
                Slice::Pending => return None,
            }
            next = entries.last().map_or(next, |entry| entry.id.index.next());
        }
        let wanted = |entry: &&Entry| entry.id.index >= next && entry.id.index < upto;
        entries.extend(self.fresh.iter().filter(wanted).cloned());
        Some(entries)
    }
}
