//! What one node says to another, in one piece.
//!
//! ```text
//! packet = version u8 = 1, cluster u64, from u64, to u64, frame*, checksum u32
//! frame  = kind u8, length number, body
//! kind 1   message: shard number, class u8, bytes to the end
//! kind 2   snapshot: see `snapshot`
//! kind 3   control: see `control`
//! ```
//!
//! Fixed integers are little-endian, numbers LEB128 of at most 64 bits. The checksum is CRC-32C of everything before it. A frame of a kind that is not
//! known is passed over: a newer node may say more.
//!
//! Everything that one round of a node has for another goes in one packet, the heartbeats of all shards among it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nori_consensus::{MessageClass, NodeId, ShardId};
use nori_env::crc32c;
use norikv_replica::codec::{put_number, take_number};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 25;
const CHECKSUM_BYTES: usize = 4;

/// A cluster's name among clusters: nodes of another are not listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// A part of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A replica says something to another of its group.
    Message {
        /// Whose.
        shard: ShardId,
        /// What for.
        class: MessageClass,
        /// What.
        message: Bytes,
    },
    /// Something about a snapshot, in the bytes of [`crate::snapshot`].
    Snapshot(Bytes),
    /// Something of the node's own, in the bytes of [`crate::control`].
    Control(Bytes),
}

/// Why bytes are no packet for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    /// Shorter than any, or with something behind its end.
    #[error("it is no packet")]
    Unreadable,
    /// Changed on its way.
    #[error("its checksum does not fit")]
    Checksum,
    /// Of a version that this program does not know.
    #[error("packets of version {0} are not known to this program")]
    Version(u8),
    /// Of another cluster.
    #[error("it is of another cluster")]
    OtherCluster,
    /// For another node.
    #[error("it is for node {}", .0.0)]
    OtherNode(NodeId),
}

/// A packet that is being filled.
#[derive(Debug)]
pub(crate) struct Packet {
    bytes: BytesMut,
}

