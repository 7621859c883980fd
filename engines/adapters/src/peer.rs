//! What every adapter is but for the peer itself: a factory, an engine, snapshots.
//!
//! A peer says what differs ([`Peer`], [`Store`], [`View`]); this module does what is the same for all:
//!
//! 1. Opening takes the lock and the sequence numbers ([`Book`]), then the peer's store.
//! 2. A write is admitted by the capability row, done by the peer, numbered. A failure that is for good ends writing.
//! 3. Class `group` writes through the peer and plans a sync by the clock ([`TimedSync`]).
//! 4. A read of memory alone is refused: no peer can promise it.
//!
//! What the peer cannot do is left out of its row; the provided methods here then answer `Unsupported`.

use crate::book::{self, Book};
use crate::timed::TimedSync;
use crate::{Preset, walk::TwoWay, walk::Walks};
use nori_kv::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, EngineStats, Feature, KeyRange,
    Maintain, Parts, ReadOptions, Reader, Result, Row, SeqNo, Tier, WriteBatch, stat,
};
use std::path::Path;
use std::sync::Arc;

/// A kind of peer.
pub(crate) trait Peer: Send + Sync + 'static {
    /// Its open store.
    type Store: Store;
    /// The name of its matched row.
    const MATCHED: &'static str;
    /// The name of its row as shipped.
    const SHIPPED: &'static str;
    /// Its capability row.
    fn row() -> Capabilities;
    /// Every setting of a row, by name.
    fn settings(preset: Preset) -> Vec<(&'static str, String)>;
    /// Opens or makes the store in the book's folder.
    fn open(book: Book, preset: Preset) -> Result<Self::Store>;
}

/// A peer's open store. It holds the book, and drops it last: that frees the lock.
pub(crate) trait Store: Send + Sync + 'static {
    /// What [`Self::view`] gives.
    type View: View;
    /// Lock, numbers, and whether writing has ended.
    fn book(&self) -> &Book;
    /// Applies a batch that the row admits, with a class that the row offers. `Group` is asked for as `Os`. An empty
    /// batch comes with `Sync` alone.
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()>;
    /// Lends the newest row of `key`.
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool>;
    /// The store as it is now. Called only if the row has `Snapshots`, or for a cursor or reads of many keys.
    fn view(self: Arc<Self>) -> Result<Self::View>;
    /// A cursor over the store as it is now.
    fn cursor(self: Arc<Self>, range: &KeyRange) -> Result<Box<dyn Cursor>> {
        self.view()?.cursor(range)
    }
    /// Makes every write that has returned safe from power loss. Called only if the row offers `Group`.
    fn sync(&self) -> Result<()> {
        Err(self.book().unsupported("syncs by the clock"))
    }
    /// Adds the peer's own numbers.
    fn count(&self, numbers: &mut Vec<(&'static str, u64)>) {
        let _ = numbers;
    }
    /// See [`Maintain::flush`].
    fn flush(&self) -> Result<()> {
        Err(self.book().unsupported("flush"))
    }
    /// See [`Maintain::compact`].
    fn compact(&self, range: &KeyRange) -> Result<()> {
        let _ = range;
        Err(self.book().unsupported("compact"))
    }
    /// See [`Maintain::settle`]. A peer that works inside its callers alone has nothing to wait for.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// One state of a peer's store.
pub(crate) trait View: Send + Sync + 'static {
    /// Lends the row of `key` in this state.
    fn read(&self, key: &[u8], sink: &mut dyn FnMut(Row<'_>)) -> Result<bool>;
    /// A cursor over this state, which may outlive the view.
    fn cursor(&self, range: &KeyRange) -> Result<Box<dyn Cursor>>;
}

/// The cursor of walks over one state.
pub(crate) fn two_way<W: Walks + 'static>(walks: W, range: &KeyRange) -> Box<dyn Cursor> {
    Box::new(TwoWay::new(walks, range.clone()))
}

/// Opens the stores of one row of a peer.
pub(crate) struct PeerFactory<P> {
    preset: Preset,
    peer: std::marker::PhantomData<fn() -> P>,
}

impl<P: Peer> PeerFactory<P> {
    pub(crate) const fn new(preset: Preset) -> Self {
        Self { preset, peer: std::marker::PhantomData }
    }

    const fn label(&self) -> &'static str {
        match self.preset {
            Preset::Shipped => P::SHIPPED,
            Preset::Matched { .. } => P::MATCHED,
        }
    }
}

impl<P: Peer> EngineFactory for PeerFactory<P> {
    fn name(&self) -> &str {
        self.label()
    }

