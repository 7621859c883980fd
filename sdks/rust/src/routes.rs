//! Who leads what, and the connections there.
//!
//! 1. The topology comes from a node that is asked for it once, and then tells of each change. If that one does not answer any more, another is asked.
//! 2. What a node says of a leader in passing counts until the topology knows of a later term.
//! 3. A node that did not answer is left alone for a while, as long as there are others.

use crate::error::{Error, ErrorKind, failed, not_answered};
use crate::options::{Builder, Retry};
use norikv_placement::{ShardCount, shard_of};
use norikv_proto::channel::{self, Channel};
use norikv_proto::pipe::Pipe;
use norikv_proto::v1;
use norikv_proto::v1::cluster_client::ClusterClient;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::Status;

/// Who has not begun to tell of the topology within this is not asked any more.
const BEGIN: Duration = Duration::from_secs(1);
/// A node that did not answer is left alone for so long.
const SUSPECT: Duration = Duration::from_secs(1);

/// Members and shards, as one node of the cluster knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's number; 0: the node is of none yet.
    pub cluster_id: u64,
    /// What people call it.
    pub cluster_name: String,
    /// How often the shard map was changed.
    pub epoch: u64,
    /// The members.
    pub nodes: Vec<Node>,
    /// The shards, by number from 0 on.
    pub shards: Vec<Shard>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub node_id: u64,
    /// What people call it.
    pub name: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Where its HTTP is.
    pub http_address: String,
    /// What it fails together with.
    pub zone: String,
    /// How it is seen.
    pub state: NodeState,
}

/// How a member is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answers.
    Up,
    /// Some say that it does not.
    Suspect,
    /// It does not.
    Down,
    /// It answers, and is to hold nothing.
    Draining,
    /// The node that tells has not heard of it since it began.
    Unheard,
    /// This client does not know the word for it.
    Unknown,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number.
    pub shard: u32,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who learns.
    pub learners: Vec<u64>,
    /// Who leads; 0: nobody that is known.
    pub leader: u64,
    /// In which term.
    pub term: u64,
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Of which shard it is.
    pub shard: u32,
    /// Who votes there.
    pub voters: Vec<u64>,
    /// The client address of who leads it, if that is known.
    pub leader: Option<String>,
}

impl Topology {
    /// The shard that a key belongs to; `None` as long as there are none.
    pub fn shard_of(&self, key: &[u8]) -> Option<u32> {
        let count = ShardCount::new(u32::try_from(self.shards.len()).ok()?).ok()?;
        Some(shard_of(key, count).0)
    }

    /// Where a member's clients reach it.
    pub fn address(&self, node: u64) -> Option<&str> {
        let node = self.nodes.iter().find(|of| of.node_id == node)?;
        Some(node.client_address.as_str()).filter(|address| !address.is_empty())
    }

    pub(crate) fn of_wire(of: v1::Topology) -> Self {
        let node = |of: v1::Node| {
            let state = match of.state() {
                v1::NodeState::Up => NodeState::Up,
                v1::NodeState::Suspect => NodeState::Suspect,
                v1::NodeState::Down => NodeState::Down,
                v1::NodeState::Draining => NodeState::Draining,
                v1::NodeState::Unheard => NodeState::Unheard,
                v1::NodeState::Unspecified => NodeState::Unknown,
            };
            Node {
                node_id: of.node_id,
                name: of.name,
                client_address: of.client_address,
                http_address: of.http_address,
                zone: of.zone,
                state,
            }
        };
        let shard = |of: v1::Shard| Shard {
            shard: of.shard,
            voters: of.voters,
            learners: of.learners,
            leader: of.leader,
            term: of.term,
        };
        Self {
            cluster_id: of.cluster_id,
            cluster_name: of.cluster_name,
            epoch: of.epoch,
            nodes: of.nodes.into_iter().map(node).collect(),
            shards: of.shards.into_iter().map(shard).collect(),
        }
    }
}

