//! Leaders are spread, by transfers that each gain something.

use crate::cluster::{apply, config, member, members, replicas};
use norikv_placement::{
    Change, MemberState, NodeId, ShardCount, ShardId, ShardMap, Step, Weight, balance_leaders,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn led(map: &ShardMap) -> BTreeMap<NodeId, usize> {
    let mut led: BTreeMap<NodeId, usize> = map.members().keys().map(|id| (*id, 0)).collect();
    map.shards()
        .filter_map(|(_, shard)| shard.leader)
        .for_each(|id| *led.get_mut(&id).unwrap() += 1);
    led
}

fn balance(map: &mut ShardMap) -> usize {
    let steps = balance_leaders(map);
    steps.iter().for_each(|step| apply(map, Change::Step(step.clone())).unwrap());
    assert_eq!(balance_leaders(map), [], "it is not at rest");
    steps.len()
}

fn lead(map: &mut ShardMap, shard: u32, node: NodeId) {
    apply(map, Change::Step(Step::TransferLeader { shard: ShardId(shard), node })).unwrap();
}

#[test]
fn only_what_is_too_much_is_transferred() {
    let members = (1..=3).map(|id| (NodeId(id), member(0, 1))).collect();
    let mut map = ShardMap::bootstrap(ShardCount::new(9).unwrap(), replicas(3), members).unwrap();
    assert!(led(&map).values().all(|&led| led == 3));
    (0..9).for_each(|shard| lead(&mut map, shard, NodeId(2)));
    assert_eq!(balance(&mut map), 6);
    assert!(led(&map).values().all(|&led| led == 3));
}

#[test]
fn twice_the_weight_leads_twice_the_shards() {
    let members = (1..=3).map(|id| (NodeId(id), member(0, if id == 1 { 2 } else { 1 }))).collect();
    let map = ShardMap::bootstrap(ShardCount::new(20).unwrap(), replicas(3), members).unwrap();
    assert_eq!(led(&map).into_values().collect::<Vec<_>>(), [10, 5, 5]);
}

#[test]
fn a_draining_member_hands_over_all_it_leads() {
    let members = (1..=4).map(|id| (NodeId(id), member(0, 1))).collect();
    let mut map = ShardMap::bootstrap(ShardCount::new(12).unwrap(), replicas(3), members).unwrap();
    let (weight, state) = (Weight::new(1).unwrap(), MemberState::Draining);
    apply(&mut map, Change::Alter { node: NodeId(1), weight, state }).unwrap();
    // It led three shards, all of them without a replica on node 4: that one gets its fourth by a second transfer.
    assert_eq!(balance(&mut map), 4);
    assert_eq!(led(&map).into_values().collect::<Vec<_>>(), [0, 4, 4, 4]);
}

#[test]
fn zones_lead_alike_where_their_members_do() {
    let members = (1..=6).map(|id| (NodeId(id), member((id % 3) as u8, 1))).collect();
    let map = ShardMap::bootstrap(ShardCount::new(3).unwrap(), replicas(3), members).unwrap();
    let mut zones: BTreeMap<u64, usize> = BTreeMap::new();
    led(&map).into_iter().for_each(|(id, led)| *zones.entry(id.0 % 3).or_default() += led);
    assert!(zones.values().all(|&led| led == 1), "{zones:?}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn equal_members_lead_shares_that_differ_by_at_most_one(
        members in members(1, 1),
        count in 1_u8..6,
        shards in 1_u32..60,
        leaders in prop::collection::vec(any::<usize>(), 60),
    ) {
        let shards = ShardCount::new(shards).unwrap();
        let mut map = ShardMap::bootstrap(shards, replicas(count), members).unwrap();
        for shard in 0..shards.get() {
            let voters = &map.shard(ShardId(shard)).unwrap().voters;
            let node = voters[leaders[shard as usize] % voters.len()];
            lead(&mut map, shard, node);
        }
        balance(&mut map);
        let led = led(&map);
        prop_assert!(led.values().max().unwrap() - led.values().min().unwrap() <= 1, "{:?}", led);
    }

    #[test]
    fn balancing_comes_to_rest_for_any_weights_and_zones(
        members in members(4, 9),
        count in 1_u8..6,
        shards in 1_u32..40,
        leaders in prop::collection::vec(any::<usize>(), 40),
    ) {
        let shards = ShardCount::new(shards).unwrap();
        let mut map = ShardMap::bootstrap(shards, replicas(count), members).unwrap();
        prop_assert!(map.shards().all(|(_, shard)| shard.leader.is_some()));
        for shard in 0..shards.get() {
            let voters = &map.shard(ShardId(shard)).unwrap().voters;
            let node = voters[leaders[shard as usize] % voters.len()];
            lead(&mut map, shard, node);
        }
        balance(&mut map);
    }
}
