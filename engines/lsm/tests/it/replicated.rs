//! Stores under a replicated log: whatever interrupts them, what is left is exactly the entries up to the one that they say, and that
//! one is never behind what they had said before.
//!
//! 1. A workload is up to three operations out of entries that put, delete, do nothing, or have a new tail alone, a flush through the last entry, compact,
//!    checkpoint, install of the last checkpoint over another store, and reopen. All of them are run.
//! 2. The power fails, or the process is killed, at each event of its last operation and of the jobs after it; or that event fails.
//! 3. Then the store, every checkpoint that was made, and the other store are looked at. An installation that was cut off says so, and can
//!    be done again.

use crate::parts::{replicated, threaded, tiny};
use nori_env::{FaultFs, FaultPlan, Fs, MemFs, PowerLoss, SeededTasks, Signal, Tasks, Waited};
use nori_kv::{
    Applied, Engine, EngineFactory, ErrorKind, KeyRange, Parts, Progress, WriteBatch, stat,
};
use nori_lsm::{Components, LsmFactory, Settings};
use nori_model::trial::{Rows, rows, seeded};
use nori_observe::NullMeter;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/small/store";
const OTHER: &str = "/small/other";
/// The key of the tails' row.
const TAIL: &[u8] = b"tail";
const OPERATIONS_MAX: u32 = 3;
/// More than the jobs of any of these workloads take.
const STEPS_MAX: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Put,
    Delete,
    Nothing,
    Tail,
    Flush,
    Compact,
    Checkpoint,
    Install,
    Reopen,
}

const OPS: [Op; 9] = [
    Op::Put,
    Op::Delete,
    Op::Nothing,
    Op::Tail,
    Op::Flush,
    Op::Compact,
    Op::Checkpoint,
    Op::Install,
    Op::Reopen,
];

fn copy(n: usize) -> PathBuf {
    PathBuf::from(format!("/small/copy-{n}"))
}

/// What was applied and promised.
#[derive(Default)]
struct Story {
    /// `states[n]`: the rows after entry `n`.
    states: Vec<Rows>,
    /// The last entry that the store said to be durable.
    durable: u64,
    /// Checkpoints that were begun, each with its entry if it was made.
    copies: Vec<Option<u64>>,
    /// The entries that the other store may be at, and whether it is the last of them for certain.
    other: (Vec<u64>, bool),
    /// The events before the last operation, and after all jobs.
    events: (u64, u64),
    /// Whether all operations went.
    is_whole: bool,
}

fn apply(
    engine: &dyn Engine,
    tasks: &dyn Tasks,
    (batch, tail): (&WriteBatch, &WriteBatch),
    at: Applied,
) -> nori_kv::Result<()> {
    while let Progress::Busy(signal) = engine.replicated().unwrap().apply(batch, tail, at)? {
        assert_eq!(tasks.wait(&signal), Waited::Fired, "nothing will let it go on");
    }
    Ok(())
}

fn flush_through(engine: &dyn Engine, tasks: &dyn Tasks, index: u64) -> u64 {
    let done = Signal::new();
    engine.replicated().unwrap().flush_through(index, done.clone());
    assert_eq!(tasks.wait(&done), Waited::Fired);
    engine.replicated().unwrap().durable_applied().index
}

struct Run<'a> {
    factory: LsmFactory,
    parts: Parts,
    tasks: &'a SeededTasks,
    story: Story,
    engine: Option<Arc<dyn Engine>>,
    term: u64,
    /// Of the last entry. A put and an entry of its own change it.
    tail: WriteBatch,
}

