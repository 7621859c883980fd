//! An engine's components: the objects behind its seams, chosen by name.

use nori_compaction::{Shape, Strategy};
use nori_env::SegmentKind;
use nori_filter::{FilterBudget, FilterPolicy};
use nori_memtable::MemtableFactory;
use nori_sstable::{ACCESSES, Access, CachePolicy, Codec};
use std::sync::Arc;

/// Makes a strategy for a tree's shape.
pub type StrategyMaker = fn(&Shape) -> Box<dyn Strategy>;

/// One of each seam.
#[derive(Clone)]
pub struct Components {
    /// Makes memtables.
    pub memtable: Arc<dyn MemtableFactory>,
    /// Makes filters.
    pub filter: Arc<dyn FilterPolicy>,
    /// Distributes filter bits over the levels.
    pub filter_budget: Arc<dyn FilterBudget>,
    /// Makes the compaction strategy for a shape.
    pub strategy: StrategyMaker,
    /// Makes the cache's policy for a capacity in bytes.
    pub cache: fn(usize) -> Box<dyn CachePolicy>,
    /// How blocks are stored.
    pub codec: &'static dyn Codec,
    /// How blocks are read.
    pub access: Access,
    /// How the log is written.
    pub wal: SegmentKind,
    /// The names, seam by seam, as they were chosen.
    names: [&'static str; SEAMS.len()],
}

/// The seams of this engine, in the order lists show them.
pub const SEAMS: [&str; 9] = [
    "memtable",
    "memtable_index",
    "filter",
    "filter_budget",
    "compaction",
    "cache",
    "codec",
    "access",
    "wal",
];

/// A part that can be chosen: its seam, its name, and a line about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLine {
    /// The seam.
    pub seam: &'static str,
    /// The name.
    pub name: &'static str,
    /// One line for people who choose.
    pub about: &'static str,
}

/// A seam or part of no such name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownPart {
    /// No such seam.
    Seam {
        /// What was written.
        given: String,
    },
    /// No such part in the seam.
    Part {
        /// The seam.
        seam: &'static str,
        /// What was written.
        given: String,
    },
}

/// The names of [`Components::default`], in the order of [`SEAMS`].
const DEFAULTS: [&str; SEAMS.len()] = [
    nori_memtable::DEFAULT,
    nori_memtable::INDEX_DEFAULT,
    "blocked-bloom",
    "uniform",
    nori_compaction::DEFAULT,
    "quick",
    "raw",
    "pread",
    "mmap",
];

impl Default for Components {
    fn default() -> Self {
        Self {
            memtable: nori_memtable::memtable_with(DEFAULTS[0], DEFAULTS[1])
                .expect("the default is registered"),
            filter: nori_filter::policy(DEFAULTS[2]).expect("the default is registered"),
            filter_budget: nori_filter::budget(DEFAULTS[3]).expect("the default is registered"),
            strategy: strategy(DEFAULTS[4]).expect("the default is registered"),
            cache: cache(DEFAULTS[5]).expect("the default is registered"),
            codec: nori_sstable::codec(DEFAULTS[6]).expect("the default is registered"),
            access: Access::Pread,
            wal: SegmentKind::Mapped,
            names: DEFAULTS,
        }
    }
}

impl Components {
    /// Every part of every seam.
    pub fn list() -> Vec<PartLine> {
        let mut lines = Vec::new();
        let mut push = |seam, name, about| lines.push(PartLine { seam, name, about });
        nori_memtable::memtables().iter().for_each(|e| push("memtable", e.name, e.about));
        nori_memtable::INDEXES.iter().for_each(|(name, about)| push("memtable_index", name, about));
        nori_filter::policies().iter().for_each(|e| push("filter", e.name, e.about));
        nori_filter::budgets().iter().for_each(|e| push("filter_budget", e.name, e.about));
        nori_compaction::strategies().iter().for_each(|e| push("compaction", e.name, e.about));
        nori_sstable::cache_policies().iter().for_each(|e| push("cache", e.name, e.about));
        nori_sstable::codecs().iter().for_each(|e| push("codec", e.codec.name(), e.about));
        ACCESSES.iter().for_each(|(name, _, about)| push("access", name, about));
        SegmentKind::ALL.iter().for_each(|(name, _, about)| push("wal", name, about));
        lines
    }

    /// Chooses the part called `name` behind `seam`.
    ///
    /// # Errors
    ///
    /// If there is no such seam or part; nothing has changed then.
    pub fn set(&mut self, seam: &str, name: &str) -> Result<(), UnknownPart> {
        let at = SEAMS.iter().position(|known| *known == seam);
        let at = at.ok_or_else(|| UnknownPart::Seam { given: seam.to_owned() })?;
        let seam = SEAMS[at];
        let line = Self::list().into_iter().find(|line| line.seam == seam && line.name == name);
        let unknown = || UnknownPart::Part { seam, given: name.to_owned() };
        let line = line.ok_or_else(unknown)?;
        match seam {
            "memtable" | "memtable_index" => {
                let [kind, index] =
                    if at == 0 { [name, self.names[1]] } else { [self.names[0], name] };
                self.memtable = nori_memtable::memtable_with(kind, index).ok_or_else(unknown)?;
            }
            "filter" => self.filter = nori_filter::policy(name).ok_or_else(unknown)?,
            "filter_budget" => {
                self.filter_budget = nori_filter::budget(name).ok_or_else(unknown)?;
            }
            "compaction" => self.strategy = strategy(name).ok_or_else(unknown)?,
            "cache" => self.cache = cache(name).ok_or_else(unknown)?,
            "access" => self.access = nori_sstable::access(name).ok_or_else(unknown)?,
            "codec" => self.codec = nori_sstable::codec(name).ok_or_else(unknown)?,
            _ => self.wal = SegmentKind::from_name(name).ok_or_else(unknown)?,
        }
        self.names[at] = line.name;
        Ok(())
    }

    /// The chosen names, seam by seam.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        SEAMS.into_iter().zip(self.names)
    }
}

fn strategy(name: &str) -> Option<StrategyMaker> {
    nori_compaction::strategies().iter().find(|entry| entry.name == name).map(|entry| entry.make)
}

fn cache(name: &str) -> Option<fn(usize) -> Box<dyn CachePolicy>> {
    nori_sstable::cache_policies().iter().find(|entry| entry.name == name).map(|entry| entry.build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_part_can_be_chosen_and_is_named_back() {
        for line in Components::list() {
            let mut components = Components::default();
            components.set(line.seam, line.name).unwrap();
            assert!(components.names().any(|pair| pair == (line.seam, line.name)));
        }
    }

    #[test]
    fn a_memtable_and_its_index_are_chosen_in_any_order() {
        for order in [["memtable", "memtable_index"], ["memtable_index", "memtable"]] {
            let mut components = Components::default();
            for seam in order {
                components.set(seam, if seam == "memtable" { "skiplist" } else { "hash" }).unwrap();
            }
            assert_eq!(components.memtable.name(), "skiplist+hash");
        }
    }

    #[test]
    fn an_unknown_name_changes_nothing() {
        let mut components = Components::default();
        let unknown = components.set("memtable", "bptre").unwrap_err();
        assert_eq!(unknown, UnknownPart::Part { seam: "memtable", given: "bptre".to_owned() });
        assert!(matches!(components.set("memtabel", "bptree"), Err(UnknownPart::Seam { .. })));
        assert_eq!(components.names().map(|pair| pair.1).collect::<Vec<_>>(), DEFAULTS);
    }
}
