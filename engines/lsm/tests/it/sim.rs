//! The engine in a seeded world: the same seed gives the same trace, and a thousand histories agree with the oracle.

use crate::parts::{factory, threaded};
use nori_env::{
    Class, Durability, Entropy, Instant, Job, MemFs, SeededEntropy, SeededTasks, Signal, Tasks,
    Waited,
};
use nori_kv::{Engine, EngineFactory, KeyRange, WriteBatch, stat};
use nori_model::trial::history::{Counts, history};
use nori_model::trial::seeded;
use nori_observe::{NullMeter, Registry};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "/sim/store";
const SEEDS: u64 = 1_000;
const OPERATIONS: u64 = 500;
/// Far more than a flush or a compaction of these stores takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A factory with parts drawn from the seed, and every other time with filters that know prefixes.
fn drawn(seed: u64) -> nori_lsm::LsmFactory {
    let entropy = SeededEntropy::new(seed);
    let all = nori_lsm::Components::list();
    let chosen = nori_lsm::SEAMS.map(|seam| {
        let names: Vec<&'static str> =
            all.iter().filter(|line| line.seam == seam).map(|line| line.name).collect();
        (seam, names[entropy.below(names.len() as u64) as usize])
    });
    let mut factory = factory(&chosen);
    factory.settings.filter_prefix_bytes = [0, 6][entropy.below(2) as usize];
    factory
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| history(&drawn(seed), seed, 2_000);
    for seed in 0..5 {
        let (a, b) = (trace(seed), trace(seed));
        assert!(a.events.len() > 20, "seed {seed}: only {} events", a.events.len());
        assert!(a == b, "seed {seed} gave two traces");
    }
    assert!(trace(1).events != trace(2).events);
}

#[test]
fn a_thousand_histories_agree_with_the_oracle() {
    let mut total = Counts::default();
    for seed in 0..SEEDS {
        total.add(&history(&drawn(seed), seed, OPERATIONS).counts);
    }
    println!("{SEEDS} histories: {total:?}");
    let Counts { flushes, compactions, reopened, .. } = total;
    assert!(flushes > SEEDS && compactions > SEEDS / 4 && reopened > SEEDS);
}

#[test]
fn a_writer_is_never_left_waiting_without_a_job() {
    let (parts, tasks) = seeded(3, MemFs::new(), Arc::new(NullMeter));
    let factory = factory(&[]);
    let engine = factory.open(Path::new(DIR), parts).unwrap();
    let mut batch = WriteBatch::new();
    for n in 0..5_000u32 {
        batch.clear();
        batch.put(&n.wrapping_mul(2_654_435_761).to_be_bytes(), &[1; 100]);
        engine.write(&batch, Durability::Os).unwrap();
    }
    assert!(engine.stats().number(stat::STALLS).unwrap() > 0, "the test is to stall");
    drop(engine);
    assert_eq!(tasks.wait(&Signal::fired()), Waited::Fired);
}

#[test]
fn what_waits_and_what_runs_is_counted_while_it_does_and_memory_has_its_owners() {
    let (parts, tasks) = seeded(3, MemFs::new(), Arc::new(NullMeter));
    let mut factory = factory(&[]);
    factory.settings.l0_runs_trigger = 2;
    factory.settings.memtables_sealed_max = 40;
    let engine = factory.open(Path::new(DIR), parts).unwrap();
    let number = |name: &str| engine.stats().number(name).unwrap();
    let names = [stat::MEMTABLES_SEALED, stat::COMPACTIONS_RUNNING, stat::FILTER_BYTES];
    assert_eq!(names.map(number), [0, 0, 0]);
    let mut batch = WriteBatch::new();
    let mut n = 0_u32;
    while number(stat::MEMTABLES_SEALED) < 4 {
        batch.clear();
        batch.put(&n.wrapping_mul(2_654_435_761).to_be_bytes(), &[1; 400]);
        engine.write(&batch, Durability::Os).unwrap();
        n += 1;
        assert!(n < 100_000, "no job runs, so memtables are sealed and stay");
    }
    let sealed = number(stat::MEMTABLES_SEALED_BYTES);
    assert!(0 < sealed && sealed <= number(stat::MEMTABLE_BYTES));
    let mut steps = 0;
    while number(stat::COMPACTIONS_RUNNING) == 0 {
        tasks.run(1);
        steps += 1;
        assert!(steps < 10_000, "four runs in level 0 are compacted");
    }
    engine.maintain().unwrap().settle().unwrap();
    let names = [stat::MEMTABLES_SEALED, stat::MEMTABLES_SEALED_BYTES, stat::COMPACTIONS_RUNNING];
    assert_eq!(names.map(number), [0, 0, 0]);
    let (filters, indexes) = (number(stat::FILTER_BYTES), number(stat::INDEX_BYTES));
    assert!(filters > 0 && indexes > 0);
    // Nobody holds a table that is not live, and nothing was deleted in ranges.
    assert_eq!(filters + indexes, number(stat::TABLE_MEMORY_BYTES));
}

