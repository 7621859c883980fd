//! The seam that shares filter bits among levels.
//!
//! A level's bits per key decide how often its runs are read in vain. Most keys are in the last
//! level, so a bit per key there costs as much memory as ten in the level above: where the bits go
//! is worth deciding (Monkey, SIGMOD 2017).

use std::fmt;

mod monkey;

pub use monkey::MonkeyBudget;

/// How much a level holds, as a budget sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelFill {
    /// Entries in all tables of the level.
    pub entries: u64,
    /// Sorted runs in the level; a read may probe each of them.
    pub runs: usize,
}

/// Decides the bits per key of each level.
///
/// # Contract
///
/// * The answer has one number for each level given, in the same order, finite and not negative.
/// * The tree's filters keep within the budget: the mean of the answer, weighted by entries, is at
///   most `bits_per_key_total` (where there are entries at all).
/// * A pure function of its arguments.
pub trait FilterBudget: fmt::Debug + Send + Sync {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;

    /// Bits per key for each of `levels` (level 0 first), if the whole tree may spend
    /// `bits_per_key_total` bits for each of its entries.
    fn bits(&self, levels: &[LevelFill], bits_per_key_total: f64) -> Vec<f64>;
}

/// The same bits per key everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformBudget;

impl FilterBudget for UniformBudget {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn bits(&self, levels: &[LevelFill], bits_per_key_total: f64) -> Vec<f64> {
        vec![bits_per_key_total; levels.len()]
    }
}
