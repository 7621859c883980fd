//! The manifest: a log of version edits, and `CURRENT`, which names the manifest in force.
//!
//! ```text
//! manifest = magic "NORIMANI", format version u32, zero u32, record*
//! record   = length u32, checksum u32 of manifest number u64, offset u64, payload; payload: an edit
//! CURRENT  = "<manifest file name> <checksum of the name, 8 hex digits>\n"
//! ```
//!
//! The format version is the kind of store ([`StoreKind`]).
//!
//! 1. An edit is appended and synced before anything acts on it; a failed write or sync ends writing for good.
//! 2. Every opening, and every manifest past a size, begins a new manifest with one edit that makes the present version; then
//!    `CURRENT` is replaced: written beside, synced, renamed, folder synced.
//! 3. The last record of a crashed store may be torn. A bad record with a valid one behind it is damage.
//! 4. Once an edit is safe, the log is marked with how long the manifest is. So an end that was lost later is missed when the
//!    store is opened, also where a record begins. A store without a log misses it in another way: it says that it was applied up
//!    to an entry after which the replicated log does not begin.

use crate::edit::Edit;
use nori_env::{File, Fs, OpenMode, SyncTicket};
use nori_kv::{Error, Result};
use nori_wal::Mark;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"NORIMANI";
pub(crate) const HEADER_BYTES: usize = 16;
const RECORD_HEADER_BYTES: usize = 8;
/// A manifest past this size is rolled.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
pub(crate) const CURRENT: &str = "CURRENT";
const CURRENT_NEXT: &str = "CURRENT.next";

/// Where the writes are that are not in tables yet. A store of one kind is never opened as one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// In a log of the store's own: format version 1.
    Logged,
    /// In a replicated log, from which entries are applied: format version 2, whose edits may say up to which.
    Replicated,
}

impl StoreKind {
    fn format_version(self) -> u32 {
        match self {
            Self::Logged => 1,
            Self::Replicated => 2,
        }
    }
}

/// A manifest that is being written.
pub(crate) struct Manifest {
    file: Arc<dyn File>,
    path: PathBuf,
    number: u64,
    kind: StoreKind,
    bytes: u64,
}

impl Manifest {
    /// Begins manifest `number` with `edit` and makes it the one in force.
    pub(crate) fn create(
        fs: &dyn Fs,
        dir: &Path,
        number: u64,
        kind: StoreKind,
        edit: &Edit,
    ) -> Result<Self> {
        Self::begin(fs, dir, number, kind, edit).inspect_err(|_| {
            // What a full disk cut short must not take room. If `CURRENT` names it, it is needed.
            if read_current(fs, dir).is_ok_and(|current| current != Some(number)) {
                let _ = fs.remove(&dir.join(manifest_name(number)));
            }
        })
    }

    fn begin(fs: &dyn Fs, dir: &Path, number: u64, kind: StoreKind, edit: &Edit) -> Result<Self> {
        let path = dir.join(manifest_name(number));
        let file =
            fs.open(&path, OpenMode::CreateNew).map_err(|e| Error::io("creating", &path, e))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&kind.format_version().to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        file.write_at(&header, 0).map_err(|e| Error::io("writing", &path, e))?;
        let mut manifest = Self { file, path, number, kind, bytes: HEADER_BYTES as u64 };
        manifest.append(edit)?;
        fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))?;
        set_current(fs, dir, number)?;
        Ok(manifest)
    }

    /// Appends an edit and makes it safe.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        let payload = edit.encode();
        let mut record = Vec::with_capacity(RECORD_HEADER_BYTES + payload.len());
        record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        record.extend_from_slice(&checksum(self.number, self.bytes, &payload).to_le_bytes());
        record.extend_from_slice(&payload);
        self.file.write_at(&record, self.bytes).map_err(|e| Error::io("writing", &self.path, e))?;
        sync_now(&*self.file, &self.path)?;
        self.bytes += record.len() as u64;
        Ok(())
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn kind(&self) -> StoreKind {
        self.kind
    }

    /// How far it is safe.
    pub(crate) fn mark(&self) -> Mark {
        Mark { number: self.number, bytes: self.bytes }
    }

    pub(crate) fn should_roll(&self) -> bool {
        self.bytes > MANIFEST_BYTES_MAX
    }
}

