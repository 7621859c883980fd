//! Approximate membership: which tables a point read may skip.
//!
//! A table carries one *filter*, built from the hashes of its keys. Asked for a key that the table
//! holds, it always says yes; asked for another, it says no but for a small share of *false
//! positives*. A point read hashes its key **once** ([`key_hash`]), asks the filters of all tables
//! with that one number, and reads only the tables that said yes.
//!
//! Two seams live here: [`FilterPolicy`] (which data structure) and [`FilterBudget`] (how many bits
//! each level gets). Both are chosen by name: [`policy`](policy()), [`budget`](budget()); the tables [`policies`] and
//! [`budgets`] list what ships. [`conformance`] is the suite every implementation runs.
//!
//! Left to others: where a filter is stored, its checksum, its place in the memory budget.

mod blocked_bloom;
mod bloom;
mod budget;
pub mod conformance;
mod none;
mod policy;
mod registry;
mod split_bloom;
mod stored;

pub use blocked_bloom::BlockedBloomPolicy;
pub use bloom::BloomPolicy;
pub use budget::{FilterBudget, LevelFill, MonkeyBudget, UniformBudget};
pub use none::NoFilterPolicy;
pub use policy::{Filter, FilterBuilder, FilterContext, FilterError, FilterPolicy};
pub use registry::{Entry, budget, budgets, policies, policy};
pub use split_bloom::SplitBloomPolicy;

/// The hash of a user key, the same for every filter of the tree (XXH3, 64 bits, no seed).
///
/// It is part of every filter's format: tables written with one hash cannot be asked with another.
/// A change of this function therefore changes the name of every policy.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The hash of the first bytes of keys, for filters that know prefixes beside keys. The same hash with another seed (1), so
/// that a prefix and a key of the same bytes are two things.
#[inline]
pub fn prefix_hash(prefix: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(prefix, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_key_never_changes() {
        // The first is the value that XXH3 defines for no input; the other two were taken when
        // format v1 was made. A difference here makes every stored filter lie.
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(key_hash(b"user0000000000001"), 17_779_322_339_635_023_284);
        assert_eq!(key_hash(b"k"), 12_187_272_138_156_836_893);
        assert_eq!(prefix_hash(b"user"), 17_979_819_038_658_911_531);
        assert_ne!(prefix_hash(b"k"), key_hash(b"k"));
    }
}
