//! The engine as its callers see it.

use crate::core::Core;
use crate::open::Opening;
use crate::write;
use crate::{Components, Settings, Shared, checkpoint, maintain, open, replicated, scrub};
use nori_env::{Durability, Signal};
use nori_kv::{
    Applied, Capabilities, Cursor, Engine, EngineFactory, EngineStats, Feature, KeyRange, Maintain,
    Parts, Progress, ReadOptions, Reader, Replicated, Result, Row, Scrubbed, SeqNo, Tick,
    WriteBatch, stat,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Opens `nori-lsm` stores with one set of settings and components.
#[derive(Clone, Default)]
pub struct LsmFactory {
    /// The numbers.
    pub settings: Settings,
    /// The objects.
    pub components: Components,
    /// `Some`: the stores have no log of their own. Entries of a replicated log are applied to them, which is the only log; and they share
    /// this. The memory of the settings is then that of all of them together.
    pub replicated: Option<Arc<Shared>>,
}

impl LsmFactory {
    /// Stores with logs of their own.
    pub fn new(settings: Settings, components: Components) -> Self {
        Self { settings, components, replicated: None }
    }

    /// Stores under a replicated log, which share a cache, a budget for memtables, and leave to compact.
    pub fn replicated(settings: Settings, components: Components) -> Self {
        let replicated = Some(Shared::new(&settings, &components));
        Self { settings, components, replicated }
    }
}

/// The name in experiment files, configurations and tables.
pub(crate) const NAME: &str = "nori-lsm";

impl EngineFactory for LsmFactory {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut features = vec![
            Feature::Snapshots,
            Feature::Reverse,
            Feature::ReadMany,
            Feature::RangeDeletes,
            Feature::Expiry,
            Feature::Flush,
            Feature::Compact,
            Feature::Settle,
            Feature::Scrub,
            Feature::Checkpoint,
            Feature::CacheOnly,
            Feature::Batches,
            Feature::Lock,
            Feature::Simulated,
        ];
        let mut durabilities = &Capabilities::ALL_DURABILITIES[..];
        if self.replicated.is_some() {
            features.push(Feature::Replicated);
            durabilities = &[Durability::None];
        }
        Capabilities::new(durabilities, &features, WriteBatch::KEY_BYTES_MAX)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let names = self.components.names().map(|(seam, name)| (seam.to_owned(), name.to_owned()));
        names.chain(self.settings.list()).collect()
    }

    fn open(&self, dir: &Path, parts: Parts) -> Result<Arc<dyn Engine>> {
        self.settings.check()?;
        let opening = Opening {
            settings: self.settings.clone(),
            components: self.components.clone(),
            shared: self.replicated.clone(),
        };
        let core = open::open(dir, parts, opening)?;
        Ok(Arc::new(Lsm { store: Arc::new(Store { core }) }))
    }

    fn install(&self, dir: &Path, checkpoint: &Path, parts: &Parts) -> Result<()> {
        checkpoint::install(&*parts.fs, dir, checkpoint)
    }

    fn destroy(&self, dir: &Path, parts: &Parts) -> Result<()> {
        open::destroy(dir, parts)
    }
}

/// A handle to an open store.
struct Lsm {
    store: Arc<Store>,
}

/// Shared by the engine and its snapshots; the last one closes the store.
struct Store {
    core: Arc<Core>,
}

impl Drop for Store {
    fn drop(&mut self) {
        let core = &self.core;
        core.jobs.close(&*core.parts.tasks);
        core.durable.end();
        core.discharge();
        let promised = core.group_promised.load(Ordering::SeqCst);
        if promised > 0
            && let Ok(Some(wal)) = core.wal()
        {
            // Writers were promised a sync soon, and the job that was to do it may just have died with the store, even after
            // it took the promise on. A failure has no one left to tell but the event.
            if let Err(error) = wal.sync(promised) {
                core.log_failed(error);
            }
        }
    }
}

