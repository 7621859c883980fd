//! Point reads: memtables newest first, then the runs of the tree in probe order.
//!
//! Range tombstones are asked on the way. Of one key everything in a later source is older than everything in an earlier
//! one, so the first source that has a version of the key, or a tombstone over it, decides.
//!
//! A reader loads the **super-version** - the memtables and the version that belong together - with one load and no
//! reference count, *then* the visible sequence number. In this order everything that was visible when the
//! super-version was loaded is in it.

use crate::core::Core;
use crate::cursor::{Counted, Cover, Keeper, RowCursor, Source, View};
use crate::mem::{Mem, Sealed};
use crate::run_cursor::RunCursor;
use crate::version::Version;
use nori_filter::key_hash;
use nori_kv::{Cursor, EntryRef, KeyRange, Kind, ReadOptions, Result, Row, SeqNo, Tick, Tier};
use nori_sstable::{Fetch, Tally};
use std::sync::Arc;

/// What a reader needs: memtables and tables that belong together. Immutable.
pub(crate) struct SuperVersion {
    pub(crate) active: Arc<Mem>,
    /// Newest first.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) version: Arc<Version>,
}

impl SuperVersion {
    /// The memory of the memtables that wait for their flush.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.mem.bytes()).sum()
    }
}

impl Core {
    /// Lends the row of `key` at `at` (at the newest visible write if `None`) to `sink`; whether there is one.
    pub(crate) fn read_at(
        &self,
        key: &[u8],
        at: Option<SeqNo>,
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        let sv = self.super_version.load();
        let at = at.unwrap_or_else(|| self.publisher.visible());
        self.counters.point_reads.add(1);
        let now = options.now.max(self.expiry_floor());
        let mut live = false;
        let mut bytes = 0;
        let mut found = |entry: EntryRef<'_>| {
            if is_live(&entry, now) {
                live = true;
                bytes = entry.payload_bytes();
                sink(Row { key, value: entry.value });
            }
        };
        if !sv.lookup_memtables(key, at, &mut found) {
            let mut tally = Tally::default();
            let hash = key_hash(key);
            sv.prefetch(key, hash);
            let outcome = sv.lookup_tables((key, hash), at, fetch(options), &mut tally, &mut found);
            self.read_counters.add(&tally);
            outcome?;
        }
        if live {
            self.counters.user_bytes_out.add(bytes);
        }
        Ok(live)
    }

    /// Lends the rows of `keys` at `at` (at one moment if `None`) to `sink`, each with the index of its key.
    ///
    /// Keys that no memtable holds are looked up in the tables [`KEYS_AHEAD`] at a time: the filters of all of them are on
    /// their way before the first is asked.
    pub(crate) fn read_many_at(
        &self,
        keys: &[&[u8]],
        at: Option<SeqNo>,
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        let (sv, visible) = self.consistent();
        let at = at.unwrap_or(visible);
        let now = options.now.max(self.expiry_floor());
        self.counters.point_reads.add(keys.len() as u64);
        let mut tally = Tally::default();
        let mut bytes = 0;
        let mut outcome = Ok(());
        for (chunk, some) in keys.chunks(KEYS_AHEAD).enumerate() {
            let first = chunk * KEYS_AHEAD;
            let mut lend = |n: usize, entry: Option<EntryRef<'_>>| {
                let live = entry.filter(|entry| is_live(entry, now));
                bytes += live.as_ref().map_or(0, EntryRef::payload_bytes);
                sink(first + n, live.map(|entry| Row { key: some[n], value: entry.value }));
            };
            outcome = sv.lookup_chunk(some, at, fetch(options), &mut tally, &mut lend);
            if outcome.is_err() {
                break;
            }
        }
        self.read_counters.add(&tally);
        self.counters.user_bytes_out.add(bytes);
        outcome
    }

    /// A cursor at `at`, or at the newest visible write. It keeps `store` from going.
    pub(crate) fn cursor_at(
        self: &Arc<Self>,
        store: Keeper,
        range: &KeyRange,
        at: Option<SeqNo>,
        options: &ReadOptions,
    ) -> Result<Box<dyn Cursor>> {
        let (sv, visible) = self.consistent();
        let mut sources = Vec::with_capacity(8);
        let mut covers = Vec::new();
        for mem in sv.mems() {
            sources.push(Source::Memtable(Arc::clone(&mem.memtable).cursor()));
            // One that has none now gets none that this cursor may see.
            if mem.has_ranges() {
                covers.push(Cover::Mem(Arc::clone(mem)));
            }
        }
        let mut tally = Tally::default();
        for run in sv.version.levels.iter().flat_map(|level| &level.runs) {
            if run.may_hold(range, &mut tally) {
                sources.push(Source::Run(RunCursor::new(Arc::clone(&run.tables), fetch(options))));
            }
            if run.has_ranges {
                covers.push(Cover::Run(run.clone()));
            }
        }
        self.read_counters.add(&tally);
        let now = options.now.max(self.expiry_floor());
        let view = View { at: at.unwrap_or(visible), now, range: range.clone() };
        let counted = Counted { core: Arc::clone(self), _pin: sv, _store: store };
        Ok(Box::new(RowCursor::new(sources, covers, view, counted)))
    }

    /// A super-version and a visible number such that it holds every write up to that number.
    ///
    /// A point read does without the second look: it may miss a write that was published after it began, which is
    /// as if it had come first. A cursor may not, since it would see one half of a batch and miss the other.
    pub(crate) fn consistent(&self) -> (Arc<SuperVersion>, SeqNo) {
        let mut sv = self.super_version.load_full();
        loop {
            let visible = self.publisher.visible();
            let now = self.super_version.load_full();
            if Arc::ptr_eq(&sv.active, &now.active) {
                return (now, visible);
            }
            sv = now;
        }
    }
}

