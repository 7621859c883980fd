//! Laws of messages: nothing that comes in makes a replica panic, or believe what nobody said.

use super::{LONG, Law, Stage, await_agreement, await_effect, await_leader};
use crate::chance::Chance;
use crate::world::{Occurrence, Violation, Weather};
use crate::{Feature, Input, NodeId};
use bytes::Bytes;
use std::time::Duration;

pub(super) const LAWS: &[Law] = &[
    Law { name: "no bytes make a replica panic", needs: &[], check: garbage },
    Law {
        name: "damaged, repeated and lost messages cost time and nothing else",
        needs: &[Feature::Replication],
        check: bad_network,
    },
    Law {
        name: "messages of nobody known are ignored",
        needs: &[Feature::Replication],
        check: strangers,
    },
];

fn garbage(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        let mut chance = Chance::new(seed);
        for _ in 0..2_000 {
            let length = chance.below(80) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| chance.next_u64() as u8).collect();
            let from = NodeId(chance.below(7));
            let to = NodeId(1 + chance.below(*nodes));
            world.step(to, Input::Received { from, message: Bytes::from(bytes) })?;
        }
        world.run_for(Duration::from_secs(1))?;
        let ticket = world.propose(leader, b"unmoved")?;
        assert!(await_effect(&mut world, ticket)?, "noise unseated the leader");
    }
    Ok(())
}

fn bad_network(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=20 {
        let (mut world, _) = stage.led(seed, 3)?;
        world.weather = Weather {
            loss_ppm: 100_000,
            repeat_ppm: 200_000,
            damage_ppm: 100_000,
            straggle_ppm: 100_000,
            ..Weather::calm()
        };
        for n in 0..200_u32 {
            if let Some(leader) = world.leader() {
                world.propose(leader, &n.to_le_bytes())?;
            }
            world.run_for(Duration::from_millis(20))?;
        }
        world.weather = Weather::calm();
        let leader = await_leader(&mut world)?;
        let ticket = world.propose(leader, b"last")?;
        await_effect(&mut world, ticket)?;
        await_agreement(&mut world)?;
    }
    Ok(())
}

fn strangers(stage: &Stage) -> Result<(), Violation> {
    // Another group's messages, of a higher term, from nodes that are no members here.
    let (mut other, _) = stage.led(7, 3)?;
    for _ in 0..5 {
        let leader = await_leader(&mut other)?;
        other.crash(leader);
        await_leader(&mut other)?;
        other.start(leader)?;
    }
    let heard =
        other.run_until(LONG, |world| world.chronicle.counts().of(Occurrence::Heartbeat) > 0)?;
    assert!(heard, "a leader gives no sign of life");
    let (mut world, leader) = stage.led(1, 3)?;
    for message in other.overheard() {
        for to in 1..=3 {
            let input = Input::Received { from: NodeId(77), message: message.clone() };
            world.step(NodeId(to), input)?;
        }
    }
    world.run_for(Duration::from_secs(1))?;
    assert_eq!(world.leader(), Some(leader), "a stranger unseated the leader");
    Ok(())
}
