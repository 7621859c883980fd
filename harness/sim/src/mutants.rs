//! The hunt for planted bugs: each has to be caught within 500 seeds, and the same seeds have to hold without it.
//!
//! `norikv-sim mutants` builds itself with the feature that plants them, into a target folder of its own, and starts that. A bug is caught by
//! a law, or by an assertion of the protocol's own. Those of the protocol are hunted in groups (ring 1), those of replicas and nodes in whole nodes (ring 2).

use crate::out;
use anyhow::{Result, bail};
use nori_consensus::mutant::Mutant;
use std::process::Command;

/// Seeds within which a bug has to be caught.
#[cfg(feature = "mutants")]
const SEEDS: u64 = 500;

/// Builds the hunt and runs it; whether everything was caught.
///
/// # Errors
///
/// If it cannot be built.
pub(crate) fn build_and_hunt(
    names: &[String],
    minutes: Option<f64>,
    seed: Option<u64>,
) -> Result<bool> {
    named(names)?;
    let target = "target/mutants";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "norikv-sim", "--features", "mutants"])
        .args(["--target-dir", target])
        .status()?;
    if !built.success() {
        bail!("the planted bugs could not be built: start this at the root of the checkout");
    }
    let hunter = format!("{target}/release/norikv-sim");
    let mut hunt = Command::new(hunter);
    hunt.arg("hunt").args(names);
    if let Some(minutes) = minutes {
        hunt.args(["--minutes", &minutes.to_string()]);
    }
    if let Some(seed) = seed {
        hunt.args(["--explain", &seed.to_string()]);
    }
    let hunted = hunt.status()?;
    Ok(hunted.success())
}

/// Hunts every planted bug; whether each was caught, and nothing without them.
#[cfg(feature = "mutants")]
pub(crate) fn hunt(names: &[String], minutes: Option<f64>) -> Result<bool> {
    let chosen = named(names)?;
    let mut is_good = true;
    for ring in [1, 2] {
        let of_ring = chosen.iter().copied().filter(|mutant| mutant.ring() == ring);
        let of_ring: Vec<Mutant> = of_ring.collect();
        if !of_ring.is_empty() {
            is_good &= hunt_in(&Ground::new(ring, minutes)?, of_ring);
        }
    }
    Ok(is_good)
}

#[cfg(feature = "mutants")]
fn hunt_in(ground: &Ground, mutants: Vec<Mutant>) -> bool {
    use nori_consensus::mutant::turn_on;
    let (mut most, mut is_good, ring) = (0, true, ground.ring);
    for mutant in mutants {
        turn_on(Some(mutant));
        let begun = std::time::Instant::now();
        match ground.first_caught(SEEDS) {
            Some((seed, by)) => {
                most = most.max(seed);
                let seconds = begun.elapsed().as_secs_f64();
                out::line(&format!("caught {} {seed} {by} {seconds:.1}s", mutant.name()));
            }
            None => {
                is_good = false;
                out::line(&format!("ESCAPED {} {SEEDS} seeds", mutant.name()));
            }
        }
    }
    turn_on(None);
    match ground.first_caught(most + 1) {
        None => {
            out::line(&format!("held: seeds 0 to {most} of ring {ring} without a planted bug"));
        }
        Some((seed, by)) => {
            is_good = false;
            out::line(&format!("BROKEN without a planted bug: seed {seed} of ring {ring} {by}"));
        }
    }
    is_good
}

/// Tells line by line what happens under `seed` with the first of these bugs; whether no law is broken.
#[cfg(feature = "mutants")]
pub(crate) fn explain(names: &[String], seed: u64, minutes: Option<f64>) -> Result<bool> {
    let chosen = named(names)?;
    let ring = chosen.first().map_or(1, |mutant| mutant.ring());
    nori_consensus::mutant::turn_on(chosen.first().copied());
    let ground = Ground::new(ring, minutes)?;
    let (shown, lines) = ground.game.play(seed, ground.time, true)?;
    lines.iter().for_each(|line| out::line(line));
    shown.violation.iter().for_each(|violation| out::error(violation));
    Ok(shown.violation.is_none())
}

/// Where bugs are hunted.
#[cfg(feature = "mutants")]
struct Ground {
    ring: u8,
    game: crate::seed::Game,
    time: std::time::Duration,
}

#[cfg(feature = "mutants")]
impl Ground {
    /// With storms of `minutes`; ten in ring 1 and one in ring 2 if it is not given: some bugs of the protocol show only where much has happened.
    fn new(ring: u8, minutes: Option<f64>) -> Result<Self> {
        let minutes = minutes.unwrap_or(if ring == 1 { 10.0 } else { 1.0 });
        let game = crate::seed::Game::new(ring, "nori")?;
        Ok(Self { ring, game, time: std::time::Duration::from_secs_f64(minutes * 60.0) })
    }
}

/// Those of these names, or all.
fn named(names: &[String]) -> Result<Vec<Mutant>> {
    let of = |name: &String| Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name);
    if let Some(unknown) = names.iter().find(|name| of(name).is_none()) {
        let all: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        bail!(out::unknown("planted bug", unknown, &all));
    }
    let chosen: Vec<Mutant> = names.iter().filter_map(of).collect();
    Ok(if chosen.is_empty() { Mutant::ALL.to_vec() } else { chosen })
}

#[cfg(feature = "mutants")]
impl Ground {
    /// The first of `seeds` seeds that is caught, and by what; on all processors.
    fn first_caught(&self, seeds: u64) -> Option<(u64, String)> {
        use std::sync::atomic::{AtomicU64, Ordering};
        let (next, found) = (AtomicU64::new(0), std::sync::Mutex::new(None::<(u64, String)>));
        let first = || found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        // Seeds are taken in order: once one is caught, only earlier ones that are under way still matter.
                        if seed >= seeds || first().is_some() {
                            break;
                        }
                        if let Some(by) = self.caught(seed) {
                            let mut first = first();
                            if first.as_ref().is_none_or(|(known, _)| seed < *known) {
                                *first = Some((seed, by));
                            }
                        }
                    }
                });
            }
        });
        found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What caught `seed`, in one word where there is one.
    fn caught(&self, seed: u64) -> Option<String> {
        match self.game.play(seed, self.time, false) {
            Ok((shown, _)) => {
                shown.violation.map(|violation| match violation.strip_prefix("at ") {
                    // Without when and where.
                    Some(_) => format!("[{}]", violation.splitn(5, ' ').last().unwrap_or_default()),
                    None => format!("[{violation}]"),
                })
            }
            Err(error) => Some(format!("[{error:#}]")),
        }
    }
}
