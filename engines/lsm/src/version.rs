//! A version: the live tables at one moment, as levels of sorted runs.
//!
//! Versions are immutable; an edit makes the next one. Readers hold the version they began with, and a table's file
//! goes when the last version that names it goes.
//!
//! The *probe order* is level by level, inside a level run by run, newest first: of two entries of one key the one that is
//! probed first is the newer one.

use crate::edit::{Edit, TableMeta};
use nori_compaction::{KeySpan, LevelView, RunId, RunView, Seeks, TableId, TableStats};
use nori_kv::{KeyRange, LevelStats, SeqNo};
use nori_sstable::{Table, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The live tables.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// The number of levels never changes; empty levels are there as well.
    pub(crate) levels: Vec<Level>,
    /// The same, as strategies see it.
    pub(crate) views: Vec<LevelView>,
}

/// The runs of a level, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    pub(crate) runs: Vec<Run>,
}

/// A sorted run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    /// Disjoint, in order of keys, never empty.
    pub(crate) tables: Arc<[Arc<Table>]>,
    /// Whether any of them has range tombstones.
    pub(crate) has_ranges: bool,
}

impl Run {
    pub(crate) fn new(id: RunId, tables: Arc<[Arc<Table>]>) -> Self {
        let has_ranges = tables.iter().any(|table| !table.ranges().is_empty());
        Self { id, tables, has_ranges }
    }

    /// The newest range tombstone over `key` at or below `at`, or zero.
    #[inline]
    pub(crate) fn cover(&self, key: &[u8], at: SeqNo) -> SeqNo {
        if !self.has_ranges {
            return SeqNo::ZERO;
        }
        self.table_for(key).map_or(SeqNo::ZERO, |table| table.ranges().cover(key, at))
    }

    /// The tables that can hold a key `k` with `start <= k` and, if there is an end, `k < end`.
    pub(crate) fn overlapping(&self, start: &[u8], end: Option<&[u8]>) -> &[Arc<Table>] {
        let first = self.tables.partition_point(|table| table.properties().ends_before(start));
        let rest = &self.tables[first..];
        let is_before =
            |end: &[u8]| rest.partition_point(|table| table.properties().key_min.as_slice() < end);
        &rest[..end.map_or(rest.len(), is_before)]
    }

    /// Whether a table can hold an entry of a key in `range`.
    pub(crate) fn may_hold(&self, range: &KeyRange, tally: &mut Tally) -> bool {
        let tables = self.overlapping(&range.start, range.end.as_deref());
        tables.iter().any(|table| table.may_hold(range, tally))
    }

    /// The table that can hold `key`.
    #[inline]
    pub(crate) fn table_for(&self, key: &[u8]) -> Option<&Arc<Table>> {
        let tables = &*self.tables;
        let n = match tables {
            [_] => 0,
            _ => tables.partition_point(|table| table.properties().ends_before(key)),
        };
        tables.get(n).filter(|table| table.spans(key))
    }
}

impl Version {
    /// The tables in probe order of their runs.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.levels.iter().flat_map(|level| &level.runs).flat_map(|run| &*run.tables)
    }

    /// The version after `edit`, whose added tables are open in `opened`.
    ///
    /// # Errors
    ///
    /// What about the edit cannot be applied.
    pub(crate) fn apply(
        &self,
        edit: &Edit,
        opened: &BTreeMap<u64, Arc<Table>>,
    ) -> Result<Self, String> {
        let split = |level: &Level| -> RunsOf<Arc<Table>> {
            level.runs.iter().map(|run| (run.id, run.tables.to_vec())).collect()
        };
        let mut levels: Vec<_> = self.levels.iter().map(split).collect();
        edit_runs(
            &mut levels,
            edit,
            |table| table.number(),
            |meta| opened.get(&meta.number).cloned(),
        )?;
        Self::of_runs(levels)
    }

    /// The version with these runs.
    pub(crate) fn of_runs(levels: Vec<RunsOf<Arc<Table>>>) -> Result<Self, String> {
        let mut version = Self { levels: Vec::new(), views: Vec::new() };
        for level in levels {
            let mut runs = Vec::with_capacity(level.len());
            for (id, tables) in level {
                runs.push(Run::new(id, in_order(tables)?));
            }
            let level = Level { runs };
            version.views.push(view_of(&level));
            version.levels.push(level);
        }
        Ok(version)
    }

    /// The edit that makes this version from an empty one.
    pub(crate) fn as_edit(&self) -> Edit {
        let mut edit = Edit::default();
        for (level, content) in self.levels.iter().enumerate() {
            for (index, run) in content.runs.iter().enumerate() {
                let tables = run.tables.iter().map(|table| TableMeta::of(table)).collect();
                edit.added.push(crate::edit::AddedRun { level, run: run.id, index, tables });
            }
        }
        edit
    }

    /// What operators see of the levels; `bytes_written` per level is the caller's.
    pub(crate) fn stats(&self) -> Vec<LevelStats> {
        let stats = |level: &Level| {
            let mut stats = LevelStats { runs: level.runs.len() as u64, ..LevelStats::default() };
            for table in level.runs.iter().flat_map(|run| &*run.tables) {
                stats.tables += 1;
                stats.bytes += table.bytes();
                stats.entries += table.properties().entries;
                stats.tombstones += table.properties().tombstones;
            }
            stats
        };
        self.levels.iter().map(stats).collect()
    }
}

