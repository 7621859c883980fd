//! RocksDB 11 behind the seam, from C++ that is built with the crate (cargo feature `rocksdb`).
//!
//! **Durability.** `os` is RocksDB's own default: each write goes to the log with one `write(2)` before it returns.
//! `sync` sets `sync` for the write, `group` writes as `os` and syncs the log by the clock. `none` is the same as
//! `os`: the option that buffers the log holds for a whole store, not for a write.
//!
//! **Reads.** Points are pinned, not copied. A cursor is RocksDB's own iterator, which sees one state and turns round by
//! itself; it is made anew for each cursor, as a user would.
//!
//! **Matched.** Half of the memory is the block cache and an eighth is a memtable, of which there are three at most; the
//! last eighth is left for indexes and filters. The first level that is not level 0 holds four memtables and tables are
//! as large as memtables, for RocksDB's own sizes are made for 64 MiB. Filters of 10 bits a key, no compression.

use crate::Preset;
use crate::book::Book;
use crate::peer::{Peer, Store, View};
use ::rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, ErrorKind, Options,
    ReadOptions, Snapshot, WaitForCompactOptions, WriteBatch as TheirBatch, WriteOptions,
    properties,
};
use nori_kv::{
    Capabilities, Cursor, Durability, Error, Feature, KeyRange, Kind, Result, Row, WriteBatch, stat,
};
use std::io;
use std::sync::Arc;

/// Below it RocksDB would seal a memtable every few hundred writes.
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
/// Memtables there may be at once; the one that is written is one of them.
const MEMTABLES_MAX: i32 = 3;
/// As in the filters of the engines it is compared with.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// Memtables that the first level below level 0 holds: as many as level 0 has runs when they are merged into it.
const LEVEL_BASE_MEMTABLES: u64 = 4;
/// A flush and a compaction at the same time.
const BACKGROUND_JOBS: i32 = 2;

/// The cache and the memtable of a memory budget.
fn split(memory_bytes: u64) -> (u64, u64) {
    (memory_bytes / 2, (memory_bytes / 8).max(MEMTABLE_BYTES_MIN))
}

/// See the module.
pub(crate) struct RocksDb;

impl Peer for RocksDb {
    type Store = RocksStore;
    const MATCHED: &'static str = "rocksdb";
    const SHIPPED: &'static str = "rocksdb:default";

    fn row() -> Capabilities {
        let features = [
            Feature::Snapshots,
            Feature::Reverse,
            Feature::ReadMany,
            Feature::Flush,
            Feature::Compact,
            Feature::Settle,
            Feature::Batches,
            Feature::Lock,
        ];
        Capabilities::new(&Capabilities::ALL_DURABILITIES, &features, WriteBatch::KEY_BYTES_MAX)
    }

    fn settings(preset: Preset) -> Vec<(&'static str, String)> {
        let mut rows = match preset {
            Preset::Shipped => vec![("preset", "as shipped".to_owned())],
            Preset::Matched { memory_bytes } => {
                let (cache, memtable) = split(memory_bytes);
                vec![
                    ("cache_bytes", cache.to_string()),
                    ("memtable_bytes", memtable.to_string()),
                    ("memtables_max", MEMTABLES_MAX.to_string()),
                    ("level_base_bytes", (memtable * LEVEL_BASE_MEMTABLES).to_string()),
                    ("table_bytes", memtable.to_string()),
                    ("filter", format!("bloom, {FILTER_BITS_PER_KEY} bits a key on every level")),
                    ("compression", "none".to_owned()),
                ]
            }
        };
        rows.push(("background_jobs", BACKGROUND_JOBS.to_string()));
        rows.push(("version", "11.8 (crate 0.25)".to_owned()));
        rows
    }

    fn open(book: Book, preset: Preset) -> Result<RocksStore> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        if let Preset::Matched { memory_bytes } = preset {
            match_to(&mut options, memory_bytes);
        }
        let db = DB::open(&options, book.store()).map_err(|e| explain(&book, "opening", e))?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(RocksStore { db, plain: WriteOptions::default(), synced, book })
    }
}

