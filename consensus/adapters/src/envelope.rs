//! What goes around a foreign message: whose it is, and a checksum. A protocol that trusts its messages never sees a damaged one.
//!
//! ```text
//! 0  checksum of all that follows, CRC-32C
//! 4  shard u64
//! 12 from u64
//! 20 to u64
//! 28 the message
//! ```

use bytes::Bytes;
use nori_consensus::{NodeId, ShardId};

const HEADER_BYTES: usize = 28;

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) shard: ShardId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// `message` in its envelope.
pub(crate) fn seal(address: Address, message: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + message.len());
    bytes.extend_from_slice(&[0; 4]);
    for word in [address.shard.0, address.from.0, address.to.0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(message);
    let sum = checksum(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    bytes.into()
}

/// The message and whose it is, if it is whole.
pub(crate) fn open(bytes: &Bytes) -> Option<(Address, Bytes)> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let word = |at: usize| header[at..].first_chunk().map(|word| u64::from_le_bytes(*word));
    if checksum(&bytes[4..]).to_le_bytes() != header[..4] {
        return None;
    }
    let address =
        Address { shard: ShardId(word(4)?), from: NodeId(word(12)?), to: NodeId(word(20)?) };
    Some((address, bytes.slice(HEADER_BYTES..)))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_and_no_damaged_one_does() {
        let address = Address { shard: ShardId(3), from: NodeId(1), to: NodeId(2) };
        let sealed = seal(address, b"hello");
        assert_eq!(open(&sealed), Some((address, Bytes::from_static(b"hello"))));
        for at in 0..sealed.len() {
            let mut bytes = sealed.to_vec();
            bytes[at] ^= 4;
            assert_eq!(open(&bytes.into()), None, "byte {at}");
            assert_eq!(open(&sealed.slice(..at)), None, "{at} bytes");
        }
    }
}
