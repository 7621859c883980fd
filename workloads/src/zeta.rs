//! The generalised harmonic number `zeta(n) = sum of i^-theta for i in 1..=n`, in constant time.
//!
//! 1. The first [`EXACT_TERMS`] terms are summed as they are, smallest first.
//! 2. The rest is the Euler-Maclaurin formula: the integral, half the difference of the ends, and two
//!    terms with derivatives. What is left out is below 1e-18 of the sum from the 1,000th term on.
//!
//! YCSB sums every term, which for its 10^10 takes minutes; hence its fixed constant.

/// Terms summed one by one before the formula takes over.
const EXACT_TERMS: u64 = 1_000;

/// `sum of i^-theta for i in 1..=n`, for any `theta >= 0`.
pub fn zeta(n: u64, theta: f64) -> f64 {
    let exact = n.min(EXACT_TERMS);
    let head: f64 = (1..=exact).rev().map(|i| (i as f64).powf(-theta)).sum();
    if n <= EXACT_TERMS { head } else { head + tail(exact as f64, n as f64, theta) }
}

/// `sum of i^-theta for i in m+1..=n`, for large `m`.
fn tail(m: f64, n: f64, theta: f64) -> f64 {
    let f = |x: f64| x.powf(-theta);
    let f1 = |x: f64| -theta * x.powf(-theta - 1.0);
    let f3 = |x: f64| -theta * (theta + 1.0) * (theta + 2.0) * x.powf(-theta - 3.0);
    integral(m, n, theta) + (f(n) - f(m)) / 2.0 + (f1(n) - f1(m)) / 12.0 - (f3(n) - f3(m)) / 720.0
}

/// The integral of `x^-theta` from `m` to `n`. Written with `exp_m1`, so that it loses no digits
/// when theta is near 1 and needs no case for theta = 1 but the limit.
fn integral(m: f64, n: f64, theta: f64) -> f64 {
    let a = 1.0 - theta;
    let ln = (n / m).ln();
    if (a * ln).abs() < 1e-12 { m.powf(a) * ln } else { m.powf(a) * (a * ln).exp_m1() / a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_known_ones() {
        let golden = [
            (2, 1.503_477_775_028_359_4),
            (10, 2.956_107_516_510_364),
            (100, 5.294_568_831_377_163_5),
            (1_000, 7.728_953_217_284_738),
            (10_000, 10.224_361_459_595_526),
            (100_000, 12.778_338_062_551_171),
            (1_000_000, 15.391_849_746_036_819),
            (10_000_000, 18.066_242_574_969_664),
            (100_000_000, 20.802_930_490_024_45),
            (10_000_000_000, 26.469_028_201_75),
        ];
        for (n, expected) in golden {
            let got = zeta(n, 0.99);
            assert!((got - expected).abs() < 2e-11 * expected, "n = {n}: {got} is not {expected}");
        }
    }

    #[test]
    fn the_formula_agrees_with_the_plain_sum_for_any_theta() {
        for theta in [0.0, 0.2, 0.5, 0.99, 1.0, 1.000_000_1, 1.5, 3.0] {
            let plain: f64 = (1..=54_321_u64).rev().map(|i| (i as f64).powf(-theta)).sum();
            let quick = zeta(54_321, theta);
            assert!((plain - quick).abs() < 1e-11 * plain, "theta {theta}: {plain} {quick}");
        }
    }
}
