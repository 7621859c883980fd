//! Compaction strategies from parts: what to merge, where to, and why.
//!
//! A [`Strategy`] looks at a [`TreeView`] (metadata of tables, nothing else) and answers with
//! [`Plan`]s. It is pure: no files, no clock, no locks. The engine validates each plan when it is
//! made and again when its outputs are installed, so a wrong strategy makes a refused plan and never
//! a damaged tree.
//!
//! Left to others: reading and writing tables (`nori-sstable`), running plans as jobs (`nori-lsm`).

mod parts;
mod plan;
mod refusal;
mod shape;
mod strategy;
mod view;

pub use parts::{
    Candidate, Extent, Granularity, Layout, Movement, Partitioner, Pressure, Seed, Target, Trigger,
};
pub use plan::{CutRule, DropWhy, Place, Plan, PlanKind, RunPlace};
pub use refusal::Refusal;
pub use shape::{BUFFER_BYTES, L0_RUNS_TRIGGER, LEVELS_MAX, SIZE_RATIO, Shape, TABLE_BYTES_TARGET};
pub use strategy::{Debt, Strategy, TreeEvent};
pub use view::{
    Busy, BusyJob, JobId, KeySpan, LevelView, RunId, RunView, TableId, TableStats, TreeView,
};
mod stub;
pub use stub::*;
