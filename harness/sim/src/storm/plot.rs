//! Plots: faults that take several acts, at times that matter to elections and leases.
//!
//! * A **lagging leader** hears everything late. It hands over and does not know yet that another leads; or it falls silent, and its lease must have ended
//!   before the others choose.
//! * A **restless voter** is killed and started over and over while nobody proposes anything, and some campaign who do not hear the leader.
//! * A group **moves house**: most voters are replaced at once, or one after the other without waiting, while the old ones hear nothing of it. Then both
//!   houses may be left to themselves, so that each would choose a leader.
//! * **Rivals**: two leaders change the same membership, so that majorities of what they make of it need not meet.
//! * An **ambush** (`ambush.rs`): a voter restarts between two who campaign in the same term.
//! * An **impatient driver** asks a follower to campaign whose answer the leader's lease rests upon.

use super::Storm;
use super::ambush::Trap;
use nori_consensus::world::Violation;
use nori_consensus::{Feature, Input, Membership, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// What is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A dead node is started.
    Return(NodeId),
    /// It is killed, and started at once.
    Restart(NodeId),
    /// It stands still.
    Pause(NodeId, Duration),
    /// Nobody hears it any more.
    Mute(NodeId),
    /// It does not hear the second any more.
    Deafen(NodeId, NodeId),
    /// If it leads, it hands over.
    HandOver(NodeId),
    /// It gets what was held back.
    Release(NodeId),
    /// Learners take the place of voters.
    MoveHouse,
    /// These and all others hear nothing of each other, and the node dies.
    Part(Vec<NodeId>, Option<NodeId>),
    /// Two hear nothing of each other.
    Sever(NodeId, NodeId),
    /// It is asked to campaign.
    Campaign(NodeId),
    /// The voter that led dies; the trap is laid.
    Ambush(Trap),
    /// It may have been walked into.
    Spring(Trap),
    /// What was held back for its late candidate comes.
    Reveal(Trap),
    /// The stage may be set.
    Rivals,
    /// Whoever leads now, and is not the first, lets the first go; then these are left to themselves.
    Rival([NodeId; 3]),
    Heal,
}

impl Storm {
    pub(super) fn plot(&mut self, after: Duration, act: Act) {
        self.plots.push((self.elapsed + after, act));
    }

    /// Does what is due.
    pub(super) fn act(&mut self) -> Result<(), Violation> {
        let now = self.elapsed;
        let is_due = |(at, _): &mut (Duration, Act)| *at <= now;
        for (_, act) in self.plots.extract_if(.., is_due).collect::<Vec<_>>() {
            match act {
                Act::Return(node) => self.bring_back(node)?,
                Act::Restart(node) => {
                    self.world.crash(node);
                    self.bring_back(node)?;
                }
                // Who was taken down meanwhile does nothing more.
                Act::Pause(node, _) | Act::HandOver(node) | Act::Campaign(node)
                    if !self.world.is_alive(node) => {}
                Act::Pause(node, by) => self.world.pause(node, by),
                Act::Mute(node) => {
                    for other in self.others(node) {
                        self.world.cut(node, other);
                    }
                }
                Act::Deafen(node, other) => self.world.cut(other, node),
                Act::HandOver(node) => {
                    let others = self.others(node);
                    if let Some(to) = self.chance.pick(&others).copied() {
                        self.world.step(node, Input::TransferRequested { to })?;
                    }
                }
                Act::Release(node) => self.world.release(node),
                Act::MoveHouse => self.move_house()?,
                Act::Part(house, dies) => {
                    self.world.heal();
                    dies.into_iter().for_each(|node| self.crash(node));
                    self.world.split(&house);
                }
                Act::Sever(one, other) => self.sever(one, other),
                Act::Campaign(node) => self.world.step(node, Input::CampaignRequested)?,
                Act::Ambush(trap) => self.lay(trap)?,
                Act::Spring(trap) => self.spring(trap)?,
                Act::Reveal(trap) => self.reveal(&trap),
                Act::Rivals => self.rivals(true)?,
                Act::Rival(house) => self.rival(house)?,
                Act::Heal => self.world.heal(),
            }
        }
        Ok(())
    }

