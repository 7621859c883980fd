//! What a store that closes still owes: the syncs that its writers were promised.

use crate::parts::{factory, threaded};
use nori_env::{Durability, FaultFs, FaultPlan, Fs, MemFs, PowerLoss, SlowFs, Waited};
use nori_kv::{Engine, EngineFactory, WriteBatch};
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn put(engine: &dyn Engine, key: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(key, b"value");
    let class = Durability::Group { max_age: Duration::from_millis(1) };
    engine.write(&batch, class).unwrap();
}

#[test]
fn a_close_makes_safe_what_group_writers_were_promised_while_a_sync_was_slow() {
    let disk = FaultFs::new(FaultPlan::default());
    let fs = SlowFs::new(disk.clone());
    let held = fs.segments.clone();
    let (factory, dir) = (factory(&[]), Path::new("/store"));
    let parts = threaded(fs);
    let (tasks, clock) = (Arc::clone(&parts.tasks), Arc::clone(&parts.clock));
    let later = |millis| tasks.alarm(clock.now().after(Duration::from_millis(millis)));
    let engine = factory.open(dir, parts).unwrap();
    held.hold();
    put(&*engine, b"one");
    let begun = clock.now();
    while held.waiting() == 0 {
        assert!(clock.now().since(begun) < Duration::from_secs(20), "a group write is synced soon");
        assert_eq!(tasks.wait(&later(1)), Waited::Fired);
    }
    // Its job takes the promise on, and then waits for the sync under way, which began before it.
    put(&*engine, b"two");
    assert_eq!(tasks.wait(&later(100)), Waited::Fired);
    later(100).on_fire(move || held.release());
    drop(engine);
    let after = disk.after_power_loss(PowerLoss::LosesAll);
    let engine = factory.open(dir, threaded(after)).unwrap();
    assert!(engine.get(b"one").unwrap().is_some());
    assert!(engine.get(b"two").unwrap().is_some(), "acknowledged, closed, and lost");
}

#[test]
fn a_store_that_is_open_for_moments_only_gathers_no_segments() {
    let disk = MemFs::new();
    let (factory, dir) = (factory(&[]), Path::new("/store"));
    for n in 0..20 {
        // Background work has its turn only while somebody waits.
        let (parts, _tasks) = seeded(n, disk.clone(), Arc::new(NullMeter));
        let engine = factory.open(dir, parts).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(&[n as u8], b"value");
        engine.write(&batch, Durability::Os).unwrap();
        drop(engine);
        let segments = disk.list(dir).unwrap().iter().filter(|name| name.ends_with(".wal")).count();
        assert!(segments <= 3, "{segments} segments after {n} openings");
    }
    let engine = factory.open(dir, threaded(disk)).unwrap();
    assert!((0..20u8).all(|n| engine.get(&[n]).unwrap().is_some()));
}
