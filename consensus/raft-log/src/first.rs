//! The file that says which segment is the first that counts.
//!
//! `FIRST` holds one line: the number of that segment, of the last segment that is known to have begun, and a checksum of both, 8
//! hex digits. It is replaced as a whole: written beside, synced, renamed, folder synced. Segments before the first are leftovers: they
//! are needed no more, and may be torn.

use crate::error::{LogError, Result};
use nori_env::{Fs, OpenMode, SyncTicket};
use nori_wal::Span;
use std::io::{Error, ErrorKind};
use std::path::Path;

const FIRST: &str = "FIRST";
const FIRST_NEXT: &str = "FIRST.next";

/// Which segments count; all, from 1 on, if nothing was said yet.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Span> {
    let path = dir.join(FIRST);
    let bytes = match fs.read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Span { from: 1, begun: 0 }),
        outcome => outcome.map_err(|e| LogError::io("reading", &path, e))?,
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let parsed = text.strip_suffix('\n').and_then(|line| line.rsplit_once(' '));
    let parsed =
        parsed.filter(|(numbers, sum)| **sum == checksum(numbers)).and_then(|(numbers, _)| {
            let (from, begun) = numbers.split_once(' ')?;
            Some(Span { from: from.parse().ok()?, begun: begun.parse().ok()? })
        });
    parsed.ok_or_else(|| LogError::damaged(&path, 0, "it is not two numbers and their checksum"))
}

fn checksum(numbers: &str) -> String {
    format!("{:08x}", nori_env::crc32c(numbers.as_bytes()))
}

/// Says which segments count from now on; safe when this returns.
pub(crate) fn write(fs: &dyn Fs, dir: &Path, span: Span) -> Result<()> {
    let (next, first) = (dir.join(FIRST_NEXT), dir.join(FIRST));
    match fs.remove(&next) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(LogError::io("removing", &next, e));
        }
        _ => {}
    }
    let numbers = format!("{} {}", span.from, span.begun);
    let line = format!("{numbers} {}\n", checksum(&numbers));
    let file =
        fs.open(&next, OpenMode::CreateNew).map_err(|e| LogError::io("creating", &next, e))?;
    file.write_at(line.as_bytes(), 0).map_err(|e| LogError::io("writing", &next, e))?;
    let ticket = SyncTicket::start(|done| file.sync(done));
    let synced = ticket.take().unwrap_or_else(|| Err(Error::other("the sync has not ended")));
    synced.map_err(|e| LogError::io("syncing", &next, e))?;
    fs.rename(&next, &first).map_err(|e| LogError::io("renaming", &next, e))?;
    fs.sync_dir(dir).map_err(|e| LogError::io("syncing", dir, e))
}
