//! Writes a data block.
//!
//! ```text
//! block   = prefix length u16, prefix, entry*, offset*, entries u32 (bit 31: offsets are u32, else u16)
//! entry   = suffix length varint, value length varint, tag varint, expires u64?, suffix, value
//! tag     = sequence number << 3 | expires << 2 | kind
//! ```
//!
//! The prefix is what all keys of the block share. Offsets point at entries, from the block's first byte.

use crate::format::{put_varint, shared_prefix};
use nori_kv::EntryRef;

/// Set in the entry count of a block whose offsets take four bytes.
pub(crate) const WIDE: u32 = 1 << 31;
/// The bit of a tag that announces an expiry.
pub(crate) const TAG_EXPIRES: u64 = 4;

/// Collects the entries of one block.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    /// Keys and values as they came; `entries` point into it.
    arena: Vec<u8>,
    entries: Vec<Pending>,
    payload_bytes: usize,
}

struct Pending {
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    tag: u64,
    expires: u64,
}

/// The tag of an entry.
pub(crate) fn tag(entry: &EntryRef<'_>) -> u64 {
    let expires = if entry.expires.is_some() { TAG_EXPIRES } else { 0 };
    entry.seqno.value() << 3 | expires | entry.kind as u64
}

impl BlockBuilder {
    pub(crate) fn add(&mut self, entry: &EntryRef<'_>) {
        let pending = Pending {
            start: self.arena.len(),
            key_bytes: entry.key.len(),
            value_bytes: entry.value.len(),
            tag: tag(entry),
            expires: entry.expires.map_or(0, |tick| tick.0),
        };
        self.arena.extend_from_slice(entry.key);
        self.arena.extend_from_slice(entry.value);
        self.entries.push(pending);
        // Two lengths, a tag and an offset take about ten bytes; the prefix saves some of it back.
        self.payload_bytes += entry.key.len() + entry.value.len() + 10;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how long the block would be now.
    pub(crate) fn bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The last key; empty before the first.
    pub(crate) fn last_key(&self) -> &[u8] {
        self.entries.last().map_or(&[], |entry| entry.key(&self.arena))
    }

    /// Writes the block into `out`, which is cleared, and starts the next.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let first = self.entries.first().map_or(&[][..], |entry| entry.key(&self.arena));
        let prefix = &first[..shared_prefix(first, self.last_key())];
        out.extend_from_slice(&(prefix.len() as u16).to_le_bytes());
        out.extend_from_slice(prefix);
        let mut offsets = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            offsets.push(out.len() as u32);
            let suffix = &entry.key(&self.arena)[prefix.len()..];
            put_varint(out, suffix.len() as u64);
            put_varint(out, entry.value_bytes as u64);
            put_varint(out, entry.tag);
            if entry.tag & TAG_EXPIRES != 0 {
                out.extend_from_slice(&entry.expires.to_le_bytes());
            }
            out.extend_from_slice(suffix);
            out.extend_from_slice(entry.value(&self.arena));
        }
        let wide = out.len() > usize::from(u16::MAX);
        for offset in &offsets {
            let bytes = offset.to_le_bytes();
            out.extend_from_slice(if wide { &bytes } else { &bytes[..2] });
        }
        let entries = offsets.len() as u32 | if wide { WIDE } else { 0 };
        out.extend_from_slice(&entries.to_le_bytes());
        self.arena.clear();
        self.entries.clear();
        self.payload_bytes = 0;
    }
}

impl Pending {
    fn key<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.start..self.start + self.key_bytes]
    }

    fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start + self.key_bytes;
        &arena[start..start + self.value_bytes]
    }
}
