//! Every small workload, interrupted at every file-system event: what recovery must do, without luck.
//!
//! 1. A workload is up to three operations out of puts, deletes, a range delete, a batch of two, flush, compact and reopen
//!    over two keys. All of them are run in each class.
//! 2. The power fails, or the process is killed, at each event of its *last* operation and of the jobs after it: earlier
//!    events are those of a shorter workload.
//! 3. Or that event fails, with half of its bytes written; or a read fails or is short, once; or the disk is full from that event
//!    on; and the process goes on until a call says so.
//! 4. What is left must open, hold the rows after some prefix of the batches that has all that was promised, take a write,
//!    and open again.
//!
//! `NORI_EXHAUSTIVE=4` makes it up to four operations.

use crate::parts::factory;
use nori_env::{Durability, FaultFs, FaultPlan, MemFs, PowerLoss};
use nori_kv::{Engine, EngineFactory, KeyRange, Parts, WriteBatch};
use nori_model::trial::{self, Rows, seeded};
use nori_observe::NullMeter;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/small/store";
/// The longest workload when nothing else is asked for.
const OPERATIONS_MAX: usize = 3;
/// More than the jobs of any of these workloads take.
const STEPS_MAX: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    PutA,
    PutB,
    DeleteA,
    DeleteRange,
    Batch,
    Flush,
    Compact,
    Reopen,
}

const OPS: [Op; 8] = [
    Op::PutA,
    Op::PutB,
    Op::DeleteA,
    Op::DeleteRange,
    Op::Batch,
    Op::Flush,
    Op::Compact,
    Op::Reopen,
];

impl Op {
    /// The batch of a write, the `n`-th operation, and what it does to the rows.
    fn batch(self, n: usize, rows: &mut Rows) -> Option<WriteBatch> {
        let (a, b, value) = (b"a".to_vec(), b"b".to_vec(), format!("value-{n}").into_bytes());
        let mut batch = WriteBatch::new();
        match self {
            Self::PutA | Self::PutB => {
                let key = if self == Self::PutA { a } else { b };
                batch.put(&key, &value);
                rows.insert(key, value);
            }
            Self::DeleteA => {
                batch.delete(&a);
                rows.remove(&a);
            }
            Self::DeleteRange => {
                batch.delete_range(&a, b"c");
                rows.clear();
            }
            Self::Batch => {
                batch.delete(&a).put(&b, &value);
                rows.remove(&a);
                rows.insert(b, value);
            }
            Self::Flush | Self::Compact | Self::Reopen => return None,
        }
        Some(batch)
    }
}

/// What was written and promised.
struct Story {
    /// `states[n]`: the rows after `n` batches.
    states: Vec<Rows>,
    acknowledged: usize,
    /// The events before the last operation, and after all jobs.
    events: (u64, u64),
    /// The reads, likewise.
    reads: (u64, u64),
}

/// Runs a workload until it ends or something fails.
fn run(ops: &[Op], class: Durability, fs: &FaultFs) -> Story {
    let (parts, tasks) = seeded(5, fs.clone(), Arc::new(NullMeter));
    let mut story =
        Story { states: vec![Rows::new()], acknowledged: 0, events: (0, 0), reads: (0, 0) };
    let factory = factory(&[]);
    let open = |parts: &Parts| factory.open(Path::new(DIR), parts.clone());
    let mut engine = open(&parts).ok();
    for (n, op) in ops.iter().enumerate() {
        if n + 1 == ops.len() && n > 0 {
            (story.events.0, story.reads.0) = (fs.events(), fs.reads());
        }
        let Some(present) = engine.as_deref() else { return story };
        let mut state = story.states.last().cloned().unwrap();
        let done = match (op, op.batch(n, &mut state)) {
            (_, Some(batch)) => {
                story.states.push(state);
                let written = present.write(&batch, class).is_ok();
                story.acknowledged += usize::from(written);
                written
            }
            (Op::Flush, _) => present.maintain().unwrap().flush().is_ok(),
            (Op::Compact, _) => present.maintain().unwrap().compact(&KeyRange::all()).is_ok(),
            _ => {
                drop(engine.take());
                engine = open(&parts).ok();
                engine.is_some()
            }
        };
        if !done {
            return story;
        }
    }
    tasks.run(STEPS_MAX);
    (story.events.1, story.reads.1) = (fs.events(), fs.reads());
    story
}

fn rows(engine: &dyn Engine) -> Rows {
    let map = trial::rows(engine).unwrap();
    for key in [b"a", b"b"] {
        let value = engine.get(key).unwrap();
        assert_eq!(value.as_deref(), map.get(&key[..]).map(Vec::as_slice), "a get and a scan");
    }
    map
}

fn check(image: MemFs, story: &Story, least: usize, what: &dyn Fn() -> String) {
    let (parts, _tasks) = seeded(6, image, Arc::new(NullMeter));
    let factory = factory(&[]);
    let engine = factory.open(Path::new(DIR), parts.clone());
    let engine = engine.unwrap_or_else(|error| panic!("{}: {error}", what()));
    let mut found = rows(&*engine);
    let prefix = story.states.iter().rposition(|state| *state == found);
    let prefix = prefix.unwrap_or_else(|| panic!("{}: {found:?} is no prefix", what()));
    assert!(prefix >= least, "{}: {prefix} batches are left of {least}", what());
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash");
    engine.write(&batch, Durability::Sync).unwrap();
    drop(engine);
    let again = factory.open(Path::new(DIR), parts).unwrap();
    found.insert(b"after".to_vec(), b"the crash".to_vec());
    assert_eq!(rows(&*again), found, "{}: the second recovery differs", what());
}

