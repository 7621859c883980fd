//! One segment, read from its header to its end, independent of all others: so several can be read at a time.
//!
//! 1. [`SegmentReader::open`] reads the header. A segment that has none has no groups.
//! 2. [`SegmentReader::next`] hands on group after group, up to the first that is not whole and valid: there the segment
//!    **ends**. The file is read in pieces, so that a group is checked while the processor still has it at hand.
//! 3. [`SegmentReader::end`] looks whether anything but zeros lies behind.
//!
//! Whether the segment belongs to the log, and whether it may end there, is for the [`Chain`](crate::Chain) to say: until it has
//! been asked, what was read is a guess.

use crate::format::{
    ALIGN, GROUP_HEADER_BYTES, GroupHeader, HeaderError, Mark, SEGMENT_BYTES_MAX, SegmentHeader,
    decode_header_at, decode_payload,
};
use crate::wal::segment_path;
use crate::{Position, SEGMENT_HEADER_BYTES, WalError};
use nori_env::{File, Fs, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is read of a file at a time: it stays in a processor's own cache until it was looked at.
const PIECE_BYTES: usize = 256 << 10;

/// A group of operations, lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The segment it is in.
    pub segment: u64,
    /// The sequence number of its first operation.
    pub first_seqno: u64,
    /// Its operations.
    pub ops: u32,
    /// Its payload, as it was appended.
    pub payload: &'a [u8],
    /// Where it is, for an error about its payload.
    pub offset: u64,
}

/// What a segment's first bytes and its length say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    pub(crate) number: u64,
    pub(crate) header: Result<SegmentHeader, HeaderError>,
    /// The length of the file.
    pub(crate) bytes: u64,
}

impl SegmentHead {
    /// The segment's number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A segment that was read up to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    pub(crate) head: SegmentHead,
    /// The offset behind its last group.
    pub(crate) end: u64,
    /// The first word of its last group, zero if it has none.
    pub(crate) tail_checksum: u32,
    /// The furthest that one of its groups says was safe.
    pub(crate) promised: Position,
    /// The newest of its header and its groups.
    pub(crate) mark: Mark,
    /// Groups with operations.
    pub(crate) groups: u64,
    /// Bytes of them, headers included.
    pub(crate) group_bytes: u64,
    /// Whether anything but zeros lies behind the end.
    pub(crate) has_rest: bool,
}

impl SegmentEnd {
    /// Whether it holds nothing but zeros: it was made ready and not begun.
    pub(crate) fn is_unused(&self) -> bool {
        self.head.header == Err(HeaderError::Unused) && !self.has_rest
    }

    /// What its first bytes say.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }
}

/// A segment that is being read.
pub struct SegmentReader {
    path: PathBuf,
    file: Arc<dyn File>,
    /// A piece of the file, ...
    window: Vec<u8>,
    /// ... which begins there. `window_at <= found.end`
    window_at: u64,
    /// As far as it was read.
    found: SegmentEnd,
}

impl SegmentReader {
    /// Opens segment `number` of the log in `dir` and reads its header.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`]. A header that is missing or damaged is none: the segment has no groups then.
    pub fn open(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Self, WalError> {
        let path = segment_path(dir, number);
        let failed = |e| WalError::io("reading", &path, e);
        let file = fs.open(&path, OpenMode::Read).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let mut window = Vec::new();
        read_onto(&*file, &mut window, 0, bytes.min(PIECE_BYTES as u64)).map_err(failed)?;
        let header = SegmentHeader::decode(&window);
        let found = SegmentEnd {
            end: bytes.min(SEGMENT_HEADER_BYTES as u64),
            tail_checksum: 0,
            promised: 0,
            mark: header.as_ref().map_or(Mark::default(), |header| header.mark),
            groups: 0,
            group_bytes: 0,
            has_rest: false,
            head: SegmentHead { number, header, bytes },
        };
        Ok(Self { path, file, window, window_at: 0, found })
    }

    /// What its first bytes say.
    pub fn head(&self) -> &SegmentHead {
        &self.found.head
    }

    /// The next group with operations; `None` at the segment's end.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`].
    #[expect(clippy::should_implement_trait, reason = "it lends, which an iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Group<'_>>, WalError> {
        while let Some((header, checksum)) = self.next_header()? {
            let offset = self.found.end;
            let start = (offset - self.window_at) as usize;
            let Some(payload) = decode_payload(&self.window[start..], &header) else { break };
            let mark = Mark::of(&header, payload);
            let payload = start + GROUP_HEADER_BYTES..start + GROUP_HEADER_BYTES + payload.len();
            let end = (self.window_at + payload.end as u64).next_multiple_of(ALIGN as u64);
            let found = &mut self.found;
            (found.end, found.tail_checksum) = (end, checksum);
            found.promised = found.promised.max(header.synced_upto);
            if let Some(mark) = mark {
                found.mark = found.mark.max(mark);
                continue;
            }
            found.groups += 1;
            found.group_bytes += end - offset;
            return Ok(Some(Group {
                segment: found.head.number,
                first_seqno: header.first_seqno,
                ops: header.ops,
                payload: &self.window[payload],
                offset,
            }));
        }
        Ok(None)
    }

