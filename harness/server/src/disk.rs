//! How much room there is: with too little, nothing but deletes is taken, until there is more again.
//!
//! A log that finds the disk full in the middle of a write cannot promise anything any more, and the node ends. So writes are refused before that, while the room that is
//! kept back lets flushes and compactions finish and deletes through. As long as there is too little, the node makes room of what it has:
//!
//! 1. The log is held to its last segment: what is older is flushed, and goes even though a replica that lags may want it.
//! 2. One shard after the other is flushed, so that the deletes it took are in tables.
//! 3. A shard whose tables have deletes that they did not have when it was compacted last is compacted, if its tables are no more than what is free: the new ones stand beside
//!    the old ones for a while.
//!
//! What nobody deletes stays: that room is an operator's to make.

use crate::config::resolve::Resolved;
use crate::start::{self, FreeBytes};
use nori_consensus::ShardId;
use nori_kv::{Engine, KeyRange, stat};
use norikv_transport_grpc::Handle;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the disk is asked. A disk of 2 GB/s fills half a gigabyte meanwhile.
const INTERVAL: Duration = Duration::from_millis(250);
/// Segments of the log when there is no room: the one that is written, and the one before it.
const SEGMENTS_LEFT: u64 = 1;

/// Whether nothing that needs room is to be taken; looked after as long as somebody has it.
pub(crate) fn watch(
    resolved: &Resolved,
    free_bytes: Option<FreeBytes>,
    handle: Handle,
) -> Arc<AtomicBool> {
    let is_full = Arc::new(AtomicBool::new(false));
    let Some(free_bytes) = free_bytes.filter(|_| resolved.disk_reserve_bytes > 0) else {
        return is_full;
    };
    let disk = Disk {
        dir: resolved.data_dir.clone(),
        reserve_bytes: resolved.disk_reserve_bytes,
        free_bytes,
        segments_max: start::log_segments_max(resolved),
        handle,
        compacted: HashMap::new(),
    };
    let watched = Arc::downgrade(&is_full);
    tokio::spawn(async move {
        let mut disk = disk;
        while let Some(is_full) = watched.upgrade() {
            disk.look(&is_full).await;
            drop(is_full);
            tokio::time::sleep(INTERVAL).await;
        }
    });
    is_full
}

struct Disk {
    dir: PathBuf,
    reserve_bytes: u64,
    free_bytes: FreeBytes,
    /// Segments of the log when there is room.
    segments_max: u64,
    handle: Handle,
    /// Tombstones that were left when a shard was compacted last.
    compacted: HashMap<ShardId, u64>,
}

impl Disk {
    /// Looks, and makes room if there is too little.
    async fn look(&mut self, is_full: &AtomicBool) {
        let Some(free) = (self.free_bytes)(&self.dir) else { return };
        let is_now = free < self.reserve_bytes;
        if is_full.swap(is_now, Ordering::Relaxed) != is_now {
            self.tell(is_now, free);
            let segments_max = if is_now { SEGMENTS_LEFT } else { self.segments_max };
            self.handle.ask(move |node, _| node.bound_log(segments_max)).await;
        }
        if is_now {
            self.make_room().await;
        }
    }

    fn tell(&self, is_full: bool, free_bytes: u64) {
        if is_full {
            tracing::error!(
                free_bytes,
                reserve_bytes = self.reserve_bytes,
                "the disk is nearly full: nothing but deletes is taken"
            );
        } else {
            // As loud as an operator listens: who was told of the one waits for the other.
            tracing::warn!(
                free_bytes,
                reserve_bytes = self.reserve_bytes,
                "there is room on the disk again: everything is taken"
            );
        }
    }

    /// A round over all shards, or until there is room.
    async fn make_room(&mut self) {
        let engines = self.handle.ask(|node, _| {
            let replicas = node.member()?.replicas();
            let shards: Vec<ShardId> = replicas.shards().map(|(shard, _)| shard).collect();
            let engine = |shard| Some((shard, replicas.engine(shard)?));
            Some(shards.into_iter().filter_map(engine).collect::<Vec<_>>())
        });
        for (shard, engine) in engines.await.flatten().unwrap_or_default() {
            let Some(free) = (self.free_bytes)(&self.dir) else { return };
            if free >= self.reserve_bytes {
                return;
            }
            let before = self.compacted.get(&shard).copied().unwrap_or(0);
            let work = tokio::task::spawn_blocking(move || shrink(&*engine, before, free));
            match work.await {
                Ok(Ok(left)) => {
                    self.compacted.insert(shard, left);
                }
                Ok(Err(error)) => {
                    tracing::warn!(shard = shard.0, %error, "no room could be made in a shard");
                }
                // The process ends.
                Err(_) => return,
            }
        }
    }
}

/// Flushes a shard, and compacts it if that may make room; the tombstones that are left.
fn shrink(engine: &dyn Engine, before: u64, free_bytes: u64) -> nori_kv::Result<u64> {
    let Some(maintain) = engine.maintain() else { return Ok(0) };
    maintain.flush()?;
    let stats = engine.stats();
    let tombstones = stats.number(stat::TOMBSTONES).unwrap_or(0);
    let bytes = stats.number(stat::TABLE_BYTES).unwrap_or(0);
    if tombstones == before || bytes > free_bytes {
        return Ok(before);
    }
    maintain.compact(&KeyRange::all())?;
    Ok(engine.stats().number(stat::TOMBSTONES).unwrap_or(0))
}

#[cfg(test)]
mod tests;
