//! Writes a table.
//!
//! 1. Entries come in internal order and go into the open block.
//! 2. A block that is long enough is closed: stored by the codec, framed, appended to a buffer. Its fence
//!    is known when the next key comes.
//! 3. A full buffer is written to the file. Nothing is synced here; who owns the file syncs it once at the end.
//! 4. `finish` writes filter, index, range tombstones, properties and footer. A table of range tombstones alone has no
//!    data block and no filter.

use crate::block_builder::BlockBuilder;
use crate::codec::Codec;
use crate::format::{Footer, Handle, write_block};
use crate::index::{IndexBuilder, separator};
use crate::properties::Properties;
use crate::range_block;
use nori_env::File;
use nori_filter::{FilterBuilder, FilterContext, FilterPolicy, key_hash, prefix_hash};
use nori_kv::{EntryRef, Error, Fragments, Result, Tick};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a table is written.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// How blocks are stored.
    pub codec: &'static dyn Codec,
    /// A block is closed once it has about this many bytes.
    pub block_bytes: usize,
    /// Who makes the filter.
    pub filter: Arc<dyn FilterPolicy>,
    /// What the filter's maker may know.
    pub filter_context: FilterContext,
    /// The filter also gets the first so many bytes of each key that has as many; zero: it does not.
    pub prefix_bytes: usize,
    /// The present tick.
    pub created: Tick,
}

/// Writes one table, entry by entry.
pub struct TableBuilder {
    file: Arc<dyn File>,
    path: PathBuf,
    number: u64,
    options: TableOptions,
    /// Bytes not yet written; the file has `written` bytes.
    out: Vec<u8>,
    written: u64,
    block: BlockBuilder,
    blocks: u64,
    /// The closed block whose fence is not known yet: its last key and its length.
    unfenced: Option<(Vec<u8>, u32)>,
    index: IndexBuilder,
    filter: Option<Box<dyn FilterBuilder>>,
    /// The prefix that the filter got last; empty before the first.
    prefix: Vec<u8>,
    properties: Properties,
    raw: Vec<u8>,
    scratch: Vec<u8>,
}

/// Large enough that a write's cost is its copy, small enough for the last-level cache. Writes are of this length and begin at its
/// multiples, but for the last one: the kernel then keeps them in folios as large, which took 1.4 ms for 8 MiB where writes that
/// begin anywhere took 1.9.
const WRITE_BYTES: usize = 128 * 1024;

impl TableBuilder {
    /// A builder that writes into the empty file `file`, whose checksums are bound to `number`.
    pub fn new(file: Arc<dyn File>, path: &Path, number: u64, options: TableOptions) -> Self {
        let filter = options.filter.builder(&options.filter_context);
        let properties = Properties { created: options.created, ..Properties::default() };
        Self {
            file,
            path: path.to_owned(),
            number,
            options,
            out: Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 4),
            written: 0,
            block: BlockBuilder::default(),
            blocks: 0,
            unfenced: None,
            index: IndexBuilder::default(),
            filter,
            prefix: Vec::new(),
            properties,
            raw: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends an entry; each after the one before it in internal order.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; then the builder is of no further use.
    pub fn add(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        if let Some((last, bytes)) = self.unfenced.take() {
            self.index.add(separator(&last, entry.key), bytes);
        }
        if let Some(filter) = &mut self.filter {
            // Before the hash of the key, whose repeats must stand in a row to count once. Without prefixes nothing is compared: an
            // empty vector points nowhere, and a masked load from there, though of no byte, took a fifth of a merge.
            if self.options.prefix_bytes > 0
                && let Some(prefix) = entry.key.get(..self.options.prefix_bytes)
                && prefix != self.prefix
            {
                filter.add_hash(prefix_hash(prefix));
                self.prefix.clear();
                self.prefix.extend_from_slice(prefix);
            }
            filter.add_hash(key_hash(entry.key));
        }
        self.properties.note(entry);
        self.block.add(entry);
        if self.block.bytes() >= self.options.block_bytes { self.close_block() } else { Ok(()) }
    }

    /// The number of blocks closed so far: it grows when a step has produced output.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// About how long the file would be now.
    pub fn bytes(&self) -> u64 {
        self.written + self.out.len() as u64 + self.block.bytes() as u64
    }

    /// The number of entries so far.
    pub fn entries(&self) -> u64 {
        self.properties.entries
    }

    /// Writes what is left, and `ranges`. The file is complete but not synced; its properties and its length.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn finish(mut self, ranges: &Fragments) -> Result<(Arc<dyn File>, Properties, u64)> {
        let is_empty = self.properties.entries == 0 && ranges.is_empty();
        assert!(!is_empty, "a table without entries has no place in a tree");
        self.properties.key_max = if self.block.is_empty() {
            self.unfenced.as_ref().map(|(last, _)| last.clone()).unwrap_or_default()
        } else {
            self.block.last_key().to_vec()
        };
        if !self.block.is_empty() {
            self.close_block()?;
        }
        if let Some((last, bytes)) = self.unfenced.take() {
            self.index.add(last, bytes);
        }
        let mut footer = Footer::default();
        let has_entries = self.properties.entries > 0;
        if let Some(filter) = self.filter.take().filter(|_| has_entries) {
            self.properties.filter = self.options.filter.name().to_owned();
            self.properties.prefix_bytes = self.options.prefix_bytes as u64;
            footer.filter = self.put_block(&filter.finish());
        }
        footer.index = self.put_block(&self.index.encode());
        if !ranges.is_empty() {
            self.properties.note_ranges(ranges);
            footer.range_tombstones = self.put_block(&range_block::encode(ranges));
        }
        footer.properties = self.put_block(&self.properties.encode());
        self.out.extend_from_slice(&footer.encode(self.number));
        self.write_out(self.out.len())?;
        Ok((self.file, self.properties, self.written))
    }

    fn close_block(&mut self) -> Result<()> {
        let last = self.block.last_key().to_vec();
        let mut raw = std::mem::take(&mut self.raw);
        self.block.finish(&mut raw);
        let Self { out, written, number, options, scratch, .. } = self;
        let handle = write_block(out, *written, *number, options.codec, &raw, scratch);
        self.raw = raw;
        self.unfenced = Some((last, handle.bytes));
        self.blocks += 1;
        self.write_out(self.out.len() / WRITE_BYTES * WRITE_BYTES)
    }

    /// Filters do not compress, and index and properties are read once: all are stored as they are.
    fn put_block(&mut self, raw: &[u8]) -> Handle {
        let as_it_is = crate::codec_by_id(0).expect("codec 0 always exists");
        let Self { out, written, number, scratch, .. } = self;
        write_block(out, *written, *number, as_it_is, raw, scratch)
    }

    /// Writes the first `len` bytes of `out`.
    fn write_out(&mut self, len: usize) -> Result<()> {
        if len > 0 {
            let wrote = self.file.write_at(&self.out[..len], self.written);
            wrote.map_err(|e| Error::io("writing", &self.path, e))?;
            self.written += len as u64;
            self.out.drain(..len);
        }
        Ok(())
    }
}
