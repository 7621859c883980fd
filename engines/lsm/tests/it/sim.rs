//! The engine in a seeded world: the same seed gives the same trace, and a thousand histories agree with the oracle.

use crate::parts::{factory, seeded, threaded};
use nori_env::{
    Class, Durability, Entropy, Instant, Job, MemFs, SeededEntropy, SeededTasks, Signal, Tasks,
    Waited,
};
use nori_kv::{
    Engine, EngineFactory, KeyRange, Parts, ReadOptions, Reader, Row, Tick, WriteBatch, stat,
};
use nori_model::ModelFactory;
use nori_observe::{NullMeter, Registry};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "/sim/store";
const SEEDS: u64 = 1_000;
const OPERATIONS: u64 = 500;
const KEYS: u64 = 150;
/// Far more than a flush or a compaction of these stores takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store and the oracle, side by side.
struct Pair {
    lsm: Arc<dyn Engine>,
    model: Arc<dyn Engine>,
    snapshots: Vec<(Arc<dyn Reader>, Arc<dyn Reader>)>,
}

struct World {
    entropy: SeededEntropy,
    factory: nori_lsm::LsmFactory,
    oracle: ModelFactory,
    parts: Parts,
    tasks: SeededTasks,
    pair: Option<Pair>,
    reopened: u64,
    /// The owner's time; only grows. No read asks for one before the floor, whatever the store still knows of it.
    now: u64,
    /// `floor <= now`.
    floor: u64,
    /// Whether the open store was told: a floor is not kept across an opening.
    is_floor_known: bool,
}

