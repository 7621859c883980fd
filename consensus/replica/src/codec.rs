//! Numbers and bytes at the front of bytes: LEB128 numbers, and bytes behind their length. Decoding never panics and never trusts a
//! length.

use bytes::{Buf, BufMut, Bytes};

/// Appends a number.
pub fn put_number(into: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

/// Appends bytes behind their length.
pub fn put_bytes(into: &mut impl BufMut, bytes: &[u8]) {
    put_number(into, bytes.len() as u64);
    into.put_slice(bytes);
}

/// Takes a number off the front; `None` if there is none.
pub fn take_number(from: &mut Bytes) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            // One way to write each number, so that equal commands have equal bytes.
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}

/// Takes bytes behind their length off the front. They share the memory of `from`.
pub fn take_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(take_number(from)?).ok()?;
    (len <= from.len()).then(|| from.split_to(len))
}
