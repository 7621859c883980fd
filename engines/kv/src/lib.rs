//! The seam above the engines: what a key-value store does, whoever implements it.
//!
//! [`Reader`] and [`Engine`] are what a caller sees, [`Maintain`] what an operator does,
//! [`Replicated`] what a replica needs, [`EngineFactory`] how a store is opened. Traits are object-safe,
//! synchronous, `Send + Sync`; they lend bytes at the bottom and own them on request.
//!
//! The vocabulary that storage parts share below the seam is here as well: [`SeqNo`], [`Kind`],
//! [`EntryRef`], [`EntryCursor`], [`RangeTombstones`], [`Reason`].
//!
//! Left to others: every implementation. `nori-model` is the one that is obviously right.

mod batch;
mod capabilities;
pub mod conformance;
mod engine;
mod entry;
mod error;
mod event;
mod key;
mod range_tombstones;
mod stats;

pub use batch::{BatchDecodeError, Op, OpKind, Ops, WriteBatch};
pub use capabilities::{Capabilities, Feature};
pub use engine::{
    Applied, Cursor, Engine, EngineFactory, Maintain, Parts, Progress, ReadOptions, Reader,
    Replicated, Row, Scrubbed, Tier,
};
pub use entry::{EntryCursor, EntryRef, Kind};
pub use error::{Error, ErrorKind, Result};
pub use event::{EngineEvent, Reason, StallKind};
pub use key::{KeyRange, SeqNo, Tick};
pub use nori_env::Durability;
pub use range_tombstones::{Fragment, Fragments, RangeTombstones};
pub use stats::{EngineStats, LevelStats, stat};
