//! The bytes of a segment, format version 1. All integers are little-endian, all checksums CRC-32C.
//!
//! ```text
//! segment header, 64 bytes          group header, 32 bytes, at a multiple of 8
//!  0  magic "NORIWAL\n"              0  checksum of segment number, offset and bytes 4..32
//!  8  format version u32 = 1         4  checksum of the payload
//! 12  length of the segment u32      8  payload length u32 >= 1
//! 16  segment number u64            12  operations u32
//! 24  predecessor number u64        16  first sequence number u64
//! 32  predecessor end u64           24  synced-up-to position u64: segment << 32 | offset
//! 40  predecessor tail checksum u32 32  payload, then zeros up to a multiple of 8
//! 44  mark: file number u64
//! 52  mark: bytes u64
//! 60  checksum of bytes 0..60
//! ```
//!
//! A group without operations is a [`Mark`]: its payload is the two numbers of a header's mark, its sequence number 0.
//!
//! The predecessor's tail checksum is the first word of its last group's header, zero if it has none. The
//! segment number is part of a group's checksum though not of its bytes, so that a group of another
//! segment's earlier life never reads as one of this.

use crate::Position;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 32;
/// Segments have a multiple of this many bytes.
pub(crate) const SEGMENT_UNIT_BYTES: u64 = 4096;
/// The header says a length in 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;
/// Groups begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

const MAGIC: [u8; 8] = *b"NORIWAL\n";
const FORMAT_VERSION: u32 = 1;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// The length of the file. It never changes.
    pub(crate) bytes: u32,
    pub(crate) predecessor: Predecessor,
    pub(crate) mark: Mark,
}

/// What the log's owner vouches for beside the log: file `number` of its own was safe up to `bytes`, and the one in force.
/// Grows over the life of a log. What a reader finds of that file must not end earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The file's number; zero if nothing is vouched for.
    pub number: u64,
    /// How much of it was safe.
    pub bytes: u64,
}

/// Bytes of a mark, as the payload of a group.
pub(crate) const MARK_BYTES: usize = 16;

impl Mark {
    pub(crate) fn encode(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; MARK_BYTES]) -> Self {
        Self { number: u64_at(bytes, 0), bytes: u64_at(bytes, 8) }
    }

    /// That of a group, if it is one.
    pub(crate) fn of(header: &GroupHeader, payload: &[u8]) -> Option<Self> {
        let payload = payload.first_chunk().filter(|_| payload.len() == MARK_BYTES)?;
        (header.ops == 0).then(|| Self::decode(payload))
    }
}

/// What a segment knows of the one before it. All zeros for the first of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub(crate) number: u64,
    /// The offset behind its last group.
    pub(crate) end: u64,
    pub(crate) tail_checksum: u32,
}

/// Why the first bytes of a segment are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// All zeros: the segment was made ready and never used.
    Unused,
    /// Written by a program of another format.
    Version(u32),
    /// Something else.
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.predecessor.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.predecessor.end.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.predecessor.tail_checksum.to_le_bytes());
        bytes[44..60].copy_from_slice(&self.mark.encode());
        let checksum = nori_env::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = content.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            let unused = content.iter().all(|byte| *byte == 0);
            return Err(if unused { HeaderError::Unused } else { HeaderError::Damaged });
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Unused);
        }
        if bytes[0..8] != MAGIC || u32_at(bytes, 60) != nori_env::crc32c(&bytes[..60]) {
            return Err(HeaderError::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        Ok(Self {
            number: u64_at(bytes, 16),
            bytes: u32_at(bytes, 12),
            predecessor: Predecessor {
                number: u64_at(bytes, 24),
                end: u64_at(bytes, 32),
                tail_checksum: u32_at(bytes, 40),
            },
            mark: Mark { number: u64_at(bytes, 44), bytes: u64_at(bytes, 52) },
        })
    }
}

/// A group's header but for its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// `1 <= payload_bytes`.
    pub(crate) payload_bytes: u32,
    /// 0 in a mark.
    pub(crate) ops: u32,
    pub(crate) first_seqno: u64,
    pub(crate) synced_upto: Position,
}

/// A group read from a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupAt<'a> {
    pub(crate) header: GroupHeader,
    pub(crate) checksum: u32,
    pub(crate) payload: &'a [u8],
    /// The offset behind it, a multiple of [`ALIGN`].
    pub(crate) end: usize,
}

impl GroupAt<'_> {
    /// The mark, if the group is one.
    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::of(&self.header, self.payload)
    }
}

/// The bytes a group of `payload_bytes` takes.
pub(crate) fn group_bytes(payload_bytes: usize) -> usize {
    GROUP_HEADER_BYTES + payload_bytes.next_multiple_of(ALIGN)
}

