//! `norikv-bench inspect`: what lies in one file of a store, without opening the store.
//!
//! The dumps themselves are made by the crates that know the bytes (`nori_sstable::dump`, `nori_wal::dump`,
//! `nori_lsm::dump_manifest`); here they become lines or JSON. Nothing is opened for writing and no lock is taken, so the
//! store may be open; what is being written then may look torn.
//!
//! What a file alone and the log beside it cannot tell is named as left to an opening, so that no damage here is not taken for a whole store.
//!
//! Checksums cover a file's number, which is in its name: a file that was renamed cannot be read. Damage is shown, each with
//! its file and offset, what can be read is shown all the same, and the command ends with 1.

use crate::names::usage;
use crate::{Ended, FAILED, out};
use anyhow::Result;
use nori_env::OsFs;
use nori_kv::EntryRef;
use nori_lsm::RunDump;
use nori_wal::Ending;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A table
    Table,
    /// A segment of the log
    Wal,
    /// A manifest
    Manifest,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Table, Self::Wal, Self::Manifest];

    fn extension(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wal => "wal",
            Self::Manifest => "manifest",
        }
    }
}

/// What is to be shown.
pub(crate) struct Inspect {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    /// Entries, groups or edits that are shown, from the first on.
    pub(crate) limit: usize,
    pub(crate) is_json: bool,
}

/// What is not looked at here.
const LEFT_OF_TABLE: &str = "whether a manifest names it";
const LEFT_OF_WAL: &str =
    "whether segments before and behind it are there, whether its groups hold operations";
const LEFT_OF_MANIFEST: &str =
    "whether CURRENT names it, whether its tables are there, the log (whose torn bytes it counts)";

/// A dump as a value, and its damage.
type Shown = (Value, Vec<String>);

/// Shows the file.
pub(crate) fn inspect(inspect: &Inspect) -> Result<()> {
    let Inspect { kind, path, limit, is_json } = inspect;
    let (dir, number) = place(*kind, path)?;
    let unreadable = |error: String| usage(format!("{} cannot be read: {error}", path.display()));
    let (value, damage) = match kind {
        Kind::Table => table(dir, number, *limit).map_err(|error| unreadable(error.to_string()))?,
        Kind::Wal => segment(dir, number, *limit).map_err(|error| unreadable(error.to_string()))?,
        Kind::Manifest => {
            manifest(dir, number, *limit).map_err(|error| unreadable(error.to_string()))?
        }
    };
    if *is_json {
        out::line(&serde_json::to_string_pretty(&value)?);
    } else {
        lines(&value).iter().for_each(|line| out::line(line));
    }
    match damage.len() {
        0 => Ok(()),
        n => {
            let what = format!("{n} damaged place{}: {}", if n == 1 { "" } else { "s" }, damage[0]);
            Err(Ended { code: FAILED, what }.into())
        }
    }
}