impl World {
    fn new(seed: u64, meter: Arc<Registry>) -> Self {
        let entropy = SeededEntropy::new(seed ^ 0xA5A5);
        let pick = |names: &[&'static str]| names[entropy.below(names.len() as u64) as usize];
        let all = nori_lsm::Components::list();
        let chosen = nori_lsm::SEAMS.map(|seam| {
            let names: Vec<&'static str> =
                all.iter().filter(|line| line.seam == seam).map(|line| line.name).collect();
            (seam, pick(&names))
        });
        let (parts, tasks) = seeded(seed, MemFs::new(), meter);
        let oracle = ModelFactory::default();
        let mut world = Self {
            entropy,
            factory: factory(&chosen),
            oracle,
            parts,
            tasks,
            pair: None,
            reopened: 0,
            now: 1,
            floor: 1,
            is_floor_known: false,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let lsm = self.factory.open(Path::new(DIR), self.parts.clone()).unwrap();
        let model = self.oracle.open(Path::new(DIR), self.parts.clone()).unwrap();
        self.pair = Some(Pair { lsm, model, snapshots: vec![] });
        self.is_floor_known = false;
    }

    fn pair(&self) -> &Pair {
        self.pair.as_ref().unwrap()
    }

    /// All keys, or some.
    fn range(&self) -> KeyRange {
        let (a, b) = (self.key(), self.key());
        if self.entropy.below(2) == 0 { KeyRange::all() } else { KeyRange::between(&a, &b) }
    }

    fn key(&self) -> Vec<u8> {
        format!("key-{:04}", self.entropy.below(KEYS)).into_bytes()
    }

    fn step(&mut self) {
        match self.entropy.below(200) {
            0..108 => self.write(),
            108..110 => self.grow_older(),
            110..140 => self.read(),
            140..150 => self.read_many(),
            150..165 => self.scan(),
            165..180 => {
                self.tasks.run(self.entropy.below(30));
            }
            180..186 => {
                let pair = self.pair.as_mut().unwrap();
                pair.snapshots.push((pair.lsm.snapshot().unwrap(), pair.model.snapshot().unwrap()));
            }
            186..192 => {
                let pair = self.pair.as_mut().unwrap();
                if !pair.snapshots.is_empty() {
                    pair.snapshots.swap_remove(0);
                }
            }
            192..194 => self.pair().lsm.maintain().unwrap().flush().unwrap(),
            194..195 => self.pair().lsm.maintain().unwrap().settle().unwrap(),
            195..196 => self.pair().lsm.maintain().unwrap().compact(&self.range()).unwrap(),
            _ => {
                self.pair = None;
                self.reopened += 1;
                self.open();
            }
        }
    }

    fn grow_older(&mut self) {
        self.now += self.entropy.below(8);
        if self.entropy.below(2) == 0 {
            self.floor += self.entropy.below(self.now - self.floor + 1);
            for engine in [&self.pair().lsm, &self.pair().model] {
                engine.maintain().unwrap().set_expiry_floor(Tick(self.floor)).unwrap();
            }
            self.is_floor_known = true;
        }
    }

    fn options(&self) -> ReadOptions {
        // Now and then below the floor, and with or without filling the cache.
        let now = match self.entropy.below(8) {
            0 if self.is_floor_known => Tick(self.entropy.below(self.floor + 1)),
            _ => Tick(self.floor + self.entropy.below(self.now - self.floor + 1)),
        };
        ReadOptions { now, fill: self.entropy.below(4) > 0, ..ReadOptions::default() }
    }

    fn write(&self) {
        let mut batch = WriteBatch::new();
        for _ in 0..1 + self.entropy.below(4) {
            if self.entropy.below(20) == 0 {
                // Every other one is empty.
                batch.delete_range(&self.key(), &self.key());
            } else if self.entropy.below(4) == 0 {
                batch.delete(&self.key());
            } else {
                let value = vec![self.entropy.next_u64() as u8; self.entropy.below(200) as usize];
                if self.entropy.below(5) == 0 {
                    let expires = Tick(self.now + self.entropy.below(16));
                    batch.put_until(&self.key(), &value, expires);
                } else {
                    batch.put(&self.key(), &value);
                }
            }
        }
        let age = Duration::from_millis(5);
        let class = [
            Durability::None,
            Durability::Os,
            Durability::Group { max_age: age },
            Durability::Sync,
        ][self.entropy.below(4) as usize];
        let seqno = self.pair().lsm.write(&batch, class).unwrap();
        assert_eq!(seqno, self.pair().model.write(&batch, Durability::None).unwrap());
    }

    fn readers(&self) -> (&dyn Reader, &dyn Reader) {
        let pair = self.pair();
        let n = self.entropy.below(1 + pair.snapshots.len() as u64) as usize;
        match pair.snapshots.get(n) {
            Some((lsm, model)) => (&**lsm, &**model),
            None => (&*pair.lsm, &*pair.model),
        }
    }

    fn read(&self) {
        let (lsm, model) = self.readers();
        let (key, options) = (self.key(), self.options());
        let value = |reader: &dyn Reader| {
            let mut value = None;
            reader.read(&key, &options, &mut |row| value = Some(row.value.to_vec())).unwrap();
            value
        };
        assert_eq!(value(lsm), value(model));
    }

    fn read_many(&self) {
        let (lsm, model) = self.readers();
        let options = self.options();
        let keys: Vec<_> = (0..self.entropy.below(40)).map(|_| self.key()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let values = |reader: &dyn Reader| {
            let mut values = vec![None; keys.len()];
            let mut sink = |n: usize, row: Option<Row<'_>>| {
                assert!(values[n].replace(row.map(|row| row.value.to_vec())).is_none());
            };
            reader.read_many(&keys, &options, &mut sink).unwrap();
            values
        };
        assert_eq!(values(lsm), values(model));
    }

    fn scan(&self) {
        let (lsm, model) = self.readers();
        let range = KeyRange::between(&self.key(), &self.key());
        let options = self.options();
        let (mut a, mut b) =
            (lsm.cursor(&range, &options).unwrap(), model.cursor(&range, &options).unwrap());
        for _ in 0..self.entropy.below(40) {
            let key = self.key();
            let moved = match self.entropy.below(8) {
                0 => (a.seek(&key).unwrap(), b.seek(&key).unwrap()),
                1 => (a.seek_back(&key).unwrap(), b.seek_back(&key).unwrap()),
                2..4 => (a.prev().unwrap(), b.prev().unwrap()),
                _ => (a.next().unwrap(), b.next().unwrap()),
            };
            assert_eq!(moved.0, moved.1);
            assert_eq!(a.row(), b.row());
        }
    }
}

/// What a history leaves to compare: rows, steps of jobs, and every event with its time.
fn history(seed: u64, operations: u64) -> (Vec<u8>, u64, Vec<nori_observe::VizEvent>, [u64; 3]) {
    let meter = Arc::new(Registry::default());
    let mut world = World::new(seed, Arc::clone(&meter));
    for _ in 0..operations {
        world.step();
    }
    let stats = world.pair().lsm.stats();
    let number = |name| stats.number(name).unwrap();
    let counts = [number(stat::FLUSHES), number(stat::COMPACTIONS), world.reopened];
    let mut rows = Vec::new();
    let mut cursor = world.pair().lsm.cursor(&KeyRange::all(), &world.options()).unwrap();
    while cursor.next().unwrap() {
        let row = cursor.row().unwrap();
        rows.extend_from_slice(row.key);
        rows.extend_from_slice(row.value);
    }
    drop(cursor);
    let (events, dropped) = meter.drain_events();
    assert_eq!(dropped, 0);
    (rows, world.tasks.steps(), events, counts)
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        let (a, b) = (history(seed, 2_000), history(seed, 2_000));
        assert!(a.2.len() > 20, "seed {seed}: only {} events", a.2.len());
        assert!(a == b, "seed {seed} gave two traces");
    }
    assert!(history(1, 2_000).2 != history(2, 2_000).2);
}

#[test]
fn a_thousand_histories_agree_with_the_oracle() {
    let mut total = [0; 3];
    for seed in 0..SEEDS {
        let (.., counts) = history(seed, OPERATIONS);
        total.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    let [flushes, compactions, reopened] = total;
    println!(
        "{SEEDS} histories: {flushes} flushes, {compactions} compactions, {reopened} reopened"
    );
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
        tasks.run(1);
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