/// The runs of a level, newest first, as anything that stands for a table.
pub(crate) type RunsOf<T> = Vec<(RunId, Vec<T>)>;

/// Applies the removals and additions of `edit`. Runs that lost all their tables go at the very end, so that the index
/// of an added run counts the runs as they were before.
pub(crate) fn edit_runs<T>(
    levels: &mut [RunsOf<T>],
    edit: &Edit,
    number: impl Fn(&T) -> u64,
    find: impl Fn(&TableMeta) -> Option<T>,
) -> Result<(), String> {
    let mut removed = 0;
    for (_, tables) in levels.iter_mut().flatten() {
        let before = tables.len();
        tables.retain(|table| !edit.removed.contains(&number(table)));
        removed += before - tables.len();
    }
    if removed != edit.removed.len() {
        return Err("it removes a table that is not there".to_owned());
    }
    for added in &edit.added {
        let level = levels.get_mut(added.level);
        let level = level.ok_or_else(|| format!("there is no level {}", added.level))?;
        let mut tables = Vec::with_capacity(added.tables.len());
        for meta in &added.tables {
            tables.push(find(meta).ok_or_else(|| format!("table {} is not there", meta.number))?);
        }
        match level.iter_mut().find(|(id, _)| *id == added.run) {
            Some((_, run)) => run.append(&mut tables),
            None => level.insert(added.index.min(level.len()), (added.run, tables)),
        }
    }
    levels.iter_mut().for_each(|level| level.retain(|(_, tables)| !tables.is_empty()));
    Ok(())
}

fn in_order(mut tables: Vec<Arc<Table>>) -> Result<Arc<[Arc<Table>]>, String> {
    tables.sort_by(|a, b| a.properties().key_min.cmp(&b.properties().key_min));
    let overlap = tables
        .windows(2)
        .find(|pair| !pair[0].properties().ends_before(&pair[1].properties().key_min));
    match overlap {
        Some(pair) => {
            Err(format!("tables {} and {} of one run overlap", pair[0].number(), pair[1].number()))
        }
        None => Ok(tables.into()),
    }
}

fn view_of(level: &Level) -> LevelView {
    let run_view = |run: &Run| RunView {
        id: run.id,
        tables: run.tables.iter().map(|table| Arc::new(stats_of(table))).collect(),
    };
    LevelView { runs: level.runs.iter().map(run_view).collect() }
}

/// What strategies know of a table.
pub(crate) fn stats_of(table: &Table) -> TableStats {
    let of = table.properties();
    let mut keys = KeySpan::closed(of.key_min.as_slice(), of.key_max.as_slice());
    keys.max_excluded = of.is_max_excluded;
    let mut stats = TableStats::new(TableId(table.number()), keys, table.bytes(), of.entries);
    stats.raw_bytes = of.raw_bytes;
    stats.tombstones = of.tombstones;
    stats.range_tombstones = of.range_tombstones;
    stats.seqno_min = of.seqno_min;
    stats.seqno_max = of.seqno_max;
    stats.created = of.created;
    stats.tombstone_oldest = of.tombstone_oldest;
    stats.seeks_sampled = Seeks::of(table.seeks());
    stats
}
