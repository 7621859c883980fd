//! That an envelope keeps out what is not of this cluster, this version or these keys.

use super::*;
use crate::{Chance, Generation, KEY_BYTES, NodeId};
use std::collections::BTreeSet;

fn envelope(cluster: u64, generation: u64, seed: u64, keyring: Option<&Keyring>) -> Envelope {
    let identity = Identity { node: NodeId(1), generation: Generation(generation) };
    Envelope::new(ClusterId(cluster), identity, Chance::new(seed).next_u64(), keyring)
}

fn ring(keys: &[u8]) -> Keyring {
    let mut ring = Keyring::new([keys[0]; KEY_BYTES]);
    keys.iter().for_each(|key| ring.add([*key; KEY_BYTES]).unwrap());
    ring
}

#[test]
fn a_body_comes_back_plain_and_sealed() {
    for keyring in [None, Some(ring(&[1]))] {
        let mut envelope = envelope(7, 1, 1, keyring.as_ref());
        let packet = envelope.seal(b"body");
        assert_eq!(packet.len(), 4 + envelope.overhead_bytes());
        assert_eq!(envelope.open(&packet), Ok(Bytes::from_static(b"body")));
    }
}

#[test]
fn a_packet_of_another_cluster_is_refused_plain_and_sealed() {
    for keyring in [None, Some(ring(&[1]))] {
        let packet = envelope(8, 1, 1, keyring.as_ref()).seal(b"body");
        let refused = envelope(7, 1, 1, keyring.as_ref()).open(&packet);
        assert_eq!(refused, Err(Refusal::ForeignCluster));
    }
}

#[test]
fn the_cluster_of_a_sealed_packet_cannot_be_rewritten() {
    let mut packet = envelope(8, 1, 1, Some(&ring(&[1]))).seal(b"body").to_vec();
    packet[2] = 7;
    let refused = envelope(7, 1, 1, Some(&ring(&[1]))).open(&packet.into());
    assert_eq!(refused, Err(Refusal::Unauthentic));
}

#[test]
fn a_key_rotation_never_parts_two_members() {
    let rings = [ring(&[1]), ring(&[1, 2]), ring(&[2, 1]), ring(&[2])];
    for step in rings.windows(2) {
        for (from, to) in [(0, 1), (1, 0)] {
            let packet = envelope(7, 1, 1, Some(&step[from])).seal(b"body");
            assert!(envelope(7, 1, 1, Some(&step[to])).open(&packet).is_ok());
        }
    }
    let old = envelope(7, 1, 1, Some(&rings[0])).seal(b"body");
    assert_eq!(envelope(7, 1, 1, Some(&rings[3])).open(&old), Err(Refusal::Unauthentic));
}

#[test]
fn plain_packets_do_not_enter_a_sealed_cluster_nor_sealed_ones_a_plain_one() {
    let (mut plain, mut sealed) = (envelope(7, 1, 1, None), envelope(7, 1, 1, Some(&ring(&[1]))));
    assert_eq!(sealed.open(&plain.seal(b"body")), Err(Refusal::Unsealed));
    assert_eq!(plain.open(&sealed.seal(b"body")), Err(Refusal::Sealed));
}

#[test]
fn no_flipped_bit_and_no_cut_passes() {
    for keyring in [None, Some(ring(&[1]))] {
        let mut envelope = envelope(7, 1, 1, keyring.as_ref());
        let packet = envelope.seal(b"some body");
        for length in 0..packet.len() {
            assert!(envelope.open(&packet.slice(..length)).is_err());
        }
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(envelope.open(&flipped.into()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn no_random_bytes_pass() {
    let mut chance = Chance::new(5);
    let envelope = envelope(0, 1, 1, Some(&ring(&[1])));
    for round in 0..20_000 {
        let length = chance.below(100) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| chance.next_u64() as u8).collect();
        if round % 2 == 0 && length >= HEADER_BYTES {
            bytes[..HEADER_BYTES].copy_from_slice(&[VERSION, SEALED, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert!(envelope.open(&bytes.into()).is_err());
    }
}

#[test]
fn no_nonce_comes_twice_within_a_boot_or_in_the_next() {
    let keyring = ring(&[1]);
    let mut nonces = BTreeSet::new();
    for generation in 1..=3 {
        // The same seed in every boot: only the generation tells them apart.
        let mut envelope = envelope(7, generation, 1, Some(&keyring));
        for sent in 0..100 {
            if sent == 50 {
                envelope.rekey(Some(&keyring));
            }
            let packet = envelope.seal(b"body");
            let nonce = packet[HEADER_BYTES..HEADER_BYTES + NONCE_BYTES].to_vec();
            assert!(nonces.insert(nonce));
        }
    }
}
