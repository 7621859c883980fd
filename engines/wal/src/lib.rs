//! The write-ahead log.
//!
//! 1. Groups of operations are appended to a **segment**, a file of fixed length that was made ready in
//!    advance ([`Wal::append`]).
//! 2. [`Wal::sync`] makes everything appended so far safe; callers that arrive while one runs share the next.
//! 3. [`Wal::rotate`] seals the segment and goes on in the one that is ready. Sealed segments are
//!    removed by [`Wal::remove_below`] once their operations live elsewhere.
//! 4. [`replay`](replay()) reads back a prefix of what was appended, and tells a torn tail from damage: every group says
//!    up to which **position** the log was safe when it was written, so a bad group before a promised position
//!    is damage, and any other is the tail.
//! 5. A segment's header and small groups of their own carry a **mark** of the log's owner ([`Wal::mark`]): how far another file
//!    of its was safe. So a store notices that its manifest lost its end.
//! 6. [`dump`](dump()) shows one segment to people, as far as it can be read.
//!
//! Left to others: what the payload means, in which order sequence numbers become visible, when to sync.
//! The bytes are drawn in `docs/formats/wal.md`.

mod ahead;
mod dump;
mod error;
mod format;
mod replay;
mod segment;
mod sync;
mod wal;

pub use dump::{Ending, HeaderDump, Record, SegmentDump, dump};
pub use error::WalError;
pub use format::{GROUP_HEADER_BYTES, Mark, SEGMENT_HEADER_BYTES};
pub use replay::{Chain, Replay, Span, last_mark, replay};
pub use segment::{Group, SegmentEnd, SegmentHead, SegmentReader};
pub use sync::SyncCall;
pub use wal::{Resume, Wal, WalOptions, segment_name, segment_number};

/// A place in the log: the segment's number in the upper 32 bits, the offset in it in the lower. Grows over all segments.
pub type Position = u64;

/// The place `offset` bytes into segment `number`.
pub(crate) fn position(number: u64, offset: u64) -> Position {
    debug_assert!(number <= u64::from(u32::MAX) && offset <= u64::from(u32::MAX));
    number << 32 | offset
}
