//! Callers that share a sync: when they wake, and what becomes of them when its leader goes.

use nori_env::{
    Completion, File, Fs, Lock, ManualClock, MemFs, NameChange, OpenMode, SeededTasks, Segment,
    SegmentKind,
};
use nori_observe::NullMeter;
use nori_wal::{Resume, SyncCall, Wal, WalOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The syncs that were asked for and have not ended.
type Pending = Arc<Mutex<Vec<Completion>>>;

/// A disk whose syncs of segments end when the test says so.
struct SlowFs {
    inner: MemFs,
    pending: Pending,
}

struct SlowSegment {
    inner: Arc<dyn Segment>,
    pending: Pending,
}

impl Fs for SlowFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.inner.open(path, mode)
    }

    fn segment(&self, path: &Path, kind: SegmentKind, bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let (inner, pending) = (self.inner.segment(path, kind, bytes)?, Arc::clone(&self.pending));
        Ok(Arc::new(SlowSegment { inner, pending }))
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
        self.pending.lock().unwrap().push(done);
    }
}

fn slow() -> (Arc<Wal>, Pending) {
    let (inner, pending) = (MemFs::new(), Pending::default());
    let dir = Path::new("/store");
    inner.create_dir(dir).unwrap();
    let fs = Arc::new(SlowFs { inner, pending: Arc::clone(&pending) });
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let options = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
    let wal = Wal::create(dir, fs, tasks, &NullMeter, options, Resume::at(1)).unwrap();
    (Arc::new(wal), pending)
}

fn end_one(pending: &Pending) {
    let done = pending.lock().unwrap().remove(0);
    done(Ok(()));
}

#[test]
fn who_shares_a_sync_wakes_when_it_is_safe_and_not_before() {
    let (wal, pending) = slow();
    let position = wal.append(1, 1, b"one").unwrap();
    let (mut lead, mut follow) = (SyncCall::default(), SyncCall::default());
    assert!(wal.poll_sync(position, &mut lead).unwrap().is_some());
    let ended = wal.poll_sync(position, &mut follow).unwrap().unwrap();
    // One that wakes before finds a sync that has ended and is still there, and asks without end.
    let was_safe = Arc::new(AtomicBool::new(false));
    ended.on_fire({
        let (wal, was_safe) = (Arc::clone(&wal), Arc::clone(&was_safe));
        move || {
            let found = wal.poll_sync(position, &mut SyncCall::default());
            was_safe.store(found.unwrap().is_none(), Ordering::SeqCst);
        }
    });
    end_one(&pending);
    assert!(wal.poll_sync(position, &mut lead).unwrap().is_none());
    assert!(was_safe.load(Ordering::SeqCst), "woken before the position was safe");
    assert!(pending.lock().unwrap().is_empty(), "two syncs where one was enough");
}

/// A position that a leader had asked the disk about when it went, and the call of who comes after it, which waits.
fn given_up() -> (Arc<Wal>, Pending, u64, SyncCall) {
    let (wal, pending) = slow();
    let position = wal.append(1, 1, b"one").unwrap();
    let (mut lead, mut follow) = (SyncCall::default(), SyncCall::default());
    assert!(wal.poll_sync(position, &mut lead).unwrap().is_some());
    let ended = wal.poll_sync(position, &mut follow).unwrap().unwrap();
    drop(lead);
    assert!(ended.is_fired());
    let heard = wal.poll_sync(position, &mut follow).unwrap().unwrap();
    assert!(!heard.is_fired(), "a wait that never waits");
    (wal, pending, position, follow)
}

#[test]
fn where_a_leader_gives_up_another_leads() {
    let (wal, pending, position, mut follow) = given_up();
    end_one(&pending);
    let own = wal.poll_sync(position, &mut follow).unwrap().unwrap();
    end_one(&pending);
    assert!(own.is_fired());
    assert!(wal.poll_sync(position, &mut follow).unwrap().is_none());
}

#[test]
fn a_failure_that_a_leader_did_not_wait_for_is_heard_by_the_next() {
    let (wal, pending, position, mut follow) = given_up();
    let done = pending.lock().unwrap().remove(0);
    done(Err(io::Error::other("the disk is gone")));
    assert!(wal.poll_sync(position, &mut follow).is_err());
    assert!(wal.sync(position).is_err(), "a failed sync is final");
    assert!(pending.lock().unwrap().is_empty(), "a sync after one that failed");
}
