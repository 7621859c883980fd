//! Groups and the map that differ, and what the conductor does.

use super::*;
use norikv_placement::{Member, MemberState, ReplicaCount, ShardCount, Weight, Zone};

fn nodes(of: &[u64]) -> BTreeSet<NodeId> {
    of.iter().copied().map(NodeId).collect()
}

/// A settled map of one shard on three of so many nodes: the first three, whoever leads them.
fn map(count: u64) -> ShardMap {
    let member = || Member {
        zone: Zone::new("a").unwrap(),
        weight: Weight::new(1).unwrap(),
        state: MemberState::Active,
    };
    let members = (1..=3).map(|node| (placement::NodeId(node), member())).collect();
    let (shards, replicas) = (ShardCount::new(1).unwrap(), ReplicaCount::new(3).unwrap());
    let mut map = ShardMap::bootstrap(shards, replicas, members).unwrap();
    for node in 4..=count {
        apply(&mut map, MapChange::Join { node: placement::NodeId(node), member: member() });
    }
    map
}

fn apply(map: &mut ShardMap, change: MapChange) {
    let made_at = map.epoch();
    map.apply(&placement::Command { made_at, change }).unwrap();
}

/// A map whose shard is to be on `target` instead, and has a learner already.
fn moving(target: &[u64], learner: u64) -> ShardMap {
    let mut map = map(4);
    let shard = placement::ShardId(0);
    let there =
        |nodes: &[u64]| vec![(shard, nodes.iter().copied().map(placement::NodeId).collect())];
    apply(&mut map, MapChange::Retarget(there(&[1, 2, learner])));
    let node = placement::NodeId(learner);
    apply(&mut map, MapChange::Step(Step::AddLearner { shard, node }));
    apply(&mut map, MapChange::Retarget(there(target)));
    map
}

/// Somebody's word; a replica is in doubt until it has applied something.
fn report(role: Role, membership: Option<Membership>, applied: u64) -> Report {
    let (shard, term) = (ShardId(0), Term(3));
    let (commit, applied, is_doubtful) = (Index(900), Index(applied), applied == 0);
    Report { shard, role, term, commit, applied, is_doubtful, membership }
}

/// What is asked for where the map is settled, if the third has applied so much, and the group is this.
fn asked(voters: &[u64], learners: &[u64], third: u64) -> Option<Change> {
    asked_by(map(3), voters, learners, third)
}

/// The same by another map.
fn asked_by(mut map: ShardMap, voters: &[u64], learners: &[u64], third: u64) -> Option<Change> {
    let (now, limit) = (Instant { nanos: 5_000_000_000 }, MoveLimit::new(2).unwrap());
    let membership = Membership {
        at: Index(7),
        voters: nodes(voters),
        outgoing: BTreeSet::new(),
        learners: nodes(learners),
    };
    let mut conductor = Conductor::default();
    conductor.hear(now, NodeId(1), report(Role::Leader, Some(membership), 900));
    conductor.hear(now, NodeId(2), report(Role::Follower, None, 900));
    conductor.hear(now, NodeId(3), report(Role::Learner, None, third));
    conductor.hear(now, NodeId(4), report(Role::Learner, None, 900));
    // Who leads is no matter here.
    for step in balance_leaders(&map) {
        apply(&mut map, MapChange::Step(step));
    }
    let acts = conductor.acts(now, &map, limit, |_| true);
    acts.into_iter().find_map(|act| match act {
        Act::Ask { change, .. } => Some(change),
        Act::Decide(_) => None,
    })
}

#[test]
fn a_group_that_is_not_what_the_settled_map_says_is_brought_there() {
    assert_eq!(asked(&[1, 2, 3], &[], 900), None);
    // It had let a node go when its target was changed back.
    let change = asked(&[1, 2], &[3], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 3]), nodes(&[])));
    assert_eq!(asked(&[1, 2], &[3], 0), None, "it would not vote");
    let change = asked(&[1, 2], &[], 0).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2]), nodes(&[3])));
    // Whoever is too many learns before it goes.
    let change = asked(&[1, 2, 3, 4], &[], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 3]), nodes(&[4])));
}

#[test]
fn a_group_that_let_a_learner_of_the_map_go_gets_it_back() {
    let map = || moving(&[1, 2, 4], 4);
    let change = asked_by(map(), &[1, 2, 3], &[], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 3]), nodes(&[4])));
    let change = asked_by(map(), &[1, 2, 3], &[4], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 4]), nodes(&[3])));
}

#[test]
fn a_voter_is_replaced_and_not_removed() {
    // The fourth became a voter in the place of the third; before anybody noted it, that was to be undone.
    let map = || moving(&[1, 2, 3], 4);
    let change = asked_by(map(), &[1, 2, 4], &[3], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 3]), nodes(&[4])));
    assert_eq!(asked_by(map(), &[1, 2, 4], &[3], 0), None, "it would not vote");
    let change = asked_by(map(), &[1, 2, 3], &[4], 900).unwrap();
    assert_eq!((change.voters, change.learners), (nodes(&[1, 2, 3]), nodes(&[])));
}