impl Run<'_> {
    fn open(&mut self) -> bool {
        self.engine = self.factory.open(Path::new(DIR), self.parts.clone()).ok();
        let Some(engine) = &self.engine else { return false };
        let found = engine.replicated().unwrap().durable_applied().index;
        assert!(found >= self.story.durable, "it fell over an opening");
        self.story.durable = found;
        self.story.states.truncate(found as usize + 1);
        self.term += 1;
        self.tail.clear();
        if let Some(value) = self.story.states.last().unwrap().get(TAIL) {
            self.tail.put(TAIL, value);
        }
        true
    }

    fn entry(&mut self, op: Op) -> bool {
        let (mut rows, mut batch) = (self.story.states.last().unwrap().clone(), WriteBatch::new());
        let index = self.story.states.len() as u64;
        match op {
            Op::Put => {
                let value = format!("{index} of {}", self.term).into_bytes();
                batch.put(b"a", &value).put(&index.to_be_bytes(), &value);
                rows.insert(b"a".to_vec(), value.clone());
                rows.insert(index.to_be_bytes().to_vec(), value);
            }
            Op::Tail => {}
            Op::Delete => {
                batch.delete(b"a");
                rows.remove(&b"a"[..]);
            }
            _ => {}
        }
        if matches!(op, Op::Put | Op::Tail) {
            let value = format!("behind {index} of {}", self.term).into_bytes();
            self.tail.clear();
            self.tail.put(TAIL, &value);
            rows.insert(TAIL.to_vec(), value);
        }
        self.story.states.push(rows);
        let at = Applied { index, term: self.term };
        let engine = self.engine.as_ref().unwrap();
        apply(&**engine, self.tasks, (&batch, &self.tail), at).is_ok()
    }

    /// Whether it went.
    fn act(&mut self, op: Op) -> bool {
        let engine = Arc::clone(self.engine.as_ref().unwrap());
        let last = self.story.states.len() as u64 - 1;
        let went = match op {
            Op::Put | Op::Delete | Op::Nothing | Op::Tail => self.entry(op),
            Op::Flush => flush_through(&*engine, self.tasks, last) >= last,
            Op::Compact => engine.maintain().unwrap().compact(&KeyRange::all()).is_ok(),
            Op::Checkpoint => {
                self.story.copies.push(None);
                let n = self.story.copies.len() - 1;
                let of = engine.replicated().unwrap().checkpoint(&copy(n));
                self.story.copies[n] = of.as_ref().ok().map(|applied| applied.index);
                of.is_ok()
            }
            Op::Install => match self.story.copies.last() {
                Some(Some(of)) => {
                    let from = copy(self.story.copies.len() - 1);
                    self.story.other.0.push(*of);
                    self.story.other.1 = false;
                    let outcome = self.factory.install(Path::new(OTHER), &from, &self.parts);
                    self.story.other.1 = outcome.is_ok();
                    outcome.is_ok()
                }
                _ => true,
            },
            Op::Reopen => {
                drop((engine, self.engine.take()));
                return self.open();
            }
        };
        self.story.durable = engine.replicated().unwrap().durable_applied().index;
        went
    }
}

/// Runs a workload until it ends or something fails.
fn run(ops: &[Op], fs: &FaultFs) -> Story {
    let (parts, tasks) = seeded(5, fs.clone(), Arc::new(NullMeter));
    let story = Story { states: vec![Rows::new()], ..Story::default() };
    let factory = replicated(&[]);
    let mut run = Run {
        factory,
        parts,
        tasks: &tasks,
        story,
        engine: None,
        term: 0,
        tail: WriteBatch::new(),
    };
    if !run.open() {
        return run.story;
    }
    for (n, op) in ops.iter().enumerate() {
        if n + 1 == ops.len() && n > 0 {
            run.story.events.0 = fs.events();
        }
        if !run.act(*op) {
            return run.story;
        }
    }
    tasks.run(STEPS_MAX);
    if let Some(engine) = &run.engine {
        run.story.durable = engine.replicated().unwrap().durable_applied().index;
    }
    run.story.events.1 = fs.events();
    run.story.is_whole = true;
    run.story
}

