//! Recovery of a store from a long log: read, checked, into memtables of kind `vector`, sorted, written to tables.
//!
//! 1. Open a store, write one record and close it: it has a manifest, and a log of one group.
//! 2. Go on with that log without the store: append groups until it is [`LOG_BYTES`] long. So nothing of it is in tables.
//! 3. The time from opening the store until all of the log is in tables, by the bytes of the log.
//!
//! Trials each have their own log. It is in the page cache, and synced before the time is taken: otherwise the disk would write
//! it, and not the store read it. What recovery itself writes, it syncs. Background work has the threads that `run` gives it.

use super::job::{Job, MEGA, key, open, open_as_run};
use super::row::{Figure, Row, Worth, median};
use super::{Section, physical};
use anyhow::{Context, Result, ensure};
use nori_env::{Fs, OsClock, OsFs, PoolTasks, SegmentKind};
use nori_kv::{Durability, Maintain, WriteBatch};
use nori_lsm::Settings;
use nori_observe::NullMeter;
use nori_wal::{Resume, Span, Wal, WalError, WalOptions, replay, segment_number};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub(super) const SECTION: Section = Section {
    name: "replay",
    about: "recovery of a log of 256 MB into memtables of kind `vector`, sorted and flushed",
    seconds: [40, 40],
    jobs: || vec![String::new()],
    measure,
};

const MEMORY: u64 = 256 << 20;
const LOG_BYTES: u64 = 256_000_000;
const VALUE: [u8; 100] = [7; 100];
/// Operations of a group.
const SHAPES: [(u64, &str); 2] = [(1, "groups of one put"), (32, "groups of 32 puts")];
const TRIALS: u32 = 3;
const GOAL_MB_PER_S: f64 = 500.0;
const CHOICES: [(&str, &str); 2] = [("memtable", "vector"), ("memtable_index", "none")];

fn measure(job: &mut Job<'_>) -> Result<()> {
    let bytes = job.count(LOG_BYTES);
    let mut physical = None;
    for (shape, (ops, what)) in SHAPES.into_iter().enumerate() {
        let (mut rates, mut opened, mut total) = (Vec::new(), Vec::new(), 0);
        for trial in 0..TRIALS {
            job.at((shape as f64 * 3.0 + f64::from(trial)) / 6.0, what);
            let dir = job.path("store");
            let written = write_log(&dir, bytes, ops)?;
            if physical.is_none() {
                physical = Some([
                    physical::reading("reading the same files", &segments(&dir)?)?,
                    physical::checksumming(job.count(64 << 20))?,
                    physical::writing(&job.path("written"), bytes)?,
                ]);
            }
            for path in segments(&dir)? {
                File::open(path)?.sync_all()?;
            }
            let began = Instant::now();
            let engine = open_as_run(&dir, MEMORY, &CHOICES)?;
            let open_s = began.elapsed().as_secs_f64();
            engine.maintain().map_or(Ok(()), Maintain::flush)?;
            rates.push(written.bytes as f64 / MEGA / began.elapsed().as_secs_f64());
            opened.push(written.bytes as f64 / MEGA / open_s);
            let last = written.ops - 1;
            ensure!(engine.get(&key(last))?.is_some(), "operation {last} was not replayed");
            total += written.bytes;
            drop(engine);
            std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        let figure = |what: &str, rates| Figure {
            trials: TRIALS,
            ..Figure::new(what, median(rates), "MB/s", total)
        };
        let mut beside = vec![figure("until the store is open", opened)];
        beside.extend(physical.iter().flatten().cloned());
        job.found(Row::new(figure(what, rates), &beside).at_least(Worth::Goal, GOAL_MB_PER_S));
    }
    Ok(())
}

/// What was appended.
struct Written {
    bytes: u64,
    ops: u64,
}

/// Makes a store in `dir` whose log has so many bytes of payload in groups of so many operations.
fn write_log(dir: &Path, bytes: u64, ops_per_group: u64) -> Result<Written> {
    let engine = open(dir, MEMORY, &CHOICES, 1)?;
    let mut batch = WriteBatch::new();
    batch.put(&key(0), &VALUE);
    let mut seqno = engine.write(&batch, Durability::Sync)?.value();
    drop(engine);
    let wal = resume(dir)?;
    let mut written = Written { bytes: 0, ops: 1 };
    while written.bytes < bytes {
        batch.clear();
        for n in written.ops..written.ops + ops_per_group {
            batch.put(&key(n), &VALUE);
        }
        let payload = batch.encoded();
        if !wal.fits(payload.len()) {
            wal.rotate(payload.len())?;
        }
        wal.append(seqno + 1, ops_per_group as u32, payload)?;
        seqno += ops_per_group;
        written.ops += ops_per_group;
        written.bytes += payload.len() as u64;
    }
    Ok(written)
}

/// The log of the closed store in `dir`, to go on with.
fn resume(dir: &Path) -> Result<Wal> {
    let names = OsFs.list(dir)?;
    let from = names.iter().filter_map(|name| segment_number(name)).min();
    let span = Span { from: from.context("the store has no log")?, begun: 0 };
    let found = replay(&OsFs, dir, span, |_| Ok::<(), WalError>(()))?;
    let resume: Resume = found.resume.context("the log has no group")?;
    let tail = found.tail_segment.unwrap_or(0);
    for name in names.iter().filter(|name| segment_number(name).is_some_and(|no| no > tail)) {
        OsFs.remove(&dir.join(name))?;
    }
    // As large as the store makes them: what a memtable holds, and a quarter for the headers of groups.
    let memtable_bytes = Settings::for_memory(MEMORY).memtable_bytes;
    let segment_bytes = (memtable_bytes + memtable_bytes / 4).next_multiple_of(4096);
    let options = WalOptions { kind: SegmentKind::Mapped, segment_bytes };
    let tasks = Arc::new(PoolTasks::new(1, Arc::new(OsClock::default()))?);
    Ok(Wal::create(dir, Arc::new(OsFs), tasks, &NullMeter, options, resume)?)
}

fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let names = OsFs.list(dir)?;
    Ok(names
        .iter()
        .filter(|name| segment_number(name).is_some())
        .map(|name| dir.join(name))
        .collect())
}
