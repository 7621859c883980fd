//! A plan: what a strategy decided, to be validated, run and installed by the engine.

use crate::{RunId, TableId};
use nori_kv::{KeyRange, Reason};
use std::sync::Arc;

/// What to do with some tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The tables to take, each once, in any order. They leave the tree when the plan is installed.
    pub inputs: Vec<TableId>,
    /// The keys the plan is about, if the strategy thinks in key ranges: every input lies inside.
    pub range: Option<KeyRange>,
    /// Where the outputs go.
    pub out: Place,
    /// What is done.
    pub kind: PlanKind,
    /// Where output tables are cut; of no meaning for moves and drops.
    pub cuts: CutRule,
    /// What pressed for it.
    pub why: Reason,
}

/// Where the outputs of a plan go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The level.
    pub level: usize,
    /// The run in it.
    pub run: RunPlace,
}

/// Which run of a level takes the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunPlace {
    /// A new run: in the place of the newest input of that level, or as the newest run of the level
    /// if no input comes from it.
    New,
    /// An existing run. If it is gone when the plan is installed and the level is empty, a new run.
    Into(RunId),
}

/// What is done with the inputs of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// Merge them into new tables.
    Merge,
    /// Put the same tables elsewhere; nothing is read or written.
    Move,
    /// Merge without changing place: to drop what is dead, or to store it otherwise.
    Rewrite,
    /// Forget them.
    Drop(DropWhy),
}

/// Why tables may be forgotten unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropWhy {
    /// They are the oldest of the store, and the store keeps only the newest.
    Expired,
    /// A newer range tombstone covers them, and no snapshot is older than that.
    Covered,
}

/// Where the writer of a plan's outputs starts a new table. It never parts the versions of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutRule {
    /// A table is closed once it has this many bytes; 0: never for its size.
    pub table_bytes_target: u64,
    /// A table is closed before each of these keys, ascending.
    pub before: Vec<Arc<[u8]>>,
}
