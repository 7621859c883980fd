//! Numbers and strings of bytes in packets. Numbers are LEB128, so that small ones are short.
//!
//! Reading never panics and never trusts a length: what a length promises must be there, and within its bound.

use crate::Refusal;
use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

/// The longest number.
pub(crate) const NUMBER_BYTES_MAX: usize = 10;

/// Takes things from the front of bytes.
pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| Refusal::Short)
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7F);
            if part << shift >> shift != part {
                return Err(Refusal::Malformed("number"));
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Refusal::Malformed("number"))
    }

    pub(crate) fn number_upto(&mut self, max: u64, what: &'static str) -> Result<u64> {
        let number = self.number()?;
        if number <= max { Ok(number) } else { Err(Refusal::Malformed(what)) }
    }

    pub(crate) fn is(&mut self, what: &'static str) -> Result<bool> {
        Ok(self.u8_upto(1, what)? == 1)
    }

    pub(crate) fn u8_upto(&mut self, max: u8, what: &'static str) -> Result<u8> {
        let byte = self.u8()?;
        if byte <= max { Ok(byte) } else { Err(Refusal::Malformed(what)) }
    }

    /// A string of at most `max` bytes.
    pub(crate) fn string(&mut self, max: usize, what: &'static str) -> Result<Bytes> {
        let length = self.number_upto(max as u64, what)? as usize;
        if length > self.bytes.len() {
            return Err(Refusal::Short);
        }
        // A copy: a slice would keep the whole packet in memory for as long as a member is remembered.
        Ok(Bytes::copy_from_slice(&self.bytes.split_to(length)))
    }
}

pub(crate) fn put_number(bytes: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        bytes.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.put_u8(number as u8);
}

pub(crate) fn put_string(bytes: &mut BytesMut, string: &[u8]) {
    put_number(bytes, string.len() as u64);
    bytes.put_slice(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_are_no_longer_than_they_may() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut bytes = BytesMut::new();
            put_number(&mut bytes, number);
            assert!(bytes.len() <= NUMBER_BYTES_MAX);
            let mut reader = Reader::new(bytes.freeze());
            assert_eq!(reader.number(), Ok(number));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0xFF; 11]));
        assert_eq!(reader.number(), Err(Refusal::Malformed("number")));
    }

    #[test]
    fn a_string_is_never_longer_than_what_is_there() {
        let mut reader = Reader::new(Bytes::from_static(&[5, 1, 2]));
        assert_eq!(reader.string(64, "string"), Err(Refusal::Short));
        let mut reader = Reader::new(Bytes::from_static(&[5, 1, 2, 3, 4, 5]));
        assert_eq!(reader.string(4, "string"), Err(Refusal::Malformed("string")));
    }
}
