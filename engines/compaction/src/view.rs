//! What a strategy sees: levels of sorted runs of tables, as numbers and key bounds.
//!
//! The *probe order* of a tree is level by level from level 0, inside a level run by run as listed.
//! Of two entries of one key the one that is probed first is the newer one: that is the law which
//! every edit keeps.

use crate::Plan;
use nori_kv::{KeyRange, SeqNo, Tick};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a table for as long as the store lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.0)
    }
}

/// Names a sorted run for as long as it exists; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Names a running job: a plan that was accepted and is not installed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// The user keys that the entries and range tombstones of a table lie in.
///
/// Invariant: `min < max`, or `min == max` and not `max_excluded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpan {
    /// The smallest key.
    pub min: Arc<[u8]>,
    /// The largest key, or the end of a range tombstone if that is larger.
    pub max: Arc<[u8]>,
    /// `max` itself lies outside: it is the end of a range tombstone, which is exclusive.
    pub max_excluded: bool,
}

impl KeySpan {
    /// The keys from `min` to `max`, both inside.
    pub fn closed(min: impl Into<Arc<[u8]>>, max: impl Into<Arc<[u8]>>) -> Self {
        let span = Self { min: min.into(), max: max.into(), max_excluded: false };
        assert!(span.min <= span.max, "a span ends where it starts or later");
        span
    }

    /// Whether every key of `self` is smaller than every key of `other`.
    pub fn is_before(&self, other: &Self) -> bool {
        self.max < other.min || (self.max_excluded && self.max == other.min)
    }

    /// Whether a key can lie in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.is_before(other) && !other.is_before(self)
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.min <= *key && (*key < *self.max || (*key == *self.max && !self.max_excluded))
    }

    /// Whether every key of `other` lies inside `self`.
    pub fn covers(&self, other: &Self) -> bool {
        let ends_inside = other.max < self.max
            || (other.max == self.max && (other.max_excluded || !self.max_excluded));
        self.min <= other.min && ends_inside
    }

    /// Whether every key of `self` lies inside `range`.
    pub fn is_within(&self, range: &KeyRange) -> bool {
        let end = range.end.as_deref();
        let ends_inside =
            end.is_none_or(|end| *self.max < *end || (self.max_excluded && *self.max == *end));
        range.start.as_slice() <= &*self.min && ends_inside
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        let longer = if self.covers_end_of(other) { self } else { other };
        Self {
            min: Arc::clone((&self.min).min(&other.min)),
            max: Arc::clone(&longer.max),
            max_excluded: longer.max_excluded,
        }
    }

    fn covers_end_of(&self, other: &Self) -> bool {
        self.max > other.max || (self.max == other.max && !self.max_excluded)
    }
}

/// The smallest span that covers all of `spans`; `None` if there are none.
pub(crate) fn hull_of<'s>(spans: impl IntoIterator<Item = &'s KeySpan>) -> Option<KeySpan> {
    spans.into_iter().fold(None, |hull: Option<KeySpan>, span| {
        Some(hull.map_or_else(|| span.clone(), |hull| hull.hull(span)))
    })
}

/// How often cursors sought in a table since the store was opened, estimated from a sample. Not kept.
///
/// A number that readers add to: two looks during one plan may differ, and the second is not less.
#[derive(Clone, Debug, Default)]
pub struct Seeks(Arc<AtomicU64>);

impl Seeks {
    /// A view of the number that readers add to.
    pub fn of(number: &Arc<AtomicU64>) -> Self {
        Self(Arc::clone(number))
    }

    /// The number now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it.
    pub fn add(&self, seeks: u64) {
        self.0.fetch_add(seeks, Ordering::Relaxed);
    }
}

impl PartialEq for Seeks {
    fn eq(&self, other: &Self) -> bool {
        self.count() == other.count()
    }
}

/// What is known of a table without reading it. The engine keeps this in its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct TableStats {
    /// Its name.
    pub id: TableId,
    /// Its keys, the spans of its range tombstones included.
    pub keys: KeySpan,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of keys and values in it, before compression.
    pub raw_bytes: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Point tombstones.
    pub tombstones: u64,
    /// Range tombstones.
    pub range_tombstones: u64,
    /// An estimate of the bytes, in this table and below it, that its tombstones and versions shadow.
    pub shadowed_bytes: u64,
    /// The smallest sequence number of its entries.
    pub seqno_min: SeqNo,
    /// The largest sequence number of its entries.
    pub seqno_max: SeqNo,
    /// When it was written, in logical time.
    pub created: Tick,
    /// When its oldest tombstone was written; `None`: it has none. Survives compaction.
    pub tombstone_oldest: Option<Tick>,
    /// The seeks of cursors that reached it.
    pub seeks_sampled: Seeks,
}

