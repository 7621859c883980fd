//! What was covered, over all runs.

use super::clients::Load;
use super::faults::Kind;
use crate::out;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) minutes: f64,
    pub(super) operations: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// Calls that failed while an operator did something on purpose.
    pub(super) failed_on_purpose: u64,
    faults: BTreeMap<String, u64>,
    longest_without_ack_ms: f64,
    slowest_call_ms: f64,
    /// From the death of a leader to the first write that was acknowledged by the next.
    pub(super) failovers_ms: Vec<f64>,
    pub(super) broken: Vec<String>,
}

impl Tally {
    pub(super) fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file.filter(|file| file.exists()) else { return Ok(Self::default()) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no tally", file.display()))
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        out::keep(self, file)
    }

    pub(super) fn count(&mut self, kind: Kind) {
        *self.faults.entry(kind.name().to_owned()).or_default() += 1;
    }

    pub(super) fn times(&self, kind: Kind) -> u64 {
        self.faults.get(kind.name()).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, time: Duration, load: &Load) {
        let ((failed, unknown), (longest, slowest)) = (load.failures(), load.longest());
        self.minutes += time.as_secs_f64() / 60.0;
        self.operations += load.operations();
        (self.failed, self.unknown) = (self.failed + failed, self.unknown + unknown);
        self.longest_without_ack_ms = self.longest_without_ack_ms.max(longest.as_secs_f64() * 1e3);
        self.slowest_call_ms = self.slowest_call_ms.max(slowest.as_secs_f64() * 1e3);
    }

    pub(super) fn tell(&self, is_json: bool) -> Result<()> {
        if is_json {
            out::line(&serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        out::line(&format!(
            "{:.1} minutes, {} operations ({:.0} a second), {} failed, of {} nobody knows",
            self.minutes,
            self.operations,
            self.operations as f64 / (self.minutes * 60.0).max(1e-9),
            self.failed,
            self.unknown
        ));
        for kind in Kind::ALL {
            out::line(&format!("  {:34} {:>5}", kind.name(), self.times(kind)));
        }
        out::line(&format!(
            "longest without an acknowledged write {:.0} ms; slowest call {:.0} ms; {} calls failed while an operator did something",
            self.longest_without_ack_ms, self.slowest_call_ms, self.failed_on_purpose
        ));
        if !self.failovers_ms.is_empty() {
            let mut sorted = self.failovers_ms.clone();
            sorted.sort_by(f64::total_cmp);
            let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
            out::line(&format!(
                "leader killed to first acknowledged write: p50 {:.0} ms, p99 {:.0} ms, of {}",
                at(0.5),
                at(0.99),
                sorted.len()
            ));
        }
        self.broken.iter().for_each(|what| out::error(&format!("broken: {what}")));
        Ok(())
    }
}
