//! What was found: figures, the physical figures beside them, and the bounds they are held against.

use serde::{Deserialize, Serialize};

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// Of how many operations or samples, all trials together; at least 1.
    pub(crate) n: u64,
    /// Of how many trials it is the median; 1 for a percentile of samples.
    pub(crate) trials: u32,
}

impl Figure {
    /// A figure of one trial.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &str, n: u64) -> Self {
        Self { what: what.into(), value, unit: unit.into(), n, trials: 1 }
    }
}

/// What a bound is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Worth {
    /// What the design aims at. One that is missed is told.
    Goal,
    /// What must hold. One that is missed fails the command.
    Floor,
}

/// A value that a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) worth: Worth,
    pub(crate) value: f64,
    /// Whether it is the most that the figure may be; else the least.
    pub(crate) is_most: bool,
    pub(crate) holds: bool,
}

/// One line of a section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) figure: Figure,
    pub(crate) physical: Vec<Figure>,
    pub(crate) bounds: Vec<Bound>,
}

impl Row {
    pub(crate) fn new(figure: Figure, physical: &[Figure]) -> Self {
        Self { figure, physical: physical.to_vec(), bounds: Vec::new() }
    }

    /// The figure is to be `most` at most.
    #[must_use]
    pub(crate) fn at_most(mut self, worth: Worth, most: f64) -> Self {
        let holds = self.figure.value <= most;
        self.bounds.push(Bound { worth, value: most, is_most: true, holds });
        self
    }

    /// The figure is to be `least` at least.
    #[must_use]
    pub(crate) fn at_least(mut self, worth: Worth, least: f64) -> Self {
        let holds = self.figure.value >= least;
        self.bounds.push(Bound { worth, value: least, is_most: false, holds });
        self
    }

    fn misses(&self, worth: Worth) -> bool {
        self.bounds.iter().any(|bound| bound.worth == worth && !bound.holds)
    }

    pub(crate) fn misses_goal(&self) -> bool {
        self.misses(Worth::Goal)
    }

    pub(crate) fn misses_floor(&self) -> bool {
        self.misses(Worth::Floor)
    }
}

/// The median; of an even number, the larger of the two in the middle. Zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
