//! Power failures at file-system events, a kill at every one of them, failing syncs and full disks: recovery yields a prefix
//! of the batches, with everything that was acknowledged under its class.

use crate::parts::{factory, seeded};
use nori_env::{
    Durability, Entropy, FaultFs, FaultPlan, Fs, MemFs, PowerLoss, SeededEntropy, Tasks, Waited,
};
use nori_kv::{Engine, EngineFactory, ErrorKind, KeyRange, Parts, ReadOptions, WriteBatch};
use nori_observe::NullMeter;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/crash/store";

/// Enough for several flushes and compactions of a tiny store.
const BATCHES: u64 = 300;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What was written, batch by batch.
#[derive(Default)]
struct Story {
    /// `states[n]`: the rows after `n` batches.
    states: Vec<Map>,
    /// The number of batches up to the last one acknowledged under `sync`, and of those acknowledged at all.
    synced: usize,
    acknowledged: usize,
}

/// What a batch does, plainly: keys with their new values, `None` for a delete.
type Plain = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn batch(n: u64, entropy: &SeededEntropy) -> (WriteBatch, Plain) {
    let (mut batch, mut plain) = (WriteBatch::new(), vec![]);
    for _ in 0..1 + entropy.below(3) {
        let key = format!("key-{:03}", entropy.below(60)).into_bytes();
        if entropy.below(5) == 0 {
            batch.delete(&key);
            plain.push((key, None));
        } else {
            let value = format!("{n}-{}", "v".repeat(entropy.below(150) as usize)).into_bytes();
            batch.put(&key, &value);
            plain.push((key, Some(value)));
        }
    }
    (batch, plain)
}

/// Writes until something fails or `batches` are written; runs jobs in between.
fn write(fs: &FaultFs, seed: u64, batches: u64) -> Story {
    let (parts, tasks) = seeded(seed, fs.clone(), Arc::new(NullMeter));
    let mut story = Story { states: vec![Map::new()], ..Story::default() };
    let strategy = ["leveled", "tiered"][(seed % 2) as usize];
    let factory = factory(&[("compaction", strategy)]);
    let Ok(mut engine) = factory.open(Path::new(DIR), parts.clone()) else { return story };
    let entropy = SeededEntropy::new(seed);
    for n in 0..batches {
        // Crashes during a recovery are crashes as well.
        if n % 70 == 69 {
            drop(engine);
            engine = match factory.open(Path::new(DIR), parts.clone()) {
                Ok(engine) => engine,
                Err(_) => return story,
            };
        }
        let (batch, plain) = batch(n, &entropy);
        let class = if entropy.below(6) == 0 { Durability::Sync } else { Durability::Os };
        let mut state = story.states.last().cloned().unwrap();
        for (key, value) in plain {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
        story.states.push(state);
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

fn rows(engine: &dyn Engine) -> Map {
    let mut map = Map::new();
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default()).unwrap();
    while cursor.next().unwrap() {
        let row = cursor.row().unwrap();
        map.insert(row.key.to_vec(), row.value.to_vec());
    }
    map
}

/// Opens what is left, twice with writes in between, and checks that it is the state after at least `least` batches.
fn check(image: MemFs, story: &Story, least: usize, what: &str) {
    let (parts, _tasks) = seeded(99, image, Arc::new(NullMeter));
    let factory = factory(&[]);
    let engine = factory.open(Path::new(DIR), parts.clone());
    let engine = engine.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = rows(&*engine);
    let prefix = story.states.iter().rposition(|state| *state == found);
    let prefix =
        prefix.unwrap_or_else(|| panic!("{what}: the rows are no prefix of what was written"));
    assert!(prefix >= least, "{what}: {prefix} batches are left of {least}");
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash");
    engine.write(&batch, Durability::Sync).unwrap();
    drop(engine);
    let again = factory.open(Path::new(DIR), parts).unwrap();
    let mut expected = found;
    expected.insert(b"after".to_vec(), b"the crash".to_vec());
    assert_eq!(rows(&*again), expected, "{what}: the second recovery differs");
}

#[test]
fn a_power_loss_at_any_event_leaves_a_prefix_with_all_that_was_synced() {
    let mut crashes = 0;
    for seed in 0..6 {
        let whole = FaultFs::new(FaultPlan::default());
        write(&whole, seed, BATCHES);
        let events = whole.events();
        assert!(events > 300, "seed {seed}: only {events} events");
        // Every event near the beginning, then a stride that differs by seed.
        let later = (60 + seed..events).step_by(7);
        for at in (1..60).chain(later) {
            let plan = FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() };
            let fs = FaultFs::new(plan);
            let story = write(&fs, seed, BATCHES);
            let what = format!("seed {seed}, event {at}");
            for loss in [PowerLoss::LosesAll, PowerLoss::Draws(at), PowerLoss::Draws(at ^ 0xFF)] {
                check(
                    fs.after_power_loss(loss),
                    &story,
                    story.synced,
                    &format!("{what}, {loss:?}"),
                );
                crashes += 1;
            }
            check(fs.after_kill(), &story, story.acknowledged, &format!("{what}, kill"));
            crashes += 1;
        }
    }
    println!("{crashes} crashes recovered");
}

#[test]
fn a_failed_sync_ends_writing_and_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let whole = FaultFs::new(FaultPlan::default());
        write(&whole, seed, 60);
        for at in 1..=whole.syncs() {
            let plan = FaultPlan { fail_at_sync: Some(at), ..FaultPlan::default() };
            let fs = FaultFs::new(plan);
            let story = write(&fs, seed, 60);
            let what = format!("seed {seed}, sync {at}");
            check(fs.after_power_loss(PowerLoss::LosesAll), &story, story.synced, &what);
            check(fs.after_kill(), &story, story.acknowledged, &what);
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
        let mut acknowledged = Map::new();
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
        let found = rows(&*engine);
        assert!(acknowledged.iter().all(|(key, value)| found.get(key) == Some(value)));
        drop(engine);
        // Not a byte of room: what is there is served, again and again, and a write is told why it is not taken.
        let full = FaultPlan { capacity_bytes: Some(0), ..FaultPlan::default() };
        fs.set_plan(full);
        let mut used = None;
        for _ in 0..3 {
            let (parts, _tasks) = seeded(capacity, fs.clone(), Arc::new(NullMeter));
            let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
            let found = rows(&*engine);
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
        let found = rows(&*engine);
        assert!(acknowledged.iter().all(|(key, value)| found.get(key) == Some(value)));
    }
}

#[test]
fn a_group_write_is_safe_within_its_age_whatever_others_asked_for() {
    let fs = FaultFs::new(FaultPlan::default());
    let (parts, tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts.clone()).unwrap();
    let mut expected = Map::new();
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
    assert_eq!(rows(&*again), expected);
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
