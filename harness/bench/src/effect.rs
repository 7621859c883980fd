//! The effect of one target on another: a ratio over paired blocks, its interval, and a verdict.
//!
//! 1. Each block gives one ratio `target / baseline`. Both ran the same operations under much the same conditions,
//!    so what is common to a block leaves the ratio.
//! 2. The effect is the geometric mean of the ratios: the mean of their logarithms, turned back.
//! 3. Its interval is Student's: `mean ± t(0.975, n - 1) s / √n` on the logarithms, turned back.
//! 4. `p` is exact: had the two names meant nothing, each logarithm could as well have had the other sign. Of all
//!    `2^n` choices of signs, `p` is the share whose sum is at least as far from 0 as the one that was seen.
//! 5. The verdict asks interval and `p` both, and is never given on fewer than [`BLOCKS_FOR_VERDICT`] blocks: with
//!    five, the least `p` there can be is 0.0625.
//!
//! Whether lower is better is the metric's business and not known here.

use serde::{Deserialize, Serialize};

/// Below this number of blocks everything is undecided.
pub(crate) const BLOCKS_FOR_VERDICT: usize = 6;
/// The most blocks whose `2^n` choices of signs are counted out.
pub(crate) const BLOCKS_MAX: u32 = 20;
/// Two targets that differ by less than this share are the same for every purpose.
pub(crate) const SAME_WITHIN: f64 = 0.03;
/// The largest `p` that is no accident.
const P_MAX: f64 = 0.05;
/// t(0.975) of Student's distribution with 1, 2, ... degrees of freedom: an interval that wide on both sides of the mean
/// holds the truth with a probability of 95 %.
const STUDENT: [f64; BLOCKS_MAX as usize - 1] = [
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157,
    2.228139, 2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
    2.093024,
];
/// t(0.8) with one degree of freedom less than [`BLOCKS_FOR_VERDICT`].
const STUDENT_80_OF_VERDICT: f64 = 0.919544;

/// How a target compares with its baseline. Of the metric, not of its worth: `Lower` is good for a latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// By more than [`SAME_WITHIN`], and not by accident.
    Lower,
    /// By more than [`SAME_WITHIN`], and not by accident.
    Higher,
    /// The whole interval lies within [`SAME_WITHIN`] of 1.
    Same,
    /// None of the others can be said.
    Undecided,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
            Self::Same => "same",
            Self::Undecided => "undecided",
        }
    }
}

/// What the blocks say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effect {
    /// At least 1.
    pub(crate) blocks: usize,
    /// Geometric mean of the ratios.
    pub(crate) ratio: f64,
    /// `interval.0 <= ratio <= interval.1`; one block has none.
    pub(crate) interval: Option<(f64, f64)>,
    /// Exact, two-sided; `2^(1 - blocks) <= p <= 1`.
    pub(crate) p: f64,
    pub(crate) verdict: Verdict,
}

impl Effect {
    /// The effect that pairs `(target, baseline)` show; `None` without a pair. Every value must be above 0, and there
    /// may be at most [`BLOCKS_MAX`] of them.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        assert!(pairs.len() <= BLOCKS_MAX as usize, "2^n choices of signs are counted out");
        assert!(pairs.iter().all(|&(a, b)| a > 0.0 && b > 0.0), "{pairs:?}");
        if pairs.is_empty() {
            return None;
        }
        let logs: Vec<f64> =
            pairs.iter().map(|(target, baseline)| (target / baseline).ln()).collect();
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let interval =
            half_width(&logs, mean).map(|half| ((mean - half).exp(), (mean + half).exp()));
        let (ratio, p) = (mean.exp(), sign_flip_p(&logs));
        let verdict = verdict(logs.len(), ratio, interval, p);
        Some(Self { blocks: logs.len(), ratio, interval, p, verdict })
    }
}

/// Half the width of Student's interval around the mean; `None` for a single value.
fn half_width(logs: &[f64], mean: f64) -> Option<f64> {
    let n = logs.len() as f64;
    let freedom = logs.len().checked_sub(1)?;
    let t = STUDENT.get(freedom.checked_sub(1)?)?;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    Some(t * (squares / freedom as f64 / n).sqrt())
}

/// The share of the choices of signs whose sum is as extreme as the one that was seen.
fn sign_flip_p(logs: &[f64]) -> f64 {
    let seen = logs.iter().sum::<f64>().abs();
    let size: f64 = logs.iter().map(|log| log.abs()).sum();
    // Sums that are equal on paper may differ in their last bits by the order of adding.
    let at_least = seen - 1e-9 * size;
    let extreme = count_extreme(logs, 0.0, at_least);
    extreme as f64 / f64::from(logs.len() as u32).exp2()
}

/// How many choices of signs for `logs` bring `sum` to `at_least` or beyond, on either side.
fn count_extreme(logs: &[f64], sum: f64, at_least: f64) -> u64 {
    match logs {
        [] => u64::from(sum.abs() >= at_least),
        [log, rest @ ..] => {
            count_extreme(rest, sum + log, at_least) + count_extreme(rest, sum - log, at_least)
        }
    }
}

/// The smallest difference, as a share, for which [`BLOCKS_FOR_VERDICT`] blocks give a verdict in four of five tries,
/// where `interval` is what `blocks` gave on the same machine.
///
/// Turned round, the interval tells the deviation of the blocks' logarithms; a difference is then told with probability
/// 0.8 from `(t(0.975) + t(0.8)) s / √n` on, and never below the band of [`Verdict::Same`].
pub(crate) fn smallest_told(interval: (f64, f64), blocks: usize) -> Option<f64> {
    let t = STUDENT.get(blocks.checked_sub(2)?)?;
    let deviation = (interval.1 / interval.0).ln() / 2.0 * (blocks as f64).sqrt() / t;
    let n = BLOCKS_FOR_VERDICT as f64;
    let t = STUDENT[BLOCKS_FOR_VERDICT - 2] + STUDENT_80_OF_VERDICT;
    let told = (t * deviation / n.sqrt()).exp() - 1.0;
    Some(told.max(SAME_WITHIN))
}

fn verdict(blocks: usize, ratio: f64, interval: Option<(f64, f64)>, p: f64) -> Verdict {
    let Some((low, high)) = interval.filter(|_| blocks >= BLOCKS_FOR_VERDICT) else {
        return Verdict::Undecided;
    };
    // The band is the same seen from either side: swapping target and baseline swaps nothing but the words.
    let (above, below) = (1.0 + SAME_WITHIN, 1.0 / (1.0 + SAME_WITHIN));
    if below <= low && high <= above {
        Verdict::Same
    } else if high < 1.0 && ratio < below && p <= P_MAX {
        Verdict::Lower
    } else if low > 1.0 && ratio > above && p <= P_MAX {
        Verdict::Higher
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests;
