//! Bits where they save the most reads (Dayan, Athanassoulis, Idreos, SIGMOD 2017).
//!
//! A read of an absent key looks in vain into `sum of runs_i * p_i` runs, where `p_i = e^(-b_i * ln^2 2)`
//! is the share of false positives of a filter with `b_i` bits per key. The sum is least, for
//! a given `sum of entries_i * b_i`, where one more bit saves the same everywhere: where `p_i` is
//! proportional to the entries of a run. The same bits that make a large level a little better make a
//! small one perfect.
//!
//! 1. Take all levels that hold entries, and let `e_i` be the entries of one of its runs.
//! 2. `p_i` in proportion to `e_i` means: a level has `ln(e / e_i) / ln^2 2` bits per key more than the
//!    one with the largest runs, `e`. All bits together are given, which tells how many that one has.
//! 3. If it would have less than nothing, it gets nothing. Go on without it at step 2.
//!
//! A level that holds nothing yet costs nothing. It gets what the next level below it gets that holds
//! something (a level above is smaller, so it should not have less), and the mean if there is none.

use super::{FilterBudget, LevelFill};
use std::f64::consts::LN_2;

/// Bits in proportion to the logarithm of how much smaller a level is.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonkeyBudget;

impl FilterBudget for MonkeyBudget {
    fn name(&self) -> &'static str {
        "monkey"
    }

    fn bits(&self, levels: &[LevelFill], bits_per_key_total: f64) -> Vec<f64> {
        let entries: f64 = levels.iter().map(|level| level.entries as f64).sum();
        let granted = entries * bits_per_key_total;
        let mut sharing: Vec<usize> =
            (0..levels.len()).filter(|&at| levels[at].entries > 0).collect();
        // Smallest run first, so that the one who leaves is always the last.
        sharing.sort_by(|&a, &b| run_entries(&levels[a]).total_cmp(&run_entries(&levels[b])));

        let mut bits = vec![0.0; levels.len()];
        while let Some(&largest) = sharing.last() {
            // Bits per key that a level has more than the largest, whose share solves the sum.
            let more = |at: usize| {
                (run_entries(&levels[largest]) / run_entries(&levels[at])).ln() / (LN_2 * LN_2)
            };
            let (mut keys, mut spent) = (0.0, 0.0);
            for &at in &sharing {
                keys += levels[at].entries as f64;
                spent += levels[at].entries as f64 * more(at);
            }
            let least = (granted - spent) / keys;
            if least < 0.0 {
                sharing.pop();
                continue;
            }
            for &at in &sharing {
                bits[at] = least + more(at);
            }
            break;
        }
        let mut below = bits_per_key_total;
        for (bits, level) in bits.iter_mut().zip(levels).rev() {
            if level.entries == 0 {
                *bits = below;
            }
            below = *bits;
        }
        bits
    }
}

/// Entries in one run of the level, as a mean; at least one.
fn run_entries(level: &LevelFill) -> f64 {
    (level.entries as f64 / level.runs.max(1) as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UniformBudget;

    fn fills(levels: &[(u64, usize)]) -> Vec<LevelFill> {
        levels.iter().map(|&(entries, runs)| LevelFill { entries, runs }).collect()
    }

    /// Runs that a read of an absent key looks into in vain.
    fn vain_reads(levels: &[LevelFill], bits: &[f64]) -> f64 {
        let rate = |bits: f64| (-bits * LN_2 * LN_2).exp();
        levels.iter().zip(bits).map(|(level, &bits)| level.runs as f64 * rate(bits)).sum()
    }

    #[test]
    fn three_levels_get_the_bits_of_the_paper() {
        let bits = MonkeyBudget.bits(&fills(&[(1_000, 1), (10_000, 1), (100_000, 1)]), 10.0);
        for (bits, expected) in bits.iter().zip([19.07, 14.27, 9.48]) {
            assert!((bits - expected).abs() < 0.01, "{bits} for {expected}");
        }
    }

    #[test]
    fn it_saves_what_theory_says_over_equal_bits() {
        // At size ratio 10 the vain reads fall by 32, 53 and 64 per cent with 2, 3 and 4 levels.
        for (levels, saved) in [(2, 0.32), (3, 0.53), (4, 0.64)] {
            let fills: Vec<_> =
                (0..levels).map(|n| LevelFill { entries: 10_u64.pow(n + 3), runs: 1 }).collect();
            let ours = vain_reads(&fills, &MonkeyBudget.bits(&fills, 10.0));
            let equal = vain_reads(&fills, &UniformBudget.bits(&fills, 10.0));
            assert!((1.0 - ours / equal - saved).abs() < 0.01, "{ours} against {equal}");
        }
    }

    #[test]
    fn no_shift_of_bits_between_two_levels_is_better() {
        for (levels, total) in [
            (fills(&[(4_000, 4), (9_000, 3), (70_000, 2), (1_000_000, 1)]), 8.0),
            (fills(&[(500, 1), (80_000, 8), (60_000, 1)]), 3.0),
            (fills(&[(1_000, 1), (10_000, 1), (100_000, 1)]), 0.3),
        ] {
            let bits = MonkeyBudget.bits(&levels, total);
            let best = vain_reads(&levels, &bits);
            let spent: f64 = bits.iter().zip(&levels).map(|(b, l)| b * l.entries as f64).sum();
            let granted = total * levels.iter().map(|l| l.entries as f64).sum::<f64>();
            assert!((spent / granted - 1.0).abs() < 1e-9, "everything is spent: {bits:?}");
            for (from, to) in (0..levels.len()).flat_map(|a| (0..levels.len()).map(move |b| (a, b)))
            {
                let mut moved = bits.clone();
                let some = (50.0_f64).min(bits[from] * levels[from].entries as f64);
                moved[from] -= some / levels[from].entries as f64;
                moved[to] += some / levels[to].entries as f64;
                assert!(vain_reads(&levels, &moved) >= best * (1.0 - 1e-12), "{from} to {to}");
            }
        }
    }

    #[test]
    fn with_few_bits_the_last_level_gets_none() {
        let bits = MonkeyBudget.bits(&fills(&[(1_000, 1), (10_000, 1), (100_000, 1)]), 0.3);
        assert!(bits[2] == 0.0 && bits[1] > 0.0 && bits[0] > bits[1], "{bits:?}");
    }

    #[test]
    fn an_empty_level_gets_what_the_next_one_gets() {
        let bits = MonkeyBudget.bits(&fills(&[(0, 0), (10, 1), (0, 0), (1_000, 1), (0, 0)]), 10.0);
        assert_eq!([bits[0], bits[2], bits[4]], [bits[1], bits[3], 10.0]);
        assert_eq!(MonkeyBudget.bits(&fills(&[(0, 0); 3]), 7.0), [7.0; 3]);
    }
}
