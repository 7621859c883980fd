//! Plans, taken step by step in drawn orders: what holds on the way, and where they end.

use crate::cluster::{active, apply, config, happen, happening, member, members, replicas};
use norikv_placement::{Change, NodeId, Shard, ShardCount, ShardId, ShardMap, Step, plan};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

fn has_quorum_of(nodes: &[NodeId], set: &[NodeId]) -> bool {
    nodes.iter().filter(|node| set.contains(node)).count() > set.len() / 2
}

/// The shards in motion on each node: with a learner, or with voters that were demoted.
fn in_flight(map: &ShardMap) -> BTreeMap<NodeId, u32> {
    let mut moves = BTreeMap::new();
    for (_, shard) in map.shards() {
        shard.learners.iter().for_each(|node| *moves.entry(*node).or_default() += 1);
    }
    moves
}

/// Takes drawn steps, each from a new plan, until none is left; checks every map on the way.
fn execute(map: &mut ShardMap, limit: NonZeroU32, order: &[usize], limit_holds: bool) {
    let from: Vec<Shard> = map.shards().map(|(_, shard)| shard.clone()).collect();
    // Each replica that moves is added, and each that goes removed; each shard is promoted and led anew once.
    let steps_max =
        from.iter().map(|s| s.target.len() + s.voters.len() + 2 * s.learners.len() + 2).sum();
    for taken in 0.. {
        let steps = plan(map, limit);
        assert_eq!(steps, plan(&map.clone(), limit), "a plan depends on the map alone");
        if steps.is_empty() {
            break;
        }
        assert!(taken < steps_max, "{taken} steps and no end");
        let step = &steps[order[taken % order.len()] % steps.len()];
        // Whoever decided on the same map, and was slower, may still take any other step of the plan.
        check_any_subset(map, &steps, order[taken % order.len()]);
        apply(map, Change::Step(step.clone())).unwrap();
        for (old, (_, now)) in from.iter().zip(map.shards()) {
            assert!(
                has_quorum_of(&now.voters, &old.voters) || has_quorum_of(&now.voters, &old.target)
            );
            assert!(now.leader.is_none_or(|leader| now.voters.contains(&leader)));
        }
        if limit_holds {
            assert!(in_flight(map).values().all(|&moves| moves <= limit.get()), "{map:?}");
        }
    }
    assert!(map.shards().all(|(_, shard)| shard.is_settled()), "{map:?}");
    for (old, (_, now)) in from.iter().zip(map.shards()) {
        assert_eq!(now.voters, old.target);
    }
}

/// All steps of one plan, in a drawn rotation: each is accepted after the others.
fn check_any_subset(map: &ShardMap, steps: &[Step], rotation: usize) {
    let mut map = map.clone();
    let start = rotation % steps.len();
    for step in steps[start..].iter().chain(&steps[..start]) {
        apply(&mut map, Change::Step(step.clone())).unwrap();
    }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn a_whole_new_set_of_voters_comes_in_by_one_joint_change() {
    let members = (1..=3).map(|id| (NodeId(id), member(0, 1))).collect();
    let mut map = ShardMap::bootstrap(ShardCount::new(1).unwrap(), replicas(3), members).unwrap();
    for id in 4..=6 {
        apply(&mut map, Change::Join { node: NodeId(id), member: member(0, 1) }).unwrap();
    }
    let shard = ShardId(0);
    apply(&mut map, Change::Retarget(vec![(shard, nodes(&[4, 5, 6]))])).unwrap();
    let mut story = Vec::new();
    while let Some(step) = plan(&map, NonZeroU32::MIN).into_iter().next() {
        apply(&mut map, Change::Step(step.clone())).unwrap();
        story.push(step);
    }
    let node = NodeId;
    let expected = [
        Step::AddLearner { shard, node: node(4) },
        Step::AddLearner { shard, node: node(5) },
        Step::AddLearner { shard, node: node(6) },
        Step::Promote { shard, joins: nodes(&[4, 5, 6]), leaves: nodes(&[1, 2, 3]) },
        Step::Remove { shard, node: node(1) },
        Step::Remove { shard, node: node(2) },
        Step::Remove { shard, node: node(3) },
    ];
    assert_eq!(story, expected);
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    let members = (1..=3).map(|id| (NodeId(id), member(0, 1))).collect();
    let mut map = ShardMap::bootstrap(ShardCount::new(1).unwrap(), replicas(3), members).unwrap();
    let shard = ShardId(0);
    assert_eq!(map.shard(shard).unwrap().leader, Some(NodeId(1)));
    apply(&mut map, Change::Retarget(vec![(shard, nodes(&[2, 3]))])).unwrap();
    let transfer = Step::TransferLeader { shard, node: NodeId(2) };
    assert_eq!(plan(&map, NonZeroU32::MIN), std::slice::from_ref(&transfer));
    apply(&mut map, Change::Step(transfer)).unwrap();
    let promote = Step::Promote { shard, joins: vec![], leaves: nodes(&[1]) };
    assert_eq!(plan(&map, NonZeroU32::MIN), [promote]);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plans_keep_a_quorum_and_the_limit_and_end_in_the_target(
        members in members(4, 5),
        count in 1_u8..6,
        shards in 1_u32..20,
        happenings in prop::collection::vec(happening(5, 5), 1..6),
        limit in 1_u32..4,
        order in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let shards = ShardCount::new(shards).unwrap();
        let mut map = ShardMap::bootstrap(shards, replicas(count), members).unwrap();
        happenings.iter().for_each(|happening| happen(&mut map, happening));
        prop_assume!(active(map.members()).next().is_some());
        if let Some(change) = map.retarget().unwrap() {
            apply(&mut map, change).unwrap();
        }
        execute(&mut map, NonZeroU32::new(limit).unwrap(), &order, true);
    }

    #[test]
    fn a_target_that_changes_on_the_way_is_reached_too(
        members in members(3, 3),
        shards in 1_u32..12,
        happenings in prop::collection::vec(happening(4, 3), 1..8),
        order in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let shards = ShardCount::new(shards).unwrap();
        let mut map = ShardMap::bootstrap(shards, replicas(3), members).unwrap();
        for (at, happening) in happenings.iter().enumerate() {
            happen(&mut map, happening);
            if let Ok(Some(change)) = map.retarget() {
                apply(&mut map, change).unwrap();
            }
            for _ in 0..order[at % order.len()] % 7 {
                if let Some(step) = plan(&map, NonZeroU32::MIN).pop() {
                    apply(&mut map, Change::Step(step)).unwrap();
                }
            }
        }
        execute(&mut map, NonZeroU32::MIN, &order, false);
    }
}
