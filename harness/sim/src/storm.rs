//! What one seed does to a group: its size, its settings, its weather, and a fault every five seconds or so, while clients
//! propose and read without pause.
//!
//! 1. A seed draws a **climate**: how many found the group, how its settings are skewed, whether clocks keep the bound that leases rest upon,
//!    whether it is the season of hunts.
//! 2. In the **storm**, time goes in steps of 20 ms: proposals and reads at each; at the time that was drawn for it, a fault.
//! 3. Some faults begin a **hunt**: for a while every leader gets few messages through and soon dies, and whoever writes down a vote may die of it.
//!    Entries that are on few logs, and elections that are decided by one promise, are what laws of replication break on.
//! 4. Others are **plots** of several acts around an election's time: leaders that hear late, voters that restart, groups that move house. For a while
//!    there may be no clients at all, and groups fall asleep.
//! 5. Then comes the **calm**: everything is healed and started, and within two minutes the group has to lead, take an entry, answer a read, and all members
//!    have to agree. Under some seeds it is left alone first: whoever lags has to be brought up by those that have nothing else to do.
//!
//! The laws are the world's; the storm only makes things happen. What it draws, it draws from the seed.

mod ambush;
mod calm;
mod climate;
mod faults;
mod hunt;
mod members;
mod plot;

pub(crate) use climate::Climate;

use nori_consensus::chance::Chance;
use nori_consensus::world::{Violation, World};
use nori_consensus::{Capabilities, Consistency, Membership, NodeId, Role, Term, Ticket};
use plot::Act;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The beat of clients.
const STEP: Duration = Duration::from_millis(20);
/// The mean time between faults.
const FAULT_EVERY: Duration = Duration::from_secs(5);
/// More nodes than any group here has at once.
const NODES_MAX: u64 = 9;
/// Nobody joins beyond so many machines, members or not: a leader that cannot commit is asked for newcomers again and again.
const MACHINES_MAX: usize = 40;

/// A storm under way.
pub(crate) struct Storm {
    world: World,
    chance: Chance,
    is_season: bool,
    has_wild_clocks: bool,
    drift_ppm: i64,
    features: Capabilities,
    /// What will be done, and when.
    plots: Vec<(Duration, Act)>,
    election_min: Duration,
    /// Nodes whose disk is gone, or that were wiped: their names are never used again.
    gone: BTreeSet<NodeId>,
    /// Nodes that may have forgotten entries, and were not brought up since. The others are enough to elect a leader.
    doubtful: BTreeSet<NodeId>,
    next_node: u64,
    /// The membership when a change was last thought out.
    known: Option<Arc<Membership>>,
    reads: Vec<Ticket>,
    proposals: u64,
    elapsed: Duration,
    /// Nobody proposes or reads until then.
    quiet_until: Duration,
    /// Leaders are hunted until then.
    hunt_until: Duration,
    hunts: u64,
    /// Nodes that are no members, and since when they were seen to be none.
    outside: BTreeMap<NodeId, Duration>,
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
            plots: Vec::new(),
            election_min: climate.settings.election_min,
            gone: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            next_node: climate.nodes + 1,
            known: None,
            reads: Vec::new(),
            proposals: 0,
            elapsed: Duration::ZERO,
            hunt_until: Duration::ZERO,
            quiet_until: Duration::ZERO,
            hunts: 0,
            outside: BTreeMap::new(),
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

    pub(crate) fn hunts(&self) -> u64 {
        self.hunts
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
            self.act()?;
            self.tear_installs();
            self.find_dead();
            if self.elapsed.subsec_millis() == 0 {
                self.dismiss();
            }
            self.world.run_for(STEP)?;
            self.elapsed += STEP;
        }
        self.last_act();
        self.calm()
    }

    fn until_fault(&mut self) -> Duration {
        let mean = FAULT_EVERY.as_millis() as u64;
        Duration::from_millis(self.chance.between(mean / 10, 2 * mean - mean / 10))
    }

    /// One proposal at least every 20 ms, mostly to who leads; reads now and then, and whenever two think that they lead.
    fn clients(&mut self) -> Result<(), Violation> {
        let leaders = self.leaders();
        let count = match self.chance.hits(50_000) {
            _ if self.elapsed < self.quiet_until => 0,
            true => self.chance.between(10, 100),
            false => 1,
        };
        for _ in 0..count {
            if let Some(node) = self.somebody(&leaders) {
                self.proposals += 1;
                let payload = [&self.proposals.to_le_bytes()[..], &[7; 24]].concat();
                self.world.propose(node, &payload)?;
            }
        }
        if self.elapsed < self.quiet_until {
            return Ok(());
        }
        if self.chance.hits(300_000)
            && let Some(node) = self.somebody(&leaders)
        {
            self.read(node)?;
        }
        if leaders.len() > 1 {
            leaders.into_iter().try_for_each(|leader| self.read(leader))?;
        }
        Ok(())
    }

    fn read(&mut self, node: NodeId) -> Result<(), Violation> {
        // It may have died of what was asked of it before.
        if !self.world.is_alive(node) {
            return Ok(());
        }
        let by_lease = !self.has_wild_clocks && self.chance.hits(600_000);
        let consistency = if by_lease { Consistency::Lease } else { Consistency::Linearizable };
        let read = self.world.read(node, consistency)?;
        self.reads.push(read);
        Ok(())
    }

    /// All who think that they lead.
    fn leaders(&self) -> Vec<NodeId> {
        let leads = |node: &NodeId| {
            self.world.host(*node).status().is_some_and(|status| status.role == Role::Leader)
        };
        self.world.nodes().filter(|node| self.world.is_awake(*node) && leads(node)).collect()
    }

    /// Who leads, as far as a client knows: perhaps somebody who only thinks so; now and then anybody.
    fn somebody(&mut self, leaders: &[NodeId]) -> Option<NodeId> {
        if self.chance.hits(400_000)
            && let Some(leader) = self.chance.pick(leaders)
        {
            return Some(*leader);
        }
        match self.leader() {
            Some(leader) if !self.chance.hits(100_000) => Some(leader),
            _ => {
                let alive = self.alive();
                self.chance.pick(&alive).copied()
            }
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
    fn membership(&self) -> Option<Arc<Membership>> {
        let of = |node| self.world.host(node).status();
        let known = self.leader().into_iter().chain(self.alive());
        known
            .filter_map(of)
            .map(|status| Arc::clone(&status.membership))
            .find(|known| !known.voters.is_empty())
    }
}
