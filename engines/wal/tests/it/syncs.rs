//! Callers that share a sync: when they wake, and what becomes of them when its leader goes.

use nori_env::{Fs, HeldSyncs, ManualClock, MemFs, SeededTasks, SegmentKind, SlowFs};
use nori_observe::NullMeter;
use nori_wal::{Resume, SyncCall, Wal, WalOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A log on a disk whose syncs of segments end when the test says so.
fn slow() -> (Arc<Wal>, HeldSyncs) {
    let fs = SlowFs::new(MemFs::new());
    let (dir, pending) = (Path::new("/store"), fs.segments.clone());
    fs.create_dir(dir).unwrap();
    pending.hold();
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let options = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
    let wal = Wal::create(dir, Arc::new(fs), tasks, &NullMeter, options, Resume::at(1)).unwrap();
    (Arc::new(wal), pending)
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
    pending.end_first(None);
    assert!(wal.poll_sync(position, &mut lead).unwrap().is_none());
    assert!(was_safe.load(Ordering::SeqCst), "woken before the position was safe");
    assert!(pending.waiting() == 0, "two syncs where one was enough");
}

/// A position that a leader had asked the disk about when it went, and the call of who comes after it, which waits.
fn given_up() -> (Arc<Wal>, HeldSyncs, u64, SyncCall) {
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
    pending.end_first(None);
    let own = wal.poll_sync(position, &mut follow).unwrap().unwrap();
    pending.end_first(None);
    assert!(own.is_fired());
    assert!(wal.poll_sync(position, &mut follow).unwrap().is_none());
}

#[test]
fn a_failure_that_a_leader_did_not_wait_for_is_heard_by_the_next() {
    let (wal, pending, position, mut follow) = given_up();
    pending.end_first(Some(io::Error::other("the disk is gone")));
    assert!(wal.poll_sync(position, &mut follow).is_err());
    assert!(wal.sync(position).is_err(), "a failed sync is final");
    assert!(pending.waiting() == 0, "a sync after one that failed");
}
