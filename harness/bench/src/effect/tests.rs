//! Golden values, worked out by hand.

use super::*;

/// Pairs with these ratios; the baselines differ, as those of blocks do.
fn pairs(ratios: &[f64]) -> Vec<(f64, f64)> {
    let baselines = (1..).map(|block| 100.0 * f64::from(block));
    ratios.iter().zip(baselines).map(|(ratio, baseline)| (ratio * baseline, baseline)).collect()
}

fn effect(ratios: &[f64]) -> Effect {
    Effect::of(&pairs(ratios)).unwrap()
}

fn assert_near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
}

/// With x = √ν tan θ, Student's density is cos^(ν - 1) θ but for a factor, so that |x| <= t has a probability of
/// ∫ cos^(ν - 1) from 0 to atan(t / √ν), divided by the same from 0 to π / 2. Simpson's rule sums it.
#[test]
fn the_quantiles_enclose_95_percent_of_students_distribution() {
    let integral = |power: i32, end: f64| {
        const STEPS: u32 = 2_000;
        let weight = |step| match step {
            0 | STEPS => 1.0,
            odd if odd % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let value = |step| (end * f64::from(step) / f64::from(STEPS)).cos().powi(power);
        (0..=STEPS).map(|step| weight(step) * value(step)).sum::<f64>() * end
            / f64::from(STEPS)
            / 3.0
    };
    for (freedom, t) in (1..).zip(STUDENT) {
        let angle = (t / f64::from(freedom).sqrt()).atan();
        let inside =
            integral(freedom - 1, angle) / integral(freedom - 1, std::f64::consts::FRAC_PI_2);
        assert!((inside - 0.95).abs() < 1e-6, "{freedom} degrees of freedom: {inside}");
    }
    // As printed in tables.
    assert_eq!(
        [1, 5, 9].map(|freedom| (STUDENT[freedom - 1] * 1e4).round()),
        [127_062.0, 25_706.0, 22_622.0]
    );
}

/// Ratios 2, 2, 2, 4, 4, 4. Their logarithms to base 2 are 1, 1, 1, 2, 2, 2: mean 1.5, s² = 6 · 0.25 / 5 = 0.3,
/// s / √6 = √0.05 = 0.2236068, times t(0.975, 5) = 2.570582 is 0.5747996. So the ratio is 2^1.5 = 2.828427, the
/// interval 2^0.9252004 = 1.898948 to 2^2.0747996 = 4.212859. All signs are positive: 2 of 64 choices.
#[test]
fn an_effect_is_what_it_is_on_paper() {
    let found = effect(&[2.0, 4.0, 2.0, 4.0, 2.0, 4.0]);
    let (low, high) = found.interval.unwrap();
    assert_near(found.ratio, 2.828_427);
    assert_near(low, 1.898_948);
    assert_near(high, 4.212_859);
    assert_eq!((found.blocks, found.p, found.verdict), (6, 2.0 / 64.0, Verdict::Higher));
}

#[test]
fn the_other_way_round_everything_is_turned_over() {
    let ratios = [0.8, 0.9, 0.7, 0.85, 0.95, 0.75, 0.6];
    let there = effect(&ratios);
    let back = effect(&ratios.map(|ratio| 1.0 / ratio));
    assert_near(back.ratio, 1.0 / there.ratio);
    assert_near(back.interval.unwrap().0, 1.0 / there.interval.unwrap().1);
    assert_eq!(there.p, back.p);
    assert_eq!((there.verdict, back.verdict), (Verdict::Lower, Verdict::Higher));
}

/// Logarithms 1, 2, 3 with one sign turned: the sum 1 + 2 - 3 = 0 is reached or passed by all; 3 + 2 - 1 = 4 by ±4
/// and ±6, 4 of 8; 1 + 2 + 3 = 6 by 2 of 8.
#[test]
fn p_counts_the_choices_of_signs() {
    assert_eq!(sign_flip_p(&[1.0, 2.0, -3.0]), 1.0);
    assert_eq!(sign_flip_p(&[-1.0, 2.0, 3.0]), 0.5);
    assert_eq!(sign_flip_p(&[-1.0, -2.0, -3.0]), 0.25);
    assert_eq!(sign_flip_p(&[0.5]), 1.0);
    // 0.1 + 0.2 is not 0.3 in binary, and still as extreme.
    assert_eq!(sign_flip_p(&[0.1, 0.2, -0.3]), 1.0);
    assert_eq!(sign_flip_p(&[1.0; BLOCKS_MAX as usize]), 2.0 / 1_048_576.0);
}

#[test]
fn five_blocks_decide_nothing_and_one_has_no_interval() {
    assert_eq!(effect(&[0.5; 5]).verdict, Verdict::Undecided);
    assert_eq!(effect(&[0.5; 6]).verdict, Verdict::Lower);
    let one = effect(&[0.5]);
    assert_eq!((one.interval, one.p, one.verdict), (None, 1.0, Verdict::Undecided));
    assert_eq!(Effect::of(&[]), None);
}

#[test]
fn what_is_within_the_band_is_the_same_even_if_it_differs_surely() {
    let sure = effect(&[1.010, 1.012, 1.011, 1.009, 1.010, 1.011]);
    assert!(sure.interval.unwrap().0 > 1.0 && sure.p < P_MAX);
    assert_eq!(sure.verdict, Verdict::Same);
    // Just beyond the band, but the interval reaches into it: more than 3 % cannot be said, nor less.
    let near = effect(&[1.01, 1.05, 1.02, 1.04, 1.01, 1.04]);
    assert!(near.interval.unwrap().0 > 1.0 && near.ratio < 1.0 + SAME_WITHIN);
    assert_eq!(near.verdict, Verdict::Undecided);
    assert_eq!(effect(&[0.5, 2.0, 0.9, 1.1, 3.0, 0.2]).verdict, Verdict::Undecided);
}

/// Five ratios far below 1 and one above: the interval and `p` must both agree before anything is said.
#[test]
fn an_interval_alone_is_not_enough() {
    assert_eq!(verdict(6, 0.9, Some((0.8, 0.99)), 0.0625), Verdict::Undecided);
    assert_eq!(verdict(6, 0.9, Some((0.8, 0.99)), 0.03125), Verdict::Lower);
    assert_eq!(verdict(6, 0.9, Some((0.8, 1.01)), 0.03125), Verdict::Undecided);
}

/// Logarithms with a deviation of 0.1 in six blocks: (2.570582 + 0.919544) · 0.1 / √6 = 0.142484, and e to that is 1.153135.
#[test]
fn the_smallest_difference_that_is_told_follows_from_the_deviation_and_from_nothing_else() {
    let interval = |blocks: usize| {
        let half = STUDENT[blocks - 2] * 0.1 / (blocks as f64).sqrt();
        ((0.5 - half).exp(), (0.5 + half).exp())
    };
    assert_near(smallest_told(interval(6), 6).unwrap(), 0.153_135);
    assert_near(smallest_told(interval(12), 12).unwrap(), 0.153_135);
    assert_eq!(smallest_told((0.999, 1.001), 6), Some(SAME_WITHIN));
    assert_eq!((smallest_told((0.9, 1.1), 1), smallest_told((0.9, 1.1), 0)), (None, None));
}

/// The quantile that no table of the others holds: 80 % lie below it, so 60 % between it and its opposite. With five
/// degrees of freedom and tan θ = t / √5 that share is 2 / π (θ + sin θ (cos θ + 2 / 3 cos³ θ)).
#[test]
fn four_fifths_of_students_distribution_lie_below_the_quantile_of_power() {
    let angle = (STUDENT_80_OF_VERDICT / 5_f64.sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let inside = std::f64::consts::FRAC_2_PI * (angle + sin * (cos + 2.0 / 3.0 * cos.powi(3)));
    assert!((inside - 0.6).abs() < 1e-6, "{inside}");
}
