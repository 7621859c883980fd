//! The strategies that ship, by name.

use crate::gather::SmallTables;
use crate::granularity::{IntoNextRun, LazyIntoNext, LevelIntoNewRun};
use crate::layout::{FixedLayout, LazyLayout, LeveledLayout, TieredLayout};
use crate::movement::{LeastOverlap, RoundRobin, WholeLevel};
use crate::partition::BySize;
use crate::seeks::SoughtTables;
use crate::trigger::{RunCountTrigger, SaturationTrigger};
use crate::{Composed, Granularity, Layout, Movement, Rule, Shape, Strategy, Trigger};

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
        Entry {
            name: "full",
            about: "leveling by whole levels: fewest jobs, and the longest",
            make: |shape| Box::new(leveling("full", shape, WholeLevel)),
        },
        Entry {
            name: "lo1",
            about: "leveling with fixed targets, table by table where it overlaps least",
            make: |shape| Box::new(leveling("lo1", shape, LeastOverlap)),
        },
        Entry {
            name: "rr",
            about: "leveling with fixed targets, table by table round and round through the keys",
            make: |shape| Box::new(leveling("rr", shape, RoundRobin::default())),
        },
        Entry {
            name: "1-lvl",
            about: "tiered level 0 of as many runs as the size ratio, leveling with fixed targets below",
            make: |shape| Box::new(one_leveling(shape)),
        },
        Entry {
            name: "lazy-leveling",
            about: "tiered but for the last level, which is one run: few writes, long scans stay short",
            make: |shape| Box::new(lazy_leveling(shape)),
        },
    ]
}

/// The strategy of this name, in this shape.
pub fn strategy(name: &str, shape: &Shape) -> Option<Box<dyn Strategy>> {
    strategies().iter().find(|entry| entry.name == name).map(|entry| (entry.make)(shape))
}

/// A strategy of rules that all cut outputs by size; the last of them gathers what is too small for a table.
fn composed(
    name: &'static str,
    shape: &Shape,
    layout: impl Layout + 'static,
    mut rules: Vec<Rule>,
) -> Composed {
    let table_bytes_target = shape.table_bytes_target;
    let small = SmallTables { table_bytes_target };
    rules.push(rule(small, small, small));
    let partitioner = Box::new(BySize { table_bytes_target });
    Composed { name, layout: Box::new(layout), rules, partitioner, table_bytes_target }
}

fn rule(
    trigger: impl Trigger + 'static,
    granularity: impl Granularity + 'static,
    movement: impl Movement + 'static,
) -> Rule {
    Rule {
        trigger: Box::new(trigger),
        granularity: Box::new(granularity),
        movement: Box::new(movement),
    }
}

/// `leveled`: level 0 is tiered and goes down whole when it has enough runs; below, the table with the
/// least overlap goes down when its level is over its target. What cursors keep seeking in goes down before that.
pub fn leveled(shape: &Shape) -> Composed {
    let shape = shape.clamped();
    let runs = rule(RunCountTrigger, IntoNextRun, WholeLevel);
    let bytes = rule(SaturationTrigger, IntoNextRun, LeastOverlap);
    let sought = SoughtTables { seek_bytes: shape.seek_bytes };
    let seeks = rule(sought, IntoNextRun, sought);
    composed("leveled", &shape, LeveledLayout::new(shape), vec![runs, bytes, seeks])
}

/// `tiered`: a level with enough runs becomes one run of the next level.
pub fn tiered(shape: &Shape) -> Composed {
    let shape = shape.clamped();
    let runs = rule(RunCountTrigger, LevelIntoNewRun, WholeLevel);
    composed("tiered", &shape, TieredLayout::new(shape), vec![runs])
}

/// A strategy of the compaction design space with leveling from level 0 on: two runs there are one too many. Below, a level
/// over its target goes down by `movement`.
fn leveling(name: &'static str, shape: &Shape, movement: impl Movement + 'static) -> Composed {
    let shape = Shape { l0_runs_trigger: 2, ..*shape }.clamped();
    let runs = rule(RunCountTrigger, IntoNextRun, WholeLevel);
    let bytes = rule(SaturationTrigger, IntoNextRun, movement);
    composed(name, &shape, FixedLayout::new(shape), vec![runs, bytes])
}

/// `1-lvl`: as many runs in level 0 as the size ratio, leveling by least overlap below.
pub fn one_leveling(shape: &Shape) -> Composed {
    let shape = Shape { l0_runs_trigger: shape.size_ratio as usize, ..*shape }.clamped();
    let runs = rule(RunCountTrigger, IntoNextRun, WholeLevel);
    let bytes = rule(SaturationTrigger, IntoNextRun, LeastOverlap);
    composed("1-lvl", &shape, FixedLayout::new(shape), vec![runs, bytes])
}

/// `lazy-leveling`: tiered above, one run in the last level, which goes down as it is when it is full.
pub fn lazy_leveling(shape: &Shape) -> Composed {
    let shape = shape.clamped();
    let runs = rule(RunCountTrigger, LazyIntoNext, WholeLevel);
    let bytes = rule(SaturationTrigger, IntoNextRun, WholeLevel);
    composed("lazy-leveling", &shape, LazyLayout::new(shape), vec![runs, bytes])
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
