//! The reading half of the log: a prefix of what was appended.
//!
//! 1. The segments from a given number on are held against each other in order; each must name the one before it and where that
//!    ended ([`Chain`]). What a segment holds is read by a [`SegmentReader`], one segment at a time ([`replay`]) or several.
//! 2. Groups are handed on as long as they are valid. The first place where the chain breaks is the **tail**: a
//!    group that is torn, a segment whose header is not there, a predecessor that ends elsewhere.
//! 3. Everything behind the tail is searched for valid group headers. If one promises a position beyond
//!    the tail, bytes that were safe are gone: that is damage, with file and offset.
//! 4. Otherwise the tail is what a crash leaves, and what lies behind it was never acknowledged as safe.
//! 5. Segments are made in the order of their numbers, each with its name made safe, and those behind a tail are removed from
//!    the newest down: a number that is missing between two that are there was taken away by somebody else. So was one
//!    that the owner knows to have begun.

use crate::format::{
    ALIGN, GROUP_HEADER_BYTES, HeaderError, MARK_BYTES, Mark, Predecessor, SEGMENT_BYTES_MAX,
    SEGMENT_UNIT_BYTES, SegmentHeader, decode_group, decode_group_header,
};
use crate::segment::{Group, SegmentEnd, SegmentHead, SegmentReader};
use crate::wal::{Resume, segment_number, segment_path};
use crate::{Position, SEGMENT_HEADER_BYTES, WalError, position};
use nori_env::{Fs, OpenMode, Zeros};
use std::ops::Range;
use std::path::Path;

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
    /// Where the log goes on if its groups are still needed: in the segment after the tail, once those behind the tail are
    /// removed. `None` if no segment could be read.
    pub resume: Option<Resume>,
    /// The number after those of all segments, used or not: where a log begins anew.
    pub next_number: u64,
    /// The newest mark of any segment, behind the tail or not.
    pub mark: Mark,
}

/// Which segments a log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first that is still needed.
    pub from: u64,
    /// The newest that is known to have begun: its file and all from `from` up to it must be there. Zero if none is known.
    pub begun: u64,
}

/// Hands the groups of the segments of `span` and later ones to `sink`, in order.
///
/// # Errors
///
/// [`WalError::Damaged`] as described above, [`WalError::Io`], and what `sink` returns.
pub fn replay<E: From<WalError>>(
    fs: &dyn Fs,
    dir: &Path,
    span: Span,
    mut sink: impl FnMut(Group<'_>) -> Result<(), E>,
) -> Result<Replay, E> {
    let mut chain = Chain::of(fs, dir, span)?;
    for number in chain.segments() {
        let mut segment = SegmentReader::open(fs, dir, number)?;
        if chain.goes_on(segment.head())? {
            while let Some(group) = segment.next()? {
                sink(group)?;
            }
            chain.push(segment.end()?);
        }
    }
    Ok(chain.finish()?)
}

/// The segments of a log as they are told to follow each other, from the oldest to the newest; whoever reads them asks for each
/// whether the log [goes on](Chain::goes_on) with it and, if so, says [where it ended](Chain::push).
pub struct Chain<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    span: Span,
    /// The number after those of all segments.
    next_number: u64,
    replay: Replay,
    /// The last segment with which the log went on.
    link: Option<Link>,
    broken: Option<Break>,
}

impl<'a> Chain<'a> {
    /// The chain of the log in `dir`, of which no segment has been read.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`]; [`WalError::Damaged`] if a segment is missing.
    pub fn of(fs: &'a dyn Fs, dir: &'a Path, span: Span) -> Result<Self, WalError> {
        let next_number = segments_end(fs, dir, span)?;
        let replay = Replay { next_number, ..Replay::default() };
        Ok(Self { fs, dir, span, next_number, replay, link: None, broken: None })
    }

    /// The numbers of the segments.
    pub fn segments(&self) -> Range<u64> {
        self.span.from..self.next_number
    }

