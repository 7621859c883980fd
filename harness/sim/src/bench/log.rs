//! `bench log`: the kinds of a node's log on a real disk, with every write synced.
//!
//! Many groups are ready at once, as on a busy node: each has an entry, all of them are appended in one batch, and nothing goes on before the batch is
//! safe. One log for all needs one sync for it, a log for each as many as there are groups, which are under way side by side.
//!
//! Blocks of all kinds alternate; what is told is the median of each kind, and their ratio.

use super::median;
use crate::out;
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use nori_consensus::{Entry, EntryKind, Index, LogId, ShardId, Store, Term, WriteId};
use nori_env::{OsClock, OsFs, PoolTasks, SegmentKind};
use nori_observe::NullMeter;
use nori_raft_log::{Batch, KINDS, LogOptions, NodeLog};
use nori_wal::WalOptions;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Groups that are ready at once, unless it is told.
pub(crate) const GROUPS: u64 = 16;
const PAYLOAD_BYTES: usize = 256;
/// Batches between releases: what was written goes.
const RELEASE_EVERY: u64 = 1_000;
const SEGMENT_BYTES: u64 = 16 << 20;

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    groups: u64,
    /// Entries a second that are safe, in each block.
    rates: Vec<f64>,
}

/// Runs all kinds in `dir` and tells.
///
/// # Errors
///
/// If a log fails.
pub(crate) fn log(
    dir: &Path,
    groups: u64,
    blocks: usize,
    time: Duration,
    is_json: bool,
) -> Result<()> {
    let mut rows: Vec<Row> =
        KINDS.iter().map(|(kind, _)| Row { kind, groups, rates: Vec::new() }).collect();
    for block in 0..blocks {
        for n in 0..rows.len() {
            let row = (n + block) % rows.len();
            let rate = run(dir, rows[row].kind, groups, time)?;
            rows[row].rates.push(rate);
        }
    }
    if is_json {
        out::line(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    out::line(&format!(
        "safe entries of {PAYLOAD_BYTES} bytes a second, {groups} groups ready at once: median of {blocks} blocks of {:.1} s",
        time.as_secs_f64()
    ));
    for row in &rows {
        let all: Vec<String> = row.rates.iter().map(|rate| format!("{rate:.0}")).collect();
        out::line(&format!("{:<16}{:>10.0}   [{}]", row.kind, median(&row.rates), all.join(" ")));
    }
    let of = |kind: &str| rows.iter().find(|row| row.kind == kind).map(|row| median(&row.rates));
    if let (Some(shared), Some(each)) = (of("shared"), of("log-per-shard")) {
        out::line(&format!("{:<16}{:>10.2}", "ratio", shared / each));
    }
    Ok(())
}

fn run(dir: &Path, kind: &'static str, groups: u64, time: Duration) -> Result<f64> {
    let dir =
        tempfile::tempdir_in(dir).with_context(|| format!("a folder in {}", dir.display()))?;
    let clock = Arc::new(OsClock::default());
    // Every sync may be under way at once.
    let tasks = Arc::new(PoolTasks::new(groups as usize, clock)?);
    let options = LogOptions {
        wal: WalOptions { kind: SegmentKind::Pwrite, segment_bytes: SEGMENT_BYTES },
        cached_bytes_max: 0,
    };
    let log =
        nori_raft_log::open(kind, dir.path(), Arc::new(OsFs), tasks, Arc::new(NullMeter), options)
            .ok_or_else(|| anyhow!("no log is called `{kind}`"))??;
    let warm = Instant::now() + time / 4;
    let mut index = 0;
    while Instant::now() < warm {
        turn(&*log, groups, &mut index)?;
    }
    let (begun, before) = (Instant::now(), index);
    while begun.elapsed() < time {
        turn(&*log, groups, &mut index)?;
    }
    Ok(((index - before) * groups) as f64 / begun.elapsed().as_secs_f64())
}

/// One entry of each group, until all are safe.
fn turn(log: &dyn NodeLog, groups: u64, index: &mut u64) -> Result<()> {
    *index += 1;
    let payload = Bytes::from_static(&[7; PAYLOAD_BYTES]);
    let mut batch = Batch::default();
    for group in 1..=groups {
        let id = LogId { term: Term(1), index: Index(*index) };
        let entry = Entry { id, kind: EntryKind::Data, payload: payload.clone() };
        let store = Store {
            write: WriteId(*index),
            hard_state: None,
            truncate_from: None,
            entries: vec![entry],
            sync: true,
        };
        batch.store(ShardId(group), store);
        if index.is_multiple_of(RELEASE_EVERY) {
            batch.release(ShardId(group), Index(*index - 1));
        }
    }
    let mark = log.append(batch)?;
    log.sync(&mark)?;
    for group in 1..=groups {
        log.applied(ShardId(group), Index(*index));
    }
    if index.is_multiple_of(RELEASE_EVERY) {
        log.purge()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_makes_entries_safe() {
        let dir = tempfile::tempdir().expect("a folder");
        for (kind, _) in KINDS {
            let rate = run(dir.path(), kind, 3, Duration::from_millis(100)).expect("it runs");
            assert!(rate > 1.0, "{kind}: {rate}");
        }
    }
}
