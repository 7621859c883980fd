//! Flushes: a sealed memtable becomes the newest run of level 0.
//!
//! 1. Each flush takes the oldest sealed memtable that no other has taken. Up to [`FLUSHES_MAX`] run: while one waits for the disk
//!    another builds.
//! 2. It waits until the memtable's last sequence number is visible: from then on nobody inserts into it.
//! 3. It merges through the sieve into tables, a block per step. If an older memtable is not in the tree yet, tombstones all
//!    stay: what they hide may be in it.
//! 4. It syncs files and folder, and waits until all older memtables are in the tree, so that runs of level 0 keep their order.
//! 5. It installs: manifest first, then the super-version, then the log's segments go. Without a log the edit says up to which
//!    entry of the replicated log everything is in tables.

use crate::compact;
use crate::core::{Core, from_wal};
use crate::edit::{AddedRun, Edit, TableMeta};
use crate::gc::{Others, Sieve};
use crate::install::{SyncFiles, install, open_finished};
use crate::jobs::Token;
use crate::mem::Sealed;
use crate::output::{Finished, Outputs};
use crate::read::SuperVersion;
use crate::replicated;
use nori_compaction::{CutRule, RunId, TreeEvent};
use nori_env::{Class, Instant, Job, Slice, Step};
use nori_kv::{EngineEvent, EntryCursor, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One that builds and one that waits for the disk. More would take memory and processors from those who write.
const FLUSHES_MAX: usize = 2;

/// Starts flushes of the sealed memtables that wait for one, as many as may run.
pub(crate) fn schedule(core: &Arc<Core>) {
    let mut running = core.flushes.lock();
    if core.jobs.is_closing() || core.poison.get().is_some() {
        return;
    }
    let sv = core.super_version.load_full();
    let mut waiting = sv.sealed.iter().rev().filter(|sealed| !sealed.is_taken());
    while *running < FLUSHES_MAX
        && let Some(sealed) = waiting.next()
    {
        sealed.take();
        *running += 1;
        let state = State::Start(Arc::clone(sealed));
        let job = Flush { core: Arc::clone(core), state, _token: core.jobs.begin() };
        core.parts.tasks.submit(Class::Flush, Box::new(job));
    }
}

struct Flush {
    core: Arc<Core>,
    state: State,
    _token: Token,
}

enum State {
    Start(Arc<Sealed>),
    Building(Box<Building>),
    Syncing(Box<Syncing>),
    Ended,
}

struct Building {
    sealed: Arc<Sealed>,
    cursor: Box<dyn EntryCursor>,
    sieve: Sieve,
    outputs: Outputs,
    begun: Instant,
}

struct Syncing {
    sealed: Arc<Sealed>,
    files: SyncFiles,
    begun: Instant,
}

impl Flush {
    fn try_step(&mut self, slice: &Slice) -> Result<Step> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Start(sealed) => self.start(sealed),
            State::Building(building) => self.build(building, slice),
            State::Syncing(syncing) => self.sync(syncing),
            State::Ended => Ok(Step::Done),
        }
    }

    fn start(&mut self, sealed: Arc<Sealed>) -> Result<Step> {
        let core = &self.core;
        let reached = core.publisher.reached(sealed.last);
        if !reached.is_fired() {
            self.state = State::Start(sealed);
            return Ok(Step::Wait(reached));
        }
        core.check_poison()?;
        let memtable = &sealed.mem.memtable;
        memtable.seal();
        core.tell(&EngineEvent::FlushBegin { why: sealed.why, bytes_in: sealed.mem.bytes() });
        // Of one moment: what goes from the memtables comes into the version.
        let sv = core.super_version.load_full();
        let runs = sv.version.levels.iter().flat_map(|level| &level.runs);
        let others = if is_oldest(&sv, &sealed) {
            Others::Runs(runs.cloned().collect())
        } else {
            Others::Unknown
        };
        let entries = memtable.len() as u64;
        let sieve = Sieve::new(core.boundaries(), core.expiry_floor(), sealed.mem.ranges(), others);
        let ranges = sieve.ranges_kept();
        self.state = State::Building(Box::new(Building {
            cursor: Arc::clone(memtable).cursor(),
            sieve,
            outputs: Outputs::new(core, 0, entries, CutRule::default(), ranges),
            begun: core.parts.clock.now(),
            sealed,
        }));
        Ok(Step::Again)
    }

    fn build(&mut self, mut building: Box<Building>, _slice: &Slice) -> Result<Step> {
        let blocks = building.outputs.blocks();
        while building.cursor.next()? {
            let Some(entry) = building.cursor.entry() else { break };
            let is_new_key = building.sieve.is_new_key(&entry);
            if let Some(kept) = building.sieve.sift(entry) {
                building.outputs.add(&kept, is_new_key)?;
            }
            if building.outputs.blocks() > blocks {
                self.state = State::Building(building);
                return Ok(Step::Again);
            }
        }
        let finished = building.outputs.finish()?;
        let Building { sealed, begun, .. } = *building;
        let files = SyncFiles::new(&self.core, finished);
        self.state = State::Syncing(Box::new(Syncing { sealed, files, begun }));
        Ok(Step::Again)
    }

    fn sync(&mut self, mut syncing: Box<Syncing>) -> Result<Step> {
        if let Some(signal) = syncing.files.poll()? {
            self.state = State::Syncing(syncing);
            return Ok(Step::Wait(signal));
        }
        let progress = self.core.jobs.progress();
        self.core.check_poison()?;
        if self.core.jobs.is_closing() {
            // The older one may have gone without a word to wait for.
            return Ok(Step::Done);
        }
        if !is_oldest(&self.core.super_version.load(), &syncing.sealed) {
            self.state = State::Syncing(syncing);
            return Ok(Step::Wait(progress));
        }
        let finished = syncing.files.take();
        install_flush(&self.core, &syncing.sealed, &finished, syncing.begun)?;
        Ok(self.end())
    }

    /// Makes way for the next flush and for what the new run asks for.
    fn end(&mut self) -> Step {
        *self.core.flushes.lock() -= 1;
        replicated::flush_wanted(&self.core);
        compact::schedule(&self.core);
        schedule(&self.core);
        Step::Done
    }
}