fn match_to(options: &mut Options, memory_bytes: u64) {
    let (cache, memtable) = split(memory_bytes);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(usize::try_from(cache).unwrap_or(usize::MAX)));
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(usize::try_from(memtable).unwrap_or(usize::MAX));
    options.set_max_write_buffer_number(MEMTABLES_MAX);
    options.set_max_bytes_for_level_base(memtable * LEVEL_BASE_MEMTABLES);
    options.set_target_file_size_base(memtable);
}

/// RocksDB's error in the words of the seam.
fn explain(book: &Book, action: &'static str, error: ::rocksdb::Error) -> Error {
    let text = error.as_ref().to_owned();
    match error.kind() {
        ErrorKind::Corruption => book.corrupt(text),
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => Error::invalid(text),
        ErrorKind::Busy | ErrorKind::TryAgain => Error::Busy { what: text },
        ErrorKind::IOError if text.contains("No space left") => {
            book.io(action, io::ErrorKind::StorageFull.into())
        }
        _ => book.io(action, io::Error::other(text)),
    }
}

/// Fields are dropped in order: the lock goes last.
pub(crate) struct RocksStore {
    db: DB,
    plain: WriteOptions,
    synced: WriteOptions,
    book: Book,
}

impl Store for RocksStore {
    type View = RocksView;

