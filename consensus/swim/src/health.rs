//! How far a member trusts itself (Lifeguard's local health multiplier): one that misses answers is perhaps slow itself, and gives the
//! others more time.

use std::time::Duration;

/// The score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    /// score <= max
    score: u32,
    max: u32,
}

impl Health {
    pub(crate) fn new(max: u32) -> Self {
        Self { score: 0, max }
    }

    pub(crate) fn score(self) -> u32 {
        self.score
    }

    pub(crate) fn worsen(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(self.max);
        debug_assert!(self.score <= self.max);
    }

    pub(crate) fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// `patience`, as many times over as the score asks for.
    pub(crate) fn stretch(self, patience: Duration) -> Duration {
        patience.saturating_mul(self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_within_its_bounds_and_stretches_patience() {
        let mut health = Health::new(8);
        health.improve();
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(1));
        health.worsen(20);
        assert_eq!(health.score(), 8);
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(9));
        let mut none = Health::new(0);
        none.worsen(3);
        assert_eq!(none.score(), 0, "without local health awareness nothing stretches");
    }
}
