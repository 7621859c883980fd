//! Two flushes at a time: the second builds while the first waits for the disk. In an opening they come before all else.

use crate::parts::{factory, threaded};
use nori_env::{
    Class, Durability, FaultFs, FaultPlan, Instant, Job, ManualClock, MemFs, PowerLoss,
    SeededTasks, Signal, SlowFs, Tasks, Waited,
};
use nori_kv::{Engine, EngineFactory, KeyRange, Parts, WriteBatch};
use nori_model::trial::seeded;
use nori_observe::{Meter, NullMeter, Registry};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Writes `fill` and then as much as makes a memtable full.
fn fill_a_memtable(engine: &dyn Engine, fill: impl Fn(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    fill(&mut batch);
    batch.put(b"other", &[0; 6_000]);
    engine.write(&batch, Durability::Os).unwrap();
}

#[test]
fn of_two_flushes_under_way_the_newer_hides_what_the_older_brings() {
    let disk = FaultFs::new(FaultPlan::default());
    let fs = SlowFs::new(disk.clone());
    let held = fs.files.clone();
    let (factory, dir) = (factory(&[]), Path::new("/store"));
    let parts = threaded(fs);
    let (tasks, clock) = (Arc::clone(&parts.tasks), Arc::clone(&parts.clock));
    let engine = factory.open(dir, parts).unwrap();
    held.hold();
    fill_a_memtable(&*engine, |batch| {
        for key in [b"deleted", b"covered", b"written"] {
            batch.put(key, b"old");
        }
    });
    fill_a_memtable(&*engine, |batch| {
        batch.delete(b"deleted");
        batch.delete_range(b"cover", b"covers");
        batch.put(b"written", b"new");
    });
    // Seals the second; the third stays where it is.
    fill_a_memtable(&*engine, |_| ());
    let begun = clock.now();
    while held.waiting() < 2 {
        let waited = clock.now().since(begun);
        assert!(waited < Duration::from_secs(20), "{} files are being synced", held.waiting());
        let soon = tasks.alarm(clock.now().after(Duration::from_millis(1)));
        assert_eq!(tasks.wait(&soon), Waited::Fired);
    }
    // The second is told first.
    held.release();
    let check = |what: &str| {
        let get = |key: &[u8]| engine.get(key).unwrap();
        assert_eq!(get(b"deleted"), None, "{what}");
        assert_eq!(get(b"covered"), None, "{what}");
        assert_eq!(get(b"written").as_deref(), Some(&b"new"[..]), "{what}");
    };
    check("just told");
    let maintain = engine.maintain().unwrap();
    maintain.flush().unwrap();
    check("flushed");
    maintain.compact(&KeyRange::all()).unwrap();
    check("compacted");
}

#[test]
fn what_an_opening_replays_is_flushed_before_anything_is_merged() {
    let disk = FaultFs::new(FaultPlan::default());
    let mut factory = factory(&[]);
    factory.settings.memtables_sealed_max = 20;
    factory.settings.l0_runs_trigger = 2;
    let dir = Path::new("/store");
    // Background work has its turn only while somebody waits: nobody does before the power is lost.
    let (parts, _tasks) = seeded(1, disk.clone(), Arc::new(NullMeter));
    let engine = factory.open(dir, parts).unwrap();
    for n in 0..10u8 {
        fill_a_memtable(&*engine, |batch| {
            batch.put(&[n], &[n]);
        });
    }
    let after = disk.after_power_loss(PowerLoss::KeepsAll);
    let meter = Arc::new(Registry::default());
    let (parts, _tasks) = seeded(2, after, Arc::clone(&meter) as Arc<dyn Meter>);
    let engine = factory.open(dir, parts).unwrap();
    let kinds = || meter.drain_events().0.into_iter().map(|event| event.kind);
    let opening: Vec<_> = kinds().collect();
    let flushed = opening.iter().filter(|kind| **kind == "flush_end").count();
    assert!(flushed > factory.settings.l0_runs_trigger, "only {flushed} of {opening:?}");
    // The first may begin when the last flush has ended; none of them ends before.
    assert!(!opening.contains(&"compaction_end"), "{opening:?}");
    assert!((0..10).all(|n| engine.get(&[n]).unwrap().as_deref() == Some(&[n][..])));
    engine.maintain().unwrap().settle().unwrap();
    assert!(kinds().any(|kind| kind == "compaction_end"), "what is due is merged afterwards");
}

/// Drops every flush.
struct WithoutFlushes(Arc<dyn Tasks>);

impl Tasks for WithoutFlushes {
    fn submit(&self, class: Class, job: Box<dyn Job>) {
        if class != Class::Flush {
            self.0.submit(class, job);
        }
    }

    fn wait(&self, signal: &Signal) -> Waited {
        self.0.wait(signal)
    }

    fn alarm(&self, at: Instant) -> Signal {
        self.0.alarm(at)
    }
}

#[test]
fn a_flush_that_is_given_up_ends_writing_and_nobody_waits_for_it() {
    // Seeded tasks see that nothing will come, where threads would wait.
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let parts = Parts { tasks: Arc::new(WithoutFlushes(tasks)), ..threaded(MemFs::new()) };
    let engine = factory(&[]).open(Path::new("/store"), parts).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(b"key", &[0; 6_000]);
    let wrote = (0..10).find_map(|_| engine.write(&batch, Durability::Os).err());
    let error = wrote.expect("there is no room for ten memtables").to_string();
    assert!(error.contains("the flush was given up"), "{error}");
    let flushed = engine.maintain().unwrap().flush().unwrap_err().to_string();
    assert!(flushed.contains("the flush was given up"), "{flushed}");
    assert!(engine.get(b"key").unwrap().is_some());
}
