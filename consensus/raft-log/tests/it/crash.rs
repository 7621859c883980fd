//! The power fails, or a call does, at every event of the file system, in rotation, truncation, rewriting and opening: what was
//! synced is there, and of what was appended after it a beginning.

use crate::model::{Model, SHARDS, open};
use nori_consensus::chance::Chance;
use nori_env::{FaultFs, FaultPlan, MemFs, PowerLoss, SegmentKind};
use nori_raft_log::{KINDS, Result};
use std::path::Path;

const DIR: &str = "/log";

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
fn play(name: &str, fs: &FaultFs, seed: u64, course: &mut Course) -> Result<()> {
    let (dir, mut chance) = (Path::new(DIR), Chance::new(seed));
    for _ in 0..3 {
        let log = open(name, fs, dir, SegmentKind::Pwrite)?;
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
fn check(name: &str, fs: &MemFs, course: &Course, what: &str) {
    let open = || open(name, fs, Path::new(DIR), SegmentKind::Pwrite);
    let log = open().unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
    let found = Model::of(&*log);
    let states = &course.states[course.synced..];
    let matches = match name {
        "shared" => states.iter().any(|state| state.is(&found)),
        // A beginning of each shard's changes, not the same one.
        _ => SHARDS.iter().all(|shard| states.iter().any(|state| state.has_same(*shard, &found))),
    };
    let of = course.states.len();
    assert!(matches, "{name}, {what}: {} of {of} were synced\n{found:?}", course.synced);
    drop(log);
    found.assert_is(&*open().unwrap());
}

#[test]
fn a_power_loss_at_any_event_loses_nothing_that_was_synced() {
    for (name, seed) in KINDS.iter().flat_map(|(name, _)| (0..3).map(move |seed| (*name, seed))) {
        let whole = FaultFs::new(FaultPlan::default());
        play(name, &whole, seed, &mut Course::new()).unwrap();
        let events = whole.events();
        assert!(events > 200, "only {events} events");
        for event in 1..=events {
            let plan = FaultPlan { crash_at_event: Some(event), ..FaultPlan::default() };
            let (fs, mut course) = (FaultFs::new(plan), Course::new());
            let _ = play(name, &fs, seed, &mut course);
            let draws = [PowerLoss::Draws(event), PowerLoss::Tears(event)];
            for loss in [PowerLoss::LosesAll, PowerLoss::KeepsAll].into_iter().chain(draws) {
                let what = format!("seed {seed}, event {event}, {loss:?}");
                check(name, &fs.after_power_loss(loss), &course, &what);
            }
        }
    }
}

#[test]
fn a_failed_call_is_told_and_loses_nothing_that_was_synced() {
    for (name, _) in KINDS {
        let whole = FaultFs::new(FaultPlan::default());
        play(name, &whole, 9, &mut Course::new()).unwrap();
        let mut told = 0;
        for event in 1..=whole.events() {
            let fail_at_event = Some((event, std::io::ErrorKind::StorageFull));
            let plan = FaultPlan { fail_at_event, ..FaultPlan::default() };
            let (fs, mut course) = (FaultFs::new(plan), Course::new());
            told += u64::from(play(name, &fs, 9, &mut course).is_err());
            let what = format!("event {event} failed");
            check(name, &fs.after_power_loss(PowerLoss::LosesAll), &course, &what);
        }
        assert!(told > whole.events() / 2, "{told} of {} failures were told", whole.events());
    }
}

#[test]
fn a_failed_sync_is_final() {
    for (name, _) in KINDS {
        let whole = FaultFs::new(FaultPlan::default());
        play(name, &whole, 5, &mut Course::new()).unwrap();
        for sync in 1..=whole.syncs() {
            let plan = FaultPlan { fail_at_sync: Some(sync), ..FaultPlan::default() };
            let (fs, mut course) = (FaultFs::new(plan), Course::new());
            let _ = play(name, &fs, 5, &mut course);
            let what = format!("sync {sync} failed");
            check(name, &fs.after_power_loss(PowerLoss::LosesAll), &course, &what);
        }
    }
}
