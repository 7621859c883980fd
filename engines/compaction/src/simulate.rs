//! A tree of numbers: a strategy runs on it as it would in an engine, without files.
//!
//! Keys are numbers, an entry has a fixed size, and a table is the list of its keys with their sequence
//! numbers, so everything is exact: what a merge drops, how large its outputs are, whether a read would
//! find the newest version. One entry may stand for many: with entries of a megabyte, a tree of ten
//! terabytes takes ten million of them.
//!
//! The caller decides when a flush comes and when which running job ends; nothing else is left to chance.

use crate::apply::{located, located_of};
use crate::{
    Busy, Debt, JobId, KeySpan, LevelView, Plan, PlanKind, Refusal, RunId, RunView, Shape,
    Strategy, TableId, TableStats, TreeEvent, TreeView, apply, older_beneath, validate,
    validate_install,
};
use nori_kv::{KeyRange, SeqNo, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One entry of a simulated table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: u64,
    /// Its sequence number.
    pub seqno: u64,
    /// Whether it deletes the key.
    pub is_tombstone: bool,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes that flushes wrote.
    pub flushed_bytes: u64,
    /// Bytes that merges read.
    pub read_bytes: u64,
    /// Bytes that merges wrote.
    pub written_bytes: u64,
    /// Merges and rewrites installed.
    pub merges: u64,
    /// Moves installed.
    pub moves: u64,
    /// Plans refused when they were made.
    pub refused: u64,
    /// Jobs whose outputs were refused.
    pub wasted: u64,
}

impl Totals {
    /// Bytes written to tables for each byte flushed; 1 without compaction.
    pub fn write_amplification(&self) -> f64 {
        (self.flushed_bytes + self.written_bytes) as f64 / self.flushed_bytes.max(1) as f64
    }
}

