//! What is written is read; what was not written is refused.

use crate::cluster::{Happening, apply, config, happen, happening, members, replicas};
use norikv_placement::{
    Change, Command, Epoch, NodeId, PlacementError, ShardCount, ShardId, ShardMap, Step, plan,
};
use proptest::prelude::*;
use std::num::NonZeroU32;

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::vec(any::<u64>().prop_map(NodeId), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    (any::<u32>().prop_map(ShardId), any::<u64>().prop_map(NodeId), nodes(), nodes(), 0..4)
        .prop_map(|(shard, node, joins, leaves, kind)| match kind {
            0 => Step::AddLearner { shard, node },
            1 => Step::Promote { shard, joins, leaves },
            2 => Step::Remove { shard, node },
            _ => Step::TransferLeader { shard, node },
        })
}

fn change() -> impl Strategy<Value = Change> {
    let target = (any::<u32>().prop_map(ShardId), nodes());
    prop_oneof![
        happening(9, 9).prop_filter_map("needs no map", |happening| match happening {
            Happening::Join(id, member) => Some(Change::Join { node: NodeId(id), member }),
            Happening::Replicas(count) => Some(Change::SetReplicas(replicas(count))),
            _ => None,
        }),
        any::<u64>().prop_map(|id| Change::Leave(NodeId(id))),
        happening(9, 9).prop_filter_map("has a member", |happening| match happening {
            Happening::Join(id, member) => Some(Change::Alter {
                node: NodeId(id),
                weight: member.weight,
                state: norikv_placement::MemberState::Draining,
            }),
            _ => None,
        }),
        prop::collection::vec(target, 0..5).prop_map(Change::Retarget),
        step().prop_map(Change::Step),
    ]
}

/// A map in the middle of its life: some moves done, some on their way.
fn map() -> impl Strategy<Value = ShardMap> {
    (members(3, 5), 1_u8..6, 1_u32..12, prop::collection::vec(happening(4, 5), 0..4), 0..9)
        .prop_map(|(members, count, shards, happenings, steps)| {
            let shards = ShardCount::new(shards).unwrap();
            let mut map = ShardMap::bootstrap(shards, replicas(count), members).unwrap();
            happenings.iter().for_each(|happening| happen(&mut map, happening));
            if let Ok(Some(change)) = map.retarget() {
                apply(&mut map, change).unwrap();
            }
            for _ in 0..steps {
                if let Some(step) = plan(&map, NonZeroU32::MIN).pop() {
                    apply(&mut map, Change::Step(step)).unwrap();
                }
            }
            map
        })
}

#[test]
fn an_unknown_version_is_named() {
    let refused = |what| PlacementError::UnknownVersion { what, found: 2, known: 1 };
    assert_eq!(ShardMap::decode(&[2, 0]), Err(refused("shard map")));
    assert_eq!(Command::decode(&[2]), Err(refused("placement command")));
}

#[test]
fn bytes_of_format_v1_never_change() {
    let command = Command {
        made_at: Epoch(7),
        change: Change::Step(Step::Promote {
            shard: ShardId(3),
            joins: vec![NodeId(4)],
            leaves: vec![NodeId(1)],
        }),
    };
    let bytes = [
        1, 7, 0, 0, 0, 0, 0, 0, 0, 6, 3, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0,
        0, 0,
    ];
    assert_eq!(command.encode(), bytes);
    let members = [(NodeId(5), crate::cluster::member(1, 2))].into();
    let map = ShardMap::bootstrap(ShardCount::new(1).unwrap(), replicas(3), members).unwrap();
    let mut bytes = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0];
    bytes.extend([5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 6]);
    bytes.extend(b"zone-1");
    bytes.extend([1, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(map.encode(), bytes);
}

#[test]
fn a_count_without_items_is_refused_where_it_ends() {
    let mut bytes = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 3];
    bytes.extend(u32::MAX.to_le_bytes());
    let refused = PlacementError::Malformed { what: "shard map", at: 14 };
    assert_eq!(ShardMap::decode(&bytes), Err(refused));
}

#[test]
fn a_map_that_no_commands_could_make_is_refused() {
    let members = (1..=2).map(|id| (NodeId(id), crate::cluster::member(1, 1))).collect();
    let map = ShardMap::bootstrap(ShardCount::new(1).unwrap(), replicas(1), members).unwrap();
    // One shard: voter 1, no learners, target 1, led by its first voter.
    let bytes = map.encode();
    let head = &bytes[..bytes.len() - 20];
    let decode = |shard: &[&[u8]]| ShardMap::decode(&[head, &shard.concat()].concat());
    let nodes = |ids: &[u8]| -> Vec<u8> {
        let each = ids.iter().flat_map(|&id| u64::from(id).to_le_bytes());
        std::iter::once(ids.len() as u8).chain(each).collect()
    };
    let (none, one, two) = (nodes(&[]), nodes(&[1]), nodes(&[2]));
    assert_eq!(decode(&[&one, &none, &one, &[1]]), Ok(map));
    assert!(decode(&[&one, &two, &one, &[1]]).is_ok());
    for (what, shard) in [
        ("a learner that votes", [&one, &one, &one]),
        ("no voters", [&none, &none, &one]),
        ("no target", [&one, &none, &none]),
        ("a voter twice", [&nodes(&[1, 1]), &none, &one]),
        ("a voter that is no member", [&nodes(&[3]), &none, &one]),
    ] {
        assert!(decode(&[shard[0], shard[1], shard[2], &[1]]).is_err(), "{what}");
    }
    assert!(decode(&[&one, &none, &one, &[2]]).is_err(), "a leader that does not vote");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_map_and_a_command_are_read_as_written(map in map(), change in change(), epoch: u64) {
        prop_assert_eq!(ShardMap::decode(&map.encode()), Ok(map));
        let command = Command { made_at: Epoch(epoch), change };
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn no_cut_and_no_addition_is_accepted(map in map(), change in change()) {
        let bytes = map.encode();
        for end in 0..bytes.len() {
            prop_assert!(ShardMap::decode(&bytes[..end]).is_err());
        }
        prop_assert!(ShardMap::decode(&[&bytes[..], &[0]].concat()).is_err());
        let bytes = Command { made_at: Epoch(1), change }.encode();
        for end in 0..bytes.len() {
            prop_assert!(Command::decode(&bytes[..end]).is_err());
        }
        prop_assert!(Command::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_decoding_panic(
        noise in prop::collection::vec(any::<u8>(), 0..80),
        map in map(),
        change in change(),
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let _ = (ShardMap::decode(&noise), Command::decode(&noise));
        let (mut map, mut command) =
            (map.encode(), Command { made_at: Epoch(1), change }.encode());
        for (at, byte) in flips {
            let (in_map, in_command) = (at % map.len(), at % command.len());
            map[in_map] = byte;
            command[in_command] = byte;
        }
        // What passes is a whole map, and its bytes are the only ones it has.
        if let Ok(read) = ShardMap::decode(&map) {
            prop_assert_eq!(read.encode(), map);
            let _ = (plan(&read, NonZeroU32::MIN), read.retarget());
        }
        if let Ok(read) = Command::decode(&command) {
            prop_assert_eq!(read.encode(), command);
        }
    }
}
