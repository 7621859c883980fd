//! Calls of any kind on a store and on the oracle, with the same answers; what fails is shrunk to the shortest sequence that does.
//!
//! Unlike a seeded history this one has few keys, nearly all of them beginnings of one another or the empty key, so that every call
//! meets what others did; and parts and settings are drawn with the calls.
//!
//! `PROPTEST_CASES=10000` makes it a campaign. Shrunk sequences become tests of their own here; nothing is kept in files.

use crate::parts::factory;
use nori_env::{Durability, MemFs, SeededTasks};
use nori_kv::{
    Cursor, Engine, EngineFactory, KeyRange, Maintain, Parts, ReadOptions, Reader, Row, Tick,
    WriteBatch,
};
use nori_lsm::{Components, LsmFactory, SEAMS};
use nori_model::ModelFactory;
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/property/store";
/// Cases unless `PROPTEST_CASES` says otherwise: a few seconds.
const CASES: u32 = 3_000;
const CALLS_MAX: usize = 60;

/// A key and its value.
type OwnedRow = (Vec<u8>, Vec<u8>);

/// What is written.
#[derive(Clone, Debug)]
enum Write {
    /// The value has so many bytes, and the put may expire.
    Put(Vec<u8>, usize, Option<u64>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// A move of a cursor.
#[derive(Clone, Debug)]
enum Move {
    Seek(Vec<u8>),
    SeekBack(Vec<u8>),
    Next,
    Prev,
}

#[derive(Clone, Debug)]
enum Call {
    Write(Vec<Write>, Durability),
    Flush,
    Compact(KeyRange),
    Settle,
    Reopen,
    /// So many steps of jobs.
    Run(u64),
    TakeSnapshot,
    DropSnapshot(usize),
    /// The floor of the expiries becomes this.
    Floor(u64),
    /// Of the store or of one of the snapshots, at this time.
    Get(usize, Vec<u8>, u64),
    ReadMany(usize, Vec<Vec<u8>>, u64),
    Walk(usize, KeyRange, u64, Vec<Move>),
}

/// The empty key, beginnings of one another, and the greatest bytes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let near = prop::collection::vec(prop::sample::select(vec![0, b'a', b'b']), 0..4);
    prop_oneof![8 => near, 1 => prop::collection::vec(Just(0xFF), 1..3)]
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        2 => Just(KeyRange::all()),
        1 => key().prop_map(|key| KeyRange::prefix(&key)),
        1 => key().prop_map(|key| KeyRange::from(&key)),
        // Every other one is empty.
        3 => (key(), key()).prop_map(|(start, end)| KeyRange::between(&start, &end)),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    // Sometimes as much as a few of the tiny blocks, or a good part of a memtable.
    let bytes = prop_oneof![6 => 0..8usize, 2 => 200..600usize, 1 => 2_000..4_000usize];
    prop_oneof![
        6 => (key(), bytes, prop::option::weighted(0.2, 0..12u64))
            .prop_map(|(key, bytes, expires)| Write::Put(key, bytes, expires)),
        3 => key().prop_map(Write::Delete),
        2 => (key(), key()).prop_map(|(start, end)| Write::DeleteRange(start, end)),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let class = prop::sample::select(vec![
        Durability::None,
        Durability::Os,
        Durability::Group { max_age: Duration::from_millis(5) },
        Durability::Sync,
    ]);
    let step = prop_oneof![
        2 => key().prop_map(Move::Seek),
        2 => key().prop_map(Move::SeekBack),
        3 => Just(Move::Next),
        3 => Just(Move::Prev),
    ];
    let moves = prop::collection::vec(step, 0..12);
    let keys = prop::collection::vec(key(), 0..8);
    prop_oneof![
        12 => (prop::collection::vec(write(), 1..5), class).prop_map(|(ops, class)| Call::Write(ops, class)),
        3 => Just(Call::Flush),
        2 => range().prop_map(Call::Compact),
        1 => Just(Call::Settle),
        1 => Just(Call::Reopen),
        2 => (0..30u64).prop_map(Call::Run),
        2 => Just(Call::TakeSnapshot),
        1 => (0..3usize).prop_map(Call::DropSnapshot),
        1 => (0..12u64).prop_map(Call::Floor),
        4 => (0..3usize, key(), 0..14u64).prop_map(|(of, key, now)| Call::Get(of, key, now)),
        2 => (0..3usize, keys, 0..14u64).prop_map(|(of, keys, now)| Call::ReadMany(of, keys, now)),
        6 => (0..3usize, range(), 0..14u64, moves)
            .prop_map(|(of, range, now, moves)| Call::Walk(of, range, now, moves)),
    ]
}

/// A part of each seam, and settings; they shrink towards the first of each list.
fn engine() -> impl Strategy<Value = (Vec<usize>, usize, usize)> {
    let sizes =
        SEAMS.map(|seam| Components::list().iter().filter(|line| line.seam == seam).count());
    let parts: Vec<_> = sizes.into_iter().map(|size| 0..size).collect();
    (parts, 0..3usize, 2..5usize)
}

fn made((parts, prefix_bytes, levels_max): &(Vec<usize>, usize, usize)) -> LsmFactory {
    let all = Components::list();
    let name = |(seam, at): (&'static str, &usize)| {
        let mut of_seam = all.iter().filter(|line| line.seam == seam);
        (seam, of_seam.nth(*at).unwrap().name)
    };
    let chosen: Vec<_> = SEAMS.into_iter().zip(parts).map(name).collect();
    let mut factory = factory(&chosen);
    factory.settings.filter_prefix_bytes = *prefix_bytes;
    factory.settings.levels_max = *levels_max;
    factory.settings.l0_runs_trigger = 2;
    factory
}

/// The two, side by side. Snapshots hold a store open, so they go before it.
struct Pair {
    snapshots: Vec<[Arc<dyn Reader>; 2]>,
    engines: [Arc<dyn Engine>; 2],
}

impl Pair {
    fn open(factory: &LsmFactory, oracle: &ModelFactory, parts: &Parts) -> Self {
        let dir = Path::new(DIR);
        let store = factory.open(dir, parts.clone()).unwrap();
        let model = oracle.open(dir, parts.clone()).unwrap();
        Self { snapshots: Vec::new(), engines: [store, model] }
    }

    /// The store for 0, else a snapshot if there is one.
    fn readers(&self, of: usize) -> [&dyn Reader; 2] {
        match of.checked_sub(1).and_then(|at| self.snapshots.get(at)) {
            Some([store, model]) => [&**store, &**model],
            None => [&*self.engines[0], &*self.engines[1]],
        }
    }

    fn operate(&self, call: impl Fn(&dyn Maintain)) {
        self.engines.iter().for_each(|engine| call(engine.maintain().unwrap()));
    }
}

fn batch(ops: &[Write], number: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for op in ops {
        match op {
            Write::Put(key, bytes, expires) => {
                let value = vec![number as u8; *bytes];
                match expires {
                    Some(at) => batch.put_until(key, &value, Tick(*at)),
                    None => batch.put(key, &value),
                }
            }
            Write::Delete(key) => batch.delete(key),
            Write::DeleteRange(start, end) => batch.delete_range(start, end),
        };
    }
    batch
}

fn at(now: u64) -> ReadOptions {
    ReadOptions { now: Tick(now), ..ReadOptions::default() }
}

fn moved(cursor: &mut dyn Cursor, step: &Move) -> (bool, Option<OwnedRow>) {
    let is_there = match step {
        Move::Seek(key) => cursor.seek(key),
        Move::SeekBack(key) => cursor.seek_back(key),
        Move::Next => cursor.next(),
        Move::Prev => cursor.prev(),
    };
    (is_there.unwrap(), cursor.row().map(|row| (row.key.to_vec(), row.value.to_vec())))
}

fn many(reader: &dyn Reader, keys: &[Vec<u8>], now: u64) -> Vec<Option<Vec<u8>>> {
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut values = vec![None; keys.len()];
    let mut sink = |n: usize, row: Option<Row<'_>>| values[n] = row.map(|row| row.value.to_vec());
    reader.read_many(&asked, &at(now), &mut sink).unwrap();
    values
}

/// All rows, from the front and from the back.
fn both_ways(reader: &dyn Reader, now: u64) -> [Vec<OwnedRow>; 2] {
    [Move::Next, Move::Prev].map(|step| {
        let mut cursor = reader.cursor(&KeyRange::all(), &at(now)).unwrap();
        std::iter::from_fn(|| moved(&mut *cursor, &step).1).collect()
    })
}

/// Makes the calls; an answer that is not the oracle's fails the case.
fn run(factory: &LsmFactory, calls: &[Call]) -> Result<(), TestCaseError> {
    let (parts, tasks) = seeded(calls.len() as u64, MemFs::new(), Arc::new(NullMeter));
    let oracle = ModelFactory::default();
    let mut pair = Some(Pair::open(factory, &oracle, &parts));
    // A floor that only the oracle still knows after an opening: nobody asks below it any more.
    let mut floor = 0;
    for (number, call) in calls.iter().enumerate() {
        if let Call::Reopen = call {
            drop(pair.take());
            pair = Some(Pair::open(factory, &oracle, &parts));
            continue;
        }
        let pair = pair.as_mut().expect("it is open between two calls");
        if let Call::Floor(to) = call {
            floor = floor.max(*to);
            pair.operate(|operator| operator.set_expiry_floor(Tick(floor)).unwrap());
        }
        make(pair, call, number, floor, &tasks)?;
    }
    let pair = pair.as_ref().expect("it is open at the end");
    for of in 0..=pair.snapshots.len() {
        let [store, model] = pair.readers(of);
        prop_assert_eq!(both_ways(store, floor), both_ways(model, floor), "all rows of {}", of);
    }
    Ok(())
}

fn make(
    pair: &mut Pair,
    call: &Call,
    number: usize,
    floor: u64,
    tasks: &SeededTasks,
) -> Result<(), TestCaseError> {
    match call {
        Call::Write(ops, class) => {
            let batch = batch(ops, number);
            let numbers = [
                pair.engines[0].write(&batch, *class).unwrap(),
                pair.engines[1].write(&batch, Durability::None).unwrap(),
            ];
            prop_assert_eq!(numbers[0], numbers[1]);
        }
        Call::Flush => pair.operate(|operator| operator.flush().unwrap()),
        Call::Compact(range) => pair.operate(|operator| operator.compact(range).unwrap()),
        Call::Settle => pair.operate(|operator| operator.settle().unwrap()),
        Call::Run(steps) => drop(tasks.run(*steps)),
        Call::TakeSnapshot => {
            let taken = [pair.engines[0].snapshot().unwrap(), pair.engines[1].snapshot().unwrap()];
            pair.snapshots.push(taken);
        }
        Call::DropSnapshot(of) if *of < pair.snapshots.len() => {
            pair.snapshots.remove(*of);
        }
        Call::Get(of, key, now) => {
            let now = floor.max(*now);
            let [store, model] = pair.readers(*of).map(|reader| {
                let mut value = None;
                let mut sink = |row: Row<'_>| value = Some(row.value.to_vec());
                let found = reader.read(key, &at(now), &mut sink).unwrap();
                (found, value)
            });
            prop_assert_eq!(store, model);
        }
        Call::ReadMany(of, keys, now) => {
            let [store, model] =
                pair.readers(*of).map(|reader| many(reader, keys, floor.max(*now)));
            prop_assert_eq!(store, model);
        }
        Call::Walk(of, range, now, moves) => {
            let [store, model] = pair.readers(*of);
            let options = at(floor.max(*now));
            let mut a = store.cursor(range, &options).unwrap();
            let mut b = model.cursor(range, &options).unwrap();
            for (n, step) in moves.iter().enumerate() {
                prop_assert_eq!(moved(&mut *a, step), moved(&mut *b, step), "move {}", n);
            }
        }
        Call::DropSnapshot(_) | Call::Floor(_) | Call::Reopen => {}
    }
    Ok(())
}

/// As many cases as the environment asks for.
fn config() -> Config {
    let cases =
        if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { CASES };
    Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() }
}

#[test]
fn at_tick_zero_nothing_has_expired_not_even_what_expires_then() {
    let put = Call::Write(vec![Write::Put(vec![], 0, Some(0))], Durability::None);
    let calls = [put.clone(), Call::Flush, put, Call::Compact(KeyRange::all())];
    run(&factory(&[]), &calls[..1]).unwrap();
    run(&factory(&[]), &calls).unwrap();
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn any_calls_get_the_oracles_answers(
        chosen in engine(),
        calls in prop::collection::vec(call(), 1..CALLS_MAX),
    ) {
        run(&made(&chosen), &calls)?;
    }
}
