//! The hunt for planted bugs: each has to be caught within 500 seeds, and the same seeds have to hold without it.
//!
//! `norikv-sim mutants` builds itself with the feature that plants them, into a target folder of its own, and starts that. A bug is caught by
//! a law, or by an assertion of the protocol's own.

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
pub(crate) fn build_and_hunt(names: &[String], minutes: f64, seed: Option<u64>) -> Result<bool> {
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
    hunt.args(["hunt", "--minutes", &minutes.to_string()]).args(names);
    if let Some(seed) = seed {
        hunt.args(["--explain", &seed.to_string()]);
    }
    let hunted = hunt.status()?;
    Ok(hunted.success())
}

/// Hunts every planted bug; whether each was caught, and nothing without them.
#[cfg(feature = "mutants")]
pub(crate) fn hunt(names: &[String], minutes: f64) -> Result<bool> {
    use nori_consensus::mutant::turn_on;
    use std::time::Duration;
    let time = Duration::from_secs_f64(minutes * 60.0);
    let chosen = named(names)?;
    let (mut most, mut is_good) = (0, true);
    for mutant in chosen {
        turn_on(Some(mutant));
        let begun = std::time::Instant::now();
        match first_caught(SEEDS, time) {
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
    match first_caught(most + 1, time) {
        None => out::line(&format!("held: seeds 0 to {most} without a planted bug")),
        Some((seed, by)) => {
            is_good = false;
            out::line(&format!("BROKEN without a planted bug: seed {seed} {by}"));
        }
    }
    Ok(is_good)
}

/// Tells line by line what happens under `seed` with the first of these bugs; whether no law is broken.
#[cfg(feature = "mutants")]
pub(crate) fn explain(names: &[String], seed: u64, minutes: f64) -> Result<bool> {
    let chosen = named(names)?;
    nori_consensus::mutant::turn_on(chosen.first().copied());
    let time = std::time::Duration::from_secs_f64(minutes * 60.0);
    let (shown, lines) = crate::seed::play("nori", seed, time, true)?;
    lines.iter().for_each(|line| out::line(line));
    shown.violation.iter().for_each(|violation| out::error(violation));
    Ok(shown.violation.is_none())
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

/// The first of `seeds` seeds that is caught, and by what; on all processors.
#[cfg(feature = "mutants")]
fn first_caught(seeds: u64, time: std::time::Duration) -> Option<(u64, String)> {
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
                    if let Some(by) = caught(seed, time) {
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
#[cfg(feature = "mutants")]
fn caught(seed: u64, time: std::time::Duration) -> Option<String> {
    match crate::seed::play("nori", seed, time, false) {
        Ok((shown, _)) => shown.violation.map(|violation| match violation.strip_prefix("at ") {
            // Without when and where.
            Some(_) => format!("[{}]", violation.splitn(5, ' ').last().unwrap_or_default()),
            None => format!("[{violation}]"),
        }),
        Err(error) => Some(format!("[{error:#}]")),
    }
}
