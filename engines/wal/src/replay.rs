//! The reading half of the log: a prefix of what was appended.
//!
//! 1. The segments from a given number on are read in order; each must name the one before it and where that ended.
//! 2. Groups are handed on as long as they are valid. The first place where the chain breaks is the **tail**: a
//!    group that is torn, a segment whose header is not there, a predecessor that ends elsewhere.
//! 3. Everything behind the tail is searched for valid group headers. If one promises a position beyond
//!    the tail, bytes that were safe are gone: that is damage, with file and offset.
//! 4. Otherwise the tail is what a crash leaves, and what lies behind it was never acknowledged as safe.

use crate::format::{
    ALIGN, GROUP_HEADER_BYTES, HeaderError, Predecessor, SegmentHeader, decode_group,
    decode_group_header,
};
use crate::wal::{Resume, segment_number, segment_path};
use crate::{Position, SEGMENT_HEADER_BYTES, WalError, position};
use nori_env::Fs;
use std::path::Path;

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

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Groups handed on.
    pub groups: u64,
    /// Bytes of them, headers included.
    pub bytes: u64,
    /// Bytes behind the tail that are not zero up to the end of its segment.
    pub torn_bytes: u64,
    /// The segment of the tail; `None` if no segment could be read.
    pub tail_segment: Option<u64>,
    /// Where the log goes on: after the highest segment number there is, used or not.
    pub resume: Option<Resume>,
}

/// Hands the groups of the segments from `from` on to `sink`, in order.
///
/// # Errors
///
/// [`WalError::Damaged`] as described above, [`WalError::Io`], and what `sink` returns.
pub fn replay<E: From<WalError>>(
    fs: &dyn Fs,
    dir: &Path,
    from: u64,
    mut sink: impl FnMut(Group<'_>) -> Result<(), E>,
) -> Result<Replay, E> {
    let names = fs.list(dir).map_err(|e| WalError::io("listing", dir, e))?;
    let numbers: Vec<u64> =
        names.iter().filter_map(|n| segment_number(n)).filter(|n| *n >= from).collect();
    let mut replay = Replay::default();
    let next = numbers.last().map_or(from, |last| last + 1);
    let mut resume = Resume::at(next);
    let mut chain: Option<Link> = None;
    let mut broken: Option<Break> = None;
    for number in numbers {
        let path = segment_path(dir, number);
        let content = fs.read(&path).map_err(|e| WalError::io("reading", &path, e))?;
        if broken.is_none() {
            match follow(&content, number, from, chain.as_ref(), &path)? {
                Ok(header) => {
                    let link = read_groups(&content, &header, &mut replay, &mut sink)?;
                    chain = Some(link);
                    continue;
                }
                Err(place) => broken = Some(place),
            }
        }
        if let Some(place) = &broken {
            check_promises(&content, number, SEGMENT_HEADER_BYTES, place, dir)?;
        }
    }
    // The last segment that was read ends in its own tail; what lies behind may promise more.
    if let Some(link) = &chain {
        let place = link.as_break();
        check_promises(&link.rest, link.number, link.end, &place, dir)?;
        replay.torn_bytes = link
            .rest
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |last| (last + 1).saturating_sub(link.end) as u64);
        replay.tail_segment = Some(link.number);
        resume.predecessor = Predecessor {
            number: link.number,
            end: link.end as u64,
            tail_checksum: link.tail_checksum,
        };
    }
    replay.resume = Some(resume);
    Ok(replay)
}

/// A segment that was read up to its tail.
struct Link {
    number: u64,
    end: usize,
    tail_checksum: u32,
    /// The segment's content if anything but zeros lies behind the tail, else empty.
    rest: Vec<u8>,
}

/// The place where the chain breaks.
struct Break {
    segment: u64,
    offset: u64,
    position: Position,
    what: &'static str,
}

impl Link {
    fn as_break(&self) -> Break {
        Break {
            segment: self.number,
            offset: self.end as u64,
            position: position(self.number, self.end as u64),
            what: "a group that was promised to be safe cannot be read",
        }
    }
}

/// The segment's header if it continues the chain; else the place where the chain breaks.
fn follow(
    content: &[u8],
    number: u64,
    from: u64,
    chain: Option<&Link>,
    path: &Path,
) -> Result<Result<SegmentHeader, Break>, WalError> {
    let damaged = |what: String| WalError::Damaged { file: path.to_owned(), offset: 0, what };
    let header = match SegmentHeader::decode(content) {
        Ok(header) => Some(header),
        Err(HeaderError::Version(version)) => {
            return Err(damaged(format!("format version {version} is not known, only 1")));
        }
        Err(HeaderError::Unused | HeaderError::Damaged) => None,
    };
    let tail = chain.map(Link::as_break);
    match (header, chain) {
        (Some(header), _) if header.number != number => {
            Err(damaged(format!("it says it is segment {}", header.number)))
        }
        (Some(header), None) if number == from => Ok(Ok(header)),
        // The store points at segment `from`: later ones without it are no crash's work.
        (Some(_), None) => Err(damaged(format!("segment {from} before it is missing"))),
        (Some(header), Some(link)) => {
            let known = header.predecessor;
            let continues = known.number == link.number
                && known.end == link.end as u64
                && known.tail_checksum == link.tail_checksum;
            Ok(if continues { Ok(header) } else { Err(link.as_break()) })
        }
        (None, _) => Ok(Err(tail.unwrap_or(Break {
            segment: number,
            offset: 0,
            position: position(number, 0),
            what: "the segment's header cannot be read",
        }))),
    }
}

fn read_groups<E>(
    content: &[u8],
    header: &SegmentHeader,
    replay: &mut Replay,
    sink: &mut impl FnMut(Group<'_>) -> Result<(), E>,
) -> Result<Link, E> {
    let (mut end, mut tail_checksum) = (SEGMENT_HEADER_BYTES, 0);
    while let Some(group) = decode_group(content, header.number, end) {
        sink(Group {
            segment: header.number,
            first_seqno: group.header.first_seqno,
            ops: group.header.ops,
            payload: group.payload,
            offset: end as u64,
        })?;
        replay.groups += 1;
        replay.bytes += (group.end - end) as u64;
        (end, tail_checksum) = (group.end, group.checksum);
    }
    let rest = content.get(end..).unwrap_or_default();
    let rest = if rest.iter().all(|b| *b == 0) { Vec::new() } else { content.to_vec() };
    Ok(Link { number: header.number, end, tail_checksum, rest })
}

/// Searches `content` from `start` on for a group that promises a position beyond the break.
fn check_promises(
    content: &[u8],
    number: u64,
    start: usize,
    place: &Break,
    dir: &Path,
) -> Result<(), WalError> {
    let mut offset = start.next_multiple_of(ALIGN);
    while offset + GROUP_HEADER_BYTES <= content.len() {
        if content[offset..offset + ALIGN] != [0; ALIGN]
            && let Some((header, _)) = decode_group_header(content, number, offset)
            && header.synced_upto > place.position
        {
            return Err(WalError::Damaged {
                file: segment_path(dir, place.segment),
                offset: place.offset,
                what: place.what.to_owned(),
            });
        }
        offset += ALIGN;
    }
    Ok(())
}
