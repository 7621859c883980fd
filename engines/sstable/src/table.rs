//! Reads a table.

use crate::block::{Block, Damage};
use crate::cache::{Cache, Frame, Slots};
use crate::counters::Tally;
use crate::format::{Footer, Handle, Place, RawBlock, read_block, unframe};
use crate::index::Index;
use crate::obsolete::{LastHold, RemoveFile};
use crate::properties::Properties;
use crate::range_block;
use crate::slot::Guard;
use crate::spare::Buffer;
use crate::{Access, Fetch, TableCursor};
use bytes::Bytes;
use nori_env::{File, Fs, OpenMode};
use nori_filter::{Filter, prefix_hash};
use nori_kv::{EntryRef, Error, Fragments, KeyRange, Result, SeqNo};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the tables of a store share.
#[derive(Clone)]
pub struct TableContext {
    /// Where their files are.
    pub fs: Arc<dyn Fs>,
    /// Where their blocks stay.
    pub cache: Arc<Cache>,
    /// How their blocks are read.
    pub access: Access,
    /// What filters, indexes and range tombstones of the open tables take.
    memory_bytes: Arc<AtomicUsize>,
    remove: RemoveFile,
}

impl TableContext {
    /// A context without tables. Files are removed at once.
    pub fn new(fs: Arc<dyn Fs>, cache: Arc<Cache>, access: Access) -> Self {
        let files = Arc::clone(&fs);
        let remove: RemoveFile = Arc::new(move |file| drop(file.remove(&*files)));
        Self { fs, cache, access, memory_bytes: Arc::default(), remove }
    }

    /// The same, with files removed by `remove`.
    pub fn removing_with(self, remove: RemoveFile) -> Self {
        Self { remove, ..self }
    }

    /// The memory that filters, indexes and range tombstones take, of every table that somebody holds.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}

/// An open table. Its filter and index are in memory; its blocks come and go with the cache.
pub struct Table {
    number: u64,
    path: PathBuf,
    bytes: u64,
    /// Of its context: this table's share is in it.
    memory_of_all: Arc<AtomicUsize>,
    file: Arc<dyn File>,
    /// The whole file, if blocks are read through a mapping. Nobody writes a table after it was finished.
    map: Option<Bytes>,
    filter: Option<Box<dyn Filter>>,
    index: Index,
    slots: Arc<Slots>,
    properties: Properties,
    ranges: Fragments,
    /// Of cursors, as their owner counts them; shared with whoever wants to look.
    seeks: Arc<AtomicU64>,
    /// The last field: when it goes, nobody else has the file open.
    hold: LastHold,
}

impl Table {
    /// Opens table `number` in `dir`.
    ///
    /// # Errors
    ///
    /// If the file is missing or anything but its data blocks is damaged. A filter of an unknown policy is no error:
    /// the table is read without one.
    pub fn open(context: &TableContext, dir: &Path, number: u64) -> Result<Arc<Self>> {
        let path = dir.join(table_name(number));
        let file =
            context.fs.open(&path, OpenMode::Read).map_err(|e| Error::io("opening", &path, e))?;
        let place = Place { path: &path, number };
        let footer = Footer::read(&*file, place)?;
        let raw = read_block(&*file, place, footer.properties)?;
        let properties = Properties::decode(&raw)
            .map_err(|what| place.corrupt(footer.properties.offset, what))?;
        if !properties.are_possible() {
            return Err(
                place.corrupt(footer.properties.offset, "no table can have such properties")
            );
        }
        let raw = read_block(&*file, place, footer.index)?;
        let data_end = if footer.filter.bytes > 0 { footer.filter } else { footer.index }.offset;
        let index = Index::decode(&raw, data_end)
            .map_err(|what| place.corrupt(footer.index.offset, what))?;
        let filter = if footer.filter.bytes > 0 {
            let raw = read_block(&*file, place, footer.filter)?;
            let policy = nori_filter::policy(&properties.filter);
            let open = policy.map(|policy| policy.open(&raw)).transpose();
            open.map_err(|e| place.corrupt(footer.filter.offset, e.to_string()))?
        } else {
            None
        };
        let ranges = if footer.range_tombstones.bytes > 0 {
            let raw = read_block(&*file, place, footer.range_tombstones)?;
            range_block::decode(&raw)
                .map_err(|what| place.corrupt(footer.range_tombstones.offset, what))?
        } else {
            Fragments::default()
        };
        if ranges.tombstones() != properties.range_tombstones
            || (index.len() == 0) != (properties.entries == 0)
        {
            return Err(
                place.corrupt(footer.properties.offset, "the properties miscount the table")
            );
        }
        let bytes = file.len().map_err(|e| Error::io("measuring", &path, e))?;
        let map = match context.access {
            Access::Pread => None,
            Access::Mmap => Some(file.map().map_err(|e| Error::io("mapping", &path, e))?),
        };
        let slots = Slots::new(index.len(), Arc::clone(&context.cache));
        let hold = LastHold::new(path.clone(), &file, map.as_ref(), &context.remove);
        let table = Self {
            number,
            path,
            bytes,
            memory_of_all: Arc::clone(&context.memory_bytes),
            file,
            map,
            filter,
            index,
            slots,
            properties,
            ranges,
            seeks: Arc::default(),
            hold,
        };
        table.memory_of_all.fetch_add(table.memory_bytes(), Ordering::Relaxed);
        Ok(Arc::new(table))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The length of its file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it knows of itself.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The memory its filter, index and range tombstones take.
    pub fn memory_bytes(&self) -> usize {
        self.filter_bytes() + self.index_bytes() + self.ranges.bytes()
    }

    /// The memory its filter takes.
    pub fn filter_bytes(&self) -> usize {
        self.filter.as_ref().map_or(0, |filter| filter.bytes())
    }

    /// The seeks of cursors in it since it was opened, as far as whoever owns the cursors adds them here.
    pub fn seeks(&self) -> &Arc<AtomicU64> {
        &self.seeks
    }

    /// The memory its index takes, with a slot for each block.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes() + self.slots.bytes()
    }