    pub(super) fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.world.nodes().filter(|other| *other != node).collect()
    }

    /// A share of an election's time.
    pub(super) fn election(&mut self, least_percent: u64, most_percent: u64) -> Duration {
        self.election_min * self.chance.between(least_percent, most_percent) as u32 / 100
    }

    pub(super) fn lag_leader(&mut self) {
        let Some(leader) = self.leader() else { return };
        let (by, first) = (self.election(5, 100), self.election(100, 300));
        self.world.lag(leader, by);
        if self.chance.hits(500_000) {
            self.plot(first, Act::HandOver(leader));
        } else {
            self.plot(first, Act::Mute(leader));
            let still = self.election(100, 400);
            self.plot(first + by, Act::Pause(leader, still));
        }
        let end = first + by + self.election(100, 400);
        self.plot(end, Act::Heal);
    }

    pub(super) fn restless_voter(&mut self) {
        let Some(leader) = self.leader() else { return };
        let mut others = self.others(leader);
        let Some(voter) = self.chance.pick(&others).copied() else { return };
        others.retain(|node| *node != voter);
        let cut = (others.len() as u64).min(self.chance.between(1, 2));
        for _ in 0..cut {
            if let Some(deaf) = self.chance.pick(&others).copied() {
                others.retain(|node| *node != deaf);
                let after = self.election(10, 30);
                self.plot(after, Act::Deafen(deaf, leader));
            }
        }
        // Whose log is as good as any, so that only the promise of who restarts is in the way.
        let mut at = self.election(50, 150);
        for _ in 0..self.chance.between(5, 30) {
            at += self.election(5, 60);
            self.plot(at, Act::Restart(voter));
        }
        self.quiet_until = self.elapsed + at;
        self.plot(at + self.election_min, Act::Heal);
    }

    pub(super) fn move_house(&mut self) -> Result<(), Violation> {
        let (Some(leader), Some(now)) = (self.leader(), self.membership()) else { return Ok(()) };
        if now.is_joint() || !self.features.has(Feature::MembershipChange) {
            return Ok(());
        }
        if now.learners.len() < 2 {
            if now.nodes().len() as u64 + 2 > super::NODES_MAX || !self.has_room(2) {
                return Ok(());
            }
            let mut learners = now.learners.clone();
            learners.extend([self.join()?, self.join()?]);
            self.ask_change(leader, now.to(now.voters.clone(), learners))?;
            let after = Duration::from_millis(self.chance.between(300, 3_000));
            self.plot(after, Act::MoveHouse);
            return Ok(());
        }
        let stay = now.voters.iter().copied().filter(|node| *node != leader).collect::<Vec<_>>();
        for node in stay.into_iter().filter(|_| self.chance.hits(850_000)) {
            self.world.cut(leader, node);
            self.world.cut(node, leader);
        }
        let after = self.election(50, 500);
        self.plot(after, Act::Heal);
        if self.chance.hits(500_000) {
            let mut voters = now.learners.clone();
            voters.insert(leader);
            self.ask_change(leader, now.to(voters, Default::default()))?;
            if self.chance.hits(500_000) {
                let house = now.learners.iter().copied().collect();
                let after = self.election(5, 50);
                self.plot(after, Act::Part(house, Some(leader)));
                let end = after + self.election(200, 500);
                self.plot(end, Act::Heal);
            }
            return Ok(());
        }
        for learner in now.learners.iter().copied() {
            let Some(status) = self.world.host(leader).status() else { break };
            let now = Arc::clone(&status.membership);
            let (mut voters, mut learners) = (now.voters.clone(), now.learners.clone());
            learners.remove(&learner);
            voters.insert(learner);
            self.ask_change(leader, now.to(voters, learners))?;
        }
        Ok(())
    }

    pub(super) fn sever(&mut self, one: NodeId, other: NodeId) {
        self.world.cut(one, other);
        self.world.cut(other, one);
    }

    /// The leader keeps just the followers that make a majority with it. When the rest has forgotten it, nobody hears it any more, and before its lease
    /// can have ended one that has answered it is asked to campaign.
    pub(super) fn impatient_driver(&mut self) {
        let (Some(leader), Some(now)) = (self.leader(), self.membership()) else { return };
        let mut others: Vec<NodeId> =
            now.voters.iter().copied().filter(|node| *node != leader).collect();
        let kept = now.voters.len() / 2;
        if kept == 0 || others.len() <= kept {
            return;
        }
        let first = self.chance.below(others.len() as u64) as usize;
        others.rotate_left(first);
        for node in &others[kept..] {
            self.sever(leader, *node);
        }
        let severed = self.election(150, 300);
        for node in &others[..kept] {
            self.plot(severed, Act::Sever(leader, *node));
        }
        let asked = severed + self.election(0, 60);
        self.plot(asked, Act::Campaign(others[0]));
        let end = asked + self.election(100, 300);
        self.plot(end, Act::Heal);
    }

    /// Of four voters and a learner: the leader is left alone with the learner, and asks for its vote; the other three choose somebody, who can bring
    /// one of them no entries.
    pub(super) fn rivals(&mut self, is_set: bool) -> Result<(), Violation> {
        let (Some(leader), Some(now)) = (self.leader(), self.membership()) else { return Ok(()) };
        if now.is_joint() || !self.features.has(Feature::MembershipChange) {
            return Ok(());
        }
        let mut others: Vec<NodeId> =
            now.voters.iter().copied().filter(|node| *node != leader).collect();
        let learner = now.learners.first().copied();
        let (3, Some(learner)) = (others.len(), learner) else {
            return if is_set { Ok(()) } else { self.set_stage(leader, others, &now) };
        };
        others.rotate_left(self.chance.below(3) as usize);
        for node in &others {
            self.sever(leader, *node);
        }
        let late = others[2];
        for node in &others[..2] {
            self.world.ration(*node, late, 0);
        }
        self.ask_change(leader, now.with_voter(learner))?;
        let after = self.election(150, 300);
        self.plot(after, Act::Rival([leader, late, learner]));
        Ok(())
    }

    /// Asks for four voters and a learner.
    fn set_stage(
        &mut self,
        leader: NodeId,
        others: Vec<NodeId>,
        now: &Membership,
    ) -> Result<(), Violation> {
        let mut nodes: Vec<NodeId> =
            [leader].into_iter().chain(others).chain(now.learners.iter().copied()).collect();
        if !self.has_room(5 - nodes.len().min(5)) {
            return Ok(());
        }
        while nodes.len() < 5 {
            nodes.push(self.join()?);
        }
        let (voters, learners) = nodes.split_at(4);
        let learners = learners.iter().copied().collect();
        self.ask_change(leader, now.to(voters.iter().copied().collect(), learners))?;
        let after = Duration::from_millis(self.chance.between(500, 3_000));
        self.plot(after, Act::Rivals);
        Ok(())
    }

    fn rival(&mut self, house: [NodeId; 3]) -> Result<(), Violation> {
        if let Some(rival) = self.leader().filter(|leader| *leader != house[0])
            && let Some(status) = self.world.host(rival).status()
        {
            let change = status.membership.without(house[0]);
            self.ask_change(rival, change)?;
        }
        let parted = self.election(10, 60);
        self.plot(parted, Act::Part(house.to_vec(), None));
        let end = parted + self.election(300, 600);
        self.plot(end, Act::Heal);
        Ok(())
    }
}
