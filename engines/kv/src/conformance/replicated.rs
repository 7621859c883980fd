//! What a replica needs: entries are applied in order and survive as far as the engine says.

use super::Law;
use super::bench::{Bench, holds, ok, rows, same};
use crate::{Applied, Engine, ErrorKind, Feature, KeyRange, Progress, Replicated, WriteBatch};
use nori_env::Signal;

pub(super) const LAWS: &[Law] = &[
    Law { name: "an applied entry is read", needs: &[Feature::Replicated], check: applied },
    Law {
        name: "flush through makes the applied index durable",
        needs: &[Feature::Replicated],
        check: durable,
    },
    Law {
        name: "what is durable ends with the tail of its last entry",
        needs: &[Feature::Replicated],
        check: tails,
    },
    Law {
        name: "an entry that does not come next is refused and changes nothing",
        needs: &[Feature::Replicated],
        check: in_order,
    },
    Law {
        name: "who waits for an entry is told when it comes or the store closes",
        needs: &[Feature::Replicated],
        check: told,
    },
    Law {
        name: "a checkpoint for a replica is what it says it is",
        needs: &[Feature::Replicated, Feature::Checkpoint],
        check: checkpoint,
    },
    Law {
        name: "what was applied beyond the durable entry can be applied again",
        needs: &[Feature::Replicated],
        check: again,
    },
];

fn replica(engine: &dyn Engine) -> &dyn Replicated {
    engine.replicated().expect("a replicated engine has the replica's calls")
}

/// Applies one entry, waiting as often as the engine is busy.
fn apply(bench: &Bench<'_>, engine: &dyn Engine, batch: &WriteBatch, at: Applied) {
    apply_with(bench, engine, (batch, &WriteBatch::new()), at);
}

/// The same, with a tail.
fn apply_with(
    bench: &Bench<'_>,
    engine: &dyn Engine,
    (batch, tail): (&WriteBatch, &WriteBatch),
    at: Applied,
) {
    while let Progress::Busy(signal) = ok("apply", replica(engine).apply(batch, tail, at)) {
        let _ = bench.parts.tasks.wait(&signal);
    }
}

fn applied(bench: &Bench<'_>) {
    let engine = bench.open();
    for index in 1..=50_u64 {
        let mut batch = WriteBatch::new();
        batch.put(&index.to_be_bytes(), b"1").put(b"last", &index.to_be_bytes());
        apply(bench, &*engine, &batch, Applied { index, term: 1 });
        holds(&*engine, b"last", Some(&index.to_be_bytes()));
    }
    let durable = replica(&*engine).durable_applied();
    assert!(durable.index <= 50, "{durable:?} passes what was applied");
}

fn durable(bench: &Bench<'_>) {
    let engine = bench.open();
    for index in 1..=20_u64 {
        let mut batch = WriteBatch::new();
        if index != 20 {
            batch.put(&index.to_be_bytes(), b"1");
        }
        apply(bench, &*engine, &batch, Applied { index, term: 3 });
    }
    let done = Signal::new();
    replica(&*engine).flush_through(20, done.clone());
    let _ = bench.parts.tasks.wait(&done);
    let expected = Applied { index: 20, term: 3 };
    assert_eq!(replica(&*engine).durable_applied(), expected, "an empty entry counts");
    drop(engine);
    let engine = bench.open();
    assert_eq!(replica(&*engine).durable_applied(), expected, "after a reopen");
    for index in 1..20_u64 {
        holds(&*engine, &index.to_be_bytes(), Some(b"1"));
    }
}

fn tails(bench: &Bench<'_>) {
    let (value, nothing) = (|index: u64| index.to_le_bytes(), WriteBatch::new());
    let mut from = 1;
    for upto in [20, 41] {
        let engine = bench.open();
        let flush = |index| {
            let done = Signal::new();
            replica(&*engine).flush_through(index, done.clone());
            let _ = bench.parts.tasks.wait(&done);
        };
        for index in from..=upto {
            // Every third is its tail alone, and so is the last.
            let batch =
                if index % 3 == 2 { nothing.clone() } else { put(&value(index), b"of the batch") };
            let tail = put(b"tail", &value(index));
            apply_with(bench, &*engine, (&batch, &tail), Applied { index, term: 1 });
            if index == upto - 3 {
                flush(index);
            }
        }
        let found = replica(&*engine).durable_applied().index;
        assert!(found >= upto - 3, "{found} is durable of {upto}");
        drop(engine);
        let engine = bench.open();
        let found = replica(&*engine).durable_applied().index;
        holds(&*engine, b"tail", Some(&value(found)));
        from = found + 1;
    }
    let engine = bench.open();
    for index in from..=42 {
        let tail = if index == 42 { put(b"tail", b"alone") } else { nothing.clone() };
        apply_with(bench, &*engine, (&nothing, &tail), Applied { index, term: 1 });
    }
    let done = Signal::new();
    replica(&*engine).flush_through(42, done.clone());
    let _ = bench.parts.tasks.wait(&done);
    assert_eq!(replica(&*engine).durable_applied().index, 42);
    drop(engine);
    holds(&*bench.open(), b"tail", Some(b"alone"));
}

