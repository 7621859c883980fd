//! Laws of groups that change: members, leaders by wish, snapshots, sleep.

use super::{LONG, Law, Stage, await_agreement, await_effect, await_end, await_leader, leads};
use crate::world::{Occurrence, Outcome, Violation, World};
use crate::{Change, Feature, Index, Input, LogView, NodeId, Rejection, Role, Standing};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const LAWS: &[Law] = &[
    Law { name: "what a protocol lacks it refuses", needs: &[], check: refuses },
    Law {
        name: "a node that joins learns everything, and votes when it may",
        needs: &[Feature::MembershipChange, Feature::Learners],
        check: joins,
    },
    Law {
        name: "a group can move to other nodes altogether",
        needs: &[Feature::MembershipChange],
        check: moves,
    },
    Law {
        name: "a change from another membership is refused",
        needs: &[Feature::MembershipChange],
        check: outdated,
    },
    Law {
        name: "a leader that is removed hands its office on",
        needs: &[Feature::MembershipChange],
        check: removes_leader,
    },
    Law {
        name: "who is asked to lead does so within an election",
        needs: &[Feature::Transfer],
        check: transfer,
    },
    Law {
        name: "a transfer to a dead node ends, and the leader takes entries again",
        needs: &[Feature::Transfer],
        check: transfer_to_dead,
    },
    Law { name: "who is preferred comes to lead", needs: &[Feature::Priority], check: preferred },
    Law {
        name: "a snapshot brings up who lags behind the log",
        needs: &[Feature::Snapshots],
        check: snapshot,
    },
    Law {
        name: "entries for whose keeping there is no room go, and who lags gets a snapshot",
        needs: &[Feature::Snapshots],
        check: released,
    },
    Law { name: "an idle group sleeps, and wakes", needs: &[Feature::Quiescence], check: sleeps },
    Law {
        name: "who may have forgotten does not vote before it has caught up",
        needs: &[Feature::DoubtfulStart],
        check: doubtful,
    },
    Law {
        name: "who forgot what it acknowledged is brought up by the leader that it acknowledged to",
        needs: &[Feature::DoubtfulStart],
        check: forgetful,
    },
];

fn nodes(of: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    of.into_iter().map(NodeId).collect()
}

/// Changes the membership of the group, and waits until it is so.
fn change(world: &mut World, make: impl Fn(&crate::Membership) -> Change) -> Result<(), Violation> {
    for _ in 0..50 {
        let leader = await_leader(world)?;
        let status = world.host(leader).status().expect("it leads");
        let wanted = make(&status.membership);
        let ticket = world.change(leader, wanted.clone())?;
        let is_so = |world: &World| {
            let status = world.leader().and_then(|leader| world.host(leader).status());
            status.is_some_and(|status| {
                let now = &status.membership;
                !now.is_joint()
                    && now.at <= status.applied
                    && (&now.voters, &now.learners) == (&wanted.voters, &wanted.learners)
            })
        };
        match await_end(world, ticket)? {
            Outcome::Accepted(_) if world.run_until(LONG, is_so)? => return Ok(()),
            _ => world.run_for(Duration::from_millis(500))?,
        }
    }
    panic!("the membership could not be changed in fifty attempts");
}

fn refuses(stage: &Stage) -> Result<(), Violation> {
    let capabilities = stage.capabilities();
    let (mut world, leader) = stage.led(1, 1)?;
    if !capabilities.has(Feature::MembershipChange) {
        let membership = world.host(leader).status().expect("it lives").membership.clone();
        let ticket = world.change(leader, membership.with_learner(NodeId(9)))?;
        let refused = Outcome::Rejected(Rejection::Unsupported);
        assert_eq!(await_end(&mut world, ticket)?, refused);
    }
    if !capabilities.has(Feature::Transfer) {
        world.step(leader, Input::TransferRequested { to: NodeId(9) })?;
        assert!(leads(&world, leader));
    }
    Ok(())
}

fn joins(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=5 {
        let (mut world, leader) = stage.led(seed, 3)?;
        let ticket = world.propose(leader, b"before")?;
        assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
        world.add(NodeId(4), Bytes::new());
        world.start(NodeId(4))?;
        change(&mut world, |now| now.with_learner(NodeId(4)))?;
        await_agreement(&mut world)?;
        assert_eq!(world.host(NodeId(4)).status().map(|status| status.role), Some(Role::Learner));
        change(&mut world, |now| now.with_voter(NodeId(4)))?;
        await_agreement(&mut world)?;
        assert_eq!(world.host(NodeId(4)).status().map(|status| status.role), Some(Role::Follower));
        // Three of four are a quorum only with the new one.
        let gone =
            world.nodes().find(|node| Some(*node) != world.leader()).expect("there are four");
        world.crash(gone);
        let leader = await_leader(&mut world)?;
        let ticket = world.propose(leader, b"after")?;
        assert!(await_effect(&mut world, ticket)?, "three of four take nothing");
    }
    Ok(())
}

