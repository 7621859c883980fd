//! Keys: from a key number to the bytes an engine sees.

use crate::fnv64;
use crate::spec::{KeyFormat, KeyOrder, Keys};

/// The number of a key: loaded keys have `0..records`, inserted ones follow.
pub type KeyNumber = u64;

/// No key made here is longer: a prefix of at most 64 bytes and at most 64 digits.
pub const KEY_BYTES_MAX: usize = 128;

/// Writes keys.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    order: KeyOrder,
    format: KeyFormat,
}

impl KeyCodec {
    /// A writer of the keys that `keys` describes.
    pub fn new(keys: &Keys) -> Self {
        Self { order: keys.order, format: keys.format.clone() }
    }

    /// Replaces what `buffer` holds by the key of `number`. Allocates only while the buffer is
    /// smaller than the key.
    pub fn write(&self, number: KeyNumber, buffer: &mut Vec<u8>) {
        buffer.clear();
        let placed = match self.order {
            KeyOrder::Hashed => fnv64(number),
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

/// Appends `number` with at least `width` digits, zeros in front. Two digits for each division: this is done for
/// every operation.
fn write_decimal(mut number: u64, width: usize, buffer: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number >= 10 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    // What is left is one digit, or nothing after the last pair; a zero alone is a digit too.
    if number > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + number as u8;
    } else if digits[at] == b'0' {
        at += 1;
    }
    for _ in digits.len() - at..width {
        buffer.push(b'0');
    }
    buffer.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(order: KeyOrder, format: KeyFormat, number: u64) -> Vec<u8> {
        let keys = Keys { records: 1, max_new: 0, order, format };
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
