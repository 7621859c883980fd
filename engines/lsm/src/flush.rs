//! Flushes: a sealed memtable becomes the newest run of level 0.
//!
//! 1. One flush runs at a time, of the oldest sealed memtable, so that runs of level 0 keep their order.
//! 2. It waits until the memtable's last sequence number is visible: from then on nobody inserts into it.
//! 3. It merges through the sieve into tables, a block per step.
//! 4. It syncs files and folder, then installs: manifest first, then the super-version, then the log's segments go.

use crate::compact;
use crate::core::{Core, from_wal};
use crate::edit::{AddedRun, Edit, TableMeta};
use crate::gc::Sieve;
use crate::install::{SyncFiles, install, open_finished};
use crate::jobs::Token;
use crate::mem::Sealed;
use crate::output::{Finished, Outputs};
use crate::read::SuperVersion;
use nori_compaction::{CutRule, RunId, TreeEvent};
use nori_env::{Class, Instant, Job, Slice, Step};
use nori_kv::{EngineEvent, EntryCursor, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts a flush if a sealed memtable waits for one and none runs.
pub(crate) fn schedule(core: &Arc<Core>) {
    if core.jobs.is_closing()
        || core.poison.get().is_some()
        || core.super_version.load().sealed.is_empty()
        || core.is_flushing.swap(true, Ordering::SeqCst)
    {
        return;
    }
    let token = Some(core.jobs.begin());
    let job = Flush { core: Arc::clone(core), state: State::Start, _token: token };
    core.parts.tasks.submit(Class::Flush, Box::new(job));
}

struct Flush {
    core: Arc<Core>,
    state: State,
    _token: Option<Token>,
}

enum State {
    Start,
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
            State::Start => self.start(),
            State::Building(building) => self.build(building, slice),
            State::Syncing(syncing) => self.sync(syncing),
            State::Ended => Ok(Step::Done),
        }
    }

    fn start(&mut self) -> Result<Step> {
        let core = &self.core;
        let Some(sealed) = core.super_version.load().sealed.last().cloned() else {
            return Ok(self.end());
        };
        let reached = core.publisher.reached(sealed.last);
        if !reached.is_fired() {
            self.state = State::Start;
            return Ok(Step::Wait(reached));
        }
        core.check_poison()?;
        let memtable = &sealed.mem.memtable;
        memtable.seal();
        core.tell(&EngineEvent::FlushBegin { why: sealed.why, bytes_in: sealed.mem.bytes() });
        let version = Arc::clone(&core.super_version.load().version);
        let others = version.levels.iter().flat_map(|level| level.runs.iter().cloned()).collect();
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
        let finished = syncing.files.take();
        install_flush(&self.core, &syncing.sealed, &finished, syncing.begun)?;
        Ok(self.end())
    }

    /// Makes way for the next flush and for what the new run asks for.
    fn end(&mut self) -> Step {
        self.core.is_flushing.store(false, Ordering::SeqCst);
        compact::schedule(&self.core);
        schedule(&self.core);
        Step::Done
    }
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

fn install_flush(
    core: &Arc<Core>,
    sealed: &Arc<Sealed>,
    finished: &[Finished],
    begun: Instant,
) -> Result<()> {
    let opened = open_finished(core, finished)?;
    let tick = core.ticks.fetch_add(1, Ordering::Relaxed) + 1;
    let mut edit = Edit {
        last_seqno: Some(sealed.last),
        log_number: Some(sealed.next_segment),
        begun: Some(core.wal()?.tail().0),
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
    core.wal()?.remove_below(sealed.next_segment).map_err(from_wal)?;
    core.jobs.notify();
    Ok(())
}
