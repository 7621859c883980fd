//! A cursor made of two one-way walks.
//!
//! The peers give iterators that start at a bound and go one way. The seam wants a position that turns
//! round:
//!
//! 1. While the cursor goes on in its direction, it steps the walk it has.
//! 2. When it turns, it starts a walk the other way from the row it is at, which the new walk leaves out.
//! 3. A seek starts a walk at the key.
//!
//! Every walk of one cursor sees the same state of the store: that is the duty of [`Walks`].

use nori_kv::{Cursor, KeyRange, Result, Row};
use std::ops::Bound;

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// A lower and an upper bound on keys. Some key of bytes could lie between.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Rows one way, lent one at a time.
pub(crate) trait Walk: Send {
    /// Goes to the next row; false once there is none.
    fn step(&mut self) -> Result<bool>;
    /// The row that the last step went to.
    fn row(&self) -> Option<Row<'_>>;
}

/// Starts walks over one state of a store.
pub(crate) trait Walks: Send {
    type Walk: Walk;
    /// A walk over `bounds` that has not stepped. `old` is the walk it takes the place of.
    fn start(
        &mut self,
        old: Option<Self::Walk>,
        way: Direction,
        bounds: Bounds<'_>,
    ) -> Result<Self::Walk>;
}

/// Where the cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Off both ends.
    Fresh,
    /// Before the first row.
    Before,
    /// At the row of the walk.
    At,
    /// After the last row.
    After,
}

/// See [`Cursor`].
pub(crate) struct TwoWay<W: Walks> {
    walks: W,
    range: KeyRange,
    position: Position,
    /// The walk under way. `position` is `At` only if it is at a row.
    walk: Option<(Direction, W::Walk)>,
}

impl<W: Walks> TwoWay<W> {
    pub(crate) fn new(walks: W, range: KeyRange) -> Self {
        Self { walks, range, position: Position::Fresh, walk: None }
    }

    /// Starts a walk up from `from` and goes to its first row.
    fn go_up(&mut self, from: Bound<&[u8]>) -> Result<bool> {
        let end = self.range.end.clone();
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.go(Direction::Up, (from, end))
    }

    /// Starts a walk down from `from` and goes to its first row.
    fn go_down(&mut self, from: Bound<&[u8]>) -> Result<bool> {
        let start = self.range.start.clone();
        self.go(Direction::Down, (start_bound(&start), from))
    }

    fn go(&mut self, way: Direction, bounds: Bounds<'_>) -> Result<bool> {
        // Whatever fails below, the cursor is then where it was when it was new.
        self.position = Position::Fresh;
        if is_empty(bounds) {
            self.position = off(way);
            return Ok(false);
        }
        let old = self.walk.take().map(|(_, walk)| walk);
        let walk = self.walks.start(old, way, bounds)?;
        self.walk = Some((way, walk));
        self.step()
    }

    /// Steps the walk under way.
    fn step(&mut self) -> Result<bool> {
        let Some((way, walk)) = &mut self.walk else { return Ok(false) };
        self.position = Position::Fresh;
        let is_at = walk.step()?;
        self.position = if is_at { Position::At } else { off(*way) };
        Ok(is_at)
    }

    /// Goes on from the row the cursor is at.
    fn leave_row(&mut self, way: Direction) -> Result<bool> {
        if self.walk.as_ref().is_some_and(|(going, _)| *going == way) {
            return self.step();
        }
        let Some(key) = self.row().map(|row| row.key.to_vec()) else { return Ok(false) };
        match way {
            Direction::Up => self.go_up(Bound::Excluded(&key)),
            Direction::Down => self.go_down(Bound::Excluded(&key)),
        }
    }

    fn first(&mut self) -> Result<bool> {
        let start = self.range.start.clone();
        self.go_up(start_bound(&start))
    }

    fn last(&mut self) -> Result<bool> {
        let end = self.range.end.clone();
        self.go_down(end.as_deref().map_or(Bound::Unbounded, Bound::Excluded))
    }
}

/// Every key is at or after the empty one, which some peers do not take even as a bound.
fn start_bound(start: &[u8]) -> Bound<&[u8]> {
    if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) }
}

fn off(way: Direction) -> Position {
    match way {
        Direction::Up => Position::After,
        Direction::Down => Position::Before,
    }
}

/// Whether no key can lie between; some peers panic when asked.
fn is_empty((low, high): Bounds<'_>) -> bool {
    match (low, high) {
        (_, Bound::Excluded([])) => true,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Included(high) | Bound::Excluded(high),
        ) => low >= high,
    }
}

impl<W: Walks> Cursor for TwoWay<W> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if key <= self.range.start.as_slice() {
            return self.first();
        }
        self.go_up(Bound::Included(key))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if !self.range.is_below_end(key) {
            return self.last();
        }
        self.go_down(Bound::Included(key))
    }

    fn next(&mut self) -> Result<bool> {
        match self.position {
            Position::Fresh | Position::Before => self.first(),
            Position::At => self.leave_row(Direction::Up),
            Position::After => Ok(false),
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match self.position {
            Position::Fresh | Position::After => self.last(),
            Position::At => self.leave_row(Direction::Down),
            Position::Before => Ok(false),
        }
    }

    fn row(&self) -> Option<Row<'_>> {
        match (&self.walk, self.position) {
            (Some((_, walk)), Position::At) => walk.row(),
            _ => None,
        }
    }
}
