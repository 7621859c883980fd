//! The outside of every packet: format version, cluster, and what shows that it arrived as it was sent.
//!
//! A plain packet is `version, 0, cluster, body, CRC-32C of all before`. A sealed one is `version, 1, cluster, nonce, body sealed with
//! XChaCha20-Poly1305`, with version, kind and cluster as associated data. Numbers here are little-endian and of fixed length.
//!
//! No nonce is used twice with one key: it is the node (8 bytes), its generation (8) and a counter (8). No two nodes have one number, no two
//! boots of a node one generation, and a boot counts. The counter begins where the seed says and not at zero, so that even two
//! processes that were wrongly given one identity hardly meet.

use crate::codec::Result;
use crate::{ClusterId, Identity, Keyring, Refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use crc_fast::crc32_iscsi;

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
/// Version, kind, cluster.
const HEADER_BYTES: usize = 1 + 1 + 8;
const CHECKSUM_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// What the outside of a packet takes at most.
pub(crate) const ENVELOPE_BYTES_MAX: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// Puts bodies into envelopes, and takes them out.
pub(crate) struct Envelope {
    cluster: ClusterId,
    identity: Identity,
    counter: u64,
    ciphers: Vec<XChaCha20Poly1305>,
}

fn ciphers(keyring: Option<&Keyring>) -> Vec<XChaCha20Poly1305> {
    let keys = keyring.map_or(&[][..], Keyring::keys);
    keys.iter().map(|key| XChaCha20Poly1305::new(&Key::from(*key))).collect()
}

impl Envelope {
    pub(crate) fn new(
        cluster: ClusterId,
        identity: Identity,
        counter: u64,
        keyring: Option<&Keyring>,
    ) -> Self {
        Self { cluster, identity, counter, ciphers: ciphers(keyring) }
    }

    /// Goes by another ring from now on. The counter goes on.
    pub(crate) fn rekey(&mut self, keyring: Option<&Keyring>) {
        self.ciphers = ciphers(keyring);
    }

    /// What the outside of a packet takes.
    pub(crate) fn overhead_bytes(&self) -> usize {
        if self.ciphers.is_empty() { HEADER_BYTES + CHECKSUM_BYTES } else { ENVELOPE_BYTES_MAX }
    }

    /// A packet of `body`.
    pub(crate) fn seal(&mut self, body: &[u8]) -> Bytes {
        let mut packet = BytesMut::with_capacity(body.len() + ENVELOPE_BYTES_MAX);
        packet.put_u8(VERSION);
        packet.put_u8(if self.ciphers.is_empty() { PLAIN } else { SEALED });
        packet.put_u64_le(self.cluster.0);
        let Some(cipher) = self.ciphers.first() else {
            packet.put_slice(body);
            let sum = crc32_iscsi(&packet);
            packet.put_u32_le(sum);
            return packet.freeze();
        };
        self.counter = self.counter.wrapping_add(1);
        let mut nonce = [0; NONCE_BYTES];
        let mut rest = &mut nonce[..];
        rest.put_u64_le(self.identity.node.0);
        rest.put_u64_le(self.identity.generation.0);
        rest.put_u64_le(self.counter);
        let payload = Payload { msg: body, aad: &packet[..HEADER_BYTES] };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("sealing fails only beyond 256 GiB, and bodies are bounded");
        packet.put_slice(&nonce);
        packet.put_slice(&sealed);
        packet.freeze()
    }

    /// The body of `packet`.
    pub(crate) fn open(&self, packet: &Bytes) -> Result<Bytes> {
        let mut header = packet.get(..HEADER_BYTES).ok_or(Refusal::Short)?;
        let (version, kind, cluster) = (header.get_u8(), header.get_u8(), header.get_u64_le());
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        match kind {
            PLAIN => self.open_plain(packet, cluster),
            SEALED => self.open_sealed(packet, cluster),
            _ => Err(Refusal::Malformed("kind of packet")),
        }
    }

    fn open_plain(&self, packet: &Bytes, cluster: u64) -> Result<Bytes> {
        let end = packet.len().checked_sub(CHECKSUM_BYTES).ok_or(Refusal::Short)?;
        if end < HEADER_BYTES {
            return Err(Refusal::Short);
        }
        if crc32_iscsi(&packet[..end]) != packet.slice(end..).get_u32_le() {
            return Err(Refusal::Damaged);
        }
        if cluster != self.cluster.0 {
            return Err(Refusal::ForeignCluster);
        }
        if !self.ciphers.is_empty() {
            return Err(Refusal::Unsealed);
        }
        Ok(packet.slice(HEADER_BYTES..end))
    }

    fn open_sealed(&self, packet: &Bytes, cluster: u64) -> Result<Bytes> {
        if cluster != self.cluster.0 {
            return Err(Refusal::ForeignCluster);
        }
        if self.ciphers.is_empty() {
            return Err(Refusal::Sealed);
        }
        let rest = &packet[HEADER_BYTES..];
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Refusal::Short)?;
        if sealed.len() < TAG_BYTES {
            return Err(Refusal::Short);
        }
        let nonce = XNonce::from(*nonce);
        for cipher in &self.ciphers {
            let payload = Payload { msg: sealed, aad: &packet[..HEADER_BYTES] };
            if let Ok(body) = cipher.decrypt(&nonce, payload) {
                return Ok(body.into());
            }
        }
        Err(Refusal::Unauthentic)
    }
}

#[cfg(test)]
mod tests;
