//! The frame of a table's bytes: block trailers, handles and the footer. Format version 1, little-endian, CRC-32C.
//!
//! ```text
//! table   = data block*  filter block?  index block  range-tombstone block?  properties block  footer
//! block   = stored bytes, trailer
//! trailer = codec u8, raw length u32, checksum u32
//!           the checksum covers table number u64, block offset u64, stored bytes, codec, raw length
//! footer  = 64 bytes: handles of filter, index, range tombstones and properties (offset u64, length u32 each; all
//!           zero for a block that is not there), format version u32, checksum u32 of table number u64 and the 52
//!           bytes before it, magic "NORITABL"
//! ```

use crate::codec::codec_by_id;
use crate::spare::Buffer;
use bytes::Bytes;
use nori_env::File;
use nori_kv::{Error, Result};
use std::ops::Deref;
use std::path::Path;

/// The version this crate writes, and the only one it reads.
pub const TABLE_FORMAT_VERSION: u32 = 1;
pub(crate) const TRAILER_BYTES: usize = 9;
pub(crate) const FOOTER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"NORITABL";
/// No block is longer, raw or stored: the longest value and key with room to spare.
pub(crate) const BLOCK_BYTES_MAX: usize = (256 << 20) + (1 << 20);

/// Where a block is: its stored bytes and trailer are `offset .. offset + bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// A file and the number its checksums are bound to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) number: u64,
}

impl Place<'_> {
    pub(crate) fn corrupt(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::corrupt(self.path, offset, what)
    }
}

/// The footer but for version, checksum and magic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) filter: Handle,
    pub(crate) index: Handle,
    pub(crate) range_tombstones: Handle,
    pub(crate) properties: Handle,
}

impl Footer {
    pub(crate) fn encode(&self, number: u64) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let handles = [self.filter, self.index, self.range_tombstones, self.properties];
        for (handle, into) in handles.iter().zip(bytes.chunks_exact_mut(12)) {
            into[..8].copy_from_slice(&handle.offset.to_le_bytes());
            into[8..].copy_from_slice(&handle.bytes.to_le_bytes());
        }
        bytes[48..52].copy_from_slice(&TABLE_FORMAT_VERSION.to_le_bytes());
        let checksum = footer_checksum(number, &bytes[..52]);
        bytes[52..56].copy_from_slice(&checksum.to_le_bytes());
        bytes[56..].copy_from_slice(&MAGIC);
        bytes
    }

    pub(crate) fn read(file: &dyn File, place: Place<'_>) -> Result<Self> {
        let len = file.len().map_err(|e| Error::io("measuring", place.path, e))?;
        let at = len
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| place.corrupt(0, format!("{len} bytes are too few for a table")))?;
        let mut bytes = [0; FOOTER_BYTES];
        read_exact(file, place, at, &mut bytes)?;
        if bytes[56..] != MAGIC {
            return Err(place.corrupt(at + 56, "the magic of a table is not there"));
        }
        let stored = u32_at(&bytes, 52);
        let computed = footer_checksum(place.number, &bytes[..52]);
        if stored != computed {
            return Err(place.corrupt(at, mismatch("footer", stored, computed)));
        }
        let version = u32_at(&bytes, 48);
        if version != TABLE_FORMAT_VERSION {
            let what = format!("format version {version} is not known, only 1");
            return Err(place.corrupt(at + 48, what));
        }
        let handle = |n: usize| {
            let raw = &bytes[n * 12..n * 12 + 12];
            let offset = u64::from_le_bytes(*raw.first_chunk().expect("12 bytes hold 8"));
            Handle { offset, bytes: u32_at(raw, 8) }
        };
        let footer = Self {
            filter: handle(0),
            index: handle(1),
            range_tombstones: handle(2),
            properties: handle(3),
        };
        let inside = |h: Handle| h.offset.checked_add(h.bytes.into()).is_some_and(|end| end <= at);
        let handles = [footer.filter, footer.index, footer.range_tombstones, footer.properties];
        if !handles.into_iter().all(inside) {
            return Err(place.corrupt(at, "a handle of the footer points outside the table"));
        }
        Ok(footer)
    }
}

/// Appends `raw` as a block to `out`, whose first byte is at `base` of the file; its handle. `scratch` is cleared.
pub(crate) fn write_block(
    out: &mut Vec<u8>,
    base: u64,
    number: u64,
    codec: &dyn crate::Codec,
    raw: &[u8],
    scratch: &mut Vec<u8>,
) -> Handle {
    let offset = base + out.len() as u64;
    let start = out.len();
    scratch.clear();
    codec.compress(raw, scratch);
    // A codec that saves less than an eighth costs more at each read than it gives back.
    let worth = codec.id() != 0 && scratch.len() < raw.len() - raw.len() / 8;
    let codec_id = if worth { codec.id() } else { 0 };
    out.extend_from_slice(if worth { scratch } else { raw });
    let stored_end = out.len();
    out.push(codec_id);
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    let checksum = block_checksum(number, offset, &out[start..stored_end + 5]);
    out.extend_from_slice(&checksum.to_le_bytes());
    Handle { offset, bytes: (out.len() - start) as u32 }
}

