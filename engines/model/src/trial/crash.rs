//! A crash: the power fails or the process is killed at a chosen event, and the store opens on what is left.
//!
//! 1. Batches drawn from the seed are written, some under `sync`, with jobs in between and now and then a reopening; so a
//!    crash may fall into a flush, a compaction or a recovery.
//! 2. At the event, or when something failed by itself, the writer stops. The [`Story`] knows the rows after each batch, and
//!    how many were acknowledged.
//! 3. What is left must open and hold the rows after some batch, not before the last one that was promised; take a
//!    write; and open again with it.

use super::{Rows, rows, seeded};
use nori_env::{Durability, Entropy, FaultFs, FaultPlan, MemFs, PowerLoss, SeededEntropy};
use nori_kv::{Engine, EngineFactory, WriteBatch};
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/crash/store";
const KEYS: u64 = 60;
/// A store is closed and opened again every so many batches.
const REOPEN_EVERY: u64 = 70;

/// What was written, batch by batch.
#[derive(Clone, Debug)]
pub struct Story {
    /// `states[n]`: the rows after `n` batches. The last of them may have failed.
    states: Vec<Rows>,
    /// Batches up to the last one that was acknowledged under `sync`; `<= acknowledged`.
    synced: usize,
    /// Batches that were acknowledged; `< states.len()`.
    acknowledged: usize,
}

impl Story {
    /// Batches up to the last one that was acknowledged under `sync`: what must survive a power loss.
    pub fn synced(&self) -> usize {
        self.synced
    }

    /// Batches that were acknowledged: what must survive a kill.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Adds a batch of up to three operations.
    fn next_batch(&mut self, entropy: &SeededEntropy) -> WriteBatch {
        let n = self.states.len() - 1;
        let mut rows = self.states[n].clone();
        let mut batch = WriteBatch::new();
        let key = || format!("key-{:03}", entropy.below(KEYS)).into_bytes();
        for _ in 0..1 + entropy.below(3) {
            match entropy.below(30) {
                0 => {
                    let (start, end) = (key(), key());
                    batch.delete_range(&start, &end);
                    rows.retain(|key, _| !(start <= *key && *key < end));
                }
                1..7 => {
                    let key = key();
                    batch.delete(&key);
                    rows.remove(&key);
                }
                _ => {
                    let value = format!("{n}-{}", "v".repeat(entropy.below(150) as usize));
                    let key = key();
                    batch.put(&key, value.as_bytes());
                    rows.insert(key, value.into_bytes());
                }
            }
        }
        self.states.push(rows);
        batch
    }
}

/// Writes `batches` batches to a store on `fs`, or until something fails.
pub fn write(factory: &dyn EngineFactory, fs: &FaultFs, seed: u64, batches: u64) -> Story {
    let (parts, tasks) = seeded(seed, fs.clone(), Arc::new(NullMeter));
    let mut story = Story { states: vec![Rows::new()], synced: 0, acknowledged: 0 };
    let mut engine = factory.open(Path::new(DIR), parts.clone()).ok();
    let entropy = SeededEntropy::new(seed);
    for n in 0..batches {
        if n % REOPEN_EVERY == REOPEN_EVERY - 1 {
            drop(engine.take());
            engine = factory.open(Path::new(DIR), parts.clone()).ok();
        }
        let Some(engine) = &engine else { return story };
        let class = if entropy.below(6) == 0 { Durability::Sync } else { Durability::Os };
        let batch = story.next_batch(&entropy);
        if engine.write(&batch, class).is_err() {
            break;
        }
        story.acknowledged = story.states.len() - 1;
        if class == Durability::Sync {
            story.synced = story.acknowledged;
        }
        tasks.run(entropy.below(4));
    }
    story
}

/// Opens what is left, twice with a write in between; it must be the store after at least `least` batches of the story.
///
/// # Panics
///
/// If it is not. `what` says which crash it was.
pub fn check(factory: &dyn EngineFactory, image: MemFs, story: &Story, least: usize, what: &str) {
    let (parts, _tasks) = seeded(99, image, Arc::new(NullMeter));
    let open = || -> Arc<dyn Engine> {
        let opened = factory.open(Path::new(DIR), parts.clone());
        opened.unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let all = |engine: &dyn Engine| rows(engine).unwrap_or_else(|error| panic!("{what}: {error}"));
    let engine = open();
    let mut found = all(&*engine);
    let prefix = story.states.iter().rposition(|state| *state == found);
    let prefix =
        prefix.unwrap_or_else(|| panic!("{what}: the rows are no prefix of what was written"));
    assert!(prefix >= least, "{what}: {prefix} batches are left of {least}");
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash");
    let written = engine.write(&batch, Durability::Sync);
    written.unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(engine);
    found.insert(b"after".to_vec(), b"the crash".to_vec());
    assert_eq!(all(&*open()), found, "{what}: the second recovery differs");
}

/// Crashes one workload at up to `points` events drawn from all of its events, and at each of them in four ways; the number
/// of crashes.
///
/// # Panics
///
/// At the first that loses what was promised.
pub fn crashes(factory: &dyn EngineFactory, seed: u64, batches: u64, points: u64) -> u64 {
    let whole = FaultFs::new(FaultPlan::default());
    write(factory, &whole, seed, batches);
    let entropy = SeededEntropy::new(!seed);
    let mut count = 0;
    for _ in 0..points.min(whole.events()) {
        let at = 1 + entropy.below(whole.events());
        count += crash_at(factory, seed, batches, at);
    }
    count
}

/// Crashes one workload at event `at`, in four ways; how many these were.
///
/// # Panics
///
/// At the first that loses what was promised.
pub fn crash_at(factory: &dyn EngineFactory, seed: u64, batches: u64, at: u64) -> u64 {
    let plan = FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() };
    let fs = FaultFs::new(plan);
    let story = write(factory, &fs, seed, batches);
    let losses = [PowerLoss::LosesAll, PowerLoss::Draws(at), PowerLoss::Tears(at ^ 0xFF)];
    for loss in losses {
        let what = format!("seed {seed}, event {at}, {loss:?}");
        check(factory, fs.after_power_loss(loss), &story, story.synced, &what);
    }
    let what = format!("seed {seed}, event {at}, kill");
    check(factory, fs.after_kill(), &story, story.acknowledged, &what);
    losses.len() as u64 + 1
}