impl Packet {
    pub(crate) fn new(cluster: ClusterId, from: NodeId, to: NodeId) -> Self {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.put_u8(VERSION);
        for number in [cluster.0, from.0, to.0] {
            bytes.put_u64_le(number);
        }
        Self { bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + CHECKSUM_BYTES
    }

    pub(crate) fn message(&mut self, shard: ShardId, class: MessageClass, message: &[u8]) {
        let mut head = Vec::with_capacity(11);
        put_number(&mut head, shard.0);
        head.push(class_number(class));
        self.bytes.put_u8(1);
        put_number(&mut self.bytes, (head.len() + message.len()) as u64);
        self.bytes.put_slice(&head);
        self.bytes.put_slice(message);
    }

    pub(crate) fn snapshot(&mut self, body: &[u8]) {
        self.put(2, body);
    }

    pub(crate) fn control(&mut self, body: &[u8]) {
        self.put(3, body);
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        self.bytes.put_u8(kind);
        put_number(&mut self.bytes, body.len() as u64);
        self.bytes.put_slice(body);
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let checksum = crc32c(&self.bytes);
        self.bytes.put_u32_le(checksum);
        self.bytes.freeze()
    }
}

/// The sender and the frames of `packet`, which is for `me` of `cluster`.
///
/// # Errors
///
/// [`BadPacket`]; then nothing of it counts. Never panics.
pub(crate) fn open(
    packet: &Bytes,
    cluster: ClusterId,
    me: NodeId,
) -> Result<(NodeId, Vec<Frame>), BadPacket> {
    let len = packet.len();
    if len < HEADER_BYTES + CHECKSUM_BYTES {
        return Err(BadPacket::Unreadable);
    }
    let mut from = packet.slice(..len - CHECKSUM_BYTES);
    let checksum = packet.slice(len - CHECKSUM_BYTES..).get_u32_le();
    if crc32c(&from) != checksum {
        return Err(BadPacket::Checksum);
    }
    match from.get_u8() {
        VERSION => {}
        version => return Err(BadPacket::Version(version)),
    }
    if ClusterId(from.get_u64_le()) != cluster {
        return Err(BadPacket::OtherCluster);
    }
    let sender = NodeId(from.get_u64_le());
    match NodeId(from.get_u64_le()) {
        to if to == me => {}
        to => return Err(BadPacket::OtherNode(to)),
    }
    let mut frames = Vec::new();
    while !from.is_empty() {
        frames.extend(take_frame(&mut from).ok_or(BadPacket::Unreadable)?);
    }
    Ok((sender, frames))
}

/// The next frame, if it is of a known kind; the outer `None` if there is none to be read.
#[expect(clippy::option_option, reason = "two ends, of which one is no fault")]
fn take_frame(from: &mut Bytes) -> Option<Option<Frame>> {
    let kind = from.try_get_u8().ok()?;
    let len = usize::try_from(take_number(from)?).ok().filter(|len| *len <= from.len())?;
    let mut body = from.split_to(len);
    Some(match kind {
        1 => {
            let shard = ShardId(take_number(&mut body)?);
            let class = class_of(body.try_get_u8().ok()?)?;
            Some(Frame::Message { shard, class, message: body })
        }
        2 => Some(Frame::Snapshot(body)),
        3 => Some(Frame::Control(body)),
        _ => None,
    })
}

fn class_number(class: MessageClass) -> u8 {
    match class {
        MessageClass::Append => 0,
        MessageClass::Heartbeat => 1,
        MessageClass::Vote => 2,
        MessageClass::Snapshot => 3,
        MessageClass::Other => 4,
    }
}

fn class_of(number: u8) -> Option<MessageClass> {
    Some(match number {
        0 => MessageClass::Append,
        1 => MessageClass::Heartbeat,
        2 => MessageClass::Vote,
        3 => MessageClass::Snapshot,
        4 => MessageClass::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLUSTER: ClusterId = ClusterId(9);
    const ME: NodeId = NodeId(2);

    fn packet() -> Bytes {
        let mut packet = Packet::new(CLUSTER, NodeId(1), ME);
        packet.message(ShardId(300), MessageClass::Vote, b"vote");
        packet.message(ShardId(1), MessageClass::Heartbeat, b"");
        packet.snapshot(b"chunk");
        let len = packet.len();
        let bytes = packet.finish();
        assert_eq!(bytes.len(), len);
        bytes
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let message = |shard, class, message: &'static [u8]| Frame::Message {
            shard: ShardId(shard),
            class,
            message: Bytes::from_static(message),
        };
        let frames = vec![
            message(300, MessageClass::Vote, b"vote"),
            message(1, MessageClass::Heartbeat, b""),
            Frame::Snapshot(Bytes::from_static(b"chunk")),
        ];
        assert_eq!(open(&packet(), CLUSTER, ME), Ok((NodeId(1), frames)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = packet();
        for end in 0..whole.len() {
            assert!(open(&whole.slice(..end), CLUSTER, ME).is_err());
            for bit in 0..8 {
                let mut bytes = whole.to_vec();
                bytes[end] ^= 1 << bit;
                assert_eq!(open(&bytes.into(), CLUSTER, ME), Err(BadPacket::Checksum));
            }
        }
    }

    #[test]
    fn packets_of_others_are_refused() {
        let packet = packet();
        assert_eq!(open(&packet, ClusterId(8), ME), Err(BadPacket::OtherCluster));
        assert_eq!(open(&packet, CLUSTER, NodeId(3)), Err(BadPacket::OtherNode(ME)));
    }

    #[test]
    fn a_frame_of_a_later_kind_is_passed_over() {
        let mut packet = Packet::new(CLUSTER, NodeId(1), ME);
        packet.bytes.put_slice(&[77, 3, 1, 2, 3]);
        packet.snapshot(b"x");
        let (_, frames) = open(&packet.finish(), CLUSTER, ME).unwrap();
        assert_eq!(frames, [Frame::Snapshot(Bytes::from_static(b"x"))]);
    }

    proptest! {
        #[test]
        fn no_frames_make_it_panic(frames in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut packet = Packet::new(CLUSTER, NodeId(1), ME);
            packet.bytes.put_slice(&frames);
            let _ = open(&packet.finish(), CLUSTER, ME);
        }
    }
}