/// The raw bytes of a block.
pub(crate) fn read_block(file: &dyn File, place: Place<'_>, handle: Handle) -> Result<RawBlock> {
    let bytes = handle.bytes as usize;
    if !(TRAILER_BYTES..=BLOCK_BYTES_MAX).contains(&bytes) {
        return Err(place.corrupt(handle.offset, format!("a block of {bytes} bytes cannot be")));
    }
    let stored = read_bytes(file, place, handle.offset, bytes)?;
    unframe(stored, place, handle)
}

/// The `len` bytes from `offset` on.
pub(crate) fn read_bytes(
    file: &dyn File,
    place: Place<'_>,
    offset: u64,
    len: usize,
) -> Result<Bytes> {
    let mut buffer = Buffer::with_capacity(len);
    let read = file.read_onto(buffer.bytes_mut(), offset, len);
    read.map_err(|e| Error::io("reading", place.path, e))?;
    let read = buffer.as_ref().len();
    if read < len {
        let what = format!("the file ends after {read} of {len} bytes");
        return Err(place.corrupt(offset, what));
    }
    Ok(buffer.share())
}

/// The raw bytes of a block. Behind them its trailer may still lie: cutting it off would cost an allocation.
pub(crate) struct RawBlock {
    pub(crate) bytes: Bytes,
    /// `len <= bytes.len()`.
    len: usize,
}

impl Deref for RawBlock {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl From<Vec<u8>> for RawBlock {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), bytes: bytes.into() }
    }
}

/// The raw bytes of a block from its bytes in the file, `handle.bytes` of them.
/// With codec 0 they
/// are a part of these.
pub(crate) fn unframe(stored: Bytes, place: Place<'_>, handle: Handle) -> Result<RawBlock> {
    let Some(payload) = stored.len().checked_sub(TRAILER_BYTES) else {
        return Err(place.corrupt(handle.offset, "a block is shorter than its trailer"));
    };
    let checksum = u32_at(&stored, payload + 5);
    let computed = block_checksum(place.number, handle.offset, &stored[..payload + 5]);
    if checksum != computed {
        return Err(place.corrupt(handle.offset, mismatch("block", checksum, computed)));
    }
    let codec_id = stored[payload];
    let raw_bytes = u32_at(&stored, payload + 1) as usize;
    if codec_id == 0 {
        return Ok(RawBlock { bytes: stored, len: payload });
    }
    let codec = codec_by_id(codec_id)
        .ok_or_else(|| place.corrupt(handle.offset, format!("codec {codec_id} is not known")))?;
    if raw_bytes > BLOCK_BYTES_MAX {
        return Err(
            place.corrupt(handle.offset, format!("a raw block of {raw_bytes} bytes cannot be"))
        );
    }
    let mut raw = vec![0; raw_bytes];
    codec
        .decompress(&stored[..payload], &mut raw)
        .map_err(|what| place.corrupt(handle.offset, format!("{}: {what}", codec.name())))?;
    Ok(raw.into())
}

pub(crate) fn read_exact(
    file: &dyn File,
    place: Place<'_>,
    offset: u64,
    into: &mut [u8],
) -> Result<()> {
    let read = file.read_at(into, offset).map_err(|e| Error::io("reading", place.path, e))?;
    if read < into.len() {
        let what = format!("the file ends after {read} of {} bytes", into.len());
        return Err(place.corrupt(offset, what));
    }
    Ok(())
}

fn mismatch(what: &str, stored: u32, computed: u32) -> String {
    format!("{what} checksum is {stored:08x}, the bytes give {computed:08x}")
}

fn block_checksum(number: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    nori_env::crc32c_append(nori_env::crc32c(&place), bytes)
}

fn footer_checksum(number: u64, bytes: &[u8]) -> u32 {
    nori_env::crc32c_append(nori_env::crc32c(&number.to_le_bytes()), bytes)
}

/// The word at `at`; the caller has checked that it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("the caller checked the length");
    u32::from_le_bytes(*word)
}

/// Appends a LEB128 number.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Takes a LEB128 number off the front; `None` if there is no whole one below 2^64.
#[inline]
pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let (&first, after) = rest.split_first()?;
    if first < 0x80 {
        *rest = after;
        return Some(first.into());
    }
    let (mut value, mut shift) = (u64::from(first & 0x7F), 7);
    let mut left = after;
    while shift < 64 {
        let (&byte, after) = left.split_first()?;
        left = after;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            *rest = left;
            return Some(value);
        }
        shift += 7;
    }
    None
}

/// Takes `len` bytes off the front.
#[inline]
pub(crate) fn take<'a>(rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = after;
    Some(bytes)
}

/// The number of leading bytes that `a` and `b` share.
pub(crate) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varint_comes_back(value in any::<u64>(), small in 0u64..300) {
            for value in [value, small] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                let mut rest = &bytes[..];
                prop_assert_eq!(take_varint(&mut rest), Some(value));
                prop_assert!(rest.is_empty());
                bytes.pop();
                prop_assert_eq!(take_varint(&mut &bytes[..]), None);
            }
        }
    }

    #[test]
    fn a_varint_past_64_bits_is_none() {
        assert_eq!(take_varint(&mut &[0xFF; 16][..]), None);
        assert_eq!(
            take_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2][..]),
            None
        );
    }
}
