//! What goes wrong in several acts, or just then: one fault at a time seldom comes at the moment that matters.
//!
//! | plot | what has to hold |
//! |---|---|
//! | forgetful | some of a group lag behind; one that does not loses its power, and is left with them to elect somebody; perhaps it is killed once more before anybody has brought it up |
//! | sleeping leader | a leader stands still with what has come to it, a follower that asked it something has begun another life when it goes on, and hears nothing for a while after that |
//! | outage on slow disks | everything loses its power while much is under way to the disks |
//! | ambush | a node dies, or its disk or streams fail, while a snapshot comes to it or takes the place of a state |
//!
//! Where what is acknowledged is not synced (`durability = os`), one machine at a time may forget, while all others are up and nobody is in doubt, nor is a
//! disk lost: beyond that nobody could promise anything.

use super::machine::Death;
use super::net::Link;
use super::{Happening, MILLI, SECOND, World};
use nori_consensus::{NodeId, Role, ShardId};
use nori_env::{FaultPlan, Fs};
use std::path::Path;

/// Of a million installations, and of arrivals, so many are disturbed.
const AMBUSH_PPM: u32 = 250_000;

/// A part of a plot.
pub(super) enum Act {
    Block(Vec<Link>),
    Unblock(Vec<Link>),
    /// A machine loses its power if that life of it may, and comes back at once; else it is killed.
    Forget(usize, u64),
    /// A machine is killed, and comes back at once, if the node lives that life.
    Kill(usize, u64),
    Outage,
}

impl World {
    fn act_in(&mut self, after: u64, act: Act) {
        self.plan_in(after, Happening::Act(act));
    }

    pub(super) fn act(&mut self, act: Act) {
        if !self.is_stormy {
            return;
        }
        match act {
            Act::Block(links) => links.into_iter().for_each(|link| self.net.block(link)),
            Act::Unblock(links) => links.into_iter().for_each(|link| self.net.unblock(link)),
            Act::Forget(m, life) => {
                let death = self.death();
                if death != Death::Kill {
                    self.count("power loss");
                }
                self.fall(m, life, death);
            }
            Act::Kill(m, life) => self.fall(m, life, Death::Kill),
            Act::Outage => {
                for m in self.up() {
                    let death = self.death_of_all();
                    self.die(m, death);
                }
            }
        }
    }

    /// A machine goes down, and up again at once.
    fn fall(&mut self, m: usize, life: u64, death: Death) {
        if self.machines[m].life == life && self.machines[m].running.is_some() {
            self.die(m, death);
            let pause = self.chance.between(5 * MILLI, 60 * MILLI);
            self.plan_in(pause, Happening::Start(m));
        }
    }

    pub(super) fn kill_soon(&mut self, m: usize, within: u64) {
        let (after, life) = (self.chance.between(0, within), self.machines[m].life);
        self.act_in(after, Act::Kill(m, life));
    }

    /// Whether a machine may lose what it has not synced.
    pub(super) fn may_forget(&self) -> bool {
        self.loses_unsynced() || self.is_whole()
    }

    /// Whether everybody is up, every shard is where it ought to be, nobody is in doubt, and every group could spare a voter: then one of them may be lost. A group of
    /// two, as while a lost node is drained and the new one is not a member yet, has no leader without both.
    pub(super) fn is_whole(&self) -> bool {
        let is_up = |m: usize| self.machines[m].running.is_some() || self.machines[m].is_gone;
        if !(0..self.machines.len()).all(is_up) || !self.operator.is_idle() {
            return false;
        }
        let members = self.machines.iter().filter_map(|of| of.running.as_ref()?.node.member());
        let Some(map) = members.map(norikv_node::Member::map).max_by_key(|map| map.epoch()) else {
            return false;
        };
        map.shards().all(|(shard, of)| {
            let shard = ShardId(u64::from(shard.0));
            let can_spare = of.voters.len() > 2;
            let mut voters = of.voters.iter().map(|node| NodeId(node.0));
            of.is_settled() && can_spare && voters.all(|node| self.is_sure(node, shard))
        })
    }

    /// Whether a node has a replica of the shard that remembers everything.
    fn is_sure(&self, node: NodeId, shard: ShardId) -> bool {
        let machine = self.ids.get(&node).map(|m| &self.machines[*m]);
        let member = machine.and_then(|machine| machine.running.as_ref()?.node.member());
        member.is_some_and(|member| {
            let mut shards = member.replicas().shards();
            let is_sure = shards.any(|(of, status)| {
                of == shard && !status.is_doubtful && status.membership.voters.contains(&node)
            });
            is_sure && member.replicas().applied(shard).is_some()
        })
    }

    /// Who leads some shard, and who else votes there, in any order; all of them run.
    fn group(&mut self) -> Option<(usize, Vec<usize>)> {
        let shard = ShardId(self.chance.below(u64::from(self.climate.shards) + 1));
        let leads = |m: &usize| {
            let member = self.machines[*m].running.as_ref()?.node.member()?;
            let (_, status) = member.replicas().shards().find(|(of, _)| *of == shard)?;
            (status.role == Role::Leader).then(|| (status.term, *m, status.membership.clone()))
        };
        let (_, leader, membership) =
            self.up().iter().filter_map(leads).max_by_key(|(term, ..)| *term)?;
        let machine = |node: &NodeId| self.ids.get(node).copied();
        let mut others: Vec<usize> = membership.voters.iter().filter_map(machine).collect();
        others.retain(|m| *m != leader && self.machines[*m].running.is_some());
        for n in (1..others.len()).rev() {
            others.swap(n, self.chance.below(n as u64 + 1) as usize);
        }
        Some((leader, others))
    }