impl TableStats {
    /// A table with these bounds and sizes and without tombstones; the rest is zero.
    pub fn new(id: TableId, keys: KeySpan, bytes: u64, entries: u64) -> Self {
        Self {
            id,
            keys,
            bytes,
            raw_bytes: bytes,
            entries,
            tombstones: 0,
            range_tombstones: 0,
            shadowed_bytes: 0,
            seqno_min: SeqNo::ZERO,
            seqno_max: SeqNo::ZERO,
            created: Tick(0),
            tombstone_oldest: None,
            seeks_sampled: Seeks::default(),
        }
    }
}

/// A sorted run.
///
/// Invariant: `tables` is not empty, and `tables[i].keys.is_before(tables[i + 1].keys)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// Its name.
    pub id: RunId,
    /// Its tables in order of keys.
    pub tables: Vec<Arc<TableStats>>,
}

impl RunView {
    /// Bytes of all tables.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// The tables that overlap `span`: neighbours, found by binary search.
    pub fn overlapping(&self, span: &KeySpan) -> &[Arc<TableStats>] {
        let first = self.tables.partition_point(|table| table.keys.is_before(span));
        let count = self.tables[first..].partition_point(|table| !span.is_before(&table.keys));
        &self.tables[first..first + count]
    }
}

/// A level: sorted runs, **newest first**.
///
/// Level 0 holds one run for each flush, of one or more tables; the newest flush is `runs[0]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelView {
    /// Its runs, newest first.
    pub runs: Vec<RunView>,
}

impl LevelView {
    /// Bytes of all runs.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(RunView::bytes).sum()
    }

    /// Tables of all runs, newest run first.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableStats>> {
        self.runs.iter().flat_map(|run| &run.tables)
    }
}

/// The whole tree at one moment.
#[derive(Clone, Copy, Debug)]
pub struct TreeView<'a> {
    /// All levels, level 0 first; empty levels are there as well, so the number is constant.
    pub levels: &'a [LevelView],
    /// What running jobs read and will write.
    pub busy: &'a Busy,
    /// Logical time.
    pub now: Tick,
    /// The sequence numbers that readers hold snapshots of, ascending. The engine puts the newest
    /// visible one last, so `snapshots[0]` is what no reader is behind of; empty: nobody reads.
    pub snapshots: &'a [SeqNo],
    /// Bytes free on the disk, if known.
    pub disk_free: Option<u64>,
}

/// A running job, as the planner has to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct BusyJob {
    /// What it does.
    pub plan: Plan,
    /// The hull of its inputs: its outputs will lie inside.
    pub keys: KeySpan,
    /// Bytes of its inputs.
    pub bytes: u64,
}

/// The jobs that are running: their inputs are taken, and their outputs will appear.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Busy {
    jobs: BTreeMap<JobId, BusyJob>,
}

impl Busy {
    /// Notes that `plan`, which was validated against `levels`, runs from now on as `job`.
    pub fn begin(&mut self, job: JobId, plan: &Plan, levels: &[LevelView]) {
        let inputs: Vec<&Arc<TableStats>> = levels
            .iter()
            .flat_map(LevelView::tables)
            .filter(|table| plan.inputs.contains(&table.id))
            .collect();
        let keys = hull_of(inputs.iter().map(|table| &table.keys));
        let keys = keys.expect("a validated plan has inputs, and they are in the tree");
        let bytes = inputs.iter().map(|table| table.bytes).sum();
        let before = self.jobs.insert(job, BusyJob { plan: plan.clone(), keys, bytes });
        assert!(before.is_none(), "a job begins once");
    }

    /// Notes that `job` ended, installed or not.
    pub fn end(&mut self, job: JobId) {
        self.jobs.remove(&job);
    }

    /// Whether a running job reads `table`.
    pub fn has(&self, table: TableId) -> bool {
        self.jobs.values().any(|job| job.plan.inputs.contains(&table))
    }

    /// The running jobs in order of their beginning.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &BusyJob)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// The number of running jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The same, without `job`: what the install of `job` is validated against.
    #[must_use]
    pub fn without(&self, job: JobId) -> Self {
        let mut others = self.clone();
        others.end(job);
        others
    }
}

#[cfg(test)]
mod tests;
