//! Keys: from a key number to the bytes an engine sees.

use crate::spec::{KeyFormat, KeyHash, KeyOrder, Keys};

/// The number of a key: loaded keys have `0..records`, inserted ones follow.
pub type KeyNumber = u64;

/// No key made here is longer: a prefix of at most 64 bytes and at most 64 digits.
pub const KEY_BYTES_MAX: usize = 128;

/// Writes keys.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    order: KeyOrder,
    hash: KeyHash,
    format: KeyFormat,
}

impl KeyCodec {
    /// A writer of the keys that `keys` describes.
    pub fn new(keys: &Keys) -> Self {
        Self { order: keys.order, hash: keys.hash, format: keys.format.clone() }
    }

    /// Replaces what `buffer` holds by the key of `number`. Allocates only while the buffer is
    /// smaller than the key.
    #[inline]
    pub fn write(&self, number: KeyNumber, buffer: &mut Vec<u8>) {
        buffer.clear();
        let placed = match self.order {
            KeyOrder::Hashed => self.hash.of(number),
            KeyOrder::Ordered => number,
        };
        match &self.format {
            KeyFormat::Ycsb { prefix, zero_pad } => {
                buffer.extend_from_slice(prefix.as_bytes());
                write_decimal(placed, *zero_pad as usize, buffer);
            }
            KeyFormat::Be64 {} => buffer.extend_from_slice(&placed.to_be_bytes()),
        }
    }
}

/// "00", "01", ... "99", one after the other.
const PAIRS: [u8; 200] = {
    let mut pairs = [b'0'; 200];
    let mut i = 0;
    while i < 100 {
        pairs[2 * i] += (i / 10) as u8;
        pairs[2 * i + 1] += (i % 10) as u8;
        i += 1;
    }
    pairs
};

/// Appends `number` with at least `width` digits, zeros in front. This is done for every operation, so all twenty
/// digits are made, in groups that do not wait for one another, and the zeros in front are left out.
fn write_decimal(number: u64, width: usize, buffer: &mut Vec<u8>) {
    const EIGHT: u64 = 100_000_000;
    let mut digits = [0; 20];
    let upper = number / EIGHT;
    // The largest number has 4 + 8 + 8 digits.
    write_four((upper / EIGHT) as u32, &mut digits[..4]);
    for (group, at) in [(upper % EIGHT, 4), (number % EIGHT, 12)] {
        let group = group as u32;
        write_four(group / 10_000, &mut digits[at..at + 4]);
        write_four(group % 10_000, &mut digits[at + 4..at + 8]);
    }
    let count = 1 + number.checked_ilog10().unwrap_or(0) as usize;
    if count < width {
        buffer.resize(buffer.len() + width - count, b'0');
    }
    buffer.extend_from_slice(&digits[digits.len() - count..]);
}

/// Writes a number below 10,000 as four digits.
fn write_four(number: u32, digits: &mut [u8]) {
    for (pair, digits) in [number / 100, number % 100].into_iter().zip(digits.chunks_exact_mut(2)) {
        let at = pair as usize * 2;
        digits.copy_from_slice(&PAIRS[at..at + 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fnv64;

    fn key(order: KeyOrder, format: KeyFormat, number: u64) -> Vec<u8> {
        let keys = Keys { records: 1, max_new: 0, order, format, hash: KeyHash::Ycsb };
        let mut buffer = vec![1, 2, 3];
        KeyCodec::new(&keys).write(number, &mut buffer);
        buffer
    }

    fn ycsb(zero_pad: u32) -> KeyFormat {
        KeyFormat::Ycsb { prefix: "user".into(), zero_pad }
    }

    #[test]
    fn keys_are_those_of_ycsb() {
        assert_eq!(key(KeyOrder::Hashed, ycsb(1), 0), b"user6284781860667377211");
        assert_eq!(key(KeyOrder::Ordered, ycsb(1), 0), b"user0");
        assert_eq!(key(KeyOrder::Ordered, ycsb(8), 1_234), b"user00001234");
        assert_eq!(key(KeyOrder::Ordered, ycsb(2), 1_234), b"user1234");
        assert_eq!(key(KeyOrder::Ordered, ycsb(1), u64::MAX), b"user18446744073709551615");
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(5)]);
        for number in near.chain(0..1_200).chain((0..1_000).map(fnv64)) {
            let mut buffer = Vec::new();
            write_decimal(number, 1, &mut buffer);
            assert_eq!(String::from_utf8(buffer).unwrap(), number.to_string());
        }
    }

    #[test]
    fn big_endian_keys_sort_as_their_numbers() {
        assert_eq!(key(KeyOrder::Ordered, KeyFormat::Be64 {}, 258), [0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn no_key_is_longer_than_the_stated_maximum() {
        let format = KeyFormat::Ycsb { prefix: "p".repeat(64), zero_pad: 64 };
        assert_eq!(key(KeyOrder::Hashed, format, u64::MAX).len(), KEY_BYTES_MAX);
    }
}
