//! The strategies that ship, by name.

use crate::granularity::{IntoNextRun, LevelIntoNewRun};
use crate::layout::{LeveledLayout, TieredLayout};
use crate::movement::{LeastOverlap, WholeLevel};
use crate::partition::BySize;
use crate::trigger::{RunCountTrigger, SaturationTrigger};
use crate::{Composed, Rule, Shape, Strategy};

/// The name of the strategy that an engine uses unless told otherwise.
pub const DEFAULT: &str = "leveled";

/// A strategy that can be chosen by name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name, equal to the strategy's `name()`.
    pub name: &'static str,
    /// One line for a person who chooses.
    pub about: &'static str,
    /// Makes it.
    pub make: fn(&Shape) -> Box<dyn Strategy>,
}

/// Every strategy.
pub fn strategies() -> &'static [Entry] {
    &[
        Entry {
            name: "leveled",
            about: "one run a level, table by table where it overlaps least, runs only in level 0",
            make: |shape| Box::new(leveled(shape)),
        },
        Entry {
            name: "tiered",
            about: "several runs a level, merged whole into the next: few writes, many runs to read",
            make: |shape| Box::new(tiered(shape)),
        },
    ]
}

/// The strategy of this name, in this shape.
pub fn strategy(name: &str, shape: &Shape) -> Option<Box<dyn Strategy>> {
    strategies().iter().find(|entry| entry.name == name).map(|entry| (entry.make)(shape))
}

/// `leveled`: level 0 is tiered and goes down whole when it has enough runs; below, the table with the
/// least overlap goes down when its level is over its target.
pub fn leveled(shape: &Shape) -> Composed {
    let shape = shape.clamped();
    let runs = Rule {
        trigger: Box::new(RunCountTrigger),
        granularity: Box::new(IntoNextRun),
        movement: Box::new(WholeLevel),
    };
    let bytes = Rule {
        trigger: Box::new(SaturationTrigger),
        granularity: Box::new(IntoNextRun),
        movement: Box::new(LeastOverlap),
    };
    Composed {
        name: "leveled",
        layout: Box::new(LeveledLayout::new(shape)),
        rules: vec![runs, bytes],
        partitioner: Box::new(BySize { table_bytes_target: shape.table_bytes_target }),
        table_bytes_target: shape.table_bytes_target,
    }
}

/// `tiered`: a level with enough runs becomes one run of the next level.
pub fn tiered(shape: &Shape) -> Composed {
    let shape = shape.clamped();
    let rule = Rule {
        trigger: Box::new(RunCountTrigger),
        granularity: Box::new(LevelIntoNewRun),
        movement: Box::new(WholeLevel),
    };
    Composed {
        name: "tiered",
        layout: Box::new(TieredLayout::new(shape)),
        rules: vec![rule],
        partitioner: Box::new(BySize { table_bytes_target: shape.table_bytes_target }),
        table_bytes_target: shape.table_bytes_target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn every_strategy_keeps_the_contract() {
        for entry in strategies() {
            conformance::strategy_keeps_its_contract(entry.make);
        }
    }

    #[test]
    fn parts_bear_the_name_they_are_found_under() {
        for entry in strategies() {
            let found = strategy(entry.name, &Shape::default()).unwrap();
            assert_eq!(found.name(), entry.name);
        }
        assert!(strategy(DEFAULT, &Shape::default()).is_some());
        assert!(strategy("levelled", &Shape::default()).is_none());
    }
}
