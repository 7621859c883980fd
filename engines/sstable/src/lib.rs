//! Tables: sorted, checksummed, immutable files of entries.
//!
//! [`TableBuilder`] writes a table from entries in internal order, a block at a time. [`Table`] reads
//! one: a point read asks the filter, finds the one block that can hold the key in the index, and looks
//! it up there; a [`TableCursor`] walks; [`dump`](dump()) shows all of one to people. Blocks are verified and checked entry by entry **once**, when they are read
//! from the file; from then on they are trusted.
//!
//! Three seams live here: [`Codec`] (how a block is stored), [`Access`] (how it comes out of the file) and
//! [`CachePolicy`] (which blocks stay in memory). A
//! cached block hangs in its table's index, so that a hit costs no lock and no hash probe; the policy sees slots
//! only.
//!
//! Promises: no byte is used before its checksum was right; the checksum covers table number and offset, so a
//! block of another file or place never reads as this one; damage is an error that names file and offset,
//! never "not found". Left to others: which tables there are, in which order they are asked, when they are removed.
//! The bytes are drawn in `docs/formats/table.md`.

mod access;
mod ahead;
mod block;
mod block_builder;
mod builder;
mod cache;
mod codec;
mod counters;
mod cursor;
mod dump;
mod fetch;
mod format;
mod index;
mod obsolete;
mod properties;
mod range_block;
mod slot;
mod spare;
mod table;
#[cfg(test)]
mod testing;

pub use access::{ACCESSES, Access, access};
pub use builder::{TableBuilder, TableOptions};
pub use cache::conformance as cache_conformance;
pub use cache::{BlockId, Cache, CacheEntry, CachePolicy, FrameId, cache_policies, cache_policy};
pub use codec::{Codec, CodecEntry, codec, codec_by_id, codec_conformance, codecs};
pub use counters::{ReadCounters, Tally};
pub use cursor::TableCursor;
pub use dump::{FilterDump, FooterDump, PartDump, TableDump, dump};
pub use fetch::Fetch;
pub use format::TABLE_FORMAT_VERSION;
pub use obsolete::{Obsolete, RemoveFile};
pub use properties::Properties;
pub use table::{Table, TableContext, table_name, table_number};
