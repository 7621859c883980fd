//! What a replica needs: entries are applied in order and survive as far as the engine says.

use super::Law;
use super::bench::{Bench, holds, ok};
use crate::{Applied, Engine, Feature, Progress, Replicated, WriteBatch};
use nori_env::Signal;

pub(super) const LAWS: &[Law] = &[
    Law { name: "an applied entry is read", needs: &[Feature::Replicated], check: applied },
    Law {
        name: "flush through makes the applied index durable",
        needs: &[Feature::Replicated],
        check: durable,
    },
];

fn replica(engine: &dyn Engine) -> &dyn Replicated {
    engine.replicated().expect("a replicated engine has the replica's calls")
}

/// Applies one entry, waiting as often as the engine is busy.
fn apply(bench: &Bench<'_>, engine: &dyn Engine, batch: &WriteBatch, at: Applied) {
    while let Progress::Busy(signal) = ok("apply", replica(engine).apply(batch, at)) {
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
