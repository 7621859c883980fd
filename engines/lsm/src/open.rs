//! Opening a store, and removing one.
//!
//! 1. Take the lock. Read `CURRENT` and the manifest it names; fold its edits into the live tables ([`stored`]).
//! 2. Replay the log from the manifest's log number on ([`log`], [`apply`]): **one memtable per segment**, sealed, to be flushed as if it
//!    had just been written. So the segments go one by one as their tables are installed, and a crash at any
//!    point of a recovery finds what this one found. What the log vouches for is held against the manifest.
//! 3. Open the tables. Sweep what the manifest does not name: that may make room.
//! 4. Begin a new manifest; then remove the segments behind the tail, whose operations were never acknowledged as safe;
//!    then begin a segment that names the tail as its predecessor; then have the manifest say that it has begun.
//! 5. Flush what was replayed, and wait for it; compactions begin afterwards. After a kill the replayed segments are in the page cache only, and if a sync of the
//!    process that wrote them has failed, the page cache takes them for clean: syncing them would prove nothing, and what
//!    is acknowledged from now on would stand behind a hole. Tables are written and synced anew. And a store that is opened again
//!    and again, each time for a moment, would else gather segments and never come to flush them.
//!
//! If there is no room for step 4 or 5, what was found is served all the same: the store is open for reading, and each write is
//! told that the disk is full.
//!
//! A store under a replicated log has no log: of these steps there are 1, 3, and the manifest of 4. What was applied and is not in tables
//! is applied again.
//!
//! Without `CURRENT` but with tables or segments, a store has lost the file that says what is alive: that is damage, not an
//! empty store.

mod apply;
mod log;
mod stored;

use crate::core::{Core, Tree, WriteOrder, from_wal};
use crate::counters::Counters;
use crate::durable::Durable;
use crate::edit::Edit;
use crate::jobs::Jobs;
use crate::manifest::{self, CURRENT, Manifest, StoreKind, manifest_number};
use crate::mem::Mem;
use crate::publish::Publisher;
use crate::read::SuperVersion;
use crate::shared::{Charged, Shared};
use crate::sought::Sought;
use crate::stall::Brake;
use crate::version::Version;
use crate::write::NOT_DUE;
use crate::{Components, Settings, checkpoint, maintain, removal};
use arc_swap::ArcSwap;
use log::Log;
use nori_compaction::Strategy;
use nori_env::{Fs, NameChange};
use nori_kv::{EngineEvent, Error, ErrorKind, Parts, Result};
use nori_sstable::{Cache, ReadCounters, TableContext, table_number};
use nori_wal::{Wal, WalOptions, segment_number};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io::ErrorKind as ErrorOf;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use stored::Stored;

const LOCK: &str = "LOCK";

/// How a store is opened.
pub(crate) struct Opening {
    pub(crate) settings: Settings,
    pub(crate) components: Components,
    /// `Some`: the store is under a replicated log, and shares this.
    pub(crate) shared: Option<Arc<Shared>>,
}

