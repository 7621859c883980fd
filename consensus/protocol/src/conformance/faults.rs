//! Laws of failing parts: disks that do not answer, or fail; nodes that stand still.

use super::{LONG, Law, Stage, await_agreement, await_effect, await_end, await_leader};
use crate::world::{Outcome, Violation, Weather};
use crate::{Feature, Rejection, Role};
use std::time::Duration;

pub(super) const LAWS: &[Law] = &[
    Law { name: "nothing is applied before it is safe", needs: &[], check: slow_disk },
    Law { name: "a replica whose log failed does nothing more", needs: &[], check: failed_disk },
    Law {
        name: "nobody leads by votes that are not safe",
        needs: &[Feature::Replication],
        check: unsafe_votes,
    },
    Law {
        name: "a group outlives the standstill of its leader",
        needs: &[Feature::Replication],
        check: paused_leader,
    },
    Law {
        name: "every ticket ends, whatever becomes of the leader",
        needs: &[Feature::Replication],
        check: tickets_end,
    },
];

/// A disk on which nothing is ever safe.
fn stuck() -> Weather {
    let never = Duration::from_secs(100_000);
    Weather { write: (never, never), ..Weather::calm() }
}

fn slow_disk(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        await_agreement(&mut world)?;
        let applied = world.chronicle.applied().len();
        world.weather = stuck();
        // What a disk had begun before it stuck may end.
        world.run_for(Duration::from_secs(2))?;
        let before = world.chronicle.applied().len();
        world.propose(leader, b"x")?;
        world.run_for(Duration::from_secs(30))?;
        let after = world.chronicle.applied().len();
        assert_eq!(before, after, "of {applied}, something was applied that is nowhere safe");
    }
    Ok(())
}

fn failed_disk(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        let lost = world.propose(leader, b"x")?;
        world.fail_disk(leader)?;
        assert_eq!(world.host(leader).status().map(|status| status.role), Some(Role::Halted));
        let refused = world.propose(leader, b"y")?;
        let is_refused = |outcome| matches!(outcome, Outcome::Rejected(why) if why.is_certain());
        assert!(is_refused(await_end(&mut world, refused)?), "a halted replica took a proposal");
        if *nodes >= 3 {
            let new = await_leader(&mut world)?;
            assert_ne!(new, leader);
            let ticket = world.propose(new, b"z")?;
            assert!(await_effect(&mut world, ticket)?, "the others take nothing");
        }
        let ended = world.run_until(LONG, |world| world.chronicle.outcome(lost).is_some())?;
        assert!(ended, "the ticket of a halted replica is forgotten");
    }
    Ok(())
}

fn unsafe_votes(stage: &Stage) -> Result<(), Violation> {
    let mut world = stage.world(1, 3)?;
    world.weather = stuck();
    world.run_for(LONG)?;
    let leaders = world.chronicle.leaders();
    assert!(leaders.is_empty(), "{leaders:?} were chosen though nobody could keep a vote");
    Ok(())
}

fn paused_leader(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, old) = stage.led(seed, 3)?;
        world.pause(old, Duration::from_secs(10));
        let others: Vec<_> = world.nodes().filter(|node| *node != old).collect();
        let one_leads =
            |world: &crate::world::World| others.iter().any(|node| super::leads(world, *node));
        assert!(world.run_until(Duration::from_secs(9), one_leads)?, "nobody took over");
        let new = await_leader(&mut world)?;
        let ticket = world.propose(new, b"x")?;
        assert!(await_effect(&mut world, ticket)?, "the others take nothing");
        world.run_for(Duration::from_secs(20))?;
        await_agreement(&mut world)?;
    }
    Ok(())
}

fn tickets_end(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=20 {
        let (mut world, old) = stage.led(seed, 3)?;
        let mut tickets = Vec::new();
        for n in 0..200_u32 {
            if n == 50 {
                world.split(&[old]);
            }
            tickets.push(world.propose(old, &n.to_le_bytes())?);
            tickets.push(world.read(old, crate::Consistency::Linearizable)?);
            world.run_for(Duration::from_millis(20))?;
        }
        world.heal();
        await_leader(&mut world)?;
        for ticket in tickets {
            let outcome = await_end(&mut world, ticket)?;
            let is_known = !matches!(outcome, Outcome::Rejected(Rejection::Unsupported));
            assert!(is_known && outcome != Outcome::Lost, "{ticket} ended as {outcome:?}");
        }
        await_agreement(&mut world)?;
    }
    Ok(())
}