    fn book(&self) -> &Book {
        &self.book
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        let is_sync = durability == Durability::Sync;
        let options = if is_sync { &self.synced } else { &self.plain };
        let mut ops = batch.iter();
        let written = match (batch.len(), ops.next()) {
            (0, _) => self.db.flush_wal(true),
            (1, Some((op, key, value))) => match op.kind {
                Kind::Put => self.db.put_opt(key, value, options),
                _ => self.db.delete_opt(key, options),
            },
            _ => {
                let mut theirs = TheirBatch::default();
                for (op, key, value) in batch.iter() {
                    match op.kind {
                        Kind::Put => theirs.put(key, value),
                        _ => theirs.delete(key),
                    }
                }
                self.db.write_opt(theirs, options)
            }
        };
        written.map_err(|e| explain(&self.book, "writing", e))
    }

    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        let found = self.db.get_pinned(key).map_err(|e| explain(&self.book, "reading", e))?;
        Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
    }

    fn view(self: Arc<Self>) -> Result<RocksView> {
        Ok(RocksView(Arc::new(Held::new(self, |store| store.db.snapshot()))))
    }

    fn cursor(self: Arc<Self>, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        let options = bounded(range);
        let cell = Iter::new(Source::Now(self), |source| source.iterator(options));
        Ok(Box::new(RocksCursor::new(cell, range)))
    }

    fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|e| explain(&self.book, "syncing", e))
    }

    fn count(&self, numbers: &mut Vec<(&'static str, u64)>) {
        let known = [
            (stat::COMPACTIONS_RUNNING, properties::NUM_RUNNING_COMPACTIONS),
            (stat::MEMTABLES_SEALED, properties::NUM_IMMUTABLE_MEM_TABLE),
            (stat::MEMTABLE_BYTES, properties::CUR_SIZE_ALL_MEM_TABLES),
            (stat::TABLE_MEMORY_BYTES, properties::ESTIMATE_TABLE_READERS_MEM),
            (stat::CACHE_BYTES, properties::BLOCK_CACHE_USAGE),
            (stat::TABLE_BYTES, properties::LIVE_SST_FILES_SIZE),
            (stat::DEBT_BYTES, properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        ];
        for (name, property) in known {
            let value = self.db.property_int_value(property).ok().flatten();
            numbers.extend(value.map(|value| (name, value)));
        }
        let text = self.db.property_value(properties::CFSTATS_NO_FILE_HISTOGRAM);
        if let Ok(Some(text)) = text {
            numbers.extend(written(&text));
        }
    }

    fn flush(&self) -> Result<()> {
        self.db.flush().map_err(|e| explain(&self.book, "flushing", e))
    }

    fn compact(&self, range: &KeyRange) -> Result<()> {
        self.flush()?;
        self.db.compact_range(Some(&range.start), range.end.as_ref());
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        let waited = self.db.wait_for_compact(&WaitForCompactOptions::default());
        waited.map_err(|e| explain(&self.book, "settling", e))
    }
}

/// What flushes and compactions have written, out of the text in which RocksDB tells it, in steps of a mebibyte or
/// so: a table of levels with a line `Sum`, and a line `Flush(GB)`. Nothing if the text has changed its form.
fn written(text: &str) -> Vec<(&'static str, u64)> {
    let bytes = |gib: &str| Some((gib.parse::<f64>().ok()? * f64::from(1 << 30)) as u64);
    let find = || {
        let header: Vec<&str> =
            text.lines().find(|line| line.contains("Write(GB)"))?.split_whitespace().collect();
        let column = |name: &str| header.iter().position(|known| *known == name);
        let sum: Vec<&str> = text
            .lines()
            .find(|line| line.trim_start().starts_with("Sum"))?
            .split_whitespace()
            .collect();
        // `Size` is a number and its unit: one word more in the line than in the header.
        let at = |name: &str| bytes(sum.get(column(name)? + 1)?);
        let flush = text.lines().find(|line| line.starts_with("Flush(GB): cumulative"))?;
        let flush = flush.split_whitespace().nth(2)?;
        Some((at("Read(GB)")?, at("Write(GB)")?, bytes(flush.trim_end_matches(','))?))
    };
    let Some((read, all, flush)) = find() else { return Vec::new() };
    vec![
        (stat::FLUSH_BYTES, flush),
        (stat::COMPACTION_BYTES_READ, read),
        (stat::COMPACTION_BYTES_WRITTEN, all.saturating_sub(flush)),
    ]
}

self_cell::self_cell!(
    /// A snapshot with the store it is of.
    struct Held {
        owner: Arc<RocksStore>,
        #[not_covariant]
        dependent: Snapshot,
    }
);

#[derive(Clone)]
pub(crate) struct RocksView(Arc<Held>);

impl View for RocksView {
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool> {
        self.0.with_dependent(|store, snapshot| {
            let found = snapshot.get_pinned(key).map_err(|e| explain(&store.book, "reading", e))?;
            Ok(found.map(|value| sink(Row { key, value: &value })).is_some())
        })
    }

    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        let options = bounded(range);
        let cell = Iter::new(Source::Then(self.clone()), |source| source.iterator(options));
        Ok(Box::new(RocksCursor::new(cell, range)))
    }
}

/// What an iterator reads.
enum Source {
    Now(Arc<RocksStore>),
    Then(RocksView),
}

impl Source {
    fn iterator(&self, mut options: ReadOptions) -> DBRawIterator<'_> {
        match self {
            Self::Now(store) => store.db.raw_iterator_opt(options),
            Self::Then(view) => view.0.with_dependent(|store, snapshot| {
                options.set_snapshot(snapshot);
                store.db.raw_iterator_opt(options)
            }),
        }
    }

    fn book(&self) -> &Book {
        match self {
            Self::Now(store) => &store.book,
            Self::Then(view) => &view.0.borrow_owner().book,
        }
    }
}

fn bounded(range: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    if !range.start.is_empty() {
        options.set_iterate_lower_bound(range.start.clone());
    }
    if let Some(end) = &range.end {
        options.set_iterate_upper_bound(end.clone());
    }
    options
}

self_cell::self_cell!(
    /// An iterator with what it reads.
    struct Iter {
        owner: Source,
        #[not_covariant]
        dependent: DBRawIterator,
    }
);

