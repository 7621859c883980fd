//! The receiver's side of a transfer.

use super::{Note, Offer, PIECE_BYTES, TransferId, WINDOW, What};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Instant, ShardId};
use nori_env::{File, Fs, OpenMode, SyncTicket};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// After so much silence whatever has arrived is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A snapshot that is arriving. Its pieces are written one after the other.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) shard: ShardId,
    pub(crate) transfer: TransferId,
    pub(crate) offer: Offer,
    /// Where the files are put.
    pub(crate) dir: PathBuf,
    /// What is on the disk. `written <= taken <= offer.bytes()`.
    written: u64,
    /// That, and what waits to be.
    taken: u64,
    waiting: VecDeque<Bytes>,
    is_writing: bool,
    stage: Stage,
    heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Beginning,
    Arriving,
    Finished,
}

/// Something to do on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Make an empty folder.
    Begin,
    /// Write this at the position; a file that ends with it is made safe.
    Write(u64, Bytes),
    /// Make the folder safe: nothing is left to come.
    Finish,
}

impl Arrival {
    pub(crate) fn new(
        now: Instant,
        (shard, transfer): (ShardId, TransferId),
        dir: PathBuf,
        offer: Offer,
    ) -> Self {
        Self {
            shard,
            transfer,
            offer,
            dir,
            written: 0,
            taken: 0,
            waiting: VecDeque::new(),
            is_writing: false,
            stage: Stage::Beginning,
            heard: now,
        }
    }

    /// What the sender is told. That it has everything it says when everything is safe; and before the folder is made it says nothing.
    pub(crate) fn wants(&self) -> Option<Note> {
        let all = self.offer.bytes();
        let position = match self.stage {
            Stage::Beginning => return None,
            Stage::Arriving if self.written == all => all.checked_sub(1)?,
            Stage::Arriving | Stage::Finished => self.written,
        };
        let what = What::Wants(position);
        Some(Note { shard: self.shard, transfer: self.transfer, what })
    }

    /// Whether it is whole and safe.
    pub(crate) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// The offer came again: the sender has lost its place, and what follows begins at what is written.
    pub(crate) fn offered(&mut self, now: Instant) {
        self.heard = now;
        // What is being written stays; the rest comes again.
        self.waiting.truncate(usize::from(self.is_writing));
        self.taken =
            self.written + self.waiting.iter().map(|piece| piece.len() as u64).sum::<u64>();
    }

    /// A piece came. One that does not follow, or is too much, counts for nothing: the sender will learn what is wanted.
    pub(crate) fn piece(&mut self, now: Instant, position: u64, bytes: Bytes) {
        self.heard = now;
        let Some((_, _, left)) = self.offer.at(self.taken) else { return };
        let len = bytes.len() as u64;
        let is_it =
            position == self.taken || mutant::is(Mutant::GapAccepted) && position > self.taken;
        let is_next = is_it && (1..=left.min(PIECE_BYTES)).contains(&len);
        if is_next && self.taken - self.written + len <= WINDOW * PIECE_BYTES {
            self.taken += len;
            self.waiting.push_back(bytes);
        }
    }

    /// The next thing to do, if nothing is being done.
    pub(crate) fn next(&mut self) -> Option<Work> {
        if self.is_writing {
            return None;
        }
        let work = match (self.stage, self.waiting.front()) {
            (Stage::Beginning, _) => Work::Begin,
            (Stage::Finished, _) => return None,
            (Stage::Arriving, Some(piece)) => Work::Write(self.written, piece.clone()),
            (Stage::Arriving, None) if self.written == self.offer.bytes() => Work::Finish,
            (Stage::Arriving, None) => return None,
        };
        self.is_writing = true;
        Some(work)
    }

    /// What was to be done is.
    pub(crate) fn done(&mut self, work: &Work) {
        self.is_writing = false;
        match work {
            Work::Begin => self.stage = Stage::Arriving,
            Work::Write(_, piece) => {
                self.waiting.pop_front();
                self.written += piece.len() as u64;
            }
            Work::Finish => self.stage = Stage::Finished,
        }
    }

    /// When to give it up if nothing comes.
    pub(crate) fn deadline(&self) -> Instant {
        self.heard.after(SILENCE_MAX)
    }
}

/// The files of a snapshot as they are written, one after the other.
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    offer: Offer,
    /// The file that is being written.
    open: Option<Arc<dyn File>>,
}

impl Writer {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: PathBuf, offer: Offer) -> Self {
        Self { fs, dir, offer, open: None }
    }

    /// Does some work; the sync that has to end for it to be done, if there is one. Waits for the disk.
    pub(crate) fn run(&mut self, work: &Work) -> io::Result<Option<SyncTicket>> {
        match work {
            Work::Begin => {
                remove(&*self.fs, &self.dir)?;
                nori_env::make_dir(&*self.fs, &self.dir)?;
                Ok(None)
            }
            Work::Write(position, bytes) => self.write(*position, bytes),
            Work::Finish => {
                for (name, _) in self.offer.files.iter().filter(|(_, bytes)| *bytes == 0) {
                    self.create(name)?;
                }
                self.fs.sync_dir(&self.dir)?;
                Ok(None)
            }
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.fs.open(&self.dir.join(name), OpenMode::CreateNew)
    }

    fn write(&mut self, position: u64, bytes: &[u8]) -> io::Result<Option<SyncTicket>> {
        let (name, offset, left) = self.offer.at(position).ok_or(io::ErrorKind::InvalidInput)?;
        let file = match self.open.take().filter(|_| offset > 0) {
            Some(file) => file,
            None => self.create(name)?,
        };
        file.write_at(bytes, offset)?;
        if bytes.len() as u64 == left {
            return Ok(Some(SyncTicket::start(|done| file.sync(done))));
        }
        self.open = Some(file);
        Ok(None)
    }
}

/// Removes a folder's files; the folder may stay.
pub(crate) fn remove(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let names = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    names.iter().try_for_each(|name| fs.remove(&dir.join(name)))
}