fn check(image: MemFs, story: &Story, what: &str) {
    let (parts, tasks) = seeded(6, image, Arc::new(NullMeter));
    let factory = replicated(&[]);
    let open = |dir: &Path| {
        let opened = factory.open(dir, parts.clone());
        opened.unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let at = |engine: &dyn Engine| engine.replicated().unwrap().durable_applied();
    let engine = open(Path::new(DIR));
    let found = at(&*engine);
    assert!(found.index >= story.durable, "{what}: {found:?}, and {} was durable", story.durable);
    let expected = story.states.get(found.index as usize);
    let mut expected = expected.unwrap_or_else(|| panic!("{what}: {found:?}")).clone();
    assert_eq!(rows(&*engine).unwrap(), expected, "{what}: {found:?}");
    let next = Applied { index: found.index + 1, term: found.term + 10 };
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash");
    // What earlier tails wrote stays.
    apply(&*engine, &tasks, (&batch, &WriteBatch::new()), next).unwrap();
    assert_eq!(flush_through(&*engine, &tasks, next.index), next.index, "{what}");
    drop(engine);
    expected.insert(b"after".to_vec(), b"the crash".to_vec());
    let engine = open(Path::new(DIR));
    assert_eq!((rows(&*engine).unwrap(), at(&*engine)), (expected, next), "{what}");
    for (n, of) in story.copies.iter().enumerate() {
        check_copy(&factory, &parts, story, (n, *of), what);
    }
    check_other(&factory, &parts, story, what);
}

/// A checkpoint that was made is whole; one that was not is never taken for one that was.
fn check_copy(
    factory: &LsmFactory,
    parts: &Parts,
    story: &Story,
    (n, of): (usize, Option<u64>),
    what: &str,
) {
    let to = PathBuf::from(format!("/small/from-copy-{n}"));
    match (factory.install(&to, &copy(n), parts), of) {
        (Err(_), None) => {}
        (Err(error), Some(_)) => panic!("{what}: checkpoint {n}: {error}"),
        (Ok(()), _) => {
            let engine = factory.open(&to, parts.clone()).unwrap();
            let found = engine.replicated().unwrap().durable_applied().index;
            assert!(of.is_none_or(|of| of == found), "{what}: checkpoint {n}: {found}");
            // Entries after a reopen may have taken the place of what the checkpoint has.
            let is_kept = found <= story.durable;
            let expected = story.states.get(found as usize).filter(|_| is_kept);
            assert_eq!(Some(&rows(&*engine).unwrap()), expected, "{what}: checkpoint {n}");
        }
    }
}

fn check_other(factory: &LsmFactory, parts: &Parts, story: &Story, what: &str) {
    let (possible, is_certain) = &story.other;
    let Some(last) = possible.last() else { return };
    let mut opened = factory.open(Path::new(OTHER), parts.clone());
    if let Err(error) = &opened {
        assert!(!is_certain && error.kind() == ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains("install it again"), "{what}: {error}");
        let from = copy(story.copies.len() - 1);
        factory.install(Path::new(OTHER), &from, parts).unwrap();
        opened = factory.open(Path::new(OTHER), parts.clone());
    }
    let engine = opened.unwrap();
    let found = engine.replicated().unwrap().durable_applied().index;
    let is_possible =
        if *is_certain { found == *last } else { found == 0 || possible.contains(&found) };
    assert!(is_possible, "{what}: the other store is at {found}");
    assert_eq!(rows(&*engine).unwrap(), story.states[found as usize], "{what}: the other store");
}

/// Interrupts one workload everywhere; the number of interruptions.
fn interrupt(ops: &[Op]) -> u64 {
    let whole = run(ops, &FaultFs::new(FaultPlan::default()));
    assert!(whole.is_whole, "{ops:?} fails by itself");
    let mut count = 0;
    for at in whole.events.0 + 1..=whole.events.1 + 1 {
        let plan = FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() };
        let fs = FaultFs::new(plan);
        let story = run(ops, &fs);
        let draws = [PowerLoss::Draws(at), PowerLoss::Tears(at), PowerLoss::LosesAll];
        for loss in draws {
            check(fs.after_power_loss(loss), &story, &format!("{ops:?}, event {at}, {loss:?}"));
        }
        check(fs.after_kill(), &story, &format!("{ops:?}, event {at}, kill"));
        count += 4;
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let plan = FaultPlan { fail_at_event: Some((at, kind)), ..FaultPlan::default() };
            let fs = FaultFs::new(plan);
            let story = run(ops, &fs);
            let what = format!("{ops:?}, event {at} fails, {kind:?}");
            check(fs.after_power_loss(PowerLoss::LosesAll), &story, &what);
            check(fs.after_kill(), &story, &what);
            count += 2;
        }
    }
    count
}

fn workload(mut n: usize, len: u32) -> Vec<Op> {
    let mut ops = Vec::new();
    for _ in 0..len {
        ops.push(OPS[n % OPS.len()]);
        n /= OPS.len();
    }
    ops
}

#[test]
fn no_small_workload_under_a_replicated_log_says_more_or_less_than_it_has_wherever_it_is_interrupted()
 {
    let (mut all, mut count) = (0, 0);
    for len in 1..=OPERATIONS_MAX {
        for n in 0..OPS.len().pow(len) {
            all += 1;
            count += interrupt(&workload(n, len));
        }
    }
    assert!(count > 10 * all);
    println!("{all} workloads, {count} interruptions");
}

/// What a put of the `n`-th key does, and many of them fill memtables.
fn filling(n: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(&(n * 7_919 % 10_007).to_be_bytes(), &[n as u8; 120]);
    batch
}

#[test]
fn many_entries_crash_anywhere_and_leave_what_the_store_says() {
    let model = |upto: u64| {
        let mut rows = Rows::new();
        for n in 1..=upto {
            rows.insert((n * 7_919 % 10_007).to_be_bytes().to_vec(), vec![n as u8; 120]);
            rows.insert(TAIL.to_vec(), n.to_be_bytes().to_vec());
        }
        rows
    };
    let write = |fs: &FaultFs| {
        let (parts, tasks) = seeded(11, fs.clone(), Arc::new(NullMeter));
        let Ok(engine) = replicated(&[]).open(Path::new(DIR), parts) else { return 0 };
        for n in 1..=600_u64 {
            let mut tail = WriteBatch::new();
            tail.put(TAIL, &n.to_be_bytes());
            let at = Applied { index: n, term: 1 };
            if apply(&*engine, &tasks, (&filling(n), &tail), at).is_err() {
                break;
            }
            tasks.run(n % 4);
        }
        engine.replicated().unwrap().durable_applied().index
    };
    let whole = FaultFs::new(FaultPlan::default());
    assert!(write(&whole) > 400, "full memtables are flushed by themselves");
    for at in (1..whole.events()).step_by(5) {
        let fs = FaultFs::new(FaultPlan { crash_at_event: Some(at), ..FaultPlan::default() });
        let durable = write(&fs);
        for loss in [PowerLoss::LosesAll, PowerLoss::Tears(at)] {
            let image = fs.after_power_loss(loss);
            let (parts, _tasks) = seeded(12, image, Arc::new(NullMeter));
            let engine = replicated(&[]).open(Path::new(DIR), parts).unwrap();
            let found = engine.replicated().unwrap().durable_applied().index;
            assert!(found >= durable, "event {at}: {found} of {durable}");
            let is_right = rows(&*engine).unwrap() == model(found);
            assert!(is_right, "event {at}, {loss:?}: not what {found} entries make");
        }
    }
}

