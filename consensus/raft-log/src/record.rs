//! The bytes of records: what a group of the write-ahead log holds. All integers are little-endian.
//!
//! ```text
//! record, 16 bytes and a body       entry, 20 bytes and a payload
//!  0  kind u8, zeros u8 x 3          0  checksum of shard, index and bytes 4.., CRC-32C
//!  4  length of the body u32         4  length of the payload u32
//!  8  shard u64                      8  term u64
//! 16  body                          16  kind u8, zeros u8 x 3
//!                                   20  payload
//! kind        body
//! 1 entries   first index u64, then entries: what was from there on is replaced
//! 2 copies    first index u64, then entries: they were there already and lie here too
//! 3 cut       index u64: entries from there on go
//! 4 promise   the hard state
//! 5 release   term u64, index u64: entries up to there go
//! 6 reset     term u64, index u64: all entries go, and the log begins behind
//! 7 forget    nothing: the shard is not on this node any more
//! ```
//!
//! Groups have a checksum of their own; that of an entry is for who reads it alone, later.

use bytes::Bytes;
use nori_consensus::{Entry, EntryKind, Index, LogId, ShardId, Term};

pub(crate) const RECORD_HEADER_BYTES: usize = 16;
pub(crate) const ENTRY_HEADER_BYTES: usize = 20;

const ENTRIES: u8 = 1;
const COPIES: u8 = 2;
const CUT: u8 = 3;
const PROMISE: u8 = 4;
const RELEASE: u8 = 5;
const RESET: u8 = 6;
const FORGET: u8 = 7;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Entries that adjoin, each with the offset of its bytes in the group's payload, and their number.
    Entries {
        entries: Vec<(Entry, Span)>,
        is_copy: bool,
    },
    Cut(Index),
    Promise(Bytes),
    Release(LogId),
    Reset(LogId),
    Forget,
}

/// Where an entry's bytes lie in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// Writes records, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) payload: Vec<u8>,
    pub(crate) records: u32,
}

impl Writer {
    fn record(&mut self, kind: u8, shard: ShardId, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.payload.len();
        self.payload.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        self.payload.extend_from_slice(&shard.0.to_le_bytes());
        body(&mut self.payload);
        let bytes = self.payload.len() - start - RECORD_HEADER_BYTES;
        let bytes = u32::try_from(bytes).expect("a record is below 4 GiB");
        self.payload[start + 4..start + 8].copy_from_slice(&bytes.to_le_bytes());
        self.records += 1;
    }

    /// Entries that adjoin, at least one; where each lies.
    pub(crate) fn entries(
        &mut self,
        shard: ShardId,
        entries: &[Entry],
        is_copy: bool,
    ) -> Vec<Span> {
        let mut spans = Vec::with_capacity(entries.len());
        let first = entries.first().map_or(Index::ZERO, |entry| entry.id.index);
        let bytes = entries.iter().map(|entry| ENTRY_HEADER_BYTES + entry.payload.len());
        self.payload.reserve(RECORD_HEADER_BYTES + 8 + bytes.sum::<usize>());
        self.record(if is_copy { COPIES } else { ENTRIES }, shard, |payload| {
            payload.extend_from_slice(&first.0.to_le_bytes());
            for entry in entries {
                let offset = payload.len();
                put_entry(payload, shard, entry);
                let bytes = (payload.len() - offset) as u32;
                spans.push(Span { offset: offset as u32, bytes });
            }
        });
        spans
    }

    pub(crate) fn cut(&mut self, shard: ShardId, from: Index) {
        self.record(CUT, shard, |payload| payload.extend_from_slice(&from.0.to_le_bytes()));
    }

    pub(crate) fn promise(&mut self, shard: ShardId, hard_state: &[u8]) {
        self.record(PROMISE, shard, |payload| payload.extend_from_slice(hard_state));
    }

    pub(crate) fn release(&mut self, shard: ShardId, through: LogId) {
        self.record(RELEASE, shard, |payload| put_id(payload, through));
    }

    pub(crate) fn reset(&mut self, shard: ShardId, to: LogId) {
        self.record(RESET, shard, |payload| put_id(payload, to));
    }

    pub(crate) fn forget(&mut self, shard: ShardId) {
        self.record(FORGET, shard, |_| ());
    }
}

fn put_id(payload: &mut Vec<u8>, id: LogId) {
    payload.extend_from_slice(&id.term.0.to_le_bytes());
    payload.extend_from_slice(&id.index.0.to_le_bytes());
}

