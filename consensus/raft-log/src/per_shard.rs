//! A log for each shard: what it costs is one sync for each shard that was ready. It is here to be compared.
//!
//! Each shard has a folder `shard-N` with a [`SharedLog`] of its own. A shard that is forgotten leaves an empty one.

use crate::error::{LogError, Result};
use crate::{Batch, LogOptions, Mark, NodeLog, Pin, SharedLog, SyncCalls};
use bytes::Bytes;
use nori_consensus::{Index, LogView, ShardId};
use nori_env::{Fs, Signal, Tasks};
use nori_observe::Meter;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log for each shard of a node.
pub struct LogPerShard {
    dir: PathBuf,
    fs: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
    meter: Arc<dyn Meter>,
    options: LogOptions,
    logs: RwLock<BTreeMap<ShardId, Arc<SharedLog>>>,
}

fn folder(shard: ShardId) -> String {
    format!("shard-{}", shard.0)
}

impl LogPerShard {
    /// Opens the logs in `dir`, or makes the folder.
    ///
    /// # Errors
    ///
    /// [`LogError`], of the first that cannot be opened.
    pub fn open(
        dir: &Path,
        fs: Arc<dyn Fs>,
        tasks: Arc<dyn Tasks>,
        meter: Arc<dyn Meter>,
        options: LogOptions,
    ) -> Result<Self> {
        nori_env::make_dir(&*fs, dir).map_err(|e| LogError::io("making", dir, e))?;
        let names = fs.list(dir).map_err(|e| LogError::io("listing", dir, e))?;
        let log = Self { dir: dir.to_owned(), fs, tasks, meter, options, logs: RwLock::default() };
        for name in names {
            let number = name.strip_prefix("shard-").and_then(|digits| digits.parse().ok());
            if let Some(shard) = number.map(ShardId).filter(|shard| folder(*shard) == name) {
                log.log(shard)?;
            }
        }
        Ok(log)
    }

    /// The log of `shard`, which is opened if it was not.
    fn log(&self, shard: ShardId) -> Result<Arc<SharedLog>> {
        if let Some(known) = self.logs.read().get(&shard) {
            return Ok(Arc::clone(known));
        }
        let mut logs = self.logs.write();
        if let Some(known) = logs.get(&shard) {
            return Ok(Arc::clone(known));
        }
        let (fs, tasks) = (Arc::clone(&self.fs), Arc::clone(&self.tasks));
        let dir = self.dir.join(folder(shard));
        let log = Arc::new(SharedLog::open(&dir, fs, tasks, &*self.meter, self.options)?);
        logs.insert(shard, Arc::clone(&log));
        Ok(log)
    }

    fn known(&self, shard: ShardId) -> Option<Arc<SharedLog>> {
        self.logs.read().get(&shard).cloned()
    }

    fn all(&self) -> Vec<Arc<SharedLog>> {
        self.logs.read().values().cloned().collect()
    }
}

impl NodeLog for LogPerShard {
    fn shards(&self) -> Vec<ShardId> {
        self.all().iter().flat_map(|log| log.shards()).collect()
    }

    fn view(&self, shard: ShardId) -> Result<Arc<dyn LogView>> {
        self.log(shard)?.view(shard)
    }

    fn hard_state(&self, shard: ShardId) -> Bytes {
        self.known(shard).map(|log| log.hard_state(shard)).unwrap_or_default()
    }

    fn append(&self, batch: Batch) -> Result<Mark> {
        let mut mark = Mark::default();
        for (shard, batch) in batch.by_shard() {
            mark.join(shard, self.log(shard)?.append(batch)?);
        }
        Ok(mark)
    }

    fn poll_sync(&self, mark: &Mark, calls: &mut SyncCalls) -> Result<Option<Signal>> {
        // All are begun before any is waited for.
        let mut first = None;
        for (shard, position) in mark.each() {
            let call = calls.of(shard);
            let waits = self.log(shard)?.poll_position(position, call)?;
            first = first.or(waits);
        }
        Ok(first)
    }

    fn applied(&self, shard: ShardId, through: Index) {
        if let Some(log) = self.known(shard) {
            log.applied(shard, through);
        }
    }

    fn is_waited_for(&self, shard: ShardId) -> bool {
        self.known(shard).is_some_and(|log| log.is_waited_for(shard))
    }

    fn fetch(&self, shard: ShardId) -> Result<bool> {
        self.known(shard).map_or(Ok(false), |log| log.fetch(shard))
    }

    fn recall(&self, shard: ShardId, applied: Index) -> Result<()> {
        self.log(shard)?.recall(shard, applied)
    }

    fn rewrite(&self, pin: Pin) -> Result<()> {
        self.known(pin.shard).map_or(Ok(()), |log| log.rewrite(pin))
    }

    fn purge(&self) -> Result<Vec<Pin>> {
        let mut pins = Vec::new();
        for log in self.all() {
            pins.append(&mut log.purge()?);
        }
        Ok(pins)
    }

    fn segments(&self) -> u64 {
        self.all().iter().map(|log| log.segments()).sum()
    }

    fn tasks(&self) -> &dyn Tasks {
        &*self.tasks
    }
}