    /// Whether the log goes on with that segment, which is the next. If not, its tail is before it; then what lies in this
    /// segment was never acknowledged as safe.
    ///
    /// # Errors
    ///
    /// [`WalError::Damaged`] if no crash leaves such a segment, or if it promises what is not there; [`WalError::Io`].
    pub fn goes_on(&mut self, head: &SegmentHead) -> Result<bool, WalError> {
        let number = head.number;
        if self.broken.is_none() {
            let path = segment_path(self.dir, number);
            check_made(&head.header, head.bytes, number <= self.span.begun, &path)?;
            self.broken = follow(head, self.link.as_ref(), &path)?;
        }
        let Some(place) = &self.broken else { return Ok(true) };
        if SegmentReader::open(self.fs, self.dir, number)?.end()?.is_unused() {
            // After a crash there is nearly always one.
            return Ok(false);
        }
        let content = read(self.fs, self.dir, number)?;
        check_promises(&content, number, SEGMENT_HEADER_BYTES, place, self.dir)?;
        self.replay.mark = self.replay.mark.max(newest_mark(&content, number, 0));
        Ok(false)
    }

    /// Takes note of where the segment ended with which the log went on.
    pub fn push(&mut self, segment: SegmentEnd) {
        debug_assert!(self.broken.is_none(), "the log ended before it");
        let number = segment.head.number;
        self.replay.groups += segment.groups;
        self.replay.bytes += segment.group_bytes;
        self.replay.mark = self.replay.mark.max(segment.mark);
        self.link = Some(Link {
            number,
            end: segment.end,
            tail_checksum: segment.tail_checksum,
            is_synced: segment.promised > position(number, 0),
            has_rest: segment.has_rest,
        });
    }

    /// What was found, when all segments have been read. The last with which the log went on ends in its own tail; what lies
    /// behind may promise more.
    ///
    /// # Errors
    ///
    /// [`WalError::Damaged`] if it does; [`WalError::Io`].
    pub fn finish(self) -> Result<Replay, WalError> {
        let mut replay = self.replay;
        let Some(link) = self.link else { return Ok(replay) };
        if link.has_rest {
            let content = read(self.fs, self.dir, link.number)?;
            let end = usize::try_from(link.end).unwrap_or(usize::MAX).min(content.len());
            check_promises(&content, link.number, end, &link.as_break(), self.dir)?;
            replay.mark = replay.mark.max(newest_mark(&content, link.number, end));
            let torn = content[end..].iter().rposition(|byte| *byte != 0);
            replay.torn_bytes = torn.map_or(0, |last| last as u64 + 1);
        }
        replay.tail_segment = Some(link.number);
        let predecessor =
            Predecessor { number: link.number, end: link.end, tail_checksum: link.tail_checksum };
        let zeros = if link.is_synced { Zeros::Written } else { Zeros::Allocated };
        replay.resume = Some(Resume { number: link.number + 1, predecessor, is_safe: true, zeros });
        Ok(replay)
    }
}

/// What is in a segment; of a file that is longer than the segment was made, as much as that. One longer than any can be, and without
/// a header that says how long it was made, is none.
pub(crate) fn read(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Vec<u8>, WalError> {
    let path = segment_path(dir, number);
    let failed = |e| WalError::io("reading", &path, e);
    let head = SegmentReader::open(fs, dir, number)?.head().clone();
    let made = match head.header {
        Ok(header) => u64::from(header.bytes),
        Err(_) if head.bytes > SEGMENT_BYTES_MAX => return Ok(Vec::new()),
        Err(_) => head.bytes,
    };
    if head.bytes <= made {
        return fs.read(&path).map_err(failed);
    }
    let file = fs.open(&path, OpenMode::Read).map_err(failed)?;
    let mut content = Vec::new();
    file.read_onto(&mut content, 0, usize::try_from(made).unwrap_or(usize::MAX)).map_err(failed)?;
    Ok(content)
}

/// The newest mark of all segments in `dir`, however damaged they are: what a log that cannot be replayed still vouches for.
///
/// # Errors
///
/// [`WalError::Io`].
pub fn last_mark(fs: &dyn Fs, dir: &Path) -> Result<Mark, WalError> {
    let names = fs.list(dir).map_err(|e| WalError::io("listing", dir, e))?;
    let mut mark = Mark::default();
    for number in names.iter().filter_map(|name| segment_number(name)) {
        mark = mark.max(newest_mark(&read(fs, dir, number)?, number, 0));
    }
    Ok(mark)
}

/// The number after those of the segments to read, which are without a gap.
fn segments_end(fs: &dyn Fs, dir: &Path, span: Span) -> Result<u64, WalError> {
    let names = fs.list(dir).map_err(|e| WalError::io("listing", dir, e))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|n| segment_number(n)).filter(|n| *n >= span.from).collect();
    numbers.sort_unstable();
    let missing = |number: u64, what: String| {
        Err(WalError::Damaged { file: segment_path(dir, number), offset: 0, what })
    };
    for (n, number) in numbers.iter().enumerate() {
        let due = span.from + n as u64;
        if *number != due {
            return missing(due, format!("it is missing, but segment {number} after it is there"));
        }
    }
    let due = span.from + numbers.len() as u64;
    if due <= span.begun {
        let what = format!("it is missing, but the log had begun segment {}", span.begun);
        return missing(due, what);
    }
    Ok(due)
}