#[test]
fn a_store_is_opened_as_what_it_is() {
    let fs = MemFs::new();
    let (parts, _tasks) = seeded(1, fs.clone(), Arc::new(NullMeter));
    let (logged, under) = (crate::parts::factory(&[]), replicated(&[]));
    drop(logged.open(Path::new("/logged"), parts.clone()).unwrap());
    drop(under.open(Path::new("/under"), parts.clone()).unwrap());
    for (factory, dir, what) in
        [(&under, "/logged", "has a log of its own"), (&logged, "/under", "under a replicated log")]
    {
        let Err(error) = factory.open(Path::new(dir), parts.clone()) else {
            panic!("{dir} was opened")
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(fs.list(Path::new("/under")).unwrap().iter().all(|name| !name.ends_with(".log")));
    let engine = under.open(Path::new("/under"), parts.clone()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    let error = engine.write(&batch, nori_env::Durability::Os).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(logged.open(Path::new("/logged"), parts).unwrap().replicated().is_none());
}

/// Stores of one node, some large and many small, with memtables that have a budget together.
#[test]
fn stores_that_share_a_budget_stay_within_it_and_the_largest_memtable_goes_first() {
    let settings = Settings { memtable_bytes: 64 << 10, ..tiny() };
    let factory = LsmFactory::replicated(settings, Components::default());
    let shared = Arc::clone(factory.replicated.as_ref().unwrap());
    let (parts, tasks) = seeded(3, MemFs::new(), Arc::new(NullMeter));
    let open = |n: u64| factory.open(&PathBuf::from(format!("/shard-{n}")), parts.clone()).unwrap();
    let stores: Vec<_> = (0..12).map(open).collect();
    let mut index = [0; 12];
    for n in 0..40_000_u64 {
        // Store 0 takes half of all entries.
        let to = if n % 2 == 0 { 0 } else { n as usize / 2 % 12 };
        index[to] += 1;
        let at = Applied { index: index[to], term: 1 };
        apply(&*stores[to], &tasks, (&filling(n), &WriteBatch::new()), at).unwrap();
        if n % 16 == 0 {
            tasks.run(2);
        }
        // An entry may bring a few new nodes.
        let (bytes, most) = (shared.memtable_bytes(), shared.memtables_bytes_max());
        assert!(bytes <= most + (8 << 10), "{bytes} of {most} after {n} entries");
    }
    let flushes = |n: usize| stores[n].stats().number(stat::FLUSHES).unwrap();
    assert!(flushes(0) > 3 * flushes(5), "{} and {}", flushes(0), flushes(5));
    assert!(stores.iter().all(|store| store.get(&7_919_u64.to_be_bytes()).is_ok()));
    drop(stores);
    assert_eq!(shared.memtable_bytes(), 0, "a store that is closed gives back what it had");
}

#[test]
fn stores_that_share_leave_to_compact_all_come_to_it_on_threads() {
    let settings = Settings { compaction_jobs_max: 1, l0_runs_trigger: 4, ..tiny() };
    let factory = LsmFactory::replicated(settings, Components::default());
    let parts = threaded(MemFs::new());
    let open = |n: u64| factory.open(&PathBuf::from(format!("/shard-{n}")), parts.clone()).unwrap();
    let stores: Vec<_> = (0..6).map(open).collect();
    for n in 1..=3_000 {
        for store in &stores {
            let at = Applied { index: n, term: 1 };
            apply(&**store, &*parts.tasks, (&filling(n), &WriteBatch::new()), at).unwrap();
        }
    }
    for store in &stores {
        store.maintain().unwrap().settle().unwrap();
        let level0 = store.stats().levels[0];
        assert!(level0.runs <= 4, "{level0:?}: nobody compacted it");
        assert_eq!(rows(&**store).unwrap().len(), 3_000);
    }
}
