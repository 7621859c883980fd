//! Compactions: the strategy decides, this acts.
//!
//! 1. After every change of the tree the strategy is asked for plans. Each is validated; a refused one is an event.
//! 2. Moves and drops are installed at once; a merge becomes a job.
//! 3. The job merges its inputs through the sieve into tables, a block per step, and syncs them.
//! 4. The plan is validated again against the tree as it is now, then installed. Its inputs go when their last reader
//!    does.

use crate::core::{Core, Tree};
use crate::edit::{AddedRun, Edit, TableMeta};
use crate::gc::{Others, Sieve};
use crate::install::{SyncFiles, install, open_finished, set_brake};
use crate::jobs::Token;
use crate::merge::MergeCursor;
use crate::output::{Finished, Outputs};
use crate::read::SuperVersion;
use crate::run_cursor::RunCursor;
use crate::shared::Grant;
use crate::version::{Level, Run, Version};
use nori_compaction::{
    JobId, LevelView, Plan, PlanKind, Refusal, RunId, RunPlace, TreeEvent, TreeView, validate,
};
use nori_env::{Class, Instant, Job, Slice, Step as JobStep};
use nori_kv::{EngineEvent, EntryCursor, Error, KeyRange, RangeTombstones, Result};
use nori_sstable::{Fetch, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts what the strategy asks for, as far as jobs are free.
pub(crate) fn schedule(core: &Arc<Core>) {
    let mut tree = core.tree.lock();
    if let Err(error) = schedule_locked(core, &mut tree) {
        drop(tree);
        core.end_writing(&error);
    }
}

fn schedule_locked(core: &Arc<Core>, tree: &mut Tree) -> Result<()> {
    while tree.busy.len() < core.settings.compaction_jobs_max {
        if core.jobs.is_closing() || core.poison.get().is_some() {
            break;
        }
        if core.turns_wanted.load(Ordering::SeqCst) > 0 {
            // Somebody waits for an idle tree to start something, and would wait for ever.
            break;
        }
        let Some(grant) = core.grant() else { break };
        // One at a time: a move is installed at once, and what comes next is planned for the tree it left.
        let plans = core.with_view(tree, |strategy, view| strategy.plan(view, 1));
        let Some(plan) = plans.into_iter().next() else { break };
        if !start(core, tree, plan, grant)? {
            break;
        }
    }
    set_brake(core, tree);
    core.jobs.notify();
    Ok(())
}

/// What a manual compaction is about.
pub(crate) struct Scope {
    pub(crate) range: KeyRange,
    /// Runs of level 0 with this number or a higher one came later.
    pub(crate) run_end: u64,
    /// The levels above are done.
    pub(crate) level_first: usize,
}

impl Scope {
    /// What of `levels` the strategy is shown. What is left out is newer than all it shows, so that no plan passes over it.
    fn of(&self, levels: &[LevelView]) -> Vec<LevelView> {
        let mut shown = levels.to_vec();
        shown[0].runs.retain(|run| run.id.0 < self.run_end);
        let done = self.level_first.min(shown.len());
        shown[..done].iter_mut().for_each(|level| level.runs.clear());
        shown
    }
}

/// A step of a manual compaction that was started.
pub(crate) struct Step {
    /// The first level it takes tables from.
    pub(crate) level: usize,
    pub(crate) job: JobId,
    /// One of its inputs.
    pub(crate) table: u64,
    /// Whether no job was needed.
    pub(crate) is_done_at_once: bool,
}

/// Starts one step of a manual compaction; `None` if there is nothing left to do. Nothing else runs.
pub(crate) fn start_manual(core: &Arc<Core>, scope: &Scope) -> Result<Option<Step>> {
    let mut tree = core.tree.lock();
    let plan = core.with_view(&mut tree, |strategy, view| {
        let levels = scope.of(view.levels);
        strategy.plan_manual(&TreeView { levels: &levels, ..*view }, &scope.range)
    });
    let Some(plan) = plan else { return Ok(None) };
    let is_input = |table: &Arc<Table>| plan.inputs.iter().any(|input| input.0 == table.number());
    let has_input = |level: &Level| level.runs.iter().any(|run| run.tables.iter().any(is_input));
    let step = Step {
        level: tree.version.levels.iter().position(has_input).unwrap_or(0),
        job: JobId(tree.next_job),
        table: plan.inputs.first().map_or(0, |input| input.0),
        is_done_at_once: matches!(plan.kind, PlanKind::Move | PlanKind::Drop(_)),
    };
    let started = start(core, &mut tree, plan, Grant::free());
    drop(tree);
    match started {
        Ok(true) => Ok(Some(step)),
        Ok(false) => Err(Error::Busy { what: "a step of the compaction was refused".to_owned() }),
        Err(error) => {
            // The manifest may hold any part of the edit.
            core.end_writing(&error);
            Err(error)
        }
    }
}

/// Whether that job runs.
pub(crate) fn is_running(core: &Core, job: JobId) -> bool {
    core.tree.lock().busy.jobs().any(|(id, _)| id == job)
}

/// Whether nothing runs.
pub(crate) fn is_idle(core: &Core) -> bool {
    core.tree.lock().busy.is_empty()
}

/// Validates a plan and runs it: at once, or as a job. False if it was refused.
fn start(core: &Arc<Core>, tree: &mut Tree, plan: Plan, grant: Grant) -> Result<bool> {
    if let Err(refusal) = core.with_view(tree, |_, view| validate(view, &plan)) {
        refuse(core, tree, &plan, &refusal);
        return Ok(false);
    }
    let id = JobId(tree.next_job);
    tree.next_job += 1;
    tree.busy.begin(id, &plan, &tree.version.views);
    tree.strategy.observe(&TreeEvent::Began { job: id, plan: &plan });
    let inputs = Inputs::of(&tree.version, &plan);
    core.tell(&EngineEvent::CompactionBegin {
        job: id.0,
        why: plan.why,
        level_out: plan.out.level as u8,
        tables_in: plan.inputs.len() as u64,
        bytes_in: inputs.bytes,
    });
    let begun = core.parts.clock.now();
    match plan.kind {
        PlanKind::Merge | PlanKind::Rewrite => {
            let class =
                if inputs.is_shallow { Class::CompactionShallow } else { Class::CompactionDeep };
            let job = Compaction::new(core, id, plan, inputs, (begun, grant));
            core.parts.tasks.submit(class, Box::new(job));
        }
        PlanKind::Move => {
            let moved = inputs.tables();
            let result = Finish { id, plan: &plan, begun, bytes_in: inputs.bytes, bytes_out: 0 };
            let is_installed = install_plan(core, tree, &result, &moved)?;
            core.counters.trivial_moves.add(u64::from(is_installed));
            return Ok(is_installed);
        }
        PlanKind::Drop(_) => {
            let result = Finish { id, plan: &plan, begun, bytes_in: inputs.bytes, bytes_out: 0 };
            return install_plan(core, tree, &result, &BTreeMap::new());
        }
    }
    Ok(true)
}

fn refuse(core: &Core, tree: &mut Tree, plan: &Plan, refusal: &Refusal) {
    core.counters.plans_refused.add(1);
    core.tell(&EngineEvent::PlanRefused { rule: refusal.to_string().into() });
    tree.strategy.observe(&TreeEvent::Refused { plan, refusal });
}

/// The input tables of a plan, and the rest of the tree.
struct Inputs {
    /// In probe order, each with its input tables only.
    runs: Vec<Run>,
    /// The runs of the tree without the inputs.
    others: Vec<Run>,
    bytes: u64,
    entries: u64,
    /// Whether any comes from level 0.
    is_shallow: bool,
}

impl Inputs {
    fn of(version: &Version, plan: &Plan) -> Self {
        let mut inputs =
            Self { runs: vec![], others: vec![], bytes: 0, entries: 0, is_shallow: false };
        for (level, content) in version.levels.iter().enumerate() {
            for run in &content.runs {
                let is_input =
                    |table: &&Arc<Table>| plan.inputs.iter().any(|input| input.0 == table.number());
                let (taken, left): (Vec<_>, Vec<_>) = run.tables.iter().partition(is_input);
                let part = |tables: Vec<&Arc<Table>>| {
                    Run::new(run.id, tables.into_iter().cloned().collect())
                };
                for table in &taken {
                    inputs.bytes += table.bytes();
                    inputs.entries += table.properties().entries;
                    inputs.is_shallow |= level == 0;
                }
                if !taken.is_empty() {
                    inputs.runs.push(part(taken));
                }
                if !left.is_empty() {
                    inputs.others.push(part(left));
                }
            }
        }
        inputs
    }

    fn tables(&self) -> BTreeMap<u64, Arc<Table>> {
        let tables = self.runs.iter().flat_map(|run| &*run.tables);
        tables.map(|table| (table.number(), Arc::clone(table))).collect()
    }
}

struct Compaction {
    core: Arc<Core>,
    id: JobId,
    plan: Plan,
    bytes_in: u64,
    begun: Instant,
    state: State,
    is_installed: bool,
    _grant: Grant,
    _token: Token,
}

enum State {
    Merging(Box<Merging>),
    Syncing(SyncFiles),
    Ended,
}

struct Merging {
    merge: MergeCursor<RunCursor>,
    sieve: Sieve,
    outputs: Outputs,
}

impl Compaction {
    fn new(
        core: &Arc<Core>,
        id: JobId,
        plan: Plan,
        inputs: Inputs,
        (begun, grant): (Instant, Grant),
    ) -> Self {
        let Inputs { runs, others, bytes, entries, .. } = inputs;
        let mut ranges = RangeTombstones::default();
        for fragment in runs.iter().flat_map(|run| &*run.tables).flat_map(|t| t.ranges().iter()) {
            for seqno in &fragment.seqnos {
                ranges.add(&fragment.start, &fragment.end, *seqno);
            }
        }
        let ranges = ranges.fragments();
        let sieve =
            Sieve::new(core.boundaries(), core.expiry_floor(), ranges, Others::Runs(others));
        let target = plan.cuts.table_bytes_target.max(1);
        // A filter is sized for one table, not for the job.
        let per_table = entries / bytes.div_ceil(target).max(1);
        let cursors = runs.into_iter().map(|run| RunCursor::new(run.tables, Fetch::Pass));
        let merging = Merging {
            merge: MergeCursor::new(cursors),
            outputs: Outputs::new(
                core,
                plan.out.level,
                per_table,
                plan.cuts.clone(),
                sieve.ranges_kept(),
            ),
            sieve,
        };
        Self {
            core: Arc::clone(core),
            id,
            plan,
            bytes_in: bytes,
            begun,
            state: State::Merging(Box::new(merging)),
            is_installed: false,
            _grant: grant,
            _token: core.jobs.begin(),
        }
    }

    fn try_step(&mut self) -> Result<JobStep> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Merging(merging) => self.merge(merging),
            State::Syncing(mut files) => {
                if let Some(signal) = files.poll()? {
                    self.state = State::Syncing(files);
                    return Ok(JobStep::Wait(signal));
                }
                self.install(&files.take())?;
                Ok(JobStep::Done)
            }
            State::Ended => Ok(JobStep::Done),
        }
    }

    fn merge(&mut self, mut merging: Box<Merging>) -> Result<JobStep> {
        let Merging { merge, sieve, outputs } = &mut *merging;
        let blocks = outputs.blocks();
        while merge.next()? {
            let Some(entry) = merge.entry() else { break };
            let is_new_key = sieve.is_new_key(&entry);
            if let Some(kept) = sieve.sift(entry) {
                outputs.add(&kept, is_new_key)?;
            }
            if outputs.blocks() > blocks {
                self.state = State::Merging(merging);
                return Ok(JobStep::Again);
            }
        }
        let finished = merging.outputs.finish()?;
        self.state = State::Syncing(SyncFiles::new(&self.core, finished));
        Ok(JobStep::Again)
    }

    fn install(&mut self, finished: &[Finished]) -> Result<()> {
        let core = &self.core;
        let opened = open_finished(core, finished)?;
        let bytes_out = finished.iter().map(|table| table.bytes).sum();
        let result = Finish {
            id: self.id,
            plan: &self.plan,
            begun: self.begun,
            bytes_in: self.bytes_in,
            bytes_out,
        };
        self.is_installed = install_plan(core, &mut core.tree.lock(), &result, &opened)?;
        if self.is_installed {
            core.counters.compactions.add(1);
            core.counters.compaction_bytes_read.add(self.bytes_in);
            core.counters.compaction_bytes_written.add(bytes_out);
        } else {
            opened.values().for_each(|table| table.mark_obsolete());
        }
        Ok(())
    }
}

