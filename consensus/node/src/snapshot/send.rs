//! The sender's side of a transfer.

use super::{Note, Offer, PIECE_BYTES, TransferId, WINDOW, What};
use nori_consensus::{Instant, NodeId, ShardId};
use nori_env::{Fs, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// After so much silence the offer is made again.
const SILENCE: Duration = Duration::from_secs(1);
/// After so much the transfer has failed.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A snapshot on its way to a peer.
#[derive(Debug)]
pub(crate) struct Shipment {
    pub(crate) to: NodeId,
    pub(crate) shard: ShardId,
    pub(crate) transfer: TransferId,
    /// Where the files are.
    pub(crate) dir: PathBuf,
    offer: Offer,
    /// What the receiver has. `arrived <= sent <= offer.bytes()`.
    arrived: u64,
    sent: u64,
    /// A piece is being read.
    pub(crate) is_reading: bool,
    /// The offer has not been answered yet.
    is_offered: bool,
    /// When the receiver said something last, and when the offer was made last.
    heard: Instant,
    offered: Instant,
}

/// A piece to read and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) position: u64,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    Failed,
}

impl Shipment {
    pub(crate) fn new(
        now: Instant,
        (to, shard, transfer): (NodeId, ShardId, TransferId),
        dir: PathBuf,
        offer: Offer,
    ) -> Self {
        Self {
            to,
            shard,
            transfer,
            dir,
            offer,
            arrived: 0,
            sent: 0,
            is_reading: false,
            is_offered: true,
            heard: now,
            offered: now,
        }
    }

    /// The offer, as it is made first and after silence.
    pub(crate) fn offer(&self) -> Note {
        self.note(What::Offer(self.offer.clone()))
    }

    pub(crate) fn note(&self, what: What) -> Note {
        Note { shard: self.shard, transfer: self.transfer, what }
    }

    /// The receiver has everything up to `position`; the end, if that is all.
    pub(crate) fn wants(&mut self, now: Instant, position: u64) -> Option<End> {
        if position > self.offer.bytes() {
            return None;
        }
        self.heard = now;
        if std::mem::take(&mut self.is_offered) {
            (self.arrived, self.sent) = (position, position);
        }
        self.arrived = self.arrived.max(position);
        self.sent = self.sent.max(self.arrived);
        (self.arrived == self.offer.bytes()).then_some(End::Delivered)
    }

    /// The next piece, if one may be on its way. It counts as sent.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if self.is_offered || self.sent - self.arrived >= WINDOW * PIECE_BYTES {
            return None;
        }
        let (file, offset, left) = self.offer.at(self.sent)?;
        let bytes = left.min(PIECE_BYTES);
        let piece = Piece { file: file.to_owned(), offset, bytes, position: self.sent };
        self.sent += bytes;
        Some(piece)
    }

    /// When to call [`tick`](Self::tick).
    pub(crate) fn deadline(&self) -> Instant {
        self.heard.max(self.offered).after(SILENCE)
    }

    /// Time has passed: the offer, if it is to be made again, or the end.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Result<Note, End>> {
        if now < self.deadline() {
            return None;
        }
        if now.since(self.heard) >= SILENCE_MAX {
            return Some(Err(End::Failed));
        }
        (self.is_offered, self.offered) = (true, now);
        Some(Ok(self.offer()))
    }
}

/// The files in `dir` with their lengths, in the order in which they are sent. Waits for the disk.
pub(crate) fn files(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut names = fs.list(dir)?;
    names.sort();
    let with_bytes = |name: String| {
        let bytes = fs.open(&dir.join(&name), OpenMode::Read)?.len()?;
        Ok((name, bytes))
    };
    names.into_iter().map(with_bytes).collect()
}

/// Reads a piece. Waits for the disk.
pub(crate) fn read(fs: &dyn Fs, dir: &Path, piece: &Piece) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs.open(&dir.join(&piece.file), OpenMode::Read)?;
    file.read_onto(&mut bytes, piece.offset, piece.bytes as usize)?;
    Ok(bytes)
}
