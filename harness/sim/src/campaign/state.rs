//! What a campaign has shown so far, and its file: written anew beside the old one, then put in its place.

use crate::out;
use crate::seed::Shown;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The state of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Campaign {
    pub(super) protocol: String,
    pub(super) minutes_per_seed: f64,
    /// Seeds that kept every law, as ranges without their end; none is in two. All that follows is of these.
    kept: Vec<(u64, u64)>,
    pub(super) simulated_hours: f64,
    pub(super) proposals: u64,
    /// Processor time of the first of both runs.
    core_seconds: f64,
    pub(super) counts: BTreeMap<String, u64>,
    /// Seeds that broke a law, and how.
    pub(super) broken: BTreeMap<u64, String>,
}

impl Campaign {
    pub(super) fn new(protocol: &str, minutes_per_seed: f64) -> Self {
        Self { protocol: protocol.to_owned(), minutes_per_seed, ..Self::default() }
    }

    /// That in `file`, if there is one; seeds that broke a law are played again.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is of other seeds than this.
    pub(super) fn go_on(self, file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(self);
        }
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
        let known: Self =
            serde_json::from_str(&text).with_context(|| format!("{shown} is no campaign"))?;
        if (&known.protocol, known.minutes_per_seed) != (&self.protocol, self.minutes_per_seed) {
            bail!(
                "{shown} is of seeds of {} minutes of {}, not of {} of {}: name another folder with --out",
                known.minutes_per_seed,
                known.protocol,
                self.minutes_per_seed,
                self.protocol
            );
        }
        if known.kept.iter().any(|(from, upto)| from >= upto) {
            bail!("{shown} is no campaign: a range of seeds has no seed");
        }
        Ok(Self { broken: BTreeMap::new(), ..known })
    }

    /// Writes the state to `file`.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        out::keep(self, file)
    }

    pub(super) fn has(&self, seed: u64) -> bool {
        self.kept.iter().any(|(from, upto)| (*from..*upto).contains(&seed))
    }

    /// Takes note of a seed that was played for the first time, which took so much processor time.
    pub(super) fn add(&mut self, seed: u64, shown: &Shown, took: Duration) {
        debug_assert!(!self.has(seed));
        if let Some(violation) = &shown.violation {
            self.broken.insert(seed, violation.clone());
            return;
        }
        self.keep(seed);
        self.simulated_hours += shown.simulated_ms as f64 / 3_600_000.0;
        self.proposals += shown.proposals;
        self.core_seconds += took.as_secs_f64();
        for (what, count) in &shown.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    fn keep(&mut self, seed: u64) {
        self.kept.push((seed, seed + 1));
        self.kept.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (from, upto) in self.kept.drain(..) {
            match joined.last_mut().filter(|last| last.1 >= from) {
                Some(last) => last.1 = last.1.max(upto),
                None => joined.push((from, upto)),
            }
        }
        self.kept = joined;
    }

    /// How many seeds were played.
    pub(super) fn seeds(&self) -> u64 {
        let kept: u64 = self.kept.iter().map(|(from, upto)| upto - from).sum();
        kept + self.broken.len() as u64
    }

    /// How much faster than real time a core was.
    pub(super) fn multiple(&self) -> f64 {
        self.simulated_hours * 3_600.0 / self.core_seconds.max(1e-9)
    }

    /// What never happened, but for what this protocol lacks.
    pub(super) fn zeros(&self) -> Vec<&str> {
        let lacking = lacking(&self.protocol);
        let is_missing = |what: &&str| !lacking.contains(what);
        let zeros = self.counts.iter().filter(|(_, count)| **count == 0);
        zeros.map(|(what, _)| what.as_str()).filter(is_missing).collect()
    }
}

/// What a protocol cannot show: it has no such thing. None here asks its driver for a snapshot: a shipment takes the state as it is.
fn lacking(protocol: &str) -> &'static [&'static str] {
    match protocol {
        // What goes with a snapshot is no message of its own.
        "nori" => &["snapshot built", "snapshot message"],
        "raft-rs" => &["asleep", "snapshot built", "snapshot message", "entries forgotten"],
        // It asks whether it would win, and says nothing of it.
        "openraft" => &["asleep", "snapshot built", "entries forgotten", "pre-candidate"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(violation: Option<&str>) -> Shown {
        let counts = BTreeMap::from([("crash".to_owned(), 2), ("pause".to_owned(), 0)]);
        let violation = violation.map(str::to_owned);
        Shown { digest: 1, simulated_ms: 3_600_000, proposals: 10, counts, violation }
    }

    #[test]
    fn seeds_that_held_are_kept_and_no_other_counts() {
        let mut campaign = Campaign::new("nori", 1.0);
        for seed in [4, 2, 3, 9] {
            campaign.add(seed, &shown(None), Duration::from_secs(1));
        }
        campaign.add(5, &shown(Some("two lead")), Duration::from_secs(1));
        assert_eq!(campaign.kept, [(2, 5), (9, 10)]);
        assert_eq!((campaign.seeds(), campaign.proposals, campaign.counts["crash"]), (5, 40, 8));
        assert!((campaign.multiple() - 3_600.0).abs() < 1e-6, "{}", campaign.multiple());
        assert_eq!(campaign.zeros(), ["pause"]);
    }

    #[test]
    fn a_file_goes_on_for_the_same_kind_of_seeds_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("to/sim-nori.json");
        let mut campaign = Campaign::new("nori", 1.0).go_on(&file).unwrap();
        campaign.add(0, &shown(None), Duration::from_secs(1));
        campaign.add(1, &shown(Some("two lead")), Duration::from_secs(1));
        campaign.save(&file).unwrap();
        let known = Campaign::new("nori", 1.0).go_on(&file).unwrap();
        assert!(known.has(0) && !known.has(1) && known.broken.is_empty());
        for (other, why) in
            [(Campaign::new("nori", 2.0), "of 1 minutes"), (Campaign::new("solo", 1.0), "of nori")]
        {
            let error = other.go_on(&file).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("--out"), "{error}");
        }
        std::fs::write(&file, "{\"kept\": 3").unwrap();
        let error = format!("{:#}", Campaign::new("nori", 1.0).go_on(&file).unwrap_err());
        assert!(error.contains("is no campaign"), "{error}");
    }
}