/// Syncs a file and waits; the caller is no job, or its file system completes at once.
pub(crate) fn sync_now(file: &dyn File, path: &Path) -> Result<()> {
    let ticket = SyncTicket::start(|done| file.sync(done));
    let outcome = ticket.take();
    let outcome = outcome.unwrap_or_else(|| Err(std::io::Error::other("the sync has not ended")));
    outcome.map_err(|e| Error::io("syncing", path, e))
}

/// What a manifest says.
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) kind: StoreKind,
    /// Each with the offset of its record; at least one.
    pub(crate) edits: Vec<(u64, Edit)>,
    /// The offset behind the last record that can be read.
    pub(crate) end: u64,
}

/// The manifest in force; `None` if there is no store.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Found>> {
    let Some(number) = read_current(fs, dir)? else { return Ok(None) };
    let path = dir.join(manifest_name(number));
    let content = fs.read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt(
            &dir.join(CURRENT),
            0,
            format!("it names {}, which is missing", path.display()),
        ),
        _ => Error::io("reading", &path, e),
    })?;
    let kind = check_header(&content, &path)?;
    let (mut edits, mut offset) = (Vec::new(), HEADER_BYTES);
    while let Some((payload, end)) = record_at(&content, number, offset) {
        let edit = Edit::decode(payload).ok_or_else(|| {
            Error::corrupt(&path, offset as u64, "a record with a right checksum holds no edit")
        })?;
        edits.push((offset as u64, edit));
        offset = end;
    }
    let is_damaged =
        (offset + 1..content.len()).any(|at| record_at(&content, number, at).is_some());
    if is_damaged || edits.is_empty() {
        return Err(Error::corrupt(&path, offset as u64, "a record cannot be read"));
    }
    Ok(Some(Found { number, kind, edits, end: offset as u64 }))
}

pub(crate) fn check_header(content: &[u8], path: &Path) -> Result<StoreKind> {
    if content.len() < HEADER_BYTES || content[..8] != MAGIC {
        return Err(Error::corrupt(path, 0, "the magic of a manifest is not there"));
    }
    let word = |at: usize| content[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
    let kinds = [StoreKind::Logged, StoreKind::Replicated];
    let Some(kind) = kinds.into_iter().find(|kind| kind.format_version() == word(8)) else {
        let what = format!("format version {} is not known, only 1 and 2", word(8));
        return Err(Error::corrupt(path, 8, what));
    };
    if word(12) != 0 {
        return Err(Error::corrupt(path, 12, "reserved bytes are not zero"));
    }
    Ok(kind)
}

/// The error of a manifest that can be read up to `end` while the log says that it was safe up to `marked`.
pub(crate) fn lost_end(path: &Path, end: u64, marked: u64) -> Error {
    let what = format!("no edit can be read here, but the log says {marked} bytes were safe");
    Error::corrupt(path, end, what)
}

/// The payload of the valid record at `offset` and the offset behind it. Never panics.
pub(crate) fn record_at(content: &[u8], number: u64, offset: usize) -> Option<(&[u8], usize)> {
    let header = content.get(offset..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
    let len = u32::from_le_bytes(*header.first_chunk()?) as usize;
    let stored = u32::from_le_bytes(*header.last_chunk()?);
    let start = offset + RECORD_HEADER_BYTES;
    let end = start.checked_add(len)?;
    let payload = content.get(start..end)?;
    (checksum(number, offset as u64, payload) == stored).then_some((payload, end))
}

fn checksum(number: u64, offset: u64, payload: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    nori_env::crc32c_append(nori_env::crc32c(&place), payload)
}

fn set_current(fs: &dyn Fs, dir: &Path, number: u64) -> Result<()> {
    let (next, current) = (dir.join(CURRENT_NEXT), dir.join(CURRENT));
    match fs.remove(&next) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("removing", &next, e));
        }
        _ => {}
    }
    let file = fs.open(&next, OpenMode::CreateNew).map_err(|e| Error::io("creating", &next, e))?;
    let name = manifest_name(number);
    let line = format!("{name} {:08x}\n", nori_env::crc32c(name.as_bytes()));
    file.write_at(line.as_bytes(), 0).map_err(|e| Error::io("writing", &next, e))?;
    sync_now(&*file, &next)?;
    fs.rename(&next, &current).map_err(|e| Error::io("renaming", &next, e))?;
    fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))
}

