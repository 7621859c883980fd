//! Laws of reads: no read misses a write that ended before it began.

use super::{LONG, Law, Stage, await_effect, await_end, leads};
use crate::world::{Outcome, Violation, World};
use crate::{Consistency, Feature, Index, NodeId, Ticket};
use std::time::Duration;

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a read sees what was applied before it began",
        needs: &[Feature::ReadIndex],
        check: sees_writes,
    },
    Law {
        name: "a new leader reads only after an entry of its term is committed",
        needs: &[Feature::ReadIndex, Feature::Replication],
        check: new_leader,
    },
    Law {
        name: "a leader without a majority answers no linearizable read",
        needs: &[Feature::ReadIndex, Feature::Replication],
        check: cut_off_read,
    },
    Law {
        name: "a lease ends before anybody else can lead",
        needs: &[Feature::Lease],
        check: lease_ends,
    },
    Law {
        name: "a lease answers without a message",
        needs: &[Feature::Lease],
        check: lease_is_quick,
    },
    Law {
        name: "a leader that hands over has no lease",
        needs: &[Feature::Lease, Feature::Transfer],
        check: transfer_ends_lease,
    },
];

fn sees_writes(stage: &Stage) -> Result<(), Violation> {
    for (seed, nodes) in (1..).zip(stage.sizes()) {
        let (mut world, leader) = stage.led(seed, *nodes)?;
        for n in 0..20_u8 {
            let write = world.propose(leader, &[n])?;
            assert!(await_effect(&mut world, write)?, "a calm proposal is lost");
            for consistency in [Consistency::Linearizable, Consistency::Lease] {
                let applied = world.chronicle.applied().len() as u64;
                let read = world.read(leader, consistency)?;
                match await_end(&mut world, read)? {
                    Outcome::Ready { after_applying, is_valid: true } => {
                        assert!(after_applying >= Index(applied), "a read is behind");
                    }
                    other => panic!("a calm read ended as {other:?}"),
                }
            }
        }
    }
    Ok(())
}

fn new_leader(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=20 {
        let (mut world, old) = stage.led(seed, 3)?;
        let write = world.propose(old, b"seen")?;
        assert!(await_effect(&mut world, write)?, "a calm proposal is lost");
        world.crash(old);
        let others: Vec<NodeId> = world.nodes().filter(|node| *node != old).collect();
        let one_leads = |world: &World| others.iter().any(|node| leads(world, *node));
        assert!(world.run_until(LONG, one_leads)?, "nobody leads");
        // At the very moment at which it begins to lead; the chronicle knows what it must see.
        let new = world.leader().expect("one leads");
        for consistency in [Consistency::Linearizable, Consistency::Lease] {
            let read = world.read(new, consistency)?;
            await_end(&mut world, read)?;
        }
    }
    Ok(())
}

fn cut_off_read(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, old) = stage.led(seed, 3)?;
        world.split(&[old]);
        let read = world.read(old, Consistency::Linearizable)?;
        world.run_for(Duration::from_secs(20))?;
        let outcome = world.chronicle.outcome(read);
        assert!(!matches!(outcome, Some(Outcome::Ready { .. })), "it had no majority: {outcome:?}");
        world.heal();
        assert!(!matches!(await_end(&mut world, read)?, Outcome::Ready { .. }), "of an old term");
    }
    Ok(())
}

fn lease_ends(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, old) = stage.led(seed, 3)?;
        // As slow as the settings allow, against others that are as fast.
        let drift = i64::from(crate::Settings::default().drift_ppm) / 2;
        for node in world.nodes().collect::<Vec<_>>() {
            let rate = if node == old { -drift } else { drift };
            world.set_clock(node, |clock, now| clock.set_rate(now, rate));
        }
        world.run_for(Duration::from_secs(2))?;
        world.split(&[old]);
        let mut reads: Vec<Ticket> = Vec::new();
        for n in 0..400_u32 {
            // The chronicle compares each answer with what was applied anywhere.
            reads.push(world.read(old, Consistency::Lease)?);
            if let Some(new) = world.leader().filter(|leader| *leader != old) {
                world.propose(new, &n.to_le_bytes())?;
            }
            world.run_for(Duration::from_millis(10))?;
        }
        world.heal();
        for read in reads {
            await_end(&mut world, read)?;
        }
    }
    Ok(())
}

fn lease_is_quick(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    world.run_for(Duration::from_secs(1))?;
    // One that rests on the log is as old as the last entry.
    world.propose(leader, b"x")?;
    world.run_for(Duration::from_millis(50))?;
    let read = world.read(leader, Consistency::Lease)?;
    let outcome = world.chronicle.outcome(read);
    assert!(matches!(outcome, Some(Outcome::Ready { is_valid: true, .. })), "{outcome:?}");
    assert!(world.host(leader).status().is_some_and(|status| status.lease_until.is_some()));
    Ok(())
}

fn transfer_ends_lease(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=20 {
        let (mut world, old) = stage.led(seed, 3)?;
        world.run_for(Duration::from_secs(1))?;
        let to = world.nodes().find(|node| *node != old).expect("there are three");
        world.step(old, crate::Input::TransferRequested { to })?;
        for _ in 0..100 {
            world.read(old, Consistency::Lease)?;
            if let Some(new) = world.leader().filter(|leader| *leader != old) {
                world.propose(new, b"x")?;
            }
            world.run_for(Duration::from_micros(200))?;
        }
    }
    Ok(())
}