impl Reader for Lsm {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.store.core.read_at(key, None, options, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.store.core.cursor_at(Arc::clone(&self.store) as _, range, None, options)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.store.core.read_many_at(keys, None, options, sink)
    }
}

impl Engine for Lsm {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        write::write(&self.store.core, batch, durability)
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        let core = &self.store.core;
        let mut snapshots = core.snapshots.lock();
        let at = core.publisher.visible();
        *snapshots.entry(at).or_insert(0) += 1;
        drop(snapshots);
        Ok(Arc::new(Snapshot { store: Arc::clone(&self.store), at }))
    }

    fn stats(&self) -> EngineStats {
        stats(&self.store.core)
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }

    fn replicated(&self) -> Option<&dyn Replicated> {
        self.store.core.shared.is_some().then_some(self)
    }
}

impl Replicated for Lsm {
    fn apply(&self, batch: &WriteBatch, tail: &WriteBatch, at: Applied) -> Result<Progress> {
        replicated::apply(&self.store.core, batch, tail, at)
    }

    fn durable_applied(&self) -> Applied {
        self.store.core.durable.applied()
    }

    fn flush_through(&self, index: u64, done: Signal) {
        self.store.core.durable.want(index, done);
        replicated::flush_wanted(&self.store.core);
    }

    fn checkpoint(&self, dir: &Path) -> Result<Applied> {
        checkpoint::copy(&self.store.core, dir)
    }
}

impl Maintain for Lsm {
    fn flush(&self) -> Result<()> {
        maintain::flush(&self.store.core)
    }

    fn compact(&self, range: &KeyRange) -> Result<()> {
        maintain::compact(&self.store.core, range)
    }

    fn settle(&self) -> Result<()> {
        maintain::settle(&self.store.core)
    }

    fn checkpoint(&self, dir: &Path) -> Result<()> {
        checkpoint::check_empty(&*self.store.core.parts.fs, dir)?;
        maintain::flush(&self.store.core)?;
        checkpoint::copy(&self.store.core, dir).map(|_| ())
    }

    fn scrub(&self) -> Result<Scrubbed> {
        scrub::scrub(&self.store.core)
    }

    fn set_expiry_floor(&self, floor: Tick) -> Result<()> {
        self.store.core.expiry_floor.fetch_max(floor.0, Ordering::AcqRel);
        Ok(())
    }
}

/// The store as it was at one sequence number.
struct Snapshot {
    store: Arc<Store>,
    at: SeqNo,
}

impl Reader for Snapshot {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        self.store.core.read_at(key, Some(self.at), options, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        self.store.core.cursor_at(Arc::clone(&self.store) as _, range, Some(self.at), options)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.store.core.read_many_at(keys, Some(self.at), options, sink)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut snapshots = self.store.core.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&self.at);
            }
        }
    }
}

fn stats(core: &Core) -> EngineStats {
    let sv = core.super_version.load();
    let mut numbers: Vec<(&'static str, u64)> = core.counters.numbers().to_vec();
    numbers.extend(core.read_counters.numbers());
    numbers.extend(core.memory());
    let tables = || sv.version.tables().map(|table| (table.bytes(), table.properties()));
    numbers.extend([
        (stat::MEMTABLES_SEALED, sv.sealed.len() as u64),
        (stat::TABLE_BYTES, tables().map(|(bytes, _)| bytes).sum()),
        (stat::TOMBSTONES, tables().map(|(_, properties)| properties.tombstones).sum()),
        (stat::DEBT_BYTES, core.debt_bytes.load(Ordering::Relaxed)),
        (stat::LAST_SEQNO, core.publisher.visible().value()),
    ]);
    let mut levels = sv.version.stats();
    let tree = core.tree.lock();
    numbers.push((stat::COMPACTIONS_RUNNING, tree.busy.len() as u64));
    for (level, written) in levels.iter_mut().zip(&tree.level_bytes_written) {
        level.bytes_written = *written;
    }
    EngineStats { numbers, levels }
}
