//! The names of the memtables, for settings and `list`.

use crate::kind::KindFactory;
use crate::{
    BTreeMemtable, BpTreeMemtable, CrossbeamMemtable, MemtableFactory, SkipListMemtable,
    VectorMemtable,
};
use std::sync::Arc;

/// The name of the memtable that an engine uses unless told otherwise: the fastest in
/// `benches/memtable.rs`.
pub const DEFAULT: &str = "bptree";

/// What a memtable can carry, by name, with a line for a person who chooses.
pub const INDEXES: [(&str, &str); 2] = [
    ("hash", "a hash index of newest versions: a get does not walk, an insert costs more"),
    ("none", "no index beside the memtable"),
];

/// The name of the index that an engine uses unless told otherwise: YCSB B, C and D are 15 to 20 % quicker with it, and a load of
/// puts alone 12 % slower with one writer and 25 to 35 % with two.
pub const INDEX_DEFAULT: &str = "hash";

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
            make: || Arc::new(KindFactory::<BpTreeMemtable>::default()),
        },
        Entry {
            name: "btree",
            about: "the standard library's B-tree under one lock: the teaching baseline",
            make: || Arc::new(KindFactory::<BTreeMemtable>::default()),
        },
        Entry {
            name: "crossbeam",
            about: "the lock-free skip list of crossbeam: many writers, a cache miss per level",
            make: || Arc::new(KindFactory::<CrossbeamMemtable>::default()),
        },
        Entry {
            name: "skiplist",
            about: "arena skip list with inlined keys: many writers, readers without locks",
            make: || Arc::new(KindFactory::<SkipListMemtable>::default()),
        },
        Entry {
            name: "vector",
            about: "appended, and sorted by the first read or by the seal: cheapest insert",
            make: || Arc::new(KindFactory::<VectorMemtable>::default()),
        },
    ]
}

/// The memtable of this name.
pub fn memtable(name: &str) -> Option<Arc<dyn MemtableFactory>> {
    memtables().iter().find(|entry| entry.name == name).map(|entry| (entry.make)())
}

/// The memtable of this name with the index of that name, one of [`INDEXES`].
pub fn memtable_with(name: &str, index: &str) -> Option<Arc<dyn MemtableFactory>> {
    match index {
        "none" => memtable(name),
        "hash" => memtable(name)?.indexed(),
        _ => None,
    }
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
    fn every_memtable_with_an_index_keeps_the_contract() {
        for entry in memtables() {
            let factory = memtable_with(entry.name, "hash").unwrap();
            conformance::memtable_keeps_its_contract(factory.as_ref(), &together);
        }
    }

    #[test]
    fn every_memtable_goes_with_every_index() {
        for entry in memtables() {
            for (index, _) in INDEXES {
                assert!(memtable_with(entry.name, index).is_some(), "{} {index}", entry.name);
            }
            assert!(memtable_with(entry.name, "hsah").is_none());
        }
        assert!(INDEXES.iter().any(|(name, _)| *name == INDEX_DEFAULT));
    }

    #[test]
    fn parts_bear_the_name_they_are_found_under() {
        for entry in memtables() {
            assert_eq!(memtable(entry.name).map(|m| m.name()), Some(entry.name));
        }
        assert!(memtable(DEFAULT).is_some() && memtable("bp-tree").is_none());
    }
}