/// Writes a group for `offset` of segment `number` into `into`, which is cleared; its checksum.
pub(crate) fn encode_group(
    into: &mut Vec<u8>,
    number: u64,
    offset: u64,
    header: &GroupHeader,
    payload: &[u8],
) -> u32 {
    debug_assert_eq!(header.payload_bytes as usize, payload.len());
    into.clear();
    into.reserve(group_bytes(payload.len()));
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&nori_env::crc32c(payload).to_le_bytes());
    into.extend_from_slice(&header.payload_bytes.to_le_bytes());
    into.extend_from_slice(&header.ops.to_le_bytes());
    into.extend_from_slice(&header.first_seqno.to_le_bytes());
    into.extend_from_slice(&header.synced_upto.to_le_bytes());
    let checksum = header_checksum(number, offset, &into[4..GROUP_HEADER_BYTES]);
    into[0..4].copy_from_slice(&checksum.to_le_bytes());
    into.extend_from_slice(payload);
    into.resize(group_bytes(payload.len()), 0);
    checksum
}

/// The group at `offset` of the content of segment `number`, if there is a whole and valid one. Never panics.
pub(crate) fn decode_group(content: &[u8], number: u64, offset: usize) -> Option<GroupAt<'_>> {
    decode_group_at(content.get(offset..)?, number, offset as u64)
}

/// The same, of the bytes from `offset` on.
pub(crate) fn decode_group_at(bytes: &[u8], number: u64, offset: u64) -> Option<GroupAt<'_>> {
    let (header, checksum) = decode_header_at(bytes, number, offset)?;
    let payload = decode_payload(bytes, &header)?;
    let behind = GROUP_HEADER_BYTES + payload.len();
    let end = usize::try_from(offset).ok()?.checked_add(behind)?.checked_next_multiple_of(ALIGN)?;
    Some(GroupAt { header, checksum, payload, end })
}

/// The payload of the group with which `bytes` begin, if it is whole and valid. Never panics.
pub(crate) fn decode_payload<'a>(bytes: &'a [u8], header: &GroupHeader) -> Option<&'a [u8]> {
    let checksum = u32_at(bytes.first_chunk::<GROUP_HEADER_BYTES>()?, 4);
    let end = GROUP_HEADER_BYTES.checked_add(header.payload_bytes as usize)?;
    let payload = bytes.get(GROUP_HEADER_BYTES..end)?;
    (nori_env::crc32c(payload) == checksum).then_some(payload)
}

/// The header of the group at `offset`, whether or not its payload is there, and its checksum. Never panics.
pub(crate) fn decode_group_header(
    content: &[u8],
    number: u64,
    offset: usize,
) -> Option<(GroupHeader, u32)> {
    decode_header_at(content.get(offset..)?, number, offset as u64)
}

/// The same, of the bytes from `offset` on.
pub(crate) fn decode_header_at(
    bytes: &[u8],
    number: u64,
    offset: u64,
) -> Option<(GroupHeader, u32)> {
    let bytes = bytes.first_chunk::<GROUP_HEADER_BYTES>()?;
    let checksum = u32_at(bytes, 0);
    let header = GroupHeader {
        payload_bytes: u32_at(bytes, 8),
        ops: u32_at(bytes, 12),
        first_seqno: u64_at(bytes, 16),
        synced_upto: u64_at(bytes, 24),
    };
    let valid =
        header.payload_bytes >= 1 && header_checksum(number, offset, &bytes[4..]) == checksum;
    valid.then_some((header, checksum))
}

fn header_checksum(number: u64, offset: u64, rest: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    nori_env::crc32c_append(nori_env::crc32c(&place), rest)
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("callers pass offsets inside a fixed header");
    u32::from_le_bytes(*word)
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("callers pass offsets inside a fixed header");
    u64::from_le_bytes(*word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: GroupHeader =
        GroupHeader { payload_bytes: 5, ops: 1, first_seqno: 77, synced_upto: 4096 };

    #[test]
    fn a_segment_header_comes_back() {
        let predecessor = Predecessor { number: 8, end: 1234, tail_checksum: 5 };
        let mark = Mark { number: 3, bytes: 1 << 40 };
        let header = SegmentHeader { number: 9, bytes: 8192, predecessor, mark };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        assert_eq!(SegmentHeader::decode(&[0; 512]), Err(HeaderError::Unused));
        let mut other = header.encode();
        other[8] = 2;
        let checksum = nori_env::crc32c(&other[..60]);
        other[60..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&other), Err(HeaderError::Version(2)));
    }

    #[test]
    fn a_group_comes_back_only_from_its_own_place() {
        let mut bytes = Vec::new();
        encode_group(&mut bytes, 3, 64, &HEADER, b"hello");
        let mut content = vec![0; 64];
        content.extend_from_slice(&bytes);
        let group = decode_group(&content, 3, 64).unwrap();
        assert_eq!((group.header, group.payload, group.end), (HEADER, &b"hello"[..], 64 + 32 + 8));
        assert_eq!(decode_group(&content, 4, 64), None);
        content.insert(0, 0);
        assert_eq!(decode_group(&content, 3, 65), None);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen(at in 0usize..37, bit in 0u8..8) {
            let mut bytes = Vec::new();
            encode_group(&mut bytes, 3, 0, &HEADER, b"hello");
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode_group(&bytes, 3, 0), None);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..128), at in 0usize..200) {
            prop_assert_eq!(decode_group(&bytes, 3, at), None);
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
        }
    }
}
