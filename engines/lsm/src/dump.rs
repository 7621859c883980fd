//! A manifest as it lies on the disk, for people: its edits one by one, the tree they make, and every damage there is.
//!
//! 1. The header is checked; damage of it is noted.
//! 2. Records are read up to the first that cannot be. If a valid one begins at any later byte, that is damage, and reading goes
//!    on there; else the rest is a torn tail.
//! 3. Each edit is applied to the tree of those before it. One that does not fit is damage and changes nothing.
//! 4. The newest mark of the log beside it says how far it was safe: if it ends earlier, that is damage and no torn tail. The mark is
//!    read first, so that a manifest which grows meanwhile is not found short.
//!
//! Nothing is opened for writing. Left to an opening: whether `CURRENT` names the manifest, whether its tables are there, and what
//! the log holds.

use crate::core::from_wal;
use crate::edit::{Edit, TableMeta};
use crate::manifest::{HEADER_BYTES, check_header, lost_end, manifest_name, record_at};
use crate::version::{RunsOf, edit_runs};
use nori_env::Fs;
use nori_kv::{Error, Result};
use std::path::Path;

/// More levels than this no tree has.
const LEVELS_MAX: usize = 64;

/// A run of tables: its number, and of each table number and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDump {
    /// Its level.
    pub level: usize,
    /// Its number.
    pub run: u64,
    /// Number and bytes of each table.
    pub tables: Vec<(u64, u64)>,
}

/// An edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditDump {
    /// Where its record begins.
    pub offset: u64,
    /// A record before it cannot be read.
    pub is_behind: bool,
    /// The numbers it sets, by name.
    pub numbers: Vec<(&'static str, u64)>,
    /// The strategy, if it names one, and the bytes of its state.
    pub strategy: Option<(String, usize)>,
    /// Tables that leave the tree.
    pub removed: Vec<u64>,
    /// Tables that join it.
    pub added: Vec<RunDump>,
}

/// A manifest.
#[derive(Clone, Debug, Default)]
pub struct ManifestDump {
    /// Its length.
    pub bytes: u64,
    /// Its edits.
    pub edits: Vec<EditDump>,
    /// The tree they make: level by level, in each the runs from new to old.
    pub tree: Vec<RunDump>,
    /// The offset behind the last record that can be read.
    pub end: u64,
    /// Bytes behind it: a torn tail, unless damage is noted there.
    pub torn_bytes: u64,
    /// Which manifest the log vouches for, and up to which length; `(0, 0)` if it has no mark.
    pub marked: (u64, u64),
    /// What is damaged, each as [`Error::Corrupt`].
    pub damage: Vec<Error>,
}

/// Reads manifest `number` in `dir`.
///
/// # Errors
///
/// If the file cannot be read at all. Damage is no error of the call: it is what was asked for.
pub fn dump_manifest(fs: &dyn Fs, dir: &Path, number: u64) -> Result<ManifestDump> {
    let path = dir.join(manifest_name(number));
    let mark = nori_wal::last_mark(fs, dir).map_err(from_wal);
    let content = fs.read(&path).map_err(|e| Error::io("reading", &path, e))?;
    let mut dump = ManifestDump { bytes: content.len() as u64, ..ManifestDump::default() };
    dump.damage.extend(check_header(&content, &path).err());
    let mut levels: Vec<RunsOf<TableMeta>> = Vec::new();
    let (mut at, mut is_behind) = (HEADER_BYTES, false);
    loop {
        while let Some((payload, end)) = record_at(&content, number, at) {
            let corrupt = |what: &str| Error::corrupt(&path, at as u64, what);
            match Edit::decode(payload) {
                None => {
                    dump.damage.push(corrupt("a record with a right checksum holds no edit"));
                }
                Some(edit) => {
                    dump.edits.push(shown(&edit, at, is_behind));
                    if let Err(what) = apply(&mut levels, &edit) {
                        dump.damage.push(corrupt(&format!("an edit does not fit: {what}")));
                    }
                }
            }
            at = end;
        }
        dump.end = at as u64;
        let next = (at + 1..content.len()).find(|at| record_at(&content, number, *at).is_some());
        let Some(next) = next else { break };
        dump.damage.push(Error::corrupt(&path, at as u64, "a record cannot be read"));
        (at, is_behind) = (next, true);
    }
    dump.torn_bytes = dump.bytes.saturating_sub(dump.end);
    if dump.edits.is_empty() && dump.damage.is_empty() {
        dump.damage.push(Error::corrupt(&path, dump.end, "a record cannot be read"));
    }
    match mark {
        Ok(mark) => {
            dump.marked = (mark.number, mark.bytes);
            if mark.number == number && mark.bytes > dump.end {
                dump.damage.push(lost_end(&path, dump.end, mark.bytes));
            }
        }
        Err(error) => dump.damage.push(error),
    }
    for (level, runs) in levels.iter().enumerate() {
        dump.tree.extend(runs.iter().map(|(id, tables)| run(level, id.0, tables)));
    }
    Ok(dump)
}