fn moves(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=5 {
        let (mut world, leader) = stage.led(seed, 3)?;
        let ticket = world.propose(leader, b"before")?;
        assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
        for node in 4..=6 {
            world.add(NodeId(node), Bytes::new());
            world.start(NodeId(node))?;
        }
        if stage.capabilities().has(Feature::Learners) {
            change(&mut world, |now| now.to(nodes(1..=3), nodes(4..=6)))?;
        }
        change(&mut world, |now| now.to(nodes(4..=6), nodes([])))?;
        (1..=3).for_each(|node| world.crash(NodeId(node)));
        let leader = await_leader(&mut world)?;
        let ticket = world.propose(leader, b"after")?;
        assert!(await_effect(&mut world, ticket)?, "the moved group takes nothing");
        await_agreement(&mut world)?;
    }
    Ok(())
}

fn outdated(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    let membership = world.host(leader).status().expect("it leads").membership.clone();
    change(&mut world, |now| now.without(NodeId(1 + leader.0 % 3)))?;
    let ticket = world.change(leader, membership.without(NodeId(1 + (leader.0 + 1) % 3)))?;
    assert_eq!(await_end(&mut world, ticket)?, Outcome::Rejected(Rejection::Outdated));
    let now = world.host(leader).status().expect("it leads").membership.clone();
    let ticket = world.change(leader, now.to(nodes([]), nodes([])))?;
    assert_eq!(await_end(&mut world, ticket)?, Outcome::Rejected(Rejection::Impossible));
    Ok(())
}

fn removes_leader(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=5 {
        for size in [2, 3] {
            let (mut world, old) = stage.led(seed, size)?;
            change(&mut world, |now| now.without(old))?;
            let others: Vec<NodeId> = world.nodes().filter(|node| *node != old).collect();
            let is_so =
                |world: &World| !leads(world, old) && others.iter().any(|node| leads(world, *node));
            assert!(world.run_until(LONG, is_so)?, "nobody took over");
            let new = world.leader().expect("one leads");
            let ticket = world.propose(new, b"after")?;
            assert!(await_effect(&mut world, ticket)?, "the rest takes nothing");
        }
    }
    Ok(())
}

fn transfer(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, old) = stage.led(seed, 3)?;
        world.run_for(Duration::from_secs(1))?;
        let to = NodeId(1 + old.0 % 3);
        world.step(old, Input::TransferRequested { to })?;
        let election = crate::Settings::default().election_min;
        let took = world.run_until(election, |world| leads(world, to))?;
        assert!(took, "it does not lead after an election's time");
    }
    Ok(())
}

fn transfer_to_dead(stage: &Stage) -> Result<(), Violation> {
    let (mut world, old) = stage.led(1, 3)?;
    let to = NodeId(1 + old.0 % 3);
    world.crash(to);
    world.step(old, Input::TransferRequested { to })?;
    let during = world.propose(old, b"x")?;
    await_end(&mut world, during)?;
    world.run_for(Duration::from_secs(10))?;
    let leader = await_leader(&mut world)?;
    let ticket = world.propose(leader, b"y")?;
    assert!(await_effect(&mut world, ticket)?, "nothing is taken any more");
    Ok(())
}

fn preferred(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    let wanted = NodeId(1 + leader.0 % 3);
    world.crash(wanted);
    world.start_as(wanted, Standing::Whole, 10)?;
    let leads = world.run_until(LONG, |world| leads(world, wanted))?;
    assert!(leads, "another leads after a minute");
    Ok(())
}

