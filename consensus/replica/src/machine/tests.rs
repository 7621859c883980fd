//! The machine against a plain map, over engines that keep everything, and over one that a crash takes back.

use super::*;
use crate::command::Session;
use nori_env::MemFs;
use nori_kv::EngineFactory;
use nori_lsm::{Components, LsmFactory, Settings};
use nori_model::trial::seeded;
use nori_observe::NullMeter;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

type Rows = BTreeMap<Vec<u8>, (Version, Vec<u8>)>;

/// Stores on a disk that outlives them.
struct Disk {
    fs: MemFs,
    factory: LsmFactory,
    seed: u64,
}

impl Disk {
    fn new() -> Self {
        let settings = Settings {
            memtable_bytes: 8 << 10,
            cache_bytes: 4 << 10,
            block_bytes: 256,
            table_bytes: 4 << 10,
            ..Settings::for_memory(1 << 20)
        };
        let factory = LsmFactory::replicated(settings, Components::default());
        Self { fs: MemFs::new(), factory, seed: 0 }
    }

    fn open(&mut self) -> Machine {
        self.seed += 1;
        let (parts, _) = seeded(self.seed, self.fs.clone(), Arc::new(NullMeter));
        Machine::open(self.factory.open(Path::new("/shard"), parts).unwrap()).unwrap()
    }
}

fn flush(machine: &mut Machine) {
    machine.engine().maintain().unwrap().flush().unwrap();
    machine.look().unwrap();
}

fn entry(index: u64, command: &Command) -> Entry {
    Entry { id: LogId::new(1, index), kind: EntryKind::Data, payload: command.encode() }
}

/// Applies it whatever has to be fetched or waited for first.
fn apply(machine: &mut Machine, entry: &Entry) -> Option<Outcome> {
    let mut fetched = None;
    loop {
        match machine.apply(entry, None, fetched.take()).unwrap() {
            Step::Done(outcome) => return outcome,
            Step::Fetch(fetch) => fetched = Some(fetch.run()),
            // Seeded tasks run within whatever waits.
            Step::Busy(_) => flush(machine),
        }
    }
}

