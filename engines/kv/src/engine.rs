//! The traits.

use crate::{Capabilities, EngineStats, Error, KeyRange, Result, SeqNo, Tick, WriteBatch};
use bytes::Bytes;
use nori_env::{
    Clock, Durability, Entropy, Fs, OsClock, OsEntropy, OsFs, PoolTasks, Signal, Tasks,
};
use nori_observe::{Meter, NullMeter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A key and its value, lent until the call that lends them returns or the cursor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The user key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Which storage a read may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Any.
    #[default]
    Any,
    /// Memory only: [`Error::WouldBlock`] instead of touching the disk. A call that reads several rows may have lent some of
    /// them before.
    CacheOnly,
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Which storage may be touched.
    pub tier: Tier,
    /// Whether blocks that were read are kept in the cache.
    pub fill: bool,
    /// The reader's time: puts that expire at it or before are not seen. Zero: nothing has expired, but for what the
    /// floor says ([`Maintain::set_expiry_floor`]).
    pub now: Tick,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { tier: Tier::Any, fill: true, now: Tick(0) }
    }
}

/// Reads, from the store as it is or from a snapshot of it.
///
/// # Contract
///
/// * A read that began after a write returned sees that write, or a newer one of the same key.
/// * A cursor sees the store as it was when the cursor was made, whatever is written afterwards, where the
///   capability row has `Snapshots`; without, each step sees the store as it then is.
/// * A reader of [`Engine::snapshot`] sees, in every call, exactly the writes with a sequence number up to the
///   snapshot's; dropping it frees what it held back.
/// * The sink of `read` is called at most once, and exactly once if `true` is returned.
pub trait Reader: Send + Sync {
    /// Lends the row of `key` to `sink`; whether there is one.
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool>;

    /// A cursor over the rows in `range`, off both ends.
    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>>;

    /// Lends the rows of `keys` to `sink`, each with the index of its key, in any order and from one state of
    /// the store; `None` for a key without a row. Required where the capability row has `ReadMany`.
    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        let _ = (keys, options, sink);
        Err(Error::Unsupported { engine: "this engine", what: "reading many keys at once" })
    }

    /// The value of `key`, owned.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut value = None;
        self.read(key, &ReadOptions::default(), &mut |row| {
            value = Some(Bytes::copy_from_slice(row.value));
        })?;
        Ok(value)
    }
}

/// A position in the rows of a range, in order of key.
///
/// # Contract
///
/// * A new cursor is off both ends: `row` is `None`, `next` goes to the first row of the range, `prev` to the last.
/// * `next` past the last row and `prev` before the first leave the cursor off that end: `row` is `None`,
///   the same call again changes nothing, the opposite call goes to the nearest row.
/// * `seek(key)` goes to the first row at or after `key`, `seek_back(key)` to the last row at or before it; both
///   within the range, or off the end they looked towards.
/// * The position calls return whether there is a row. After an error the position is unspecified, but another
///   position call is allowed.
/// * What `row` lends stays in place until the next position call.
pub trait Cursor: Send {
    /// Goes to the first row at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;
    /// Goes to the last row at or before `key`.
    fn seek_back(&mut self, key: &[u8]) -> Result<bool>;
    /// Goes to the next row.
    fn next(&mut self) -> Result<bool>;
    /// Goes to the previous row.
    fn prev(&mut self) -> Result<bool>;
    /// The row at the position.
    fn row(&self) -> Option<Row<'_>>;
}

/// A store.
///
/// # Contract
///
/// * `write` applies a batch wholly or not at all: also after a crash, and for every reader.
/// * Sequence numbers only grow: a batch of `n` operations takes `n` of them, and `write` returns the last
///   one. An empty batch takes none and returns the last one taken.
/// * A write that returned `Ok` survives what its [`Durability`] says. One that returned an error may or may not
///   have happened; after an error of kind `Io` or `Full` every further write is [`Error::Poisoned`].
/// * Later operations of a batch win over earlier ones on the same key.
/// * Snapshots and cursors are handles too: the store stays open, and its folder locked, until the last of them goes.
/// * Dropping the last handle ends background work, leaves a store that opens again, and frees its lock.
pub trait Engine: Reader {
    /// Applies a batch.
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo>;
    /// The store as it is now, for as long as the reader lives.
    fn snapshot(&self) -> Result<Arc<dyn Reader>>;
    /// What was counted.
    fn stats(&self) -> EngineStats;
    /// The operator's calls, if there are any.
    fn maintain(&self) -> Option<&dyn Maintain> {
        None
    }
    /// The replica's calls, if there are any.
    fn replicated(&self) -> Option<&dyn Replicated> {
        None
    }
}