fn snapshot(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=5 {
        let (mut world, leader) = stage.led(seed, 3)?;
        let lagging = NodeId(1 + leader.0 % 3);
        world.crash(lagging);
        // Far more than is kept for who lags.
        let keeps = crate::Settings::default().trailing_entries;
        let mut last = world.propose(leader, b"first")?;
        for n in 0..2 * keeps {
            last = world.propose(leader, &n.to_le_bytes())?;
            if n.is_multiple_of(500) {
                world.run_for(Duration::from_millis(20))?;
            }
        }
        assert!(await_effect(&mut world, last)?, "a calm proposal is lost");
        let leader = await_leader(&mut world)?;
        let is_short = |world: &World| world.host(leader).log().first() > Index(10);
        assert!(world.run_until(LONG, is_short)?, "the log is never truncated");
        world.start(lagging)?;
        await_agreement(&mut world)?;
        assert!(
            world.chronicle.counts().of(Occurrence::SnapshotInstalled) > 0,
            "by a log that was gone"
        );
        let ticket = world.propose(leader, b"after")?;
        assert!(await_effect(&mut world, ticket)?, "the group takes nothing");
        await_agreement(&mut world)?;
    }
    Ok(())
}

fn released(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    let lagging = NodeId(1 + leader.0 % 3);
    world.crash(lagging);
    let mut last = world.propose(leader, b"first")?;
    // Far fewer than are kept for who lags.
    for n in 0..50_u64 {
        last = world.propose(leader, &n.to_le_bytes())?;
    }
    assert!(await_effect(&mut world, last)?, "a calm proposal is lost");
    world.run_for(Duration::from_secs(2))?;
    let leader = await_leader(&mut world)?;
    assert!(world.host(leader).log().first() < Index(10), "what who lags may want goes by itself");
    for node in world.nodes().filter(|node| *node != lagging).collect::<Vec<_>>() {
        world.release_log(node)?;
    }
    let is_short = |world: &World| world.host(leader).log().first() > Index(50);
    assert!(world.run_until(LONG, is_short)?, "what is released stays");
    world.start(lagging)?;
    await_agreement(&mut world)?;
    assert!(
        world.chronicle.counts().of(Occurrence::SnapshotInstalled) > 0,
        "by a log that was gone"
    );
    Ok(())
}

fn sleeps(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    let is_asleep = |world: &World| world.nodes().all(|node| world.host(node).deadline().is_none());
    assert!(world.run_until(LONG, is_asleep)?, "the group does not sleep");
    // What was said to bring it to sleep, and what may be answered to that, has come by then.
    world.run_for(LONG)?;
    assert!(is_asleep(&world), "a sleeping group wakes though nobody asks for anything");
    let ticket = world.propose(leader, b"wake")?;
    assert!(await_effect(&mut world, ticket)?, "a sleeping group takes nothing");
    assert!(world.run_until(LONG, is_asleep)?, "the group does not sleep again");
    world.crash(leader);
    for node in world.nodes().filter(|node| *node != leader).collect::<Vec<_>>() {
        world.step(node, Input::PeerDown { peer: leader })?;
    }
    let new = await_leader(&mut world)?;
    assert_ne!(new, leader);
    Ok(())
}

fn doubtful(stage: &Stage) -> Result<(), Violation> {
    let (mut world, leader) = stage.led(1, 3)?;
    let ticket = world.propose(leader, b"x")?;
    assert!(await_effect(&mut world, ticket)?, "a calm proposal is lost");
    await_agreement(&mut world)?;
    let others: Vec<NodeId> = world.nodes().filter(|node| *node != leader).collect();
    world.crash(leader);
    world.crash(others[0]);
    world.start_as(others[0], Standing::Doubtful, 0)?;
    world.run_for(LONG)?;
    assert_eq!(world.leader(), None, "a majority that cannot vouch for itself chose a leader");
    world.start(leader)?;
    await_leader(&mut world)?;
    await_agreement(&mut world)?;
    // It votes again now: without the leader, it is needed.
    let leader = await_leader(&mut world)?;
    world.run_for(Duration::from_secs(5))?;
    if leader != others[0] {
        world.crash(leader);
        await_leader(&mut world)?;
    }
    Ok(())
}

fn forgetful(stage: &Stage) -> Result<(), Violation> {
    for seed in 1..=10 {
        let (mut world, leader) = stage.led(seed, 3)?;
        for _ in 0..20 {
            world.propose(leader, b"x")?;
        }
        // Acknowledged, and not yet in a state that a flush made safe.
        world.run_for(Duration::from_millis(10))?;
        let other = world.nodes().find(|node| *node != leader).expect("there are three");
        world.crash(other);
        world.forget(other, 15);
        world.start_as(other, Standing::Doubtful, 0)?;
        await_agreement(&mut world)?;
        let is_trusted =
            |world: &World| world.host(other).status().is_some_and(|status| !status.is_doubtful);
        assert!(world.run_until(LONG, is_trusted)?, "it is not trusted again");
        assert_eq!(world.leader(), Some(leader), "the leader was lost over it");
    }
    Ok(())
}
