//! Clusters to test with: drawn members, and what must hold of replicas on them.

use norikv_placement::{
    Change, Command, Member, MemberState, NodeId, PlacementError, ReplicaCount, ShardMap, Weight,
    Zone,
};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::collections::BTreeMap;

/// As many cases as `PROPTEST_CASES` says, or proptest's own number. A failure that is to stay becomes a named test.
pub(crate) fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

pub(crate) type Members = BTreeMap<NodeId, Member>;

pub(crate) fn member(zone: u8, weight: u32) -> Member {
    Member {
        zone: Zone::new(&format!("zone-{zone}")).unwrap(),
        weight: Weight::new(weight).unwrap(),
        state: MemberState::Active,
    }
}

pub(crate) fn replicas(count: u8) -> ReplicaCount {
    ReplicaCount::new(count).unwrap()
}

/// One to twelve members in up to so many zones, of weights up to `weight_max`.
pub(crate) fn members(zones_max: u8, weight_max: u32) -> impl Strategy<Value = Members> {
    prop::collection::btree_map(
        (1_u64..40).prop_map(NodeId),
        (0..zones_max, 1..=weight_max).prop_map(|(zone, weight)| member(zone, weight)),
        1..12,
    )
}

/// What happens to a cluster from outside.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Join(u64, Member),
    /// The member at this place, modulo the number of members.
    Drain(usize),
    Resume(usize, u32),
    Leave(usize),
    Replicas(u8),
}

pub(crate) fn happening(zones_max: u8, weight_max: u32) -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (40_u64..80, 0..zones_max, 1..=weight_max)
            .prop_map(|(id, zone, weight)| Happening::Join(id, member(zone, weight))),
        2 => any::<usize>().prop_map(Happening::Drain),
        1 => (any::<usize>(), 1..=weight_max).prop_map(|(at, w)| Happening::Resume(at, w)),
        2 => any::<usize>().prop_map(Happening::Leave),
        1 => (1_u8..6).prop_map(Happening::Replicas),
    ]
}

pub(crate) fn apply(map: &mut ShardMap, change: Change) -> Result<(), PlacementError> {
    map.apply(&Command { made_at: map.epoch(), change })
}

/// Lets it happen, as far as the map allows.
pub(crate) fn happen(map: &mut ShardMap, happening: &Happening) {
    let nth = |at: usize| *map.members().keys().nth(at % map.members().len()).unwrap();
    let change = match happening {
        Happening::Join(id, member) => Change::Join { node: NodeId(*id), member: member.clone() },
        Happening::Drain(at) => {
            let weight = map.members()[&nth(*at)].weight;
            Change::Alter { node: nth(*at), weight, state: MemberState::Draining }
        }
        Happening::Resume(at, weight) => Change::Alter {
            node: nth(*at),
            weight: Weight::new(*weight).unwrap(),
            state: MemberState::Active,
        },
        Happening::Leave(at) => Change::Leave(nth(*at)),
        Happening::Replicas(count) => Change::SetReplicas(replicas(*count)),
    };
    // Refused where the number is taken or the member holds replicas: that is as well.
    let _ = apply(map, change);
}

pub(crate) fn active(members: &Members) -> impl Iterator<Item = (&NodeId, &Member)> {
    members.iter().filter(|(_, member)| member.state == MemberState::Active)
}

/// Number, distinctness and spread over zones, of one shard.
pub(crate) fn check_spread(members: &Members, wanted: u8, voters: &[NodeId]) {
    assert_eq!(voters.len(), usize::from(wanted).min(active(members).count()));
    assert!(voters.windows(2).all(|pair| pair[0] < pair[1]), "{voters:?}");
    let mut size: BTreeMap<&Zone, usize> = BTreeMap::new();
    active(members).for_each(|(_, member)| *size.entry(&member.zone).or_default() += 1);
    let mut count: BTreeMap<&Zone, usize> = size.keys().map(|zone| (*zone, 0)).collect();
    for voter in voters {
        let member = &members[voter];
        assert_eq!(member.state, MemberState::Active);
        *count.get_mut(&member.zone).unwrap() += 1;
    }
    let most = count.values().max().unwrap();
    if size.len() >= usize::from(wanted) {
        assert!(*most <= 1, "two in one zone: {voters:?}");
    }
    for (zone, count) in &count {
        // A zone with less than the fullest less one has no member left.
        assert!(count + 1 >= *most || *count == size[zone], "uneven: {voters:?}");
    }
}
