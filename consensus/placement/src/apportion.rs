//! Shares in proportion to weights, within bounds, exact.
//!
//! 1. [`shares`]: each part gets its weight's share of the total. A part whose share is outside its bounds is fixed at the
//!    bound, and the rest is shared again among the others. Of parts below and parts above their bounds, the side
//!    that is off by more is fixed first; that way no part that was fixed must ever be freed again.
//! 2. [`round`]: each gets the whole part of its share; what is left goes one by one to those with a fraction, first to
//!    those that hold more than the whole part now, then by the size of the fraction, then by place.
//!
//! So what a part gets differs from its share by less than one. Fractions are exact: shares below 2^25, weights
//! below 2^20 and at most 2^16 parts keep each product within 127 bits.

use std::cmp::Reverse;

/// One that gets a share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) weight: u64,
    /// min <= max
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// What it has now; it only decides between parts of equal right.
    pub(crate) held: u64,
}

/// `numerator / denominator`, neither negative, the latter above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) numerator: i128,
    pub(crate) denominator: i128,
}

impl Ratio {
    pub(crate) fn whole(number: u64) -> Self {
        Self { numerator: i128::from(number), denominator: 1 }
    }

    fn floor(self) -> u64 {
        (self.numerator / self.denominator) as u64
    }

    /// The fraction in units of 2^-40: enough to order them, and equal ones stay equal.
    fn fraction(self) -> i128 {
        let rest = self.numerator % self.denominator;
        // rest < denominator < 2^72, so 40 more bits fit.
        (rest << 40) / self.denominator
    }
}

/// The share of each; their sum is `total` if that lies between the sums of the bounds.
pub(crate) fn shares(total: Ratio, parts: &[Part]) -> Vec<Ratio> {
    let mut fixed: Vec<Option<u64>> = vec![None; parts.len()];
    loop {
        let taken: u64 = fixed.iter().flatten().sum();
        let free = |at: &usize| fixed[*at].is_none();
        let weight: u64 = (0..parts.len()).filter(free).map(|at| parts[at].weight).sum();
        let rest = total.numerator - i128::from(taken) * total.denominator;
        let unit = total.denominator * i128::from(weight.max(1));
        // Shares and bounds times `unit`, so that all are integers.
        let share = |at: usize| rest * i128::from(parts[at].weight);
        let below = |at: usize| (i128::from(parts[at].min) * unit - share(at)).max(0);
        let above = |at: usize| (share(at) - i128::from(parts[at].max) * unit).max(0);
        let all_below: i128 = (0..parts.len()).filter(free).map(below).sum();
        let all_above: i128 = (0..parts.len()).filter(free).map(above).sum();
        if all_below == 0 && all_above == 0 {
            return (0..parts.len())
                .map(|at| match fixed[at] {
                    Some(number) => Ratio::whole(number),
                    None => Ratio { numerator: share(at), denominator: unit },
                })
                .collect();
        }
        let to_fix: Vec<(usize, u64)> = (0..parts.len())
            .filter(free)
            .filter_map(|at| {
                if all_below >= all_above {
                    (below(at) > 0).then_some((at, parts[at].min))
                } else {
                    (above(at) > 0).then_some((at, parts[at].max))
                }
            })
            .collect();
        to_fix.into_iter().for_each(|(at, bound)| fixed[at] = Some(bound));
    }
}

/// The shares as whole numbers whose sum is `total`, which lies between the sums of the shares rounded down
/// and rounded up.
pub(crate) fn round(shares: &[Ratio], parts: &[Part], total: u64) -> Vec<u64> {
    let mut whole: Vec<u64> = shares.iter().map(|share| share.floor()).collect();
    let left = total.saturating_sub(whole.iter().sum());
    let mut order: Vec<usize> = (0..shares.len())
        .filter(|&at| shares[at].numerator % shares[at].denominator != 0)
        .collect();
    debug_assert!(left <= order.len() as u64, "more is left than there are fractions");
    order.sort_by_key(|&at| {
        (Reverse(parts[at].held > whole[at]), Reverse(shares[at].fraction()), at)
    });
    order.into_iter().take(left as usize).for_each(|at| whole[at] += 1);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(weight: u64, min: u64, max: u64) -> Part {
        Part { weight, min, max, held: 0 }
    }

    fn split(total: u64, parts: &[Part]) -> Vec<u64> {
        round(&shares(Ratio::whole(total), parts), parts, total)
    }

    #[test]
    fn what_a_bound_withholds_goes_to_the_others() {
        assert_eq!(split(12, &[part(1, 0, 99), part(2, 0, 99), part(3, 0, 99)]), [2, 4, 6]);
        assert_eq!(split(12, &[part(1, 0, 99), part(2, 0, 99), part(3, 0, 3)]), [3, 6, 3]);
        assert_eq!(split(12, &[part(1, 5, 99), part(2, 0, 99), part(3, 0, 99)]), [5, 3, 4]);
    }

    #[test]
    fn of_equals_the_one_that_holds_more_gets_what_is_left() {
        let mut parts = [part(1, 0, 9), part(1, 0, 9), part(1, 0, 9)];
        assert_eq!(split(4, &parts), [2, 1, 1]);
        parts[2].held = 2;
        assert_eq!(split(4, &parts), [1, 1, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn nothing_is_lost_and_no_bound_is_broken(
            drawn in proptest::collection::vec((1_u64..1 << 20, 0_u64..50, 0_u64..50), 1..12),
            at in 0.0..1.0,
        ) {
            let parts: Vec<Part> =
                drawn.iter().map(|&(weight, min, more)| part(weight, min, min + more)).collect();
            let (min, max): (u64, u64) =
                (parts.iter().map(|p| p.min).sum(), parts.iter().map(|p| p.max).sum());
            let total = min + ((max - min) as f64 * at) as u64;
            let got = split(total, &parts);
            prop_assert_eq!(got.iter().sum::<u64>(), total);
            for (part, got) in parts.iter().zip(got) {
                prop_assert!((part.min..=part.max).contains(&got));
            }
        }
    }
}
