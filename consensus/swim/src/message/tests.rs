//! That packets come back as they were, and that nothing else is taken for one.

use super::*;
use crate::Chance;

fn some(node: u64) -> Identity {
    Identity { node: NodeId(node), generation: Generation(node * 1_000_003) }
}

fn address_of(byte: u8, length: usize) -> Address {
    Address::new(vec![byte; length]).unwrap()
}

fn messages() -> Vec<Message> {
    vec![
        Message::Ping { number: u32::MAX, target: some(u64::MAX / 1_000_003) },
        Message::Ack { number: 7 },
        Message::IndirectPing {
            number: u32::MAX,
            target: some(3),
            address: address_of(9, ADDRESS_BYTES_MAX),
            wants_nack: true,
        },
        Message::Nack { number: 0 },
        Message::Gossip,
        Message::Sync { is_answer: true },
    ]
}

fn rumours() -> Vec<Rumour> {
    let of = |claim| Rumour { identity: some(5), incarnation: Incarnation(300), claim };
    vec![
        of(Claim::Alive { address: address_of(1, 6), metadata: Bytes::from_static(b"zone=a") }),
        of(Claim::Suspect { accusers: (0..ACCUSERS_MAX as u64).map(NodeId).collect() }),
        of(Claim::Down),
        of(Claim::Left),
    ]
}

fn bytes_of(packet: &Packet) -> Bytes {
    let mut bytes = begin(packet.sender, &packet.address, &packet.message);
    packet.rumours.iter().for_each(|rumour| rumour.put(&mut bytes));
    bytes.freeze()
}

fn packets() -> Vec<Packet> {
    let packet = |message| Packet {
        sender: some(1),
        address: address_of(2, 4),
        message,
        rumours: rumours(),
    };
    messages().into_iter().map(packet).collect()
}

#[test]
fn a_packet_comes_back_as_it_was() {
    for packet in packets() {
        assert_eq!(Packet::read(bytes_of(&packet), &Settings::default()), Ok(packet));
    }
}

#[test]
fn no_message_and_no_rumour_is_longer_than_its_bound() {
    let huge = Identity { node: NodeId(u64::MAX), generation: Generation(u64::MAX) };
    let message = Message::IndirectPing {
        number: u32::MAX,
        target: huge,
        address: address_of(9, ADDRESS_BYTES_MAX),
        wants_nack: true,
    };
    let bytes = begin(huge, &address_of(9, ADDRESS_BYTES_MAX), &message);
    assert!(bytes.len() + ENVELOPE_BYTES_MAX <= MESSAGE_BYTES_MAX);
    let metadata = Bytes::from(vec![0; 16_384]);
    let claims = [
        Claim::Alive { address: address_of(9, ADDRESS_BYTES_MAX), metadata },
        Claim::Suspect { accusers: vec![NodeId(u64::MAX); ACCUSERS_MAX] },
    ];
    for (claim, metadata) in claims.into_iter().zip([16_384, 0]) {
        let mut bytes = BytesMut::new();
        Rumour { identity: huge, incarnation: Incarnation::MAX, claim }.put(&mut bytes);
        assert!(bytes.len() <= RUMOUR_BYTES_MAX + metadata);
    }
}

#[test]
fn a_packet_that_is_cut_short_is_refused_or_has_fewer_rumours() {
    for packet in packets() {
        let bytes = bytes_of(&packet);
        for length in 0..bytes.len() {
            if let Ok(read) = Packet::read(bytes.slice(..length), &Settings::default()) {
                assert!(read.rumours.len() < packet.rumours.len());
            }
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut chance = Chance::new(11);
    let packets = packets();
    for round in 0..60_000 {
        let mut bytes = bytes_of(&packets[round % packets.len()]).to_vec();
        if round % 4 == 0 {
            let length = chance.below(200) as usize;
            bytes = (0..length).map(|_| chance.next_u64() as u8).collect();
        } else {
            for _ in 0..=chance.below(3) {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << chance.below(8);
            }
        }
        if let Ok(read) = Packet::read(bytes.into(), &Settings::default()) {
            // What is taken for a packet is one: it can be written, and read again.
            assert_eq!(Packet::read(bytes_of(&read), &Settings::default()), Ok(read));
        }
    }
}

#[test]
fn metadata_beyond_the_settings_are_refused() {
    let packet = packets().remove(1);
    let settings = Settings { metadata_bytes_max: 5, ..Settings::default() };
    let refused = Err(Refusal::Malformed("length of metadata"));
    assert_eq!(Packet::read(bytes_of(&packet), &settings), refused);
}

#[test]
fn an_accusation_that_could_not_be_refuted_is_refused() {
    let mut packet = packets().remove(1);
    packet.rumours =
        vec![Rumour { identity: some(5), incarnation: Incarnation::MAX, claim: Claim::Down }];
    let refused = Err(Refusal::Malformed("incarnation"));
    assert_eq!(Packet::read(bytes_of(&packet), &Settings::default()), refused);
}