fn rows_of(machine: &Machine) -> Rows {
    let view =
        crate::request::View::new(&**machine.engine(), machine.time(), machine.applied()).unwrap();
    let mut rows = Rows::new();
    view.scan(b"", None, &mut |key, version, value| {
        rows.insert(key.to_vec(), (version, value.to_vec()));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

/// What the machine is to do, said as plainly as can be.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<Vec<u8>, (Version, Vec<u8>, Option<u64>)>,
    time: u64,
    floor: u64,
    /// Stamp, sequence and outcome by name.
    known: BTreeMap<String, (u64, u64, Outcome)>,
}

impl Plain {
    fn version(&self, key: &[u8]) -> Version {
        let is_there =
            |until: &Option<u64>| self.time == 0 || until.is_none_or(|at| at > self.time);
        self.rows.get(key).filter(|(.., until)| is_there(until)).map_or(0, |(version, ..)| *version)
    }

    fn apply(&mut self, index: u64, command: &Command) -> Option<Outcome> {
        let (identity, operations) = match command {
            Command::Expire { upto, floor } => {
                self.time = self.time.max(upto.0);
                self.floor = self.floor.max(floor.0);
                self.known.retain(|_, (stamp, ..)| *stamp > self.floor);
                return None;
            }
            Command::Write { identity, operations } => (identity, operations),
        };
        let named = identity.as_ref().map(|identity| match identity {
            Identity::Key { issued_at, key } => (format!("key {key:?}"), issued_at.0, 0),
            Identity::Session(Session { issued_at, client, sequence }) => {
                (format!("session {client} {issued_at:?}"), issued_at.0, *sequence)
            }
        });
        if let Some((name, issued_at, sequence)) = &named {
            match self.known.get(name) {
                Some((_, last, outcome)) if last == sequence => return Some(*outcome),
                Some((_, last, _)) if last > sequence => return Some(Outcome::TooOld),
                None if *issued_at <= self.floor || *sequence > 1 => return Some(Outcome::TooOld),
                _ => {}
            }
        }
        let mut outcome = Outcome::Written(index);
        for (n, operation) in operations.iter().enumerate().rev() {
            let actual = self.version(&operation.key);
            let holds = match operation.condition {
                Condition::None => true,
                Condition::Absent => actual == 0,
                Condition::Version(version) => actual == version,
            };
            if !holds {
                outcome = Outcome::Mismatch { operation: n as u32, actual };
            }
        }
        if outcome == Outcome::Written(index) {
            for operation in operations {
                match &operation.value {
                    None => self.rows.remove(&operation.key[..]),
                    Some((value, until)) => self.rows.insert(
                        operation.key.to_vec(),
                        (index, value.to_vec(), until.map(|tick| tick.0)),
                    ),
                };
            }
        }
        if let Some((name, issued_at, sequence)) = named {
            self.known.insert(name, (self.time.max(issued_at), sequence, outcome));
        }
        Some(outcome)
    }

    fn rows(&self) -> Rows {
        let there = self.rows.iter().filter(|(key, _)| self.version(key) > 0);
        there.map(|(key, (version, value, _))| (key.clone(), (*version, value.clone()))).collect()
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let condition = prop_oneof![
        4 => Just(Condition::None),
        2 => Just(Condition::Absent),
        2 => (0u64..40).prop_map(Condition::Version),
    ];
    let until = prop::option::weighted(0.3, (1u64..3_000).prop_map(Tick));
    let value = prop::option::weighted(0.8, (prop::collection::vec(any::<u8>(), 0..300), until));
    (0u8..6, condition, value).prop_map(|(key, condition, value)| Operation {
        key: Bytes::from(vec![key]),
        condition,
        value: value.map(|(value, until)| (value.into(), until)),
    })
}

fn command() -> impl Strategy<Value = Command> {
    let identity = prop_oneof![
        3 => Just(None),
        2 => (1u64..3_000, 0u8..4).prop_map(|(issued_at, key)| Some(Identity::Key {
            issued_at: Tick(issued_at),
            key: Bytes::from(vec![key]),
        })),
        2 => (0u64..3, 1u64..5).prop_map(|(client, sequence)| Some(Identity::Session(Session {
            issued_at: Tick(1_000),
            client,
            sequence,
        }))),
    ];
    prop_oneof![
        8 => (identity, prop::collection::vec(operation(), 1..4))
            .prop_map(|(identity, operations)| Command::Write { identity, operations }),
        1 => (0u64..3_000, 0u64..2_500)
            .prop_map(|(upto, floor)| Command::Expire { upto: Tick(upto), floor: Tick(floor) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A life ends at any entry, with whatever was flushed by then; the next one applies again what was lost, with the same outcomes.
    #[test]
    fn it_does_what_a_plain_map_does_over_crashes(
        commands in prop::collection::vec((command(), 0u8..20), 1..60)
    ) {
        let mut plain = Plain::default();
        let (mut disk, mut outcomes) = (Disk::new(), Vec::new());
        let mut machine = disk.open();
        for (n, (command, event)) in commands.iter().enumerate() {
            let index = n as u64 + 1;
            outcomes.push(plain.apply(index, command));
            prop_assert_eq!(apply(&mut machine, &entry(index, command)), outcomes[n]);
            match event {
                0 => flush(&mut machine),
                1 => {
                    drop(machine);
                    machine = disk.open();
                    prop_assert!(machine.applied().index <= Index(index));
                    for again in machine.applied().index.0..index {
                        let entry = entry(again + 1, &commands[again as usize].0);
                        prop_assert_eq!(apply(&mut machine, &entry), outcomes[again as usize]);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(machine.time().0, plain.time);
            prop_assert_eq!(machine.identities().len(), plain.known.len());
        }
        prop_assert_eq!(rows_of(&machine), plain.rows());
        machine.engine().maintain().unwrap().compact(&nori_kv::KeyRange::all()).unwrap();
        prop_assert_eq!(rows_of(&machine), plain.rows());
    }
}

fn put_until(key: &'static str, tick: u64) -> Command {
    let value = Some((Bytes::from_static(b"value"), Some(Tick(tick))));
    let operation = Operation { key: key.into(), condition: Condition::None, value };
    Command::Write { identity: None, operations: vec![operation] }
}

#[test]
fn what_expired_is_dropped_only_when_the_time_is_safe() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    let provided = Operation::delete("a").provided(Condition::Version(1));
    let delete = Command::Write { identity: None, operations: vec![provided] };
    apply(&mut machine, &entry(1, &put_until("a", 500)));
    flush(&mut machine);
    // Not safe: the delete finds the row, the time passes, and what has expired may be merged away.
    assert_eq!(apply(&mut machine, &entry(2, &delete)), Some(Outcome::Written(2)));
    let expire = Command::Expire { upto: Tick(900), floor: Tick(0) };
    apply(&mut machine, &entry(3, &expire));
    machine.look().unwrap();
    assert_eq!(machine.times.len(), 1);
    drop(machine);
    let mut machine = disk.open();
    assert_eq!(machine.applied().index, Index(1));
    machine.engine().maintain().unwrap().compact(&nori_kv::KeyRange::all()).unwrap();
    assert_eq!(apply(&mut machine, &entry(2, &delete)), Some(Outcome::Written(2)));
    apply(&mut machine, &entry(3, &expire));
    flush(&mut machine);
    assert_eq!((machine.times.len(), machine.safe().index), (0, Index(3)));
}

#[test]
fn rows_say_when_they_expire_next() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    assert_eq!(machine.next_expiry(), None);
    apply(&mut machine, &entry(1, &put_until("a", 250)));
    apply(&mut machine, &entry(2, &put_until("b", 299)));
    apply(&mut machine, &entry(3, &put_until("c", 300)));
    assert_eq!(machine.next_expiry(), Some(Tick(300)));
    flush(&mut machine);
    drop(machine);
    let mut machine = disk.open();
    assert_eq!(machine.next_expiry(), Some(Tick(300)));
    apply(&mut machine, &entry(4, &Command::Expire { upto: Tick(300), floor: Tick(0) }));
    assert_eq!(machine.next_expiry(), Some(Tick(400)));
    // The row that expires at 300 is in the bucket after, and gone all the same.
    assert!(rows_of(&machine).is_empty());
    apply(&mut machine, &entry(5, &Command::Expire { upto: Tick(400), floor: Tick(0) }));
    assert_eq!(machine.next_expiry(), None);
}

#[test]
fn memberships_are_known_as_of_every_entry_that_may_come_back() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    let config = |index| Entry {
        id: LogId::new(1, index),
        kind: EntryKind::Config,
        payload: Bytes::from_static(b"the protocol's"),
    };
    let names = ["one", "two"].map(|name| Bytes::from_static(name.as_bytes()));
    assert_eq!(machine.membership(Index(0)), None);
    machine.apply(&config(1), Some(&names[0]), None).unwrap();
    flush(&mut machine);
    apply(&mut machine, &entry(2, &put_until("a", 1)));
    machine.apply(&config(3), Some(&names[1]), None).unwrap();
    let known: Vec<_> = (1..=3).map(|index| machine.membership(Index(index)).cloned()).collect();
    assert_eq!(known, [Some(names[0].clone()), Some(names[0].clone()), Some(names[1].clone())]);
    drop(machine);
    let machine = disk.open();
    assert_eq!(
        (machine.applied().index, machine.membership(Index(1))),
        (Index(1), Some(&names[0]))
    );
}

#[test]
fn rows_that_are_on_the_disk_are_asked_for() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    for n in 0..200u64 {
        let put = Operation::put_value(format!("key-{n}"), vec![7; 200]);
        let write = Command::Write { identity: None, operations: vec![put] };
        apply(&mut machine, &entry(n + 1, &write));
    }
    flush(&mut machine);
    let provided = Operation::delete("key-3").provided(Condition::Version(4));
    let delete = entry(201, &Command::Write { identity: None, operations: vec![provided] });
    let Step::Fetch(fetch) = machine.apply(&delete, None, None).unwrap() else {
        panic!("the row is not in memory");
    };
    assert_eq!(machine.applied().index, Index(200));
    let step = machine.apply(&delete, None, Some(fetch.run())).unwrap();
    assert!(matches!(step, Step::Done(Some(Outcome::Written(201)))), "{step:?}");
}

#[test]
fn an_entry_that_is_no_command_ends_it_and_changes_nothing() {
    let mut machine = Disk::new().open();
    let id = LogId::new(1, 1);
    let bad = Entry { id, kind: EntryKind::Data, payload: Bytes::from_static(&[9, 1]) };
    let error = machine.apply(&bad, None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry t1.i1 cannot be applied: a command of version 9 is not known to this program"
    );
    assert_eq!(machine.applied(), LogId::ZERO);
}

fn named(n: u64) -> Command {
    let identity = Identity::Key { issued_at: Tick(n), key: n.to_be_bytes().to_vec().into() };
    let operations = vec![Operation::put_value("key", "value")];
    Command::Write { identity: Some(identity), operations }
}

fn rows_of_answers(machine: &Machine) -> usize {
    let mut cursor = machine.engine().cursor(&rows::chunks(), &ReadOptions::default()).unwrap();
    let mut count = 0;
    while cursor.next().unwrap() {
        count += 1;
    }
    count
}

#[test]
fn answers_stand_in_few_rows_and_are_there_as_of_every_entry_that_a_crash_leaves() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    let executed = |machine: &Machine, upto: u64| {
        (1..=upto).all(|n| {
            let Command::Write { identity: Some(identity), .. } = named(n) else { return false };
            machine.identities().judge(&identity) == Verdict::Ended(Outcome::Written(n))
        })
    };
    for n in 1..=70 {
        assert_eq!(apply(&mut machine, &entry(n, &named(n))), Some(Outcome::Written(n)));
        if n == 40 {
            flush(&mut machine);
        }
    }
    drop(machine);
    // One full row, and that of the tail.
    let mut machine = disk.open();
    assert_eq!((machine.applied().index, machine.identities().len()), (Index(40), 40));
    assert!(executed(&machine, 40));
    assert_eq!(rows_of_answers(&machine), 2);
    for n in 41..=70 {
        apply(&mut machine, &entry(n, &named(n)));
    }
    // Of three rows, the first has something left.
    apply(&mut machine, &entry(71, &Command::Expire { upto: Tick(71), floor: Tick(20) }));
    flush(&mut machine);
    assert_eq!((machine.identities().len(), rows_of_answers(&machine)), (50, 3));
    drop(machine);
    let mut machine = disk.open();
    assert_eq!(machine.identities().len(), 50, "what was forgotten stays so");
    apply(&mut machine, &entry(72, &Command::Expire { upto: Tick(72), floor: Tick(45) }));
    // Rows of which nothing counts go with the next entry.
    apply(&mut machine, &entry(73, &named(73)));
    flush(&mut machine);
    assert_eq!((machine.identities().len(), rows_of_answers(&machine)), (26, 2));
    apply(&mut machine, &entry(74, &Command::Expire { upto: Tick(74), floor: Tick(73) }));
    apply(&mut machine, &entry(75, &put_until("a", 1_000)));
    flush(&mut machine);
    assert_eq!((machine.identities().len(), rows_of_answers(&machine)), (0, 1), "the open one");
    drop(machine);
    let mut machine = disk.open();
    assert_eq!(machine.identities().len(), 0);
    apply(&mut machine, &entry(76, &put_until("b", 1_000)));
    assert_eq!(rows_of_answers(&machine), 0);
}

#[test]
fn a_session_that_goes_on_takes_no_more_rows_than_one_and_the_open_one() {
    let mut disk = Disk::new();
    let mut machine = disk.open();
    let session = |sequence| {
        let of = Session { issued_at: Tick(1), client: 7, sequence };
        let operations = vec![Operation::put_value("key", "value")];
        Command::Write { identity: Some(Identity::Session(of)), operations }
    };
    for n in 1..=200 {
        assert_eq!(apply(&mut machine, &entry(n, &session(n))), Some(Outcome::Written(n)));
    }
    flush(&mut machine);
    assert!(rows_of_answers(&machine) <= 2);
    drop(machine);
    let mut machine = disk.open();
    assert_eq!(apply(&mut machine, &entry(201, &session(200))), Some(Outcome::Written(200)));
    // Its answer alone is left of a chunk that was begun anew, though all others in it were forgotten before it was full.
    for n in 202..=232 {
        assert_eq!(apply(&mut machine, &entry(n, &named(n))), Some(Outcome::Written(n)));
    }
    apply(&mut machine, &entry(233, &Command::Expire { upto: Tick(233), floor: Tick(232) }));
    apply(&mut machine, &entry(234, &named(234)));
    apply(&mut machine, &entry(235, &named(235)));
    flush(&mut machine);
    drop(machine);
    let machine = disk.open();
    assert_eq!(machine.identities().len(), 2);
}
