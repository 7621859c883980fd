//! What a power loss leaves of a state that was removed.

use super::DestroyJob;
use crate::inbox::{Inbox, Note};
use nori_consensus::ShardId;
use nori_env::{
    Class, FaultFs, FaultPlan, Fs, ManualClock, PowerLoss, SeededEntropy, SeededTasks, Tasks,
    make_dir,
};
use nori_kv::{Applied, EngineFactory, Parts, WriteBatch};
use nori_lsm::{Components, LsmFactory, Settings};
use nori_observe::NullMeter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn a_state_that_was_removed_does_not_come_back() {
    let clock = ManualClock::default();
    let tasks = SeededTasks::new(7, clock.clone());
    let fs = FaultFs::new(FaultPlan::default());
    let parts = Parts {
        fs: Arc::new(fs.clone()),
        tasks: Arc::new(tasks.clone()),
        clock: Arc::new(clock),
        entropy: Arc::new(SeededEntropy::new(7)),
        meter: Arc::new(NullMeter),
    };
    let dir = PathBuf::from("/node/shards/0");
    let lsm = LsmFactory::replicated(Settings::for_memory(1 << 20), Components::default());
    let engine: Arc<dyn EngineFactory> = Arc::new(lsm);
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