    /// Everything between these machines and all others, and between themselves.
    fn links_of(&self, of: &[usize]) -> Vec<Link> {
        let others = |m: usize| (0..self.machines.len()).filter(move |other| *other != m);
        of.iter().flat_map(|m| others(*m).flat_map(|other| [(*m, other), (other, *m)])).collect()
    }

    pub(super) fn forgetful(&mut self) {
        let Some((leader, mut fellows)) = self.group().filter(|(_, others)| others.len() > 1)
        else {
            return self.kill_one();
        };
        self.count("forgetful plot");
        let lagging = fellows.split_off(fellows.len().div_ceil(2));
        let forgets = fellows.remove(0);
        fellows.push(leader);
        self.tell(|| format!("{lagging:?} lag, m{forgets} forgets, {fellows:?} are cut off"));
        let (first, second) = (self.links_of(&lagging), self.links_of(&fellows));
        self.net_block(&first);
        let then = self.chance.between(300 * MILLI, 1_500 * MILLI);
        let life = self.machines[forgets].life;
        self.act_in(then, Act::Forget(forgets, life));
        self.act_in(then, Act::Unblock(first));
        self.act_in(then, Act::Block(second.clone()));
        if self.chance.hits(500_000) {
            let again = self.chance.between(70 * MILLI, 300 * MILLI);
            self.act_in(then + again, Act::Kill(forgets, life + 1));
        }
        let end = then + self.chance.between(2 * SECOND, 5 * SECOND);
        self.act_in(end, Act::Unblock(second));
    }

    fn net_block(&mut self, links: &[Link]) {
        links.iter().for_each(|link| self.net.block(*link));
    }

    pub(super) fn sleeping_leader(&mut self) {
        let Some((leader, others)) = self.group().filter(|(_, others)| !others.is_empty()) else {
            return self.kill_one();
        };
        self.count("sleeping leader");
        // Shorter than an election, or longer.
        let length = self.chance.between(100 * MILLI, 1_500 * MILLI);
        self.machines[leader].paused_until = self.time + length;
        self.tell(|| format!("m{leader} stands still for {} ms", length / MILLI));
        let follower = others[0];
        let (after, life) = (self.chance.between(20 * MILLI, length), self.machines[follower].life);
        self.act_in(after, Act::Forget(follower, life));
        // What it takes for new by then is not, for a while.
        let links = self.links_of(&[follower]);
        let (from, length) = (length + self.chance.between(100 * MILLI, SECOND), 2 * SECOND);
        self.act_in(from, Act::Block(links.clone()));
        self.act_in(from + length, Act::Unblock(links));
    }

    pub(super) fn outage(&mut self) {
        self.count("outage of all");
        let after = if self.chance.hits(500_000) {
            self.machines.iter_mut().for_each(|machine| machine.slow_until = self.time + SECOND);
            self.chance.between(100 * MILLI, 600 * MILLI)
        } else {
            0
        };
        self.act_in(after, Act::Outage);
    }

    /// Looks for states that are being replaced on a machine which has just done something.
    pub(super) fn watch_installs(&mut self, m: usize) {
        let Some(running) = &self.machines[m].running else { return };
        let Some(member) = running.node.member() else { return };
        let replicas = member.replicas();
        let shards = (0..=u64::from(self.climate.shards)).map(ShardId);
        let replaced: Vec<ShardId> =
            shards.filter(|shard| replicas.is_installing(*shard)).collect();
        if replaced.is_empty() && self.installing.is_empty() {
            return;
        }
        let before = self.installing.clone();
        self.installing.retain(|(of, shard)| *of != m || replaced.contains(shard));
        for shard in replaced {
            if !before.contains(&(m, shard)) {
                self.count("snapshot installed");
                self.installing.insert((m, shard));
                self.ambush(m);
            }
        }
    }

    /// Looks for snapshots that come to a machine, now and then.
    pub(super) fn watch_arrivals(&mut self, m: usize) {
        if !self.is_stormy || !self.chance.hits(150_000) {
            return;
        }
        let Some(running) = &self.machines[m].running else { return };
        let names = running.fs.list(Path::new("/node/snapshots")).unwrap_or_default();
        for name in names.into_iter().filter(|name| name.starts_with("in-")) {
            if self.arriving.insert((m, name)) {
                self.ambush(m);
            }
        }
    }

    fn ambush(&mut self, m: usize) {
        if !self.is_stormy || !self.chance.hits(AMBUSH_PPM) {
            return;
        }
        self.count("ambush of a snapshot");
        let (kind, after) = (self.chance.below(5), self.chance.between(1, 25));
        let loses = self.loses_unsynced();
        let Some(running) = &self.machines[m].running else { return };
        let plan = match kind {
            0 | 1 if loses => {
                let crash_at_event = Some(running.fs.events() + after);
                FaultPlan { crash_at_event, ..FaultPlan::default() }
            }
            2 => {
                let fail_at_sync = Some(running.fs.syncs() + after.div_ceil(5));
                FaultPlan { fail_at_sync, ..FaultPlan::default() }
            }
            3 => {
                let machines = self.machines.len();
                return self.net.reset_all(m, machines);
            }
            _ => return self.kill_soon(m, 3 * MILLI),
        };
        running.fs.set_plan(plan);
        let life = self.machines[m].life;
        self.tell(|| format!("m{m} is ambushed: {plan:?}"));
        self.faulty.insert((m, life));
    }
}