fn apply(levels: &mut Vec<RunsOf<TableMeta>>, edit: &Edit) -> std::result::Result<(), String> {
    let mut next = levels.clone();
    let wanted = edit.levels.map_or(0, |levels| levels as usize).min(LEVELS_MAX);
    if next.len() < wanted {
        next.resize_with(wanted, Vec::new);
    }
    edit_runs(&mut next, edit, |table| table.number, |meta| Some(*meta))?;
    *levels = next;
    Ok(())
}

fn run(level: usize, run: u64, tables: &[TableMeta]) -> RunDump {
    let tables = tables.iter().map(|table| (table.number, table.bytes)).collect();
    RunDump { level, run, tables }
}

fn shown(edit: &Edit, offset: usize, is_behind: bool) -> EditDump {
    let numbers = [
        ("last_seqno", edit.last_seqno.map(nori_kv::SeqNo::value)),
        ("next_number", edit.next_number),
        ("log_number", edit.log_number),
        ("levels", edit.levels),
        ("tick", edit.tick),
        ("begun", edit.begun),
        ("applied_index", edit.applied.map(|applied| applied.index)),
        ("applied_term", edit.applied.map(|applied| applied.term)),
    ];
    let added = edit.added.iter().map(|of| run(of.level, of.run.0, &of.tables));
    EditDump {
        offset: offset as u64,
        is_behind,
        numbers: numbers.into_iter().filter_map(|(name, n)| Some((name, n?))).collect(),
        strategy: edit.strategy.as_ref().map(|(name, state)| (name.clone(), state.len())),
        removed: edit.removed.clone(),
        added: added.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::AddedRun;
    use crate::manifest::{Manifest, StoreKind};
    use nori_compaction::RunId;
    use nori_env::{MemFs, OpenMode};

    /// Manifest 1 of three edits: seven levels, a table that joins, the same table moved down a level.
    fn manifest() -> (MemFs, Vec<u8>) {
        let (fs, dir) = (MemFs::new(), Path::new("/store"));
        fs.create_dir(dir).unwrap();
        let added = |level, run| AddedRun {
            level,
            run: RunId(run),
            index: 0,
            tables: vec![TableMeta { number: 2, bytes: 363 }],
        };
        let first = Edit { levels: Some(7), next_number: Some(2), ..Edit::default() };
        let mut manifest = Manifest::create(&fs, dir, 1, StoreKind::Logged, &first).unwrap();
        manifest.append(&Edit { added: vec![added(0, 3)], ..Edit::default() }).unwrap();
        let moved = Edit { removed: vec![2], added: vec![added(1, 4)], ..Edit::default() };
        manifest.append(&moved).unwrap();
        let content = fs.read(&dir.join(manifest_name(1))).unwrap();
        (fs, content)
    }

    fn dumped(fs: &MemFs, content: &[u8]) -> ManifestDump {
        let path = Path::new("/store").join(manifest_name(1));
        fs.remove(&path).unwrap();
        fs.open(&path, OpenMode::CreateNew).unwrap().write_at(content, 0).unwrap();
        dump_manifest(fs, Path::new("/store"), 1).unwrap()
    }

    #[test]
    fn edits_are_shown_one_by_one_and_the_tree_is_what_they_make() {
        let (fs, content) = manifest();
        let dump = dumped(&fs, &content);
        assert!(dump.damage.is_empty() && dump.torn_bytes == 0, "{:?}", dump.damage);
        assert_eq!((dump.edits.len(), dump.edits[0].offset), (3, 16));
        assert_eq!(dump.edits[0].numbers, [("next_number", 2), ("levels", 7)]);
        assert_eq!(dump.edits[2].removed, [2]);
        assert_eq!(dump.tree, [RunDump { level: 1, run: 4, tables: vec![(2, 363)] }]);
    }

    #[test]
    fn a_torn_tail_is_no_damage_and_a_bad_record_before_a_good_one_is() {
        let (fs, content) = manifest();
        let torn = dumped(&fs, &content[..content.len() - 1]);
        assert!(torn.damage.is_empty() && torn.torn_bytes > 0 && torn.edits.len() == 2);
        let mut bad = content;
        bad[16 + 8] ^= 1;
        let dump = dumped(&fs, &bad);
        assert!(dump.damage[0].to_string().contains("byte 16"), "{:?}", dump.damage);
        assert!(dump.edits.len() == 2 && dump.edits.iter().all(|edit| edit.is_behind));
    }
}
