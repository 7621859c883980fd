//! What one seed does to a group: its size, its settings, its weather, and a fault every five seconds or so, while clients
//! propose and read without pause.
//!
//! 1. A seed draws a **climate**: how many found the group, how its settings are skewed, whether clocks keep the bound that leases rest upon,
//!    whether it is the season of hunts.
//! 2. In the **storm**, time goes in steps of 20 ms: proposals and reads at each; at the time that was drawn for it, a fault.
//! 3. Some faults begin a **hunt**: for a while every leader gets few messages through and soon dies, and whoever writes down a vote may die of it.
//!    Entries that are on few logs, and elections that are decided by one promise, are what laws of replication break on.
//! 4. Then comes the **calm**: everything is healed and started, and within a minute the group has to lead, take an entry, answer a read, and all members have
//!    to agree.
//!
//! The laws are the world's; the storm only makes things happen. What it draws, it draws from the seed.

use nori_consensus::chance::Chance;
use nori_consensus::world::{Violation, Weather, World};
use nori_consensus::{
    Capabilities, Consistency, Feature, Index, Input, LeaseKind, LogView, Membership, NodeId, Role,
    Settings, Standing, Term, Ticket,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// The beat of clients.
const STEP: Duration = Duration::from_millis(20);
/// The mean time between faults.
const FAULT_EVERY: Duration = Duration::from_secs(5);
/// Within which the group has to be itself again once everything is healed.
const CALM: Duration = Duration::from_secs(120);
/// More nodes than any group here has at once.
const NODES_MAX: u64 = 9;

/// What a seed makes of the settings, and of the world.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    /// Who found the group.
    pub(crate) nodes: u64,
    pub(crate) settings: Settings,
    /// Leaders are hunted all the time.
    is_season: bool,
    /// Clocks drift, jump and stand still beyond every bound; nobody asks for reads by lease.
    has_wild_clocks: bool,
    chance: Chance,
}

impl Climate {
    /// The climate of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5EED_0F57_0A4D_0000);
        let mut nodes = *chance.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]).unwrap_or(&3);
        let mut settings =
            Settings { trailing_entries: chance.between(0, 400), ..Settings::default() };
        // To be unlucky on purpose: windows and messages of one entry.
        if chance.hits(250_000) {
            settings.inflight_messages_max = chance.between(1, 3) as usize;
        }
        if chance.hits(250_000) {
            settings.append_bytes_max = chance.between(1, 200) as usize;
        }
        if chance.hits(250_000) {
            settings.inflight_bytes_max = chance.between(1, 2_000) as usize;
        }
        if chance.hits(100_000) {
            settings.uncommitted_bytes_max = chance.between(1, 1_000);
        }
        if chance.hits(300_000) {
            settings.quiesce_after = Some(Duration::from_millis(chance.between(200, 2_000)));
        }
        let is_season = chance.hits(350_000);
        if is_season {
            // Entries travel alone, and a leader does not take long to find.
            nodes = *chance.pick(&[3, 5, 5]).unwrap_or(&5);
            settings.append_bytes_max = 1;
            settings.election_min = Duration::from_millis(chance.between(300, 500));
        }
        let has_wild_clocks = chance.hits(200_000);
        if chance.hits(400_000) {
            settings.lease =
                *chance.pick(&[LeaseKind::Off, LeaseKind::Log]).unwrap_or(&LeaseKind::Off);
        }
        Self { nodes, settings, is_season, has_wild_clocks, chance }
    }
}

/// A storm under way.
pub(crate) struct Storm {
    world: World,
    chance: Chance,
    is_season: bool,
    has_wild_clocks: bool,
    drift_ppm: i64,
    features: Capabilities,
    /// Nodes that will be started, and when.
    returning: Vec<(Duration, NodeId)>,
    /// Nodes whose disk is gone, or that were wiped: their names are never used again.
    gone: BTreeSet<NodeId>,
    /// Nodes that may have forgotten entries, and were not brought up since. The others are enough to elect a leader.
    doubtful: BTreeSet<NodeId>,
    next_node: u64,
    reads: Vec<Ticket>,
    proposals: u64,
    elapsed: Duration,
    /// Leaders are hunted until then.
    hunt_until: Duration,
    /// The last leader that was hunted.
    prey: Option<(NodeId, Term)>,
}

