//! Opening a store, and removing one.
//!
//! 1. Take the lock. Read `CURRENT` and the manifest it names; fold its edits into the live tables; open those.
//! 2. Replay the log from the manifest's log number on: **one memtable per segment**, sealed, to be flushed as if it
//!    had just been written. So the segments go one by one as their tables are installed, and a crash at any
//!    point of a recovery finds what this one found.
//! 3. Make the replayed segments safe - after a kill they are in the page cache only - and remove the ones behind the tail,
//!    whose operations were never acknowledged as safe. Only then may a new segment name the tail as its predecessor.
//! 4. Begin a new manifest, sweep what it does not name, then begin the new segment.
//!
//! Without `CURRENT` but with tables or segments, a store has lost the file that says what is alive: that is damage, not an
//! empty store.

use crate::core::{Core, Mem, Sealed, Tree, WriteOrder, from_wal};
use crate::counters::Counters;
use crate::edit::{Edit, TableMeta};
use crate::jobs::Jobs;
use crate::manifest::{self, CURRENT, Manifest, manifest_number, sync_now};
use crate::publish::Publisher;
use crate::read::SuperVersion;
use crate::stall::Brake;
use crate::version::{RunsOf, Version, edit_runs};
use crate::write::NOT_DUE;
use crate::{Components, Settings, compact, flush};
use arc_swap::ArcSwap;
use nori_compaction::Strategy;
use nori_env::{Fs, NameChange, OpenMode};
use nori_kv::{EngineEvent, EntryRef, Error, Parts, Reason, Result, SeqNo, WriteBatch};
use nori_sstable::{Cache, ReadCounters, Table, TableContext, table_number};
use nori_wal::{Resume, Wal, WalError, WalOptions, replay, segment_name, segment_number};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

const LOCK: &str = "LOCK";

/// Opens the store in `dir`, or makes one.
pub(crate) fn open(
    dir: &Path,
    parts: Parts,
    settings: Settings,
    components: Components,
) -> Result<Arc<Core>> {
    let fs = &*parts.fs;
    make_dir(fs, dir)?;
    let lock = take_lock(fs, dir)?;
    let cache = Cache::new((components.cache)(settings.cache_bytes), settings.cache_bytes);
    let tables = TableContext { fs: Arc::clone(&parts.fs), cache };
    let stored = read_stored(fs, dir, &settings)?;
    let version = open_tables(&tables, dir, &stored)?;
    let log = Log::replay(fs, dir, &stored, &components)?;
    log.make_safe(fs, dir)?;

    let (manifest, numbers) = begin_manifest(fs, dir, &version, &stored, &log)?;
    let version = Arc::new(version);
    sweep(fs, dir, &version, manifest.number(), &log)?;
    let options = WalOptions { kind: components.wal, segment_bytes: settings.segment_bytes() };
    let (fs, tasks) = (Arc::clone(&parts.fs), Arc::clone(&parts.tasks));
    let wal = Wal::create(dir, fs, tasks, &*parts.meter, options, log.resume).map_err(from_wal)?;

    let active = Arc::new(Mem { memtable: components.memtable.create() });
    let levels = version.levels.len();
    let next_number = manifest.number() + 1;
    let core = Arc::new(Core {
        dir: dir.to_owned(),
        counters: Counters::new(&*parts.meter),
        read_counters: ReadCounters::new(&*parts.meter),
        wal,
        publisher: Publisher::new(log.last),
        order: Mutex::new(WriteOrder { last: log.last, active: Arc::clone(&active) }),
        super_version: ArcSwap::from_pointee(SuperVersion {
            active,
            sealed: log.sealed.iter().rev().cloned().collect(),
            version: Arc::clone(&version),
        }),
        tree: Mutex::new(Tree {
            version,
            manifest,
            busy: nori_compaction::Busy::default(),
            strategy: restored_strategy(&stored, &settings, &components),
            next_job: 1,
            numbers: numbers.clone(),
            level_bytes_written: vec![0; levels],
        }),
        snapshots: Mutex::default(),
        brake: Brake::default(),
        jobs: Jobs::default(),
        is_flushing: AtomicBool::new(false),
        next_number: AtomicU64::new(next_number),
        ticks: AtomicU64::new(numbers.tick.unwrap_or(0)),
        poison: OnceLock::new(),
        debt_bytes: AtomicU64::new(0),
        group_due: AtomicU64::new(NOT_DUE),
        _lock: lock,
        parts,
        settings,
        components,
        tables,
    });
    let (replayed, torn_bytes) = (log.ops, log.torn_bytes);
    core.tell(&EngineEvent::Opened { replayed, torn_bytes, last: log.last });
    flush::schedule(&core);
    compact::schedule(&core);
    Ok(core)
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
    // The manifest's last number is the last one in tables: the log must begin after it.
    if log.sealed.is_empty() {
        numbers.log_number = Some(log.resume.number());
    }
    // An opening that was cut off may have left a manifest that nothing names.
    let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
    let left = names.iter().filter_map(|name| manifest_number(name)).max().unwrap_or(0);
    let number = numbers.next_number.unwrap_or(1).max(left + 1);
    numbers.next_number = Some(number + 1);
    let mut whole = version.as_edit();
    whole.merge_numbers(&numbers);
    Ok((Manifest::create(fs, dir, number, &whole)?, numbers))
}

