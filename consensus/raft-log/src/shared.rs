//! One log for all shards of a node: whatever was ready is one group of the write-ahead log, and one `fdatasync` makes it safe.
//!
//! 1. [`NodeLog::append`] writes the changes of a batch as records of one group, and shows them to the replicas at once.
//! 2. [`NodeLog::purge`] lets old segments go that no shard needs. What shards still have in them is told, and is moved out by whoever
//!    decides what that is worth: by a flush of the shard's state, which releases entries, or by [`NodeLog::rewrite`], which writes
//!    what is left once more.
//! 3. Before segments go, everything that took the place of what they held is synced, and [`first`] names the first that counts.
//! 4. An opening replays what counts, and writes it once more: what the last process wrote and did not sync is in the page cache perhaps, and
//!    perhaps only there (decision 0012). Until that is safe and named, the old segments are what counts, and what was written
//!    once more says the same as they do.
//!
//! Lock order: `tail`, then the shards, then a shard's state.

use crate::batch::{Batch, Change};
use crate::error::{LogError, Result};
use crate::record::{self, Writer};
use crate::replay::Fold;
use crate::shard::{Ground, Place, ShardLog, State, Wanted};
use crate::{Mark, NodeLog, Pin, SyncCalls, first};
use bytes::Bytes;
use nori_consensus::{Entry, Index, LogId, LogView, ShardId, Store};
use nori_env::{File, Fs, Lock, OpenMode, Signal, Tasks};
use nori_observe::Meter;
use nori_wal::{
    GROUP_HEADER_BYTES, Group, Position, Resume, Span, SyncCall, Wal, WalOptions, segment_name,
    segment_number,
};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "LOCK";
/// What a survivor's record may have; more are more records.
const REWRITE_BYTES_MAX: usize = 1 << 20;

/// How a node's log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Of the write-ahead log.
    pub wal: WalOptions,
    /// Entries of a shard that are kept in memory though they are applied, in bytes.
    pub cached_bytes_max: usize,
}

/// The logs of all shards of a node.
pub struct SharedLog {
    dir: PathBuf,
    fs: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
    wal: Wal,
    options: LogOptions,
    tail: Mutex<Tail>,
    shards: RwLock<BTreeMap<ShardId, Arc<ShardLog>>>,
    /// Segments that are read, by number.
    files: Mutex<BTreeMap<u32, Arc<dyn File>>>,
    /// Held by who removes segments.
    purging: Mutex<()>,
    _lock: Box<dyn Lock>,
}

/// What appends share.
struct Tail {
    next_record: u64,
    /// As `FIRST` says it.
    first: Span,
}

