//! Walks a sorted run: its tables one after the other, each opened when it is reached.

use nori_kv::{EntryCursor, EntryRef, Result, SeqNo};
use nori_sstable::{Fetch, Table, TableCursor, Tally};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A position in a sorted run.
pub(crate) struct RunCursor {
    /// Disjoint, in order of keys.
    tables: Arc<[Arc<Table>]>,
    fetch: Fetch,
    place: Place,
    /// The cursor of the table of the position, kept over steps off the ends.
    open: Option<(usize, TableCursor)>,
    /// Seeks in that table that it has not been told of.
    seeks: u64,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Before,
    On,
    After,
}

impl RunCursor {
    pub(crate) fn new(tables: Arc<[Arc<Table>]>, fetch: Fetch) -> Self {
        Self { tables, fetch, place: Place::Nowhere, open: None, seeks: 0, tally: Tally::default() }
    }

    /// What it met since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        self.bank();
        std::mem::take(&mut self.tally)
    }

    fn bank(&mut self) {
        if let Some((_, cursor)) = &mut self.open {
            let met = cursor.take_tally();
            self.tally.cache_hits += met.cache_hits;
            self.tally.cache_misses += met.cache_misses;
        }
    }

    /// Tells the present table of the seeks in it, each as `weight` of them.
    pub(crate) fn tell_seeks(&mut self, weight: u64) {
        let seeks = std::mem::take(&mut self.seeks) * weight;
        if let Some((n, _)) = self.open.as_ref().filter(|_| seeks > 0) {
            self.tables[*n].seeks().fetch_add(seeks, Ordering::Relaxed);
        }
    }

    fn enter(&mut self, n: usize) -> &mut TableCursor {
        if self.open.as_ref().is_none_or(|(present, _)| *present != n) {
            self.bank();
            // One that goes from table to table seeks so often that a sample is not needed.
            self.tell_seeks(1);
            self.open = Some((n, self.tables[n].cursor(self.fetch)));
        }
        &mut self.open.as_mut().expect("it was just opened").1
    }

    fn present(&self) -> usize {
        self.open.as_ref().expect("a position has its table").0
    }

    /// The first entry of table `n` or of the first after it that has one: a table may hold range tombstones alone.
    fn first_from(&mut self, n: usize) -> Result<bool> {
        self.place = Place::Nowhere;
        for n in n..self.tables.len() {
            if self.enter(n).seek(&[], SeqNo::MAX)? {
                self.place = Place::On;
                return Ok(true);
            }
        }
        Ok(self.off(Place::After))
    }

    /// The last entry of table `n` or of the last before it that has one.
    fn last_upto(&mut self, n: usize) -> Result<bool> {
        self.place = Place::Nowhere;
        for n in (0..=n).rev() {
            let cursor = self.tables[n].cursor(self.fetch);
            self.bank();
            self.tell_seeks(1);
            self.open = Some((n, cursor));
            if self.enter(n).prev()? {
                self.place = Place::On;
                return Ok(true);
            }
        }
        Ok(self.off(Place::Before))
    }

    fn off(&mut self, place: Place) -> bool {
        self.place = place;
        false
    }
}

impl EntryCursor for RunCursor {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        self.place = Place::Nowhere;
        let n = self.tables.partition_point(|table| table.properties().ends_before(key));
        if n == self.tables.len() {
            return Ok(self.off(Place::After));
        }
        let is_on = self.enter(n).seek(key, seqno)?;
        self.seeks += 1;
        if is_on {
            self.place = Place::On;
            return Ok(true);
        }
        self.first_from(n + 1)
    }

    #[inline]
    fn next(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::Before => self.first_from(0),
            Place::After => Ok(self.off(Place::After)),
            Place::On => {
                let n = self.present();
                if self.enter(n).next()? {
                    self.place = Place::On;
                    return Ok(true);
                }
                self.first_from(n + 1)
            }
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::After if self.tables.is_empty() => Ok(self.off(Place::Before)),
            Place::Nowhere | Place::After => self.last_upto(self.tables.len() - 1),
            Place::Before => Ok(self.off(Place::Before)),
            Place::On => {
                let n = self.present();
                if self.enter(n).prev()? {
                    self.place = Place::On;
                    return Ok(true);
                }
                match n.checked_sub(1) {
                    Some(before) => self.last_upto(before),
                    None => Ok(self.off(Place::Before)),
                }
            }
        }
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        if self.place != Place::On {
            return None;
        }
        self.open.as_ref().and_then(|(_, cursor)| cursor.entry())
    }
}
