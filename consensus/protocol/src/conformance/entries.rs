//! Laws of entries: what is proposed is applied everywhere, in one order, once.

use super::{Law, Stage, await_agreement, await_effect, await_end, await_leader};
use crate::world::{Outcome, Violation, Weather};
use crate::{EntryKind, Feature, Rejection};
use std::time::Duration;

pub(super) const LAWS: &[Law] = &[
    Law { name: "what is proposed is applied everywhere", needs: &[], check: applied_everywhere },
    Law { name: "proposals keep the order of their making", needs: &[], check: in_order },
    Law { name: "the same seed gives the same effects", needs: &[], check: same_seed },
    Law { name: "what was applied outlives a restart of all", needs: &[], check: restart_of_all },
    Law {
        name: "who does not lead says who does",
        needs: &[Feature::Replication],
        check: followers_refuse,
    },
    Law {
        name: "what a dead leader had committed stays",
        needs: &[Feature::Replication],
        check: leader_dies,
    },
    Law {
        name: "what a cut off leader took is never applied beside what replaced it",
        needs: &[Feature::Replication],
        check: cut_off_leader,
    },
];

fn applied_everywhere(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        let ticket = world.propose(leader, b"a")?;
        assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
        await_agreement(&mut world)?;
        let last = world.chronicle.applied().last().expect("it took effect");
        assert_eq!((last.kind, &last.payload[..]), (EntryKind::Data, &b"a"[..]));
    }
    Ok(())
}

fn in_order(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        for n in 0..500_u32 {
            world.propose(leader, &n.to_le_bytes())?;
            if n.is_multiple_of(7) {
                world.run_for(Duration::from_micros(u64::from(n)))?;
            }
        }
        let last = world.propose(leader, b"last")?;
        assert!(await_effect(&mut world, last)?, "a calm proposal is lost");
        let data = world.chronicle.applied().iter().filter(|entry| entry.kind == EntryKind::Data);
        let seen: Vec<_> = data.filter_map(|entry| entry.payload[..].try_into().ok()).collect();
        let numbers = seen.into_iter().map(u32::from_le_bytes);
        assert!(numbers.filter(|n| *n < 500).eq(0..500), "another order, or not each once");
        await_agreement(&mut world)?;
    }
    Ok(())
}

fn same_seed(stage: &Stage) -> Result<(), Violation> {
    let play = |seed: u64, nodes: u64| -> Result<u64, Violation> {
        let mut world = stage.world(seed, nodes)?;
        world.weather = Weather::rough(world.chance());
        for n in 0..100_u32 {
            if let Some(leader) = world.leader() {
                world.propose(leader, &n.to_le_bytes())?;
            }
            world.run_for(Duration::from_millis(50))?;
        }
        Ok(world.chronicle.digest())
    };
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        assert_eq!(play(seed, *nodes)?, play(seed, *nodes)?, "two runs of seed {seed} differ");
        assert_ne!(play(seed, *nodes)?, play(seed + 100, *nodes)?, "the seed changes nothing");
    }
    Ok(())
}

fn restart_of_all(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        let ticket = world.propose(leader, b"kept")?;
        assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
        let all: Vec<_> = world.nodes().collect();
        all.iter().for_each(|node| world.crash(*node));
        for node in &all {
            world.start(*node)?;
        }
        let leader = await_leader(&mut world)?;
        let ticket = world.propose(leader, b"after")?;
        assert!(await_effect(&mut world, ticket)?, "a restarted group takes nothing");
        await_agreement(&mut world)?;
        let payloads = world.chronicle.applied().iter().map(|entry| &entry.payload[..]);
        assert_eq!(payloads.filter(|payload| *payload == b"kept").count(), 1);
    }
    Ok(())
}

fn followers_refuse(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    world.run_for(Duration::from_secs(1))?;
    for follower in world.nodes().filter(|node| *node != leader).collect::<Vec<_>>() {
        let ticket = world.propose(follower, b"x")?;
        let why = Rejection::NotLeader { leader: Some(leader) };
        assert_eq!(await_end(&mut world, ticket)?, Outcome::Rejected(why));
    }
    Ok(())
}

fn leader_dies(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, mut leader) = stage.led(seed, 3)?;
        for n in 0..5_u8 {
            let ticket = world.propose(leader, &[n])?;
            assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
            world.crash(leader);
            let dead = std::mem::replace(&mut leader, await_leader(&mut world)?);
            world.start(dead)?;
        }
        await_agreement(&mut world)?;
        let data = world.chronicle.applied().iter().filter(|entry| entry.kind == EntryKind::Data);
        assert!(data.map(|entry| entry.payload[0]).eq(0..5), "something committed is lost");
    }
    Ok(())
}

fn cut_off_leader(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, old) = stage.led(seed, 3)?;
        world.split(&[old]);
        let lonely = world.propose(old, b"lonely")?;
        let others: Vec<_> = world.nodes().filter(|node| *node != old).collect();
        let leads =
            |world: &crate::world::World| others.iter().any(|node| super::leads(world, *node));
        assert!(world.run_until(super::LONG, leads)?, "the majority has no leader");
        let new = await_leader(&mut world)?;
        let replacing = world.propose(new, b"replacing")?;
        assert!(await_effect(&mut world, replacing)?, "the majority takes nothing");
        world.heal();
        await_end(&mut world, lonely)?;
        assert_ne!(world.chronicle.took_effect(lonely), Some(true), "it had no majority");
        await_agreement(&mut world)?;
    }
    Ok(())
}