impl SharedLog {
    /// Opens the log in `dir`, or makes one.
    ///
    /// # Errors
    ///
    /// [`LogError`]; a file that is damaged stays as it is.
    pub fn open(
        dir: &Path,
        fs: Arc<dyn Fs>,
        tasks: Arc<dyn Tasks>,
        meter: &dyn Meter,
        options: LogOptions,
    ) -> Result<Self> {
        nori_env::make_dir(&*fs, dir).map_err(|e| LogError::io("making", dir, e))?;
        let lock_path = dir.join(LOCK);
        let lock = fs.lock(&lock_path).map_err(|e| LogError::io("locking", &lock_path, e))?;
        let span = first::read(&*fs, dir)?;
        let mut fold = Fold::new();
        let found = nori_wal::replay(&*fs, dir, span, |group: Group<'_>| {
            let file = dir.join(segment_name(group.segment));
            let payload_at = group.offset as u32 + GROUP_HEADER_BYTES as u32;
            let ground = Ground { segment: group.segment as u32, payload_at };
            let payload = Bytes::copy_from_slice(group.payload);
            fold.take(&file, ground, (group.first_seqno, group.ops), &payload)
        })?;
        // If nothing can be read all segments go: what follows has the number of the first, so that no crash leaves a gap before it.
        let resume = found.resume.unwrap_or(Resume::at(span.from));
        remove_behind(&*fs, dir, found.tail_segment.unwrap_or(0).max(span.from.saturating_sub(1)))?;
        let wal = Wal::create(
            dir,
            Arc::clone(&fs),
            Arc::clone(&tasks),
            meter,
            options.wal,
            resume.without_promise(),
        )?;
        let next_record = fold.next_record;
        let shards = fold.finish()?;
        let shards =
            shards.into_iter().map(|(shard, state)| (shard, Arc::new(ShardLog::new(state))));
        let log = Self {
            dir: dir.to_owned(),
            tasks,
            wal,
            options,
            tail: Mutex::new(Tail { next_record, first: span }),
            shards: RwLock::new(shards.collect()),
            files: Mutex::default(),
            purging: Mutex::default(),
            _lock: lock,
            fs,
        };
        log.write_all_anew(resume.number())?;
        // Until something follows, damage to what was last written cannot be told from a write that was cut short. This says how much was safe.
        if !log.shards.read().is_empty() {
            log.wal.mark(nori_wal::Mark::default())?;
        }
        Ok(log)
    }

    /// Writes everything that counts into segment `number` and those after it, and lets all older ones go.
    fn write_all_anew(&self, number: u64) -> Result<()> {
        for shard in self.shards() {
            self.rewrite_below(shard, number)?;
        }
        self.purge()?;
        Ok(())
    }

    fn shard(&self, shard: ShardId) -> Arc<ShardLog> {
        if let Some(known) = self.shards.read().get(&shard) {
            return Arc::clone(known);
        }
        Arc::clone(self.shards.write().entry(shard).or_default())
    }

    /// Appends records as a group: the position behind it, and where its payload lies.
    fn put(&self, tail: &mut Tail, writer: &Writer) -> Result<(u64, Ground)> {
        let payload = &writer.payload;
        let position = self.wal.append(tail.next_record, writer.records, payload)?;
        tail.next_record += u64::from(writer.records);
        // A group ends at a multiple of eight bytes.
        let payload_at = (position as u32) - payload.len().next_multiple_of(8) as u32;
        Ok((position, Ground { segment: (position >> 32) as u32, payload_at }))
    }

    fn read(&self, shard: ShardId, index: Index, place: Place) -> Result<Entry> {
        let path = self.dir.join(segment_name(u64::from(place.segment)));
        let file = self.file(place.segment, &path)?;
        let mut bytes = Vec::new();
        let (offset, len) = (u64::from(place.offset), place.bytes as usize);
        file.read_onto(&mut bytes, offset, len).map_err(|e| LogError::io("reading", &path, e))?;
        let decoded = record::decode_entry(shard, index, &bytes.into());
        let (entry, _) = decoded.map_err(|what| LogError::damaged(&path, offset, what))?;
        if entry.id.term == place.term {
            Ok(entry)
        } else {
            Err(LogError::damaged(&path, offset, "an entry is of another term"))
        }
    }

    fn file(&self, segment: u32, path: &Path) -> Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        if let Some(file) = files.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let opened = self.fs.open(path, OpenMode::Read);
        let file = opened.map_err(|e| LogError::io("opening", path, e))?;
        files.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Writes what `shard` has in segments below `below` once more.
    fn rewrite_below(&self, shard: ShardId, below: u64) -> Result<()> {
        let (log, below) = (self.shard(shard), below as u32);
        let old = log.with(|state| {
            let first = state.base.index.next();
            let indices = (first.0..=state.last().index.0).map(Index);
            let places = indices.filter_map(|index| Some((index, state.place(index)?)));
            let old = places.filter(|(_, place)| place.segment < below);
            old.map(|(index, place)| (index, place, state.cached(index).cloned()))
                .collect::<Vec<_>>()
        });
        let mut entries = Vec::with_capacity(old.len());
        for (index, place, cached) in old {
            let entry = cached.map_or_else(|| self.read(shard, index, place), Ok)?;
            entries.push((entry, place));
        }
        let mut entries = &entries[..];
        loop {
            let (chunk, rest) = entries.split_at(chunk_of(entries));
            self.rewrite_some(&log, shard, below, chunk)?;
            entries = rest;
            if entries.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes promise and beginning, if they are old, and those of `entries`, which adjoin, that are still where they were.
    fn rewrite_some(
        &self,
        log: &ShardLog,
        shard: ShardId,
        below: u32,
        entries: &[(Entry, Place)],
    ) -> Result<()> {
        let mut tail = self.tail.lock();
        let mut writer = Writer::default();
        let (is_base, is_promise, spans) = log.with(|state| {
            let is_base = (1..below).contains(&state.base_segment);
            let is_promise = (1..below).contains(&state.hard_segment);
            if is_base {
                writer.release(shard, state.base);
            }
            if is_promise {
                writer.promise(shard, &state.hard_state);
            }
            let is_there =
                |(entry, place): &&(Entry, Place)| state.place(entry.id.index) == Some(*place);
            // Those that went meanwhile went from the front, or from the back.
            let left: Vec<Entry> =
                entries.iter().filter(is_there).map(|(entry, _)| entry.clone()).collect();
            let spans =
                if left.is_empty() { Vec::new() } else { writer.entries(shard, &left, true) };
            (is_base, is_promise, left.into_iter().zip(spans).collect::<Vec<_>>())
        });
        if writer.records == 0 {
            return Ok(());
        }
        // Only appends change a shard's log, and they take the tail.
        let (_, ground) = self.put(&mut tail, &writer)?;
        log.with(|state| {
            if is_base {
                state.base_segment = ground.segment;
            }
            if is_promise {
                state.hard_segment = ground.segment;
            }
            for (entry, span) in &spans {
                state.moved(entry.id.index, ground.place(entry.id.term, *span));
            }
        });
        Ok(())
    }

    pub(crate) fn poll_position(
        &self,
        position: Position,
        call: &mut SyncCall,
    ) -> Result<Option<Signal>> {
        Ok(self.wal.poll_sync(position, call)?)
    }
}

impl NodeLog for SharedLog {
    fn shards(&self) -> Vec<ShardId> {
        self.shards.read().keys().copied().collect()
    }

    fn view(&self, shard: ShardId) -> Result<Arc<dyn LogView>> {
        Ok(self.shard(shard))
    }

    fn hard_state(&self, shard: ShardId) -> Bytes {
        self.shard(shard).with(|state| state.hard_state.clone())
    }

    fn append(&self, batch: Batch) -> Result<Mark> {
        let mut tail = self.tail.lock();
        let (mut writer, mut written) = (Writer::default(), Vec::new());
        for (shard, change) in batch.changes {
            let encoded = |state: &mut State| encode(&mut writer, shard, state, change);
            written.push((shard, self.shard(shard).with(encoded)));
        }
        if writer.records == 0 {
            return Ok(Mark::default());
        }
        let (position, ground) = self.put(&mut tail, &writer)?;
        for (shard, written) in written {
            if matches!(written, Written::Forget) {
                self.shards.write().remove(&shard);
            } else {
                self.shard(shard).with(|state| show(state, written, ground));
            }
        }
        Ok(Mark::of(ShardId::ZERO, position))
    }

    fn poll_sync(&self, mark: &Mark, calls: &mut SyncCalls) -> Result<Option<Signal>> {
        mark.each().try_fold(None, |first: Option<Signal>, (shard, position)| {
            let waits = self.poll_position(position, calls.of(shard))?;
            Ok(first.or(waits))
        })
    }

    fn applied(&self, shard: ShardId, through: Index) {
        self.shard(shard).with(|state| state.applied(through, self.options.cached_bytes_max));
    }

    fn is_waited_for(&self, shard: ShardId) -> bool {
        let known = self.shards.read().get(&shard).cloned();
        known.is_some_and(|log| log.with(|state| state.is_waited_for()))
    }

    fn fetch(&self, shard: ShardId) -> Result<bool> {
        let log = self.shard(shard);
        let found = log.with(|state| {
            let Wanted { from, upto, bytes_max } = state.take_wanted()?;
            let (mut places, mut bytes) = (Vec::new(), 0);
            for index in (from.0..upto.0).map(Index) {
                let Some(place) = state.place(index) else { break };
                bytes += place.bytes as usize;
                if !places.is_empty() && bytes > bytes_max {
                    break;
                }
                places.push((index, place));
            }
            Some(places)
        });
        let Some(places) = found else { return Ok(false) };
        let entries = places.into_iter().map(|(index, place)| self.read(shard, index, place));
        let entries = entries.collect::<Result<Vec<Entry>>>()?;
        log.with(|state| state.fetched(entries));
        Ok(true)
    }

    fn recall(&self, shard: ShardId, applied: Index) -> Result<()> {
        let log = self.shard(shard);
        loop {
            let lacking = log.with(|state| state.lacking(applied));
            let read = lacking.into_iter().map(|(index, place)| self.read(shard, index, place));
            let entries = read.collect::<Result<Vec<Entry>>>()?;
            if log.with(|state| state.recall(applied, entries)) {
                return Ok(());
            }
        }
    }

    fn rewrite(&self, pin: Pin) -> Result<()> {
        self.rewrite_below(pin.shard, pin.segment + 1)
    }

    fn tasks(&self) -> &dyn Tasks {
        &*self.tasks
    }

    fn purge(&self) -> Result<Vec<Pin>> {
        let _alone = self.purging.lock();
        let (active, _) = self.wal.tail();
        let logs: Vec<(ShardId, Arc<ShardLog>)> =
            self.shards.read().iter().map(|(shard, log)| (*shard, Arc::clone(log))).collect();
        let needed = |log: &ShardLog| log.with(|state| state.oldest_needed()).map(u64::from);
        let oldest = logs.iter().filter_map(|(_, log)| needed(log)).min().unwrap_or(active);
        let oldest = oldest.min(active);
        let known = self.tail.lock().first;
        if oldest > known.from {
            // What took the place of what goes.
            self.wal.sync(self.wal.tail().1)?;
            let first = Span { from: oldest, begun: active };
            first::write(&*self.fs, &self.dir, first)?;
            self.tail.lock().first = first;
        }
        self.wal.remove_below(oldest)?;
        self.files.lock().retain(|segment, _| u64::from(*segment) >= oldest);
        if oldest == active {
            return Ok(Vec::new());
        }
        let pins = logs.iter().filter(|(_, log)| needed(log) == Some(oldest));
        let below = oldest as u32 + 1;
        Ok(pins
            .map(|(shard, log)| {
                let (bytes, last) = log.with(|state| state.entries_below(below));
                Pin { shard: *shard, segment: oldest, bytes, last }
            })
            .collect())
    }

    fn segments(&self) -> u64 {
        self.wal.tail().0 + 1 - self.tail.lock().first.from
    }
}

/// How many of `entries` adjoin, from the first on, and go into one record.
fn chunk_of(entries: &[(Entry, Place)]) -> usize {
    let mut bytes = 0;
    let mut due = None;
    entries
        .iter()
        .take_while(|(entry, _)| {
            let index = entry.id.index;
            let fits = bytes == 0 || bytes + entry.bytes() <= REWRITE_BYTES_MAX;
            let adjoins = due.is_none_or(|due| due == index);
            (bytes, due) = (bytes + entry.bytes(), Some(index.next()));
            fits && adjoins
        })
        .count()
}

/// A change as it was written.
enum Written {
    /// With the spans of its entries.
    Store(Store, Vec<record::Span>),
    Release(LogId),
    Reset(LogId),
    Forget,
    /// It changes nothing, and no record says so.
    Nothing,
}

/// Writes a change of a shard.
fn encode(writer: &mut Writer, shard: ShardId, state: &State, change: Change) -> Written {
    match change {
        Change::Store(store) => {
            if let Some(hard_state) = &store.hard_state {
                writer.promise(shard, hard_state);
            }
            let first = store.entries.first().map(|entry| entry.id.index);
            // Entries replace what was from the first of them on.
            if let Some(from) = store.truncate_from.filter(|from| Some(*from) != first) {
                writer.cut(shard, from);
            }
            let spans = match first {
                Some(_) => writer.entries(shard, &store.entries, false),
                None => Vec::new(),
            };
            Written::Store(store, spans)
        }
        Change::Release(index) => match state.term(index) {
            Some(term) if index > state.base.index => {
                let through = LogId { term, index };
                writer.release(shard, through);
                Written::Release(through)
            }
            _ => Written::Nothing,
        },
        Change::Reset(to) => {
            writer.reset(shard, to);
            Written::Reset(to)
        }
        Change::Forget => {
            writer.forget(shard);
            Written::Forget
        }
    }
}

/// Makes a change visible that lies at `ground`.
fn show(state: &mut State, written: Written, ground: Ground) {
    let segment = ground.segment;
    match written {
        Written::Store(store, spans) => {
            if let Some(hard_state) = store.hard_state {
                (state.hard_state, state.hard_segment) = (hard_state, segment);
            }
            if let Some(from) = store.truncate_from {
                state.cut(from);
            }
            for (entry, span) in store.entries.into_iter().zip(spans) {
                let place = ground.place(entry.id.term, span);
                state.push(entry, place);
            }
        }
        Written::Release(through) => state.release(through, segment),
        Written::Reset(to) => state.reset(to, segment),
        Written::Forget | Written::Nothing => {}
    }
}

/// Removes the segments behind the tail, the newest first, so that no power loss leaves a gap.
fn remove_behind(fs: &dyn Fs, dir: &Path, tail: u64) -> Result<()> {
    let names = fs.list(dir).map_err(|e| LogError::io("listing", dir, e))?;
    let behind: BTreeSet<u64> =
        names.iter().filter_map(|name| segment_number(name)).filter(|of| *of > tail).collect();
    for number in behind.into_iter().rev() {
        let path = dir.join(segment_name(number));
        fs.remove(&path).map_err(|e| LogError::io("removing", &path, e))?;
        fs.sync_dir(dir).map_err(|e| LogError::io("syncing", dir, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
