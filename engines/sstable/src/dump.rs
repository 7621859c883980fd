//! A table as it lies on the disk, for people: its parts and entries, and every damage there is.
//!
//! 1. The footer says where the parts are. Without it nothing can be found, and the dump ends.
//! 2. Properties, index, filter and range tombstones are read, each whatever the others came to.
//! 3. Every data block that the index names is read and checked: entries ascend over block borders, lie within what the properties say,
//!    and the filter knows each key. A damaged block is noted and the next one read.
//! 4. What was counted is compared with the properties, if every block could be read.
//!
//! Nothing is opened for writing and no cache is filled. Left to others: whether the manifest names the table.

use crate::block::Block;
use crate::format::{Footer, Handle, Place, read_block};
use crate::index::Index;
use crate::properties::Properties;
use crate::{range_block, table_name};
use nori_env::{File, Fs, OpenMode};
use nori_filter::{Filter, key_hash};
use nori_kv::{EntryRef, Error, Fragments, Result, SeqNo};
use std::path::Path;

/// Where a part of a table is; no bytes if it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartDump {
    /// Its first byte.
    pub offset: u64,
    /// Its length in the file, trailer included.
    pub bytes: u32,
}

/// The parts that a footer names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FooterDump {
    /// The filter.
    pub filter: PartDump,
    /// The index.
    pub index: PartDump,
    /// The range tombstones.
    pub range_tombstones: PartDump,
    /// The properties.
    pub properties: PartDump,
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterDump {
    /// Its policy, as the properties name it.
    pub policy: String,
    /// The memory it takes when it is open; zero for a policy that is not known here.
    pub memory_bytes: usize,
    /// Whether this program knows the policy: without, readers do without the filter.
    pub is_known: bool,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct TableDump {
    /// The length of its file.
    pub bytes: u64,
    /// What the footer names.
    pub footer: Option<FooterDump>,
    /// What it knows of itself.
    pub properties: Option<Properties>,
    /// Its filter.
    pub filter: Option<FilterDump>,
    /// Data blocks that the index names.
    pub blocks: Option<usize>,
    /// Bytes of the greatest of them in the file.
    pub block_bytes_max: u32,
    /// Blocks that were read and are whole.
    pub blocks_read: usize,
    /// Entries in them.
    pub entries: u64,
    /// Its range tombstones.
    pub range_tombstones: Fragments,
    /// What is damaged, each as [`Error::Corrupt`].
    pub damage: Vec<Error>,
}

/// Reads table `number` in `dir` and hands each entry that can be read to `sink`, in order, with the offset of its block.
///
/// # Errors
///
/// If the file cannot be read at all. Damage is no error of the call: it is what was asked for.
pub fn dump(
    fs: &dyn Fs,
    dir: &Path,
    number: u64,
    sink: &mut dyn FnMut(u64, EntryRef<'_>),
) -> Result<TableDump> {
    let path = dir.join(table_name(number));
    let file = fs.open(&path, OpenMode::Read).map_err(|e| Error::io("opening", &path, e))?;
    let bytes = file.len().map_err(|e| Error::io("measuring", &path, e))?;
    let mut reading = Reading {
        file: &*file,
        place: Place { path: &path, number },
        dump: TableDump { bytes, ..TableDump::default() },
    };
    let footer = Footer::read(reading.file, reading.place);
    let Some(footer) = reading.noted(footer)? else { return Ok(reading.dump) };
    reading.dump.footer = Some(FooterDump {
        filter: part(footer.filter),
        index: part(footer.index),
        range_tombstones: part(footer.range_tombstones),
        properties: part(footer.properties),
    });
    reading.properties(&footer)?;
    reading.ranges(&footer)?;
    let filter = reading.filter(&footer)?;
    if let Some(index) = reading.index(&footer)? {
        reading.entries(&index, filter.as_deref(), sink)?;
        reading.compare(&footer, &index);
    }
    Ok(reading.dump)
}

fn part(handle: Handle) -> PartDump {
    PartDump { offset: handle.offset, bytes: handle.bytes }
}

/// A dump under way.
struct Reading<'a> {
    file: &'a dyn File,
    place: Place<'a>,
    dump: TableDump,
}

impl Reading<'_> {
    /// The value; damage is noted, any other error ends the dump.
    fn noted<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Corrupt { .. }) => {
                self.dump.damage.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A part that `decode` makes of the raw bytes of its block.
    fn decoded<T>(
        &mut self,
        handle: Handle,
        decode: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let raw = read_block(self.file, self.place, handle);
        let Some(raw) = self.noted(raw)? else { return Ok(None) };
        let decoded = decode(&raw).map_err(|what| self.place.corrupt(handle.offset, what));
        self.noted(decoded)
    }

    fn properties(&mut self, footer: &Footer) -> Result<()> {
        self.dump.properties = self.decoded(footer.properties, |raw| {
            let properties = Properties::decode(raw)?;
            let is_possible = properties.are_possible();
            is_possible.then_some(properties).ok_or("no table can have such properties".to_owned())
        })?;
        Ok(())
    }

    fn ranges(&mut self, footer: &Footer) -> Result<()> {
        if footer.range_tombstones.bytes > 0 {
            let decode = |raw: &[u8]| range_block::decode(raw).map_err(str::to_owned);
            let ranges = self.decoded(footer.range_tombstones, decode)?;
            self.dump.range_tombstones = ranges.unwrap_or_default();
        }
        Ok(())
    }

    fn filter(&mut self, footer: &Footer) -> Result<Option<Box<dyn Filter>>> {
        if footer.filter.bytes == 0 {
            return Ok(None);
        }
        let Some(name) = self.dump.properties.as_ref().map(|of| of.filter.clone()) else {
            // Nobody says which policy it is of; whether its bytes are whole can still be told.
            self.decoded(footer.filter, |_| Ok(()))?;
            return Ok(None);
        };
        let policy = nori_filter::policy(&name);
        let is_known = policy.is_some();
        let opened = self.decoded(footer.filter, |raw| {
            policy.map(|policy| policy.open(raw).map_err(|e| e.to_string())).transpose()
        })?;
        let filter = opened.flatten();
        let memory_bytes = filter.as_ref().map_or(0, |filter| filter.bytes());
        self.dump.filter = Some(FilterDump { policy: name, memory_bytes, is_known });
        Ok(filter)
    }

    fn index(&mut self, footer: &Footer) -> Result<Option<Index>> {
        let data_end = if footer.filter.bytes > 0 { footer.filter } else { footer.index }.offset;
        let decode = |raw: &[u8]| Index::decode(raw, data_end).map_err(str::to_owned);
        let index = self.decoded(footer.index, decode)?;
        if let Some(index) = &index {
            let lengths = (0..index.len()).map(|n| index.handle(n).bytes);
            self.dump.blocks = Some(index.len());
            self.dump.block_bytes_max = lengths.max().unwrap_or(0);
        }
        Ok(index)
    }

    fn entries(
        &mut self,
        index: &Index,
        filter: Option<&dyn Filter>,
        sink: &mut dyn FnMut(u64, EntryRef<'_>),
    ) -> Result<()> {
        let mut last: Option<(Vec<u8>, SeqNo)> = None;
        for n in 0..index.len() {
            let handle = index.handle(n);
            let block = read_block(self.file, self.place, handle).and_then(|raw| {
                Block::decode(raw).map_err(|what| self.place.corrupt(handle.offset, what))
            });
            let Some(block) = self.noted(block)? else { continue };
            self.dump.blocks_read += 1;
            let mut complaint = None;
            for n in 0..block.len() {
                let suffixed =
                    block.entry(n).map_err(|what| self.place.corrupt(handle.offset, what))?;
                let key = [block.prefix(), suffixed.suffix].concat();
                let entry = suffixed.with_key(&key);
                complaint = complaint.or_else(|| self.complaint(&entry, last.as_ref(), filter));
                sink(handle.offset, entry);
                last = Some((key, suffixed.seqno));
            }
            self.dump.entries += block.len() as u64;
            if let Some(what) = complaint {
                self.dump.damage.push(self.place.corrupt(handle.offset, what));
            }
        }
        Ok(())
    }

    /// What is wrong with an entry whose block is whole.
    fn complaint(
        &self,
        entry: &EntryRef<'_>,
        last: Option<&(Vec<u8>, SeqNo)>,
        filter: Option<&dyn Filter>,
    ) -> Option<&'static str> {
        let ascends = last.is_none_or(|(key, seqno)| {
            key.as_slice() < entry.key || (key == entry.key && *seqno > entry.seqno)
        });
        if !ascends {
            return Some("an entry is not behind the last one of the block before");
        }
        if filter.is_some_and(|filter| !filter.may_contain(key_hash(entry.key))) {
            return Some("the filter does not know a key of this block");
        }
        let of = self.dump.properties.as_ref()?;
        if entry.key < of.key_min.as_slice() || of.ends_before(entry.key) {
            return Some("a key lies outside of what the properties say");
        }
        let is_within = (of.seqno_min..=of.seqno_max).contains(&entry.seqno);
        (!is_within).then_some("a sequence number lies outside of what the properties say")
    }

    /// Holds what was counted against the properties.
    fn compare(&mut self, footer: &Footer, index: &Index) {
        let Some(of) = &self.dump.properties else { return };
        let is_whole = self.dump.blocks_read == index.len();
        let told = [
            (is_whole, "entries", of.entries, self.dump.entries),
            (
                self.dump.damage.is_empty(),
                "range tombstones",
                of.range_tombstones,
                self.dump.range_tombstones.tombstones(),
            ),
        ];
        for (_, what, says, is) in told.into_iter().filter(|(is_known, ..)| *is_known) {
            if says != is {
                let what = format!("{is} {what} where the properties say {says}");
                self.dump.damage.push(self.place.corrupt(footer.properties.offset, what));
            }
        }
    }
}

#[cfg(test)]
mod tests;
