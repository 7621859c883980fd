//! The only place that writes to the terminal and keeps what runs have come to, and words that are written in several. A reader that has gone away (`| head`) is no error.

use anyhow::{Context, Result};
use nori_workloads::nearest;
use serde::Serialize;
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

/// That no `kind` has this name, which have, and which of those was meant perhaps.
pub(crate) fn unknown(kind: &str, wrong: &str, names: &[&str]) -> String {
    let meant = nearest(wrong, names.iter().copied());
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("no {kind} is called `{wrong}`, only {}{meant}", names.join(", "))
}

/// Writes what a run has come to into `file`, which has the old or the new whenever this is cut short.
///
/// # Errors
///
/// If that fails.
pub(crate) fn keep(state: &impl Serialize, file: &Path) -> Result<()> {
    let write = || {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_string_pretty(state)? + "\n")?;
        std::fs::rename(new, file)
    };
    write().with_context(|| format!("writing {}", file.display()))
}
