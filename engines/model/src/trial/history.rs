//! A random history: a store and the oracle get the same calls, and must give the same answers.
//!
//! 1. Writes of every kind and class, reads of one key and of many, cursors in both directions over ranges and prefixes,
//!    snapshots that are held for a while, the operator's calls, steps of jobs and reopenings are drawn from the seed.
//! 2. Each answer is compared with the oracle's, at the store's own sequence number, time and snapshot.
//! 3. A read of memory alone may say that it would block, and must be right where it says anything else.
//!
//! What the store's capability row lacks is not drawn.

use super::seeded;
use crate::ModelFactory;
use nori_env::{Durability, Entropy, MemFs, SeededEntropy, SeededTasks};
use nori_kv::{
    Engine, EngineFactory, ErrorKind, Feature, KeyRange, Maintain, Parts, ReadOptions, Reader,
    Result, Row, Tick, Tier, WriteBatch, stat,
};
use nori_observe::{Meter, Registry, VizEvent};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/history/store";
const KEYS: u64 = 150;

/// What a history leaves to compare: two of the same seed are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Keys and values at the end, one after the other.
    pub rows: Vec<u8>,
    /// Steps of jobs.
    pub steps: u64,
    /// Every event with its time.
    pub events: Vec<VizEvent>,
    /// What the store did.
    pub counts: Counts,
}

/// What stores did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub operations: u64,
    /// Memtables flushed since the last opening.
    pub flushes: u64,
    /// Compactions that merged since the last opening.
    pub compactions: u64,
    /// Openings but the first.
    pub reopened: u64,
}

impl Counts {
    /// Adds those of another history.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.flushes += other.flushes;
        self.compactions += other.compactions;
        self.reopened += other.reopened;
    }
}

/// Runs `operations` calls drawn from `seed`.
///
/// # Panics
///
/// If the store fails or does not agree with the oracle.
pub fn history(factory: &dyn EngineFactory, seed: u64, operations: u64) -> Trace {
    let meter = Arc::new(Registry::default());
    let mut world = World::new(factory, seed, Arc::clone(&meter) as Arc<dyn Meter>);
    for n in 0..operations {
        let place = Place { engine: factory.name(), seed, n };
        world.step();
        drop(place);
    }
    let stats = world.pair().store.stats();
    let number = |name| stats.number(name).unwrap_or_default();
    let counts = Counts {
        operations,
        flushes: number(stat::FLUSHES),
        compactions: number(stat::COMPACTIONS),
        reopened: world.reopened,
    };
    let mut rows = Vec::new();
    let mut cursor = right(world.pair().store.cursor(&KeyRange::all(), &of_any(world.options())));
    while right(cursor.next()) {
        let row = cursor.row().expect("a position has a row");
        rows.extend_from_slice(row.key);
        rows.extend_from_slice(row.value);
    }
    drop(cursor);
    let (events, dropped) = meter.drain_events();
    assert_eq!(dropped, 0, "the meter dropped events");
    Trace { rows, steps: world.tasks.steps(), events, counts }
}

/// Says where a history was when a panic passes by.
struct Place<'a> {
    engine: &'a str,
    seed: u64,
    n: u64,
}

impl Drop for Place<'_> {
    #[expect(clippy::print_stderr, reason = "the seed must be named beside what failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: history of seed {}, call {}", self.engine, self.seed, self.n);
        }
    }
}

#[track_caller]
fn right<T>(outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("nothing was to fail: {error}"))
}

/// A store and the oracle, side by side.
struct Pair {
    store: Arc<dyn Engine>,
    model: Arc<dyn Engine>,
    snapshots: Vec<(Arc<dyn Reader>, Arc<dyn Reader>)>,
}

struct World<'a> {
    entropy: SeededEntropy,
    factory: &'a dyn EngineFactory,
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

