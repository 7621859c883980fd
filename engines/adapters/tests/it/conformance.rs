//! Every row obeys every law that its capability row does not exclude.

use nori_adapters::{ROWS, factory};
use nori_kv::conformance::Suite;
use nori_kv::{Feature, Parts};

/// Features that a peer must have, or its laws would be skipped in silence.
fn expected(name: &str) -> Vec<Feature> {
    let mut all = vec![Feature::Reverse, Feature::Settle, Feature::Batches, Feature::Lock];
    // sled has neither.
    if !name.starts_with("sled") {
        all.extend([Feature::Snapshots, Feature::ReadMany]);
    }
    all
}

/// Runs the suite on both rows of a peer.
fn obeys(peer: &str) {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.name.split(':').next() == Some(peer)).collect();
    assert_eq!(rows.len(), 2, "{peer} has two rows");
    for row in rows {
        let name = row.name;
        let factory = factory(name, 16 << 20).expect("the row is listed");
        let dir = tempfile::tempdir().expect("a folder for the stores");
        let parts = || Parts::os(2).expect("threads");
        let expected = expected(name);
        for feature in &expected {
            assert!(factory.capabilities().has(*feature), "{name} lacks {}", feature.name());
        }
        let outcome = Suite::new(&*factory, &parts, dir.path()).run();
        let held_min = if expected.contains(&Feature::Snapshots) { 38 } else { 30 };
        assert!(outcome.held.len() >= held_min, "{name}: {outcome:?}");
        let is_lost = outcome.skipped.iter().any(|(_, feature)| expected.contains(feature));
        assert!(!is_lost, "{outcome:?}");
    }
}

#[test]
fn fjall_obeys_the_laws() {
    obeys("fjall");
}

#[test]
fn redb_obeys_the_laws() {
    obeys("redb");
}

#[test]
fn lmdb_obeys_the_laws() {
    obeys("lmdb");
}

#[test]
fn sled_obeys_the_laws() {
    obeys("sled");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_obeys_the_laws() {
    obeys("rocksdb");
}
