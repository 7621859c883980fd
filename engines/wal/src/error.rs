//! What can go wrong in the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the log. After an error of [`crate::Wal::append`] or [`crate::Wal::sync`] the log takes nothing
/// more: its tail is unknown until it is replayed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The operating system failed a call. The file may hold any part of what was written.
    #[error("{action} {} failed: {source}", file.display())]
    Io {
        /// What was attempted, as in "syncing".
        action: &'static str,
        /// The segment or folder.
        file: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A group that was promised to be safe cannot be read. Restore the file; replaying again changes nothing.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the group begins that cannot be read.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// Nothing runs that could end a wait. Only a simulation can know this.
    #[error("waiting for a sync of the log that nothing can end")]
    Stuck,
}

impl WalError {
    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source: Arc::new(source) }
    }
}
