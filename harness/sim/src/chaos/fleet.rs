//! The processes: each node with its folder, its addresses, and what it said.

use super::proxy::{self, Cuts};
use anyhow::{Context, Result, bail};
use nori_consensus::chance::Chance;
use norikv_client::{Channel, Client, NodeState, Topology};
use norikv_proto::v1;
use norikv_proto::v1::admin_client::AdminClient;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic_types::StatusExt as _;

/// Nodes that found the cluster.
const FOUNDERS: usize = 3;
/// Replaced nodes get new addresses; so many are enough for any run.
const ADDRESSES: usize = 200;
const LOOK: Duration = Duration::from_millis(100);

/// A node.
pub(super) struct Process {
    pub(super) number: usize,
    child: Option<Child>,
    /// It is not started again.
    pub(super) is_gone: bool,
}

/// What a fleet is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// At least as many as found it.
    pub(super) nodes: usize,
    pub(super) shards: u32,
}

/// See the module.
pub(super) struct Fleet {
    program: PathBuf,
    shape: Shape,
    dir: Option<TempDir>,
    path: PathBuf,
    /// The second and third part of all addresses.
    net: (u8, u8),
    pub(super) cuts: Cuts,
    pub(super) nodes: Vec<Process>,
    client: Client,
}

impl Fleet {
    pub(super) async fn start(program: &Path, shape: Shape, chance: &mut Chance) -> Result<Self> {
        assert!((FOUNDERS..ADDRESSES).contains(&shape.nodes), "founders are all there");
        let dir = tempfile::Builder::new().prefix("norikv-chaos-").tempdir()?;
        // Even thirds are for nodes, the odd ones after them for their proxies.
        let net = (chance.between(20, 250) as u8, 2 * chance.between(0, 120) as u8);
        let path = dir.path().to_owned();
        let client = Client::connect([address(net, 0, 9_001).to_string()])?;
        let mut fleet = Self {
            program: program.to_owned(),
            shape,
            dir: Some(dir),
            path,
            net,
            cuts: Cuts::default(),
            nodes: Vec::new(),
            client,
        };
        let addresses: Vec<String> = (0..shape.nodes).map(|n| fleet.client_address(n)).collect();
        fleet.client = Client::builder(addresses).deadline(Duration::from_secs(20)).build()?;
        for _ in 0..shape.nodes {
            fleet.add().await?;
        }
        Ok(fleet)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.path
    }

    /// One more node, with an empty folder.
    pub(super) async fn add(&mut self) -> Result<usize> {
        let number = self.nodes.len();
        if number >= ADDRESSES {
            bail!("more nodes were replaced than there are addresses for");
        }
        let (front, back) = ((self.net.0, self.net.1 + 1), self.net);
        proxy::streams(
            address(front, number, 9_101),
            address(back, number, 9_101),
            self.cuts.clone(),
        )
        .await?;
        proxy::streams(
            address(front, number, 9_201),
            address(back, number, 9_201),
            self.cuts.clone(),
        )
        .await?;
        proxy::datagrams(
            address(front, number, 9_201),
            address(back, number, 9_201),
            self.cuts.clone(),
        )
        .await?;
        self.nodes.push(Process { number, child: None, is_gone: false });
        self.run(number)?;
        Ok(number)
    }

    pub(super) fn ip(&self, number: usize) -> IpAddr {
        address(self.net, number, 0).ip()
    }

    pub(super) fn client_address(&self, number: usize) -> String {
        address(self.net, number, 9_001).to_string()
    }

    /// Where clients reach those that are not gone.
    pub(super) fn addresses(&self) -> Vec<String> {
        let here = self.nodes.iter().filter(|node| !node.is_gone);
        here.map(|node| self.client_address(node.number)).collect()
    }

    fn name(number: usize) -> String {
        format!("node-{number}")
    }

