//! What commands do to a map, and which are refused.

use super::*;

fn member(zone: &str) -> Member {
    Member {
        zone: Zone::new(zone).unwrap(),
        weight: Weight::new(1).unwrap(),
        state: MemberState::Active,
    }
}

/// Two shards on the nodes 1, 2 and 3; 4 is a member that holds nothing.
fn map() -> ShardMap {
    let members = (1..=3).map(|node| (NodeId(node), member("z"))).collect();
    let (shards, replicas) = (ShardCount::new(2).unwrap(), ReplicaCount::new(3).unwrap());
    let mut map = ShardMap::bootstrap(shards, replicas, members).unwrap();
    change(&mut map, Change::Join { node: NodeId(4), member: member("z") }).unwrap();
    map
}

fn change(map: &mut ShardMap, change: Change) -> Result<(), PlacementError> {
    let before = map.clone();
    let done = map.apply(&Command { made_at: map.epoch(), change });
    match done {
        Ok(()) => assert_eq!(map.epoch().0, before.epoch().0 + 1),
        Err(_) => assert_eq!(*map, before, "a refused command changes nothing"),
    }
    done
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

const SHARD: ShardId = ShardId(0);

#[test]
fn of_two_commands_made_at_one_epoch_the_second_is_refused() {
    let mut map = map();
    let made_at = map.epoch();
    let drain = Change::Alter {
        node: NodeId(1),
        weight: Weight::new(1).unwrap(),
        state: MemberState::Draining,
    };
    let command = Command { made_at, change: drain };
    assert_eq!(map.apply(&command), Ok(()));
    let now = Epoch(made_at.0 + 1);
    assert_eq!(map.apply(&command), Err(PlacementError::StaleEpoch { made_at, now }));
    assert_eq!(map.epoch(), now);
}

#[test]
fn a_replica_moves_by_four_steps_and_no_other_order_is_accepted() {
    let mut map = map();
    let (add, remove) = (
        Change::Step(Step::AddLearner { shard: SHARD, node: NodeId(4) }),
        Change::Step(Step::Remove { shard: SHARD, node: NodeId(1) }),
    );
    let promote =
        Change::Step(Step::Promote { shard: SHARD, joins: nodes(&[4]), leaves: nodes(&[1]) });
    assert!(change(&mut map, add.clone()).is_err(), "no target names it");
    change(&mut map, Change::Retarget(vec![(SHARD, nodes(&[2, 3, 4]))])).unwrap();
    assert!(change(&mut map, promote.clone()).is_err(), "it is no learner yet");
    assert!(change(&mut map, remove.clone()).is_err(), "a voter is never removed");
    change(&mut map, add.clone()).unwrap();
    assert!(change(&mut map, add).is_err(), "it is a learner already");
    let half = Step::Promote { shard: SHARD, joins: nodes(&[4]), leaves: nodes(&[]) };
    assert!(change(&mut map, Change::Step(half)).is_err(), "the target has three voters");
    change(&mut map, Change::Step(Step::TransferLeader { shard: SHARD, node: NodeId(1) })).unwrap();
    change(&mut map, promote).unwrap();
    let shard = map.shard(SHARD).unwrap();
    assert_eq!((&shard.voters, &shard.learners), (&nodes(&[2, 3, 4]), &nodes(&[1])));
    assert_eq!(shard.leader, None, "who is no voter does not lead");
    let lead = Step::TransferLeader { shard: SHARD, node: NodeId(1) };
    assert!(change(&mut map, Change::Step(lead)).is_err());
    change(&mut map, remove).unwrap();
    assert!(map.shard(SHARD).unwrap().is_settled());
}

#[test]
fn who_holds_or_awaits_a_replica_cannot_leave() {
    let mut map = map();
    let holds = PlacementError::StillHolds { node: NodeId(1), shard: SHARD };
    assert_eq!(change(&mut map, Change::Leave(NodeId(1))), Err(holds));
    change(&mut map, Change::Retarget(vec![(ShardId(1), nodes(&[2, 3, 4]))])).unwrap();
    let awaits = PlacementError::StillHolds { node: NodeId(4), shard: ShardId(1) };
    assert_eq!(change(&mut map, Change::Leave(NodeId(4))), Err(awaits));
    change(&mut map, Change::Retarget(vec![(ShardId(1), nodes(&[1, 2, 3]))])).unwrap();
    change(&mut map, Change::Leave(NodeId(4))).unwrap();
    assert!(!map.members().contains_key(&NodeId(4)));
}

#[test]
fn what_names_nobody_or_no_shard_is_refused() {
    let mut map = map();
    let unknown = Err(PlacementError::UnknownNode(NodeId(9)));
    assert_eq!(change(&mut map, Change::Leave(NodeId(9))), unknown);
    assert_eq!(change(&mut map, Change::Retarget(vec![(SHARD, nodes(&[9]))])), unknown);
    let shard = ShardId(2);
    let no_shard = Err(PlacementError::UnknownShard(shard));
    assert_eq!(change(&mut map, Change::Retarget(vec![(shard, nodes(&[1]))])), no_shard);
    let step = Step::Remove { shard, node: NodeId(1) };
    assert_eq!(change(&mut map, Change::Step(step)), no_shard);
    let again = Change::Join { node: NodeId(1), member: member("z") };
    assert_eq!(change(&mut map, again), Err(PlacementError::AlreadyMember(NodeId(1))));
    for voters in [nodes(&[]), nodes(&[2, 1]), nodes(&[1, 1])] {
        // The first of the two would be fine: a refused retarget changes neither.
        let targets = vec![(ShardId(1), nodes(&[1, 2])), (SHARD, voters)];
        let refused = change(&mut map, Change::Retarget(targets));
        assert_eq!(refused, Err(PlacementError::WrongVoters(SHARD)));
    }
}

#[test]
fn a_cluster_needs_an_active_member() {
    let mut members = BTreeMap::from([(NodeId(1), member("z"))]);
    members.values_mut().for_each(|member| member.state = MemberState::Draining);
    let (shards, replicas) = (ShardCount::new(2).unwrap(), ReplicaCount::new(3).unwrap());
    for members in [members, BTreeMap::new()] {
        let refused = ShardMap::bootstrap(shards, replicas, members);
        assert_eq!(refused, Err(PlacementError::NoActiveMember));
    }
}
