//! A cursor over rows: the merge of all sources, seen at one sequence number.
//!
//! * **Forward** the newest version of a key comes first: the first visible one decides, the others are passed over. The row
//!   is lent from where it lies.
//! * **Backward** the newest comes last: visible versions are remembered until the key changes, so the row is a copy, and
//!   the merge stands on the entry before the key.
//! * **Many versions** of a key are not walked over. Past the first [`STEPS_MAX`] that do not matter the sources that stand on
//!   the key are sought: forward to its newest visible version or behind it, backward to the newest visible one or before the key.

use crate::core::Core;
use crate::mem::Mem;
use crate::merge::MergeCursor;
use crate::run_cursor::RunCursor;
use crate::sought;
use crate::version::Run;
use nori_kv::{Cursor, EntryCursor, EntryRef, KeyRange, Kind, Result, Row, SeqNo, Tick};
use nori_sstable::Tally;
use std::sync::Arc;

/// Versions of one key that a cursor steps over before it seeks. A seek in a memtable was measured to take as long as seven steps, so
/// a cursor takes at most about twice the cheaper of the two. RocksDB's `max_sequential_skip_in_iterations` is 8 as well.
const STEPS_MAX: u32 = 8;

/// One of the sequences a store consists of.
#[expect(clippy::large_enum_variant, reason = "there are a handful, and most are runs")]
pub(crate) enum Source {
    Memtable(Box<dyn EntryCursor>),
    Run(RunCursor),
}

impl EntryCursor for Source {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        match self {
            Self::Memtable(cursor) => cursor.seek(key, seqno),
            Self::Run(cursor) => cursor.seek(key, seqno),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<bool> {
        match self {
            Self::Memtable(cursor) => cursor.next(),
            Self::Run(cursor) => cursor.next(),
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match self {
            Self::Memtable(cursor) => cursor.prev(),
            Self::Run(cursor) => cursor.prev(),
        }
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        match self {
            Self::Memtable(cursor) => cursor.entry(),
            Self::Run(cursor) => cursor.entry(),
        }
    }
}

/// A source that has range tombstones.
pub(crate) enum Cover {
    Mem(Arc<Mem>),
    Run(Run),
}

impl Cover {
    fn newest(&self, key: &[u8], at: SeqNo) -> SeqNo {
        match self {
            Self::Mem(mem) => mem.cover(key, at),
            Self::Run(run) => run.cover(key, at),
        }
    }
}

/// What a row cursor is told once.
pub(crate) struct View {
    pub(crate) at: SeqNo,
    pub(crate) now: Tick,
    pub(crate) range: KeyRange,
}

/// Whatever must not go before a cursor.
pub(crate) type Keeper = Arc<dyn std::any::Any + Send + Sync>;

/// What a row cursor counts, and what it keeps alive.
pub(crate) struct Counted {
    pub(crate) core: Arc<Core>,
    /// Keeps tables and memtables from going.
    pub(crate) _pin: Arc<crate::read::SuperVersion>,
    /// Keeps the store open, and its folder locked: tables that go late remove files by their names. Last, so that it is
    /// dropped after them.
    pub(crate) _store: Keeper,
}

/// A position in the rows of a range.
pub(crate) struct RowCursor {
    merge: MergeCursor<Source>,
    /// The sources that have range tombstones: mostly none.
    covers: Vec<Cover>,
    view: View,
    place: Place,
    /// The key of the row, or of the deleted key that is being passed over.
    key: Vec<u8>,
    /// The value of the row, when going backward.
    value: Vec<u8>,
    counted: Counted,
    seeks: u64,
    entries_met: u64,
    bytes_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Before,
    After,
    /// The row is the merge's entry; `key` is its key.
    Forward,
    /// The row is `key` and `value`; the merge is on the entry before `key`, or off its near end.
    Backward,
}

impl RowCursor {
    pub(crate) fn new(
        sources: Vec<Source>,
        covers: Vec<Cover>,
        view: View,
        counted: Counted,
    ) -> Self {
        Self {
            merge: MergeCursor::new(sources),
            covers,
            view,
            place: Place::Nowhere,
            key: Vec::new(),
            value: Vec::new(),
            counted,
            seeks: 0,
            entries_met: 0,
            bytes_out: 0,
        }
    }

    /// From the merge's entry on, the first row whose key is not `key` if `passes`.
    fn find_forward(&mut self, mut passes: bool) -> Result<bool> {
        let View { at, now, ref range } = self.view;
        // Entries of `key` since the first that was looked at.
        let mut steps = 0;
        while let Some(entry) = self.merge.entry() {
            if !range.is_below_end(entry.key) {
                break;
            }
            self.entries_met += 1;
            if entry.seqno <= at && !(passes && entry.key == self.key) {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                if is_live(&entry, now) && !is_covered(&self.covers, &entry, at) {
                    self.bytes_out += entry.payload_bytes();
                    self.place = Place::Forward;
                    return Ok(true);
                }
                (passes, steps) = (true, 0);
            } else if entry.key == self.key {
                steps += 1;
            } else {
                // It is too new, and so may be thousands after it.
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                (passes, steps) = (false, 0);
            }
            if steps < STEPS_MAX {
                self.merge.next()?;
            } else {
                steps = 0;
                // Sequence number zero is never written.
                self.merge.skip_to(&self.key, if passes { SeqNo::ZERO } else { at })?;
            }
        }
        self.place = Place::After;
        Ok(false)
    }

