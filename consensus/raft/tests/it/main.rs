//! The protocol `nori` keeps the laws of the seam.

mod leases;
mod stories;

use nori_consensus::conformance::Suite;
use nori_consensus::{Feature, LeaseKind, Settings};
use nori_raft::NoriRaft;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn nori_keeps_every_law_but_that_of_sleep() {
    let factory = NoriRaft::new(Settings::default()).unwrap();
    let checked = Suite::new(Arc::new(factory)).run();
    assert!(checked.skipped.iter().all(|(_, lacking)| *lacking == Feature::Quiescence));
}

#[test]
fn nori_that_sleeps_keeps_every_law() {
    let quiesce_after = Some(Duration::from_millis(300));
    let factory = NoriRaft::new(Settings { quiesce_after, ..Settings::default() }).unwrap();
    assert_eq!(Suite::new(Arc::new(factory)).run().skipped, []);
}

#[test]
fn nori_keeps_every_law_whatever_its_leases_rest_upon() {
    for lease in LeaseKind::ALL {
        let factory = NoriRaft::new(Settings { lease, ..Settings::default() }).unwrap();
        Suite::new(Arc::new(factory)).run();
    }
}
