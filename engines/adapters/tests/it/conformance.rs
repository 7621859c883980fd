//! Every row obeys every law that its capability row does not exclude.

use nori_adapters::factory;
use nori_kv::conformance::Suite;
use nori_kv::{Feature, Parts};

/// Features that each peer must have, or its laws would be skipped in silence.
const EXPECTED: [Feature; 6] = [
    Feature::Snapshots,
    Feature::Reverse,
    Feature::ReadMany,
    Feature::Settle,
    Feature::Batches,
    Feature::Lock,
];

fn obeys(name: &str) {
    let factory = factory(name, 16 << 20).expect("the row is listed");
    let dir = tempfile::tempdir().expect("a folder for the stores");
    let parts = || Parts::os(2).expect("threads");
    for feature in EXPECTED {
        assert!(factory.capabilities().has(feature), "{name} lacks {}", feature.name());
    }
    let outcome = Suite::new(&*factory, &parts, dir.path()).run();
    assert!(outcome.held.len() >= 38, "{name}: {outcome:?}");
    assert!(outcome.skipped.iter().all(|(_, feature)| !EXPECTED.contains(feature)), "{outcome:?}");
}

#[test]
fn fjall_obeys_the_laws() {
    obeys("fjall");
}

#[test]
fn fjall_as_shipped_obeys_the_laws() {
    obeys("fjall:default");
}

#[test]
fn redb_obeys_the_laws() {
    obeys("redb");
}

#[test]
fn redb_as_shipped_obeys_the_laws() {
    obeys("redb:default");
}

#[test]
fn lmdb_obeys_the_laws() {
    obeys("lmdb");
}

#[test]
fn lmdb_as_shipped_obeys_the_laws() {
    obeys("lmdb:default");
}