fn make_dir(fs: &dyn Fs, dir: &Path) -> Result<()> {
    fs.create_dir(dir).map_err(|e| Error::io("creating", dir, e))?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => {
            fs.sync_dir(parent).map_err(|e| Error::io("syncing", parent, e))
        }
        _ => Ok(()),
    }
}

fn take_lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn nori_env::Lock>> {
    let path = dir.join(LOCK);
    fs.lock(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Busy { what: format!("the store in {} is open already", dir.display()) }
        }
        _ => Error::io("locking", &path, e),
    })
}

/// What the manifest says.
struct Stored {
    levels: Vec<RunsOf<TableMeta>>,
    numbers: Edit,
    /// The manifest's file, for errors about what it says.
    path: std::path::PathBuf,
}

fn read_stored(fs: &dyn Fs, dir: &Path, settings: &Settings) -> Result<Stored> {
    let levels = settings.shape().levels_max;
    let Some((number, edits)) = manifest::read(fs, dir)? else {
        let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
        let is_data =
            |name: &&String| table_number(name).is_some() || segment_number(name).is_some();
        if let Some(name) = names.iter().find(is_data) {
            let what = format!("it is missing, but {name} is there");
            return Err(Error::corrupt(&dir.join(CURRENT), 0, what));
        }
        // A crash between a first manifest and `CURRENT` leaves only manifests.
        let numbers = Edit::default();
        return Ok(Stored { levels: vec![vec![]; levels], numbers, path: dir.join(CURRENT) });
    };
    let path = dir.join(manifest::manifest_name(number));
    let mut stored = Stored { levels: vec![], numbers: Edit::default(), path };
    for edit in edits {
        // A store keeps the levels it has; a setting can only add some.
        let wanted = edit.levels.map_or(0, |levels| levels as usize).max(levels).min(64);
        if stored.levels.len() < wanted {
            stored.levels.resize_with(wanted, Vec::new);
        }
        edit_runs(&mut stored.levels, &edit, |table| table.number, |meta| Some(*meta)).map_err(
            |what| Error::corrupt(&stored.path, 0, format!("an edit does not fit: {what}")),
        )?;
        stored.numbers.merge_numbers(&edit);
    }
    Ok(stored)
}

fn open_tables(context: &TableContext, dir: &Path, stored: &Stored) -> Result<Version> {
    let mut levels = Vec::with_capacity(stored.levels.len());
    for runs in &stored.levels {
        let mut opened: RunsOf<Arc<Table>> = Vec::with_capacity(runs.len());
        for (id, metas) in runs {
            let tables = metas.iter().map(|meta| open_table(context, dir, meta, stored));
            opened.push((*id, tables.collect::<Result<_>>()?));
        }
        levels.push(opened);
    }
    Version::of_runs(levels).map_err(|what| Error::corrupt(&stored.path, 0, what))
}

