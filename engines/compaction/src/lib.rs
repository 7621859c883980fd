//! Compaction strategies from parts: what to merge, where to, and why.
//!
//! A [`Strategy`] looks at a [`TreeView`] (metadata of tables, nothing else) and answers with
//! [`Plan`]s. It is pure: no files, no clock, no locks. The engine [`validate`](validate())s each plan when it is
//! made and again when its outputs are installed, so a wrong strategy makes a refused plan and never
//! a damaged tree; [`apply`](apply()) is the edit itself.
//!
//! Strategies are composed ([`Composed`]) from a [`Layout`] (the shape to keep), rules of a
//! [`Trigger`] (when), a [`Granularity`] (how much) and a [`Movement`] (which first), and a
//! [`Partitioner`] (where outputs are cut). These are the axes of Sarkar, Staratzis, Zhu and
//! Athanassoulis, "Constructing and analyzing the LSM compaction design space", PVLDB 14(11), 2021,
//! and one more. [`strategies`] lists what ships by name.
//!
//! [`simulate`] runs a strategy on numbers instead of files; [`conformance`] is the suite that every
//! strategy runs there.
//!
//! Left to others: reading and writing tables (`nori-sstable`), running plans as jobs (`nori-lsm`).

mod apply;
mod compose;
pub mod conformance;
mod gather;
mod granularity;
mod layout;
mod movement;
mod partition;
mod parts;
mod plan;
mod refusal;
mod registry;
mod seeks;
mod shape;
pub mod simulate;
mod strategy;
mod trigger;
mod validate;
mod view;

pub use apply::apply;
pub use compose::{Composed, Rule};
pub use gather::SmallTables;
pub use granularity::{IntoNextRun, LazyIntoNext, LevelIntoNewRun};
pub use layout::{FixedLayout, LazyLayout, LeveledLayout, TieredLayout};
pub use movement::{LeastOverlap, RoundRobin, WholeLevel};
pub use partition::BySize;
pub use parts::{
    Candidate, Extent, Granularity, Layout, Movement, Partitioner, Pressure, Seed, Target, Trigger,
};
pub use plan::{CutRule, DropWhy, Place, Plan, PlanKind, RunPlace};
pub use refusal::Refusal;
pub use registry::{
    DEFAULT, Entry, lazy_leveling, leveled, one_leveling, strategies, strategy, tiered,
};
pub use seeks::SoughtTables;
pub use shape::{
    BUFFER_BYTES, L0_RUNS_TRIGGER, LEVELS_MAX, SEEK_BYTES, SIZE_RATIO, Shape, TABLE_BYTES_TARGET,
};
pub use strategy::{Debt, Strategy, TreeEvent};
pub use trigger::{RunCountTrigger, SaturationTrigger};
pub use validate::{older_beneath, validate, validate_install};
pub use view::{
    Busy, BusyJob, JobId, KeySpan, LevelView, RunId, RunView, Seeks, TableId, TableStats, TreeView,
};