fn put_entry(payload: &mut Vec<u8>, shard: ShardId, entry: &Entry) {
    let start = payload.len();
    let bytes = u32::try_from(entry.payload.len()).expect("an entry is below 4 GiB");
    payload.extend_from_slice(&[0; 4]);
    payload.extend_from_slice(&bytes.to_le_bytes());
    payload.extend_from_slice(&entry.id.term.0.to_le_bytes());
    payload.extend_from_slice(&[kind_byte(entry.kind), 0, 0, 0]);
    payload.extend_from_slice(&entry.payload);
    let checksum = entry_checksum(shard, entry.id.index, &payload[start + 4..]);
    payload[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn entry_checksum(shard: ShardId, index: Index, rest: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&shard.0.to_le_bytes());
    place[8..].copy_from_slice(&index.0.to_le_bytes());
    nori_env::crc32c_append(nori_env::crc32c(&place), rest)
}

fn kind_byte(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Noop => 0,
        EntryKind::Data => 1,
        EntryKind::Config => 2,
    }
}

/// The records of a payload, in order; the last item says where and why they cannot be read any further. Never panics.
pub(crate) struct Records<'a> {
    payload: &'a Bytes,
    at: usize,
}

/// A record's place, whose it is, and what it says.
pub(crate) type Record = (usize, ShardId, Body);

impl<'a> Records<'a> {
    pub(crate) fn new(payload: &'a Bytes) -> Self {
        Self { payload, at: 0 }
    }

    fn decode(&mut self) -> Result<Record, &'static str> {
        let start = self.at;
        let header = self.payload.get(start..).and_then(|rest| rest.first_chunk::<16>());
        let header = header.ok_or("a record is cut short")?;
        let bytes = u32_at(header, 4) as usize;
        let shard = ShardId(u64_at(header, 8));
        let begin = start + RECORD_HEADER_BYTES;
        let end = begin.checked_add(bytes).filter(|end| *end <= self.payload.len());
        let end = end.ok_or("a record is longer than its group")?;
        let body = self.payload.slice(begin..end);
        let body = match (header[0], header[1..4] == [0; 3]) {
            (_, false) => return Err("a record has bits that mean nothing"),
            (kind @ (ENTRIES | COPIES), _) => {
                let entries = decode_entries(shard, &body, begin)?;
                Body::Entries { entries, is_copy: kind == COPIES }
            }
            (CUT, _) => Body::Cut(Index(decode_words::<1>(&body)?[0])),
            (PROMISE, _) => Body::Promise(body),
            (RELEASE, _) => Body::Release(decode_id(&body)?),
            (RESET, _) => Body::Reset(decode_id(&body)?),
            (FORGET, _) if body.is_empty() => Body::Forget,
            _ => return Err("a record is of no known kind"),
        };
        self.at = end;
        Ok((start, shard, body))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, (usize, &'static str)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let start = self.at;
        Some(self.decode().map_err(|what| {
            self.at = self.payload.len();
            (start, what)
        }))
    }
}

/// The entries of a body that begins at `offset` of its payload.
fn decode_entries(
    shard: ShardId,
    body: &Bytes,
    offset: usize,
) -> Result<Vec<(Entry, Span)>, &'static str> {
    let first = body.first_chunk::<8>().ok_or("entries have no first index")?;
    let mut index = Index(u64::from_le_bytes(*first));
    let (mut at, mut entries) = (8, Vec::new());
    while at < body.len() {
        if index == Index::ZERO || index.0 == u64::MAX {
            return Err("an entry's index is none");
        }
        let (entry, bytes) = decode_entry(shard, index, &body.slice(at..))?;
        let span = Span { offset: (offset + at) as u32, bytes: bytes as u32 };
        entries.push((entry, span));
        (at, index) = (at + bytes, index.next());
    }
    if entries.is_empty() { Err("entries are none") } else { Ok(entries) }
}

/// The entry with which `bytes` begin, and its length.
pub(crate) fn decode_entry(
    shard: ShardId,
    index: Index,
    bytes: &Bytes,
) -> Result<(Entry, usize), &'static str> {
    let header = bytes.first_chunk::<ENTRY_HEADER_BYTES>().ok_or("an entry is cut short")?;
    let end = ENTRY_HEADER_BYTES.checked_add(u32_at(header, 4) as usize);
    let end = end.filter(|end| *end <= bytes.len()).ok_or("an entry is longer than its record")?;
    if entry_checksum(shard, index, &bytes[4..end]) != u32_at(header, 0) {
        return Err("an entry's checksum is another");
    }
    let kind = match header[16..20] {
        [0, 0, 0, 0] => EntryKind::Noop,
        [1, 0, 0, 0] => EntryKind::Data,
        [2, 0, 0, 0] => EntryKind::Config,
        _ => return Err("an entry is of no known kind"),
    };
    let id = LogId { term: Term(u64_at(header, 8)), index };
    Ok((Entry { id, kind, payload: bytes.slice(ENTRY_HEADER_BYTES..end) }, end))
}

fn decode_id(body: &[u8]) -> Result<LogId, &'static str> {
    let [term, index] = decode_words(body)?;
    if index == u64::MAX {
        return Err("nothing can lie behind an index");
    }
    Ok(LogId { term: Term(term), index: Index(index) })
}

fn decode_words<const N: usize>(body: &[u8]) -> Result<[u64; N], &'static str> {
    if body.len() != 8 * N {
        return Err("a record's body has another length");
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(body.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    Ok(words)
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
mod tests;
