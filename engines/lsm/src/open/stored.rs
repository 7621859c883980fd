//! What the manifest says of a store, held against what else there is.
//!
//! 1. The edits are folded into the live tables; what cannot be is damage at the offset of its edit.
//! 2. The log's mark says how far some manifest was safe: one that ends earlier has lost its end, and an older one is not the one
//!    that was in force.
//! 3. Tables are opened; one that is missing or of another length is damage.

use crate::Settings;
use crate::edit::{Edit, TableMeta};
use crate::manifest::{self, CURRENT, StoreKind, lost_end, manifest_name};
use crate::version::{RunsOf, Version, edit_runs};
use nori_env::Fs;
use nori_kv::{Error, Result};
use nori_sstable::{Table, TableContext, table_number};
use nori_wal::{Mark, segment_number};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the manifest says.
pub(super) struct Stored {
    levels: Vec<RunsOf<TableMeta>>,
    pub(super) numbers: Edit,
    pub(super) kind: StoreKind,
    /// Its number, zero for a store that does not exist yet, and where its last edit ends.
    pub(super) mark: Mark,
    dir: PathBuf,
    /// By table, where the edit is that put it where it is.
    named_at: BTreeMap<u64, u64>,
}

impl Stored {
    /// # Errors
    ///
    /// If there is a store of another kind, among others.
    pub(super) fn read(
        fs: &dyn Fs,
        dir: &Path,
        settings: &Settings,
        kind: StoreKind,
    ) -> Result<Self> {
        let mut stored = Self {
            levels: vec![],
            numbers: Edit::default(),
            kind,
            mark: Mark::default(),
            dir: dir.to_owned(),
            named_at: BTreeMap::new(),
        };
        let levels = settings.shape().levels_max;
        let Some(found) = manifest::read(fs, dir)? else {
            refuse_orphans(fs, dir)?;
            stored.levels = vec![vec![]; levels];
            return Ok(stored);
        };
        if found.kind != kind {
            return Err(of_another_kind(dir, found.kind));
        }
        stored.mark = Mark { number: found.number, bytes: found.end };
        for (offset, edit) in found.edits {
            // A store keeps the levels it has; a setting can only add some.
            let wanted = edit.levels.map_or(0, |levels| levels as usize).max(levels).min(64);
            if stored.levels.len() < wanted {
                stored.levels.resize_with(wanted, Vec::new);
            }
            edit_runs(&mut stored.levels, &edit, |table| table.number, |meta| Some(*meta))
                .map_err(|what| stored.damaged(offset, format!("an edit does not fit: {what}")))?;
            for table in edit.added.iter().flat_map(|run| &run.tables) {
                stored.named_at.insert(table.number, offset);
            }
            stored.numbers.merge_numbers(&edit);
        }
        Ok(stored)
    }

    /// Compares how far the manifest can be read with how far the log says that it was safe.
    pub(super) fn check_mark(&self, mark: Mark) -> Result<()> {
        if mark.number > self.mark.number {
            let what = format!(
                "it names {}, but the log says that {} was in force",
                manifest_name(self.mark.number),
                manifest_name(mark.number)
            );
            return Err(Error::corrupt(&self.dir.join(CURRENT), 0, what));
        }
        if mark > self.mark {
            let path = self.dir.join(manifest_name(self.mark.number));
            return Err(lost_end(&path, self.mark.bytes, mark.bytes));
        }
        Ok(())
    }

    pub(super) fn open_tables(&self, context: &TableContext) -> Result<Version> {
        let mut levels = Vec::with_capacity(self.levels.len());
        for runs in &self.levels {
            let mut opened: RunsOf<Arc<Table>> = Vec::with_capacity(runs.len());
            for (id, metas) in runs {
                let tables = metas.iter().map(|meta| self.open_table(context, meta));
                opened.push((*id, tables.collect::<Result<_>>()?));
            }
            levels.push(opened);
        }
        Version::of_runs(levels).map_err(|what| self.damaged(self.mark.bytes, what))
    }

    fn open_table(&self, context: &TableContext, meta: &TableMeta) -> Result<Arc<Table>> {
        let table = Table::open(context, &self.dir, meta.number).map_err(|error| {
            let is_missing = matches!(&error, Error::Io { os_error, .. }
                if os_error.kind() == std::io::ErrorKind::NotFound);
            if !is_missing {
                return error;
            }
            let named_at = self.named_at.get(&meta.number).copied().unwrap_or(0);
            let name = nori_sstable::table_name(meta.number);
            self.damaged(named_at, format!("the edit here names {name}, which is missing"))
        })?;
        if table.bytes() != meta.bytes {
            let path = self.dir.join(nori_sstable::table_name(meta.number));
            let what =
                format!("{} bytes long where the manifest says {}", table.bytes(), meta.bytes);
            return Err(Error::corrupt(&path, 0, what));
        }
        Ok(table)
    }

    fn damaged(&self, offset: u64, what: String) -> Error {
        Error::corrupt(&self.dir.join(manifest_name(self.mark.number)), offset, what)
    }
}

fn of_another_kind(dir: &Path, found: StoreKind) -> Error {
    let what = match found {
        StoreKind::Logged => "has a log of its own and cannot be put under a replicated one",
        StoreKind::Replicated => "is under a replicated log and has none of its own",
    };
    Error::Invalid { what: format!("the store in {} {what}", dir.display()) }
}

/// A crash between a first manifest and `CURRENT` leaves only manifests. Anything else lost the file that says what is alive.
fn refuse_orphans(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
    let is_data = |name: &&String| table_number(name).is_some() || segment_number(name).is_some();
    match names.iter().find(is_data) {
        Some(name) => {
            let what = format!("it is missing, but {name} is there");
            Err(Error::corrupt(&dir.join(CURRENT), 0, what))
        }
        None => Ok(()),
    }
}
