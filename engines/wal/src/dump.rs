//! A segment as it lies on the disk, for people: every group with its place, where the log ends in it, and why.
//!
//! 1. The header is read, and held against the file's length. Without one nothing else is the log's, but valid groups are
//!    shown all the same.
//! 2. Groups are handed on up to the first that cannot be read: there the segment **ends**.
//! 3. If anything but zeros lies behind, it is searched for valid groups at multiples of 8; they are handed on too, told apart
//!    by [`Record::is_behind`].
//! 4. The end is **damage** if a group behind it, here or in a later segment of the folder, promises a position beyond it;
//!    else it is what a crash leaves. This is the rule by which [`replay`](crate::replay()) decides.
//!
//! Nothing is opened for writing and no lock is taken: a log that is being written may seem to end in the middle of a group.
//! Left to others: whether the segment continues the chain of the one before it, and what payloads mean.

use crate::format::{ALIGN, GroupAt, HeaderError, Mark, SegmentHeader, decode_group};
use crate::replay::{Break, check_made, check_promises, read};
use crate::segment::SegmentReader;
use crate::wal::{segment_number, segment_path};
use crate::{GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, WalError, position};
use nori_env::Fs;
use std::path::Path;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderDump {
    /// The number of the segment before it; zero for the first of a log.
    pub predecessor: u64,
    /// Where that one ended.
    pub predecessor_end: u64,
    /// What the log's owner vouched for when the segment was begun.
    pub mark: Mark,
}

/// A group or a mark, lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins, a multiple of 8.
    pub offset: u64,
    /// The offset behind it.
    pub end: u64,
    /// The sequence number of its first operation; 0 for a mark.
    pub first_seqno: u64,
    /// Its operations; 0 for a mark.
    pub ops: u32,
    /// Up to which segment and offset the log was safe when it was written.
    pub synced_upto: (u64, u64),
    /// What it vouches for, if it is a mark.
    pub mark: Option<Mark>,
    /// Its payload, as it was appended.
    pub payload: &'a [u8],
    /// It lies behind the place where the log ends.
    pub is_behind: bool,
}

/// Why a segment ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Only zeros lie behind the last group, or nothing.
    Zeros,
    /// Bytes that are no group lie behind it, and nobody promised them: what a crash leaves.
    Torn,
    /// Bytes behind it were promised to be safe.
    Damaged,
}

/// A segment.
#[derive(Clone, Debug)]
pub struct SegmentDump {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its header, if there is one that can be read.
    pub header: Option<HeaderDump>,
    /// Groups before the end.
    pub groups: u64,
    /// Marks before the end.
    pub marks: u64,
    /// Operations of these groups.
    pub ops: u64,
    /// The offset behind the last group.
    pub end: u64,
    /// Why it ends there.
    pub ending: Ending,
    /// Valid groups and marks behind the end.
    pub behind: u64,
    /// Bytes behind the end up to the last that is not zero.
    pub rest_bytes: u64,
    /// Where the next segment says that this one ended, if there is one that says so.
    pub sealed_at: Option<u64>,
    /// What is damaged, as [`WalError::Damaged`].
    pub damage: Vec<WalError>,
}

