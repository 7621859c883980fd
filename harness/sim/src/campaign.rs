//! Many seeds, on all processors: each played twice, what they covered added up, and the first that breaks a law told.

use crate::out;
use crate::seed::{Shown, play};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What must have happened, or the campaign shows nothing.
const EXPECTED: [&str; 28] = [
    "append message",
    "candidate",
    "clock",
    "crash",
    "cut",
    "death at a write",
    "disk failed",
    "entries forgotten",
    "follower",
    "halted",
    "heartbeat",
    "hunt",
    "leader",
    "learner",
    "log cold",
    "message damaged",
    "message lost",
    "message overtook",
    "message repeated",
    "other message",
    "pause",
    "pre-candidate",
    "snapshot installed",
    "snapshot shipped",
    "torn install",
    "vote message",
    "peer down",
    "peer up",
];

/// What a protocol cannot show: it has no such thing.
fn lacking(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "raft-rs" => &["entries forgotten"],
        // It asks whether it would win, and says nothing of it.
        "openraft" => &["entries forgotten", "pre-candidate"],
        _ => &[],
    }
}

/// The state of a campaign.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Campaign {
    protocol: String,
    minutes_per_seed: f64,
    /// Seeds that kept every law, as ranges without their end.
    kept: Vec<(u64, u64)>,
    seeds: u64,
    simulated_hours: f64,
    proposals: u64,
    /// Processor time of the first of both runs.
    core_seconds: f64,
    counts: BTreeMap<String, u64>,
    broken: BTreeMap<u64, String>,
}

impl Campaign {
    fn has(&self, seed: u64) -> bool {
        self.kept.iter().any(|(from, upto)| (*from..*upto).contains(&seed))
    }

    fn add(&mut self, seed: u64, shown: &Shown, took: Duration) {
        self.seeds += 1;
        self.simulated_hours += shown.simulated_ms as f64 / 3_600_000.0;
        self.proposals += shown.proposals;
        self.core_seconds += took.as_secs_f64();
        for (what, count) in &shown.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
        match &shown.violation {
            Some(violation) => {
                self.broken.insert(seed, violation.clone());
            }
            None => self.keep(seed),
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

    /// How much faster than real time a core was.
    fn multiple(&self) -> f64 {
        self.simulated_hours * 3_600.0 / self.core_seconds.max(1e-9)
    }

    fn zeros(&self) -> Vec<&'static str> {
        let lacking = lacking(&self.protocol);
        let is_missing = |what: &&str| !self.counts.contains_key(*what) && !lacking.contains(what);
        EXPECTED.into_iter().filter(is_missing).collect()
    }
}

/// Plays all `seeds` that the campaign in `out` has not; whether every law held.
///
/// # Errors
///
/// If there is no such protocol, or the state cannot be read or written.
pub(crate) fn run(
    protocol: &str,
    seeds: Range<u64>,
    time: Duration,
    out: Option<&Path>,
    (is_json, has_to_cover): (bool, bool),
) -> Result<bool> {
    let file = out.map(|out| out.join(format!("sim-{protocol}.json")));
    let minutes = time.as_secs_f64() / 60.0;
    let fresh = Campaign {
        protocol: protocol.to_owned(),
        minutes_per_seed: minutes,
        ..Campaign::default()
    };
    let campaign = match &file {
        Some(file) if file.exists() => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("reading {}", file.display()))?;
            let known: Campaign = serde_json::from_str(&text)
                .with_context(|| format!("{} is no campaign", file.display()))?;
            if known.minutes_per_seed == minutes { known } else { fresh }
        }
        _ => fresh,
    };
    // An unknown name is told before anything begins.
    play(protocol, seeds.start, Duration::from_millis(1), false)?;
    let bar = ProgressBar::new(seeds.end - seeds.start);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} seeds {msg} {eta}")?);
    let (next, campaign) = (AtomicU64::new(seeds.start), Mutex::new(campaign));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    one(protocol, seed, time, &campaign, &bar);
                }
            });
        }
    });
    bar.finish_and_clear();
    let campaign = campaign.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(file) = &file {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(file, serde_json::to_string_pretty(&campaign)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    tell(&campaign, minutes, is_json)?;
    let is_covered = campaign.zeros().is_empty();
    if has_to_cover && !is_covered {
        out::error(&format!("never occurred: {}", campaign.zeros().join(", ")));
    }
    Ok(campaign.broken.is_empty() && (is_covered || !has_to_cover))
}

/// Plays a seed twice.
fn one(protocol: &str, seed: u64, time: Duration, campaign: &Mutex<Campaign>, bar: &ProgressBar) {
    let lock = || campaign.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !lock().has(seed) {
        let begun = Instant::now();
        let first = play(protocol, seed, time, false);
        let took = begun.elapsed();
        let second = play(protocol, seed, time, false);
        if let (Ok((mut shown, _)), Ok((again, _))) = (first, second) {
            if shown.digest != again.digest {
                shown.violation = Some("two runs of the seed differ".to_owned());
            }
            if let Some(violation) = &shown.violation {
                let minutes = time.as_secs_f64() / 60.0;
                bar.suspend(|| out::line(&format!(
                    "seed {seed}: {violation}\n  cargo run --release -p norikv-sim -- --protocol {protocol} --minutes {minutes} --seed {seed} --explain"
                )));
            }
            lock().add(seed, &shown, took);
        }
    }
    bar.inc(1);
}

fn tell(campaign: &Campaign, minutes: f64, is_json: bool) -> Result<()> {
    if is_json {
        out::line(&serde_json::to_string_pretty(campaign)?);
        return Ok(());
    }
    out::line(&format!(
        "{}: {} seeds of {minutes} simulated minutes, {} broken; {:.1} simulated hours, {} proposals, {:.0}x real time per core",
        campaign.protocol,
        campaign.seeds,
        campaign.broken.len(),
        campaign.simulated_hours,
        campaign.proposals,
        campaign.multiple()
    ));
    for (what, count) in &campaign.counts {
        out::line(&format!("  {what:20} {count:>12}"));
    }
    for what in campaign.zeros() {
        out::line(&format!("  {what:20} {:>12}", 0));
    }
    Ok(())
}