/// What an operator does. What is not overridden answers `Unsupported`.
///
/// # Contract
///
/// Each call returns when its work is done, and may be called while the store is read and written.
pub trait Maintain: Send + Sync {
    /// Writes every memtable to tables.
    fn flush(&self) -> Result<()> {
        Err(Error::Unsupported { engine: "this engine", what: "flush" })
    }
    /// Merges all tables that overlap `range` into the last level.
    fn compact(&self, range: &KeyRange) -> Result<()> {
        let _ = range;
        Err(Error::Unsupported { engine: "this engine", what: "compact" })
    }
    /// Waits until no compaction runs or is due.
    fn settle(&self) -> Result<()> {
        Err(Error::Unsupported { engine: "this engine", what: "settle" })
    }
    /// Makes a copy of the store in the new folder `dir`.
    fn checkpoint(&self, dir: &Path) -> Result<()> {
        let _ = dir;
        Err(Error::Unsupported { engine: "this engine", what: "checkpoint" })
    }
    /// Takes in tables built elsewhere, as one write.
    fn ingest(&self, tables: &[PathBuf]) -> Result<()> {
        let _ = tables;
        Err(Error::Unsupported { engine: "this engine", what: "ingest" })
    }
    /// Reads the store's files from the disk, whatever is in memory, and checks them. Damage is no error of the call: it is
    /// what was asked for.
    ///
    /// # Errors
    ///
    /// If a file cannot be read at all.
    fn scrub(&self) -> Result<Scrubbed> {
        Err(Error::Unsupported { engine: "this engine", what: "scrub" })
    }
    /// Promises that no reader will ask for a time before `floor`: what expired by it may be dropped. A reader that asks all
    /// the same sees the store at `floor`. It only grows, and it is not kept across an opening.
    fn set_expiry_floor(&self, floor: Tick) -> Result<()> {
        let _ = floor;
        Err(Error::Unsupported { engine: "this engine", what: "expiry" })
    }
}

/// What a scrub met.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    /// Files that were read whole.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// The first damage of each damaged file, as [`Error::Corrupt`].
    pub damage: Vec<Error>,
}

/// The place of an entry in a replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
}

/// How far an apply came.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It is applied.
    Done,
    /// Nothing of it is; try again once the signal has fired.
    Busy(Signal),
}

/// What a replica needs of a store that has no log of its own.
///
/// # Contract
///
/// * No call waits for a job: they are for whoever must not stand still, and `apply` answers [`Progress::Busy`] where a writer would
///   stall. `checkpoint` works on files, and is for a job.
/// * Entries are applied one after the other, each behind the last one; another is [`Error::Invalid`], and nothing has changed.
/// * Each comes with a **tail**: rows of the state as of this entry that the next ones will write anew, by their tails or their
///   batches. A store may keep the last tail beside the entries and write it only where they end in its files; so a row that
///   changes with every entry costs a write for each file and not for each entry. A reader sees the tail of any entry so far, or none.
/// * `durable_applied` never passes an entry whose effects a crash could still lose, and never falls, over openings either. What a
///   crash leaves is exactly the entries up to there, and the tail of the last of them over whatever tails of earlier ones were
///   written. An empty batch counts as applied.
/// * A signal given to `flush_through` fires once `durable_applied` has reached the index, however long that is after the call; it
///   fires too if it never will, because writing has ended or the store is closed. Look then.
pub trait Replicated: Send + Sync {
    /// Applies the batch of one log entry; `tail` takes the place of that of the entry before. Tails are short: each is copied.
    fn apply(&self, batch: &WriteBatch, tail: &WriteBatch, at: Applied) -> Result<Progress>;
    /// The last entry that survives a crash, with all before it.
    fn durable_applied(&self) -> Applied;
    /// Asks that `durable_applied` reach `index`; `done` fires when it has.
    fn flush_through(&self, index: u64, done: Signal);
    /// Copies the store as of `durable_applied` into the new folder `dir`; that entry.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is something in `dir`.
    fn checkpoint(&self, dir: &Path) -> Result<Applied>;
}

/// What an engine is built from besides its own settings.
#[derive(Clone)]
pub struct Parts {
    /// Files.
    pub fs: Arc<dyn Fs>,
    /// Background work.
    pub tasks: Arc<dyn Tasks>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Who reads the counters.
    pub meter: Arc<dyn Meter>,
}

impl Parts {
    /// The machine's own files, clock and entropy, `workers` background threads, and no meter.
    ///
    /// # Errors
    ///
    /// If the operating system refuses a thread, or no worker is asked for.
    pub fn os(workers: usize) -> std::io::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        Ok(Self {
            fs: Arc::new(OsFs),
            tasks: Arc::new(PoolTasks::new(workers, Arc::clone(&clock))?),
            clock,
            entropy: Arc::new(OsEntropy),
            meter: Arc::new(NullMeter),
        })
    }

    /// The same parts, counted by `meter`.
    #[must_use]
    pub fn with_meter(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter, ..self }
    }
}

/// Opens stores of one engine with one set of settings. What several stores share (a cache, a memory
/// budget) lives in the factory's value.
///
/// # Contract
///
/// * `open` of a folder that is empty or missing makes a store; of a folder with a store it recovers it.
/// * Opening a store that is open, here or in another process, is [`Error::Busy`], where the capability
///   row has `Lock`.
/// * `destroy` removes the store's files and nothing else; it refuses an open store with [`Error::Busy`].
pub trait EngineFactory: Send + Sync {
    /// The name of the engine in experiment files, configurations and tables.
    fn name(&self) -> &str;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Every setting in full, by name, as a manifest records it.
    fn settings(&self) -> Vec<(String, String)>;
    /// Opens the store in `dir`.
    fn open(&self, dir: &Path, parts: Parts) -> Result<Arc<dyn Engine>>;
    /// Makes the store in `dir` a copy of a checkpoint, in place of the one that may be there; neither is open. If it is cut off, the
    /// store does not open before it was done again or the store was destroyed.
    fn install(&self, dir: &Path, checkpoint: &Path, parts: &Parts) -> Result<()> {
        let _ = (dir, checkpoint, parts);
        Err(Error::Unsupported { engine: "this engine", what: "install" })
    }
    /// Removes the store in `dir`.
    fn destroy(&self, dir: &Path, parts: &Parts) -> Result<()>;
}
