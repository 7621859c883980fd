//! Number, zones, balance and movement of replicas, for drawn members and changes of them.

use crate::cluster::{
    Members, active, apply, check_spread, config, happen, happening, member, members, replicas,
};
use norikv_placement::{Assignment, MemberState, NodeId, ShardCount, ShardMap, assign};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn counts(members: &Members, assignment: &[Vec<NodeId>]) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = active(members).map(|(id, _)| (*id, 0)).collect();
    for voter in assignment.iter().flatten() {
        *counts.get_mut(voter).unwrap() += 1;
    }
    counts
}

/// How many replicas are in `after` and were not in `before`.
fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> usize {
    let new = |(before, after): (&Vec<NodeId>, &Vec<NodeId>)| {
        after.iter().filter(|node| !before.contains(node)).count()
    };
    before.iter().zip(after).map(new).sum()
}

/// How many replicas must at least be made: what members hold more than before.
fn gained(members: &Members, before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> usize {
    let mut had: BTreeMap<NodeId, usize> = BTreeMap::new();
    before.iter().flatten().for_each(|node| *had.entry(*node).or_default() += 1);
    counts(members, after)
        .into_iter()
        .map(|(node, has)| has.saturating_sub(had.get(&node).copied().unwrap_or(0)))
        .sum()
}

fn bootstrap(members: &Members, count: u8, shards: usize) -> Assignment {
    assign(members, replicas(count), &vec![Vec::new(); shards]).unwrap()
}

#[test]
fn three_zones_hold_one_replica_each_of_every_shard() {
    let members: Members = (1..=6).map(|id| (NodeId(id), member((id % 3) as u8, 1))).collect();
    let assignment = bootstrap(&members, 3, 64);
    assignment.iter().for_each(|voters| check_spread(&members, 3, voters));
    assert!(counts(&members, &assignment).values().all(|&count| count == 32));
}

#[test]
fn twice_the_weight_holds_twice_the_replicas() {
    let members: Members =
        (1..=5).map(|id| (NodeId(id), member(0, if id == 1 { 2 } else { 1 }))).collect();
    let counts = counts(&members, &bootstrap(&members, 3, 100));
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [100, 50, 50, 50, 50]);
}

#[test]
fn what_is_right_already_does_not_move() {
    let members: Members =
        (1..=7).map(|id| (NodeId(id), member((id % 3) as u8, 1 + id as u32 % 2))).collect();
    let before = bootstrap(&members, 3, 100);
    assert_eq!(assign(&members, replicas(3), &before).unwrap(), before);
}

