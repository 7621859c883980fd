//! The only place that writes to the terminal, and words that are written in several. A reader that has gone away (`| head`) is no error.

use nori_workloads::nearest;
use std::io::Write;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// That no `kind` has this name, which have, and which of those was meant perhaps.
pub(crate) fn unknown(kind: &str, wrong: &str, names: &[&str]) -> String {
    let meant = nearest(wrong, names.iter().copied());
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("no {kind} is called `{wrong}`, only {}{meant}", names.join(", "))
}
