//! The sorted map in memory that takes every write first.
//!
//! A [`Memtable`] holds versions of keys in internal order (`nori_kv::EntryRef`) until it is sealed,
//! flushed to a table and dropped. Entries only come, they never go and never change; that is what
//! lets reads lend bytes without copying and run beside writes.
//!
//! [`memtables`] lists what ships, [`memtable`](memtable()) finds one by name, [`conformance`] is the suite that
//! every one runs. The default is the one named [`DEFAULT`].
//!
//! Left to others: range tombstones (the engine keeps them beside the memtable), visibility (the
//! engine publishes sequence numbers after the insert), when to seal.

mod bptree;
pub mod conformance;
mod crossbeam;
mod cursor;
mod memtable;
mod record;
mod registry;

pub use bptree::{BpTreeFactory, BpTreeMemtable};
pub use crossbeam::{CrossbeamFactory, CrossbeamMemtable};
pub use memtable::{Memtable, MemtableFactory};
pub use registry::{DEFAULT, Entry, memtable, memtables};
