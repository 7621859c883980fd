//! What members say to one another, and its bytes inside the envelope.
//!
//! A packet is: who sends it (identity, address), one message, then rumours up to its end.

use crate::codec::{NUMBER_BYTES_MAX, Reader, Result, put_number, put_string};
use crate::envelope::ENVELOPE_BYTES_MAX;
use crate::ids::{ADDRESS_BYTES_MAX, Address, Generation, Identity, Incarnation, NodeId};
use crate::settings::ACCUSERS_MAX;
use crate::{Refusal, Settings};
use bytes::{BufMut, Bytes, BytesMut};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Answer with an [`Message::Ack`] of the same number, if you are `target`.
    Ping { number: u32, target: Identity },
    /// `target` of the ping of that number answers: from itself, or through whom it was asked.
    Ack { number: u32 },
    /// Probe `target` for me, and send me the answer under this number.
    IndirectPing { number: u32, target: Identity, address: Address, wants_nack: bool },
    /// I have asked, and have had no answer so far.
    Nack { number: u32 },
    /// Rumours only.
    Gossip,
    /// The rumours are all I know; tell me all you know, unless this is the answer.
    Sync { is_answer: bool },
}

/// What is said of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rumour {
    pub(crate) identity: Identity,
    /// incarnation <= Incarnation::MAX, and < for all but `Alive`, so that it can be refuted
    pub(crate) incarnation: Incarnation,
    pub(crate) claim: Claim,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Alive {
        address: Address,
        metadata: Bytes,
    },
    /// 1 <= accusers.len() <= ACCUSERS_MAX
    Suspect {
        accusers: Vec<NodeId>,
    },
    Down,
    Left,
}

/// A packet without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) sender: Identity,
    pub(crate) address: Address,
    pub(crate) message: Message,
    pub(crate) rumours: Vec<Rumour>,
}

const IDENTITY_BYTES_MAX: usize = 2 * NUMBER_BYTES_MAX;
const ADDRESS_FIELD_BYTES_MAX: usize = 1 + ADDRESS_BYTES_MAX;

/// No packet without rumours is longer.
pub(crate) const MESSAGE_BYTES_MAX: usize = ENVELOPE_BYTES_MAX
    + IDENTITY_BYTES_MAX
    + ADDRESS_FIELD_BYTES_MAX
    + 2
    + NUMBER_BYTES_MAX
    + IDENTITY_BYTES_MAX
    + ADDRESS_FIELD_BYTES_MAX;

/// No rumour is longer, but for its metadata.
pub(crate) const RUMOUR_BYTES_MAX: usize = 1
    + IDENTITY_BYTES_MAX
    + NUMBER_BYTES_MAX
    + ADDRESS_FIELD_BYTES_MAX
    + 3
    + ACCUSERS_MAX * NUMBER_BYTES_MAX;

/// No rumour is shorter: kind, identity, incarnation.
pub(crate) const RUMOUR_BYTES_MIN: usize = 4;

fn put_identity(bytes: &mut BytesMut, identity: Identity) {
    put_number(bytes, identity.node.0);
    put_number(bytes, identity.generation.0);
}

fn identity(reader: &mut Reader) -> Result<Identity> {
    Ok(Identity { node: NodeId(reader.number()?), generation: Generation(reader.number()?) })
}

fn address(reader: &mut Reader) -> Result<Address> {
    let bytes = reader.string(ADDRESS_BYTES_MAX, "address")?;
    Address::new(bytes).map_err(|_| Refusal::Malformed("address"))
}

fn number(reader: &mut Reader) -> Result<u32> {
    let number = reader.number_upto(u32::MAX.into(), "number of a probe")?;
    u32::try_from(number).map_err(|_| Refusal::Malformed("number of a probe"))
}

