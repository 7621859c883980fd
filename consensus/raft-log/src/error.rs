//! What can go wrong in the logs of a node.

use nori_consensus::ShardId;
use nori_wal::WalError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of a node's log. After one of an append or a sync the log takes nothing more: what its tail holds is unknown until it
/// is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The write-ahead log failed, or is damaged.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The operating system failed a call.
    #[error("{action} {} failed: {source}", file.display())]
    Io {
        /// What was attempted, as in "reading".
        action: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Bytes with a right checksum do not say what they should, or bytes that were safe are others. Restore the file, or let the node's
    /// replicas be built anew from their peers.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// The entries of a shard do not adjoin. Let its replica be built anew from its peers.
    #[error("the log of shard {} has a gap: {what}", shard.0)]
    Gap {
        /// Whose.
        shard: ShardId,
        /// Which.
        what: String,
    },
}

impl LogError {
    /// Whether nothing failed but a wait, which had nothing to wait for: it may be tried again. Only where one thread does everything, in turns.
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Wal(WalError::Stuck))
    }

    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what: what.into() }
    }
}

/// The result of a call to a node's log.
pub type Result<T> = std::result::Result<T, LogError>;
