//! What raft-rs relies on beyond the laws of the seam.

use crate::RaftRs;
use nori_consensus::host::Host;
use nori_consensus::{
    ConsensusFactory, Index, Input, Instant, LogView, Membership, NodeId, Role, Settings, ShardId,
    Standing, Ticket,
};
use protobuf::Message as _;
use raft::eraftpb::HardState;
use std::sync::Arc;
use std::time::Duration;

/// Writes and applies until nothing is left to do.
fn settle(host: &mut Host, now: Instant) {
    while host.is_writing() || host.is_applying() {
        host.finish_write(now).unwrap();
        host.apply(now).unwrap();
    }
}

/// Seed 56 of the storms of ten minutes: a leader forgot with its life that two changes had committed, was elected by the members before both, and led
/// beside the leader that the later members had elected.
#[test]
fn who_has_a_change_in_its_log_knows_in_its_next_life_that_the_one_before_is_committed() {
    let factory = Arc::new(RaftRs::new(Settings::default()).unwrap());
    let founding = factory.founding(&Membership::founding([NodeId(1)]));
    let mut host = Host::new(factory, (ShardId(1), NodeId(1)), founding);
    let mut now = Instant::default();
    host.boot(now, 1, (Standing::Whole, 0)).unwrap();
    host.drain().unwrap();
    while host.status().is_none_or(|status| status.role != Role::Leader) {
        now = now.after(Duration::from_millis(50));
        host.step(now, Input::TimerFired).unwrap();
        settle(&mut host, now);
    }
    for (n, learner) in [2, 3].into_iter().enumerate() {
        let before = host.status().unwrap().membership.at;
        let change = host.status().unwrap().membership.with_learner(NodeId(learner));
        let ticket = Ticket(n as u64 + 1);
        host.step(now, Input::MembershipRequested { ticket, change }).unwrap();
        // Its own write is the last that is safe; what it has applied is not.
        host.finish_write(now).unwrap();
        let mut state = HardState::default();
        state.merge_from_bytes(&host.log().hard_state()).unwrap();
        assert!(Index(state.commit) >= before, "it would go back behind {before}");
        settle(&mut host, now);
    }
    assert_eq!(host.status().unwrap().membership.learners.len(), 2);
    assert_eq!(host.log().last().index, host.status().unwrap().commit);
}
