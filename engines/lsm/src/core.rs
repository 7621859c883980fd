//! What reads, writes and jobs of one store share.
//!
//! Locks, in the order they are taken: `order` (of writes), `tree` (edits of the version), then the small ones, those of
//! [`Shared`] last. Nobody holds a lock of two stores. Reads take none.

use crate::counters::Counters;
use crate::durable::Durable;
use crate::edit::Edit;
use crate::jobs::Jobs;
use crate::manifest::Manifest;
use crate::mem::Mem;
use crate::publish::Publisher;
use crate::read::SuperVersion;
use crate::shared::{Charged, Shared};
use crate::sought::Sought;
use crate::stall::Brake;
use crate::version::Version;
use crate::{Components, Settings};
use arc_swap::ArcSwap;
use nori_compaction::{Busy, Strategy, TreeView};
use nori_env::Lock;
use nori_filter::{FilterContext, LevelFill};
use nori_kv::{Applied, EngineEvent, Error, Parts, Result, SeqNo, Tick, WriteBatch};
use nori_sstable::{ReadCounters, TableContext};
use nori_wal::{Wal, WalError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// One open store.
pub(crate) struct Core {
    pub(crate) dir: PathBuf,
    pub(crate) parts: Parts,
    pub(crate) settings: Settings,
    pub(crate) components: Components,
    pub(crate) tables: TableContext,
    pub(crate) counters: Counters,
    pub(crate) read_counters: ReadCounters,
    /// The log; none if entries of a replicated one are applied; or why the store was opened for reading only.
    pub(crate) wal: Result<Option<Wal>>,
    /// What the stores of a node share. `Some` exactly if the store is under a replicated log.
    pub(crate) shared: Option<Arc<Shared>>,
    /// What this store has of the shared budget.
    pub(crate) charged: Mutex<Charged>,
    /// Up to which entry of the replicated log everything is in tables, and who waits for more.
    pub(crate) durable: Durable,
    pub(crate) publisher: Publisher,
    pub(crate) order: Mutex<WriteOrder>,
    pub(crate) super_version: ArcSwap<SuperVersion>,
    pub(crate) tree: Mutex<Tree>,
    /// Sequence numbers that snapshots read at, each with the number of snapshots.
    pub(crate) snapshots: Mutex<BTreeMap<SeqNo, usize>>,
    /// The tick that no reader asks behind; only grows. See `nori_kv::Maintain::set_expiry_floor`.
    pub(crate) expiry_floor: AtomicU64,
    pub(crate) brake: Brake,
    /// Shared with jobs that must not keep the store open.
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) sought: Sought,
    /// Operators that wait for an idle tree. While it is not zero no compaction starts by itself.
    pub(crate) turns_wanted: AtomicUsize,
    /// The flush jobs under way; whoever holds it may start another.
    pub(crate) flushes: Mutex<usize>,
    /// The next number for a table, a run or a manifest.
    pub(crate) next_number: AtomicU64,
    /// Logical time: flushes so far.
    pub(crate) ticks: AtomicU64,
    /// The failure that ended writing.
    pub(crate) poison: OnceLock<Error>,
    /// Bytes that compactions are behind.
    pub(crate) debt_bytes: AtomicU64,
    /// When the earliest group write has to be synced, in nanoseconds of the clock; `NOT_DUE`: no one waits.
    pub(crate) group_due: AtomicU64,
    /// The position behind the newest write of class `group`: what a close has to make safe, whoever was to do it.
    pub(crate) group_promised: AtomicU64,
    pub(crate) _lock: Box<dyn Lock>,
}

/// The order of writes.
pub(crate) struct WriteOrder {
    /// The last sequence number taken; `visible <= last`.
    pub(crate) last: SeqNo,
    /// The last entry of the replicated log that was applied. `durable <= applied`.
    pub(crate) applied: Applied,
    /// The tail of that entry.
    pub(crate) tail: WriteBatch,
    /// Whether the tail is other than what memtables and tables have of it.
    pub(crate) is_tail_new: bool,
    pub(crate) active: Arc<Mem>,
}

impl WriteOrder {
    pub(crate) fn new(last: SeqNo, applied: Applied, active: Arc<Mem>) -> Self {
        Self { last, applied, tail: WriteBatch::new(), is_tail_new: false, active }
    }

