//! Where things stand in the engine.
//!
//! ```text
//! 01 key                 a client's row: version u64 little-endian, value
//! 00 't'                 the time of the shard, the floor of identities: two numbers
//! 00 'm'                 the membership as of what is applied: bytes of the protocol
//! 00 'i' entry u64 BE    what was answered from that entry on: see `chunks`
//! 00 'e' bucket u64 BE   rows expire within this bucket of 100 ms: empty
//! ```
//!
//! The version of a row is the index of the entry that wrote it: no row has version 0, and no two writes of a key have the same.

use crate::codec::{put_number, take_number};
use bytes::Bytes;
use nori_kv::{KeyRange, Tick};

/// The version of a client's row; 0 is that of a row that is not there.
pub type Version = u64;

/// Before a client's keys.
const CLIENT: u8 = 1;
/// Before the replica's own.
const OWN: u8 = 0;
const VERSION_BYTES: usize = 8;

pub(crate) const TIME: &[u8] = &[OWN, b't'];
pub(crate) const MEMBERSHIP: &[u8] = &[OWN, b'm'];
const IDENTITY: &[u8; 2] = &[OWN, b'i'];
const EXPIRY: &[u8; 2] = &[OWN, b'e'];

/// The row of the time: the shard's, and the floor of identities.
pub(crate) fn time_row(time: Tick, floor: Tick) -> Vec<u8> {
    let mut row = Vec::new();
    put_number(&mut row, time.0);
    put_number(&mut row, floor.0);
    row
}

/// What a row of the time says.
pub(crate) fn of_time(row: &[u8]) -> Option<(Tick, Tick)> {
    let mut from = Bytes::copy_from_slice(row);
    let (time, floor) = (take_number(&mut from)?, take_number(&mut from)?);
    from.is_empty().then_some((Tick(time), Tick(floor)))
}

/// The engine's key of a client's `key`, written into `into`.
pub(crate) fn client_key(into: &mut Vec<u8>, key: &[u8]) {
    into.clear();
    into.push(CLIENT);
    into.extend_from_slice(key);
}

/// The client's key of an engine's key in [`client_range`].
pub(crate) fn of_client(key: &[u8]) -> &[u8] {
    key.get(1..).unwrap_or_default()
}

/// The engine's range of a client's range.
pub(crate) fn client_range(start: &[u8], end: Option<&[u8]>) -> KeyRange {
    let prefixed = |key: &[u8]| [&[CLIENT], key].concat();
    let end = end.map_or_else(|| vec![CLIENT + 1], prefixed);
    KeyRange { start: prefixed(start), end: Some(end) }
}

/// The engine's value of a client's `value`, written into `into`.
pub(crate) fn seal(into: &mut Vec<u8>, version: Version, value: &[u8]) {
    into.clear();
    into.extend_from_slice(&version.to_le_bytes());
    into.extend_from_slice(value);
}

/// Version and value of an engine's value.
pub(crate) fn unseal(value: &[u8]) -> Option<(Version, &[u8])> {
    let (version, value) = value.split_first_chunk::<VERSION_BYTES>()?;
    Some((u64::from_le_bytes(*version), value))
}

/// The key of the answers from entry `first` on.
pub(crate) fn chunk_key(first: u64) -> [u8; 10] {
    numbered(IDENTITY, first)
}

/// All answers.
pub(crate) fn chunks() -> KeyRange {
    prefixed(IDENTITY)
}

/// The entry behind a key of [`chunks`].
pub(crate) fn of_chunk(key: &[u8]) -> Option<u64> {
    of_numbered(key)
}

/// The key that says that rows expire within `bucket`.
pub(crate) fn expiry_key(bucket: u64) -> [u8; 10] {
    numbered(EXPIRY, bucket)
}

/// All buckets in which rows expire.
pub(crate) fn expiries() -> KeyRange {
    prefixed(EXPIRY)
}

/// The bucket behind a key of [`expiries`].
pub(crate) fn of_expiry(key: &[u8]) -> Option<u64> {
    of_numbered(key)
}

fn numbered(prefix: &[u8; 2], number: u64) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(prefix);
    key[2..].copy_from_slice(&number.to_be_bytes());
    key
}

fn of_numbered(key: &[u8]) -> Option<u64> {
    let number = key.get(2..)?;
    Some(u64::from_be_bytes(*number.first_chunk()?)).filter(|_| number.len() == 8)
}

fn prefixed(prefix: &[u8; 2]) -> KeyRange {
    KeyRange { start: prefix.to_vec(), end: Some(vec![prefix[0], prefix[1] + 1]) }
}