fn open_table(
    context: &TableContext,
    dir: &Path,
    meta: &TableMeta,
    stored: &Stored,
) -> Result<Arc<Table>> {
    let table = Table::open(context, dir, meta.number).map_err(|error| {
        let is_missing = matches!(&error, Error::Io { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound);
        if is_missing {
            let what = format!("it names table {}, which is missing", meta.number);
            Error::corrupt(&stored.path, 0, what)
        } else {
            error
        }
    })?;
    if table.bytes() != meta.bytes {
        let path = dir.join(nori_sstable::table_name(meta.number));
        let what = format!("{} bytes long where the manifest says {}", table.bytes(), meta.bytes);
        return Err(Error::corrupt(&path, 0, what));
    }
    Ok(table)
}

/// What the log held.
struct Log {
    /// One per segment with operations, oldest first.
    sealed: Vec<Arc<Sealed>>,
    last: SeqNo,
    ops: u64,
    torn_bytes: u64,
    /// The segments up to the tail, which must be made safe.
    kept: BTreeSet<u64>,
    resume: Resume,
}

impl Log {
    fn replay(fs: &dyn Fs, dir: &Path, stored: &Stored, components: &Components) -> Result<Self> {
        let from = stored.numbers.log_number.unwrap_or(1);
        let flushed = stored.numbers.last_seqno.unwrap_or(SeqNo::ZERO);
        let mut mems: BTreeMap<u64, (Arc<Mem>, SeqNo)> = BTreeMap::new();
        let (mut last, mut ops) = (flushed, 0);
        let found = replay(fs, dir, from, |group| {
            let damaged = |what: String| {
                let path = dir.join(segment_name(group.segment));
                ReplayError(Error::corrupt(&path, group.offset, what))
            };
            let batch = WriteBatch::decode(group.payload).map_err(|e| damaged(e.to_string()))?;
            let first = SeqNo::new(group.first_seqno).filter(|first| *first > last);
            let first = first.ok_or_else(|| {
                damaged(format!("sequence number {} after {last}", group.first_seqno))
            })?;
            if batch.len() as u32 != group.ops || batch.is_empty() {
                return Err(damaged(format!("{} operations, not {}", batch.len(), group.ops)));
            }
            if batch.has_range_deletes() {
                return Err(damaged("a range delete, which this engine cannot read".to_owned()));
            }
            let new = || (Arc::new(Mem { memtable: components.memtable.create() }), last);
            let (mem, mem_last) = mems.entry(group.segment).or_insert_with(new);
            let mut seqno = first;
            for (op, key, value) in batch.iter() {
                let (kind, expires) = (op.kind, op.expires);
                mem.memtable.insert(EntryRef { key, seqno, kind, expires, value });
                last = seqno;
                seqno = seqno.plus(1);
            }
            *mem_last = last;
            ops += batch.len() as u64;
            Ok(())
        })
        .map_err(|ReplayError(error)| error)?;
        let resume = found.resume.unwrap_or(Resume::at(from));
        // The chain from a segment on can be followed only if that segment exists: numbers have gaps.
        let mut nexts: Vec<u64> = mems.keys().skip(1).copied().collect();
        nexts.push(resume.number());
        let sealed: Vec<_> = mems
            .into_values()
            .zip(nexts)
            .map(|((mem, last), next_segment)| {
                Arc::new(Sealed { mem, last, next_segment, why: Reason::Recovery })
            })
            .collect();
        // A log without operations is not worth going on with.
        let resume = if sealed.is_empty() { Resume::at(resume.number()) } else { resume };
        let kept = if sealed.is_empty() {
            BTreeSet::new()
        } else {
            (from..=found.tail_segment.unwrap_or(0)).collect()
        };
        Ok(Self { sealed, last, ops, torn_bytes: found.torn_bytes, kept, resume })
    }

    /// Syncs the segments up to the tail, and removes the ones behind it.
    fn make_safe(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let tail = self.kept.last().copied();
        let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
        let mut removed = false;
        for name in names {
            let Some(number) = segment_number(&name) else { continue };
            let path = dir.join(&name);
            if self.kept.contains(&number) {
                let file =
                    fs.open(&path, OpenMode::Read).map_err(|e| Error::io("opening", &path, e))?;
                sync_now(&*file, &path)?;
            } else if tail.is_some_and(|tail| number > tail) {
                fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
                removed = true;
            }
        }
        if removed || tail.is_some() {
            fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))?;
        }
        Ok(())
    }
}

/// An error that ended a replay, of the log or of what it holds.
struct ReplayError(Error);

impl From<WalError> for ReplayError {
    fn from(error: WalError) -> Self {
        Self(from_wal(error))
    }
}

/// Removes the store's own files that nothing names; files it does not know are left alone.
fn sweep(fs: &dyn Fs, dir: &Path, version: &Version, manifest_no: u64, log: &Log) -> Result<()> {
    let live: BTreeSet<u64> = version.tables().map(|table| table.number()).collect();
    for name in fs.list(dir).map_err(|e| Error::io("listing", dir, e))? {
        let is_dead = table_number(&name).is_some_and(|number| !live.contains(&number))
            || manifest_number(&name).is_some_and(|number| number != manifest_no)
            || segment_number(&name).is_some_and(|number| !log.kept.contains(&number))
            || manifest::is_temporary(&name);
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
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("listing", dir, e)),
    };
    let lock = take_lock(fs, dir)?;
    let is_ours = |name: &&String| {
        table_number(name).is_some()
            || manifest_number(name).is_some()
            || segment_number(name).is_some()
            || manifest::is_temporary(name)
            || name.as_str() == CURRENT
    };
    for name in names.iter().filter(is_ours) {
        let path = dir.join(name);
        fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
    }
    remove_lock_file(fs, dir)?;
    drop(lock);
    match fs.change(NameChange::RemoveDir(dir)) {
        Err(e) if e.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
            Err(Error::io("removing", dir, e))
        }
        _ => Ok(()),
    }
}

fn remove_lock_file(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(LOCK);
    match fs.remove(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", &path, e)),
        _ => Ok(()),
    }
}
