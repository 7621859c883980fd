//! What can go wrong in an engine, and what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of an engine's call.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Bytes on disk are not what was written. Restore the file or salvage; retrying changes nothing.
    Corrupt,
    /// The operating system failed a call. Mend the cause; reads elsewhere still work.
    Io,
    /// A write or sync failed, and the store takes no more writes. Reads still work; reopen it. A write that is told this may have
    /// been under way when the other failed, and may be there then: look. If it was for want of room the kind is [`ErrorKind::Full`], then and ever after.
    Poisoned,
    /// Something else has it: another process, a stall. Retry later.
    Busy,
    /// The disk or a quota is full, and the store takes no more writes. Reads still work; make room, then reopen.
    Full,
    /// This engine does not do that, and its capability row says so.
    Unsupported,
    /// The answer is not in memory and the caller asked not to touch the disk. Ask again elsewhere.
    WouldBlock,
    /// The caller's argument breaks a documented rule.
    Invalid,
}

/// An engine's error. Cloning is cheap: the writers that share one sync share its error.
///
/// Whatever the variant, the engine stays usable for reads that do not meet the same damage.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// See [`ErrorKind::Corrupt`].
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Corrupt {
        /// The damaged file.
        file: Arc<Path>,
        /// Where in it the damaged structure begins.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// See [`ErrorKind::Io`].
    #[error("{action} {} failed: {os_error}", file.display())]
    Io {
        /// What was attempted, as in "syncing".
        action: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said. It is in the sentence: a chain of causes would say it twice.
        os_error: Arc<io::Error>,
    },
    /// See [`ErrorKind::Poisoned`].
    #[error("the store takes no more writes since {cause}")]
    Poisoned {
        /// The failure that ended writing.
        cause: Arc<Error>,
    },
    /// See [`ErrorKind::Busy`].
    #[error("{what}")]
    Busy {
        /// What holds it up.
        what: String,
    },
    /// See [`ErrorKind::Full`].
    #[error("no room for {action} {}: {os_error}; make room, then open the store again", file.display())]
    Full {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        os_error: Arc<io::Error>,
    },
    /// See [`ErrorKind::Unsupported`].
    #[error("{engine} does not support {what}")]
    Unsupported {
        /// The engine's name.
        engine: &'static str,
        /// What was asked of it.
        what: &'static str,
    },
    /// See [`ErrorKind::WouldBlock`].
    #[error("the answer is not in memory")]
    WouldBlock,
    /// See [`ErrorKind::Invalid`].
    #[error("{what}")]
    Invalid {
        /// The rule that is broken and by what.
        what: String,
    },
}

impl Error {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Io { .. } => ErrorKind::Io,
            // What the caller can do is what the cause asks for, whoever met the full disk first.
            Self::Poisoned { cause } if cause.kind() == ErrorKind::Full => ErrorKind::Full,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Full { .. } => ErrorKind::Full,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::WouldBlock => ErrorKind::WouldBlock,
            Self::Invalid { .. } => ErrorKind::Invalid,
        }
    }

    /// A failed call of the operating system on `file`, sorted into [`Error::Full`] and [`Error::Io`].
    pub fn io(action: &'static str, file: &Path, os_error: io::Error) -> Self {
        let (file, full) = (file.to_owned(), is_full(&os_error));
        let os_error = Arc::new(os_error);
        if full {
            Self::Full { action, file, os_error }
        } else {
            Self::Io { action, file, os_error }
        }
    }

    /// Damage found in `file` at `offset`.
    pub fn corrupt(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: Arc::from(file), offset, what: what.into() }
    }

    /// A broken rule.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// The error of every write after `self` ended writing.
    #[must_use]
    pub fn poison(&self) -> Self {
        match self {
            Self::Poisoned { .. } => self.clone(),
            cause => Self::Poisoned { cause: Arc::new(cause.clone()) },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_a_failing_one() {
        let full = Error::io("writing", Path::new("/s/1.log"), io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), ErrorKind::Full);
        let broken = Error::io("syncing", Path::new("/s/1.log"), io::Error::other("gone"));
        assert_eq!(broken.kind(), ErrorKind::Io);
        assert_eq!(broken.to_string(), "syncing /s/1.log failed: gone");
    }

    #[test]
    fn what_a_full_disk_poisoned_still_asks_for_room() {
        let full = Error::io("writing", Path::new("/s/1.log"), io::ErrorKind::StorageFull.into());
        let later = full.poison().poison();
        assert_eq!(later.kind(), ErrorKind::Full);
        let text = later.to_string();
        assert!(text.contains("writing /s/1.log") && text.contains("make room"), "{text}");
    }

    #[test]
    fn poison_keeps_the_first_cause() {
        let cause = Error::corrupt(Path::new("/s/7.table"), 4096, "checksum is 1, expected 2");
        let poisoned = cause.poison().poison();
        assert_eq!(poisoned.kind(), ErrorKind::Poisoned);
        assert!(poisoned.to_string().ends_with("damaged at byte 4096: checksum is 1, expected 2"));
    }
}
