//! How much room there is: with too little, nothing but deletes is taken, until there is more again.
//!
//! A log that finds the disk full in the middle of a write cannot promise anything any more, and the node ends. So writes are refused before that, while the room that is
//! kept back lets flushes and compactions finish and deletes through, which is how room is made.

use crate::config::resolve::Resolved;
use crate::start::World;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the disk is asked. A disk of 2 GB/s fills half a gigabyte meanwhile.
const INTERVAL: Duration = Duration::from_millis(250);

/// Whether nothing that needs room is to be taken; looked after as long as somebody has it.
pub(crate) fn watch(resolved: &Resolved, world: &World) -> Arc<AtomicBool> {
    let is_full = Arc::new(AtomicBool::new(false));
    if world.is_real && resolved.disk_reserve_bytes > 0 {
        let (dir, reserve) = (resolved.data_dir.clone(), resolved.disk_reserve_bytes);
        let watched = Arc::downgrade(&is_full);
        tokio::spawn(async move {
            while let Some(is_full) = watched.upgrade() {
                if let Some(free) = free_bytes(&dir) {
                    let is_now = free < reserve;
                    if is_full.swap(is_now, Ordering::Relaxed) != is_now {
                        tell(is_now, free, reserve);
                    }
                }
                drop(is_full);
                tokio::time::sleep(INTERVAL).await;
            }
        });
    }
    is_full
}

fn tell(is_full: bool, free: u64, reserve: u64) {
    if is_full {
        tracing::error!(
            free_bytes = free,
            reserve_bytes = reserve,
            "the disk is nearly full: nothing but deletes is taken"
        );
    } else {
        tracing::info!(free_bytes = free, "there is room on the disk again");
    }
}

/// What is free for this process, in bytes; `None` if the file system does not say.
fn free_bytes(dir: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(dir).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}