#[test]
fn stalls_are_told_as_episodes_that_add_up() {
    let meter = Arc::new(Registry::default());
    let (parts, tasks) =
        seeded(3, MemFs::new(), Arc::clone(&meter) as Arc<dyn nori_observe::Meter>);
    let mut factory = factory(&[]);
    factory.settings.l0_runs_trigger = 2;
    factory.settings.memtables_sealed_max = 40;
    let engine = factory.open(Path::new(DIR), parts).unwrap();
    let mut batch = WriteBatch::new();
    for n in 0..3_000u32 {
        batch.clear();
        batch.put(&n.wrapping_mul(2_654_435_761).to_be_bytes(), &[1; 400]);
        engine.write(&batch, Durability::Os).unwrap();
        // Less than the tree needs.
        tasks.run(u64::from(n.is_multiple_of(3)));
    }
    engine.maintain().unwrap().compact(&KeyRange::all()).unwrap();
    let (events, dropped) = meter.drain_events();
    assert_eq!(dropped, 0);
    let field = |event: &nori_observe::VizEvent, name: &str| {
        event.fields.iter().find(|(of, _)| *of == name).unwrap().1
    };
    let stats = engine.stats();
    let (mut waits, mut delay) = (0, 0);
    for kind in [0, 1] {
        let is_kind = |event: &&nori_observe::VizEvent| {
            event.kind.starts_with("stall_") && field(event, "is_stop") == kind
        };
        let told: Vec<_> = events.iter().filter(is_kind).collect();
        for pair in told.chunks(2) {
            let [begin, end] = pair else { panic!("an episode did not end: {pair:?}") };
            assert_eq!((begin.kind, end.kind), ("stall_begin", "stall_end"));
            assert_eq!(begin.why, end.why);
            assert_eq!(field(end, "took_micros"), (end.at_nanos - begin.at_nanos) / 1_000);
            waits += field(end, "writes");
            delay += field(end, "delay_micros");
        }
        assert!(!told.is_empty(), "the test is to have stalls of kind {kind}");
    }
    let counted = |name| stats.number(name).unwrap();
    assert_eq!(waits, counted(stat::STALLS));
    assert!(delay > 0 && delay <= counted(stat::STALL_MICROS), "{delay}");
}

/// Writers that never pause, and an operator.
#[test]
fn flush_and_compact_end_however_steadily_others_write() {
    let parts = threaded(MemFs::new());
    let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (ended, calls) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (engine, is_over) = (&engine, &is_over);
            scope.spawn(move || {
                let mut batch = WriteBatch::new();
                for n in 0u32.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    batch.clear();
                    let key = (n * 2 + thread).wrapping_mul(2_654_435_761) % 50_000;
                    batch.put(&key.to_be_bytes(), &[n as u8; 500]);
                    engine.write(&batch, Durability::Os).unwrap();
                }
            });
        }
        let operator = &engine;
        scope.spawn(move || {
            let maintain = operator.maintain().unwrap();
            for _ in 0..3 {
                maintain.flush().unwrap();
                ended.send("flush").unwrap();
                maintain.compact(&KeyRange::all()).unwrap();
                ended.send("compact").unwrap();
            }
        });
        let told: Vec<_> = (0..6).map_while(|_| calls.recv_timeout(PATIENCE).ok()).collect();
        // Also when a call does not end: without writers it will, and the test can say so.
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(told, ["flush", "compact", "flush", "compact", "flush", "compact"]);
    });
}

/// Tasks under which somebody writes a memtable or two whenever anybody waits.
struct Steady {
    inner: SeededTasks,
    engine: Mutex<Option<Arc<dyn Engine>>>,
    is_writing: AtomicBool,
    waits: AtomicU64,
}

impl Tasks for Steady {
    fn submit(&self, class: Class, job: Box<dyn Job>) {
        self.inner.submit(class, job);
    }

    fn wait(&self, signal: &Signal) -> Waited {
        let engine = self.engine.lock().unwrap().clone();
        if let Some(engine) = engine
            && !self.is_writing.swap(true, Ordering::SeqCst)
        {
            let waits = self.waits.fetch_add(1, Ordering::SeqCst);
            assert!(waits < 100, "the operator waits for what came later");
            let mut batch = WriteBatch::new();
            for n in 0..3u32 {
                batch.clear();
                batch.put(&n.to_be_bytes(), &[n as u8; 9 << 10]);
                engine.write(&batch, Durability::Os).unwrap();
            }
            self.is_writing.store(false, Ordering::SeqCst);
        }
        self.inner.wait(signal)
    }

    fn alarm(&self, at: Instant) -> Signal {
        self.inner.alarm(at)
    }
}

#[test]
fn a_flush_waits_only_for_what_was_there_when_it_was_asked_for() {
    let (mut parts, inner) = seeded(3, MemFs::new(), Arc::new(NullMeter));
    let steady = Arc::new(Steady {
        inner,
        engine: Mutex::default(),
        is_writing: AtomicBool::new(false),
        waits: AtomicU64::new(0),
    });
    parts.tasks = Arc::clone(&steady) as Arc<dyn Tasks>;
    let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(b"key", b"value");
    engine.write(&batch, Durability::Os).unwrap();
    // The next segment is made ready, so that the call does not wait for it under the lock of the order of writes.
    steady.inner.run(100);
    *steady.engine.lock().unwrap() = Some(Arc::clone(&engine));
    engine.maintain().unwrap().flush().unwrap();
    *steady.engine.lock().unwrap() = None;
    assert!(steady.waits.load(Ordering::SeqCst) > 0, "the test is to write meanwhile");
}
