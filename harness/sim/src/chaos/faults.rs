//! What is done to the processes. Each fault begins with a cluster that is whole, and leaves one that will be whole again.

use super::PATIENCE;
use super::clients::Load;
use super::fleet::Fleet;
use super::tally::Tally;
use anyhow::{Context, Result, bail};
use nori_consensus::chance::Chance;
use norikv_client::Topology;
use norikv_proto::v1;
use std::time::Duration;
use tokio::time::sleep;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kill,
    Pause,
    Partition,
    OneWay,
    Pair,
    Transfer,
    Move,
    Drain,
    Rolling,
    Outage,
    Replace,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::Pair,
        Self::Transfer,
        Self::Move,
        Self::Drain,
        Self::Rolling,
        Self::Outage,
        Self::Replace,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of a leader",
            Self::Pause => "SIGSTOP",
            Self::Partition => "a node is cut off",
            Self::OneWay => "a node is not heard",
            Self::Pair => "two nodes do not hear each other",
            Self::Transfer => "another leader",
            Self::Move => "a shard moves",
            Self::Drain => "a node drains",
            Self::Rolling => "rolling restart",
            Self::Outage => "kill -9 of all",
            Self::Replace => "a node is replaced",
        }
    }
}

/// Which fault comes next: those that came least.
pub(super) struct Order;

impl Order {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn next(&mut self, chance: &mut Chance, tally: &Tally) -> Kind {
        let least = Kind::ALL.iter().map(|kind| tally.times(*kind)).min().unwrap_or(0);
        let rare: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| tally.times(*kind) == least).collect();
        *chance.pick(&rare).unwrap_or(&Kind::Kill)
    }
}

impl Fleet {
    /// Does it, and waits until the cluster is whole again.
    pub(super) async fn fault(
        &mut self,
        kind: Kind,
        chance: &mut Chance,
        load: &Load,
        tally: &mut Tally,
    ) -> Result<()> {
        let up = self.up();
        let victim = *chance.pick(&up).context("no node runs")?;
        let before = load.failures();
        match kind {
            Kind::Kill => self.kill_leader(chance, load, tally).await?,
            Kind::Pause => {
                self.pause(victim, true)?;
                sleep(Duration::from_millis(chance.between(300, 6_000))).await;
                self.pause(victim, false)?;
            }
            Kind::Partition | Kind::OneWay => {
                for other in up.iter().filter(|other| **other != victim) {
                    self.cuts.set(self.ip(victim), self.ip(*other), true);
                    if kind == Kind::Partition {
                        self.cuts.set(self.ip(*other), self.ip(victim), true);
                    }
                }
                sleep(Duration::from_millis(chance.between(1_000, 8_000))).await;
                self.cuts.heal();
            }
            Kind::Pair => {
                let others: Vec<usize> = up.iter().copied().filter(|of| *of != victim).collect();
                let other = *chance.pick(&others).context("a node is alone")?;
                self.cuts.set(self.ip(victim), self.ip(other), true);
                self.cuts.set(self.ip(other), self.ip(victim), true);
                sleep(Duration::from_millis(chance.between(1_000, 8_000))).await;
                self.cuts.heal();
            }
            Kind::Transfer => self.transfer(chance).await?,
            Kind::Move => self.move_shard(chance).await?,
            Kind::Drain => self.drain(victim).await?,
            Kind::Rolling => {
                for number in up {
                    self.stop(number).await?;
                    self.run(number)?;
                    self.ready(PATIENCE).await?;
                }
            }
            Kind::Outage => {
                for number in &up {
                    self.kill(*number).await?;
                }
                sleep(Duration::from_millis(chance.between(100, 2_000))).await;
                up.iter().try_for_each(|number| self.run(*number))?;
            }
            Kind::Replace => self.replace(victim).await?,
        }
        self.ready(PATIENCE).await?;
        if matches!(kind, Kind::Rolling | Kind::Drain | Kind::Transfer | Kind::Move) {
            // Whatever an operator does on purpose, no call fails for it.
            let (failed, _) = load.failures();
            let lost = failed - before.0;
            tally.failed_on_purpose += lost;
            if lost > 0 {
                bail!("{lost} calls failed");
            }
        }
        Ok(())
    }

