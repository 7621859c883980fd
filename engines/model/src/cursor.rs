//! A position among the rows of a range at one moment of the history.

use crate::engine::Shared;
use crate::history::{History, Moment};
use nori_kv::{Cursor, KeyRange, Result, Row};
use std::ops::Bound;
use std::sync::Arc;

/// Where the cursor is.
#[derive(Debug)]
enum Position {
    /// Off both ends, as a new cursor is.
    Fresh,
    /// Before the first row.
    Before,
    /// At a row, which lies in the range.
    At { key: Vec<u8>, value: Vec<u8> },
    /// After the last row.
    After,
}

/// See [`Cursor`]. Each move looks the next row up in the map.
pub(crate) struct ModelCursor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) range: KeyRange,
    pub(crate) moment: Moment,
    position: Position,
}

impl ModelCursor {
    pub(crate) fn new(shared: Arc<Shared>, range: KeyRange, moment: Moment) -> Self {
        Self { shared, range, moment, position: Position::Fresh }
    }

    /// Goes to the first row at or after `bound`, or after the last row.
    fn go_up(&mut self, bound: Bound<&[u8]>) -> Result<bool> {
        let history = self.shared.history();
        let found =
            history.first_from(bound, self.moment).filter(|(key, _)| self.range.contains(key));
        let position = found.map_or(Position::After, at);
        drop(history);
        self.position = position;
        Ok(self.row().is_some())
    }

    /// Goes to the last row at or before `bound`, or before the first row.
    fn go_down(&mut self, bound: Bound<&[u8]>) -> Result<bool> {
        let history = self.shared.history();
        let found = last_within(&history, bound, &self.range, self.moment);
        let position = found.map_or(Position::Before, at);
        drop(history);
        self.position = position;
        Ok(self.row().is_some())
    }
}

fn at((key, value): (&[u8], &[u8])) -> Position {
    Position::At { key: key.to_vec(), value: value.to_vec() }
}

fn last_within<'h>(
    history: &'h History,
    bound: Bound<&[u8]>,
    range: &KeyRange,
    moment: Moment,
) -> Option<(&'h [u8], &'h [u8])> {
    history.last_to(bound, moment).filter(|(key, _)| range.contains(key))
}

impl Cursor for ModelCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        let from = key.max(self.range.start.as_slice()).to_vec();
        self.go_up(Bound::Included(&from))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if self.range.is_below_end(key) {
            return self.go_down(Bound::Included(key));
        }
        let end = self.range.end.clone().unwrap_or_default();
        self.go_down(Bound::Excluded(&end))
    }

    fn next(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.position, Position::After) {
            Position::Fresh | Position::Before => {
                let start = self.range.start.clone();
                self.go_up(Bound::Included(&start))
            }
            Position::At { key, .. } => self.go_up(Bound::Excluded(&key)),
            Position::After => Ok(false),
        }
    }

    fn prev(&mut self) -> Result<bool> {
        match std::mem::replace(&mut self.position, Position::Before) {
            Position::Fresh | Position::After => match self.range.end.clone() {
                Some(end) => self.go_down(Bound::Excluded(&end)),
                None => self.go_down(Bound::Unbounded),
            },
            Position::At { key, .. } => self.go_down(Bound::Excluded(&key)),
            Position::Before => Ok(false),
        }
    }

    fn row(&self) -> Option<Row<'_>> {
        match &self.position {
            Position::At { key, value } => Some(Row { key, value }),
            _ => None,
        }
    }
}