/// Interrupts one workload everywhere; the number of interruptions.
fn interrupt(ops: &[Op], class: Durability) -> u64 {
    let whole = run(ops, class, &FaultFs::new(FaultPlan::default()));
    assert_eq!(whole.acknowledged + 1, whole.states.len(), "{ops:?} fails by itself");
    let mut count = 0;
    for at in whole.events.0 + 1..=whole.events.1 + 1 {
        let plan = FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() };
        let fs = FaultFs::new(plan);
        let story = run(ops, class, &fs);
        let synced = if class == Durability::Sync { story.acknowledged } else { 0 };
        let draws = [PowerLoss::Draws(at), PowerLoss::Draws(!at), PowerLoss::Tears(at)];
        for loss in draws.into_iter().chain([PowerLoss::LosesAll]) {
            let what = || format!("{ops:?}, {class}, event {at}, {loss:?}");
            check(fs.after_power_loss(loss), &story, synced, &what);
            count += 1;
        }
        let what = || format!("{ops:?}, {class}, event {at}, kill");
        check(fs.after_kill(), &story, story.acknowledged, &what);
        count += 1;
    }
    count
}

/// Has every event and every read of one workload fail; the number of failures.
fn fail(ops: &[Op], class: Durability) -> u64 {
    let whole = run(ops, class, &FaultFs::new(FaultPlan::default()));
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull];
    let events = (whole.events.0 + 1..=whole.events.1).flat_map(|at| kinds.map(|kind| (at, kind)));
    let events = events.map(|at| FaultPlan { fail_at_event: Some(at), ..FaultPlan::default() });
    let full = (whole.events.0 + 1..=whole.events.1)
        .map(|at| FaultPlan { full_from_event: Some(at), ..FaultPlan::default() });
    let reads = (whole.reads.0 + 1..=whole.reads.1).flat_map(|at| {
        let fails = FaultPlan { fail_at_read: Some(at), ..FaultPlan::default() };
        [fails, FaultPlan { short_at_read: Some(at), ..FaultPlan::default() }]
    });
    let mut count = 0;
    for plan in events.chain(full).chain(reads) {
        let fs = FaultFs::new(plan);
        let story = run(ops, class, &fs);
        let synced = if class == Durability::Sync { story.acknowledged } else { 0 };
        let what = || format!("{ops:?}, {class}, {plan:?}");
        check(fs.after_power_loss(PowerLoss::LosesAll), &story, synced, &what);
        check(fs.after_kill(), &story, story.acknowledged, &what);
        go_on(&fs, &story, &what);
        count += 1;
    }
    count
}

/// The next process opens the store on the disk as it is, without a restart of the machine, and writes under `sync`; then the power
/// fails. A sync that failed before has left the page cache and the disk at odds.
fn go_on(fs: &FaultFs, story: &Story, what: &dyn Fn() -> String) {
    fs.set_plan(FaultPlan::default());
    let (parts, _tasks) = seeded(7, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts);
    let engine = engine.unwrap_or_else(|error| panic!("{}: opened again: {error}", what()));
    let mut found = rows(&*engine);
    assert!(story.states.contains(&found), "{}: {found:?} is no prefix", what());
    let mut batch = WriteBatch::new();
    batch.put(b"again", b"1");
    engine.write(&batch, Durability::Sync).unwrap();
    found.insert(b"again".to_vec(), b"1".to_vec());
    let left = Story { states: vec![found], acknowledged: 0, events: (0, 0), reads: (0, 0) };
    let what = || format!("{}: opened again and synced", what());
    check(fs.after_power_loss(PowerLoss::LosesAll), &left, 0, &what);
}

/// Every workload of `len` operations, numbered.
fn workloads(len: usize) -> impl Iterator<Item = Vec<Op>> {
    let count = OPS.len().pow(len as u32);
    (0..count).map(move |mut n| {
        let mut ops = Vec::with_capacity(len);
        for _ in 0..len {
            ops.push(OPS[n % OPS.len()]);
            n /= OPS.len();
        }
        ops
    })
}

/// Runs them all; what was seen, in a line.
fn interrupt_all(class: Durability) -> String {
    let asked = std::env::var("NORI_EXHAUSTIVE").ok().and_then(|len| len.parse().ok());
    let len_max: usize = asked.unwrap_or(OPERATIONS_MAX);
    let (mut all, mut count, mut failures) = (0, 0, 0);
    for ops in (1..=len_max).flat_map(workloads) {
        all += 1;
        count += interrupt(&ops, class);
        failures += fail(&ops, class);
    }
    assert!(count > 10 * all && failures > 10 * all);
    format!("{class}: {all} workloads, {count} interruptions and {failures} failures recovered")
}

#[test]
fn no_small_workload_under_os_loses_what_it_was_promised_wherever_it_is_interrupted() {
    println!("{}", interrupt_all(Durability::Os));
}

#[test]
fn no_small_workload_under_group_loses_what_it_was_promised_wherever_it_is_interrupted() {
    println!("{}", interrupt_all(Durability::Group { max_age: Duration::from_millis(5) }));
}

#[test]
fn no_small_workload_under_sync_loses_what_it_was_promised_wherever_it_is_interrupted() {
    println!("{}", interrupt_all(Durability::Sync));
}
