//! An exact zipfian sampler for any number of items and any theta, in constant time and space.
//!
//! Rejection-inversion (W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions", ACM TOMACS 6(3), 1996):
//!
//! 1. Let `H` be the integral of the hat `h(x) = x^-theta`. Draw `u` evenly between `H(n + 1/2)` and
//!    `H(3/2) - h(1)`, and let `x = H^-1(u)`.
//! 2. Round `x` to the nearest item `k`. If `k - x <= s`, accept at once;
//!    `s` is chosen so that this is right for every `k`.
//! 3. Else accept if `u >= H(k + 1/2) - h(k)`: the area under the hat that belongs to `k` has just
//!    the size `h(k)`. Otherwise draw again (fewer than one time in five).

use crate::Rng;

/// Draws ranks `1..=n` with probability proportional to `rank^-theta`.
#[derive(Clone, Debug)]
pub struct ExactZipf {
    n: u64,
    theta: f64,
    /// `H(3/2) - h(1)`, the lower end of `u`.
    low: f64,
    /// `H(n + 1/2)`, the upper end of `u`.
    high: f64,
    /// How far `x` may lie from its item and be accepted without a look at the area.
    squeeze: f64,
}

impl ExactZipf {
    /// A sampler of `1..=n`. `n >= 1` and `theta >= 0` must hold.
    pub fn new(n: u64, theta: f64) -> Self {
        assert!(n >= 1 && theta >= 0.0, "zipfian needs an item and theta >= 0");
        let low = hat_integral(1.5, theta) - 1.0;
        let high = hat_integral(n as f64 + 0.5, theta);
        let squeeze = 2.0 - inverse_integral(hat_integral(2.5, theta) - 2_f64.powf(-theta), theta);
        Self { n, theta, low, high, squeeze }
    }

    /// The next rank, `1..=n`.
    pub fn sample(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.high + rng.unit() * (self.low - self.high);
            let x = inverse_integral(u, self.theta);
            let k = ((x + 0.5) as u64).clamp(1, self.n);
            let kf = k as f64;
            if kf - x <= self.squeeze
                || u >= hat_integral(kf + 0.5, self.theta) - kf.powf(-self.theta)
            {
                return k;
            }
        }
    }
}

/// The integral of `x^-theta` from 1 to `x`: `(x^(1 - theta) - 1) / (1 - theta)`, `ln x` at theta 1.
fn hat_integral(x: f64, theta: f64) -> f64 {
    let ln = x.ln();
    ln * expm1_over((1.0 - theta) * ln)
}

/// The `x` whose integral is `u`.
fn inverse_integral(u: f64, theta: f64) -> f64 {
    // Rounding may carry the argument of `ln_1p` a hair below -1 at the far end.
    let t = (u * (1.0 - theta)).max(-1.0);
    (u * ln1p_over(t)).exp()
}

/// `(e^x - 1) / x`, and 1 at 0.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`, and 1 at 0.
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}
