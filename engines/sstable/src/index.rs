//! The index of a table: for each data block a **fence**, a key at or above all its keys and at or below
//! the keys of the next, and its length. Data blocks lie end to end from the file's first byte.
//!
//! ```text
//! index = prefix length u16, prefix, blocks u32, (suffix length varint, suffix, block length varint)*
//! ```
//!
//! In memory the first eight bytes behind the common prefix stand in an array of numbers, so that most of a search
//! compares words that lie side by side; whole fences are compared only where those words agree.

use crate::format::{Handle, put_varint, shared_prefix, take, take_varint};

/// Collects fences in ascending order.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    fences: Vec<Vec<u8>>,
    lengths: Vec<u32>,
}

impl IndexBuilder {
    pub(crate) fn add(&mut self, fence: Vec<u8>, block_bytes: u32) {
        debug_assert!(self.fences.last().is_none_or(|last| *last <= fence));
        self.fences.push(fence);
        self.lengths.push(block_bytes);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let first = self.fences.first().map_or(&[][..], Vec::as_slice);
        let last = self.fences.last().map_or(&[][..], Vec::as_slice);
        let prefix = &first[..shared_prefix(first, last)];
        let mut out = (prefix.len() as u16).to_le_bytes().to_vec();
        out.extend_from_slice(prefix);
        out.extend_from_slice(&(self.fences.len() as u32).to_le_bytes());
        for (fence, length) in self.fences.iter().zip(&self.lengths) {
            let suffix = &fence[prefix.len()..];
            put_varint(&mut out, suffix.len() as u64);
            out.extend_from_slice(suffix);
            put_varint(&mut out, u64::from(*length));
        }
        out
    }
}

/// A short key `s` with `last <= s < next`, or `last` itself.
pub(crate) fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let shared = shared_prefix(last, next);
    match (last.get(shared), next.get(shared)) {
        (Some(a), Some(b)) if a + 1 < *b => {
            let mut short = last[..=shared].to_vec();
            short[shared] += 1;
            short
        }
        _ => last.to_vec(),
    }
}

/// An index in memory.
#[derive(Debug)]
pub(crate) struct Index {
    prefix: Vec<u8>,
    /// `heads[i]`: the first eight bytes of suffix `i`, big-endian, padded with zeros. Ascending.
    heads: Vec<u64>,
    suffixes: Vec<u8>,
    /// Suffix `i` is `suffixes[ends[i - 1] .. ends[i]]`.
    ends: Vec<u32>,
    /// Block `i` is `offsets[i] .. offsets[i + 1]`; `offsets.len() == len() + 1`.
    offsets: Vec<u64>,
}