/// The folder of a file and the number in its name.
fn place(kind: Kind, path: &Path) -> Result<(&Path, u64)> {
    let extension = kind.extension();
    let named = path.extension().and_then(|named| named.to_str());
    let other = Kind::ALL.map(Kind::extension).into_iter().find(|of| Some(*of) == named);
    if let Some(other) = other.filter(|other| *other != extension) {
        let path = path.display();
        return Err(usage(format!(
            "{path} is not called NUMBER.{extension} but as a file of another kind: give `inspect {other} {path}`"
        )));
    }
    let stem = path.file_name().and_then(|name| name.to_str());
    let stem = stem.and_then(|name| name.strip_suffix(extension)?.strip_suffix('.'));
    let number = stem.and_then(|stem| stem.parse().ok());
    let number = number.ok_or_else(|| {
        let what = "its number is in its name, and every checksum covers it";
        usage(format!("{} is not called NUMBER.{extension}: {what}", path.display()))
    })?;
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(usage(format!("{} is no file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(usage(format!("there is no file {}", path.display())));
        }
        Err(error) => return Err(usage(format!("{}: {error}", path.display()))),
    }
    Ok((path.parent().unwrap_or(Path::new("")), number))
}

fn table(dir: &Path, number: u64, limit: usize) -> nori_kv::Result<Shown> {
    let mut entries = Vec::new();
    let dump = nori_sstable::dump(&OsFs, dir, number, &mut |block, entry: EntryRef<'_>| {
        if entries.len() < limit {
            entries.push(json!({
                "block": block,
                "key": text(entry.key),
                "seqno": entry.seqno.value(),
                "kind": format!("{:?}", entry.kind).to_lowercase(),
                "expires": entry.expires.map(|tick| tick.0),
                "value_bytes": entry.value.len(),
            }));
        }
    })?;
    let part = |part: nori_sstable::PartDump| json!({ "offset": part.offset, "bytes": part.bytes });
    let damage: Vec<String> = dump.damage.iter().map(ToString::to_string).collect();
    let value = json!({
        "bytes": dump.bytes,
        "footer": dump.footer.map(|footer| json!({
            "filter": part(footer.filter),
            "index": part(footer.index),
            "range_tombstones": part(footer.range_tombstones),
            "properties": part(footer.properties),
        })),
        "properties": dump.properties.map(|p| json!({
            "entries": p.entries,
            "tombstones": p.tombstones,
            "range_tombstones": p.range_tombstones,
            "raw_bytes": p.raw_bytes,
            "key_min": text(&p.key_min),
            "key_max": text(&p.key_max),
            "is_max_excluded": p.is_max_excluded,
            "seqno_min": p.seqno_min.value(),
            "seqno_max": p.seqno_max.value(),
            "created": p.created.0,
            "tombstone_oldest": p.tombstone_oldest.map(|tick| tick.0),
            "expires_min": p.expires_min.map(|tick| tick.0),
            "filter": p.filter,
            "prefix_bytes": p.prefix_bytes,
        })),
        "filter": dump.filter.map(|filter| json!({
            "policy": filter.policy, "memory_bytes": filter.memory_bytes, "is_known": filter.is_known,
        })),
        "blocks": dump.blocks,
        "blocks_read": dump.blocks_read,
        "block_bytes_max": dump.block_bytes_max,
        "entries_read": dump.entries,
        "range_tombstones": dump.range_tombstones.iter().map(|fragment| json!({
            "start": text(&fragment.start),
            "end": text(&fragment.end),
            "seqnos": fragment.seqnos.iter().map(|seqno| seqno.value()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "entries": entries,
        "left_to_opening": LEFT_OF_TABLE,
        "damage": damage,
    });
    Ok((value, damage))
}

fn segment(dir: &Path, number: u64, limit: usize) -> Result<Shown, nori_wal::WalError> {
    let mut groups = Vec::new();
    let dump = nori_wal::dump(&OsFs, dir, number, &mut |record| {
        if groups.len() < limit {
            groups.push(json!({
                "offset": record.offset,
                "end": record.end,
                "first_seqno": record.first_seqno,
                "ops": record.ops,
                "payload_bytes": record.payload.len(),
                "synced_upto": [record.synced_upto.0, record.synced_upto.1],
                "mark": record.mark.map(|mark| json!({ "manifest": mark.number, "bytes": mark.bytes })),
                "is_behind": record.is_behind,
            }));
        }
    })?;
    let damage: Vec<String> = dump.damage.iter().map(ToString::to_string).collect();
    let value = json!({
        "bytes": dump.bytes,
        "header": dump.header.map(|header| json!({
            "predecessor": header.predecessor,
            "predecessor_end": header.predecessor_end,
            "mark": { "manifest": header.mark.number, "bytes": header.mark.bytes },
        })),
        "groups_read": dump.groups,
        "marks_read": dump.marks,
        "ops": dump.ops,
        "end": dump.end,
        "ending": match dump.ending {
            Ending::Zeros => "zeros",
            Ending::Torn => "torn",
            Ending::Damaged => "damaged",
        },
        "rest_bytes": dump.rest_bytes,
        "behind": dump.behind,
        "sealed_at": dump.sealed_at,
        "groups": groups,
        "left_to_opening": LEFT_OF_WAL,
        "damage": damage,
    });
    Ok((value, damage))
}

fn manifest(dir: &Path, number: u64, limit: usize) -> nori_kv::Result<Shown> {
    let dump = nori_lsm::dump_manifest(&OsFs, dir, number)?;
    let run = |run: &RunDump| json!({ "level": run.level, "run": run.run, "tables": run.tables });
    let edits = dump.edits.iter().take(limit).map(|edit| {
        let numbers: Map<String, Value> =
            edit.numbers.iter().map(|(name, number)| ((*name).into(), json!(number))).collect();
        json!({
            "offset": edit.offset,
            "is_behind": edit.is_behind,
            "numbers": numbers,
            "strategy": edit.strategy.as_ref().map(|(name, _)| name),
            "removed": edit.removed,
            "added": edit.added.iter().map(run).collect::<Vec<_>>(),
        })
    });
    let damage: Vec<String> = dump.damage.iter().map(ToString::to_string).collect();
    let value = json!({
        "bytes": dump.bytes,
        "end": dump.end,
        "torn_bytes": dump.torn_bytes,
        "mark": { "manifest": dump.marked.0, "bytes": dump.marked.1 },
        "edits_read": dump.edits.len(),
        "tree": dump.tree.iter().map(run).collect::<Vec<_>>(),
        "edits": edits.collect::<Vec<_>>(),
        "left_to_opening": LEFT_OF_MANIFEST,
        "damage": damage,
    });
    Ok((value, damage))
}

/// A key for people: what is not printable is escaped.
fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

/// A dump as lines: a field a line, and of a list an item a line. What a file ought to have and has not is said: a segment
/// without a header reads as an empty one else.
fn lines(value: &Value) -> Vec<String> {
    let Value::Object(fields) = value else { return vec![short(value)] };
    let mut lines = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Null => lines.push(format!("{name}: none")),
            Value::Array(items) => {
                lines.push(format!("{name}: {}", items.len()));
                lines.extend(items.iter().map(|item| format!("  {}", short(item))));
            }
            value => lines.push(format!("{name}: {}", short(value))),
        }
    }
    lines
}

/// A value in one line; what is absent is left out of it.
fn short(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> = fields
                .map(|(name, value)| match value {
                    Value::Object(_) => format!("{name}({})", short(value)),
                    value => format!("{name}={}", short(value)),
                })
                .collect();
            fields.join(" ")
        }
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_name_is_refused_with_the_name_it_needs() {
        let error = place(Kind::Wal, Path::new("x/0000000001.table")).unwrap_err().to_string();
        assert!(error.contains("is not called NUMBER.wal"), "{error}");
        let error = place(Kind::Table, Path::new("x/0000000001.table")).unwrap_err().to_string();
        assert_eq!(error, "there is no file x/0000000001.table");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.table");
        std::fs::create_dir(&path).unwrap();
        let error = place(Kind::Table, &path).unwrap_err().to_string();
        assert_eq!(error, format!("{} is no file", path.display()));
    }

    #[test]
    fn a_field_that_is_absent_is_said_and_one_of_an_item_left_out() {
        let value = json!({ "a": 1, "b": null, "c": [{ "d": 2, "e": null, "f": { "g": 3 } }] });
        assert_eq!(lines(&value), ["a: 1", "b: none", "c: 1", "  d=2 f(g=3)"]);
    }
}
