//! The only place that writes to the terminal. A reader that has gone away (`| head`) is no error. And how a file is
//! replaced, so that nobody ever reads half of one.

use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
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