impl Storm {
    pub(crate) fn new(world: World, climate: Climate, features: Capabilities) -> Self {
        Self {
            world,
            chance: climate.chance,
            is_season: climate.is_season,
            has_wild_clocks: climate.has_wild_clocks,
            drift_ppm: i64::from(climate.settings.drift_ppm) / 2,
            features,
            returning: Vec::new(),
            gone: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            next_node: climate.nodes + 1,
            reads: Vec::new(),
            proposals: 0,
            elapsed: Duration::ZERO,
            hunt_until: Duration::ZERO,
            prey: None,
        }
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    pub(crate) fn proposals(&self) -> u64 {
        self.proposals
    }

    /// Rages for `time`, then grows calm.
    pub(crate) fn play(&mut self, time: Duration) -> Result<(), Violation> {
        self.set_clocks();
        if self.is_season {
            self.begin_hunt(time);
        }
        self.world.weather.has_sound_clocks = !self.has_wild_clocks;
        let mut fault_at = self.until_fault();
        while self.elapsed < time {
            self.clients()?;
            if self.elapsed >= fault_at {
                self.fault()?;
                fault_at = self.elapsed + self.until_fault();
            }
            if self.elapsed < self.hunt_until {
                self.hunt();
            }
            self.bring_back()?;
            self.world.run_for(STEP)?;
            self.elapsed += STEP;
        }
        self.calm()
    }

    /// Who begins to lead brings its entries to some and not to others, most of the time; who leads dies soon.
    fn hunt(&mut self) {
        let Some(leader) = self.leader() else { return };
        let term = self.world.host(leader).status().map_or(Term::ZERO, |status| status.term);
        if self.prey != Some((leader, term)) {
            self.prey = Some((leader, term));
            if self.chance.hits(600_000) {
                let mut others: Vec<NodeId> =
                    self.world.nodes().filter(|node| *node != leader).collect();
                // Few rather than many.
                let (one, other) = (
                    self.chance.below(others.len() as u64 + 1),
                    self.chance.below(others.len() as u64 + 1),
                );
                let mut reached = one.min(other);
                while let Some(other) = self.chance.pick(&others).copied() {
                    others.retain(|node| *node != other);
                    let messages = if reached > 0 { self.chance.between(1, 3) as u32 } else { 0 };
                    reached = reached.saturating_sub(1);
                    self.world.ration(leader, other, messages);
                }
            }
        } else if self.chance.hits(200_000) {
            self.crash(leader);
            self.world.mend(leader);
        }
    }

    fn begin_hunt(&mut self, time: Duration) {
        self.hunt_until = self.hunt_until.max(self.elapsed + time);
        self.world.weather.promise_death_ppm = self.chance.below(300_000) as u32;
        self.world.chronicle.count("hunt");
    }

    fn until_fault(&mut self) -> Duration {
        let mean = FAULT_EVERY.as_millis() as u64;
        Duration::from_millis(self.chance.between(mean / 10, 2 * mean - mean / 10))
    }

    fn set_clocks(&mut self) {
        for node in self.world.nodes().collect::<Vec<_>>() {
            self.set_clock(node);
        }
    }

    fn set_clock(&mut self, node: NodeId) {
        let most = if self.has_wild_clocks { 100_000 } else { self.drift_ppm };
        let rate = self.chance.below(2 * most as u64 + 1) as i64 - most;
        self.world.set_clock(node, |clock, now| clock.set_rate(now, rate));
    }

    /// One proposal at least every 20 ms, mostly to who leads; reads now and then.
    fn clients(&mut self) -> Result<(), Violation> {
        let count = if self.chance.hits(50_000) { self.chance.between(10, 100) } else { 1 };
        for _ in 0..count {
            if let Some(node) = self.somebody() {
                self.proposals += 1;
                let payload = [&self.proposals.to_le_bytes()[..], &[7; 24]].concat();
                self.world.propose(node, &payload)?;
            }
        }
        if self.chance.hits(300_000)
            && let Some(node) = self.somebody()
        {
            let by_lease = !self.has_wild_clocks && self.chance.hits(600_000);
            let consistency = if by_lease { Consistency::Lease } else { Consistency::Linearizable };
            let read = self.world.read(node, consistency)?;
            self.reads.push(read);
        }
        Ok(())
    }

    /// Who leads, as far as a client knows: perhaps somebody who only thinks so; now and then anybody.
    fn somebody(&mut self) -> Option<NodeId> {
        let alive = self.alive();
        if self.chance.hits(400_000) {
            let leads = |node: &NodeId| {
                self.world.host(*node).status().is_some_and(|status| status.role == Role::Leader)
            };
            let leaders: Vec<NodeId> = alive.iter().copied().filter(leads).collect();
            if let Some(leader) = self.chance.pick(&leaders) {
                return Some(*leader);
            }
        }
        match self.leader() {
            Some(leader) if !self.chance.hits(100_000) => Some(leader),
            _ => self.chance.pick(&alive).copied(),
        }
    }

    fn alive(&self) -> Vec<NodeId> {
        self.world.nodes().filter(|node| self.world.is_awake(*node)).collect()
    }

    /// Who leads, if it can be asked.
    fn leader(&self) -> Option<NodeId> {
        self.world.leader().filter(|leader| self.world.is_awake(*leader))
    }

    /// The newest membership, as a leader, or else anybody who has one, knows it.
    fn membership(&self) -> Option<Membership> {
        let of = |node| self.world.host(node).status();
        let known = self.leader().into_iter().chain(self.alive());
        known.filter_map(of).map(|status| status.membership).find(|known| !known.voters.is_empty())
    }

    fn fault(&mut self) -> Result<(), Violation> {
        let alive = self.alive();
        let Some(one) = self.chance.pick(&alive).copied() else { return Ok(()) };
        let one = if self.chance.hits(500_000) { self.leader().unwrap_or(one) } else { one };
        match self.chance.below(20) {
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
            17 => self.forget(one),
            14 | 15 => {
                let time = Duration::from_millis(self.chance.between(3_000, 15_000));
                self.begin_hunt(time);
            }
            _ => return self.change(),
        }
        Ok(())
    }

    fn crash(&mut self, node: NodeId) {
        if !self.world.is_alive(node) {
            return;
        }
        if self.chance.hits(300_000) {
            // Between the state and the log of a snapshot, if one is being installed.
            self.world.tear_install(node);
        }
        self.world.crash(node);
        self.return_later(node);
    }

    /// Some processes are started again at once, others after a while.
    fn return_later(&mut self, node: NodeId) {
        let is_soon = self.elapsed < self.hunt_until || self.chance.hits(300_000);
        let most = if is_soon { 1_500 } else { 10_000 };
        let after = Duration::from_millis(self.chance.between(0, most));
        self.returning.push((self.elapsed + after, node));
    }

    fn bring_back(&mut self) -> Result<(), Violation> {
        let is_waited_for = |node: &NodeId| self.returning.iter().any(|(_, of)| of == node);
        let is_missed = |node: &NodeId| {
            !self.world.is_alive(*node) && !self.gone.contains(node) && !is_waited_for(node)
        };
        // Those that died of a write.
        for node in self.world.nodes().filter(is_missed).collect::<Vec<_>>() {
            self.return_later(node);
        }
        let (now, all) = (self.elapsed, std::mem::take(&mut self.returning));
        for (at, node) in all {
            if at > now {
                self.returning.push((at, node));
            } else if !self.gone.contains(&node) && !self.world.is_alive(node) {
                let priority =
                    if self.chance.hits(100_000) { self.chance.below(3) as u8 } else { 0 };
                self.start(node, priority)?;
            }
        }
        let doubts =
            |node: &NodeId| self.world.host(*node).status().is_none_or(|status| status.is_doubtful);
        self.doubtful.retain(doubts);
        Ok(())
    }

    fn start(&mut self, node: NodeId, priority: u8) -> Result<(), Violation> {
        let is_doubtful = self.doubtful.contains(&node);
        let standing = if is_doubtful { Standing::Doubtful } else { Standing::Whole };
        self.world.start_as(node, standing, priority)
    }

    /// A machine stops and loses entries that it had acknowledged unsynced.
    fn forget(&mut self, node: NodeId) {
        if self.features.has(Feature::DoubtfulStart) && self.can_spare(node) {
            self.crash(node);
            let entries = self.chance.between(1, 60);
            self.world.forget(node, entries);
            self.doubtful.insert(node);
        }
    }

    /// Whether the others that can vote are enough.
    fn can_spare(&self, node: NodeId) -> bool {
        let is_lost = |node: &NodeId| self.gone.contains(node) || self.doubtful.contains(node);
        self.membership().is_some_and(|membership| {
            !membership.is_joint()
                && membership.voters.len() > 2
                && membership.is_quorum(|voter| voter != node && !is_lost(&voter))
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

    /// A disk fails for good: its node halts, and is gone once the group can do without.
    fn lose_disk(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.can_spare(node) {
            self.world.fail_disk(node)?;
            self.world.crash(node);
            self.gone.insert(node);
            self.returning.retain(|(_, returning)| *returning != node);
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

    /// Somebody joins, is promoted, demoted or removed, or several at once.
    fn change(&mut self) -> Result<(), Violation> {
        if !self.features.has(Feature::MembershipChange) {
            return Ok(());
        }
        let (Some(leader), Some(now)) = (self.leader(), self.membership()) else {
            return Ok(());
        };
        let change = self.draw_change(&now)?;
        if change.is_possible() {
            self.world.change(leader, change)?;
        }
        Ok(())
    }

    fn draw_change(&mut self, now: &Membership) -> Result<nori_consensus::Change, Violation> {
        let (mut voters, mut learners) = (now.voters.clone(), now.learners.clone());
        // Whoever is gone for good is let go first.
        if let Some(dead) = now.nodes().into_iter().find(|node| self.gone.contains(node)) {
            voters.remove(&dead);
            learners.remove(&dead);
            return Ok(now.to(voters, learners));
        }
        for _ in 0..self.chance.between(1, 3) {
            let (some_voters, some_learners): (Vec<_>, Vec<_>) =
                (voters.iter().copied().collect(), learners.iter().copied().collect());
            match self.chance.below(4) {
                0 if voters.len() + learners.len() < NODES_MAX as usize => {
                    learners.insert(self.join()?);
                }
                1 => {
                    if let Some(node) = self.chance.pick(&some_learners).copied() {
                        learners.remove(&node);
                        voters.insert(node);
                    }
                }
                2 if voters.len() > 3 => {
                    if let Some(node) = self.chance.pick(&some_voters).copied() {
                        voters.remove(&node);
                        if self.chance.hits(500_000) {
                            learners.insert(node);
                        }
                    }
                }
                _ => {
                    if let Some(node) = self.chance.pick(&some_learners).copied() {
                        learners.remove(&node);
                    }
                }
            }
        }
        Ok(now.to(voters, learners))
    }

    fn join(&mut self) -> Result<NodeId, Violation> {
        let node = NodeId(self.next_node);
        self.next_node += 1;
        self.world.add(node, Default::default());
        self.set_clock(node);
        self.world.start(node)?;
        Ok(node)
    }

    /// Heals everything; then the group has to be itself again.
    fn calm(&mut self) -> Result<(), Violation> {
        self.world.heal();
        self.world.weather = Weather { has_sound_clocks: !self.has_wild_clocks, ..Weather::calm() };
        for node in self.world.nodes().collect::<Vec<_>>() {
            self.world.set_clock(node, |clock, now| clock.set_rate(now, 0));
            self.world.pause(node, Duration::ZERO);
            if !self.world.is_alive(node) && !self.gone.contains(&node) {
                self.start(node, 0)?;
            }
        }
        self.returning.clear();
        let (mut last, mut due) = (None, self.world.time());
        let end = self.world.time().after(CALM);
        while self.world.time() < end {
            if self.has_settled(last) {
                return self.compare();
            }
            // What a leader took that was deposed since may be decided only by what comes after it.
            if let Some(leader) = self.leader()
                && self.world.time() >= due
            {
                due = self.world.time().after(Duration::from_secs(2));
                last = Some(self.world.propose(leader, b"calm")?);
                let read = self.world.read(leader, Consistency::Linearizable)?;
                self.reads.push(read);
            }
            self.world.run_for(Duration::from_millis(100))?;
        }
        Err(Violation {
            at: self.world.time(),
            node: self.world.leader().unwrap_or_default(),
            what: format!("liveness: the group is not itself {CALM:?} after everything was healed"),
        })
    }

    /// Whether the entry took effect, members agree, and no read is open.
    fn has_settled(&self, last: Option<Ticket>) -> bool {
        let took =
            last.is_some_and(|ticket| self.world.chronicle.took_effect(ticket) == Some(true));
        let open = |ticket: &Ticket| self.world.chronicle.outcome(*ticket).is_none();
        took && self.agree() && !self.reads.iter().any(open)
    }

    fn members(&self) -> Vec<NodeId> {
        let nodes = self.membership().map(|membership| membership.nodes()).unwrap_or_default();
        nodes.into_iter().filter(|node| self.world.is_alive(*node)).collect()
    }

    fn agree(&self) -> bool {
        let through = Index(self.world.chronicle.applied().len() as u64);
        let members = self.members();
        let has_all = |node: &NodeId| self.world.host(*node).state().applied.index == through;
        !members.is_empty() && members.iter().all(has_all)
    }

    /// Members' states are the same, and so are their logs where both have an entry.
    fn compare(&self) -> Result<(), Violation> {
        let members = self.members();
        let violation =
            |node: NodeId, what: String| Violation { at: self.world.time(), node, what };
        for two in members.windows(2) {
            let (one, other) = (self.world.host(two[0]), self.world.host(two[1]));
            if one.state().digest != other.state().digest {
                return Err(violation(two[0], format!("its state is not that of {}", two[1])));
            }
            let from = one.log().first().max(other.log().first());
            let upto = one.log().last().index.min(other.log().last().index);
            for index in from.0..=upto.0 {
                let (a, b) = (one.log().entry(Index(index)), other.log().entry(Index(index)));
                let same_name =
                    a.as_ref().map(|entry| entry.id) == b.as_ref().map(|entry| entry.id);
                if same_name && a != b {
                    let what = format!("entry {index} is not that of {} of the same name", two[1]);
                    return Err(violation(two[0], what));
                }
            }
        }
        Ok(())
    }
}