fn read_current(fs: &dyn Fs, dir: &Path) -> Result<Option<u64>> {
    let path = dir.join(CURRENT);
    let content = match fs.read(&path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("reading", &path, e)),
    };
    let parse = || {
        let line = std::str::from_utf8(&content).ok()?.strip_suffix('\n')?;
        let (name, stored) = line.split_once(' ')?;
        let is_right = stored == format!("{:08x}", nori_env::crc32c(name.as_bytes()));
        manifest_number(name).filter(|_| is_right)
    };
    let number = parse();
    number.map(Some).ok_or_else(|| Error::corrupt(&path, 0, "it does not name a manifest"))
}

/// The file name of manifest `number`.
pub(crate) fn manifest_name(number: u64) -> String {
    format!("{number:010}.manifest")
}

/// The number of the manifest of that file name.
pub(crate) fn manifest_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".manifest")?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

/// Whether the store's own code made a file of that name, and may sweep it.
pub(crate) fn is_temporary(name: &str) -> bool {
    name == CURRENT_NEXT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{AddedRun, TableMeta};
    use nori_compaction::RunId;
    use nori_env::MemFs;
    use nori_kv::{Applied, SeqNo};

    /// The bytes of the examples on a format page, one after the other: lines of an offset, two spaces and bytes in hex.
    fn examples(page: &str) -> String {
        let line = |line: &str| {
            let (offset, bytes) = line.strip_prefix("    ")?.split_once("  ")?;
            let is_offset = offset.len() == 4 && offset.bytes().all(|b| b.is_ascii_hexdigit());
            is_offset.then(|| bytes.replace(' ', ""))
        };
        page.lines().filter_map(line).collect()
    }

    #[test]
    fn the_bytes_of_the_format_page_are_what_is_written() {
        let (fs, dir) = (MemFs::new(), Path::new("/store"));
        fs.create_dir(dir).unwrap();
        let numbers = |next| Edit { next_number: Some(next), ..Edit::default() };
        let first = Edit { log_number: Some(1), levels: Some(7), ..numbers(2) };
        let mut manifest = Manifest::create(&fs, dir, 1, StoreKind::Logged, &first).unwrap();
        manifest.append(&Edit { begun: Some(1), ..Edit::default() }).unwrap();
        assert_eq!(manifest.mark(), Mark { number: 1, bytes: 40 });
        let tables = vec![TableMeta { number: 2, bytes: 363 }];
        let flush = Edit {
            last_seqno: SeqNo::new(2),
            log_number: Some(2),
            tick: Some(1),
            begun: Some(2),
            added: vec![AddedRun { level: 0, run: RunId(3), index: 0, tables }],
            strategy: Some(("leveled".to_owned(), vec![0; 8])),
            ..numbers(4)
        };
        manifest.append(&flush).unwrap();
        let content = fs.read(&dir.join(manifest_name(1))).unwrap();
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        let under = Edit { applied: Some(Applied { index: 300, term: 2 }), ..numbers(2) };
        Manifest::create(&fs, dir, 2, StoreKind::Replicated, &under).unwrap();
        let content = fs.read(&dir.join(manifest_name(2))).unwrap();
        let of_two: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        let page = include_str!("../../../docs/formats/manifest.md");
        assert_eq!(hex + &of_two, examples(page));
        set_current(&fs, dir, 1).unwrap();
        let current = fs.read(&dir.join(CURRENT)).unwrap();
        let line = String::from_utf8_lossy(&current);
        assert!(page.contains(&format!("`CURRENT` holds `{}` and a line feed", line.trim_end())));
        assert_eq!(current, b"0000000001.manifest 01dea5ac\n");
        let found = read(&fs, dir).unwrap().unwrap();
        let offsets: Vec<u64> = found.edits.iter().map(|(offset, _)| *offset).collect();
        assert_eq!((offsets, found.end), (vec![16, 30, 40], 84));
        assert_eq!(found.edits[2].1, flush);
    }
}