#[derive(Default)]
struct Known {
    pipes: HashMap<String, Pipe>,
    /// Until when nodes are left alone.
    suspects: HashMap<String, Instant>,
    /// Leaders that somebody named: where, and in which term at least.
    named: HashMap<u32, (String, u64)>,
    /// Who was asked for the topology last, and since when.
    asked: Option<(String, Instant)>,
    /// Why the last one that was asked did not tell it, in a sentence that names it.
    untold: Option<String>,
}

/// See the module.
pub(crate) struct Routes {
    seeds: Vec<String>,
    retry: Retry,
    known: Mutex<Known>,
    topology: watch::Sender<Arc<Topology>>,
    watching: Once,
    turn: AtomicU64,
}

impl Routes {
    pub(crate) fn new(builder: &Builder) -> Result<Arc<Self>, Error> {
        for node in &builder.nodes {
            channel(node)?;
        }
        Ok(Arc::new(Self {
            seeds: builder.nodes.clone(),
            retry: builder.retry.clone(),
            known: Mutex::default(),
            topology: watch::Sender::new(Arc::default()),
            watching: Once::new(),
            turn: AtomicU64::new(crate::call::chance()),
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topology as it is known; its shards are empty before anything is.
    pub(crate) fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// The same, to wait for the next.
    pub(crate) fn watch(self: &Arc<Self>) -> watch::Receiver<Arc<Topology>> {
        self.begin();
        self.topology.subscribe()
    }

    /// Begins to watch the topology, the first time that it is called. Ends with the last of the clients.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.watching.call_once(|| {
            tokio::spawn(follow(Arc::downgrade(self)));
        });
    }

    /// A connection to an address; it is made when it is first used.
    pub(crate) fn pipe(&self, address: &str) -> Result<Pipe, Error> {
        if let Some(pipe) = self.known().pipes.get(address) {
            return Ok(pipe.clone());
        }
        let pipe = Pipe::new(channel(address)?);
        Ok(self.known().pipes.entry(address.to_owned()).or_insert(pipe).clone())
    }

    /// A node did not answer.
    pub(crate) fn suspect(&self, address: &str) {
        self.known().suspects.insert(address.to_owned(), Instant::now() + SUSPECT);
    }

    /// Whether a node did not answer just now.
    pub(crate) fn is_suspect(&self, address: &str) -> bool {
        self.known().suspects.get(address).is_some_and(|until| *until > Instant::now())
    }

    /// A node has answered.
    pub(crate) fn trust(&self, address: &str) {
        let mut known = self.known();
        if !known.suspects.is_empty() {
            known.suspects.remove(address);
        }
    }

    /// Somebody says who leads a shard.
    pub(crate) fn name(&self, shard: u32, address: String) {
        let term = self.current().shards.get(shard as usize).map_or(0, |of| of.term);
        self.known().named.insert(shard, (address, term + 1));
    }

    /// Who was named does not lead, or does not answer.
    pub(crate) fn unname(&self, shard: u32, address: &str) {
        let mut known = self.known();
        if known.named.get(&shard).is_some_and(|(named, _)| named == address) {
            known.named.remove(&shard);
        }
    }

    /// Whom to ask for a shard: who leads it, for as long as that one answers; else others of the group, in turn. `is_any` says that the leader is no better.
    pub(crate) fn pick(&self, shard: u32, is_any: bool) -> String {
        let topology = self.current();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let known = self.known();
        let now = Instant::now();
        let is_fine = |address: &str| known.suspects.get(address).is_none_or(|until| *until <= now);
        let of = topology.shards.get(shard as usize);
        if !is_any {
            let named = known.named.get(&shard).map(|(address, _)| address.as_str());
            let leader = named.or_else(|| topology.address(of?.leader));
            if let Some(leader) = leader.filter(|leader| is_fine(leader)) {
                return leader.to_owned();
            }
        }
        let voters: Vec<&str> = of
            .iter()
            .flat_map(|of| &of.voters)
            .filter_map(|node| topology.address(*node))
            .collect();
        let others: Vec<&str> = topology
            .nodes
            .iter()
            .map(|node| node.client_address.as_str())
            .chain(self.seeds.iter().map(String::as_str))
            .filter(|address| !address.is_empty())
            .collect();
        let mut all = [voters, others];
        for of in &mut all {
            if !of.is_empty() {
                let len = of.len();
                of.rotate_left(turn % len);
            }
        }
        let mut all = all.iter().flatten();
        let first = all.clone().next().copied();
        all.find(|address| is_fine(address)).copied().or(first).unwrap_or_default().to_owned()
    }

    /// The next node to ask for the topology: anybody.
    fn next_for_topology(&self, n: usize) -> String {
        let topology = self.current();
        let known = topology.nodes.iter().map(|node| node.client_address.as_str());
        let all: Vec<&str> = self.seeds.iter().map(String::as_str).chain(known).collect();
        all[n % all.len()].to_owned()
    }

    /// Why there is no topology yet: of the last node that has failed to tell it; where none has, of the one that is being asked.
    pub(crate) fn why_unknown(&self) -> String {
        let known = self.known();
        match (&known.untold, &known.asked) {
            (Some(why), _) => why.clone(),
            (None, Some((address, since))) => not_answered(address, since.elapsed()),
            (None, None) => "none was asked yet".to_owned(),
        }
    }

    fn learn(&self, address: &str, topology: v1::Topology) {
        let topology = Topology::of_wire(topology);
        // A node that is of no cluster yet knows nothing; one that lags knows less than another did.
        let before = self.current();
        if topology.shards.is_empty() {
            self.known().untold = Some(format!("{address} is of no cluster yet"));
            return;
        }
        if topology.epoch < before.epoch {
            return;
        }
        self.known().named.retain(|shard, (_, term)| {
            let of = topology.shards.get(*shard as usize);
            of.is_none_or(|of| of.leader == 0 || of.term < *term)
        });
        self.topology.send_replace(Arc::new(topology));
    }
}

fn channel(address: &str) -> Result<Channel, Error> {
    let what = || format!("{address:?} is no address of a node: host:port");
    Channel::new(address, channel::Settings::default())
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, what()))
}