    /// Whether its key range holds `key`.
    #[inline]
    pub fn spans(&self, key: &[u8]) -> bool {
        self.properties.key_min.as_slice() <= key && !self.properties.ends_before(key)
    }

    /// Its range tombstones.
    #[inline]
    pub fn ranges(&self) -> &Fragments {
        &self.ranges
    }

    /// Starts to fetch the part of the filter that a look-up of `hash` will read.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(filter) = &self.filter {
            filter.prefetch(hash);
        }
    }

    /// Whether the table can hold an entry of a key in `range`. Where all keys of the range begin alike its filter may know
    /// better than its bounds. Range tombstones are no entries.
    pub fn may_hold(&self, range: &KeyRange, tally: &mut Tally) -> bool {
        let (min, max) = (&self.properties.key_min, &self.properties.key_max);
        if !range.overlaps(min, max) {
            return false;
        }
        let Some(filter) = &self.filter else { return true };
        let Some(prefix) = shared_prefix(range, self.properties.prefix_bytes) else { return true };
        tally.prefix_probes += 1;
        let may_hold = filter.may_contain(prefix_hash(prefix));
        tally.prefix_negatives += u64::from(!may_hold);
        may_hold
    }

    /// Lends the newest version of `key` at or before `at` to `sink`; whether there is one. `hash` is the key's.
    ///
    /// # Errors
    ///
    /// If a block cannot be read or is damaged, or would have to be read where `fetch` forbids it.
    pub fn get(
        &self,
        (key, hash): (&[u8], u64),
        at: SeqNo,
        fetch: Fetch,
        tally: &mut Tally,
        sink: &mut dyn FnMut(EntryRef<'_>),
    ) -> Result<bool> {
        tally.runs_probed += 1;
        if let Some(filter) = &self.filter {
            tally.filter_probes += 1;
            if !filter.may_contain(hash) {
                tally.filter_negatives += 1;
                return Ok(false);
            }
        }
        // Versions of one key may go on in the next block, then its fence is the key itself.
        for n in self.index.find(key)..self.index.len() {
            let held = self.frame(n, fetch, tally)?;
            let block = held.block();
            let damaged = |what| self.damaged(n, what);
            let at = block.lower_bound(key, at).map_err(damaged)?;
            if at < block.len() {
                let entry = block.entry(at).map_err(damaged)?;
                if key.strip_prefix(block.prefix()) == Some(entry.suffix) {
                    sink(entry.with_key(key));
                    return Ok(true);
                }
                break;
            }
        }
        tally.filter_false_positives += u64::from(self.filter.is_some());
        Ok(false)
    }

    /// A cursor over its entries.
    pub fn cursor(self: &Arc<Self>, fetch: Fetch) -> TableCursor {
        TableCursor::new(Arc::clone(self), fetch)
    }

    /// Reads every block from the file, whatever is in memory, and checks it; the number of entries.
    ///
    /// # Errors
    ///
    /// The first damage.
    pub fn verify(&self) -> Result<u64> {
        let footer = Footer::read(&*self.file, self.place())?;
        for handle in [footer.filter, footer.index, footer.range_tombstones, footer.properties] {
            if handle.bytes > 0 {
                read_block(&*self.file, self.place(), handle)?;
            }
        }
        let mut entries = 0;
        for n in 0..self.index.len() {
            let handle = self.index.handle(n);
            let raw = read_block(&*self.file, self.place(), handle)?;
            let block =
                Block::decode(raw).map_err(|what| self.place().corrupt(handle.offset, what))?;
            entries += block.len() as u64;
        }
        if entries != self.properties.entries {
            let what =
                format!("{entries} entries where the properties say {}", self.properties.entries);
            return Err(self.place().corrupt(0, what));
        }
        Ok(entries)
    }

    /// Has the file removed when the last handle goes, as the context has it.
    pub fn mark_obsolete(&self) {
        self.hold.mark_obsolete();
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place { path: &self.path, number: self.number }
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The frame of block `n`, from its slot or from the file.
    #[inline]
    pub(crate) fn frame(&self, n: usize, fetch: Fetch, tally: &mut Tally) -> Result<Held<'_>> {
        if let Some(frame) = self.slots.slot(n).get() {
            tally.cache_hits += 1;
            self.slots.cache().hit(&frame);
            return Ok(Held::Cached(frame));
        }
        if fetch == Fetch::CacheOnly {
            return Err(Error::WouldBlock);
        }
        tally.cache_misses += 1;
        self.read_frame(n, fetch).map(Held::Read)
    }

    /// Whether block `n` is in its slot.
    pub(crate) fn is_cached(&self, n: usize) -> bool {
        !self.slots.slot(n).is_empty()
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The bytes of a block from the file, verified.
    pub(crate) fn read_raw(&self, handle: Handle) -> Result<RawBlock> {
        let Some(map) = &self.map else { return read_block(&*self.file, self.place(), handle) };
        let start = usize::try_from(handle.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(handle.bytes as usize);
        if end > map.len() {
            return Err(self.place().corrupt(handle.offset, "the file ends before the block does"));
        }
        // A copy is what is verified and kept: the mapping's bytes may be others the next time their page is fetched.
        unframe(Buffer::copy_of(&map[start..end]).share(), self.place(), handle)
    }

    /// An error about block `n`.
    #[cold]
    pub(crate) fn damaged(&self, n: usize, what: Damage) -> Error {
        self.place().corrupt(self.index.handle(n).offset, what)
    }

    #[cold]
    fn read_frame(&self, n: usize, fetch: Fetch) -> Result<Arc<Frame>> {
        let frame = self.open_block(n, self.read_raw(self.index.handle(n))?)?;
        if fetch == Fetch::Fill {
            self.slots.cache().offer(&self.slots, n, &frame);
        }
        Ok(frame)
    }

    /// The frame of block `n` from its bytes in the file, offered to the cache. They are copied: a cached block keeps no memory but
    /// its own.
    pub(crate) fn fill(&self, n: usize, stored: &[u8]) -> Result<Arc<Frame>> {
        let raw = unframe(Buffer::copy_of(stored).share(), self.place(), self.index.handle(n))?;
        let frame = self.open_block(n, raw)?;
        self.slots.cache().offer(&self.slots, n, &frame);
        Ok(frame)
    }

    fn open_block(&self, n: usize, raw: RawBlock) -> Result<Arc<Frame>> {
        Ok(Frame::new(Block::open(raw).map_err(|what| self.damaged(n, what))?))
    }
}

/// The first `bytes` bytes of every key in `range`, if they are the same for all; none for no bytes.
fn shared_prefix(range: &KeyRange, bytes: u64) -> Option<&[u8]> {
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)?;
    let prefix = range.start.get(..bytes)?;
    let whole = KeyRange::prefix(prefix);
    let is_within = match (&range.end, &whole.end) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(end), Some(last)) => end <= last,
    };
    is_within.then_some(prefix)
}

/// A frame that stays as long as this lives.
pub(crate) enum Held<'a> {
    Cached(Guard<'a, Frame>),
    Read(Arc<Frame>),
}

impl Held<'_> {
    #[inline]
    pub(crate) fn block(&self) -> &Block {
        match self {
            Self::Cached(guard) => &guard.block,
            Self::Read(frame) => &frame.block,
        }
    }

    pub(crate) fn into_frame(self) -> Arc<Frame> {
        match self {
            Self::Cached(guard) => guard.into_arc(),
            Self::Read(frame) => frame,
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.memory_of_all.fetch_sub(self.memory_bytes(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("number", &self.number).field("bytes", &self.bytes).finish()
    }
}

/// The file name of table `number`.
pub fn table_name(number: u64) -> String {
    format!("{number:010}.table")
}

/// The number of the table of that file name.
pub fn table_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".table")?.parse().ok()?;
    (table_name(number) == name).then_some(number)
}
