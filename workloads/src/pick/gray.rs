//! The approximate zipfian sampler that YCSB uses (J. Gray and others, "Quickly generating
//! billion-record synthetic databases", SIGMOD 1994), with YCSB's habits.
//!
//! 1. `alpha = 1 / (1 - theta)`, `eta = (1 - (2 / n)^(1 - theta)) / (1 - zeta(2) / zeta(n))`.
//! 2. Draw `u` in `[0, 1)`. If `u * zeta(n) < 1` the rank is 0; if it is below `1 + 2^-theta`, 1.
//! 3. Else the rank is `floor(n * (eta * u - eta + 1)^alpha)`.
//!
//! Ranks 0 and 1 come out exactly; rank 2 is drawn 17 % too often, rank 3 11 %, rank 4 7 %. That is
//! part of what YCSB is, so it is kept: [`ExactZipf`](super::ExactZipf) is the one without the flaw.
//! As in YCSB, `eta` keeps the first number of items when the number grows.

use crate::{Rng, zeta};

/// Items of YCSB's scrambled zipfian: 0 to 10^10, both ends included.
pub const YCSB_ITEMS: u64 = 10_000_000_001;
/// The constant YCSB carries as the zeta of those items (0.99). Its last digits are rounding noise of
/// a plain sum; they are kept so that the draws are YCSB's.
pub const YCSB_ZETA: f64 = 26.469_028_201_783_02;
/// The skew that YCSB calls zipfian.
pub(crate) const YCSB_THETA: f64 = 0.99;

/// Draws ranks `0..n`, rank 0 most often. Theta lies in `(0, 1)`.
#[derive(Clone, Debug)]
pub struct GrayZipf {
    /// `>= 2`, and only grows.
    n: u64,
    theta: f64,
    alpha: f64,
    eta: f64,
    zeta_n: f64,
    /// `1 + 2^-theta`: below it the rank is 1.
    second: f64,
}

impl GrayZipf {
    /// A sampler of `0..n`, with `n >= 2` and `0 < theta < 1`.
    pub fn new(n: u64, theta: f64) -> Self {
        Self::with_zeta(n, theta, zeta(n, theta))
    }

    /// The sampler inside YCSB's scrambled zipfian.
    pub fn ycsb() -> Self {
        Self::with_zeta(YCSB_ITEMS, YCSB_THETA, YCSB_ZETA)
    }

    fn with_zeta(n: u64, theta: f64, zeta_n: f64) -> Self {
        assert!(n >= 2 && theta > 0.0 && theta < 1.0, "n >= 2 and 0 < theta < 1");
        let zeta_2 = zeta(2, theta);
        // With two items the third branch is never taken, and the quotient would be 0 / 0.
        let eta = if n == 2 {
            1.0
        } else {
            (1.0 - (2.0 / n as f64).powf(1.0 - theta)) / (1.0 - zeta_2 / zeta_n)
        };
        Self { n, theta, alpha: 1.0 / (1.0 - theta), eta, zeta_n, second: zeta_2 }
    }

    /// Makes it `n` items, if that is more than before.
    pub fn grow(&mut self, n: u64) {
        while self.n < n {
            self.n += 1;
            self.zeta_n += (self.n as f64).powf(-self.theta);
        }
    }

    /// The next rank, `0..n`.
    pub fn sample(&self, rng: &mut Rng) -> u64 {
        let u = rng.unit();
        let uz = u * self.zeta_n;
        if uz < 1.0 {
            0
        } else if uz < self.second {
            1
        } else {
            let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
            (rank as u64).min(self.n - 1)
        }
    }
}