/// Reads segment `number` in `dir` and hands each of its groups and marks to `sink`, in order of their places.
///
/// # Errors
///
/// If a segment cannot be read at all. Damage is no error of the call: it is what was asked for.
pub fn dump(
    fs: &dyn Fs,
    dir: &Path,
    number: u64,
    sink: &mut dyn FnMut(Record<'_>),
) -> Result<SegmentDump, WalError> {
    let path = segment_path(dir, number);
    let bytes = SegmentReader::open(fs, dir, number)?.head().bytes;
    let content = read(fs, dir, number)?;
    let mut dump = SegmentDump {
        bytes,
        header: None,
        groups: 0,
        marks: 0,
        ops: 0,
        end: 0,
        ending: Ending::Zeros,
        behind: 0,
        rest_bytes: 0,
        sealed_at: None,
        damage: Vec::new(),
    };
    let damaged = |what: String| WalError::Damaged { file: path.clone(), offset: 0, what };
    let header = SegmentHeader::decode(&content);
    match &header {
        Ok(header) if header.number != number => {
            dump.damage.push(damaged(format!("it says it is segment {}", header.number)));
        }
        Ok(header) => {
            let predecessor = header.predecessor;
            dump.header = Some(HeaderDump {
                predecessor: predecessor.number,
                predecessor_end: predecessor.end,
                mark: header.mark,
            });
            dump.end = SEGMENT_HEADER_BYTES as u64;
        }
        Err(HeaderError::Version(version)) => {
            dump.damage.push(damaged(format!("format version {version} is not known, only 1")));
            return Ok(dump);
        }
        Err(HeaderError::Unused | HeaderError::Damaged) => {}
    }
    dump.damage.extend(check_made(&header, bytes, false, &path).err());
    let tail_checksum = dump.read_groups(&content, number, sink);
    dump.read_behind(&content, number, sink);
    dump.judge(fs, dir, (number, &content), tail_checksum)?;
    Ok(dump)
}

impl SegmentDump {
    /// Reads up to the end; the checksum of the last group's header, zero if there is none.
    fn read_groups(
        &mut self,
        content: &[u8],
        number: u64,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> u32 {
        let mut tail_checksum = 0;
        while self.header.is_some()
            && let Some(group) = decode_group(content, number, self.end as usize)
        {
            tail_checksum = group.checksum;
            let record = record_of(&group, self.end, false);
            sink(record);
            self.end = record.end;
            self.ops += u64::from(record.ops);
            self.groups += u64::from(record.mark.is_none());
            self.marks += u64::from(record.mark.is_some());
        }
        tail_checksum
    }

    fn read_behind(&mut self, content: &[u8], number: u64, sink: &mut dyn FnMut(Record<'_>)) {
        let rest = content.get(self.end as usize..).unwrap_or_default();
        self.rest_bytes = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        let last = (self.end + self.rest_bytes) as usize;
        let mut at = (self.end as usize).max(SEGMENT_HEADER_BYTES).next_multiple_of(ALIGN);
        while at + GROUP_HEADER_BYTES <= content.len() && at < last {
            match decode_group(content, number, at) {
                Some(group) => {
                    sink(record_of(&group, at as u64, true));
                    self.behind += 1;
                    at = group.end;
                }
                None => at += ALIGN,
            }
        }
    }

    /// Whether what lies behind the end was promised.
    fn judge(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        (number, content): (u64, &[u8]),
        tail_checksum: u32,
    ) -> Result<(), WalError> {
        let names = fs.list(dir).map_err(|e| WalError::io("listing", dir, e))?;
        let mut later: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        later.retain(|known| *known > number);
        later.sort_unstable();
        if later.first() == Some(&(number + 1)) {
            let next = SegmentHeader::decode(&read(fs, dir, number + 1)?);
            let known = next.ok().map(|next| next.predecessor).filter(|of| of.number == number);
            self.sealed_at = known.map(|known| known.end);
            if known.is_some_and(|of| of.end == self.end && of.tail_checksum == tail_checksum) {
                return Ok(());
            }
        }
        if self.rest_bytes > 0 {
            self.ending = Ending::Torn;
        }
        let place = Break {
            segment: number,
            offset: self.end,
            position: position(number, self.end),
            what: match self.header {
                Some(_) => "a group that was promised to be safe cannot be read",
                None => "the segment's header cannot be read",
            },
        };
        let start = (self.end as usize).max(SEGMENT_HEADER_BYTES);
        let mut broken = check_promises(content, number, start, &place, dir).err();
        for next in later {
            if broken.is_none() {
                let content = read(fs, dir, next)?;
                broken = check_promises(&content, next, SEGMENT_HEADER_BYTES, &place, dir).err();
            }
        }
        if let Some(error) = broken {
            self.ending = Ending::Damaged;
            self.damage.push(error);
        }
        Ok(())
    }
}

fn record_of<'a>(group: &GroupAt<'a>, offset: u64, is_behind: bool) -> Record<'a> {
    let upto = group.header.synced_upto;
    Record {
        offset,
        end: group.end as u64,
        first_seqno: group.header.first_seqno,
        ops: group.header.ops,
        synced_upto: (upto >> 32, upto & u64::from(u32::MAX)),
        mark: group.mark(),
        payload: group.payload,
        is_behind,
    }
}

#[cfg(test)]
mod tests;
