//! Sequence numbers, logical time, and ranges of user keys.

use std::fmt;

/// The place of a write in the order of all writes of one store.
///
/// Invariant: `SeqNo::ZERO <= s <= SeqNo::MAX`, and `MAX < 2^56`, so that a sequence number and a kind fit
/// into one 64-bit word. Zero is before the first write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before the first write.
    pub const ZERO: Self = Self(0);
    /// After the last write there can be: two thousand years of a million writes a second.
    pub const MAX: Self = Self((1 << 56) - 1);

    /// The sequence number `value`; `None` above [`SeqNo::MAX`].
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number itself.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The number `n` further. Panics past [`SeqNo::MAX`]: a store that old has to be rewritten first.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        assert!(n <= Self::MAX.0 - self.0, "sequence numbers are used up");
        Self(self.0 + n)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point of logical time. Who owns the store says what it counts; under replication it is log time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// The user keys `k` with `start <= k` and, if there is an end, `k < end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key inside, if it exists.
    pub start: Vec<u8>,
    /// The first key outside; `None`: there is no upper bound.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// `start` and every key after it.
    pub fn from(start: &[u8]) -> Self {
        Self { start: start.to_vec(), end: None }
    }

    /// `start` and every key after it that is before `end`.
    pub fn between(start: &[u8], end: &[u8]) -> Self {
        Self { start: start.to_vec(), end: Some(end.to_vec()) }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
        let end = kept.map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        });
        Self { start: prefix.to_vec(), end }
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.is_below_end(key)
    }

    /// Whether `key` is before the end, wherever it is from the start.
    pub fn is_below_end(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_deref().is_some_and(|end| end <= self.start.as_slice())
    }

    /// Whether some key of the closed interval `key_min ..= key_max` lies inside.
    pub fn overlaps(&self, key_min: &[u8], key_max: &[u8]) -> bool {
        self.start.as_slice() <= key_max && self.is_below_end(key_min) && !self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_prefix() {
        assert_eq!(KeyRange::prefix(b"ab"), KeyRange::between(b"ab", b"ac"));
        assert_eq!(KeyRange::prefix(b"a\xff"), KeyRange::between(b"a\xff", b"b"));
        assert_eq!(KeyRange::prefix(b"\xff\xff"), KeyRange::from(b"\xff\xff"));
        assert_eq!(KeyRange::prefix(b""), KeyRange::all());
    }

    #[test]
    fn the_end_is_outside() {
        let range = KeyRange::between(b"b", b"d");
        assert!(range.contains(b"b") && range.contains(b"c\xff"));
        assert!(!range.contains(b"d") && !range.contains(b"a\xff"));
        assert!(range.overlaps(b"a", b"b") && !range.overlaps(b"d", b"e"));
        assert!(KeyRange::between(b"b", b"b").is_empty() && !range.is_empty());
    }

    #[test]
    fn sequence_numbers_fit_56_bits() {
        assert_eq!(SeqNo::new(1 << 56), None);
        assert_eq!(SeqNo::ZERO.plus(SeqNo::MAX.value()), SeqNo::MAX);
    }
}
