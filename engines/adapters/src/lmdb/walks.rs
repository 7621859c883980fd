//! Walks over an LMDB store: one that owns its transaction and streams, one that shares a snapshot's.
//!
//! LMDB's cursor borrows its transaction, and rows borrow the map for as long as the transaction lives. A
//! cursor of the engine owns its transaction, so both are kept together and rows are lent from the map
//! without a copy. A snapshot's transaction is used by several readers, one at a time: there each step
//! looks the next row up and copies it.

use super::{Core, Data, KEY_BYTES_MAX, ReadTxn, Shared, explain};
use crate::book::Book;
use crate::walk::{Bounds, Direction, Walk, Walks};
use heed::types::Bytes;
use heed::{RoRange, RoRevRange};
use nori_kv::{Result, Row};
use std::ops::Bound;
use std::sync::Arc;

type Pair<'txn> = (&'txn [u8], &'txn [u8]);

enum Steps<'txn> {
    Up(RoRange<'txn, Bytes, Bytes>),
    Down(RoRevRange<'txn, Bytes, Bytes>),
}

impl<'txn> Steps<'txn> {
    fn start(
        data: &Data,
        txn: &'txn ReadTxn,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> heed::Result<Self> {
        let bounds = (cut_low(bounds.0), cut_high(bounds.1));
        Ok(match way {
            Direction::Up => Self::Up(data.range(txn, &bounds)?),
            Direction::Down => Self::Down(data.rev_range(txn, &bounds)?),
        })
    }

    fn next(&mut self) -> heed::Result<Option<Pair<'txn>>> {
        match self {
            Self::Up(range) => range.next().transpose(),
            Self::Down(range) => range.next().transpose(),
        }
    }
}

/// A bound that LMDB takes: no key is longer than `KEY_BYTES_MAX`, so those at or after a longer bound are
/// exactly those after its beginning.
fn cut_low(low: Bound<&[u8]>) -> Bound<&[u8]> {
    match low {
        Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
            Bound::Excluded(&key[..KEY_BYTES_MAX])
        }
        low => low,
    }
}

/// Likewise: those at or before a longer bound are exactly those up to its beginning. No key is empty, so
/// none is at or before the empty one.
fn cut_high(high: Bound<&[u8]>) -> Bound<&[u8]> {
    match high {
        Bound::Included([]) => Bound::Excluded(&[0]),
        Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
            Bound::Included(&key[..KEY_BYTES_MAX])
        }
        high => high,
    }
}

struct Walking<'txn> {
    steps: Steps<'txn>,
    row: Option<Pair<'txn>>,
}

self_cell::self_cell!(
    struct TxnWalk {
        owner: ReadTxn,
        #[not_covariant]
        dependent: Walking,
    }
);

/// Walks with a transaction of their own, which passes from walk to walk.
pub(super) struct OwnWalks {
    core: Arc<Core>,
    /// Empty while a walk has it.
    txn: Option<ReadTxn>,
    epoch: u64,
}

impl OwnWalks {
    pub(super) fn new(core: Arc<Core>, txn: ReadTxn, epoch: u64) -> Self {
        Self { core, txn: Some(txn), epoch }
    }
}

impl Drop for OwnWalks {
    fn drop(&mut self) {
        if let Some(txn) = self.txn.take() {
            self.core.give_back(txn, self.epoch);
        }
    }
}

impl Walks for OwnWalks {
    type Walk = OwnWalk;

    fn start(
        &mut self,
        old: Option<OwnWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<OwnWalk> {
        let txn = match old {
            Some(walk) => walk.cell.into_owner(),
            None => self.txn.take().expect("the transaction is here while no walk has it"),
        };
        let core = &self.core;
        let cell = TxnWalk::try_new_or_recover(txn, |txn| {
            Ok(Walking { steps: Steps::start(&core.data, txn, way, bounds)?, row: None })
        });
        match cell {
            Ok(cell) => Ok(OwnWalk { cell, core: Arc::clone(core) }),
            Err((txn, error)) => {
                self.txn = Some(txn);
                Err(explain(&core.book, "reading", error))
            }
        }
    }
}

/// A walk that streams.
pub(super) struct OwnWalk {
    cell: TxnWalk,
    core: Arc<Core>,
}

#[expect(unsafe_code, reason = "heed does not say of its cursors what LMDB says of them")]
// SAFETY: the environment is opened without thread-local readers (`MDB_NOTLS`), so LMDB lets a read transaction and
// its cursors go from thread to thread as long as one thread at a time uses them. The cell keeps both
// together and is not `Sync`; what it borrows from is the map, which lives as long as the environment.
unsafe impl Send for OwnWalk {}

impl Walk for OwnWalk {
    fn step(&mut self) -> Result<bool> {
        let stepped = self.cell.with_dependent_mut(|_, walking| {
            walking.row = walking.steps.next()?;
            Ok(walking.row.is_some())
        });
        stepped.map_err(|e| explain(&self.core.book, "reading", e))
    }

    fn row(&self) -> Option<Row<'_>> {
        self.cell.with_dependent(|_, walking| walking.row.map(|(key, value)| Row { key, value }))
    }
}

/// Walks over a snapshot that others read as well.
pub(super) struct SharedWalks {
    pub(super) shared: Arc<Shared>,
}

impl Walks for SharedWalks {
    type Walk = SharedWalk;

    fn start(
        &mut self,
        _old: Option<SharedWalk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<SharedWalk> {
        let own = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        let shared = Arc::clone(&self.shared);
        Ok(SharedWalk { shared, way, low: own(bounds.0), high: own(bounds.1), row: None })
    }
}

/// A walk that looks each row up. What is left to walk lies between `low` and `high`.
pub(super) struct SharedWalk {
    shared: Arc<Shared>,
    way: Direction,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    row: Option<(Vec<u8>, Vec<u8>)>,
}

impl SharedWalk {
    fn look_up(&self, book: &Book) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let bounds = (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice));
        let txn = self.shared.txn.lock();
        let first = || -> heed::Result<Option<(Vec<u8>, Vec<u8>)>> {
            let found = Steps::start(&self.shared.core.data, &txn, self.way, bounds)?.next()?;
            Ok(found.map(|(key, value)| (key.to_vec(), value.to_vec())))
        };
        first().map_err(|e| explain(book, "reading", e))
    }
}

impl Walk for SharedWalk {
    fn step(&mut self) -> Result<bool> {
        if let Some((key, _)) = self.row.take() {
            match self.way {
                Direction::Up => self.low = Bound::Excluded(key),
                Direction::Down => self.high = Bound::Excluded(key),
            }
        }
        self.row = self.look_up(&self.shared.core.book)?;
        Ok(self.row.is_some())
    }

    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key, value })
    }
}