    /// Begins a life of a node.
    pub(super) fn run(&mut self, number: usize) -> Result<()> {
        let dir = self.path.join(Self::name(number));
        fs::create_dir_all(&dir)?;
        let lines = File::options().create(true).append(true).open(dir.join("lines"))?;
        let front = (self.net.0, self.net.1 + 1);
        // Who founds the cluster names those that do; who comes later those that are there.
        let is_here = |n: &usize| *n != number && !self.nodes[*n].is_gone;
        let seeds: Vec<usize> = if number < FOUNDERS {
            (0..FOUNDERS).collect()
        } else {
            (0..self.nodes.len()).filter(is_here).collect()
        };
        let seeds: Vec<String> =
            seeds.into_iter().map(|n| address(front, n, 9_101).to_string()).collect();
        let mut command = Command::new(&self.program);
        let of = |port| address(self.net, number, port);
        for set in [
            format!("node.name={}", Self::name(number)),
            format!("node.data_dir={}", dir.join("data").display()),
            format!("listen.client={}", of(9_001)),
            format!("listen.peer={}", of(9_101)),
            format!("listen.swim={}", of(9_201)),
            format!("listen.http={}", of(8_080)),
            format!("listen.advertise_peer={}", address(front, number, 9_101)),
            format!("listen.advertise_swim={}", address(front, number, 9_201)),
            format!("cluster.seeds={}", seeds.join(",")),
            format!("cluster.shards={}", self.shape.shards),
            "engine.memory=16MiB".to_owned(),
            "wal.segment=1MiB".to_owned(),
            "consensus.trailing_entries=500".to_owned(),
            "limits.disk_reserve=0".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        let child = command.stdin(std::process::Stdio::null()).stdout(lines.try_clone()?);
        let child = child.stderr(lines).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("starting {}", self.program.display()))?;
        self.nodes[number].child = Some(child);
        Ok(())
    }

