//! What an engine lacks answers `Unsupported`, and changes nothing.

use super::Law;
use super::bench::{Bench, holds, ok};
use crate::{
    Engine, ErrorKind, Feature, KeyRange, Maintain, ReadOptions, Result, Tick, Tier, WriteBatch,
};

pub(super) const LAWS: &[Law] =
    &[Law { name: "what the row lacks answers unsupported", needs: &[], check: lacking }];

#[track_caller]
fn refused<T>(feature: Feature, result: Result<T>) {
    match result {
        Ok(_) => panic!("{} is not in the row but was done", feature.name()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{}: {error}", feature.name());
        }
    }
}

fn lacking(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"1");
    let capabilities = bench.capabilities();
    for feature in Feature::ALL.into_iter().filter(|feature| !capabilities.has(*feature)) {
        ask(bench, &*engine, feature);
        holds(&*engine, b"a", Some(b"1"));
    }
}

/// Asks for what the row lacks.
fn ask(bench: &Bench<'_>, engine: &dyn Engine, feature: Feature) {
    let options = ReadOptions::default();
    let mut batch = WriteBatch::new();
    match feature {
        Feature::Snapshots => refused(feature, engine.snapshot()),
        Feature::Reverse => {
            let mut cursor = ok("cursor", engine.cursor(&KeyRange::all(), &options));
            refused(feature, cursor.prev());
            refused(feature, cursor.seek_back(b"a"));
        }
        Feature::ReadMany => refused(feature, engine.read_many(&[b"a"], &options, &mut |_, _| ())),
        Feature::RangeDeletes => {
            batch.put(b"a", b"2").delete_range(b"a", b"b");
            refused(feature, engine.write(&batch, bench.durability()));
        }
        Feature::Expiry => {
            batch.put_until(b"a", b"2", Tick(1));
            refused(feature, engine.write(&batch, bench.durability()));
            operator(engine, feature, |operator| operator.set_expiry_floor(Tick(1)));
        }
        Feature::Batches => {
            batch.put(b"a", b"2").put(b"b", b"2");
            refused(feature, engine.write(&batch, bench.durability()));
        }
        Feature::CacheOnly => {
            let options = ReadOptions { tier: Tier::CacheOnly, ..options };
            refused(feature, engine.read(b"a", &options, &mut |_| ()));
            refused(feature, engine.cursor(&KeyRange::all(), &options));
        }
        Feature::Flush => operator(engine, feature, |operator| operator.flush()),
        Feature::Compact => {
            operator(engine, feature, |operator| operator.compact(&KeyRange::all()));
        }
        Feature::Settle => operator(engine, feature, |operator| operator.settle()),
        Feature::Scrub => operator(engine, feature, |operator| operator.scrub().map(drop)),
        Feature::Ingest => operator(engine, feature, |operator| operator.ingest(&[])),
        Feature::Checkpoint => {
            let copy = bench.dir.join("copy");
            operator(engine, feature, |operator| operator.checkpoint(&copy));
            let (installed, parts) = (bench.dir.join("installed"), &bench.parts);
            refused(feature, bench.factory.install(&installed, &copy, parts));
        }
        Feature::Replicated => assert!(engine.replicated().is_none()),
        // Without a lock a second open is not refused; without simulation there is nothing to ask.
        Feature::Lock | Feature::Simulated => {}
    }
}

fn operator(engine: &dyn Engine, feature: Feature, call: impl Fn(&dyn Maintain) -> Result<()>) {
    if let Some(operator) = engine.maintain() {
        refused(feature, call(operator));
    }
}