impl Message {
    fn put(&self, bytes: &mut BytesMut) {
        match self {
            Self::Ping { number, target } => {
                bytes.put_u8(0);
                put_number(bytes, (*number).into());
                put_identity(bytes, *target);
            }
            Self::Ack { number } => {
                bytes.put_u8(1);
                put_number(bytes, (*number).into());
            }
            Self::IndirectPing { number, target, address, wants_nack } => {
                bytes.put_u8(2);
                put_number(bytes, (*number).into());
                put_identity(bytes, *target);
                put_string(bytes, address.bytes());
                bytes.put_u8(u8::from(*wants_nack));
            }
            Self::Nack { number } => {
                bytes.put_u8(3);
                put_number(bytes, (*number).into());
            }
            Self::Gossip => bytes.put_u8(4),
            Self::Sync { is_answer } => {
                bytes.put_u8(5);
                bytes.put_u8(u8::from(*is_answer));
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self> {
        Ok(match reader.u8()? {
            0 => Self::Ping { number: number(reader)?, target: identity(reader)? },
            1 => Self::Ack { number: number(reader)? },
            2 => Self::IndirectPing {
                number: number(reader)?,
                target: identity(reader)?,
                address: address(reader)?,
                wants_nack: reader.is("wish for a nack")?,
            },
            3 => Self::Nack { number: number(reader)? },
            4 => Self::Gossip,
            5 => Self::Sync { is_answer: reader.is("answer")? },
            _ => return Err(Refusal::Malformed("kind of message")),
        })
    }
}

impl Rumour {
    pub(crate) fn put(&self, bytes: &mut BytesMut) {
        bytes.put_u8(match &self.claim {
            Claim::Alive { .. } => 0,
            Claim::Suspect { .. } => 1,
            Claim::Down => 2,
            Claim::Left => 3,
        });
        put_identity(bytes, self.identity);
        put_number(bytes, self.incarnation.0);
        match &self.claim {
            Claim::Alive { address, metadata } => {
                put_string(bytes, address.bytes());
                put_string(bytes, metadata);
            }
            Claim::Suspect { accusers } => {
                debug_assert!((1..=ACCUSERS_MAX).contains(&accusers.len()));
                bytes.put_u8(accusers.len() as u8);
                accusers.iter().for_each(|node| put_number(bytes, node.0));
            }
            Claim::Down | Claim::Left => {}
        }
    }

    fn read(reader: &mut Reader, metadata_bytes_max: usize) -> Result<Self> {
        let kind = reader.u8_upto(3, "kind of rumour")?;
        let identity = identity(reader)?;
        let most = if kind == 0 { Incarnation::MAX.0 } else { Incarnation::MAX.0 - 1 };
        let incarnation = Incarnation(reader.number_upto(most, "incarnation")?);
        let claim = match kind {
            0 => Claim::Alive {
                address: address(reader)?,
                metadata: reader.string(metadata_bytes_max, "length of metadata")?,
            },
            1 => {
                let count = reader.u8_upto(ACCUSERS_MAX as u8, "number of accusers")?;
                if count == 0 {
                    return Err(Refusal::Malformed("number of accusers"));
                }
                let accusers = (0..count).map(|_| reader.number().map(NodeId));
                Claim::Suspect { accusers: accusers.collect::<Result<_>>()? }
            }
            2 => Claim::Down,
            _ => Claim::Left,
        };
        Ok(Self { identity, incarnation, claim })
    }
}

/// The bytes of a packet before its rumours.
pub(crate) fn begin(sender: Identity, address: &Address, message: &Message) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(128);
    put_identity(&mut bytes, sender);
    put_string(&mut bytes, address.bytes());
    message.put(&mut bytes);
    bytes
}

impl Packet {
    /// What `body` says, all of it or none.
    pub(crate) fn read(body: Bytes, settings: &Settings) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (sender, address) = (identity(&mut reader)?, address(&mut reader)?);
        let message = Message::read(&mut reader)?;
        let mut rumours = Vec::new();
        while !reader.is_empty() {
            rumours.push(Rumour::read(&mut reader, settings.metadata_bytes_max)?);
        }
        Ok(Self { sender, address, message, rumours })
    }
}

#[cfg(test)]
mod tests;
