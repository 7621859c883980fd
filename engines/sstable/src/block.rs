//! A data block in memory.
//!
//! Its checksum has vouched for it, so that what it holds is what some writer meant. No look trusts it further: an entry that
//! cannot be read is damage, found when it is looked at. Whoever passes on all entries checks all of them at once
//! ([`Block::decode`]); a look-up, which needs a handful of them, does not ([`Block::open`]).
//!
//! A look-up strips the prefix all keys share, then searches the offset array by halves; there are no restart
//! points, so every entry can be probed.

use crate::block_builder::{TAG_EXPIRES, WIDE};
use crate::format::{RawBlock, take, take_varint, u32_at};
use bytes::Bytes;
use nori_kv::{EntryRef, Kind, SeqNo, Tick};
use std::cmp::Ordering;
use std::ops::Range;

/// A data block.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Bytes,
    /// `2 <= prefix_end <= offsets_at`.
    prefix_end: usize,
    /// Where the offset array begins.
    offsets_at: usize,
    /// `entries >= 1`.
    entries: usize,
    is_wide: bool,
}

/// What is wrong with a block.
pub(crate) type Damage = &'static str;

/// An entry without its prefix, lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suffixed<'a> {
    pub(crate) suffix: &'a [u8],
    pub(crate) seqno: SeqNo,
    pub(crate) kind: Kind,
    pub(crate) expires: Option<Tick>,
    pub(crate) value: &'a [u8],
}

impl<'a> Suffixed<'a> {
    /// The entry, given its whole key.
    pub(crate) fn with_key<'b>(self, key: &'b [u8]) -> EntryRef<'b>
    where
        'a: 'b,
    {
        let Self { seqno, kind, expires, value, .. } = self;
        EntryRef { key, seqno, kind, expires, value }
    }
}

impl Block {
    /// Checks that every entry can be read, that keys ascend, and that nothing is left over.
    pub(crate) fn decode(raw: impl Into<RawBlock>) -> Result<Self, Damage> {
        let block = Self::open(raw)?;
        block.check_entries()?;
        Ok(block)
    }

    /// Checks that prefix and offset array lie inside, and no entry.
    pub(crate) fn open(raw: impl Into<RawBlock>) -> Result<Self, Damage> {
        let bytes = raw.into();
        let count_at = bytes.len().checked_sub(4).ok_or("shorter than its entry count")?;
        let count = u32_at(&bytes, count_at);
        let is_wide = count & WIDE != 0;
        let entries = (count & !WIDE) as usize;
        let offset_bytes = if is_wide { 4 } else { 2 };
        let offsets_at = entries
            .checked_mul(offset_bytes)
            .and_then(|bytes| count_at.checked_sub(bytes))
            .ok_or("more entries than bytes")?;
        let prefix_bytes = bytes.first_chunk().map(|len| usize::from(u16::from_le_bytes(*len)));
        let prefix_end = prefix_bytes.map(|len| 2 + len).filter(|end| *end <= offsets_at);
        let prefix_end = prefix_end.ok_or("the prefix is longer than the block")?;
        if entries == 0 {
            return Err("no entries");
        }
        let bytes = bytes.bytes;
        Ok(Self { bytes, prefix_end, offsets_at, entries, is_wide })
    }

    fn check_entries(&self) -> Result<(), Damage> {
        let mut rest = &self.bytes[self.prefix_end..self.offsets_at];
        let mut last: Option<(&[u8], SeqNo)> = None;
        for n in 0..self.entries {
            if self.offset(n) != self.offsets_at - rest.len() {
                return Err("an offset does not point at its entry");
            }
            let entry = take_entry(&mut rest).ok_or("an entry cannot be read")?;
            let ascends = last.is_none_or(|(suffix, seqno)| {
                let order = compare(suffix, entry.suffix).then_with(|| entry.seqno.cmp(&seqno));
                order == Ordering::Less
            });
            if !ascends {
                return Err("entries are out of order");
            }
            last = Some((entry.suffix, entry.seqno));
        }
        if rest.is_empty() { Ok(()) } else { Err("bytes are left behind the last entry") }
    }

    /// The number of entries, at least one.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// What all its keys begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.bytes[2..self.prefix_end]
    }

    /// The entry numbered `n < len()`.
    #[inline]
    pub(crate) fn entry(&self, n: usize) -> Result<Suffixed<'_>, Damage> {
        let mut rest = self.bytes.get(self.offset(n)..self.offsets_at).unwrap_or_default();
        take_entry(&mut rest).ok_or("an entry cannot be read")
    }

    /// Where `value`, which an entry of this block lent, lies in it.
    #[inline]
    pub(crate) fn place_of(&self, value: &[u8]) -> Range<usize> {
        let start = value.as_ptr() as usize - self.bytes.as_ptr() as usize;
        start..start + value.len()
    }

    /// The bytes at a place that [`Self::place_of`] told.
    #[inline]
    pub(crate) fn at(&self, place: &Range<usize>) -> &[u8] {
        &self.bytes[place.clone()]
    }

    /// The number of entries before `(key, seqno)` in internal order: the index of the first at or after it.
    #[inline]
    pub(crate) fn lower_bound(&self, key: &[u8], seqno: SeqNo) -> Result<usize, Damage> {
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Ok(if key < prefix { 0 } else { self.entries });
        };
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            let order = compare(entry.suffix, suffix).then_with(|| seqno.cmp(&entry.seqno));
            if order == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    #[inline]
    fn offset(&self, n: usize) -> usize {
        debug_assert!(n < self.entries);
        if self.is_wide {
            u32_at(&self.bytes, self.offsets_at + 4 * n) as usize
        } else {
            let at = self.offsets_at + 2 * n;
            let word = self.bytes[at..].first_chunk().expect("the array was measured at decoding");
            usize::from(u16::from_le_bytes(*word))
        }
    }
}

