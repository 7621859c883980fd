//! The sorted map in memory that takes every write first.
//!
//! A [`Memtable`] holds versions of keys in internal order (`nori_kv::EntryRef`) until it is sealed,
//! flushed to a table and dropped. Entries only come, they never go and never change; that is what
//! lets reads lend bytes without copying and run beside writes.
//!
//! [`memtables`] lists what ships, [`memtable`](memtable()) finds one by name, [`memtable_with`] one with an index, [`conformance`] is the suite that
//! every one runs. The default is the one named [`DEFAULT`].
//!
//! Left to others: range tombstones (the engine keeps them beside the memtable), visibility (the
//! engine publishes sequence numbers after the insert), when to seal.

mod bptree;
mod btree;
pub mod conformance;
mod crossbeam;
mod cursor;
mod hash_index;
mod kind;
mod memtable;
mod position;
mod record;
mod registry;
mod skiplist;
mod vector;

pub use bptree::BpTreeMemtable;
pub use btree::BTreeMemtable;
pub use crossbeam::CrossbeamMemtable;
pub use memtable::{Memtable, MemtableFactory};
pub use registry::{DEFAULT, Entry, INDEX_DEFAULT, INDEXES, memtable, memtable_with, memtables};
pub use skiplist::SkipListMemtable;
pub use vector::VectorMemtable;
