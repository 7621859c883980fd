//! Adapted protocols keep the laws of the seam, as far as they have the features.

use nori_consensus::conformance::Suite;
use nori_consensus::{Feature, Settings};
use nori_consensus_adapters::{OpenRaft, RaftRs};
use std::sync::Arc;

#[test]
fn raft_rs_keeps_every_law_of_what_it_can_do() {
    let factory = RaftRs::new(Settings::default()).expect("the usual settings");
    let checked = Suite::new(Arc::new(factory)).run();
    let lacking = [
        Feature::Priority,
        Feature::Lease,
        Feature::ExclusiveLease,
        Feature::Quiescence,
        Feature::DoubtfulStart,
    ];
    assert!(checked.skipped.iter().all(|(_, feature)| lacking.contains(feature)));
}

#[test]
fn openraft_keeps_every_law_of_what_it_can_do() {
    let factory = OpenRaft::new(Settings::default()).expect("the usual settings");
    let checked = Suite::new(Arc::new(factory)).run();
    let lacking = [
        Feature::Priority,
        Feature::CheckQuorum,
        Feature::Pipelining,
        Feature::Lease,
        Feature::ExclusiveLease,
        Feature::Quiescence,
        Feature::DoubtfulStart,
    ];
    assert!(checked.skipped.iter().all(|(_, feature)| lacking.contains(feature)));
}
