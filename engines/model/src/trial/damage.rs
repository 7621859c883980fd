//! Damage: bits of a closed store are flipped, and it is opened and read.
//!
//! Each time the outcome is one of three: all rows are right; an error names the file; or, where the flip was in the log,
//! the rows are those after an earlier batch. A wrong row is none of them, nor is a panic.

use super::{Rows, copy_of, rows, seeded};
use nori_env::{Durability, Entropy, Fs, MemFs, SeededEntropy};
use nori_kv::{EngineFactory, Error, Result, WriteBatch};
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/damage/store";
const KEYS: u64 = 60;

/// What flips came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// An error named the file.
    pub found: u64,
    /// All rows were right, or those of an earlier batch.
    pub harmless: u64,
}

/// Writes a store of `batches` batches and flips `flips` bits of its files, one at a time, drawn from `seed`; every other one
/// outside the log.
///
/// # Panics
///
/// If a flip leads to a wrong row, or to an error that names no file of the store.
pub fn flips(factory: &dyn EngineFactory, seed: u64, batches: u64, flips: u64) -> Flips {
    let (whole, states) = written(factory, seed, batches);
    let dir = Path::new(DIR);
    let names = whole.list(dir).unwrap_or_default();
    let lengths: Vec<u64> = names
        .iter()
        .map(|name| whole.read(&dir.join(name)).map_or(0, |bytes| bytes.len() as u64))
        .collect();
    let entropy = SeededEntropy::new(!seed);
    let mut outcome = Flips::default();
    let mut done = 0;
    while done < flips {
        let n = entropy.below(names.len() as u64) as usize;
        let is_log = names[n].ends_with(".wal");
        if lengths[n] == 0 || (is_log && entropy.below(2) == 0) {
            continue;
        }
        done += 1;
        let (at, bit) = (entropy.below(lengths[n]), entropy.below(8));
        let what = format!("seed {seed}: bit {bit} of byte {at} of {}", names[n]);
        let fs = copy_of(&whole, dir);
        let flipped = fs.flip(&dir.join(&names[n]), at, 1 << bit);
        flipped.unwrap_or_else(|error| panic!("{what}: {error}"));
        let least = if is_log { 0 } else { states.len() - 1 };
        match read_all(factory, fs) {
            Ok(rows) => {
                let is_right = states[least..].contains(&rows);
                assert!(is_right, "{what}: the rows are wrong and nothing was said");
                outcome.harmless += 1;
            }
            Err(Error::Corrupt { file, .. }) => {
                assert!(file.starts_with(DIR), "{what}: {} is blamed", file.display());
                outcome.found += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    outcome
}

/// A closed store, and its rows after each batch.
fn written(factory: &dyn EngineFactory, seed: u64, batches: u64) -> (MemFs, Vec<Rows>) {
    let fs = MemFs::new();
    let (parts, tasks) = seeded(seed, fs.clone(), Arc::new(NullMeter));
    let entropy = SeededEntropy::new(seed);
    let opened = factory.open(Path::new(DIR), parts);
    let engine = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut states = vec![Rows::new()];
    for n in 0..batches {
        let key = format!("key-{:02}", entropy.below(KEYS)).into_bytes();
        let value = format!("{n}-{}", "x".repeat(entropy.below(60) as usize)).into_bytes();
        let mut batch = WriteBatch::new();
        batch.put(&key, &value);
        let class = if n % 3 == 0 { Durability::Sync } else { Durability::Os };
        let outcome = engine.write(&batch, class);
        outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut rows = states[n as usize].clone();
        rows.insert(key, value);
        states.push(rows);
        tasks.run(3);
    }
    (fs, states)
}

/// All rows, found by a cursor and again one by one.
fn read_all(factory: &dyn EngineFactory, fs: MemFs) -> Result<Rows> {
    let (parts, _tasks) = seeded(6, fs, Arc::new(NullMeter));
    let engine = factory.open(Path::new(DIR), parts)?;
    let rows = rows(&*engine)?;
    for n in 0..KEYS {
        let key = format!("key-{n:02}").into_bytes();
        let found = engine.get(&key)?;
        assert_eq!(found.as_deref(), rows.get(&key).map(Vec::as_slice), "a get and a scan");
    }
    Ok(rows)
}