impl Index {
    /// An index over data blocks that end at `data_end` exactly. Never panics.
    pub(crate) fn decode(bytes: &[u8], data_end: u64) -> Result<Self, &'static str> {
        Self::read(bytes, data_end).ok_or("the index cannot be read")
    }

    fn read(bytes: &[u8], data_end: u64) -> Option<Self> {
        let mut rest = bytes;
        let prefix_len = u16::from_le_bytes(*take(&mut rest, 2)?.first_chunk()?);
        let prefix = take(&mut rest, prefix_len.into())?.to_vec();
        let blocks = u32::from_le_bytes(*take(&mut rest, 4)?.first_chunk()?) as usize;
        // A block takes at least two bytes here: a length cannot make us allocate more than the input.
        if blocks > rest.len() / 2 {
            return None;
        }
        let mut index = Self {
            prefix,
            heads: Vec::with_capacity(blocks),
            suffixes: Vec::new(),
            ends: Vec::with_capacity(blocks),
            offsets: Vec::with_capacity(blocks + 1),
        };
        index.offsets.push(0);
        let (mut last, mut end) = (&[][..], 0u64);
        for _ in 0..blocks {
            let len = take_varint(&mut rest)?;
            let suffix = take(&mut rest, len)?;
            let block_bytes = u32::try_from(take_varint(&mut rest)?).ok()?;
            if suffix < last {
                return None;
            }
            last = suffix;
            end += u64::from(block_bytes);
            index.heads.push(head(suffix));
            index.suffixes.extend_from_slice(suffix);
            index.ends.push(u32::try_from(index.suffixes.len()).ok()?);
            index.offsets.push(end);
        }
        (rest.is_empty() && end == data_end).then_some(index)
    }

    /// The number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.prefix.capacity()
            + self.suffixes.capacity()
            + 8 * self.heads.capacity()
            + 4 * self.ends.capacity()
            + 8 * self.offsets.capacity()
    }

    /// Where block `n < len()` is.
    pub(crate) fn handle(&self, n: usize) -> Handle {
        let offset = self.offsets[n];
        Handle { offset, bytes: (self.offsets[n + 1] - offset) as u32 }
    }

    /// The first block whose fence is at or above `key`: the first that can hold it. `len()` if there is none.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> usize {
        let Some(suffix) = key.strip_prefix(&self.prefix[..]) else {
            return if key < &self.prefix[..] { 0 } else { self.len() };
        };
        let word = head(suffix);
        let at = self.heads.partition_point(|head| *head < word);
        if self.heads.get(at) == Some(&word) { self.find_whole(at, word, suffix) } else { at }
    }

    /// The same among the fences from `at` on whose head is `word`: many, where one odd key made the common prefix short.
    fn find_whole(&self, at: usize, word: u64, suffix: &[u8]) -> usize {
        let (mut low, mut high) = (at, at + self.heads[at..].partition_point(|head| *head == word));
        while low < high {
            let middle = low.midpoint(high);
            if self.suffix(middle) < suffix { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn suffix(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] as usize };
        &self.suffixes[start..self.ends[n] as usize]
    }
}

/// Ordered like the bytes, but for keys that differ only behind the eighth or by trailing zeros: those agree.
#[inline]
fn head(suffix: &[u8]) -> u64 {
    if let Some(chunk) = suffix.first_chunk() {
        return u64::from_be_bytes(*chunk);
    }
    let mut bytes = [0; 8];
    bytes[..suffix.len()].copy_from_slice(suffix);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn find_agrees_with_counting(
            fences in prop::collection::btree_set(prop::collection::vec(0u8..3, 0..12), 1..40),
            key in prop::collection::vec(0u8..4, 0..12),
        ) {
            let mut builder = IndexBuilder::default();
            fences.iter().for_each(|fence| builder.add(fence.clone(), 10));
            let index = Index::decode(&builder.encode(), 10 * fences.len() as u64).unwrap();
            prop_assert_eq!(index.find(&key), fences.iter().filter(|fence| **fence < key).count());
            prop_assert_eq!(index.handle(fences.len() - 1).bytes, 10);
        }

        #[test]
        fn find_agrees_with_counting_where_all_heads_are_the_same(
            fences in prop::collection::btree_set(prop::collection::vec(0u8..3, 0..6), 1..60),
            key in prop::collection::vec(0u8..4, 0..6),
        ) {
            // An outlier on each side, so that nothing but zeros is common and a head says nothing.
            let long = |end: &[u8]| [b"tenant-0/user/", end].concat();
            let mut builder = IndexBuilder::default();
            builder.add(b"a".to_vec(), 10);
            fences.iter().for_each(|fence| builder.add(long(fence), 10));
            builder.add(b"z".to_vec(), 10);
            let index = Index::decode(&builder.encode(), 10 * (fences.len() as u64 + 2)).unwrap();
            let below = fences.iter().filter(|fence| **fence < key).count();
            prop_assert_eq!(index.find(&long(&key)), 1 + below);
        }

        #[test]
        fn a_separator_separates(a in prop::collection::vec(any::<u8>(), 0..6), b in prop::collection::vec(any::<u8>(), 0..6)) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            let between = separator(&low, &high);
            prop_assert!(low <= between && (between < high || low == high));
            prop_assert!(between.len() <= low.len());
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Index::decode(&bytes, 40);
        }
    }
}
