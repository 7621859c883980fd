//! Nodes that go, and what they tell of the replicas that they let go.

use super::*;

#[test]
fn whoever_looks_at_a_node_is_told_last_of_all_that_a_replica_has_gone() {
    let mut rig = Rig::new(3);
    rig.add();
    rig.wait(20_000);
    let drained = placement::NodeId(rig.id(0).0);
    let (weight, state) = (Weight::new(1).unwrap(), MemberState::Draining);
    rig.decide(MapChange::Alter { node: drained, weight, state }).unwrap();
    rig.wait(25_000);
    for shard in (0..=u64::from(SHARDS)).map(ShardId) {
        assert!(!rig.holders(shard).contains(&0));
        let is_of = |event: &&Event| match event {
            Event::RoleChanged { shard: of, .. } | Event::ReplicaGone { shard: of } => *of == shard,
            _ => false,
        };
        // Else it would go on showing what the replica had been.
        let last = rig.events.iter().filter(|(n, _)| *n == 0).map(|(_, event)| event).rfind(is_of);
        assert_eq!(last, Some(&Event::ReplicaGone { shard }));
    }
}

#[test]
fn who_leaves_hands_over_first() {
    let mut rig = Rig::new(3);
    rig.fill(2);
    let now = rig.now();
    let leaver = rig.leader(ShardId(0));
    rig.member(leaver).leave(now).unwrap();
    rig.wait(300);
    assert!(rig.member(leaver).is_gone());
    rig.kill(leaver);
    // No shard waits for an election.
    for shard in shards() {
        rig.put(shard, "after", b"1");
    }
    rig.check(2);
}