/// A strategy and the tree it keeps.
pub struct Simulation {
    strategy: Box<dyn Strategy>,
    entry_bytes: u64,
    levels: Vec<LevelView>,
    contents: BTreeMap<TableId, Arc<[Item]>>,
    busy: Busy,
    /// Sequence numbers that readers hold, ascending.
    snapshots: Vec<SeqNo>,
    last_seqno: u64,
    last_id: u64,
    now: Tick,
    totals: Totals,
    /// The newest version of each key ever written: what reads must find.
    truth: BTreeMap<u64, Item>,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl Simulation {
    /// An empty tree of `shape.levels_max` levels whose entries have `entry_bytes` each.
    pub fn new(strategy: Box<dyn Strategy>, shape: &Shape, entry_bytes: u64) -> Self {
        Self {
            strategy,
            entry_bytes,
            levels: vec![LevelView::default(); shape.clamped().levels_max],
            contents: BTreeMap::new(),
            busy: Busy::default(),
            snapshots: Vec::new(),
            last_seqno: 0,
            last_id: 0,
            now: Tick(0),
            totals: Totals::default(),
            truth: BTreeMap::new(),
        }
    }

    /// The levels now.
    pub fn levels(&self) -> &[LevelView] {
        &self.levels
    }

    /// What happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The jobs that run.
    pub fn running(&self) -> Vec<JobId> {
        self.busy.jobs().map(|(job, _)| job).collect()
    }

    /// The strategy, as when an engine asks it.
    pub fn strategy(&mut self) -> &mut dyn Strategy {
        self.strategy.as_mut()
    }

    /// Puts another strategy in its place, as when a store is opened with other settings.
    pub fn replace_strategy(&mut self, strategy: Box<dyn Strategy>) {
        self.strategy = strategy;
    }

    /// Runs `ask` on the view that a strategy would see now.
    pub fn with_view<T>(&mut self, ask: impl FnOnce(&mut dyn Strategy, &TreeView<'_>) -> T) -> T {
        let snapshots = self.visible();
        let view = TreeView {
            levels: &self.levels,
            busy: &self.busy,
            now: self.now,
            snapshots: &snapshots,
            disk_free: None,
        };
        ask(self.strategy.as_mut(), &view)
    }

    /// How far the tree is from its shape.
    pub fn debt(&mut self) -> Debt {
        self.with_view(|strategy, view| strategy.debt(view))
    }

    /// A reader holds the present state until the snapshots are released.
    pub fn hold_snapshot(&mut self) {
        self.snapshots.push(seqno(self.last_seqno));
    }

    /// All readers let go.
    pub fn release_snapshots(&mut self) {
        self.snapshots.clear();
    }

    /// Writes `writes` (a key, and whether it is deleted) in this order and flushes them as the newest run.
    pub fn flush(&mut self, writes: &[(u64, bool)]) {
        self.now = Tick(self.now.0 + 1);
        let mut newest = BTreeMap::new();
        for &(key, is_tombstone) in writes {
            self.last_seqno += 1;
            newest.insert(key, Item { key, seqno: self.last_seqno, is_tombstone });
        }
        let items: Vec<Item> = newest.into_values().collect();
        if items.is_empty() {
            return;
        }
        self.truth.extend(items.iter().map(|item| (item.key, *item)));
        let bytes = items.len() as u64 * self.entry_bytes;
        let table = self.table(items);
        self.totals.flushed_bytes += bytes;
        let id = RunId(self.new_id());
        self.levels[0].runs.insert(0, RunView { id, tables: vec![table] });
        self.strategy.observe(&TreeEvent::Flushed { bytes });
    }

    /// Asks for plans and starts those that validate, while fewer than `jobs_max` run; how many started.
    pub fn start(&mut self, jobs_max: usize) -> usize {
        if self.busy.len() >= jobs_max {
            return 0;
        }
        let plans_max = jobs_max - self.busy.len();
        let plans = self.with_view(|strategy, view| strategy.plan(view, plans_max));
        let mut started = 0;
        for plan in plans {
            started += usize::from(self.begin(&plan).is_ok());
        }
        started
    }

    /// Starts a plan, if it validates.
    pub fn begin(&mut self, plan: &Plan) -> Result<JobId, Refusal> {
        if let Err(refusal) = self.with_view(|_, view| validate(view, plan)) {
            self.totals.refused += 1;
            self.strategy.observe(&TreeEvent::Refused { plan, refusal: &refusal });
            return Err(refusal);
        }
        let job = JobId(self.new_id());
        self.busy.begin(job, plan, &self.levels);
        self.strategy.observe(&TreeEvent::Began { job, plan });
        Ok(job)
    }

    /// Does the work of a running job and installs it.
    pub fn finish(&mut self, job: JobId) -> Result<(), Refusal> {
        let Some(plan) = self.busy.jobs().find(|(id, _)| *id == job).map(|(_, b)| b.plan.clone())
        else {
            return Ok(());
        };
        let outputs = self.outputs_of(&plan);
        self.busy.end(job);
        if let Err(refusal) = self.with_view(|_, view| validate_install(view, &plan, &outputs)) {
            self.totals.wasted += 1;
            self.strategy.observe(&TreeEvent::Refused { plan: &plan, refusal: &refusal });
            return Err(refusal);
        }
        let new_run = RunId(self.new_id());
        self.levels = apply(&self.levels, &plan, &outputs, new_run);
        let bytes_out = self.count(&plan, &outputs);
        let alive: BTreeSet<TableId> = located(&self.levels).map(|found| found.table.id).collect();
        self.contents.retain(|id, _| alive.contains(id));
        self.strategy.observe(&TreeEvent::Installed { job, plan: &plan, bytes_out });
        Ok(())
    }

    /// Gives a running job up.
    pub fn abandon(&mut self, job: JobId) {
        let found = self.busy.jobs().find(|(id, _)| *id == job).map(|(_, b)| b.plan.clone());
        if let Some(plan) = found {
            self.busy.end(job);
            self.strategy.observe(&TreeEvent::Abandoned { job, plan: &plan });
        }
    }

    /// Starts and finishes jobs, in order, until nothing is planned or running; the number of jobs, or
    /// `None` if more than `jobs_max` were not enough.
    pub fn settle(&mut self, jobs_max: usize) -> Option<usize> {
        let mut jobs = 0;
        loop {
            self.start(usize::MAX);
            let Some(job) = self.running().first().copied() else { return Some(jobs) };
            if jobs == jobs_max {
                return None;
            }
            let _refusals_are_counted = self.finish(job);
            jobs += 1;
        }
    }

    /// Compacts everything in `range` by hand; the number of jobs, or `None` as in `settle`.
    pub fn compact(&mut self, range: &KeyRange, jobs_max: usize) -> Option<usize> {
        for jobs in 0..jobs_max {
            let plan = self.with_view(|strategy, view| strategy.plan_manual(view, range));
            let Some(plan) = plan else { return Some(jobs) };
            let job = self.begin(&plan).ok()?;
            self.finish(job).ok()?;
        }
        None
    }

    /// What a point read finds: the first version in probe order, and the runs it looked into.
    pub fn get(&self, key: u64) -> (Option<Item>, usize) {
        let mut probed = 0;
        for run in self.levels.iter().flat_map(|level| &level.runs) {
            let sought = KeySpan::closed(key.to_be_bytes(), key.to_be_bytes());
            let Some(table) = run.overlapping(&sought).first() else { continue };
            probed += 1;
            let items = &self.contents[&table.id];
            // Versions of a key are newest first, so the first at or after the key is the newest.
            let at = items.partition_point(|item| item.key < key);
            if let Some(item) = items.get(at).filter(|item| item.key == key) {
                return (Some(*item), probed);
            }
        }
        (None, probed)
    }

    /// Bytes of all tables for each byte that is alive.
    pub fn space_amplification(&self) -> f64 {
        let alive = self.truth.values().filter(|item| !item.is_tombstone).count() as u64;
        let held: u64 = self.levels.iter().map(LevelView::bytes).sum();
        held as f64 / (alive * self.entry_bytes).max(1) as f64
    }

    /// What is wrong with the tree, if anything is: runs that are not disjoint, statistics that do not fit
    /// the contents, an older version found before a newer one.
    pub fn check(&self) -> Result<(), String> {
        for run in self.levels.iter().flat_map(|level| &level.runs) {
            if run.tables.is_empty() {
                return Err(format!("{:?} has no tables", run.id));
            }
            if let Some(pair) = run.tables.windows(2).find(|p| !p[0].keys.is_before(&p[1].keys)) {
                return Err(format!("{} and {} overlap in one run", pair[0].id, pair[1].id));
            }
        }
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for found in located(&self.levels) {
            let items = self.contents.get(&found.table.id).ok_or("a table without contents")?;
            if found.table.entries != items.len() as u64 {
                return Err(format!("{} has wrong statistics", found.table.id));
            }
            for item in items.iter() {
                if let Some(newer) = seen.insert(item.key, item.seqno).filter(|n| *n <= item.seqno)
                {
                    return Err(format!("key {}: {} found after {newer}", item.key, item.seqno));
                }
            }
        }
        for (key, truth) in &self.truth {
            let found = self.get(*key).0;
            let is_gone = found.is_none() && truth.is_tombstone;
            if found != Some(*truth) && !is_gone {
                return Err(format!("key {key}: found {found:?}, written {truth:?}"));
            }
        }
        Ok(())
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The snapshots as the engine passes them: the readers', and the newest visible one.
    fn visible(&self) -> Vec<SeqNo> {
        let mut snapshots = self.snapshots.clone();
        snapshots.push(seqno(self.last_seqno));
        snapshots
    }

    fn table(&mut self, items: Vec<Item>) -> Arc<TableStats> {
        let id = TableId(self.new_id());
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            unreachable!("tables are not empty")
        };
        let keys = KeySpan::closed(first.key.to_be_bytes(), last.key.to_be_bytes());
        let bytes = items.len() as u64 * self.entry_bytes;
        let seqnos = || items.iter().map(|item| item.seqno);
        let table = TableStats {
            tombstones: items.iter().filter(|item| item.is_tombstone).count() as u64,
            seqno_min: seqno(seqnos().min().unwrap_or(0)),
            seqno_max: seqno(seqnos().max().unwrap_or(0)),
            created: self.now,
            ..TableStats::new(id, keys, bytes, items.len() as u64)
        };
        self.contents.insert(id, items.into());
        Arc::new(table)
    }

    fn count(&mut self, plan: &Plan, outputs: &[Arc<TableStats>]) -> u64 {
        let inputs = plan.inputs.iter().filter_map(|id| self.contents.get(id));
        let read: u64 = inputs.map(|items| items.len() as u64 * self.entry_bytes).sum();
        match plan.kind {
            PlanKind::Move => {
                self.totals.moves += 1;
                0
            }
            PlanKind::Drop(_) => 0,
            PlanKind::Merge | PlanKind::Rewrite => {
                let written = outputs.iter().map(|table| table.bytes).sum();
                self.totals.merges += 1;
                self.totals.read_bytes += read;
                self.totals.written_bytes += written;
                written
            }
        }
    }

    /// Runs a plan on the contents of its inputs.
    fn outputs_of(&mut self, plan: &Plan) -> Vec<Arc<TableStats>> {
        let mut inputs = located_of(&self.levels, &plan.inputs);
        inputs.sort_by(|a, b| a.table.keys.min.cmp(&b.table.keys.min));
        match plan.kind {
            PlanKind::Drop(_) => return Vec::new(),
            PlanKind::Move => return inputs.iter().map(|f| Arc::clone(f.table)).collect(),
            PlanKind::Merge | PlanKind::Rewrite => {}
        }
        let mut items: Vec<Item> = inputs
            .iter()
            .flat_map(|found| self.contents[&found.table.id].iter().copied())
            .collect();
        items.sort_by_key(|item| (item.key, std::cmp::Reverse(item.seqno)));
        let beneath = self.with_view(|_, view| older_beneath(view, plan));
        let kept = keep_needed(&items, &self.visible(), &beneath);
        let tables: Vec<Vec<Item>> = cut(kept, plan, self.entry_bytes);
        tables.into_iter().map(|items| self.table(items)).collect()
    }
}

/// Of each key, the versions that some snapshot sees; and of tombstones that all snapshots see, those
/// that still hide something beneath.
fn keep_needed(items: &[Item], snapshots: &[SeqNo], beneath: &[KeySpan]) -> Vec<Item> {
    let mut kept = Vec::with_capacity(items.len());
    let mut newer: Option<Item> = None;
    for &item in items {
        let hidden_by = newer.filter(|newer| newer.key == item.key);
        newer = Some(item);
        let is_seen = hidden_by.is_none_or(|newer| {
            snapshots.iter().any(|s| (item.seqno..newer.seqno).contains(&s.value()))
        });
        let key = item.key.to_be_bytes();
        let hides_nothing = item.is_tombstone
            && snapshots.first().is_none_or(|oldest| item.seqno <= oldest.value())
            && !beneath.iter().any(|span| span.contains(&key));
        if is_seen && !hides_nothing {
            kept.push(item);
        }
    }
    kept
}

fn cut(items: Vec<Item>, plan: &Plan, entry_bytes: u64) -> Vec<Vec<Item>> {
    let mut tables: Vec<Vec<Item>> = Vec::new();
    for item in items {
        let is_due = tables.last().is_none_or(|table| {
            let last = table[table.len() - 1].key;
            let crosses = |before: &Arc<[u8]>| {
                **before > last.to_be_bytes()[..] && **before <= item.key.to_be_bytes()[..]
            };
            let is_large = plan.cuts.table_bytes_target > 0
                && table.len() as u64 * entry_bytes >= plan.cuts.table_bytes_target;
            last != item.key && (is_large || plan.cuts.before.iter().any(crosses))
        });
        if is_due {
            tables.push(Vec::new());
        }
        if let Some(table) = tables.last_mut() {
            table.push(item);
        }
    }
    tables
}

fn seqno(value: u64) -> SeqNo {
    SeqNo::new(value).expect("a simulation writes fewer entries than there are numbers")
}

#[cfg(test)]
mod tests;
