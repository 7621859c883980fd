//! The only place that writes to the terminal. A reader that has gone away (`| head`) is no error. And how a file is
//! replaced, so that nobody ever reads half of one.

use anyhow::{Context, Result};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
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