impl<'a> World<'a> {
    fn new(factory: &'a dyn EngineFactory, seed: u64, meter: Arc<dyn Meter>) -> Self {
        let (parts, tasks) = seeded(seed, MemFs::new(), meter);
        let mut world = Self {
            entropy: SeededEntropy::new(seed ^ 0xA5A5),
            factory,
            oracle: ModelFactory::default(),
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
        let store = right(self.factory.open(Path::new(DIR), self.parts.clone()));
        let model = right(self.oracle.open(Path::new(DIR), self.parts.clone()));
        self.pair = Some(Pair { store, model, snapshots: vec![] });
        self.is_floor_known = false;
    }

    fn has(&self, feature: Feature) -> bool {
        self.factory.capabilities().has(feature)
    }

    fn pair(&self) -> &Pair {
        self.pair.as_ref().expect("a store is open between two calls")
    }

    fn below(&self, n: u64) -> u64 {
        self.entropy.below(n)
    }

    fn key(&self) -> Vec<u8> {
        format!("key-{:04}", self.below(KEYS)).into_bytes()
    }

    /// All keys, those of a prefix, those from a key on, or those between two.
    fn range(&self) -> KeyRange {
        let key = self.key();
        match self.below(6) {
            0 => KeyRange::all(),
            1 | 2 => KeyRange::prefix(&key[..5 + self.below(3) as usize]),
            3 => KeyRange::from(&key),
            _ => KeyRange::between(&key, &self.key()),
        }
    }

    fn step(&mut self) {
        match self.below(200) {
            0..108 => self.write(),
            108..110 => self.grow_older(),
            110..140 => self.read(),
            140..150 => self.read_many(),
            150..165 => self.scan(),
            165..180 => {
                self.tasks.run(self.below(30));
            }
            180..186 => self.take_snapshot(),
            186..192 => self.drop_snapshot(),
            192..194 => self.operate(Feature::Flush, |operator, _| operator.flush()),
            194..195 => self.operate(Feature::Settle, |operator, _| operator.settle()),
            195..196 => self.operate(Feature::Compact, |operator, range| operator.compact(range)),
            _ => {
                self.pair = None;
                self.reopened += 1;
                self.open();
            }
        }
    }

    fn operate(&self, what: Feature, call: impl Fn(&dyn Maintain, &KeyRange) -> Result<()>) {
        if self.has(what) {
            let operator = self.pair().store.maintain();
            right(call(operator.expect("a row with the feature has the call"), &self.range()));
        }
    }

    fn take_snapshot(&mut self) {
        if self.has(Feature::Snapshots) {
            let pair = self.pair.as_mut().expect("a store is open between two calls");
            let taken = (right(pair.store.snapshot()), right(pair.model.snapshot()));
            pair.snapshots.push(taken);
        }
    }

    fn drop_snapshot(&mut self) {
        let pair = self.pair.as_mut().expect("a store is open between two calls");
        if !pair.snapshots.is_empty() {
            pair.snapshots.swap_remove(0);
        }
    }

    fn grow_older(&mut self) {
        self.now += self.below(8);
        if self.has(Feature::Expiry) && self.below(2) == 0 {
            self.floor += self.below(self.now - self.floor + 1);
            for engine in [&self.pair().store, &self.pair().model] {
                let operator = engine.maintain().expect("a row with expiry has the call");
                right(operator.set_expiry_floor(Tick(self.floor)));
            }
            self.is_floor_known = true;
        }
    }

    /// How the store is asked. The oracle is asked the same, of any storage.
    fn options(&self) -> ReadOptions {
        // Now and then below the floor, with or without filling the cache, or of memory alone.
        let now = match self.below(8) {
            0 if self.is_floor_known => Tick(self.below(self.floor + 1)),
            _ => Tick(self.floor + self.below(self.now - self.floor + 1)),
        };
        let is_memory_only = self.has(Feature::CacheOnly) && self.below(6) == 0;
        let tier = if is_memory_only { Tier::CacheOnly } else { Tier::Any };
        ReadOptions { now, fill: self.below(4) > 0, tier }
    }

    fn write(&self) {
        let mut batch = WriteBatch::new();
        let count = if self.has(Feature::Batches) { 1 + self.below(4) } else { 1 };
        for _ in 0..count {
            if self.has(Feature::RangeDeletes) && self.below(20) == 0 {
                // Every other one is empty.
                batch.delete_range(&self.key(), &self.key());
            } else if self.below(4) == 0 {
                batch.delete(&self.key());
            } else {
                let value = vec![self.entropy.next_u64() as u8; self.below(200) as usize];
                if self.has(Feature::Expiry) && self.below(5) == 0 {
                    let expires = Tick(self.now + self.below(16));
                    batch.put_until(&self.key(), &value, expires);
                } else {
                    batch.put(&self.key(), &value);
                }
            }
        }
        let age = Duration::from_millis(5);
        let classes = [Durability::None, Durability::Os, Durability::Group { max_age: age }];
        let class = *classes.get(self.below(4) as usize).unwrap_or(&Durability::Sync);
        let offered = self.factory.capabilities();
        let class = if offered.offers(class) { class } else { offered.durabilities()[0] };
        let seqno = right(self.pair().store.write(&batch, class));
        assert_eq!(seqno, right(self.pair().model.write(&batch, Durability::None)));
    }

    fn readers(&self) -> (&dyn Reader, &dyn Reader) {
        let pair = self.pair();
        let n = self.below(1 + pair.snapshots.len() as u64) as usize;
        match pair.snapshots.get(n) {
            Some((store, model)) => (&**store, &**model),
            None => (&*pair.store, &*pair.model),
        }
    }

    fn read(&self) {
        let (store, model) = self.readers();
        let (key, options) = (self.key(), self.options());
        let value = |reader: &dyn Reader, options: &ReadOptions| {
            let mut value = None;
            reader.read(&key, options, &mut |row| value = Some(row.value.to_vec()))?;
            Ok(value)
        };
        let expected = right(value(model, &of_any(options)));
        if let Some(value) = answered(value(store, &options), &options) {
            assert_eq!(value, expected);
        }
    }

    fn read_many(&self) {
        if !self.has(Feature::ReadMany) {
            return;
        }
        let (store, model) = self.readers();
        let options = self.options();
        let keys: Vec<_> = (0..self.below(40)).map(|_| self.key()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let values = |reader: &dyn Reader, options: &ReadOptions| {
            let mut values = vec![None; keys.len()];
            let mut sink = |n: usize, row: Option<Row<'_>>| {
                assert!(values[n].replace(row.map(|row| row.value.to_vec())).is_none());
            };
            reader.read_many(&keys, options, &mut sink)?;
            Ok(values)
        };
        let expected = right(values(model, &of_any(options)));
        if let Some(values) = answered(values(store, &options), &options) {
            assert_eq!(values, expected);
        }
    }

    fn scan(&self) {
        let (store, model) = self.readers();
        let (range, options) = (self.range(), self.options());
        let mut a = right(store.cursor(&range, &options));
        let mut b = right(model.cursor(&range, &of_any(options)));
        let goes_back = self.has(Feature::Reverse);
        for _ in 0..self.below(40) {
            let key = self.key();
            let (moved, expected) = match self.below(8) {
                0 => (a.seek(&key), b.seek(&key)),
                1 if goes_back => (a.seek_back(&key), b.seek_back(&key)),
                2 | 3 if goes_back => (a.prev(), b.prev()),
                _ => (a.next(), b.next()),
            };
            let Some(moved) = answered(moved, &options) else { return };
            assert_eq!(moved, right(expected));
            assert_eq!(a.row(), b.row());
        }
    }
}

fn of_any(options: ReadOptions) -> ReadOptions {
    ReadOptions { tier: Tier::Any, ..options }
}

/// What was answered. Of memory alone there may be none.
fn answered<T>(outcome: Result<T>, options: &ReadOptions) -> Option<T> {
    match outcome {
        Err(error) if options.tier == Tier::CacheOnly && error.kind() == ErrorKind::WouldBlock => {
            None
        }
        outcome => Some(right(outcome)),
    }
}
