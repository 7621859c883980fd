//! A write batch: operations that become visible together and survive together.
//!
//! A batch is kept **as it goes into the log**, one byte string, so that writing it is one copy. The operations
//! stand one after the other, each
//!
//! ```text
//! kind  u8      0 delete, 1 put, 2 delete range; bit 7: an expiry follows (puts only)
//! expires u64   little-endian tick, only with bit 7
//! key   varint length, bytes
//! value varint length, bytes      (absent for a delete; the end of the range for a delete range)
//! ```
//!
//! Varints are LEB128 of at most 32 bits. The `i`-th operation, counted from 0, gets the sequence number
//! `first + i`.

use crate::{Kind, Tick};

/// The longest key an engine of this house takes, in bytes.
const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// The longest value an engine of this house takes, in bytes.
const VALUE_BYTES_MAX: usize = 256 << 20;
/// The bit of the kind byte that announces an expiry.
const EXPIRES: u8 = 0x80;

/// Operations that become visible together. Keeps its memory when cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// Well-formed operations; `ops` of them.
    encoded: Vec<u8>,
    ops: u32,
    payload_bytes: u64,
    has_range_deletes: bool,
    has_expiries: bool,
}

/// One operation of a batch, lent.
pub type Op<'a> = (OpKind, &'a [u8], &'a [u8]);

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpKind {
    /// Its kind.
    pub kind: Kind,
    /// When a put expires.
    pub expires: Option<Tick>,
}

/// Bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no operation can be read at byte {offset} of the batch")]
pub struct BatchDecodeError {
    /// Where the operation begins that cannot be read.
    pub offset: usize,
}

impl WriteBatch {
    /// The longest key, in bytes.
    pub const KEY_BYTES_MAX: usize = KEY_BYTES_MAX;
    /// The longest value, in bytes.
    pub const VALUE_BYTES_MAX: usize = VALUE_BYTES_MAX;

    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`Self::KEY_BYTES_MAX`] or the value than [`Self::VALUE_BYTES_MAX`]; callers
    /// that pass on what strangers sent check first.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.push(Kind::Put, None, key, value)
    }

    /// Sets `key` to `value` until `expires`: a reader at that tick or later does not see it.
    ///
    /// # Panics
    ///
    /// As [`Self::put`].
    pub fn put_until(&mut self, key: &[u8], value: &[u8], expires: Tick) -> &mut Self {
        self.push(Kind::Put, Some(expires), key, value)
    }

    /// Removes `key`.
    ///
    /// # Panics
    ///
    /// As [`Self::put`].
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.push(Kind::Delete, None, key, &[])
    }

    /// Removes every key `k` with `start <= k < end`.
    ///
    /// # Panics
    ///
    /// As [`Self::put`], for both keys.
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) -> &mut Self {
        assert!(end.len() <= KEY_BYTES_MAX, "a key of {} bytes is too long", end.len());
        self.push(Kind::DeleteRange, None, start, end)
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.ops = 0;
        self.payload_bytes = 0;
        self.has_range_deletes = false;
        self.has_expiries = false;
    }

    /// Becomes equal to `other`, in its own memory as far as that goes.
    pub fn copy_from(&mut self, other: &Self) {
        let Self { encoded, ops, payload_bytes, has_range_deletes, has_expiries } = other;
        self.encoded.clear();
        self.encoded.extend_from_slice(encoded);
        (self.ops, self.payload_bytes) = (*ops, *payload_bytes);
        (self.has_range_deletes, self.has_expiries) = (*has_range_deletes, *has_expiries);
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.ops as usize
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// The bytes of all keys and values.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Whether any operation is a range delete.
    pub fn has_range_deletes(&self) -> bool {
        self.has_range_deletes
    }

    /// Whether any put expires.
    pub fn has_expiries(&self) -> bool {
        self.has_expiries
    }

    /// The batch as it goes into the log.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The operations in order.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        Ops::new(&self.encoded).map(|op| op.expect("a batch holds only what push wrote"))
    }

    /// A batch from the log.
    ///
    /// # Errors
    ///
    /// If the bytes are not operations from end to end. Never panics, whatever the bytes.
    pub fn decode(encoded: &[u8]) -> Result<Self, BatchDecodeError> {
        let mut batch = Self { encoded: encoded.to_vec(), ..Self::default() };
        for op in Ops::new(encoded) {
            let (op, key, value) = op?;
            batch.ops = batch.ops.checked_add(1).ok_or(BatchDecodeError { offset: 0 })?;
            batch.payload_bytes += (key.len() + value.len()) as u64;
            batch.has_range_deletes |= op.kind == Kind::DeleteRange;
            batch.has_expiries |= op.expires.is_some();
        }
        Ok(batch)
    }

    fn push(&mut self, kind: Kind, expires: Option<Tick>, key: &[u8], value: &[u8]) -> &mut Self {
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes is too long", key.len());
        assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes is too long", value.len());
        self.encoded.reserve(1 + 8 + 5 + key.len() + 5 + value.len());
        match expires {
            None => self.encoded.push(kind as u8),
            Some(tick) => {
                self.encoded.push(kind as u8 | EXPIRES);
                self.encoded.extend_from_slice(&tick.0.to_le_bytes());
            }
        }
        put_bytes(&mut self.encoded, key);
        if kind != Kind::Delete {
            put_bytes(&mut self.encoded, value);
        }
        self.ops += 1;
        self.has_range_deletes |= kind == Kind::DeleteRange;
        self.has_expiries |= expires.is_some();
        self.payload_bytes += (key.len() + value.len()) as u64;
        self
    }
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = bytes.len() as u32;
    while len >= 0x80 {
        into.push(len as u8 | 0x80);
        len >>= 7;
    }
    into.push(len as u8);
    into.extend_from_slice(bytes);
}