fn put(key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    batch
}

fn in_order(bench: &Bench<'_>) {
    let engine = bench.open();
    apply(bench, &*engine, &put(b"a", b"1"), Applied { index: 5, term: 2 });
    for (index, term) in [(5, 2), (4, 2), (6, 1), (0, 0)] {
        let outcome =
            replica(&*engine).apply(&put(b"a", b"2"), &put(b"tail", b"2"), Applied { index, term });
        let kind = outcome.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Invalid), "{index} of term {term} behind 5 of term 2");
    }
    holds(&*engine, b"a", Some(b"1"));
    holds(&*engine, b"tail", None);
    apply(bench, &*engine, &put(b"a", b"3"), Applied { index: 9, term: 2 });
    holds(&*engine, b"a", Some(b"3"));
}

fn told(bench: &Bench<'_>) {
    let engine = bench.open();
    let (now, later, never) = (Signal::new(), Signal::new(), Signal::new());
    replica(&*engine).flush_through(0, now.clone());
    assert!(now.is_fired(), "nothing was asked for");
    replica(&*engine).flush_through(3, later.clone());
    replica(&*engine).flush_through(1_000, never.clone());
    for index in 1..=3 {
        assert!(!later.is_fired(), "before it was applied");
        apply(bench, &*engine, &put(b"a", b"1"), Applied { index, term: 1 });
    }
    let _ = bench.parts.tasks.wait(&later);
    assert_eq!(replica(&*engine).durable_applied(), Applied { index: 3, term: 1 });
    assert!(!never.is_fired());
    drop(engine);
    assert!(never.is_fired(), "whoever waits for a store that is closed waits for ever");
}

fn checkpoint(bench: &Bench<'_>) {
    let (copy, installed) = (bench.dir.join("copy"), bench.dir.join("installed"));
    let engine = bench.open_in(&bench.dir.join("store"));
    for index in 1..=30_u64 {
        apply(bench, &*engine, &put(&index.to_be_bytes(), b"1"), Applied { index, term: 1 });
    }
    let done = Signal::new();
    replica(&*engine).flush_through(30, done.clone());
    let _ = bench.parts.tasks.wait(&done);
    let of = ok("checkpoint", replica(&*engine).checkpoint(&copy));
    assert!(of.index >= 30, "{of:?} was durable");
    for index in 31..=60_u64 {
        apply(bench, &*engine, &put(&index.to_be_bytes(), b"2"), Applied { index, term: 1 });
    }
    let Err(error) = replica(&*engine).checkpoint(&copy) else {
        panic!("a checkpoint over a store")
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // In place of a store that has more.
    let old = bench.open_in(&installed);
    apply(bench, &*old, &put(b"of the old store", b"3"), Applied { index: 99, term: 9 });
    drop(old);
    ok("install", bench.factory.install(&installed, &copy, &bench.parts));
    let opened = bench.open_in(&installed);
    assert_eq!(replica(&*opened).durable_applied(), of);
    let expected: Vec<_> =
        (1..=of.index).map(|n| (n.to_be_bytes().to_vec(), b"1".to_vec())).collect();
    same("rows of the copy", &rows(&*opened, &KeyRange::all()), &expected);
    let next = Applied { index: of.index + 1, term: 2 };
    apply(bench, &*opened, &put(b"next", b"4"), next);
    holds(&*opened, b"next", Some(b"4"));
    holds(&*engine, b"next", None);
}

fn again(bench: &Bench<'_>) {
    let value = |index: u64| index.to_le_bytes();
    let mut durable = 0;
    for round in 1..=4_u64 {
        let engine = bench.open();
        let found = replica(&*engine).durable_applied();
        assert!(found.index >= durable, "it fell from {durable} to {found:?} over an opening");
        holds(
            &*engine,
            b"last",
            (found.index > 0).then(|| value(found.index)).as_ref().map(|v| &v[..]),
        );
        for index in found.index + 1..=round * 40 {
            apply(bench, &*engine, &put(b"last", &value(index)), Applied { index, term: round });
        }
        if round % 2 == 0 {
            let done = Signal::new();
            replica(&*engine).flush_through(round * 40 - 7, done.clone());
            let _ = bench.parts.tasks.wait(&done);
        }
        durable = replica(&*engine).durable_applied().index;
        assert!(round % 2 == 1 || durable >= round * 40 - 7);
    }
}
