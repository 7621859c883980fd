//! The engine: reads at a moment, writes under one lock.

use crate::cursor::ModelCursor;
use crate::factory::Disk;
use crate::history::{History, Moment};
use nori_env::Signal;
use nori_kv::{
    Applied, Cursor, Durability, Engine, EngineStats, Error, KeyRange, Maintain, Progress,
    ReadOptions, Reader, Replicated, Result, Row, SeqNo, Tick, WriteBatch, stat,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The name in tables and messages.
pub(crate) const NAME: &str = "model";

/// A store, as its engine, its readers and its cursors share it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    history: RwLock<History>,
    writes: AtomicU64,
    user_bytes_in: AtomicU64,
    point_reads: AtomicU64,
    /// No reader sees the store at a time before this tick; only grows.
    expiry_floor: AtomicU64,
}

impl Shared {
    pub(crate) fn new(history: History) -> Self {
        Self { history: RwLock::new(history), ..Self::default() }
    }

    pub(crate) fn history(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn history_mut(&self) -> RwLockWriteGuard<'_, History> {
        self.history.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &[u8], moment: Moment, sink: &mut dyn FnMut(Row<'_>)) -> bool {
        self.point_reads.fetch_add(1, Ordering::Relaxed);
        let history = self.history();
        let Some(value) = history.value(key, moment) else { return false };
        sink(Row { key, value });
        true
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        moment: Moment,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) {
        let history = self.history();
        for (index, key) in keys.iter().enumerate() {
            sink(index, history.value(key, moment).map(|value| Row { key, value }));
        }
    }
}

/// The store as it was at one sequence number.
struct Snapshot {
    shared: Arc<Shared>,
    at: SeqNo,
}

impl Snapshot {
    fn moment(&self, options: &ReadOptions) -> Moment {
        let floor = Tick(self.shared.expiry_floor.load(Ordering::Acquire));
        Moment { at: self.at, now: options.now.max(floor) }
    }
}

impl Reader for Snapshot {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        Ok(self.shared.read(key, self.moment(options), sink))
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(ModelCursor::new(shared, range.clone(), self.moment(options))))
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.shared.read_many(keys, self.moment(options), sink);
        Ok(())
    }
}

/// An open store. Dropping it closes the store on its disk.
pub(crate) struct ModelEngine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Disk,
    pub(crate) dir: PathBuf,
    /// Who waits for `durable_applied` to reach which index. None waits for one that is reached.
    pub(crate) waiting: Mutex<Vec<(u64, Signal)>>,
}

impl ModelEngine {
    /// The store as it is now.
    fn now(&self) -> Snapshot {
        let at = self.shared.history().last;
        Snapshot { shared: Arc::clone(&self.shared), at }
    }

    fn count(&self, batch: &WriteBatch) {
        self.shared.writes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.shared.user_bytes_in.fetch_add(batch.payload_bytes(), Ordering::Relaxed);
    }
}

impl Drop for ModelEngine {
    fn drop(&mut self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(|(_, done)| done.fire());
        self.disk.close(&self.dir);
    }
}

impl Reader for ModelEngine {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.now().read(key, options, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.now().cursor(range, options)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.now().read_many(keys, options, sink)
    }
}

impl Engine for ModelEngine {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        if durability != Durability::None {
            return Err(Error::Unsupported { engine: NAME, what: "a durability above none" });
        }
        self.count(batch);
        Ok(self.shared.history_mut().write(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        Ok(Arc::new(self.now()))
    }

    fn stats(&self) -> EngineStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let numbers = vec![
            (stat::WRITES, count(&self.shared.writes)),
            (stat::USER_BYTES_IN, count(&self.shared.user_bytes_in)),
            (stat::POINT_READS, count(&self.shared.point_reads)),
            (stat::LAST_SEQNO, self.shared.history().last.value()),
        ];
        EngineStats { numbers, levels: Vec::new() }
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }

    fn replicated(&self) -> Option<&dyn Replicated> {
        Some(self)
    }
}

impl Maintain for ModelEngine {
    /// There is nothing but the map: it is always flushed, ...
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// ... merged ...
    fn compact(&self, _range: &KeyRange) -> Result<()> {
        Ok(())
    }

    /// ... and settled.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<()> {
        self.disk.create(dir, self.shared.history().clone())
    }

    /// Nothing is ever dropped; but no reader sees the store as it was before the floor.
    fn set_expiry_floor(&self, floor: Tick) -> Result<()> {
        self.shared.expiry_floor.fetch_max(floor.0, Ordering::AcqRel);
        Ok(())
    }
}

impl Replicated for ModelEngine {
    fn apply(&self, batch: &WriteBatch, tail: &WriteBatch, at: Applied) -> Result<Progress> {
        self.count(batch);
        let mut history = self.shared.history_mut();
        let last = history.applied;
        if at.index <= last.index || at.term < last.term {
            return Err(Error::invalid(format!("{at:?} was to be applied behind {last:?}")));
        }
        history.write(batch);
        // All that is here is durable, so each entry is the last.
        history.write(tail);
        history.applied = at;
        drop(history);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(index, done)| {
            let is_reached = *index <= at.index;
            if is_reached {
                done.fire();
            }
            !is_reached
        });
        Ok(Progress::Done)
    }

    fn durable_applied(&self) -> Applied {
        self.shared.history().applied
    }

    fn checkpoint(&self, dir: &Path) -> Result<Applied> {
        let history = self.shared.history().clone();
        let applied = history.applied;
        self.disk.create(dir, history)?;
        Ok(applied)
    }

    fn flush_through(&self, index: u64, done: Signal) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.durable_applied().index >= index {
            done.fire();
        } else {
            waiting.push((index, done));
        }
    }
}
