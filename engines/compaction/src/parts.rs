//! The parts a strategy is composed from, as traits, and what passes between them.

use crate::{CutRule, Debt, Place, Plan, TableId, TreeView};
use nori_kv::{KeyRange, Reason};

/// What a layout wants of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The bytes it should hold at most; `u64::MAX`: any number.
    pub bytes: u64,
    /// The runs it should hold at most when the tree is at rest; at least 1.
    pub runs_max: usize,
    /// The level that its data goes to next; the level itself for the last one.
    pub next: usize,
    /// The runs at which writers stop; `usize::MAX`: never.
    pub runs_stop: usize,
}

/// The shape of a tree: how many runs and bytes each level should hold.
///
/// # Contract
/// `targets` answers with one target for each level of the view, and `next >= level`; a pure function.
pub trait Layout: Send + Sync {
    /// The targets of all levels, level 0 first.
    fn targets(&self, view: &TreeView<'_>) -> Vec<Target>;
    /// How far the tree is from this shape.
    fn debt(&self, view: &TreeView<'_>) -> Debt;
}

/// A level or key range that is out of shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Pressure {
    /// The level.
    pub level: usize,
    /// The level its data should go to.
    pub next: usize,
    /// The keys, if not the whole level.
    pub range: Option<KeyRange>,
    /// How far out of shape: at least 1, the largest is served first.
    pub score: f64,
    /// What is out of shape.
    pub why: Reason,
}

/// When to compact.
///
/// # Contract
/// A pure function; nothing for a tree at rest; what running jobs already take care of does not count.
pub trait Trigger: Send + Sync {
    /// What is out of shape, in any order.
    fn pressures(&self, view: &TreeView<'_>, targets: &[Target]) -> Vec<Pressure>;
}

/// What a compaction starts from, before it is made whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Seed {
    /// One table.
    Table(TableId),
    /// The oldest `count` runs of a level.
    Runs {
        /// The level.
        level: usize,
        /// How many.
        count: usize,
    },
    /// Neighbours in one run.
    Tables(Vec<TableId>),
    /// A whole level.
    Level(usize),
    /// All tables of a level that overlap a range of keys.
    Range {
        /// The level.
        level: usize,
        /// The keys.
        range: KeyRange,
    },
}

/// What a compaction takes and where it puts it.
#[derive(Clone, Debug, PartialEq)]
pub struct Extent {
    /// The tables taken.
    pub inputs: Vec<TableId>,
    /// Where outputs go.
    pub out: Place,
}

/// How much to compact at once.
///
/// # Contract
/// A pure function. The extent keeps the probe order (the rules of [`validate`](crate::validate())); `None` if
/// that cannot be done now, as when part of it is busy.
pub trait Granularity: Send + Sync {
    /// Makes a whole of a seed of `pressure`.
    fn extent(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        seed: &Seed,
        targets: &[Target],
    ) -> Option<Extent>;
}

/// A seed and how much it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Where to start.
    pub seed: Seed,
    /// The smaller, the sooner.
    pub cost: f64,
}

/// Which part of a level moves first.
pub trait Movement: Send {
    /// Seeds that would relieve `pressure`, best first.
    fn rank(&mut self, view: &TreeView<'_>, pressure: &Pressure) -> Vec<Candidate>;
    /// Learns that a plan runs; a cursor moves on here. The first of its inputs is the seed's, if that was a table.
    fn began(&mut self, plan: &Plan) {
        let _ = plan;
    }
    /// What it wants to know again after a restart.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes up what `save` wrote.
    fn restore(&mut self, state: &[u8]) {
        let _ = state;
    }
}

/// Where outputs are cut, and where a merge may be split among workers.
pub trait Partitioner: Send + Sync {
    /// The cuts of a plan's outputs.
    fn cuts(&self, view: &TreeView<'_>, plan: &Plan) -> CutRule;
    /// Ranges of about equal work, at most `parts_max`, ascending and without gaps.
    fn split(&self, view: &TreeView<'_>, plan: &Plan, parts_max: usize) -> Vec<KeyRange>;
}
