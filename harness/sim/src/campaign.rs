//! Many seeds, on all processors: each played twice, what they covered added up, and the first that breaks a law told.

mod state;

use crate::out;
use crate::seed::Game;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use state::Campaign;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most of a campaign that is lost when it is killed.
const SAVED_EVERY: Duration = Duration::from_secs(5);

/// Plays all `seeds` that the campaign in `out` has not; whether every law held.
///
/// # Errors
///
/// If there is no such protocol, or the state cannot be read or written.
pub(crate) fn run(
    game: &Game,
    seeds: Range<u64>,
    time: Duration,
    out: Option<&Path>,
    (is_json, has_to_cover): (bool, bool),
) -> Result<bool> {
    let minutes = time.as_secs_f64() / 60.0;
    let file = out.map(|out| out.join(format!("sim-{}.json", game.name())));
    let mut campaign = Campaign::new(game.name(), minutes);
    // That nothing can be kept in a folder is told before anything begins.
    if let Some(file) = &file {
        campaign = campaign.go_on(file)?;
        campaign.save(file)?;
    }
    let bar = ProgressBar::new(seeds.end - seeds.start);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} seeds {msg} {eta}")?);
    let run = Run { game, time, file, bar, state: Mutex::new((campaign, Instant::now())) };
    let next = AtomicU64::new(seeds.start);
    let take = |seed| (seed < seeds.end).then_some(seed + 1);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            while let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                run.one(seed)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| bail!("a campaign's thread panicked"))
        })
    })?;
    run.bar.finish_and_clear();
    let campaign = run.state.into_inner().unwrap_or_else(PoisonError::into_inner).0;
    if let Some(file) = &run.file {
        campaign.save(file)?;
    }
    tell(&campaign, minutes, is_json)?;
    let is_covered = campaign.zeros().is_empty();
    if has_to_cover && !is_covered {
        out::error(&format!("never occurred: {}", campaign.zeros().join(", ")));
    }
    Ok(campaign.broken.is_empty() && (is_covered || !has_to_cover))
}

/// A campaign under way.
struct Run<'a> {
    game: &'a Game,
    time: Duration,
    file: Option<PathBuf>,
    bar: ProgressBar,
    /// With when it was last saved.
    state: Mutex<(Campaign, Instant)>,
}

impl Run<'_> {
    /// Plays a seed twice, if it was not.
    fn one(&self, seed: u64) -> Result<()> {
        let Self { game, time, .. } = *self;
        let lock = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().0.has(seed) {
            self.bar.inc(1);
            return Ok(());
        }
        let begun = processor_time();
        let (mut shown, _) = game.play(seed, time, false)?;
        let took = processor_time().saturating_sub(begun);
        let (again, _) = game.play(seed, time, false)?;
        if shown.digest != again.digest {
            shown.violation = Some("two runs of the seed differ".to_owned());
        }
        if let Some(violation) = &shown.violation {
            let minutes = time.as_secs_f64() / 60.0;
            self.bar.suspend(|| out::line(&format!(
                "seed {seed}: {violation}\n  cargo run --release -p norikv-sim -- {} --minutes {minutes} --seed {seed} --explain",
                game.arguments()
            )));
        }
        let mut state = lock();
        let (campaign, saved) = &mut *state;
        campaign.add(seed, &shown, took);
        if let Some(file) = &self.file
            && saved.elapsed() >= SAVED_EVERY
        {
            campaign.save(file)?;
            *saved = Instant::now();
        }
        self.bar.inc(1);
        Ok(())
    }
}

/// What this thread has had of a processor: others on the machine do not make a world slower.
fn processor_time() -> Duration {
    let of = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(of.tv_sec as u64, of.tv_nsec as u32)
}

fn tell(campaign: &Campaign, minutes: f64, is_json: bool) -> Result<()> {
    if is_json {
        out::line(&serde_json::to_string_pretty(campaign)?);
        return Ok(());
    }
    out::line(&format!(
        "{}: {} seeds of {minutes} simulated minutes, {} broken; {:.1} simulated hours, {} proposals, {:.0}x real time per core",
        campaign.protocol,
        campaign.seeds(),
        campaign.broken.len(),
        campaign.simulated_hours,
        campaign.proposals,
        campaign.multiple()
    ));
    for (what, count) in &campaign.counts {
        out::line(&format!("  {what:20} {count:>12}"));
    }
    Ok(())
}