/// Whether all older memtables are in the tree.
fn is_oldest(sv: &SuperVersion, sealed: &Arc<Sealed>) -> bool {
    sv.sealed.last().is_some_and(|oldest| Arc::ptr_eq(oldest, sealed))
}

impl Job for Flush {
    fn step(&mut self, slice: &Slice) -> Step {
        if self.core.jobs.is_closing() {
            // What was built is removed by its drop; the log still has everything.
            self.state = State::Ended;
            return Step::Done;
        }
        match self.try_step(slice) {
            Ok(step) => step,
            Err(error) => {
                self.core.end_writing(&error);
                Step::Done
            }
        }
    }

    fn panicked(&mut self) {
        let what = "the flush panicked".to_owned();
        self.core.end_writing(&nori_kv::Error::Invalid { what });
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        // A pool that stops drops its jobs: whoever waits for this memtable to go must not wait for ever.
        if !matches!(self.state, State::Ended) && !self.core.jobs.is_closing() {
            let what = "the flush was given up by whoever runs jobs".to_owned();
            self.core.end_writing(&nori_kv::Error::Invalid { what });
        }
    }
}

fn install_flush(
    core: &Arc<Core>,
    sealed: &Arc<Sealed>,
    finished: &[Finished],
    begun: Instant,
) -> Result<()> {
    let opened = open_finished(core, finished)?;
    let tick = core.ticks.fetch_add(1, Ordering::Relaxed) + 1;
    let wal = core.wal()?;
    let mut edit = Edit {
        last_seqno: Some(sealed.last),
        log_number: wal.map(|_| sealed.next_segment),
        begun: wal.map(|wal| wal.tail().0),
        applied: wal.is_none().then(|| core.applied_with(sealed)),
        tick: Some(tick),
        ..Edit::default()
    };
    let bytes_out: u64 = finished.iter().map(|table| table.bytes).sum();
    if !finished.is_empty() {
        let run = RunId(core.next_number.fetch_add(1, Ordering::Relaxed));
        let tables = finished.iter().map(|t| TableMeta { number: t.number, bytes: t.bytes });
        edit.added.push(AddedRun { level: 0, run, index: 0, tables: tables.collect() });
    }
    {
        let mut tree = core.tree.lock();
        install(core, &mut tree, edit, &opened, |sv, version| {
            let waiting = sv.sealed.iter().filter(|other| !Arc::ptr_eq(other, sealed));
            SuperVersion {
                active: Arc::clone(&sv.active),
                sealed: waiting.cloned().collect(),
                version,
            }
        })?;
        tree.level_bytes_written[0] += bytes_out;
        tree.strategy.observe(&TreeEvent::Flushed { bytes: bytes_out });
    }
    core.counters.flushes.add(1);
    core.counters.flush_bytes.add(bytes_out);
    let took_micros = core.parts.clock.now().since(begun).as_micros() as u64;
    core.tell(&EngineEvent::FlushEnd { why: sealed.why, bytes_out, took_micros });
    if let Some(wal) = wal {
        wal.remove_below(sealed.next_segment).map_err(from_wal)?;
    }
    core.charge();
    core.jobs.notify();
    Ok(())
}