#[test]
fn a_thousand_shards_are_assigned_while_one_waits() {
    let members: Members =
        (1..=30).map(|id| (NodeId(id), member((id % 5) as u8, 1 + id as u32 % 3))).collect();
    let before = bootstrap(&members, 3, 1024);
    let mut more = members.clone();
    more.insert(NodeId(31), member(0, 2));
    let after = assign(&more, replicas(3), &before).unwrap();
    after.iter().for_each(|voters| check_spread(&more, 3, voters));
    assert!(moved(&before, &after) <= 2 * gained(&more, &before, &after));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn replicas_differ_from_the_share_of_their_weight_by_less_than_one(
        members in members(1, 9),
        count in 1_u8..6,
        shards in 1_usize..60,
    ) {
        let assignment = bootstrap(&members, count, shards);
        let total = shards as f64 * f64::from(count).min(members.len() as f64);
        let weight: f64 = members.values().map(|member| f64::from(member.weight.get())).sum();
        let share = |node: &NodeId| total * f64::from(members[node].weight.get()) / weight;
        // Where a share is more than all shards, the others get more than theirs.
        prop_assume!(members.keys().all(|node| share(node) <= shards as f64));
        for (node, count) in counts(&members, &assignment) {
            prop_assert!((count as f64 - share(&node)).abs() < 1.0 + 1e-9);
        }
    }

    #[test]
    fn equal_members_in_equal_zones_differ_by_at_most_one(
        zones in 1_u8..6,
        each in 1_u64..4,
        count in 1_u8..6,
        shards in 1_usize..60,
    ) {
        let members: Members = (0..u64::from(zones) * each)
            .map(|id| (NodeId(id), member((id % u64::from(zones)) as u8, 1)))
            .collect();
        let counts = counts(&members, &bootstrap(&members, count, shards));
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", counts);
    }

    #[test]
    fn a_node_that_joins_equal_ones_gets_its_share_and_nothing_else_moves(
        members in members(1, 1),
        count in 1_u8..6,
        shards in 1_usize..60,
    ) {
        let before = bootstrap(&members, count, shards);
        let mut more = members.clone();
        more.insert(NodeId(99), member(0, 1));
        let after = assign(&more, replicas(count), &before).unwrap();
        // Where members were fewer than replicas, each shard had too few.
        prop_assume!(members.len() >= usize::from(count));
        let share = (shards * usize::from(count)).div_ceil(more.len());
        let moves = moved(&before, &after);
        prop_assert_eq!(moves, counts(&more, &after)[&NodeId(99)]);
        prop_assert!(moves <= share, "{} moved of a share of {}", moves, share);
    }

    #[test]
    fn when_a_node_leaves_no_more_than_twice_what_it_held_moves(
        members in members(1, 1),
        at in any::<usize>(),
        count in 1_u8..6,
        shards in 1_usize..60,
    ) {
        prop_assume!(members.len() > 1);
        let before = bootstrap(&members, count, shards);
        let mut fewer = members.clone();
        let node = *members.keys().nth(at % members.len()).unwrap();
        fewer.remove(&node);
        let after = assign(&fewer, replicas(count), &before).unwrap();
        let held = counts(&members, &before)[&node];
        let moves = moved(&before, &after);
        prop_assert!(moves <= 2 * held, "{} moved, it held {}", moves, held);
    }

    #[test]
    fn invariants_hold_through_joins_leaves_and_drains(
        members in members(4, 5),
        count in 1_u8..6,
        shards in 1_u32..40,
        happenings in prop::collection::vec(happening(5, 5), 1..12),
    ) {
        let mut map =
            ShardMap::bootstrap(ShardCount::new(shards).unwrap(), replicas(count), members).unwrap();
        for happening in happenings {
            happen(&mut map, &happening);
            if active(map.members()).next().is_none() {
                prop_assert!(map.retarget().is_err());
                continue;
            }
            let targets = |map: &ShardMap| -> Assignment {
                map.shards().map(|(_, shard)| shard.target.clone()).collect()
            };
            let before = targets(&map);
            let wanted = map.retarget().unwrap();
            prop_assert_eq!(&wanted, &map.clone().retarget().unwrap());
            if let Some(change) = wanted {
                apply(&mut map, change).unwrap();
            }
            let after = targets(&map);
            after.iter().for_each(|voters| check_spread(map.members(), map.replicas().get(), voters));
            prop_assert_eq!(map.retarget().unwrap(), None, "it is not at rest");
            let forced = forced(&map, &before);
            let (moves, gained) = (moved(&before, &after), gained(map.members(), &before, &after));
            prop_assert!(moves <= 2 * gained.max(forced), "{} moved: {} {}", moves, gained, forced);
        }
    }
}

/// An upper bound of what zones and missing members force: the shards that may not stay as they are.
fn forced(map: &ShardMap, before: &[Vec<NodeId>]) -> usize {
    let is_legal = |voters: &&Vec<NodeId>| {
        let all_active = voters.iter().all(|node| {
            map.members().get(node).is_some_and(|member| member.state == MemberState::Active)
        });
        all_active
            && std::panic::catch_unwind(|| {
                check_spread(map.members(), map.replicas().get(), voters);
            })
            .is_ok()
    };
    before.iter().filter(|voters| !is_legal(voters)).map(Vec::len).sum()
}