/// A segment with which the log went on.
struct Link {
    number: u64,
    end: u64,
    tail_checksum: u32,
    /// Whether one of its groups says that something of it was synced.
    is_synced: bool,
    /// Whether anything but zeros lies behind its end.
    has_rest: bool,
}

/// The place where the chain breaks.
pub(crate) struct Break {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) position: Position,
    pub(crate) what: &'static str,
}

impl Link {
    fn as_break(&self) -> Break {
        Break {
            segment: self.number,
            offset: self.end,
            position: position(self.number, self.end),
            what: "a group that was promised to be safe cannot be read",
        }
    }
}

/// Refuses a segment that no crash leaves: one that is not as long as its header says, and, of those that are known to
/// have begun, one that is cut short or whose header is neither there nor lost. A segment is made whole before its header
/// is put, and the header before anybody says that it has begun; but the header may not be safe yet.
pub(crate) fn check_made(
    header: &Result<SegmentHeader, HeaderError>,
    len: u64,
    has_begun: bool,
    path: &Path,
) -> Result<(), WalError> {
    let damaged =
        |offset: u64, what: String| Err(WalError::Damaged { file: path.to_owned(), offset, what });
    match header {
        Err(_) if len > SEGMENT_BYTES_MAX => {
            damaged(0, format!("it has {len} bytes, more than a segment can have"))
        }
        Ok(header) if u64::from(header.bytes) != len => {
            let made = u64::from(header.bytes);
            damaged(len.min(made), format!("it has {len} bytes and was made with {made}"))
        }
        Err(HeaderError::Damaged) if has_begun => {
            damaged(0, "its header is damaged, and the segment had begun".to_owned())
        }
        Err(HeaderError::Unused)
            if has_begun && (len == 0 || !len.is_multiple_of(SEGMENT_UNIT_BYTES)) =>
        {
            damaged(len, format!("it was cut to {len} bytes, and the segment had begun"))
        }
        _ => Ok(()),
    }
}

/// The place where the chain breaks, if the segment does not continue it.
fn follow(
    head: &SegmentHead,
    chain: Option<&Link>,
    path: &Path,
) -> Result<Option<Break>, WalError> {
    let number = head.number;
    let damaged = |what: String| WalError::Damaged { file: path.to_owned(), offset: 0, what };
    let header = match &head.header {
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
        (Some(_), None) => Ok(None),
        (Some(header), Some(link)) => {
            let known = header.predecessor;
            let continues = known.number == link.number
                && known.end == link.end
                && known.tail_checksum == link.tail_checksum;
            Ok(if continues { None } else { tail })
        }
        (None, _) => Ok(Some(tail.unwrap_or(Break {
            segment: number,
            offset: 0,
            position: position(number, 0),
            what: "the segment's header cannot be read",
        }))),
    }
}

/// Searches `content` from `start` on for a group that promises a position beyond the break.
pub(crate) fn check_promises(
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

/// The newest mark in a segment: of its header and of every valid mark from `start` on, wherever it begins.
fn newest_mark(content: &[u8], number: u64, start: usize) -> Mark {
    let header = SegmentHeader::decode(content).ok().filter(|header| header.number == number);
    let header = header.map_or(Mark::default(), |header| header.mark);
    let offsets = (start.next_multiple_of(ALIGN)..content.len()).step_by(ALIGN);
    let groups = offsets.filter_map(|at| decode_mark(content, number, at));
    groups.fold(header, Mark::max)
}

fn decode_mark(content: &[u8], number: u64, offset: usize) -> Option<Mark> {
    // Payload length and operations first: a checksum at every eighth byte would take long.
    let word = content.get(offset + 8..offset + 16)?;
    if word != [MARK_BYTES as u8, 0, 0, 0, 0, 0, 0, 0] {
        return None;
    }
    decode_group(content, number, offset)?.mark()
}
