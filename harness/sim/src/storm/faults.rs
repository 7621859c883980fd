//! What goes wrong, and who comes back.

use super::Storm;
use super::plot::Act;
use nori_consensus::host::Host;
use nori_consensus::world::{Violation, Weather};
use nori_consensus::{EntryKind, Feature, Index, Input, LogView, NodeId, Standing, Status};
use std::sync::Arc;
use std::time::Duration;

/// How long somebody who is no member goes on.
const OUTSIDE_MAX: Duration = Duration::from_secs(20);

/// Whether the membership that this leader knows is one that nobody can take back, with no other on its way: where a membership counts when its entry
/// is applied, the next may long have been taken.
fn is_settled(leader: &Host, status: &Status) -> bool {
    let Status { membership, commit, term, applied, .. } = status;
    let log = leader.log();
    let is_change =
        |index: u64| log.entry(Index(index)).is_some_and(|entry| entry.kind == EntryKind::Config);
    log.term(*commit) == Some(*term)
        && membership.at <= *commit
        && !membership.is_joint()
        && !(membership.at.max(*applied).0 + 1..=log.last().index.0).any(is_change)
}

impl Storm {
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        let alive = self.alive();
        let Some(one) = self.chance.pick(&alive).copied() else { return Ok(()) };
        let one = if self.chance.hits(500_000) { self.leader().unwrap_or(one) } else { one };
        match self.chance.below(32) {
            0 | 1 => self.crash(one),
            2 => {
                alive.iter().for_each(|node| self.crash(*node));
            }
            3 => {
                let by = Duration::from_millis(self.chance.between(100, 8_000));
                self.world.pause(one, by);
            }
            4 | 5 => self.world.split(&[one]),
            6 => {
                let group: Vec<NodeId> =
                    alive.into_iter().filter(|_| self.chance.hits(500_000)).collect();
                self.world.split(&group);
            }
            7 => {
                let other = self.chance.pick(&alive).copied().unwrap_or(one);
                self.world.cut(one, other);
            }
            8 | 9 => self.world.heal(),
            10 => {
                self.world.weather = match self.chance.hits(700_000) {
                    true => Weather::rough(&mut self.chance),
                    false => Weather::calm(),
                };
                self.world.weather.has_sound_clocks = !self.has_wild_clocks;
            }
            11 => self.clock(one),
            12 => self.lose_disk(one)?,
            13 => return self.transfer(one),
            16 => return self.usurp(one),
            17 | 23 => self.forget(one),
            18 | 19 => self.lag_leader(),
            20 => self.restless_voter(),
            24 => self.ambush(),
            21 | 22 => return self.move_house(),
            28 => {
                let time = Duration::from_millis(self.chance.between(500, 8_000));
                self.quiet_until = self.elapsed + time;
            }
            29 => self.impatient_driver(),
            30 | 31 => return self.rivals(false),
            14 | 15 => {
                let time = Duration::from_millis(self.chance.between(3_000, 15_000));
                self.begin_hunt(time);
            }
            _ => return self.change(),
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        if !self.world.is_alive(node) {
            return;
        }
        self.world.crash(node);
        self.return_later(node);
    }

    /// A node that is installing a snapshot dies between its state and its log, now and then.
    pub(super) fn tear_installs(&mut self) {
        let is_installing = |node: &NodeId| self.world.host(*node).is_installing();
        for node in self.world.nodes().filter(is_installing).collect::<Vec<_>>() {
            if self.chance.hits(50_000) {
                self.world.tear_install(node);
                self.world.crash(node);
                self.return_later(node);
            }
        }
    }

    /// Some processes are started again at once, others after a while.
    fn return_later(&mut self, node: NodeId) {
        let is_soon = self.elapsed < self.hunt_until || self.chance.hits(300_000);
        let most = match (is_soon, self.chance.hits(300_000)) {
            (true, true) => 20,
            (true, false) => 1_500,
            (false, _) => 10_000,
        };
        let after = Duration::from_millis(self.chance.between(0, most));
        self.plot(after, Act::Return(node));
    }

    /// Those that died of a write come back too; and who was doubtful may be so no more.
    pub(super) fn find_dead(&mut self) {
        let is_waited_for =
            |node: &NodeId| self.plots.iter().any(|(_, act)| *act == Act::Return(*node));
        let is_missed = |node: &NodeId| {
            !self.world.is_alive(*node) && !self.gone.contains(node) && !is_waited_for(node)
        };
        for node in self.world.nodes().filter(is_missed).collect::<Vec<_>>() {
            self.return_later(node);
        }
        let doubts =
            |node: &NodeId| self.world.host(*node).status().is_none_or(|status| status.is_doubtful);
        self.doubtful.retain(doubts);
    }