    /// The process of a node.
    pub(super) fn pid(&self, number: usize) -> Result<Pid> {
        let pid = self.nodes[number].child.as_ref().and_then(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
        pid.with_context(|| format!("{} does not run", Self::name(number)))
    }

    fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(number)?, signal)?)
    }

    /// Kills a node as by `kill -9`; when it was.
    pub(super) async fn kill(&mut self, number: usize) -> Result<Instant> {
        self.signal(number, Signal::KILL)?;
        let at = Instant::now();
        if let Some(mut child) = self.nodes[number].child.take() {
            child.wait().await?;
        }
        Ok(at)
    }

    /// Lets a node stand still, or go on.
    pub(super) fn pause(&self, number: usize, is_paused: bool) -> Result<()> {
        self.signal(number, if is_paused { Signal::STOP } else { Signal::CONT })
    }

    /// Tells a node to stop, and waits until it has.
    pub(super) async fn stop(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::TERM)?;
        let Some(mut child) = self.nodes[number].child.take() else { return Ok(()) };
        let status = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
        let status = status.with_context(|| format!("{} does not stop", Self::name(number)))??;
        if !status.success() {
            bail!("{} stopped with {status}", Self::name(number));
        }
        Ok(())
    }

    /// Whether every node that was not killed on purpose still runs.
    pub(super) fn check(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child
                && let Some(status) = child.try_wait()?
            {
                bail!("{} has ended by itself: {status}; see its lines", Self::name(node.number));
            }
        }
        Ok(())
    }

    /// Nodes that are members and run.
    pub(super) fn up(&self) -> Vec<usize> {
        let up = self.nodes.iter().filter(|node| node.child.is_some() && !node.is_gone);
        up.map(|node| node.number).collect()
    }

    /// What a node says of the cluster.
    pub(super) async fn topology_of(&self, number: usize) -> Result<v1::Topology> {
        let channel = self.client.channel(&self.client_address(number))?;
        let mut cluster = v1::cluster_client::ClusterClient::new(channel);
        let asked = cluster.topology(v1::TopologyRequest {});
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await??;
        answer.into_inner().topology.context("a topology without one")
    }

    /// The cluster as a client of it knows it.
    pub(super) async fn topology(&self) -> Result<Arc<Topology>> {
        Ok(self.client.topology().await?)
    }

    /// The node with this number in the cluster, by its client address.
    pub(super) fn number_of(&self, topology: &Topology, node: u64) -> Option<usize> {
        let address = topology.address(node)?;
        self.nodes.iter().find(|of| self.client_address(of.number) == address).map(|of| of.number)
    }

    /// Its number in the cluster.
    pub(super) async fn id_of(&self, number: usize) -> Result<u64> {
        let topology = self.topology().await?;
        let address = self.client_address(number);
        let node = topology.nodes.iter().find(|node| node.client_address == address);
        Ok(node.with_context(|| format!("{} is no member", Self::name(number)))?.node_id)
    }

    /// Waits until every node that runs sees all of them up, and a leader of every shard, and no shard moves.
    pub(super) async fn ready(&mut self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            self.check()?;
            let Some(why) = self.why_not_ready().await else { return Ok(()) };
            if Instant::now() >= until {
                bail!("the cluster is not whole within {patience:?}: {why}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn why_not_ready(&self) -> Option<String> {
        let up = self.up();
        for number in &up {
            let name = Self::name(*number);
            let topology = match self.topology_of(*number).await {
                Ok(topology) => topology,
                Err(error) => return Some(format!("{name} does not answer: {error:#}")),
            };
            let is_up = |node: &&v1::Node| node.state() == v1::NodeState::Up;
            let seen = topology.nodes.iter().filter(is_up).count();
            if seen != up.len() || topology.nodes.len() != up.len() {
                return Some(format!("{name} sees {seen} of {} nodes up", topology.nodes.len()));
            }
            let is_whole = |shard: &v1::Shard| shard.leader != 0 && shard.learners.is_empty();
            if topology.shards.len() != self.shape.shards as usize {
                return Some(format!("{name} knows of {} shards", topology.shards.len()));
            }
            if let Some(shard) = topology.shards.iter().find(|shard| !is_whole(shard)) {
                return Some(format!("{name} says of shard {}: {shard:?}", shard.shard));
            }
        }
        None
    }

    /// Everything is joined, goes on and runs.
    pub(super) async fn heal(&mut self) {
        self.cuts.heal();
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_gone {
                continue;
            }
            if self.nodes[number].child.is_some() {
                let _ = self.pause(number, false);
            } else {
                let _ = self.run(number);
            }
        }
    }

    /// Asks whoever conducts.
    pub(super) async fn decide<T>(
        &self,
        call: impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mut last = None;
            for number in self.up() {
                let channel = self.client.channel(&self.client_address(number))?;
                let asked = call(AdminClient::new(channel));
                match tokio::time::timeout(Duration::from_secs(2), asked).await {
                    Ok(Ok(answer)) => return Ok(answer.into_inner()),
                    Ok(Err(status)) => {
                        let info =
                            status.get_error_details().error_info().map(|info| info.reason.clone());
                        if info.as_deref() == Some("INVALID") {
                            bail!("it is refused: {}", status.message());
                        }
                        last = Some(status.message().to_owned());
                    }
                    Err(_) => last = Some("no answer".to_owned()),
                }
            }
            if Instant::now() >= until {
                bail!("nobody decides: {}", last.unwrap_or_default());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a node holds nothing.
    pub(super) async fn until_empty(&self, node: u64, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let topology = self.topology().await?;
            let concerns = |shard: &&norikv_client::Shard| {
                shard.voters.contains(&node) || shard.learners.contains(&node)
            };
            let left = topology.shards.iter().filter(concerns).count();
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("{left} shards are still on node {node} after {patience:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether all replicas of each shard have the same rows as of the same entry.
    pub(super) async fn compare(&self) -> Result<()> {
        let topology = self.topology().await?;
        for shard in &topology.shards {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let mut sums: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
                for node in &shard.voters {
                    let address = topology.address(*node).context("a member without an address")?;
                    let mut admin = AdminClient::new(self.client.channel(address)?);
                    let request = v1::ChecksumRequest { shard: shard.shard };
                    let sum = admin.checksum(request).await?.into_inner();
                    sums.entry(sum.index).or_default().push((*node, sum.digest));
                }
                let differ = |sums: &Vec<(u64, u64)>| sums.iter().any(|(_, sum)| *sum != sums[0].1);
                if let Some((index, sums)) = sums.iter().find(|(_, sums)| differ(sums)) {
                    bail!("replicas of shard {} differ as of entry {index}: {sums:?}", shard.shard);
                }
                if sums.len() == 1 {
                    break;
                }
                if Instant::now() >= until {
                    bail!(
                        "replicas of shard {} do not come to the same entry: {sums:?}",
                        shard.shard
                    );
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let down = topology.nodes.iter().filter(|node| node.state != NodeState::Up).count();
        if down > 0 { bail!("{down} nodes are not up at the end") } else { Ok(()) }
    }

    /// Nothing is kept.
    pub(super) fn remove(&mut self) {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                let _ = child.start_kill();
            }
        }
        self.dir = None;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Whoever looks for what went wrong needs the files.
        if let Some(dir) = self.dir.take() {
            let _ = dir.keep();
        }
    }
}

fn address((second, third): (u8, u8), number: usize, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, second, third, number as u8 + 1)), port)
}