/// Watches the topology as long as there is a client.
async fn follow(routes: std::sync::Weak<Routes>) {
    let mut n = 0usize;
    let mut failures = 0u32;
    loop {
        let Some(strong) = routes.upgrade() else { return };
        let address = strong.next_for_topology(n);
        let pipe = strong.pipe(&address);
        let retry = strong.retry.clone();
        strong.known().asked = Some((address.clone(), Instant::now()));
        drop(strong);
        let Ok(pipe) = pipe else { return };
        let watched = watch_at(pipe.channel().clone(), &address, &routes).await;
        let Some(strong) = routes.upgrade() else { return };
        failures = if watched.is_ok() { 0 } else { failures + 1 };
        if let Err(why) = watched {
            strong.known().untold = Some(why);
        }
        drop(strong);
        n += 1;
        tokio::time::sleep(crate::call::pause(&retry, failures.max(1))).await;
    }
}

/// Takes what a node tells of the topology, until it tells nothing more. If it has told nothing at all, why.
async fn watch_at(
    channel: Channel,
    address: &str,
    routes: &std::sync::Weak<Routes>,
) -> Result<(), String> {
    let mut client = ClusterClient::new(channel);
    let asked = client.watch_topology(v1::WatchTopologyRequest {});
    let why = |status: Status| failed(&status, address, false).error.message;
    let mut stream = match tokio::time::timeout(BEGIN, asked).await {
        Ok(stream) => stream.map_err(why)?.into_inner(),
        Err(_) => return Err(not_answered(address, BEGIN)),
    };
    let mut has_told = false;
    loop {
        let message = stream.message();
        let message = match has_told {
            true => message.await,
            false => match tokio::time::timeout(BEGIN, message).await {
                Ok(message) => message,
                Err(_) => return Err(not_answered(address, BEGIN)),
            },
        };
        let topology = match message {
            Ok(Some(v1::WatchTopologyResponse { topology: Some(topology) })) => topology,
            _ if has_told => return Ok(()),
            Ok(_) => return Err(format!("{address} has told of no cluster")),
            Err(status) => return Err(why(status)),
        };
        let Some(routes) = routes.upgrade() else { return Ok(()) };
        routes.learn(address, topology);
        has_told = true;
    }
}

#[cfg(test)]
mod tests;
