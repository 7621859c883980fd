//! The power fails, or a call does, at every event of the file system, in rotation, truncation, rewriting and opening: what was
//! synced is there, and of what was appended after it a beginning.

use super::model::{Model, SHARDS};
use super::{DIR, Suite};
use crate::Result;
use nori_consensus::chance::Chance;
use nori_env::{FaultFs, FaultPlan, MemFs, PowerLoss};
use std::path::Path;
use std::sync::Arc;

/// What was appended, batch by batch, and how much of it was synced.
struct Course {
    states: Vec<Model>,
    synced: usize,
}

impl Course {
    fn new() -> Self {
        Self { states: vec![Model::default()], synced: 0 }
    }

    fn all_is_synced(&mut self) {
        self.synced = self.states.len() - 1;
    }
}

/// Writes, syncs, purges, rewrites and opens anew as the seed has it, until something fails or it is over.
fn play(suite: &Suite<'_>, fs: &FaultFs, seed: u64, course: &mut Course) -> Result<()> {
    let (dir, mut chance) = (Path::new(DIR), Chance::new(seed));
    for _ in 0..3 {
        let log = (suite.open)(Arc::new(fs.clone()), dir)?;
        // Opening makes safe what it found.
        course.all_is_synced();
        let mut marks = Vec::new();
        for _ in 0..25 {
            let (batch, next) = course.states[course.states.len() - 1].draw(&mut chance);
            // A batch whose append failed may be there, or not.
            course.states.push(next);
            marks.push(log.append(batch)?);
            if chance.hits(300_000) {
                marks.drain(..).try_for_each(|mark| log.sync(&mark))?;
                course.all_is_synced();
            }
            if chance.hits(100_000) {
                for pin in log.purge()? {
                    log.rewrite(pin)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether what is left is a state between what was synced and what was appended, now and after one more opening.
fn check(suite: &Suite<'_>, fs: &MemFs, course: &Course, what: &str) {
    let open = || (suite.open)(Arc::new(fs.clone()), Path::new(DIR));
    let log = open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = Model::of(&*log);
    let states = &course.states[course.synced..];
    let matches = if suite.has_whole_batches {
        states.iter().any(|state| state.is(&found))
    } else {
        // A beginning of each shard's changes, not the same one.
        SHARDS.iter().all(|shard| states.iter().any(|state| state.has_same(*shard, &found)))
    };
    let of = course.states.len();
    assert!(matches, "{what}: {} of {of} were synced\n{found:?}", course.synced);
    drop(log);
    found.assert_is(&*open().expect("what was opened once"));
}

/// Power is lost at any event.
pub(super) fn power_loss(suite: &Suite<'_>) {
    for seed in 0..3 {
        let whole = FaultFs::new(FaultPlan::default());
        play(suite, &whole, seed, &mut Course::new()).expect("nothing fails");
        let events = whole.events();
        assert!(events > 200, "only {events} events");
        for event in 1..=events {
            let plan = FaultPlan { crash_at_event: Some(event), ..FaultPlan::default() };
            let (fs, mut course) = (FaultFs::new(plan), Course::new());
            let _ = play(suite, &fs, seed, &mut course);
            let draws = [PowerLoss::Draws(event), PowerLoss::Tears(event)];
            for loss in [PowerLoss::LosesAll, PowerLoss::KeepsAll].into_iter().chain(draws) {
                let what = format!("seed {seed}, event {event}, {loss:?}");
                check(suite, &fs.after_power_loss(loss), &course, &what);
            }
        }
    }
}

/// Any call fails.
pub(super) fn failed_call(suite: &Suite<'_>) {
    let whole = FaultFs::new(FaultPlan::default());
    play(suite, &whole, 9, &mut Course::new()).expect("nothing fails");
    let mut told = 0;
    for event in 1..=whole.events() {
        let fail_at_event = Some((event, std::io::ErrorKind::StorageFull));
        let plan = FaultPlan { fail_at_event, ..FaultPlan::default() };
        let (fs, mut course) = (FaultFs::new(plan), Course::new());
        told += u64::from(play(suite, &fs, 9, &mut course).is_err());
        let what = format!("event {event} failed");
        check(suite, &fs.after_power_loss(PowerLoss::LosesAll), &course, &what);
    }
    assert!(told > whole.events() / 2, "{told} of {} failures were told", whole.events());
}

/// Any sync fails.
pub(super) fn failed_sync(suite: &Suite<'_>) {
    let whole = FaultFs::new(FaultPlan::default());
    play(suite, &whole, 5, &mut Course::new()).expect("nothing fails");
    for sync in 1..=whole.syncs() {
        let plan = FaultPlan { fail_at_sync: Some(sync), ..FaultPlan::default() };
        let (fs, mut course) = (FaultFs::new(plan), Course::new());
        let _ = play(suite, &fs, 5, &mut course);
        let what = format!("sync {sync} failed");
        check(suite, &fs.after_power_loss(PowerLoss::LosesAll), &course, &what);
    }
}
