//! Which shards a node has a replica of, and what they were founded as: a file for each, from before the replica's first life to after its last. One
//! that is to go says so from before anything of it goes, so that no part of it ever lives again.
//!
//! A founder writes the files of all its shards, then a mark that it has; only before the mark does it look at the charter for them. So a replica that moved
//! away never comes back as a founder, and a founding that was cut short is finished.

use crate::charter::{self, CharterError, Files};
use bytes::Bytes;
use nori_consensus::ShardId;
use std::path::PathBuf;

const FOUNDED: &str = "FOUNDED";
const JOINED: &str = "JOINED";
const SUFFIX: &str = ".founding";

/// The first byte of a shard's file.
const HERE: u8 = 0;
const DOOMED: u8 = 1;
const DOUBTFUL: u8 = 2;

/// What a shard's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// There is a replica, which was founded with this membership; empty where the node joined. A doubtful one may have promised what it does not know any more, in this
    /// life or in one before: it stays so over starts, until it was brought up.
    Here { founding: Bytes, is_doubtful: bool },
    /// What there is of it is to go: it may be half of one, and promises may be gone.
    Doomed,
}

/// The files of a node's shards.
#[derive(Clone)]
pub(crate) struct Roster {
    dir: PathBuf,
}

impl Roster {
    /// In the folder of the node's shards.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The shards. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`CharterError`].
    pub(crate) fn shards(&self, files: Files<'_>) -> Result<Vec<(ShardId, Listed)>, CharterError> {
        let mut shards = Vec::new();
        for name in charter::names(files, &self.dir)? {
            let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
            if let Some(shard) = number.map(ShardId)
                && let Some(content) = charter::read(files, &self.dir.join(&name))?
            {
                let listed = match content.first() {
                    Some(&kind @ (HERE | DOUBTFUL)) => {
                        let is_doubtful = kind == DOUBTFUL;
                        Listed::Here { founding: content.slice(1..), is_doubtful }
                    }
                    _ => Listed::Doomed,
                };
                shards.push((shard, listed));
            }
        }
        shards.sort_by_key(|(shard, _)| *shard);
        Ok(shards)
    }

    /// Takes in a shard, or says of one that it is doubtful, or is not any more. Waits for the disk, as do the others.
    pub(crate) fn add(
        &self,
        files: Files<'_>,
        shard: ShardId,
        founding: &[u8],
        is_doubtful: bool,
    ) -> Result<(), CharterError> {
        let content = [&[if is_doubtful { DOUBTFUL } else { HERE }], founding].concat();
        charter::write(files, &self.dir, &format!("{}{SUFFIX}", shard.0), &content)
    }

    /// Notes that a shard is to go, before anything of it does.
    pub(crate) fn doom(&self, files: Files<'_>, shard: ShardId) -> Result<(), CharterError> {
        charter::write(files, &self.dir, &format!("{}{SUFFIX}", shard.0), &[DOOMED])
    }

    /// Lets a shard go whose replica is gone.
    pub(crate) fn remove(&self, files: Files<'_>, shard: ShardId) -> Result<(), CharterError> {
        charter::remove(files, &self.dir, &format!("{}{SUFFIX}", shard.0))
    }

    /// Whether the founding is done.
    pub(crate) fn is_founded(&self, files: Files<'_>) -> Result<bool, CharterError> {
        Ok(charter::read(files, &self.dir.join(FOUNDED))?.is_some())
    }

    /// Whether the node has been in a map: one that was and is not any more was let go, and does not ask to be taken in again.
    pub(crate) fn has_joined(&self, files: Files<'_>) -> Result<bool, CharterError> {
        Ok(charter::read(files, &self.dir.join(JOINED))?.is_some())
    }

    /// Notes that it has.
    pub(crate) fn set_joined(&self, files: Files<'_>) -> Result<(), CharterError> {
        charter::write(files, &self.dir, JOINED, &[])
    }

    /// Notes that it is.
    pub(crate) fn set_founded(&self, files: Files<'_>) -> Result<(), CharterError> {
        charter::write(files, &self.dir, FOUNDED, &[])
    }
}