/// Reads operations one after the other; ends after the first error.
pub struct Ops<'a> {
    all: &'a [u8],
    offset: usize,
}

impl<'a> Ops<'a> {
    /// The operations of an encoded batch.
    pub fn new(encoded: &'a [u8]) -> Self {
        Self { all: encoded, offset: 0 }
    }

    fn read(&self) -> Option<(Op<'a>, usize)> {
        let mut rest = self.all.get(self.offset..)?;
        let (&byte, after) = rest.split_first()?;
        rest = after;
        let kind = Kind::from_byte(byte & !EXPIRES)?;
        let expires = if byte & EXPIRES == 0 {
            None
        } else {
            if kind != Kind::Put {
                return None;
            }
            let (tick, after) = rest.split_first_chunk()?;
            rest = after;
            Some(Tick(u64::from_le_bytes(*tick)))
        };
        let key = take_bytes(&mut rest, KEY_BYTES_MAX)?;
        let value = match kind {
            Kind::Delete => &[],
            Kind::Put => take_bytes(&mut rest, VALUE_BYTES_MAX)?,
            Kind::DeleteRange => take_bytes(&mut rest, KEY_BYTES_MAX)?,
        };
        Some(((OpKind { kind, expires }, key, value), self.all.len() - rest.len()))
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8], bytes_max: usize) -> Option<&'a [u8]> {
    let mut len = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        len |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            let len = usize::try_from(len).ok().filter(|len| *len <= bytes_max)?;
            let (bytes, after) = rest.split_at_checked(len)?;
            *rest = after;
            return Some(bytes);
        }
    }
    None
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, BatchDecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.all.len() {
            return None;
        }
        match self.read() {
            Some((op, end)) => {
                self.offset = end;
                Some(Ok(op))
            }
            None => {
                let offset = std::mem::replace(&mut self.offset, self.all.len());
                Some(Err(BatchDecodeError { offset }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operations_come_back_in_order() {
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1").delete(b"").put_until(b"c", &[7; 300], Tick(9));
        batch.delete_range(b"d", b"f");
        let again = WriteBatch::decode(batch.encoded()).unwrap();
        assert_eq!(again, batch);
        let ops: Vec<_> = again.iter().map(|(op, k, v)| (op.kind, op.expires, k, v)).collect();
        assert_eq!(ops[0], (Kind::Put, None, &b"a"[..], &b"1"[..]));
        assert_eq!(ops[1], (Kind::Delete, None, &b""[..], &b""[..]));
        assert_eq!(ops[2], (Kind::Put, Some(Tick(9)), &b"c"[..], &[7; 300][..]));
        assert_eq!(ops[3], (Kind::DeleteRange, None, &b"d"[..], &b"f"[..]));
        assert_eq!((batch.len(), batch.payload_bytes()), (4, 2 + 301 + 2));
    }

    /// The bytes of the examples on a format page, one after the other: lines of an offset, two spaces and bytes in hex.
    fn examples(page: &str) -> String {
        let line = |line: &str| {
            let (offset, bytes) = line.strip_prefix("    ")?.split_once("  ")?;
            let is_offset = offset.len() == 4 && offset.bytes().all(|b| b.is_ascii_hexdigit());
            is_offset.then(|| bytes.replace(' ', ""))
        };
        page.lines().filter_map(line).collect()
    }

    #[test]
    fn the_bytes_of_the_format_page_are_what_is_written_and_read() {
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"v").delete(b"a").put_until(b"c", b"xyz", Tick(9));
        let hex: String = batch.encoded().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, examples(include_str!("../../../docs/formats/batch.md")));
        assert_eq!(WriteBatch::decode(batch.encoded()), Ok(batch));
    }

    #[test]
    fn a_cleared_batch_is_empty() {
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1").clear();
        assert_eq!(batch, WriteBatch::new());
        assert_eq!(WriteBatch::decode(&[]).unwrap(), batch);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(batch) = WriteBatch::decode(&bytes) {
                prop_assert_eq!(batch.iter().count(), batch.len());
            }
        }

        #[test]
        fn a_cut_batch_is_shorter_or_an_error(cut in 0usize..40) {
            let mut batch = WriteBatch::new();
            batch.put(b"key-1", b"value-1").put_until(b"key-2", b"value-2", Tick(3)).delete(b"key-3");
            let cut = cut.min(batch.encoded().len());
            if let Ok(shorter) = WriteBatch::decode(&batch.encoded()[..cut]) {
                prop_assert!(shorter.len() < batch.len() || cut == batch.encoded().len());
            }
        }
    }
}
