//! The names of the parts of this crate, for settings, `list` and the reader of a table.

use crate::{
    BlockedBloomPolicy, BloomPolicy, FilterBudget, FilterPolicy, MonkeyBudget, NoFilterPolicy,
    SplitBloomPolicy, UniformBudget,
};
use std::sync::Arc;

/// A part that can be chosen by name.
#[derive(Debug)]
pub struct Entry<T: ?Sized> {
    /// The name, equal to the part's own `name()`.
    pub name: &'static str,
    /// One line for a person who chooses.
    pub about: &'static str,
    /// Makes the part.
    pub make: fn() -> Arc<T>,
}

/// Every filter policy.
pub fn policies() -> &'static [Entry<dyn FilterPolicy>] {
    &[
        Entry {
            name: "blocked-bloom",
            about: "bloom filter whose bits for a key share one cache line: one miss a probe",
            make: || Arc::new(BlockedBloomPolicy),
        },
        Entry {
            name: "bloom",
            about: "the standard bloom filter: fewest false positives, a cache miss for each probe",
            make: || Arc::new(BloomPolicy),
        },
        Entry {
            name: "none",
            about: "no filter: a read looks into every table whose bounds hold the key",
            make: || Arc::new(NoFilterPolicy),
        },
        Entry {
            name: "split-bloom",
            about: "bloom filter of 256-bit blocks, eight lanes at once: fastest, more false positives",
            make: || Arc::new(SplitBloomPolicy),
        },
    ]
}

/// Every filter budget.
pub fn budgets() -> &'static [Entry<dyn FilterBudget>] {
    &[
        Entry {
            name: "monkey",
            about: "more bits per key on smaller levels, where they save the most vain reads",
            make: || Arc::new(MonkeyBudget),
        },
        Entry {
            name: "uniform",
            about: "the same bits per key on every level",
            make: || Arc::new(UniformBudget),
        },
    ]
}

/// The policy of this name.
pub fn policy(name: &str) -> Option<Arc<dyn FilterPolicy>> {
    policies().iter().find(|entry| entry.name == name).map(|entry| (entry.make)())
}

/// The budget of this name.
pub fn budget(name: &str) -> Option<Arc<dyn FilterBudget>> {
    budgets().iter().find(|entry| entry.name == name).map(|entry| (entry.make)())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn every_policy_keeps_the_contract() {
        for entry in policies() {
            conformance::policy_keeps_its_contract((entry.make)().as_ref());
        }
    }

    #[test]
    fn every_budget_keeps_the_contract() {
        for entry in budgets() {
            conformance::budget_keeps_its_contract((entry.make)().as_ref());
        }
    }

    #[test]
    fn parts_bear_the_name_they_are_found_under() {
        for entry in policies() {
            assert_eq!(policy(entry.name).map(|p| p.name()), Some(entry.name));
        }
        for entry in budgets() {
            assert_eq!(budget(entry.name).map(|b| b.name()), Some(entry.name));
        }
        assert!(policy("blocked-blom").is_none() && budget("").is_none());
    }
}
