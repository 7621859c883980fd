//! `bench swim`: the failure detector in simulated worlds, against what its authors promise.
//!
//! 1. **Detection**: members crash at times that chance chooses, and it is counted in protocol periods until the first direct probe of one has no answer. Das and others ("SWIM", DSN 2002,
//!    section 3.1) expect e/(e-1) = 1.58 until somebody probes it.
//! 2. **Quiet**: ten hours in which nothing fails. Whoever is suspected then is suspected wrongly.
//! 3. **Pauses**: a tenth of the members stands still again and again, as in the interval experiments of Dadgar and others ("Lifeguard", 2018, section V). Counted are members that never
//!    stood still and were declared down all the same, with Lifeguard and without.

use crate::out;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use nori_swim::Settings;
use nori_swim::world::WorldSettings;
use nori_swim::world::measure::{
    Detection, FalsePositives, Pauses, detection, with_pauses, without_faults,
};
use serde_json::{Value, json};
use std::time::Duration;

const SIZES: [usize; 3] = [32, 64, 128];
const CRASHES: usize = 400;
const QUIET: Duration = Duration::from_secs(10 * 3_600);
const PAUSED_MEMBERS: usize = 64;
const PAUSES_MILLIS: [u64; 5] = [1_000, 4_000, 8_000, 16_000, 32_000];
const RUNS_MILLIS: [u64; 5] = [1, 16, 256, 1_000, 4_000];
const PAUSED_FOR: Duration = Duration::from_secs(600);
/// What the paper expects, and how far from it the mean may be.
const EXPECTED: f64 = 1.58;
const TOLERANCE: f64 = 0.15;
/// Lifeguard has to make wrong declarations so many times fewer.
const LIFEGUARD: usize = 10;

/// Runs it all and tells; whether everything is as promised.
///
/// # Errors
///
/// If nothing can be printed.
pub(crate) fn swim(seed: u64, is_json: bool) -> Result<bool> {
    let steps = 2 * SIZES.len() + PAUSES_MILLIS.len() * RUNS_MILLIS.len();
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}")?);
    let done = |message: &str| {
        bar.set_message(message.to_owned());
        bar.inc(1);
    };
    let detections: Vec<(usize, Detection)> = SIZES
        .into_iter()
        .map(|n| {
            done("crashes");
            (n, detection(WorldSettings::new(n, seed), CRASHES))
        })
        .collect();
    let quiet: Vec<(usize, FalsePositives)> = SIZES
        .into_iter()
        .map(|n| {
            done("ten quiet hours");
            (n, without_faults(WorldSettings::new(n, seed), QUIET))
        })
        .collect();
    let [plain, lifeguard] = paused(seed, &mut || done("pauses"));
    bar.finish_and_clear();
    let means: Vec<f64> = detections.iter().map(|(_, of)| of.failed_probe.mean).collect();
    let is_quick = means.iter().all(|mean| (mean - EXPECTED).abs() <= TOLERANCE)
        && detections.iter().all(|(_, of)| of.missed == 0);
    let is_quiet = quiet.iter().all(|(_, of)| of.suspicions == 0 && of.declarations == 0);
    let is_guarded = plain.declarations >= LIFEGUARD * lifeguard.declarations.max(1);
    if is_json {
        let detections: Vec<Value> = detections
            .iter()
            .map(|(n, of)| json!({ "members": n, "mean": of.failed_probe.mean, "error": of.failed_probe.error, "missed": of.missed }))
            .collect();
        out::line(&serde_json::to_string_pretty(&json!({
            "seed": seed, "detection_periods": detections,
            "quiet_suspicions": quiet.iter().map(|(_, of)| of.suspicions).sum::<usize>(),
            "pauses_plain": plain.declarations, "pauses_lifeguard": lifeguard.declarations,
            "held": is_quick && is_quiet && is_guarded,
        }))?);
        return Ok(is_quick && is_quiet && is_guarded);
    }
    for (n, of) in &detections {
        let (mean, error) = (of.failed_probe.mean, of.failed_probe.error);
        out::line(&format!(
            "{n:>4} members: first detection after {mean:.2} +- {error:.2} periods ({EXPECTED} +- {TOLERANCE} expected), {CRASHES} crashes, {} missed",
            of.missed
        ));
    }
    for (n, of) in &quiet {
        out::line(&format!(
            "{n:>4} members, 10 hours without a fault: {} suspicions, {} declared down",
            of.suspicions, of.declarations
        ));
    }
    out::line(&format!(
        "{PAUSED_MEMBERS} members, a tenth of them pausing: {} healthy ones declared down without Lifeguard, {} with it",
        plain.declarations, lifeguard.declarations
    ));
    Ok(is_quick && is_quiet && is_guarded)
}

/// Without Lifeguard, and as members are by default.
fn paused(seed: u64, done: &mut dyn FnMut()) -> [FalsePositives; 2] {
    let kinds = [Settings::default().without_lifeguard(), Settings::default()];
    let mut totals = [FalsePositives::default(); 2];
    for pause in PAUSES_MILLIS.map(Duration::from_millis) {
        for run in RUNS_MILLIS.map(Duration::from_millis) {
            let pauses = Pauses { percent: 10, pause, run, duration: PAUSED_FOR };
            for (settings, total) in kinds.iter().zip(&mut totals) {
                let mut world = WorldSettings::new(PAUSED_MEMBERS, seed);
                world.settings = settings.clone();
                *total = total.plus(with_pauses(world, pauses));
            }
            done();
        }
    }
    totals
}