/// The order of two suffixes. Most differ in their first eight bytes, which are one comparison of numbers; a call to compare
/// them would cost more than all else that a step of the search does.
#[inline]
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if let (Some((a_head, a_tail)), Some((b_head, b_tail))) =
        (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
    {
        let heads = u64::from_be_bytes(*a_head).cmp(&u64::from_be_bytes(*b_head));
        return heads.then_with(|| a_tail.cmp(b_tail));
    }
    a.cmp(b)
}

#[inline]
fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<Suffixed<'a>> {
    let suffix_bytes = take_varint(rest)?;
    let value_bytes = take_varint(rest)?;
    let tag = take_varint(rest)?;
    let expires = if tag & TAG_EXPIRES == 0 {
        None
    } else {
        let tick = take(rest, 8)?.first_chunk()?;
        Some(Tick(u64::from_le_bytes(*tick)))
    };
    let kind = Kind::from_byte((tag & 3) as u8)?;
    let seqno = SeqNo::new(tag >> 3)?;
    let suffix = take(rest, suffix_bytes)?;
    let value = take(rest, value_bytes)?;
    Some(Suffixed { suffix, seqno, kind, expires, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_builder::BlockBuilder;
    use proptest::prelude::*;

    fn build(entries: &[(Vec<u8>, u64, Vec<u8>)]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for (n, (key, seqno, value)) in entries.iter().enumerate() {
            let expires = (n % 3 == 0).then_some(Tick(n as u64));
            let seqno = SeqNo::new(*seqno).unwrap();
            builder.add(&EntryRef { key, seqno, kind: Kind::Put, expires, value });
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        bytes
    }

    fn sorted() -> impl Strategy<Value = Vec<(Vec<u8>, u64, Vec<u8>)>> {
        let key = prop::collection::vec(b'a'..b'd', 0..6);
        let value = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::btree_map((key, 0u64..20), value, 1..60).prop_map(|map| {
            let mut entries: Vec<_> = map.into_iter().map(|((k, s), v)| (k, s, v)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            entries
        })
    }

    /// Whatever the bytes are, looking at them ends, well or with an error.
    fn look_everywhere(bytes: Vec<u8>) {
        if let Ok(block) = Block::open(bytes) {
            for n in 0..block.len().min(100) {
                let _any_answer_will_do = block.entry(n);
            }
            for key in [&b""[..], b"a", b"abc", &[0xff; 9]] {
                let _any_answer_will_do = block.lower_bound(key, SeqNo::MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn suffixes_compare_as_bytes_do(
            a in prop::collection::vec(0u8..3, 0..20),
            b in prop::collection::vec(0u8..3, 0..20),
            shared in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            prop_assert_eq!(compare(&a, &b), a.cmp(&b));
            let (a, b) = ([&shared[..], &a].concat(), [&shared[..], &b].concat());
            prop_assert_eq!(compare(&a, &b), a.cmp(&b));
        }

        #[test]
        fn entries_come_back_and_searching_agrees_with_counting(
            entries in sorted(),
            key in prop::collection::vec(b'a'..b'e', 0..6),
            seqno in 0u64..21,
        ) {
            let block = Block::decode(build(&entries)).unwrap();
            prop_assert_eq!(block.len(), entries.len());
            for (n, (key, seqno, value)) in entries.iter().enumerate() {
                let entry = block.entry(n).unwrap();
                let whole = [block.prefix(), entry.suffix].concat();
                prop_assert_eq!((&whole, entry.seqno.value(), entry.value), (key, *seqno, &value[..]));
                prop_assert_eq!(entry.expires, (n % 3 == 0).then_some(Tick(n as u64)));
            }
            let before = entries.iter().filter(|(k, s, _)| (k, u64::MAX - s) < (&key, u64::MAX - seqno)).count();
            prop_assert_eq!(block.lower_bound(&key, SeqNo::new(seqno).unwrap()), Ok(before));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(block) = Block::decode(bytes.clone()) {
                prop_assert!(block.len() >= 1);
            }
            look_everywhere(bytes);
        }

        #[test]
        fn a_changed_byte_is_refused_or_still_readable(entries in sorted(), at in any::<prop::sample::Index>(), mask in 1u8..) {
            let mut bytes = build(&entries);
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            if let Ok(block) = Block::decode(bytes.clone()) {
                (0..block.len()).for_each(|n| { block.entry(n).unwrap(); });
            }
            look_everywhere(bytes);
        }
    }

    #[test]
    fn a_block_past_64_kib_has_wide_offsets() {
        let entries: Vec<_> = (0..3u8).map(|n| (vec![n], 1, vec![n; 40_000])).collect();
        let block = Block::decode(build(&entries)).unwrap();
        assert!(block.is_wide);
        assert_eq!(block.entry(2).unwrap().value, [2; 40_000]);
    }
}
