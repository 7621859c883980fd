//! The hunt for planted bugs: each has to be caught within 500 seeds, and the same seeds have to hold without it.
//!
//! `norikv-sim mutants` builds itself with the feature that plants them, into a target folder of its own, and starts that. A bug is caught by
//! a law, or by an assertion of the protocol's own.

#[cfg(feature = "mutants")]
use crate::out;
use anyhow::{Result, bail};
use std::process::Command;

/// Seeds within which a bug has to be caught.
#[cfg(feature = "mutants")]
const SEEDS: u64 = 500;

/// Builds the hunt and runs it; whether everything was caught.
///
/// # Errors
///
/// If it cannot be built.
pub(crate) fn build_and_hunt(minutes: f64) -> Result<bool> {
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
    let hunted = Command::new(hunter).args(["hunt", "--minutes", &minutes.to_string()]).status()?;
    Ok(hunted.success())
}

/// Hunts every planted bug; whether each was caught, and nothing without them.
#[cfg(feature = "mutants")]
pub(crate) fn hunt(minutes: f64) -> Result<bool> {
    use nori_consensus::mutant::{Mutant, turn_on};
    use std::time::Duration;
    let time = Duration::from_secs_f64(minutes * 60.0);
    // An assertion that fails is a catch, and not worth a page.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut most, mut is_good) = (0, true);
    for mutant in Mutant::ALL {
        turn_on(Some(*mutant));
        let begun = std::time::Instant::now();
        match (0..SEEDS).find_map(|seed| Some((seed, caught(seed, time)?))) {
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
    match (0..=most).find_map(|seed| Some((seed, caught(seed, time)?))) {
        None => out::line(&format!("held: seeds 0 to {most} without a planted bug")),
        Some((seed, by)) => {
            is_good = false;
            out::line(&format!("BROKEN without a planted bug: seed {seed} {by}"));
        }
    }
    Ok(is_good)
}

/// What caught `seed`, in one word where there is one.
#[cfg(feature = "mutants")]
fn caught(seed: u64, time: std::time::Duration) -> Option<String> {
    let played = std::panic::catch_unwind(|| crate::seed::play("nori", seed, time, false));
    match played {
        Ok(Ok((shown, _))) => shown.violation.map(|violation| {
            let what = violation.splitn(5, ' ').last().unwrap_or_default();
            format!("[{what}]")
        }),
        Ok(Err(error)) => Some(format!("[{error:#}]")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("[assertion: {}]", text.unwrap_or("").lines().next().unwrap_or("")))
        }
    }
}