/// Opens the store in `dir`, or makes one.
pub(crate) fn open(dir: &Path, parts: Parts, opening: Opening) -> Result<Arc<Core>> {
    let fs = &*parts.fs;
    let lock = enter(fs, dir)?;
    checkpoint::check_whole(fs, dir)?;
    let jobs: Arc<Jobs> = Arc::default();
    let tables = table_context(&parts, &opening, &jobs);
    let Opening { settings, components, shared } = opening;
    let kind = if shared.is_some() { StoreKind::Replicated } else { StoreKind::Logged };
    let stored = Stored::read(fs, dir, &settings, kind)?;
    let log = match kind {
        StoreKind::Logged => replay(dir, &parts, &stored, &components)?,
        StoreKind::Replicated => Log::none(&stored.numbers),
    };
    let version = stored.open_tables(&tables)?;
    sweep(fs, dir, &version, stored.mark.number)?;

    let options = WalOptions { kind: components.wal, segment_bytes: settings.segment_bytes() };
    let (manifest, wal, numbers) = begin(dir, &parts, &version, &stored, &log, options)?;
    let full = wal.as_ref().err().cloned();
    let version = Arc::new(version);
    let active = Mem::new(&*components.memtable);
    let applied = numbers.applied.unwrap_or_default();
    let core = Arc::new(Core {
        dir: dir.to_owned(),
        counters: Counters::new(&*parts.meter),
        read_counters: ReadCounters::new(&*parts.meter),
        wal,
        shared,
        charged: Mutex::new(Charged::default()),
        durable: Durable::at(applied),
        publisher: Publisher::new(log.last),
        order: Mutex::new(WriteOrder::new(log.last, applied, Arc::clone(&active))),
        super_version: ArcSwap::from_pointee(SuperVersion {
            active,
            sealed: log.sealed.iter().rev().cloned().collect(),
            version: Arc::clone(&version),
        }),
        tree: Mutex::new(Tree {
            level_bytes_written: vec![0; version.levels.len()],
            version,
            manifest,
            busy: nori_compaction::Busy::default(),
            strategy: restored_strategy(&stored, &settings, &components),
            next_job: 1,
            numbers: numbers.clone(),
        }),
        snapshots: Mutex::default(),
        expiry_floor: AtomicU64::new(0),
        brake: Brake::default(),
        jobs,
        sought: Sought::default(),
        turns_wanted: AtomicUsize::new(0),
        flushes: Mutex::default(),
        next_number: AtomicU64::new(numbers.next_number.unwrap_or(1)),
        ticks: AtomicU64::new(numbers.tick.unwrap_or(0)),
        poison: OnceLock::new(),
        debt_bytes: AtomicU64::new(0),
        group_due: AtomicU64::new(NOT_DUE),
        group_promised: AtomicU64::new(0),
        _lock: lock,
        parts,
        settings,
        components,
        tables,
    });
    begin_life(&core, &log, full)?;
    Ok(core)
}

/// Tells that the store is open, and begins its work.
fn begin_life(core: &Arc<Core>, log: &Log, full: Option<Error>) -> Result<()> {
    let (replayed, torn_bytes) = (log.ops, log.torn_bytes);
    core.tell(&EngineEvent::Opened { replayed, torn_bytes, last: log.last });
    if let Some(shared) = &core.shared {
        shared.enter(core);
    }
    if let Some(error) = full {
        core.end_writing(&error);
    }
    begin_work(core)
}

/// What the store's tables share: a cache, and jobs that remove their files.
fn table_context(parts: &Parts, opening: &Opening, jobs: &Arc<Jobs>) -> TableContext {
    let Opening { settings, components, shared } = opening;
    let own = || Cache::new((components.cache)(settings.cache_bytes), settings.cache_bytes);
    let cache = shared.as_ref().map_or_else(own, |shared| Arc::clone(&shared.cache));
    let (fs, tasks) = (Arc::clone(&parts.fs), Arc::clone(&parts.tasks));
    let remove = removal::by_jobs(Arc::clone(&fs), tasks, Arc::clone(jobs));
    TableContext::new(fs, cache, components.access).removing_with(remove)
}

/// Waits until what was replayed is in tables, and starts compactions. If there is no room for the tables, the store is open
/// for reading.
fn begin_work(core: &Arc<Core>) -> Result<()> {
    core.weigh_memory();
    let outcome = maintain::flush_sealed(core);
    match core.poison.get() {
        Some(error) if error.kind() == ErrorKind::Full => Ok(()),
        failed => {
            let outcome = failed.cloned().map_or(outcome, Err);
            if outcome.is_err() {
                core.jobs.close(&*core.parts.tasks);
                core.discharge();
            }
            outcome
        }
    }
}

/// Replays the log. If manifest and log do not agree, says which of them lost something.
fn replay(dir: &Path, parts: &Parts, stored: &Stored, components: &Components) -> Result<Log> {
    let (fs, tasks) = (&parts.fs, &*parts.tasks);
    let outcome = Log::replay(fs, dir, tasks, &stored.numbers, &*components.memtable);
    let mark = match &outcome {
        Ok(log) => log.mark,
        Err(Error::Corrupt { .. }) => nori_wal::last_mark(&**fs, dir).map_err(from_wal)?,
        Err(error) => return Err(error.clone()),
    };
    stored.check_mark(mark)?;
    outcome
}

