//! What a reading of the clock costs, and how small a time it can tell. Every service time has one reading in it.

use serde::Serialize;
use std::time::Instant;

const READINGS: usize = 200_000;
/// Readings that a system call makes cost several times as much as those from the processor's own counter.
const COST_NANOS_MAX: f64 = 200.0;
/// A coarser clock does not tell one cached read from another.
const RESOLUTION_NANOS_MAX: u64 = 1_000;

/// The clock that the harness measures with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Clock {
    /// Where the kernel has it from.
    source: Option<String>,
    /// Mean of one reading.
    cost_nanos: f64,
    /// The smallest difference other than 0 of readings that follow each other; with a clock finer than its cost, the
    /// quickest reading.
    resolution_nanos: u64,
}

impl Clock {
    pub(super) fn measure() -> Self {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let began = Instant::now();
        let (mut last, mut resolution_nanos) = (began, u64::MAX);
        for _ in 0..READINGS {
            let now = Instant::now();
            let step = now.duration_since(last).as_nanos() as u64;
            if step > 0 {
                resolution_nanos = resolution_nanos.min(step);
            }
            last = now;
        }
        Self {
            source: std::fs::read_to_string(source).ok().map(|name| name.trim().to_owned()),
            cost_nanos: last.duration_since(began).as_nanos() as f64 / READINGS as f64,
            resolution_nanos,
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.cost_nanos > COST_NANOS_MAX {
            let of = self.source.as_deref().map_or(String::new(), |name| format!(" ({name})"));
            all.push(format!(
                "a reading of the clock{of} costs {:.0} ns, which is part of every service time",
                self.cost_nanos
            ));
        }
        if self.resolution_nanos > RESOLUTION_NANOS_MAX {
            all.push(format!("the clock tells no less than {} ns", self.resolution_nanos));
        }
        all
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let source = self.source.as_deref().unwrap_or("source not told");
        format!(
            "{source}: {:.0} ns a reading, steps of {} ns and more",
            self.cost_nanos, self.resolution_nanos
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_costs_something_and_tells_less_than_a_millisecond() {
        let clock = Clock::measure();
        assert!(clock.cost_nanos > 0.1, "{clock:?}");
        assert!((1..1_000_000).contains(&clock.resolution_nanos), "{clock:?}");
    }

    #[test]
    fn a_slow_and_a_coarse_clock_are_warned_of() {
        let clock = Clock { source: Some("hpet".into()), cost_nanos: 30.0, resolution_nanos: 20 };
        assert!(clock.warnings().is_empty());
        let slow = Clock { cost_nanos: 700.0, ..clock.clone() }.warnings();
        assert!(slow.len() == 1 && slow[0].contains("(hpet) costs 700 ns"), "{slow:?}");
        let coarse = Clock { resolution_nanos: 4_000_000, ..clock }.warnings();
        assert!(coarse.len() == 1 && coarse[0].contains("4000000 ns"), "{coarse:?}");
    }
}
