//! What a store that closes still owes: the syncs that its writers were promised.

use crate::parts::{factory, threaded};
use nori_env::{
    Completion, Durability, FaultFs, FaultPlan, File, Fs, Lock, NameChange, OpenMode, PowerLoss,
    Segment, SegmentKind, Waited,
};
use nori_kv::{Engine, EngineFactory, WriteBatch};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Syncs of segments that have begun and whose end is held back; `None`: they end at once.
type Held = Arc<Mutex<Option<Vec<(Completion, io::Result<()>)>>>>;

/// A disk that makes safe what was there when a sync began, and says so when the test lets it.
struct SlowFs {
    inner: FaultFs,
    held: Held,
}

struct SlowSegment {
    inner: Arc<dyn Segment>,
    held: Held,
}

impl Fs for SlowFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.inner.open(path, mode)
    }

    fn segment(&self, path: &Path, kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let (inner, held) = (self.inner.segment(path, kind, bytes)?, Arc::clone(&self.held));
        Ok(Arc::new(SlowSegment { inner, held }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        self.inner.change(change)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }
}

impl Segment for SlowSegment {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.put(offset, bytes)
    }

    fn sync(&self, done: Completion) {
        let held = Arc::clone(&self.held);
        self.inner.sync(Box::new(move |outcome| {
            let mut held = held.lock().unwrap();
            match &mut *held {
                Some(waiting) => waiting.push((done, outcome)),
                None => {
                    drop(held);
                    done(outcome);
                }
            }
        }));
    }
}

fn put(engine: &dyn Engine, key: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put(key, b"value");
    let class = Durability::Group { max_age: Duration::from_millis(1) };
    engine.write(&batch, class).unwrap();
}

#[test]
fn a_close_makes_safe_what_group_writers_were_promised_while_a_sync_was_slow() {
    let disk = FaultFs::new(FaultPlan::default());
    let held: Held = Arc::default();
    let fs = SlowFs { inner: disk.clone(), held: Arc::clone(&held) };
    let (factory, dir) = (factory(&[]), Path::new("/store"));
    let parts = threaded(fs);
    let (tasks, clock) = (Arc::clone(&parts.tasks), Arc::clone(&parts.clock));
    let later = |millis| tasks.alarm(clock.now().after(Duration::from_millis(millis)));
    let engine = factory.open(dir, parts).unwrap();
    *held.lock().unwrap() = Some(Vec::new());
    put(&*engine, b"one");
    let begun = clock.now();
    while held.lock().unwrap().as_ref().unwrap().is_empty() {
        assert!(clock.now().since(begun) < Duration::from_secs(20), "a group write is synced soon");
        assert_eq!(tasks.wait(&later(1)), Waited::Fired);
    }
    // Its job takes the promise on, and then waits for the sync under way, which began before it.
    put(&*engine, b"two");
    assert_eq!(tasks.wait(&later(100)), Waited::Fired);
    let disk_again = later(100);
    disk_again.on_fire(move || {
        let waiting = held.lock().unwrap().take().unwrap();
        waiting.into_iter().for_each(|(done, outcome)| done(outcome));
    });
    drop(engine);
    let after = disk.after_power_loss(PowerLoss::LosesAll);
    let engine = factory.open(dir, threaded(after)).unwrap();
    assert!(engine.get(b"one").unwrap().is_some());
    assert!(engine.get(b"two").unwrap().is_some(), "acknowledged, closed, and lost");
}
