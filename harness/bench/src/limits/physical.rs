//! What the machine itself takes for the least that a part could do, measured where and when the part is.
//!
//! Each is the plainest code there is for it, so that the distance between a figure and the physical one beside it is
//! what our code adds. None of them allocates while it is timed.

use super::row::{Figure, median};
use std::hint::black_box;
use std::time::Instant;

/// Trials of a figure, of which it is the median.
pub(super) const TRIALS: u32 = 5;

/// The median over trials of the nanoseconds that one of `n` operations takes.
pub(super) fn nanos(what: &str, n: u64, mut trial: impl FnMut()) -> Figure {
    let mut time = |_| {
        let began = Instant::now();
        trial();
        began.elapsed().as_nanos() as f64 / n as f64
    };
    let value = median((0..TRIALS).map(&mut time).collect());
    Figure { trials: TRIALS, ..Figure::new(what, value, "ns", n * u64::from(TRIALS)) }
}

/// Two reads of the clock, as they stand around each operation that is measured.
pub(super) fn two_clock_reads(n: u64) -> Figure {
    nanos("two reads of the clock", n, || {
        for _ in 0..n {
            let began = black_box(Instant::now());
            black_box(began.elapsed());
        }
    })
}
