//! Power failures at file-system events, a kill at every one of them, failing syncs and full disks: recovery yields a prefix
//! of the batches, with everything that was acknowledged under its class.

use crate::parts::factory;
use nori_env::{Durability, FaultFs, FaultPlan, Fs, PowerLoss, Tasks, Waited};
use nori_kv::{EngineFactory, ErrorKind, Parts, WriteBatch};
use nori_lsm::LsmFactory;
use nori_model::trial::{Rows, crash, rows, seeded};
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/crash/store";

/// Enough for several flushes and compactions of a tiny store.
const BATCHES: u64 = 300;

/// The strategy differs by seed.
fn by_seed(seed: u64) -> LsmFactory {
    factory(&[("compaction", ["leveled", "tiered"][(seed % 2) as usize])])
}

#[test]
fn a_power_loss_at_any_event_leaves_a_prefix_with_all_that_was_synced() {
    let mut crashes = 0;
    for seed in 0..6 {
        let (factory, whole) = (by_seed(seed), FaultFs::new(FaultPlan::default()));
        crash::write(&factory, &whole, seed, BATCHES);
        let events = whole.events();
        assert!(events > 300, "seed {seed}: only {events} events");
        // Every event near the beginning, then a stride that differs by seed.
        let later = (60 + seed..events).step_by(7);
        for at in (1..60).chain(later) {
            crashes += crash::crash_at(&factory, seed, BATCHES, at);
        }
    }
    println!("{crashes} crashes recovered");
}

#[test]
fn a_failed_sync_ends_writing_and_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let (factory, whole) = (by_seed(seed), FaultFs::new(FaultPlan::default()));
        crash::write(&factory, &whole, seed, 60);
        for at in 1..=whole.syncs() {
            let plan = FaultPlan { fail_at_sync: Some(at), ..FaultPlan::default() };
            let fs = FaultFs::new(plan);
            let story = crash::write(&factory, &fs, seed, 60);
            let what = format!("seed {seed}, sync {at}");
            let lost = fs.after_power_loss(PowerLoss::LosesAll);
            crash::check(&factory, lost, &story, story.synced(), &what);
            crash::check(&factory, fs.after_kill(), &story, story.acknowledged(), &what);
        }
    }
}

#[test]
fn after_a_failed_sync_the_store_reads_but_does_not_write() {
    let fs = FaultFs::new(FaultPlan::default());
    let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    engine.write(&batch, Durability::Sync).unwrap();
    let fail_at_sync = Some(fs.syncs() + 1);
    fs.set_plan(FaultPlan { fail_at_sync, ..FaultPlan::default() });
    batch.clear();
    batch.put(b"a", b"2");
    assert_eq!(engine.write(&batch, Durability::Sync).unwrap_err().kind(), ErrorKind::Io);
    let error = engine.write(&batch, Durability::Os).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(error.to_string().contains("sync failed on purpose"), "{error}");
    assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_full_disk_is_said_plainly_and_the_store_opens_again() {
    for capacity in (40..400).step_by(9) {
        let plan = FaultPlan { capacity_bytes: Some(capacity << 10), ..FaultPlan::default() };
        let fs = FaultFs::new(plan);
        let (parts, tasks) = seeded(capacity, fs.clone(), Arc::new(NullMeter));
        let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
        let mut acknowledged = Rows::new();
        let mut error = None;
        for n in 0..6_000u32 {
            let (key, value) = (n.to_be_bytes(), [n as u8; 100]);
            let mut batch = WriteBatch::new();
            batch.put(&key, &value);
            if let Err(e) = engine.write(&batch, Durability::Os) {
                error = Some(e);
                break;
            }
            acknowledged.insert(key.to_vec(), value.to_vec());
            tasks.run(2);
        }
        let error = error.expect("the disk is too small for all of it");
        assert_eq!(error.kind(), ErrorKind::Full, "{capacity} KiB: {error}");
        assert!(error.to_string().contains("no space left"), "{capacity} KiB: {error}");
        let found = rows(&*engine).unwrap();
        assert!(acknowledged.iter().all(|(key, value)| found.get(key) == Some(value)));
        drop(engine);
        // Not a byte of room: what is there is served, again and again, and a write is told why it is not taken.
        let full = FaultPlan { capacity_bytes: Some(0), ..FaultPlan::default() };
        fs.set_plan(full);
        let mut used = None;
        for _ in 0..3 {
            let (parts, _tasks) = seeded(capacity, fs.clone(), Arc::new(NullMeter));
            let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
            let found = rows(&*engine).unwrap();
            assert!(acknowledged.iter().all(|(key, value)| found.get(key) == Some(value)));
            let mut batch = WriteBatch::new();
            batch.put(b"more", b"");
            let error = engine.write(&batch, Durability::Os).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full);
            assert_eq!(engine.maintain().unwrap().flush().unwrap_err().kind(), ErrorKind::Full);
            drop(engine);
            let names = fs.list(Path::new(DIR)).unwrap();
            assert!(used.is_none_or(|before| before == names), "an opening left something");
            used = Some(names);
        }
        fs.set_plan(FaultPlan::default());
        let (parts, _tasks) = seeded(capacity, fs.after_kill(), Arc::new(NullMeter));
        let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
        let found = rows(&*engine).unwrap();
        assert!(acknowledged.iter().all(|(key, value)| found.get(key) == Some(value)));
    }
}

#[test]
fn a_group_write_is_safe_within_its_age_whatever_others_asked_for() {
    let fs = FaultFs::new(FaultPlan::default());
    let (parts, tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts.clone()).unwrap();
    let mut expected = Rows::new();
    for (n, millis) in [60_000, 5, 30_000].into_iter().enumerate() {
        let (key, value) = (vec![n as u8], millis.to_string().into_bytes());
        let mut batch = WriteBatch::new();
        batch.put(&key, &value);
        let max_age = Duration::from_millis(millis);
        engine.write(&batch, Durability::Group { max_age }).unwrap();
        expected.insert(key, value);
    }
    let soon = tasks.alarm(parts.clock.now().after(Duration::from_millis(6)));
    assert_eq!(tasks.wait(&soon), Waited::Fired);
    let (parts, _tasks) = seeded(2, fs.after_power_loss(PowerLoss::LosesAll), Arc::new(NullMeter));
    let again = factory(&[]).open(Path::new(DIR), parts).unwrap();
    assert_eq!(rows(&*again).unwrap(), expected);
}

#[test]
fn a_store_that_was_closed_opens_at_once_though_a_group_sync_was_due() {
    let dir = tempfile::tempdir().unwrap();
    let parts = Parts::os(2).unwrap();
    let factory = factory(&[]);
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    for n in 0..300 {
        let engine = factory.open(dir.path(), parts.clone());
        let engine = engine.unwrap_or_else(|error| panic!("opening {n}: {error}"));
        let max_age = Duration::from_micros(200);
        engine.write(&batch, Durability::Group { max_age }).unwrap();
        let soon = parts.clock.now().after(Duration::from_micros(150 + n % 100));
        assert_eq!(parts.tasks.wait(&parts.tasks.alarm(soon)), Waited::Fired);
    }
}
