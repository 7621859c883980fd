//! The oracle obeys every law of the seam, on threads and in a seeded simulation.

use crate::ModelFactory;
use nori_env::{ManualClock, MemFs, SeededEntropy, SeededTasks};
use nori_kv::conformance::Suite;
use nori_kv::{Feature, Parts};
use std::path::Path;
use std::sync::Arc;

fn seeded() -> Parts {
    let clock = ManualClock::default();
    Parts {
        fs: Arc::new(MemFs::new()),
        tasks: Arc::new(SeededTasks::new(1, clock.clone())),
        clock: Arc::new(clock),
        entropy: Arc::new(SeededEntropy::new(1)),
        meter: Arc::new(nori_observe::NullMeter),
    }
}

#[test]
fn every_law_but_those_of_files_holds() {
    let factory = ModelFactory::new();
    let outcome = Suite::new(&factory, &seeded, Path::new("/model")).run();
    assert!(outcome.held.len() > 40, "{outcome:?}");
    assert!(
        outcome
            .skipped
            .iter()
            .all(|(_, feature)| matches!(feature, Feature::Scrub | Feature::Simulated)),
        "{outcome:?}"
    );
}

#[test]
fn every_law_but_those_of_files_holds_on_threads() {
    let factory = ModelFactory::new();
    let (parts, dir) = (|| Parts::os(2).unwrap(), tempfile::tempdir().unwrap());
    let outcome = Suite::new(&factory, &parts, dir.path()).run();
    assert!(outcome.held.len() > 40, "{outcome:?}");
}

#[test]
fn two_factories_are_two_disks() {
    use nori_kv::{Durability, EngineFactory, WriteBatch};
    let (one, two) = (ModelFactory::new(), ModelFactory::new());
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    let dir = Path::new("/model");
    one.open(dir, seeded()).unwrap().write(&batch, Durability::None).unwrap();
    assert!(two.open(dir, seeded()).unwrap().get(b"a").unwrap().is_none());
    assert!(one.clone().open(dir, seeded()).unwrap().get(b"a").unwrap().is_some());
}
