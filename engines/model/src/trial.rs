//! Trials: what a store must stand, with the oracle or a plain map beside it, in a seeded world.
//!
//! | trial | asks |
//! |---|---|
//! | [`history`](mod@history) | do thousands of random calls get the oracle's answers, and the same ones each time? |
//! | [`crash`](mod@crash) | is what a power failure or a kill leaves a prefix of the batches, with all that was promised? |
//! | [`damage`](mod@damage) | is a flipped byte found and located, or harmless? |
//! | [`pairs`](mod@pairs) | which combinations of parts let every two of them meet? |
//!
//! A trial is a function of its factory and its seed: it does the same each time, on files in memory, a clock that stands still
//! and jobs that are stepped in an order drawn from the seed. It panics at the first thing that is not so, and says
//! which seed it was. Tests run a fixed number of seeds; a campaign goes on for as long as one likes.
//!
//! Left to others: which factories and which seeds, and real files and threads.

pub mod crash;
pub mod damage;
pub mod history;
pub mod pairs;

use nori_env::{Fs, ManualClock, MemFs, OpenMode, SeededEntropy, SeededTasks};
use nori_kv::{Engine, KeyRange, Parts, ReadOptions, Result};
use nori_observe::Meter;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Rows by key.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A single-threaded world whose jobs take turns in the order of `seed`.
pub fn seeded(seed: u64, fs: impl Fs + 'static, meter: Arc<dyn Meter>) -> (Parts, SeededTasks) {
    let clock = ManualClock::default();
    let tasks = SeededTasks::new(seed, clock.clone());
    let parts = Parts {
        fs: Arc::new(fs),
        tasks: Arc::new(tasks.clone()),
        clock: Arc::new(clock),
        entropy: Arc::new(SeededEntropy::new(seed)),
        meter,
    };
    (parts, tasks)
}

/// All rows, found by a cursor.
///
/// # Errors
///
/// The store's own.
pub fn rows(engine: &dyn Engine) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default())?;
    while cursor.next()? {
        if let Some(row) = cursor.row() {
            rows.insert(row.key.to_vec(), row.value.to_vec());
        }
    }
    Ok(rows)
}

/// The files of `dir` on a disk of their own.
///
/// # Panics
///
/// If `dir` is missing.
pub fn copy_of(fs: &MemFs, dir: &Path) -> MemFs {
    let twin = MemFs::new();
    let copied = || -> std::io::Result<()> {
        twin.create_dir(dir)?;
        for name in fs.list(dir)? {
            let path = dir.join(name);
            twin.open(&path, OpenMode::CreateNew)?.write_at(&fs.read(&path)?, 0)?;
        }
        Ok(())
    };
    copied().expect("files in memory can be copied");
    twin
}
