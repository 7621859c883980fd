//! How many more attempts a client may make: so that an outage is not made worse by everybody asking again.
//!
//! A bucket of tokens: an attempt after the first costs one, a call that succeeds puts a tenth of one back.

use std::sync::atomic::{AtomicU32, Ordering};

/// Tenths of tokens in a full bucket.
const FULL: u32 = 1_000;
const COST: u32 = 10;
const REFUND: u32 = 1;

#[derive(Debug)]
pub(crate) struct Budget {
    /// <= FULL
    tenths: AtomicU32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tenths: AtomicU32::new(FULL) }
    }
}

impl Budget {
    /// Whether one more attempt may be made.
    pub(crate) fn spend(&self) -> bool {
        let less = |tenths: u32| tenths.checked_sub(COST);
        self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// A call has succeeded.
    pub(crate) fn refund(&self) {
        if self.tenths.load(Ordering::Relaxed) < FULL {
            let more = |tenths: u32| Some((tenths + REFUND).min(FULL));
            let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_attempts_and_then_one_for_ten_successes() {
        let budget = Budget::default();
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100);
        (0..9).for_each(|_| budget.refund());
        assert!(!budget.spend());
        budget.refund();
        assert!(budget.spend());
        (0..5_000).for_each(|_| budget.refund());
        assert_eq!(budget.tenths.load(Ordering::Relaxed), FULL);
    }
}
