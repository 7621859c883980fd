//! A logarithmic axis that always has labels.
//!
//! The axis that comes with the plotting library has a tick at each power of ten only, so a range inside one
//! decade has none. This one takes 1, 2, 5 in each decade, and fewer where they would crowd.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// A logarithmic axis.
#[derive(Clone, Debug)]
pub(super) struct LogAxis {
    /// `0 < low < high`.
    low: f64,
    high: f64,
    /// Within `low..=high`, rising.
    ticks: Vec<f64>,
}

impl LogAxis {
    /// An axis around `low..high`, a little wider, with at most `ticks_max` ticks at 1, 2, 5.
    pub(super) fn around(low: f64, high: f64, ticks_max: usize) -> Self {
        let low = if low.is_finite() { low.max(1e-3) } else { 1e-3 };
        let high = if high.is_finite() { high.max(low) } else { low };
        // A range that is hardly one gets room for at least two ticks.
        let pad = if high / low < 2.0 { 2.3 } else { 1.2 };
        let (low, high) = (low / pad, high * pad);
        Self { low, high, ticks: ticks(low, high, ticks_max) }
    }

    /// An axis from `low` to `high` with the ticks given.
    pub(super) fn with_ticks(low: f64, high: f64, ticks: Vec<f64>) -> Self {
        assert!(0.0 < low && low < high, "a logarithmic axis needs 0 < {low} < {high}");
        Self { low, high, ticks }
    }
}

/// The densest of 1-2-5, 1-5... per decade, whole decades, every so many decades that has at most
/// `ticks_max` ticks.
fn ticks(low: f64, high: f64, ticks_max: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let collect = |factors: &[f64], every: i32| -> Vec<f64> {
        (first..=last)
            .filter(|decade| decade.rem_euclid(every) == 0)
            .flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    };
    let dense = [(&[1.0, 2.0, 5.0][..], 1), (&[1.0, 3.0], 1), (&[1.0], 1), (&[1.0], 2)];
    let choices = dense.iter().map(|(factors, every)| collect(factors, *every));
    let last_resort = collect(&[1.0], 3);
    choices.into_iter().find(|ticks| ticks.len() <= ticks_max).unwrap_or(last_resort)
}

impl Ranged for LogAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let at = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        limit.0 + (f64::from(limit.1 - limit.0) * at).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_inside_one_decade_has_ticks() {
        for (low, high) in [(230.0, 870.0), (3.1, 3.2), (110.0, 111.0), (0.9, 1.1)] {
            let axis = LogAxis::around(low, high, 10);
            assert!(axis.ticks.len() >= 2, "{low}..{high}: {:?}", axis.ticks);
        }
    }

    #[test]
    fn a_wide_range_is_not_crowded() {
        for exponent in 1..12 {
            let axis = LogAxis::around(0.5, 10_f64.powi(exponent), 10);
            let count = axis.ticks.len();
            assert!((2..=10).contains(&count), "10^{exponent}: {:?}", axis.ticks);
        }
    }

    #[test]
    fn positions_are_logarithmic() {
        let axis = LogAxis::with_ticks(1.0, 10_000.0, vec![]);
        let at = |value: f64| axis.map(&value, (0, 400));
        assert_eq!((at(1.0), at(10.0), at(100.0), at(10_000.0)), (0, 100, 200, 400));
        assert_eq!(at(0.0), 0, "what is below the axis lies on its edge");
    }
}
