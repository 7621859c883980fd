//! What a power loss leaves of a state that was removed, and of one that was replaced by an intent that was not safe.

use super::{DestroyJob, InstallJob, StateOpener};
use crate::inbox::{Inbox, Note};
use nori_consensus::ShardId;
use nori_env::{
    Class, FaultFs, FaultPlan, Fs, ManualClock, PowerLoss, SeededEntropy, SeededTasks, SegmentKind,
    Tasks, make_dir,
};
use nori_kv::{Applied, EngineFactory, Parts, WriteBatch};
use nori_lsm::{Components, LsmFactory, Settings};
use nori_observe::NullMeter;
use nori_raft_log::LogOptions;
use nori_wal::WalOptions;
use norikv_replica::{ReplicaError, State};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn parts(fs: &FaultFs) -> (Parts, SeededTasks) {
    let clock = ManualClock::default();
    let tasks = SeededTasks::new(7, clock.clone());
    let parts = Parts {
        fs: Arc::new(fs.clone()),
        tasks: Arc::new(tasks.clone()),
        clock: Arc::new(clock),
        entropy: Arc::new(SeededEntropy::new(7)),
        meter: Arc::new(NullMeter),
    };
    (parts, tasks)
}

fn factory() -> Arc<dyn EngineFactory> {
    let settings = Settings::for_memory(1 << 20);
    Arc::new(LsmFactory::replicated(settings, Components::default()))
}

#[test]
fn a_state_that_was_removed_does_not_come_back() {
    let fs = FaultFs::new(FaultPlan::default());
    let (parts, tasks) = parts(&fs);
    let dir = PathBuf::from("/node/shards/0");
    let engine = factory();
    make_dir(&fs, &dir).unwrap();
    make_dir(&fs, Path::new("/node/snapshots")).unwrap();
    let opened = engine.open(&dir, parts.clone()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    let replicated = opened.replicated().unwrap();
    let _ = replicated.apply(&batch, &WriteBatch::new(), Applied { index: 1, term: 1 }).unwrap();
    drop(opened);
    tasks.run(u64::MAX);
    fs.sync_dir(Path::new("/node/shards")).unwrap();
    assert!(!fs.list(&dir).unwrap().is_empty());
    let inbox = Inbox::new(Arc::new(|| {}));
    let job = DestroyJob {
        shard: ShardId(0),
        before: None,
        dir: dir.clone(),
        intent: PathBuf::from("/node/snapshots/install-0"),
        engine,
        parts,
        inbox: Arc::clone(&inbox),
    };
    tasks.submit(Class::Removal, Box::new(job));
    tasks.run(u64::MAX);
    assert!(inbox.take().iter().any(|note| matches!(note, Note::Destroyed(_, Ok(())))));
    let after = fs.after_power_loss(PowerLoss::LosesAll);
    assert_eq!(after.list(&dir).unwrap_or_default(), [""; 0]);
}

const STATE: &str = "/node/shards/0";
const SNAPSHOTS: &str = "/node/snapshots";
const SNAPSHOT: &str = "/node/snapshots/received";
const INTENT: &str = "/node/snapshots/install-0";

/// A state as of entry 1, and a snapshot as of entry 2, both safe.
fn disk() -> FaultFs {
    let fs = FaultFs::new(FaultPlan::default());
    let (parts, tasks) = parts(&fs);
    for dir in [STATE, SNAPSHOTS, "/other"] {
        make_dir(&fs, Path::new(dir)).unwrap();
    }
    for (dir, entries) in [(STATE, 1), ("/other", 2)] {
        let opened = factory().open(Path::new(dir), parts.clone()).unwrap();
        for index in 1..=entries {
            let (mut batch, at) = (WriteBatch::new(), Applied { index, term: 1 });
            batch.put(b"\x01a", &[0; 100]);
            let replicated = opened.replicated().unwrap();
            let _ = replicated.apply(&batch, &WriteBatch::new(), at).unwrap();
        }
        opened.maintain().unwrap().flush().unwrap();
        if dir != STATE {
            let at = opened.replicated().unwrap().checkpoint(Path::new(SNAPSHOT)).unwrap();
            assert_eq!(at.index, 2);
        }
        drop(opened);
        tasks.run(u64::MAX);
    }
    fs.sync_dir(Path::new("/node/shards")).unwrap();
    fs.sync_dir(Path::new(SNAPSHOTS)).unwrap();
    fs
}

/// Another life begins.
fn open(fs: &FaultFs) -> Result<State, ReplicaError> {
    let (parts, tasks) = parts(fs);
    let own: Arc<dyn Fs> = Arc::new(FaultFs::new(FaultPlan::default()));
    let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 64 << 10 };
    let options = LogOptions { wal, cached_bytes_max: 4 << 10 };
    let dir = Path::new("/log");
    let (tasks, meter) = (Arc::new(tasks), Arc::new(NullMeter));
    let log = nori_raft_log::open("shared", dir, own, tasks, meter, options);
    let opener = StateOpener {
        dir: STATE.into(),
        intent: INTENT.into(),
        snapshots: SNAPSHOTS.into(),
        shard: ShardId(0),
        engine: factory(),
        log: log.unwrap().unwrap(),
        parts,
    };
    opener.open_state()
}

/// A life that ends because the intent cannot be made safe.
fn intend_in_vain(fs: &FaultFs) {
    let (parts, tasks) = parts(fs);
    let inbox = Inbox::new(Arc::new(|| {}));
    let job = InstallJob {
        shard: ShardId(0),
        life: 1,
        dir: STATE.into(),
        snapshot: SNAPSHOT.into(),
        intent: INTENT.into(),
        engine: factory(),
        parts,
        is_intended: None,
        is_off: Arc::new(AtomicBool::new(false)),
        inbox: Arc::clone(&inbox),
    };
    fs.set_plan(FaultPlan { fail_at_sync: Some(fs.syncs() + 1), ..FaultPlan::default() });
    tasks.submit(Class::Flush, Box::new(job));
    tasks.run(u64::MAX);
    let is_failed = |note: &Note| matches!(note, Note::Install(done) if done.result.is_err());
    assert!(inbox.take().iter().any(is_failed));
    fs.set_plan(FaultPlan::default());
}

#[test]
fn a_power_loss_while_an_intent_that_was_not_safe_is_followed_leaves_a_whole_state() {
    let (mut as_of, mut event) = ([0; 2], 0);
    loop {
        event += 1;
        let fs = disk();
        intend_in_vain(&fs);
        let at = Some(fs.events() + event);
        fs.set_plan(FaultPlan { crash_at_event: at, ..FaultPlan::default() });
        let opened = open(&fs).map(|state| state.applied().index.0);
        let draws = (0..4).map(PowerLoss::Draws);
        for loss in [PowerLoss::LosesAll, PowerLoss::KeepsAll].into_iter().chain(draws) {
            let after = FaultFs::over(fs.after_power_loss(loss), FaultPlan::default());
            let state = open(&after).unwrap_or_else(|why| panic!("{event} {loss:?}: {why}"));
            let index = state.applied().index.0;
            as_of[index as usize - 1] += 1;
            assert!(opened.is_err() || index == 2, "{event} {loss:?}");
        }
        if !fs.has_crashed() {
            break;
        }
    }
    assert!(event > 10 && as_of.iter().all(|times| *times > 0), "{event}: {as_of:?}");
}