impl SuperVersion {
    /// The memtables, newest first.
    fn mems(&self) -> impl Iterator<Item = &Arc<Mem>> {
        std::iter::once(&self.active).chain(self.sealed.iter().map(|sealed| &sealed.mem))
    }

    /// Whether a memtable decides; `found` gets the entry, unless a range tombstone covers it.
    fn lookup_memtables(
        &self,
        key: &[u8],
        at: SeqNo,
        found: &mut impl FnMut(EntryRef<'_>),
    ) -> bool {
        for mem in self.mems() {
            let cover = mem.cover(key, at);
            if let Some(entry) = mem.memtable.get(key, at) {
                if entry.seqno > cover {
                    found(entry);
                }
                return true;
            }
            if cover > SeqNo::ZERO {
                return true;
            }
        }
        false
    }

    /// Has the parts of the filters that a look-up will read travel, all at once: each is one access to memory.
    fn prefetch(&self, key: &[u8], hash: u64) {
        for run in self.version.levels.iter().flat_map(|level| &level.runs) {
            if let Some(table) = run.table_for(key) {
                table.prefetch(hash);
            }
        }
    }

    /// Whether a table decides; `found` gets the entry, unless a range tombstone covers it.
    fn lookup_tables(
        &self,
        (key, hash): (&[u8], u64),
        at: SeqNo,
        fetch: Fetch,
        tally: &mut Tally,
        found: &mut impl FnMut(EntryRef<'_>),
    ) -> Result<bool> {
        for run in self.version.levels.iter().flat_map(|level| &level.runs) {
            let Some(table) = run.table_for(key) else { continue };
            let cover = table.ranges().cover(key, at);
            let mut uncovered = |entry: EntryRef<'_>| {
                if entry.seqno > cover {
                    found(entry);
                }
            };
            if table.get((key, hash), at, fetch, tally, &mut uncovered)? || cover > SeqNo::ZERO {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks up `keys.len() <= KEYS_AHEAD` keys; `lend` gets each with its entry, whatever its kind, or none.
    fn lookup_chunk(
        &self,
        keys: &[&[u8]],
        at: SeqNo,
        fetch: Fetch,
        tally: &mut Tally,
        lend: &mut impl FnMut(usize, Option<EntryRef<'_>>),
    ) -> Result<()> {
        debug_assert!(keys.len() <= KEYS_AHEAD);
        let mut left = [(0, 0); KEYS_AHEAD];
        let mut count = 0;
        for (n, key) in keys.iter().enumerate() {
            let mut is_lent = false;
            let mut found = |entry: EntryRef<'_>| {
                is_lent = true;
                lend(n, Some(entry));
            };
            if self.lookup_memtables(key, at, &mut found) {
                if !is_lent {
                    lend(n, None);
                }
            } else {
                let hash = key_hash(key);
                self.prefetch(key, hash);
                left[count] = (n, hash);
                count += 1;
            }
        }
        for &(n, hash) in &left[..count] {
            let mut is_lent = false;
            let mut found = |entry: EntryRef<'_>| {
                is_lent = true;
                lend(n, Some(entry));
            };
            self.lookup_tables((keys[n], hash), at, fetch, tally, &mut found)?;
            if !is_lent {
                lend(n, None);
            }
        }
        Ok(())
    }
}

/// Keys of one call whose filters travel together: enough to hide a memory access, few enough to stay in the first-level
/// cache.
const KEYS_AHEAD: usize = 16;

fn fetch(options: &ReadOptions) -> Fetch {
    match (options.tier, options.fill) {
        (Tier::CacheOnly, _) => Fetch::CacheOnly,
        (Tier::Any, true) => Fetch::Fill,
        (Tier::Any, false) => Fetch::Pass,
    }
}

fn is_live(entry: &EntryRef<'_>, now: Tick) -> bool {
    entry.kind == Kind::Put && !entry.has_expired(now)
}