    /// Whoever has been no member for a while, by a membership that nobody can take back, is taken down by its driver.
    pub(super) fn dismiss(&mut self) {
        let Some(leader) = self.leader() else { return };
        let host = self.world.host(leader);
        let Some(status) = host.status().filter(|status| is_settled(host, status)) else { return };
        let now = Arc::clone(&status.membership);
        self.outside.retain(|node, _| !now.has(*node));
        for node in self.world.nodes().filter(|node| !now.has(*node)).collect::<Vec<_>>() {
            let since = *self.outside.entry(node).or_insert(self.elapsed);
            if self.elapsed - since >= OUTSIDE_MAX {
                self.outside.remove(&node);
                self.gone.insert(node);
                self.doubtful.remove(&node);
                self.world.remove(node);
            }
        }
    }

    /// Starts a node, if it is dead and not for good.
    pub(super) fn bring_back(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.gone.contains(&node) || self.world.is_alive(node) {
            return Ok(());
        }
        let priority = if self.chance.hits(100_000) { self.chance.below(3) as u8 } else { 0 };
        self.start(node, priority)
    }

    pub(super) fn start(&mut self, node: NodeId, priority: u8) -> Result<(), Violation> {
        let is_doubtful = self.doubtful.contains(&node);
        let standing = if is_doubtful { Standing::Doubtful } else { Standing::Whole };
        self.world.start_as(node, standing, priority)
    }

    /// A machine stops and loses entries that it had acknowledged unsynced.
    pub(super) fn forget(&mut self, node: NodeId) {
        if self.features.has(Feature::DoubtfulStart) && self.can_spare(node) {
            self.crash(node);
            let entries = self.chance.between(1, 60);
            self.world.forget(node, entries);
            self.doubtful.insert(node);
        }
    }

    /// Whether the others that can vote are enough, by a membership that nobody can take back: a leader's that has committed in its term.
    fn can_spare(&self, node: NodeId) -> bool {
        let is_lost = |node: &NodeId| self.gone.contains(node) || self.doubtful.contains(node);
        let Some(host) = self.leader().map(|leader| self.world.host(leader)) else { return false };
        host.status().is_some_and(|status| {
            is_settled(host, status)
                && status.membership.voters.len() > 2
                && status.membership.is_quorum(|voter| voter != node && !is_lost(&voter))
        })
    }

    fn clock(&mut self, node: NodeId) {
        self.set_clock(node);
        if self.has_wild_clocks {
            let by = Duration::from_millis(self.chance.between(0, 5_000));
            self.world.set_clock(node, |clock, now| clock.jump(now, by));
            if self.chance.hits(300_000) {
                self.world.set_clock(node, |clock, now| clock.set_rate(now, -1_000_000));
            }
        }
    }

    pub(super) fn set_clocks(&mut self) {
        for node in self.world.nodes().collect::<Vec<_>>() {
            self.set_clock(node);
        }
    }

    pub(super) fn set_clock(&mut self, node: NodeId) {
        let most = if self.has_wild_clocks { 100_000 } else { self.drift_ppm };
        let rate = self.chance.below(2 * most as u64 + 1) as i64 - most;
        self.world.set_clock(node, |clock, now| clock.set_rate(now, rate));
    }

    /// A disk fails for good: its node halts, and is gone once the group can do without.
    fn lose_disk(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.can_spare(node) {
            self.world.fail_disk(node)?;
            self.world.crash(node);
            self.gone.insert(node);
        }
        Ok(())
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), Violation> {
        match self.leader() {
            Some(leader) => self.world.step(leader, Input::TransferRequested { to }),
            None => self.world.step(to, Input::CampaignRequested),
        }
    }

    /// A leader hands over, and does not hear what comes of it.
    fn usurp(&mut self, to: NodeId) -> Result<(), Violation> {
        let Some(leader) = self.leader().filter(|leader| *leader != to) else { return Ok(()) };
        self.world.step(leader, Input::TransferRequested { to })?;
        let after = Duration::from_micros(self.chance.between(0, 40_000));
        self.world.run_for(after)?;
        for other in self.world.nodes().filter(|node| *node != leader).collect::<Vec<_>>() {
            self.world.cut(other, leader);
        }
        Ok(())
    }

    /// What is wrong when everything is healed.
    pub(super) fn last_act(&mut self) {
        if self.chance.hits(300_000) {
            let alive = self.alive();
            if let Some(one) = self.chance.pick(&alive).copied() {
                self.forget(one);
            }
        }
    }
}
