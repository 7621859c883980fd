//! Values that can be checked by whoever reads them.
//!
//! A value of 24 bytes or more is: the key number (8 bytes, least significant first), the version
//! (8 bytes), then bytes that follow from both. So a reader needs no record of what was written to tell
//! a right value from one that is torn, mixed up or another key's. Shorter values follow from the key
//! number alone. The bytes look random: they do not compress.

use crate::KeyNumber;
use crate::hash::mix64;
use crate::spec::{RecordModel, SizeKind, Sizes, Values};
use std::ops::RangeInclusive;

/// Bytes of key number and version in front of a value that is large enough for them.
const HEADER_BYTES: usize = 16;
/// A value with fewer bytes has no header: at least 8 bytes that follow from it must come after it, or
/// nothing would tell that the header is wrong.
const HEADED_BYTES_MIN: usize = 24;
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What is wrong with a value that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Not a length that this key and version have.
    #[error("it has {got} bytes, not {expected}")]
    Length {
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        got: usize,
    },
    /// It belongs to another key.
    #[error("it belongs to key number {0}")]
    OtherKey(KeyNumber),
    /// Its bytes are not those of its key and version.
    #[error("byte {0} is wrong")]
    Bytes(usize),
}

/// Writes and checks values.
#[derive(Clone, Debug)]
pub struct ValueCodec {
    sizes: RangeInclusive<u64>,
}

impl ValueCodec {
    /// A writer of the values that `values` describes.
    pub fn new(values: &Values) -> Self {
        let RecordModel::Blob = values.record;
        let Sizes { dist, bytes, min, max } = values.size;
        Self {
            sizes: match dist {
                SizeKind::Constant => bytes.unwrap_or(0)..=bytes.unwrap_or(0),
                SizeKind::Uniform => min.unwrap_or(0)..=max.unwrap_or(0),
            },
        }
    }

    /// Bytes of the value of this key and version.
    pub fn value_bytes(&self, number: KeyNumber, version: u64) -> usize {
        let (min, max) = (*self.sizes.start(), *self.sizes.end());
        let spread = max - min + 1;
        let at = if spread == 1 { 0 } else { mix64(number ^ mix64(!version)) % spread };
        (min + at) as usize
    }

    /// Replaces what `buffer` holds by the value of this key and version. Allocates only while the
    /// buffer is smaller than the value.
    pub fn write(&self, number: KeyNumber, version: u64, buffer: &mut Vec<u8>) {
        let len = self.value_bytes(number, version);
        // Every byte is written below; a buffer of this length need not be touched before.
        buffer.resize(len, 0);
        let version = if len < HEADED_BYTES_MIN { 0 } else { version };
        let mut body = buffer.as_mut_slice();
        if len >= HEADED_BYTES_MIN {
            let (header, rest) = body.split_at_mut(HEADER_BYTES);
            header[..8].copy_from_slice(&number.to_le_bytes());
            header[8..].copy_from_slice(&version.to_le_bytes());
            body = rest;
        }
        let mut words = Words::new(number, version);
        let mut chunks = body.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&words.next_word().to_le_bytes());
        }
        let rest = chunks.into_remainder();
        rest.copy_from_slice(&words.next_word().to_le_bytes()[..rest.len()]);
    }

    /// Checks that `value` is one that this key could have, whatever its version.
    pub fn check(&self, number: KeyNumber, value: &[u8]) -> Result<(), ValueFault> {
        let (mut at, mut version) = (0, 0);
        if let Some((owner, its_version)) = header(value) {
            if owner != number {
                return Err(ValueFault::OtherKey(owner));
            }
            (at, version) = (HEADER_BYTES, its_version);
        }
        let length = value.len() as u64;
        let expected = self.value_bytes(number, version);
        // The length of a value without a header says nothing of its version; it must be possible.
        let possible = if at == 0 { self.sizes.contains(&length) } else { value.len() == expected };
        if !possible {
            return Err(ValueFault::Length { expected, got: value.len() });
        }
        let mut words = Words::new(number, version);
        for chunk in value[at..].chunks(8) {
            let word = words.next_word().to_le_bytes();
            if let Some(wrong) = chunk.iter().zip(word).position(|(got, want)| *got != want) {
                return Err(ValueFault::Bytes(at + wrong));
            }
            at += chunk.len();
        }
        Ok(())
    }

    /// The key number that a value of 24 bytes or more says it belongs to. Lets a scan, which knows
    /// keys and not numbers, be checked too.
    pub fn claimed_number(value: &[u8]) -> Option<KeyNumber> {
        header(value).map(|(number, _)| number)
    }
}

/// Key number and version in front of a value, if it is long enough to have them.
fn header(value: &[u8]) -> Option<(KeyNumber, u64)> {
    if value.len() < HEADED_BYTES_MIN {
        return None;
    }
    let (number, rest) = value.split_first_chunk::<8>()?;
    let version = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), u64::from_le_bytes(*version)))
}

/// The bytes after the header, eight at a time.
struct Words(u64);

impl Words {
    fn new(number: KeyNumber, version: u64) -> Self {
        Self(mix64(number ^ mix64(version.wrapping_add(GOLDEN_GAMMA))))
    }

    fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(size: Sizes) -> ValueCodec {
        ValueCodec::new(&Values { record: RecordModel::Blob, size, check_every: 0 })
    }

    fn constant(bytes: u64) -> ValueCodec {
        codec(Sizes { dist: SizeKind::Constant, bytes: Some(bytes), min: None, max: None })
    }

    #[test]
    fn what_is_written_passes_the_check_at_every_size() {
        for bytes in 0..200 {
            let codec = constant(bytes);
            let mut value = Vec::new();
            codec.write(5, 77, &mut value);
            assert_eq!(value.len() as u64, bytes);
            assert_eq!(codec.check(5, &value), Ok(()), "{bytes} bytes");
        }
    }

    #[test]
    fn any_flipped_byte_is_found() {
        for bytes in [1, 8, 15, 16, 23, 24, 25, 100] {
            let codec = constant(bytes);
            let mut value = Vec::new();
            codec.write(5, 77, &mut value);
            for at in 0..value.len() {
                value[at] ^= 1;
                assert!(codec.check(5, &value).is_err(), "byte {at} of {bytes}");
                value[at] ^= 1;
            }
        }
    }

    #[test]
    fn the_value_of_another_key_is_found_and_named() {
        let codec = constant(100);
        let mut value = Vec::new();
        codec.write(5, 77, &mut value);
        assert_eq!(codec.check(6, &value), Err(ValueFault::OtherKey(5)));
        assert_eq!(ValueCodec::claimed_number(&value), Some(5));
        value.pop();
        assert_eq!(codec.check(5, &value), Err(ValueFault::Length { expected: 100, got: 99 }));
    }

    #[test]
    fn uniform_sizes_reach_both_ends_and_pass_the_check() {
        let codec =
            codec(Sizes { dist: SizeKind::Uniform, bytes: None, min: Some(10), max: Some(30) });
        let mut seen = std::collections::BTreeSet::new();
        let mut value = Vec::new();
        for number in 0..1_000 {
            codec.write(number, number * 3, &mut value);
            assert_eq!(codec.check(number, &value), Ok(()));
            seen.insert(value.len());
        }
        assert_eq!(seen, (10..=30).collect());
    }

    #[test]
    fn versions_differ() {
        let codec = constant(64);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        codec.write(1, 1, &mut a);
        codec.write(1, 2, &mut b);
        assert_ne!(a[16..], b[16..]);
    }
}