    /// From the merge's entry back, the last row.
    fn find_backward(&mut self) -> Result<bool> {
        let View { at, now, ref range } = self.view;
        // Whether `key` has a row as far as is known, once an entry was looked at; and its entries since the first.
        let (mut candidate, mut steps) = (None, 0);
        loop {
            let entry = self.merge.entry().filter(|entry| range.start.as_slice() <= entry.key);
            let is_same = entry.is_some_and(|entry| candidate.is_some() && entry.key == self.key);
            // Everything about the remembered key is known once another key, or none, is reached.
            if !is_same && candidate == Some(true) {
                self.bytes_out += (self.key.len() + self.value.len()) as u64;
                self.place = Place::Backward;
                return Ok(true);
            }
            let Some(entry) = entry else { break };
            self.entries_met += 1;
            let is_visible = entry.seqno <= at;
            if is_same {
                steps += 1;
            } else {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                (candidate, steps) = (Some(false), 0);
            }
            if steps > STEPS_MAX {
                steps = 0;
                if is_visible {
                    // A newer visible one may be far away, or this is the newest and is looked at again.
                    self.merge.skip_to(&self.key, at)?;
                } else {
                    self.merge.skip_before(&self.key)?;
                }
                continue;
            }
            if is_visible {
                self.value.clear();
                self.value.extend_from_slice(entry.value);
                candidate = Some(is_live(&entry, now) && !is_covered(&self.covers, &entry, at));
            }
            self.merge.prev()?;
        }
        self.place = Place::Before;
        Ok(false)
    }

    fn first(&mut self) -> Result<bool> {
        self.place = Place::Nowhere;
        self.seeks += 1;
        self.merge.seek(&self.view.range.start, SeqNo::MAX)?;
        self.find_forward(false)
    }

    fn last(&mut self) -> Result<bool> {
        self.place = Place::Nowhere;
        self.seeks += 1;
        match &self.view.range.end {
            Some(end) => self.merge.seek_before(end)?,
            None => self.merge.seek_last()?,
        };
        self.find_backward()
    }
}

fn is_covered(covers: &[Cover], entry: &EntryRef<'_>, at: SeqNo) -> bool {
    covers.iter().any(|cover| cover.newest(entry.key, at) > entry.seqno)
}

fn is_live(entry: &EntryRef<'_>, now: Tick) -> bool {
    entry.kind == Kind::Put && !entry.has_expired(now)
}

impl Cursor for RowCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.place = Place::Nowhere;
        self.seeks += 1;
        let from = key.max(self.view.range.start.as_slice());
        self.merge.seek(from, SeqNo::MAX)?;
        self.find_forward(false)
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if !self.view.range.is_below_end(key) {
            return self.last();
        }
        self.place = Place::Nowhere;
        self.seeks += 1;
        // Behind every version of the key: sequence number zero is never written.
        self.merge.seek(key, SeqNo::ZERO)?;
        self.merge.prev()?;
        self.find_backward()
    }

    fn next(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::Before => self.first(),
            Place::After => {
                self.place = Place::After;
                Ok(false)
            }
            Place::Forward => {
                self.merge.next()?;
                self.find_forward(true)
            }
            Place::Backward => {
                self.merge.seek(&self.key, SeqNo::ZERO)?;
                self.find_forward(false)
            }
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::After => self.last(),
            Place::Before => {
                self.place = Place::Before;
                Ok(false)
            }
            Place::Forward => {
                let key = std::mem::take(&mut self.key);
                self.merge.seek_before(&key)?;
                self.find_backward()
            }
            Place::Backward => self.find_backward(),
        }
    }

    #[inline]
    fn row(&self) -> Option<Row<'_>> {
        match self.place {
            Place::Forward => {
                self.merge.entry().map(|entry| Row { key: entry.key, value: entry.value })
            }
            Place::Backward => Some(Row { key: &self.key, value: &self.value }),
            Place::Nowhere | Place::Before | Place::After => None,
        }
    }
}

impl Drop for RowCursor {
    fn drop(&mut self) {
        let core = &self.counted.core;
        let mut tally = Tally::default();
        let noted = core.sought.note(self.seeks);
        for source in self.merge.children_mut() {
            if let Source::Run(run) = source {
                run.tell_seeks(noted.weight);
                let met = run.take_tally();
                tally.cache_hits += met.cache_hits;
                tally.cache_misses += met.cache_misses;
            }
        }
        core.read_counters.add(&tally);
        core.counters.scan_entries.add(self.entries_met);
        core.counters.user_bytes_out.add(self.bytes_out);
        if noted.is_look_due {
            sought::look_soon(core);
        }
    }
}
