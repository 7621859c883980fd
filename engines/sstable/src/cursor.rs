//! Walks a table.
//!
//! A cursor takes one block at a time through its slot. One that passes the cache by ([`Fetch::Pass`]) is on a long walk, a
//! compaction for instance, and one that has walked for some blocks may walk on: both read ahead ([`Ahead`]).

use crate::ahead::{Ahead, FILL_BYTES_MAX, PASS_BYTES_MAX};
use crate::block::{Block, Suffixed};
use crate::cache::Frame;
use crate::counters::Tally;
use crate::format::unframe;
use crate::{Fetch, Table};
use nori_kv::{EntryCursor, EntryRef, Kind, Result, SeqNo, Tick};
use std::ops::Range;
use std::sync::Arc;

/// A position in a table.
pub struct TableCursor {
    table: Arc<Table>,
    fetch: Fetch,
    place: Place,
    /// The block of the position, kept over steps off the ends.
    block: Option<(usize, Arc<Frame>)>,
    /// The whole key of the entry at the position: the block's prefix and the entry's suffix.
    key: Vec<u8>,
    /// The length of the block's prefix at the front of `key`.
    prefix_bytes: usize,
    /// The rest of that entry, read once: it is asked for several times at each step of a merge.
    landed: Landed,
    /// Steps forward from block to block since the last seek or step back.
    walked: usize,
    ahead: Ahead,
    tally: Tally,
}

/// An entry without its key.
struct Landed {
    seqno: SeqNo,
    kind: Kind,
    expires: Option<Tick>,
    /// Where the value lies in the block.
    value: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Off both ends, as made.
    Nowhere,
    Before,
    /// On entry `.0` of the block.
    On(usize),
    After,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, fetch: Fetch) -> Self {
        Self {
            table,
            fetch,
            place: Place::Nowhere,
            block: None,
            key: Vec::new(),
            prefix_bytes: 0,
            landed: Landed { seqno: SeqNo::ZERO, kind: Kind::Delete, expires: None, value: 0..0 },
            walked: 0,
            ahead: Ahead::default(),
            tally: Tally::default(),
        }
    }

    /// The table it walks.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What it met since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    fn blocks(&self) -> usize {
        self.table.index().len()
    }

    /// Makes block `n` the present one.
    fn enter(&mut self, n: usize) -> Result<()> {
        if self.block.as_ref().is_some_and(|(present, _)| *present == n) {
            return Ok(());
        }
        self.block = None;
        let frame = match self.fetch {
            Fetch::Pass => self.pass(n)?,
            Fetch::Fill if self.walked > 1 => self.fill(n)?,
            fetch => self.table.frame(n, fetch, &mut self.tally)?.into_frame(),
        };
        self.key.clear();
        self.key.extend_from_slice(frame.block.prefix());
        self.prefix_bytes = self.key.len();
        self.block = Some((n, frame));
        Ok(())
    }

    /// Block `n` of a long walk.
    fn pass(&mut self, n: usize) -> Result<Arc<Frame>> {
        let handle = self.table.index().handle(n);
        self.tally.cache_misses += 1;
        if self.ahead.slice(handle).is_none() {
            self.ahead.read(&self.table, n..self.blocks(), PASS_BYTES_MAX);
        }
        let raw = match self.ahead.slice(handle) {
            Some(stored) => unframe(stored, self.table.place(), handle)?,
            None => self.table.read_raw(handle)?,
        };
        // A walk passes everything on, so everything has to be right.
        let block =
            Block::decode(raw).map_err(|what| self.table.place().corrupt(handle.offset, what))?;
        Ok(Frame::new(block))
    }

    /// Block `n` of a cursor that has walked some blocks.
    fn fill(&mut self, n: usize) -> Result<Arc<Frame>> {
        if !self.table.is_cached(n) {
            let handle = self.table.index().handle(n);
            if self.ahead.slice(handle).is_none() {
                let mut behind = n + 1..self.blocks().min(n + self.walked);
                let end = behind.find(|n| self.table.is_cached(*n)).unwrap_or(behind.end);
                self.ahead.read(&self.table, n..end, FILL_BYTES_MAX);
            }
            if let Some(stored) = self.ahead.slice(handle) {
                self.tally.cache_misses += 1;
                return self.table.fill(n, &stored);
            }
        }
        Ok(self.table.frame(n, Fetch::Fill, &mut self.tally)?.into_frame())
    }

    /// Goes to entry `n` of the present block.
    fn land(&mut self, n: usize) -> Result<bool> {
        let (at, frame) = self.block.as_ref().expect("a position has its block");
        let entry = frame.block.entry(n).map_err(|what| self.table.damaged(*at, what))?;
        self.key.truncate(self.prefix_bytes);
        self.key.extend_from_slice(entry.suffix);
        let Suffixed { seqno, kind, expires, value, .. } = entry;
        self.landed = Landed { seqno, kind, expires, value: frame.block.place_of(value) };
        self.place = Place::On(n);
        Ok(true)
    }

    fn land_first_of(&mut self, n: usize) -> Result<bool> {
        if n >= self.blocks() {
            self.place = Place::After;
            return Ok(false);
        }
        self.enter(n)?;
        self.land(0)
    }

    fn land_last_of(&mut self, n: usize) -> Result<bool> {
        self.enter(n)?;
        let last = self.present().len() - 1;
        self.land(last)
    }

    fn present(&self) -> &Block {
        &self.block.as_ref().expect("the caller entered a block").1.block
    }

    fn present_number(&self) -> usize {
        self.block.as_ref().expect("a position has its block").0
    }
}

impl EntryCursor for TableCursor {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        self.place = Place::Nowhere;
        self.walked = 0;
        // Versions of one key may go on in the next block, then the fence between them is the key itself.
        for n in self.table.index().find(key)..self.blocks() {
            self.enter(n)?;
            let at = self.present().lower_bound(key, seqno);
            let at = at.map_err(|what| self.table.damaged(n, what))?;
            if at < self.present().len() {
                return self.land(at);
            }
        }
        self.place = Place::After;
        Ok(false)
    }

    fn next(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::Before => self.land_first_of(0),
            Place::On(n) if n + 1 < self.present().len() => self.land(n + 1),
            Place::On(_) => {
                self.walked += 1;
                self.land_first_of(self.present_number() + 1)
            }
            Place::After => {
                self.place = Place::After;
                Ok(false)
            }
        }
    }

    fn prev(&mut self) -> Result<bool> {
        self.walked = 0;
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere | Place::After => match self.blocks().checked_sub(1) {
                Some(last) => self.land_last_of(last),
                None => {
                    self.place = Place::Before;
                    Ok(false)
                }
            },
            Place::On(0) => match self.present_number().checked_sub(1) {
                Some(n) => self.land_last_of(n),
                None => {
                    self.place = Place::Before;
                    Ok(false)
                }
            },
            Place::On(n) => self.land(n - 1),
            Place::Before => {
                self.place = Place::Before;
                Ok(false)
            }
        }
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        let Place::On(_) = self.place else { return None };
        let Landed { seqno, kind, expires, value } = &self.landed;
        let value = self.present().at(value);
        Some(EntryRef { key: &self.key, seqno: *seqno, kind: *kind, expires: *expires, value })
    }
}
