//! The only place that writes to the terminal. A reader that has gone away (`| head`) is no error; output that cannot be written
//! for another reason is one, which the program ends with ([`unwritten`]). And how a file is replaced, so that nobody ever reads half of one.

use anyhow::{Context, Result};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;

/// Why the first line that was not written was not.
static UNWRITTEN: OnceLock<std::io::Error> = OnceLock::new();

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    keep_first(writeln!(std::io::stdout().lock(), "{text}"), &UNWRITTEN);
}

/// Keeps the first failure that is one.
fn keep_first(outcome: std::io::Result<()>, first: &OnceLock<std::io::Error>) {
    if let Err(error) = outcome
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = first.set(error);
    }
}

/// What was to be said and could not be, if anything.
///
/// # Errors
///
/// Why a line was not written.
pub(crate) fn unwritten() -> Result<()> {
    keep_first(std::io::stdout().lock().flush(), &UNWRITTEN);
    match UNWRITTEN.get() {
        None => Ok(()),
        Some(error) => Err(anyhow::anyhow!("writing to standard output: {error}")),
    }
}

/// Lends standard output to a writer of many lines, through a buffer.
///
/// # Errors
///
/// What writing comes to, unless it is that the reader has gone away.
pub(crate) fn many(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut buffer = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    match write(&mut buffer).and_then(|()| buffer.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What is in the buffer would be tried again when it is dropped.
            let _ = buffer.into_parts();
            Ok(())
        }
        outcome => outcome.context("writing to standard output"),
    }
}

/// Writes a line to standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Makes `bytes` the content of the file. Whoever reads it, even after this process was killed, finds the old content
/// or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_away_is_no_failure_and_a_full_disk_is() {
        let first = OnceLock::new();
        keep_first(Err(ErrorKind::BrokenPipe.into()), &first);
        assert!(first.get().is_none());
        keep_first(Err(ErrorKind::StorageFull.into()), &first);
        keep_first(Err(ErrorKind::Other.into()), &first);
        assert_eq!(first.get().map(std::io::Error::kind), Some(ErrorKind::StorageFull));
    }
}
