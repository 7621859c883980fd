//! The seam: where the replicas of a node keep their logs.

use crate::error::Result;
use crate::{Batch, LogOptions, LogPerShard, Mark, Pin, SharedLog, SyncCalls};
use bytes::Bytes;
use nori_consensus::{Index, LogView, ShardId};
use nori_env::{Fs, Signal, Tasks, Waited};
use nori_observe::Meter;
use nori_wal::WalError;
use std::path::Path;
use std::sync::Arc;

/// The logs of all shards of a node.
///
/// # Contract
///
/// * What is appended is seen at once, by views that were taken before too. A killed process loses nothing of it.
/// * A power loss loses nothing up to a mark that was synced. Of a shard's changes after it, it leaves a beginning.
/// * `rewrite` and `purge` change nothing that can be seen.
/// * Appends and releases of one shard come from one thread at a time; everything else from any.
/// * After an error of an append or a sync every later one fails.
pub trait NodeLog: Send + Sync {
    /// The shards that have a log here.
    fn shards(&self) -> Vec<ShardId>;

    /// The log of `shard`, empty if it was not known.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    fn view(&self, shard: ShardId) -> Result<Arc<dyn LogView>>;

    /// What `shard` promised last; empty if nothing.
    fn hard_state(&self, shard: ShardId) -> Bytes;

    /// Appends a batch, and shows it; the mark to sync to.
    ///
    /// # Errors
    ///
    /// If the log fails; then it takes nothing more.
    fn append(&self, batch: Batch) -> Result<Mark>;

    /// One step towards making everything up to `mark` safe: `None` when it is, else what to wait for before asking again with the same
    /// `calls`.
    ///
    /// # Errors
    ///
    /// If a sync failed, now or ever.
    fn poll_sync(&self, mark: &Mark, calls: &mut SyncCalls) -> Result<Option<Signal>>;

    /// The shard's state has everything up to `through`: older entries may leave memory.
    fn applied(&self, shard: ShardId, through: Index);

    /// Whether a slice of `shard` has to be fetched.
    fn is_waited_for(&self, shard: ShardId) -> bool;

    /// Brings what a slice of `shard` had to wait for into memory; whether it waited for anything. Waits for the disk.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not what was written.
    fn fetch(&self, shard: ShardId) -> Result<bool>;

    /// A new life of `shard` begins, with a state that has everything up to `applied` and perhaps less than an earlier life's had:
    /// entries above it are in memory when this returns, and stay there until they are [applied](NodeLog::applied). Waits for the disk.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not what was written.
    fn recall(&self, shard: ShardId, applied: Index) -> Result<()>;

    /// Writes once more what `pin` says.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the log fails.
    fn rewrite(&self, pin: Pin) -> Result<()>;

    /// Lets segments go that nobody needs, and says what keeps the oldest that is left. Waits for the disk.
    ///
    /// # Errors
    ///
    /// If the log cannot be synced, or files cannot be removed.
    fn purge(&self) -> Result<Vec<Pin>>;

    /// How many segments there are.
    fn segments(&self) -> u64;

    /// Where a wait can be waited.
    fn tasks(&self) -> &dyn Tasks;

    /// Makes everything up to `mark` safe; waits for it.
    ///
    /// # Errors
    ///
    /// If a sync failed, now or ever.
    fn sync(&self, mark: &Mark) -> Result<()> {
        let mut calls = SyncCalls::default();
        while let Some(signal) = self.poll_sync(mark, &mut calls)? {
            if self.tasks().wait(&signal) == Waited::Stuck {
                return Err(WalError::Stuck.into());
            }
        }
        Ok(())
    }
}

/// The kinds of log there are, by name.
pub const KINDS: [(&str, &str); 2] = [
    ("shared", "one log for all shards: one sync makes safe whatever was ready"),
    ("log-per-shard", "a log for each shard, and a sync for each that was ready"),
];

/// Opens the log of a node in `dir`, or makes one, of the kind of that name; `None` if there is no such kind.
///
/// # Errors
///
/// As the kind says.
pub fn open(
    name: &str,
    dir: &Path,
    fs: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
    meter: Arc<dyn Meter>,
    options: LogOptions,
) -> Option<Result<Arc<dyn NodeLog>>> {
    let shared = |log: SharedLog| Arc::new(log) as Arc<dyn NodeLog>;
    let each = |log: LogPerShard| Arc::new(log) as Arc<dyn NodeLog>;
    match name {
        "shared" => Some(SharedLog::open(dir, fs, tasks, &*meter, options).map(shared)),
        "log-per-shard" => Some(LogPerShard::open(dir, fs, tasks, meter, options).map(each)),
        _ => None,
    }
}
