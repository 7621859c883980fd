//! The names of the memtables, for settings and `list`.

use crate::{BpTreeFactory, CrossbeamFactory, MemtableFactory};
use std::sync::Arc;

/// The name of the memtable that an engine uses unless told otherwise: the fastest in
/// `benches/memtable.rs`.
pub const DEFAULT: &str = "bptree";

/// A memtable that can be chosen by name.
#[derive(Debug)]
pub struct Entry {
    /// The name, equal to the factory's `name()`.
    pub name: &'static str,
    /// One line for a person who chooses.
    pub about: &'static str,
    /// Makes the factory.
    pub make: fn() -> Arc<dyn MemtableFactory>,
}

/// Every memtable.
pub fn memtables() -> &'static [Entry] {
    &[
        Entry {
            name: "bptree",
            about: "B+tree with inlined key prefixes: one writer at a time, readers without locks",
            make: || Arc::new(BpTreeFactory),
        },
        Entry {
            name: "crossbeam",
            about: "the lock-free skip list of crossbeam: many writers, a cache miss per level",
            make: || Arc::new(CrossbeamFactory),
        },
    ]
}

/// The memtable of this name.
pub fn memtable(name: &str) -> Option<Arc<dyn MemtableFactory>> {
    memtables().iter().find(|entry| entry.name == name).map(|entry| (entry.make)())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    fn together(work: Vec<Box<dyn FnOnce() + Send>>) {
        std::thread::scope(|scope| {
            for piece in work {
                scope.spawn(piece);
            }
        });
    }

    #[test]
    fn every_memtable_keeps_the_contract() {
        for entry in memtables() {
            conformance::memtable_keeps_its_contract((entry.make)().as_ref(), &together);
        }
    }

    #[test]
    fn parts_bear_the_name_they_are_found_under() {
        for entry in memtables() {
            assert_eq!(memtable(entry.name).map(|m| m.name()), Some(entry.name));
        }
        assert!(memtable(DEFAULT).is_some() && memtable("bp-tree").is_none());
    }
}
