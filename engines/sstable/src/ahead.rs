//! Blocks that are read with one call before they are asked for.
//!
//! * A **long walk** ([`Fetch::Pass`](crate::Fetch::Pass)) passes block after block: it reads [`PASS_BYTES_MAX`] at a time.
//! * A **cursor** ([`Fetch::Fill`](crate::Fetch::Fill)) may stop anywhere. It reads as many blocks as it has walked and
//!   [`FILL_BYTES_MAX`] at most, from its third in a row on, and none behind one that is cached. So a walk reads less in vain
//!   than it reads for use.
//!
//! A stretch that cannot be read is no error: whoever comes to a block reads that block, and is told what is wrong with it
//! alone. Nothing in a stretch is verified or offered to the cache before a cursor comes to it.

use crate::format::{Handle, read_bytes};
use crate::table::Table;
use bytes::Bytes;
use std::ops::Range;

/// One read of this many bytes takes about as long as it takes to merge them once.
pub(crate) const PASS_BYTES_MAX: usize = 128 << 10;
/// What an open cursor may take in memory for each of its tables; from here on a longer read is hardly cheaper by the byte.
pub(crate) const FILL_BYTES_MAX: usize = 32 << 10;

/// A stretch of a table's file.
#[derive(Default)]
pub(crate) struct Ahead {
    offset: u64,
    bytes: Bytes,
}

impl Ahead {
    /// Reads the first of `blocks` and those behind it, `bytes_max` in all; nothing unless these are two or more, and nothing of a
    /// mapped table, whose blocks need no call.
    pub(crate) fn read(&mut self, table: &Table, blocks: Range<usize>, bytes_max: usize) {
        if table.is_mapped() {
            return;
        }
        let mut handles = blocks.map(|n| table.index().handle(n));
        *self = Self { offset: handles.next().map_or(0, |first| first.offset), ..Self::default() };
        let is_within = |end: &u64| end - self.offset <= bytes_max as u64;
        let ends = handles.map(|handle| handle.offset + u64::from(handle.bytes));
        if let Some(end) = ends.take_while(is_within).last() {
            let len = (end - self.offset) as usize;
            let read = read_bytes(table.file(), table.place(), self.offset, len);
            self.bytes = read.unwrap_or_default();
        }
    }

    /// The bytes of a block, if they were read: shared, not copied.
    pub(crate) fn slice(&self, handle: Handle) -> Option<Bytes> {
        let start = usize::try_from(handle.offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(handle.bytes as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}