    /// Whether the file is as long as the segment was made. If not it is damaged, however that ends ([`check_made`](crate::replay::check_made)): nothing of it
    /// is read, for there may be very much.
    fn is_as_made(&self) -> bool {
        let SegmentHead { header, bytes, .. } = &self.found.head;
        header.as_ref().map_or(*bytes <= SEGMENT_BYTES_MAX, |made| u64::from(made.bytes) == *bytes)
    }

    /// The header of the next group and its checksum, if there is one; then all that the file has of the group is in the window.
    fn next_header(&mut self) -> Result<Option<(GroupHeader, u32)>, WalError> {
        let number = match &self.found.head.header {
            Ok(header) if header.number == self.found.head.number && self.is_as_made() => {
                header.number
            }
            _ => return Ok(None),
        };
        let at = self.found.end;
        let bytes = self.fill(GROUP_HEADER_BYTES as u64)?;
        let Some((header, checksum)) = decode_header_at(bytes, number, at) else { return Ok(None) };
        let whole = GROUP_HEADER_BYTES as u64 + u64::from(header.payload_bytes);
        if whole > self.found.head.bytes - at {
            // No group: nothing is read of what it claims to have.
            return Ok(None);
        }
        self.fill(whole.next_multiple_of(ALIGN as u64))?;
        Ok(Some((header, checksum)))
    }

    /// The window from the end so far on, with at least `bytes` bytes if the file has them.
    fn fill(&mut self, bytes: u64) -> Result<&[u8], WalError> {
        let at = self.found.end;
        let due = (at + bytes).min(self.found.head.bytes);
        let until = self.window_at + self.window.len() as u64;
        if due > until {
            self.window.drain(..(at - self.window_at) as usize);
            self.window_at = at;
            let more = (due - until).max(PIECE_BYTES as u64).min(self.found.head.bytes - until);
            read_onto(&*self.file, &mut self.window, until, more)
                .map_err(|e| WalError::io("reading", &self.path, e))?;
        }
        Ok(self.behind())
    }

    /// What the window has from the end so far on. A last group may lack the zeros that fill it up: then the end is behind the file.
    fn behind(&self) -> &[u8] {
        self.window.get((self.found.end - self.window_at) as usize..).unwrap_or_default()
    }

    /// Ends the reading; what was found up to here.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`].
    pub fn end(mut self) -> Result<SegmentEnd, WalError> {
        let failed = |e| WalError::io("reading", &self.path, e);
        let mut at = self.window_at + self.window.len() as u64;
        let mut has_rest = !self.is_as_made() || !is_zero(self.behind());
        while !has_rest && at < self.found.head.bytes {
            let more = (self.found.head.bytes - at).min(PIECE_BYTES as u64);
            self.window.clear();
            read_onto(&*self.file, &mut self.window, at, more).map_err(failed)?;
            has_rest = !is_zero(&self.window);
            at += more;
        }
        Ok(SegmentEnd { has_rest, ..self.found })
    }
}

/// Reads exactly `len` bytes: nobody shortens a segment while its log is opened.
fn read_onto(file: &dyn File, into: &mut Vec<u8>, offset: u64, len: u64) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let due = into.len() + len;
    file.read_onto(into, offset, len)?;
    if into.len() == due { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A few dozen bytes at a time: a test of each would take as long as a checksum.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(128).all(|bytes| bytes.iter().fold(0, |all, byte| all | byte) == 0)
}