/// Where a cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Off both ends.
    Fresh,
    /// Before the first row.
    Before,
    /// At the iterator's row.
    At,
    /// After the last row.
    After,
}

/// How the iterator is moved.
#[derive(Clone, Copy)]
enum Step<'a> {
    First,
    Last,
    Next,
    Prev,
    /// To the first row at or after the key.
    At(&'a [u8]),
    /// To the last row at or before the key.
    UpTo(&'a [u8]),
}

struct RocksCursor {
    cell: Iter,
    range: KeyRange,
    /// Whether no key can be in the range: RocksDB wants its bounds in order.
    is_empty: bool,
    position: Position,
}

impl RocksCursor {
    fn new(cell: Iter, range: &KeyRange) -> Self {
        let is_empty = range.end.as_ref().is_some_and(|end| *end <= range.start);
        Self { cell, range: range.clone(), is_empty, position: Position::Fresh }
    }

    /// Moves the iterator.
    fn go(&mut self, step: Step<'_>) -> Result<bool> {
        let off = match step {
            Step::First | Step::Next | Step::At(_) => Position::After,
            Step::Last | Step::Prev | Step::UpTo(_) => Position::Before,
        };
        // If this fails, the cursor is where it was when it was new.
        self.position = Position::Fresh;
        if self.is_empty {
            self.position = off;
            return Ok(false);
        }
        let at = self.cell.with_dependent_mut(|source, iter| {
            match step {
                Step::First => iter.seek_to_first(),
                Step::Last => iter.seek_to_last(),
                Step::Next => iter.next(),
                Step::Prev => iter.prev(),
                Step::At(key) => iter.seek(key),
                Step::UpTo(key) => iter.seek_for_prev(key),
            }
            if iter.valid() {
                return Ok(true);
            }
            iter.status().map(|()| false).map_err(|e| explain(source.book(), "reading", e))
        })?;
        self.position = if at { Position::At } else { off };
        Ok(at)
    }
}

impl Cursor for RocksCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if key <= self.range.start.as_slice() {
            return self.go(Step::First);
        }
        self.go(Step::At(key))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if !self.range.is_below_end(key) {
            return self.go(Step::Last);
        }
        self.go(Step::UpTo(key))
    }

    fn next(&mut self) -> Result<bool> {
        match self.position {
            Position::Fresh | Position::Before => self.go(Step::First),
            Position::At => self.go(Step::Next),
            Position::After => Ok(false),
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match self.position {
            Position::Fresh | Position::After => self.go(Step::Last),
            Position::At => self.go(Step::Prev),
            Position::Before => Ok(false),
        }
    }

    fn row(&self) -> Option<Row<'_>> {
        if self.position != Position::At {
            return None;
        }
        self.cell.with_dependent(|_, iter| iter.item().map(|(key, value)| Row { key, value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rocksdb_tells_of_its_bytes_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open("rocksdb", dir.path(), "rocksdb").unwrap();
        let store = RocksDb::open(book, Preset::Matched { memory_bytes: 8 << 20 }).unwrap();
        let mut batch = WriteBatch::new();
        for n in 0..200_000_u64 {
            batch.clear();
            batch.put(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), &[7; 100]);
            store.write(&batch, Durability::Os).unwrap();
        }
        store.flush().unwrap();
        store.compact(&KeyRange::all()).unwrap();
        let mut numbers = Vec::new();
        store.count(&mut numbers);
        let number = |name: &str| numbers.iter().find(|(known, _)| *known == name).unwrap().1;
        // 200,000 rows of 108 bytes and what a format adds.
        assert!((20 << 20..40 << 20).contains(&number(stat::FLUSH_BYTES)), "{numbers:?}");
        assert!(number(stat::COMPACTION_BYTES_WRITTEN) > 15 << 20, "{numbers:?}");
        assert!(number(stat::COMPACTION_BYTES_READ) > 15 << 20, "{numbers:?}");
    }
}
