//! How a snapshot comes from one node to another.
//!
//! A snapshot is the files of a checkpoint. Whoever has it **offers** it, with the names and lengths of the files; whoever gets it says from where it
//! **wants** the bytes, and says so again with each piece that is on its disk. So:
//!
//! 1. At most a window of pieces is on its way, and the network is never filled by one.
//! 2. After silence the offer is made again. The answer says how much has arrived: nothing that has is sent twice, over broken streams and
//!    restarts of the sender's stream too.
//! 3. At the end the receiver syncs files and folder, and then says that it has everything.
//!
//! ```text
//! body  = kind u8, shard number, transfer number, rest
//! kind 0   offer: term number, index number, membership bytes, message bytes, count number, (name bytes, length number)*
//! kind 1   wants: position number; it is the sum of the lengths when it has everything
//! kind 2   piece: position number, bytes to the end; never over the end of a file
//! kind 3   refused: the transfer is not taken
//! ```
//!
//! A **position** counts the bytes of the files one after the other. What the bytes mean, and their checksums, are the engine's.

mod receive;
mod send;

pub(crate) use receive::{Arrival, Work, Writer, remove};
pub(crate) use send::{End, Piece, Shipment, files, read};

use bytes::{Buf, BufMut, Bytes};
use nori_consensus::{LogId, ShardId};
use norikv_replica::codec::{put_bytes, put_number, take_bytes, take_number};
use std::collections::BTreeSet;

/// The bytes of a piece at most.
pub(crate) const PIECE_BYTES: u64 = 128 << 10;
/// Pieces that are on their way at once.
pub(crate) const WINDOW: u64 = 8;
/// The most files of a snapshot.
const FILES_MAX: u64 = 1 << 20;

/// A transfer's name among those of its sender, over all lives of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransferId(pub(crate) u64);

/// A part of a snapshot's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) shard: ShardId,
    pub(crate) transfer: TransferId,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Offer(Offer),
    Wants(u64),
    Piece(u64, Bytes),
    Refused,
}

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The last entry it covers.
    pub(crate) through: LogId,
    /// The membership as of it.
    pub(crate) membership: Bytes,
    /// The protocol's message that goes with it.
    pub(crate) message: Bytes,
    /// The files, in the order in which they are sent.
    pub(crate) files: Vec<(String, u64)>,
}

impl Offer {
    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The file at `position`, the offset in it, and what is left of it; `None` at the end.
    pub(crate) fn at(&self, position: u64) -> Option<(&str, u64, u64)> {
        let mut begin = 0;
        for (name, bytes) in &self.files {
            if position < begin + bytes {
                let offset = position - begin;
                return Some((name, offset, bytes - offset));
            }
            begin += bytes;
        }
        None
    }
}

impl Note {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(match self.what {
            What::Offer(_) => 0,
            What::Wants(_) => 1,
            What::Piece(..) => 2,
            What::Refused => 3,
        });
        put_number(&mut out, self.shard.0);
        put_number(&mut out, self.transfer.0);
        match &self.what {
            What::Offer(offer) => {
                put_number(&mut out, offer.through.term.0);
                put_number(&mut out, offer.through.index.0);
                put_bytes(&mut out, &offer.membership);
                put_bytes(&mut out, &offer.message);
                put_number(&mut out, offer.files.len() as u64);
                for (name, bytes) in &offer.files {
                    put_bytes(&mut out, name.as_bytes());
                    put_number(&mut out, *bytes);
                }
            }
            What::Wants(position) => put_number(&mut out, *position),
            What::Piece(position, bytes) => {
                put_number(&mut out, *position);
                out.put_slice(bytes);
            }
            What::Refused => {}
        }
        out
    }

    /// The note in `body`; `None` if it is none. Never panics.
    pub(crate) fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let kind = from.try_get_u8().ok()?;
        let shard = ShardId(take_number(&mut from)?);
        let transfer = TransferId(take_number(&mut from)?);
        let what = match kind {
            0 => What::Offer(take_offer(&mut from)?),
            1 => What::Wants(take_number(&mut from)?),
            2 => What::Piece(take_number(&mut from)?, from.split_to(from.len())),
            3 => What::Refused,
            _ => return None,
        };
        from.is_empty().then_some(Self { shard, transfer, what })
    }
}

fn take_offer(from: &mut Bytes) -> Option<Offer> {
    let (term, index) = (take_number(from)?, take_number(from)?);
    let (membership, message) = (take_bytes(from)?, take_bytes(from)?);
    let count = take_number(from).filter(|count| *count <= FILES_MAX)?;
    let (mut files, mut names, mut sum) = (Vec::new(), BTreeSet::new(), 0u64);
    for _ in 0..count {
        let name =
            String::from_utf8(take_bytes(from)?.to_vec()).ok().filter(|name| is_plain(name))?;
        let bytes = take_number(from)?;
        sum = sum.checked_add(bytes)?;
        if !names.insert(name.clone()) {
            return None;
        }
        files.push((name, bytes));
    }
    Some(Offer { through: LogId::new(term, index), membership, message, files })
}

/// Whether a name cannot lead out of its folder.
fn is_plain(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=255).contains(&name.len()) && name.chars().all(is_usual) && !name.starts_with('.')
}

#[cfg(test)]
mod tests;