impl Job for Compaction {
    fn step(&mut self, _: &Slice) -> JobStep {
        if self.core.jobs.is_closing() {
            self.state = State::Ended;
            return JobStep::Done;
        }
        match self.try_step() {
            Ok(JobStep::Done) => {
                schedule(&self.core);
                JobStep::Done
            }
            Ok(step) => step,
            Err(error) => {
                self.core.end_writing(&error);
                JobStep::Done
            }
        }
    }

    fn panicked(&mut self) {
        let what = "the compaction panicked".to_owned();
        self.core.end_writing(&Error::Invalid { what });
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        let mut tree = self.core.tree.lock();
        tree.busy.end(self.id);
        if !self.is_installed {
            tree.strategy.observe(&TreeEvent::Abandoned { job: self.id, plan: &self.plan });
        }
    }
}

/// A plan that is ready to be installed.
struct Finish<'a> {
    id: JobId,
    plan: &'a Plan,
    begun: Instant,
    bytes_in: u64,
    bytes_out: u64,
}

/// Validates the plan again and installs it with `opened` as its outputs; whether it was not refused.
fn install_plan(
    core: &Arc<Core>,
    tree: &mut Tree,
    result: &Finish<'_>,
    opened: &BTreeMap<u64, Arc<Table>>,
) -> Result<bool> {
    let Finish { id, plan, begun, bytes_in, bytes_out } = *result;
    let mut outputs: Vec<_> =
        opened.values().map(|table| Arc::new(crate::version::stats_of(table))).collect();
    // Moved tables have the numbers of their birth, which say nothing about their keys.
    outputs.sort_by(|a, b| a.keys.min.cmp(&b.keys.min));
    tree.busy.end(id);
    let check =
        core.with_view(tree, |_, view| nori_compaction::validate_install(view, plan, &outputs));
    if let Err(refusal) = check {
        refuse(core, tree, plan, &refusal);
        return Ok(false);
    }
    let mut edit =
        Edit { removed: plan.inputs.iter().map(|input| input.0).collect(), ..Edit::default() };
    if !opened.is_empty() {
        let tables = opened.values().map(|table| TableMeta::of(table)).collect();
        let level = plan.out.level;
        let (run, index) = place(core, &tree.version, plan);
        edit.added.push(AddedRun { level, run, index, tables });
    }
    install(core, tree, edit, opened, |sv, version| SuperVersion {
        active: Arc::clone(&sv.active),
        sealed: sv.sealed.clone(),
        version,
    })?;
    tree.level_bytes_written[plan.out.level] += bytes_out;
    tree.strategy.observe(&TreeEvent::Installed { job: id, plan, bytes_out });
    let took_micros = core.parts.clock.now().since(begun).as_micros() as u64;
    core.tell(&EngineEvent::CompactionEnd {
        job: id.0,
        why: plan.why,
        level_out: plan.out.level as u8,
        bytes_in,
        bytes_out,
        took_micros,
    });
    Ok(true)
}

/// The run that takes the outputs, and where it stands if it is new: in the place of the newest input of that level, or
/// as the newest run of the level.
fn place(core: &Core, version: &Version, plan: &Plan) -> (RunId, usize) {
    let runs = &version.levels[plan.out.level].runs;
    if let RunPlace::Into(run) = plan.out.run
        && runs.iter().any(|other| other.id == run)
    {
        return (run, 0);
    }
    let is_input = |table: &Arc<Table>| plan.inputs.iter().any(|input| input.0 == table.number());
    let newest_input = runs.iter().position(|run| run.tables.iter().any(is_input)).unwrap_or(0);
    let run = RunId(core.next_number.fetch_add(1, Ordering::Relaxed));
    (run, newest_input)
}