    /// Whether nothing was written since the last memtable was sealed.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty() && !self.is_tail_new
    }
}

/// The tree and who changes it.
pub(crate) struct Tree {
    pub(crate) version: Arc<Version>,
    /// The manifest, or why the store was opened without one to write.
    pub(crate) manifest: Result<Manifest>,
    pub(crate) busy: Busy,
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) next_job: u64,
    /// The numbers of all edits so far, the latest of each.
    pub(crate) numbers: Edit,
    /// By level, since the store was opened.
    pub(crate) level_bytes_written: Vec<u64>,
}

impl Core {
    /// The present tick.
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.ticks.load(Ordering::Relaxed))
    }

    /// No reader sees the store at a time before this.
    pub(crate) fn expiry_floor(&self) -> Tick {
        Tick(self.expiry_floor.load(Ordering::Acquire))
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, event: &EngineEvent) {
        self.parts.meter.event(event.to_viz(self.parts.clock.now().nanos));
    }

    /// An error if writing has ended.
    pub(crate) fn check_poison(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |error| Err(error.poison()))
    }

    /// The log, if the store has one of its own; an error if it was opened for reading only.
    pub(crate) fn wal(&self) -> Result<Option<&Wal>> {
        self.wal.as_ref().map(Option::as_ref).map_err(Error::poison)
    }

    /// Ends writing for good: what is on disk is unknown from here on.
    pub(crate) fn end_writing(&self, error: &Error) {
        if self.poison.set(error.clone()).is_ok() {
            self.tell(&EngineEvent::Poisoned { what: error.to_string() });
        }
        self.publisher.fail(error);
        self.durable.end();
        self.discharge();
        self.set_brake(0.0, None);
        self.jobs.notify();
    }

    /// A log error as an engine error; it ends writing.
    pub(crate) fn log_failed(&self, error: WalError) -> Error {
        let error = from_wal(error);
        self.end_writing(&error);
        error
    }

    /// The sequence numbers some reader may read at, ascending; the newest visible one is the last.
    pub(crate) fn boundaries(&self) -> Vec<SeqNo> {
        // Under the lock, so that no snapshot is made between the two looks.
        let snapshots = self.snapshots.lock();
        let visible = self.publisher.visible();
        let mut boundaries: Vec<SeqNo> = snapshots.keys().copied().collect();
        if boundaries.last() != Some(&visible) {
            boundaries.push(visible);
        }
        boundaries
    }

    /// Hands `tree`'s view to `f`, together with its strategy.
    pub(crate) fn with_view<T>(
        &self,
        tree: &mut Tree,
        f: impl FnOnce(&mut dyn Strategy, &TreeView<'_>) -> T,
    ) -> T {
        let snapshots = self.boundaries();
        let Tree { version, busy, strategy, .. } = tree;
        let view = TreeView {
            levels: &version.views,
            busy,
            now: self.tick(),
            snapshots: &snapshots,
            disk_free: None,
        };
        f(&mut **strategy, &view)
    }

    /// What the filter of a table for `level` may know.
    pub(crate) fn filter_context(&self, level: usize, keys_expected: u64) -> FilterContext {
        let version = Arc::clone(&self.super_version.load().version);
        let fills: Vec<LevelFill> = version
            .views
            .iter()
            .map(|view| LevelFill {
                entries: view.tables().map(|table| table.entries).sum(),
                runs: view.runs.len(),
            })
            .collect();
        let bits = self.components.filter_budget.bits(&fills, self.settings.filter_bits_per_key);
        let is_last_level =
            version.levels.iter().skip(level + 1).all(|below| below.runs.is_empty());
        FilterContext {
            level,
            is_last_level,
            keys_expected: usize::try_from(keys_expected).unwrap_or(usize::MAX),
            bits_per_key: bits.get(level).copied().unwrap_or(self.settings.filter_bits_per_key),
        }
    }
}

/// A log error as an engine error.
pub(crate) fn from_wal(error: WalError) -> Error {
    match error {
        WalError::Io { action, file, source } => {
            let same = std::io::Error::new(source.kind(), source.to_string());
            Error::io(action, &file, same)
        }
        WalError::Damaged { file, offset, what } => Error::corrupt(&file, offset, what),
        WalError::Stuck => Error::Busy { what: WalError::Stuck.to_string() },
    }
}
