//! Leases hold against whoever asks for an election.

use nori_consensus::world::World;
use nori_consensus::{ConsensusFactory, Consistency, Input, NodeId, Settings};
use nori_raft::NoriRaft;
use std::sync::Arc;
use std::time::Duration;

/// The leader has heard one follower a moment ago, and the other not for long. Then nobody hears it, and the first is asked to campaign.
#[test]
fn a_follower_that_is_asked_to_campaign_keeps_the_faith_that_a_lease_rests_on() {
    for seed in 0..20 {
        let factory: Arc<dyn ConsensusFactory> =
            Arc::new(NoriRaft::new(Settings::default()).unwrap());
        let mut world = World::new(&factory, seed, 3).unwrap();
        assert!(
            world.run_until(Duration::from_secs(20), |world| world.leader().is_some()).unwrap()
        );
        world.run_for(Duration::from_secs(2)).unwrap();
        let leader = world.leader().unwrap();
        let others: Vec<NodeId> = world.nodes().filter(|node| *node != leader).collect();
        world.split(&others[1..]);
        world.run_for(Duration::from_secs(3)).unwrap();
        assert_eq!(world.leader(), Some(leader));
        world.cut(leader, others[0]);
        world.cut(others[0], leader);
        world.mend(others[1]);
        world.run_for(Duration::from_millis(30)).unwrap();
        world.mend(others[0]);
        world.cut(others[0], leader);
        world.step(others[0], Input::CampaignRequested).unwrap();
        world.run_for(Duration::from_millis(300)).unwrap();
        world.read(leader, Consistency::Lease).unwrap();
        world.run_for(Duration::from_secs(20)).unwrap();
    }
}