    fn capabilities(&self) -> Capabilities {
        P::row()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let rows = P::settings(self.preset).into_iter();
        rows.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn open(&self, dir: &Path, parts: Parts) -> Result<Arc<dyn Engine>> {
        let book = Book::open(self.label(), dir, P::MATCHED)?;
        let store = Arc::new(P::open(book, self.preset)?);
        let weak = Arc::downgrade(&store);
        let timed = TimedSync::new(
            &parts,
            Box::new(move || {
                // A store that was closed has synced, or never promised to.
                let Some(store) = weak.upgrade() else { return Ok(()) };
                store.sync().map_err(|error| store.book().failed(error))
            }),
        );
        Ok(Arc::new(PeerEngine { store, timed, row: P::row() }))
    }

    fn destroy(&self, dir: &Path, _parts: &Parts) -> Result<()> {
        book::destroy(dir, P::MATCHED)
    }
}

fn refuse_cache_only(book: &Book, options: &ReadOptions) -> Result<()> {
    match options.tier {
        Tier::Any => Ok(()),
        Tier::CacheOnly => Err(book.unsupported("reads of memory alone")),
    }
}

fn read_many(
    view: &impl View,
    keys: &[&[u8]],
    sink: &mut dyn FnMut(usize, Option<Row<'_>>),
) -> Result<()> {
    for (index, key) in keys.iter().enumerate() {
        if !view.read(key, &mut |row| sink(index, Some(row)))? {
            sink(index, None);
        }
    }
    Ok(())
}

struct PeerEngine<S> {
    store: Arc<S>,
    timed: TimedSync,
    row: Capabilities,
}

impl<S> Drop for PeerEngine<S> {
    fn drop(&mut self) {
        // A sync that ran on would hold the store, and with it the lock.
        self.timed.close();
    }
}

impl<S: Store> PeerEngine<S> {
    fn require(&self, feature: Feature, what: &'static str) -> Result<()> {
        if self.row.has(feature) { Ok(()) } else { Err(self.store.book().unsupported(what)) }
    }

    fn view(&self) -> Result<S::View> {
        Arc::clone(&self.store).view()
    }
}

impl<S: Store> Reader for PeerEngine<S> {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        refuse_cache_only(self.store.book(), options)?;
        self.store.read(key, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        refuse_cache_only(self.store.book(), options)?;
        Arc::clone(&self.store).cursor(range)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        self.require(Feature::ReadMany, "reading many keys at once")?;
        refuse_cache_only(self.store.book(), options)?;
        read_many(&self.view()?, keys, sink)
    }
}

impl<S: Store> Engine for PeerEngine<S> {
    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        let book = self.store.book();
        book.admit(batch, &self.row)?;
        if !self.row.offers(durability) {
            return Err(book.unsupported(match durability {
                Durability::None => "writes without durability",
                Durability::Os => "writes that survive a kill",
                Durability::Group { .. } => "syncs by the clock",
                Durability::Sync => "a sync with each write",
            }));
        }
        if batch.is_empty() && durability != Durability::Sync {
            return Ok(book.last());
        }
        let class = match durability {
            Durability::Group { .. } => Durability::Os,
            class => class,
        };
        self.store.write(batch, class).map_err(|error| book.failed(error))?;
        if let Durability::Group { max_age } = durability {
            self.timed.within(max_age);
        }
        Ok(book.number(batch))
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        self.require(Feature::Snapshots, "snapshots")?;
        Ok(Arc::new(Snapshot { view: self.view()?, store: Arc::clone(&self.store) }))
    }

    fn stats(&self) -> EngineStats {
        let mut numbers = vec![(stat::LAST_SEQNO, self.store.book().last().value())];
        self.store.count(&mut numbers);
        EngineStats { numbers, levels: Vec::new() }
    }

    fn maintain(&self) -> Option<&dyn Maintain> {
        Some(self)
    }
}

impl<S: Store> Maintain for PeerEngine<S> {
    fn flush(&self) -> Result<()> {
        self.store.flush()
    }

    fn compact(&self, range: &KeyRange) -> Result<()> {
        self.store.compact(range)
    }

    fn settle(&self) -> Result<()> {
        self.require(Feature::Settle, "settle")?;
        self.store.settle()
    }
}

/// Fields are dropped in order: the view goes before the store it is of.
struct Snapshot<S: Store> {
    view: S::View,
    store: Arc<S>,
}

impl<S: Store> Reader for Snapshot<S> {
    fn read(
        &self,
        key: &[u8],
        options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        refuse_cache_only(self.store.book(), options)?;
        self.view.read(key, sink)
    }

    fn cursor(&self, range: &KeyRange, options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        refuse_cache_only(self.store.book(), options)?;
        self.view.cursor(range)
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
        sink: &mut dyn FnMut(usize, Option<Row<'_>>),
    ) -> Result<()> {
        refuse_cache_only(self.store.book(), options)?;
        read_many(&self.view, keys, sink)
    }
}
