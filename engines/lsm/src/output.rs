//! Writes the tables of a flush or a compaction: cut by size and at given keys, never between two versions of a key.

use crate::core::Core;
use nori_compaction::CutRule;
use nori_env::{File, OpenMode};
use nori_filter::FilterContext;
use nori_kv::{EntryRef, Error, Fragments, Result};
use nori_sstable::{Properties, TableBuilder, TableOptions, table_name};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tables being written.
pub(crate) struct Outputs {
    core: Arc<Core>,
    context: FilterContext,
    cuts: CutRule,
    /// The next of `cuts.before`.
    next_cut: usize,
    builder: Option<(TableBuilder, u64, PathBuf)>,
    /// Range tombstones that are in no table yet.
    ranges: Fragments,
    finished: Vec<Finished>,
    blocks: u64,
}

/// A table that is written but not synced.
pub(crate) struct Finished {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) properties: Properties,
    pub(crate) bytes: u64,
}

impl Outputs {
    /// Tables for `level`; `entries` is a guess at how many entries they hold together. Each gets its part of `ranges`.
    pub(crate) fn new(
        core: &Arc<Core>,
        level: usize,
        entries: u64,
        cuts: CutRule,
        ranges: Fragments,
    ) -> Self {
        let context = core.filter_context(level, entries);
        Self {
            core: Arc::clone(core),
            context,
            cuts,
            next_cut: 0,
            builder: None,
            ranges,
            finished: Vec::new(),
            blocks: 0,
        }
    }

    /// Appends an entry; `is_new_key` if its key is not that of the one before.
    pub(crate) fn add(&mut self, entry: &EntryRef<'_>, is_new_key: bool) -> Result<()> {
        if is_new_key && self.should_cut(entry.key) {
            self.cut(Some(entry.key))?;
        }
        let (builder, ..) = match &mut self.builder {
            Some(open) => open,
            None => self.builder.insert(open(&self.core, &self.context)?),
        };
        let before = builder.blocks();
        builder.add(entry)?;
        self.blocks += builder.blocks() - before;
        Ok(())
    }

    /// The number of blocks written so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Closes the last table; all tables, in order of keys.
    pub(crate) fn finish(&mut self) -> Result<Vec<Finished>> {
        if self.builder.is_none() && !self.ranges.is_empty() {
            self.builder = Some(open(&self.core, &self.context)?);
        }
        self.cut(None)?;
        Ok(std::mem::take(&mut self.finished))
    }

    fn should_cut(&mut self, key: &[u8]) -> bool {
        let passed = self.next_cut;
        while self.cuts.before.get(self.next_cut).is_some_and(|cut| **cut <= *key) {
            self.next_cut += 1;
        }
        let target = self.cuts.table_bytes_target;
        let is_full =
            |(builder, ..): &(TableBuilder, u64, PathBuf)| target > 0 && builder.bytes() >= target;
        self.next_cut > passed || self.builder.as_ref().is_some_and(is_full)
    }

    /// Closes the table; what comes next begins at `before`. Range tombstones are cut there, so that tables stay disjoint.
    fn cut(&mut self, before: Option<&[u8]>) -> Result<()> {
        let Some((builder, number, path)) = self.builder.take() else { return Ok(()) };
        let ranges = match before {
            Some(key) => self.ranges.split_before(key),
            None => std::mem::take(&mut self.ranges),
        };
        let finished = builder.finish(&ranges);
        let (file, properties, bytes) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                remove(&self.core, &path);
                return Err(error);
            }
        };
        self.finished.push(Finished { file, path, number, properties, bytes });
        Ok(())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        // Whatever was not handed over belongs to no version and will be read by nobody.
        if let Some((_, _, path)) = &self.builder {
            remove(&self.core, path);
        }
        for finished in &self.finished {
            remove(&self.core, &finished.path);
        }
    }
}

/// Removes a file that no version names. If that fails it is an orphan, which the next opening sweeps.
pub(crate) fn remove(core: &Core, path: &std::path::Path) {
    let _ = core.parts.fs.remove(path);
}

fn open(core: &Core, context: &FilterContext) -> Result<(TableBuilder, u64, PathBuf)> {
    let number = core.next_number.fetch_add(1, Ordering::Relaxed);
    let path = core.dir.join(table_name(number));
    let file = core
        .parts
        .fs
        .open(&path, OpenMode::CreateNew)
        .map_err(|e| Error::io("creating", &path, e))?;
    let options = TableOptions {
        codec: core.components.codec,
        block_bytes: core.settings.block_bytes,
        filter: Arc::clone(&core.components.filter),
        filter_context: *context,
        prefix_bytes: core.settings.filter_prefix_bytes,
        created: core.tick(),
    };
    Ok((TableBuilder::new(file, &path, number, options), number, path))
}