/// The manifest and the log to write, or why there are none; and the numbers of all edits.
type Begun = (Result<Manifest>, Result<Option<Wal>>, Edit);

/// Begins to write; for want of room does without, if there is something to read.
fn begin(
    dir: &Path,
    parts: &Parts,
    version: &Version,
    stored: &Stored,
    log: &Log,
    options: WalOptions,
) -> Result<Begun> {
    match begin_writing(dir, parts, version, stored, log, options) {
        Ok((manifest, wal, numbers)) => Ok((Ok(manifest), Ok(wal), numbers)),
        Err(full) if full.kind() == ErrorKind::Full && stored.mark.number > 0 => {
            Ok((Err(full.clone()), Err(full), stored.numbers.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Begins a manifest and a segment, in this order; the manifest, the log and the numbers of all edits.
fn begin_writing(
    dir: &Path,
    parts: &Parts,
    version: &Version,
    stored: &Stored,
    log: &Log,
    options: WalOptions,
) -> Result<(Manifest, Option<Wal>, Edit)> {
    let fs = &*parts.fs;
    let (mut manifest, mut numbers) = begin_manifest(fs, dir, version, stored, log)?;
    sweep(fs, dir, version, manifest.number())?;
    if stored.kind == StoreKind::Replicated {
        return Ok((manifest, None, numbers));
    }
    log.remove_others(fs, dir)?;
    let (files, tasks) = (Arc::clone(&parts.fs), Arc::clone(&parts.tasks));
    let wal = Wal::create(dir, files, tasks, &*parts.meter, options, log.resume.without_promise());
    let wal = wal.map_err(from_wal)?;
    let edit = Edit { begun: Some(wal.tail().0), ..Edit::default() };
    manifest.append(&edit)?;
    numbers.merge_numbers(&edit);
    wal.mark(manifest.mark()).map_err(from_wal)?;
    Ok((manifest, Some(wal), numbers))
}

fn restored_strategy(
    stored: &Stored,
    settings: &Settings,
    components: &Components,
) -> Box<dyn Strategy> {
    let mut strategy = (components.strategy)(&settings.shape());
    if let Some((name, state)) = &stored.numbers.strategy
        && name == strategy.name()
    {
        strategy.restore(state);
    }
    strategy
}

/// Begins a manifest with one edit that makes `version`; it, and the numbers it starts from.
fn begin_manifest(
    fs: &dyn Fs,
    dir: &Path,
    version: &Version,
    stored: &Stored,
    log: &Log,
) -> Result<(Manifest, Edit)> {
    let mut numbers = stored.numbers.clone();
    numbers.levels = Some(version.levels.len() as u64);
    if stored.kind == StoreKind::Logged {
        // What lies behind the tail is removed now, and the segment after it is not there yet.
        numbers.begun = log.kept.last().copied();
        // The manifest's last number is the last one in tables: the log must begin after it.
        if log.sealed.is_empty() {
            numbers.log_number = Some(log.resume.number());
        }
    }
    // An opening that was cut off may have left a manifest that nothing names.
    let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
    let left = names.iter().filter_map(|name| manifest_number(name)).max().unwrap_or(0);
    let number = numbers.next_number.unwrap_or(1).max(left + 1);
    numbers.next_number = Some(number + 1);
    let mut whole = version.as_edit();
    whole.merge_numbers(&numbers);
    Ok((Manifest::create(fs, dir, number, stored.kind, &whole)?, numbers))
}

/// Makes the folder, and its name safe.
pub(crate) fn make_dir(fs: &dyn Fs, dir: &Path) -> Result<()> {
    nori_env::make_dir(fs, dir).map_err(|e| Error::io("making", dir, e))
}

/// Makes the folder and takes its lock. Whoever destroys a store there may remove the folder in between.
pub(crate) fn enter(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn nori_env::Lock>> {
    const TRIES: usize = 10;
    let mut tries = 0;
    loop {
        tries += 1;
        match make_dir(fs, dir).and_then(|()| take_lock(fs, dir)) {
            Err(error) if comes_and_goes(fs, dir, &error) => {
                if tries == TRIES {
                    let what = format!("somebody else keeps removing {}", dir.display());
                    return Err(Error::Busy { what });
                }
            }
            outcome => return outcome,
        }
    }
}

/// Whether the folder may have gone while it was made: then it was there, or was not, as the system saw it last.
fn comes_and_goes(fs: &dyn Fs, dir: &Path, error: &Error) -> bool {
    let Error::Io { os_error, .. } = error else { return false };
    let is_file = || fs.list(dir).is_err_and(|e| e.kind() == ErrorOf::NotADirectory);
    match os_error.kind() {
        ErrorOf::NotFound => true,
        ErrorOf::AlreadyExists => !is_file(),
        _ => false,
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { os_error, .. } if os_error.kind() == ErrorOf::NotFound)
}

pub(crate) fn take_lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn nori_env::Lock>> {
    let path = dir.join(LOCK);
    fs.lock(&path).map_err(|e| match e.kind() {
        ErrorOf::WouldBlock => {
            Error::Busy { what: format!("the store in {} is open already", dir.display()) }
        }
        _ => Error::io("locking", &path, e),
    })
}

/// Whether the store's own code made a file of that name, its lock aside.
pub(crate) fn is_own(name: &str) -> bool {
    table_number(name).is_some()
        || manifest_number(name).is_some()
        || segment_number(name).is_some()
        || is_temporary(name)
        || name == CURRENT
}

/// Whether an opening makes files of that name for a moment, and may sweep them.
fn is_temporary(name: &str) -> bool {
    manifest::is_temporary(name)
}

/// Removes the store's own tables and manifests that nothing names; files it does not know are left alone.
fn sweep(fs: &dyn Fs, dir: &Path, version: &Version, manifest_no: u64) -> Result<()> {
    let live: BTreeSet<u64> = version.tables().map(|table| table.number()).collect();
    for name in fs.list(dir).map_err(|e| Error::io("listing", dir, e))? {
        let is_dead = table_number(&name).is_some_and(|number| !live.contains(&number))
            || manifest_number(&name).is_some_and(|number| number != manifest_no)
            || is_temporary(&name);
        if is_dead {
            let path = dir.join(&name);
            fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
        }
    }
    Ok(())
}

/// Removes the store in `dir`: its own files, and the folder if nothing else is in it.
pub(crate) fn destroy(dir: &Path, parts: &Parts) -> Result<()> {
    let fs = &*parts.fs;
    match fs.list(dir) {
        Err(e) if e.kind() == ErrorOf::NotFound => return Ok(()),
        outcome => outcome.map_err(|e| Error::io("listing", dir, e))?,
    };
    let lock = match take_lock(fs, dir) {
        // Somebody else destroyed it meanwhile.
        Err(error) if is_missing(&error) => return Ok(()),
        outcome => outcome?,
    };
    // Only now: before the lock somebody else may have made or removed any of them.
    let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
    for name in names.iter().filter(|name| is_own(name)) {
        let path = dir.join(name);
        fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
    }
    checkpoint::remove_marker(fs, dir)?;
    remove_lock_file(fs, dir)?;
    drop(lock);
    match fs.change(NameChange::RemoveDir(dir)) {
        Err(e) if e.kind() != ErrorOf::DirectoryNotEmpty && e.kind() != ErrorOf::NotFound => {
            Err(Error::io("removing", dir, e))
        }
        _ => Ok(()),
    }
}

fn remove_lock_file(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(LOCK);
    match fs.remove(&path) {
        Err(e) if e.kind() != ErrorOf::NotFound => Err(Error::io("removing", &path, e)),
        _ => Ok(()),
    }
}