    /// Kills who leads a shard, and waits for the first write to that shard that is acknowledged after.
    async fn kill_leader(
        &mut self,
        chance: &mut Chance,
        load: &Load,
        tally: &mut Tally,
    ) -> Result<()> {
        let topology = self.topology().await?;
        let shard = chance.below(topology.shards.len() as u64) as u32;
        let leader = topology.shards[shard as usize].leader;
        let victim = self.number_of(&topology, leader).context("a leader that is none of ours")?;
        let key = key_of(&topology, shard);
        let addresses = self.addresses();
        let took = load.first_ack(addresses, key, self.kill(victim)).await?;
        tally.failovers_ms.push(took.as_secs_f64() * 1e3);
        sleep(Duration::from_millis(chance.between(100, 4_000))).await;
        self.run(victim)
    }

    async fn transfer(&self, chance: &mut Chance) -> Result<()> {
        let topology = self.topology().await?;
        let shard = chance.below(topology.shards.len() as u64) as u32;
        let of = &topology.shards[shard as usize];
        let others: Vec<u64> =
            of.voters.iter().copied().filter(|node| *node != of.leader).collect();
        let to = *chance.pick(&others).context("a shard with one voter")?;
        let request = v1::TransferLeaderRequest { shard, to };
        self.decide(async |mut admin| admin.transfer_leader(request).await).await?;
        Ok(())
    }

    async fn move_shard(&self, chance: &mut Chance) -> Result<()> {
        let topology = self.topology().await?;
        let shard = chance.below(topology.shards.len() as u64) as u32;
        let of = &topology.shards[shard as usize];
        let outside: Vec<u64> = topology
            .nodes
            .iter()
            .map(|node| node.node_id)
            .filter(|node| !of.voters.contains(node))
            .collect();
        let joins = *chance.pick(&outside).context("a shard is everywhere")?;
        let leaves = *chance.pick(&of.voters).context("a shard without a voter")?;
        let mut voters: Vec<u64> =
            of.voters.iter().copied().filter(|node| *node != leaves).collect();
        voters.push(joins);
        let request = v1::MoveShardRequest { shard, voters };
        self.decide(async |mut admin| admin.move_shard(request.clone()).await).await?;
        sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    async fn drain(&self, victim: usize) -> Result<()> {
        let node_id = self.id_of(victim).await?;
        let request = v1::DrainNodeRequest { node_id };
        self.decide(async |mut admin| admin.drain_node(request).await).await?;
        self.until_empty(node_id, PATIENCE).await?;
        let request = v1::UndrainNodeRequest { node_id };
        self.decide(async |mut admin| admin.undrain_node(request).await).await?;
        Ok(())
    }

    /// A node is killed and its disk is lost; another one takes its place.
    async fn replace(&mut self, victim: usize) -> Result<()> {
        let node_id = self.id_of(victim).await?;
        self.kill(victim).await?;
        self.nodes[victim].is_gone = true;
        self.add().await?;
        let request = v1::DrainNodeRequest { node_id };
        self.decide(async |mut admin| admin.drain_node(request).await).await?;
        self.until_empty(node_id, PATIENCE).await?;
        let request = v1::RemoveNodeRequest { node_id, is_dead: true };
        let asked = self.decide(async |mut admin| admin.remove_node(request).await).await;
        // If nobody knew what came of it and it was asked for again, there was no such member any more.
        let topology = self.topology().await?;
        if topology.nodes.iter().any(|node| node.node_id == node_id) {
            asked.map(drop)
        } else {
            Ok(())
        }
    }
}

/// A key of a shard that no client has.
fn key_of(topology: &Topology, shard: u32) -> String {
    let mut keys = (0u64..).map(|n| format!("probe-{n}"));
    keys.find(|key| topology.shard_of(key.as_bytes()) == Some(shard)).unwrap_or_default()
}
