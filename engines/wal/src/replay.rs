//! The reading half of the log: a prefix of what was appended.
//!
//! 1. The segments from a given number on are read in order; each must name the one before it and where that ended.
//! 2. Groups are handed on as long as they are valid. The first place where the chain breaks is the **tail**: a
//!    group that is torn, a segment whose header is not there, a predecessor that ends elsewhere.
//! 3. Everything behind the tail is searched for valid group headers. If one promises a position beyond
//!    the tail, bytes that were safe are gone: that is damage, with file and offset.
//! 4. Otherwise the tail is what a crash leaves, and what lies behind it was never acknowledged as safe.
//! 5. Segments are made in the order of their numbers, each with its name made safe, and those behind a tail are removed from
//!    the newest down: a number that is missing between two that are there was taken away by somebody else. So was one
//!    that the owner knows to have begun.

use crate::format::{
    ALIGN, GROUP_HEADER_BYTES, HeaderError, MARK_BYTES, Mark, Predecessor, SEGMENT_UNIT_BYTES,
    SegmentHeader, decode_group, decode_group_header,
};
use crate::wal::{Resume, segment_number, segment_path};
use crate::{Position, SEGMENT_HEADER_BYTES, WalError, position};
use nori_env::{Fs, OpenMode, Zeros};
use std::io;
use std::path::Path;
use std::sync::Arc;

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
    /// The whole segment, for who keeps it and looks at the payload later, ...
    pub content: &'a Arc<Vec<u8>>,
    /// ... which begins there.
    pub payload_at: usize,
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
    let numbers = segments(fs, dir, span)?;
    let next_number = numbers.last().map_or(span.from, |last| last + 1);
    let mut replay = Replay { next_number, ..Replay::default() };
    let mut chain: Option<Link> = None;
    let mut broken: Option<Break> = None;
    let mut buffers = Buffers::default();
    for number in numbers {
        let path = segment_path(dir, number);
        let content = buffers.read(fs, &path).map_err(|e| WalError::io("reading", &path, e))?;
        if broken.is_none() {
            check_made(&content, number <= span.begun, &path)?;
            match follow(&content, number, chain.as_ref(), &path)? {
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
            replay.mark = replay.mark.max(newest_mark(&content, number, 0));
        }
    }
    // The last segment that was read ends in its own tail; what lies behind may promise more.
    if let Some(link) = &chain {
        let place = link.as_break();
        check_promises(&link.rest, link.number, link.end, &place, dir)?;
        replay.mark = replay.mark.max(newest_mark(&link.rest, link.number, link.end));
        replay.torn_bytes = link
            .rest
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |last| (last + 1).saturating_sub(link.end) as u64);
        replay.tail_segment = Some(link.number);
        let predecessor = Predecessor {
            number: link.number,
            end: link.end as u64,
            tail_checksum: link.tail_checksum,
        };
        let zeros = if link.is_synced { Zeros::Written } else { Zeros::Allocated };
        replay.resume = Some(Resume { number: link.number + 1, predecessor, is_safe: true, zeros });
    }
    Ok(replay)
}

/// What segments are read into: memory that has been touched, as soon as whoever kept a segment has let go of it.
#[derive(Default)]
struct Buffers(Vec<Arc<Vec<u8>>>);

impl Buffers {
    /// The content of a file.
    fn read(&mut self, fs: &dyn Fs, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        let file = fs.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let free = self.0.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some());
        let mut buffer = free.map_or_else(Arc::default, |at| self.0.swap_remove(at));
        let bytes = Arc::make_mut(&mut buffer);
        bytes.clear();
        file.read_onto(bytes, 0, len)?;
        self.0.push(Arc::clone(&buffer));
        Ok(buffer)
    }
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
        let path = segment_path(dir, number);
        let content = fs.read(&path).map_err(|e| WalError::io("reading", &path, e))?;
        mark = mark.max(newest_mark(&content, number, 0));
    }
    Ok(mark)
}

/// The numbers of the segments to read, ascending and without a gap.
fn segments(fs: &dyn Fs, dir: &Path, span: Span) -> Result<Vec<u64>, WalError> {
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
    Ok(numbers)
}

/// A segment that was read up to its tail.
struct Link {
    number: u64,
    end: usize,
    tail_checksum: u32,
    /// Whether one of its groups says that something of it was synced.
    is_synced: bool,
    /// The segment's content if anything but zeros lies behind the tail, else empty.
    rest: Arc<Vec<u8>>,
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
            offset: self.end as u64,
            position: position(self.number, self.end as u64),
            what: "a group that was promised to be safe cannot be read",
        }
    }
}

/// Refuses a segment that no crash leaves: one that is not as long as its header says, and, of those that are known to
/// have begun, one that is cut short or whose header is neither there nor lost. A segment is made whole before its header
/// is put, and the header before anybody says that it has begun; but the header may not be safe yet.
pub(crate) fn check_made(content: &[u8], has_begun: bool, path: &Path) -> Result<(), WalError> {
    let len = content.len() as u64;
    let damaged =
        |offset: u64, what: String| Err(WalError::Damaged { file: path.to_owned(), offset, what });
    match SegmentHeader::decode(content) {
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

/// The segment's header if it continues the chain; else the place where the chain breaks.
fn follow(
    content: &[u8],
    number: u64,
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
        (Some(header), None) => Ok(Ok(header)),
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
    content: &Arc<Vec<u8>>,
    header: &SegmentHeader,
    replay: &mut Replay,
    sink: &mut impl FnMut(Group<'_>) -> Result<(), E>,
) -> Result<Link, E> {
    let (mut end, mut tail_checksum) = (SEGMENT_HEADER_BYTES, 0);
    let mut promised = 0;
    replay.mark = replay.mark.max(header.mark);
    while let Some(group) = decode_group(content, header.number, end) {
        if let Some(mark) = group.mark() {
            replay.mark = replay.mark.max(mark);
        } else {
            sink(Group {
                segment: header.number,
                first_seqno: group.header.first_seqno,
                ops: group.header.ops,
                payload: group.payload,
                content,
                payload_at: end + GROUP_HEADER_BYTES,
                offset: end as u64,
            })?;
            replay.groups += 1;
            replay.bytes += (group.end - end) as u64;
        }
        promised = promised.max(group.header.synced_upto);
        (end, tail_checksum) = (group.end, group.checksum);
    }
    let rest = content.get(end..).unwrap_or_default();
    let is_empty = rest.iter().all(|b| *b == 0);
    let rest = if is_empty { Arc::default() } else { Arc::clone(content) };
    let is_synced = promised > position(header.number, 0);
    Ok(Link { number: header.number, end, tail_checksum, is_synced, rest })
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
