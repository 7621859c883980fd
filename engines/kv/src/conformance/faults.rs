//! A disk that fails: the error has the right kind, no later write is taken, and what was acknowledged is there.

use super::Law;
use super::bench::{Bench, holds, ok, rows};
use crate::{Durability, Engine, ErrorKind, Feature, KeyRange, Parts, WriteBatch};
use nori_env::{FaultFs, FaultPlan};
use std::sync::Arc;

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a full disk ends writing with a clear error and the store opens again",
        needs: &[Feature::Simulated],
        check: full,
    },
    Law {
        name: "a failed sync ends writing and is not retried",
        needs: &[Feature::Simulated],
        check: failed_sync,
    },
];

/// Parts whose files fail on purpose.
fn failing(bench: &Bench<'_>) -> (FaultFs, Parts) {
    let fs = FaultFs::new(FaultPlan::default());
    let parts = Parts { fs: Arc::new(fs.clone()), ..bench.parts.clone() };
    (fs, parts)
}

fn key(n: u32) -> Vec<u8> {
    format!("{n:08}").into_bytes()
}

fn batch(n: u32) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(&key(n), &[n as u8; 1_000]);
    batch
}

/// Writes until a write fails; the number acknowledged and the kind of the error.
fn until_refused(engine: &dyn Engine, durability: Durability, writes_max: u32) -> (u32, ErrorKind) {
    for n in 0..writes_max {
        if let Err(error) = engine.write(&batch(n), durability) {
            return (n, error.kind());
        }
    }
    panic!("{writes_max} writes were taken");
}

/// After the first refusal nothing more is written, and what was acknowledged is still read.
fn is_poisoned(engine: &dyn Engine, acknowledged: u32, durability: Durability, kind: ErrorKind) {
    for n in [0, acknowledged + 1] {
        let Err(error) = engine.write(&batch(n), durability) else {
            panic!("a write was taken after one had failed");
        };
        assert_eq!(error.kind(), kind, "{error}");
    }
    for n in 0..acknowledged {
        holds(engine, &key(n), Some(&[n as u8; 1_000]));
    }
}

fn full(bench: &Bench<'_>) {
    let (fs, parts) = failing(bench);
    let engine = ok("open", bench.factory.open(&bench.dir, parts.clone()));
    fs.set_plan(FaultPlan { capacity_bytes: Some(1 << 20), ..FaultPlan::default() });
    let durability = bench.durability();
    // A hundred times more than the disk holds: an engine that waits for room must not wait for ever.
    let (acknowledged, kind) = until_refused(&*engine, durability, 100_000);
    // Whoever met the full disk first, the writer learns that it is full.
    assert_eq!(kind, ErrorKind::Full);
    is_poisoned(&*engine, acknowledged, durability, ErrorKind::Full);
    drop(engine);
    fs.set_plan(FaultPlan::default());
    let engine = ok("open with room again", bench.factory.open(&bench.dir, parts));
    let found = rows(&*engine, &KeyRange::all());
    let expected: Vec<_> = (0..acknowledged).map(|n| (key(n), vec![n as u8; 1_000])).collect();
    // Nothing was promised of class `none`: some are there, and none before which one is not.
    let promised = if durability == Durability::None { found.len() } else { expected.len() };
    let is_prefix = expected.starts_with(&found) || found.starts_with(&expected);
    assert!(is_prefix && found.len() >= promised, "{} of {acknowledged} rows", found.len());
    ok("write with room again", engine.write(&batch(0), durability));
}

fn failed_sync(bench: &Bench<'_>) {
    if !bench.capabilities().offers(Durability::Sync) {
        return;
    }
    let (fs, parts) = failing(bench);
    let engine = ok("open", bench.factory.open(&bench.dir, parts));
    for n in 0..5 {
        ok("write", engine.write(&batch(n), Durability::Sync));
    }
    // The sync that fails may be one of background work, which a write need not notice: then try the next one.
    let mut acknowledged = 5;
    let error = loop {
        let before = fs.syncs();
        fs.set_plan(FaultPlan { fail_at_sync: Some(before + 1), ..FaultPlan::default() });
        match engine.write(&batch(acknowledged), Durability::Sync) {
            Err(error) => break error,
            Ok(_) => assert!(
                fs.syncs() > before + 1,
                "a write was acknowledged although its sync failed"
            ),
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "a hundred syncs failed and no write noticed");
    };
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error}");
    is_poisoned(&*engine, acknowledged, Durability::Sync, ErrorKind::Poisoned);
    is_poisoned(&*engine, acknowledged, bench.durability(), ErrorKind::Poisoned);
}
