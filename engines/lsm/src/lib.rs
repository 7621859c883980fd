//! `nori-lsm`: the log-structured engine, assembled from replaceable parts.
//!
//! A write goes to the log and into the memtable ([`write`](mod@write)); a full memtable is sealed and flushed to a table of level
//! 0 ([`flush`]); a strategy decides what is merged, the engine validates and acts ([`compact`]); the manifest says which
//! tables are alive ([`manifest`], [`version`]). A read asks memtables and tables from new to old ([`read`]),
//! a cursor merges them ([`cursor`]). Opening replays the log ([`open`]).
//!
//! Promises: the contract of [`nori_kv::Engine`], with all four durability classes. A plug-in decides and never acts: a wrong
//! plan is a refused plan. Background work is jobs of `nori_env::Tasks` only, so that the same engine runs on threads
//! and in a seeded simulation. Left to others: the parts themselves, and how they are chosen (`norikv-parts`).

mod budget;
mod checkpoint;
mod compact;
mod components;
mod core;
mod counters;
mod cursor;
mod dump;
mod durable;
mod edit;
mod engine;
mod flush;
mod gc;
mod install;
mod jobs;
mod maintain;
mod manifest;
mod mem;
mod merge;
mod open;
mod output;
mod publish;
mod read;
mod removal;
mod replicated;
mod run_cursor;
mod scrub;
mod settings;
mod shared;
mod sought;
mod stall;
mod version;
mod write;

pub use components::{Components, PartLine, SEAMS, StrategyMaker, UnknownPart};
pub use dump::{EditDump, ManifestDump, RunDump, dump_manifest};
pub use engine::LsmFactory;
pub use settings::{
    BLOCK_BYTES, BadSetting, FILTER_BITS_PER_KEY, MEMORY_BYTES, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN,
    MEMTABLE_BYTES_MIN, MEMTABLES_SEALED_MAX, SettingLine, Settings,
};
pub use shared::Shared;
