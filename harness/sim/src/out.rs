//! The only place that writes to the terminal. A reader that has gone away (`| head`) is no error.

use std::io::Write;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
