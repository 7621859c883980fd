//! Clusters as targets.
//!
//! The same streams of operations run against a cluster that run against an engine: [`RemoteFactory`] starts its nodes and hands out an [`Engine`] whose calls are requests of a client, for threads that
//! wait for their answers, and the same for tasks ([`crate::drive::TaskStore`]).
//!
//! | target | what it is |
//! |---|---|
//! | `cluster:nori`, `cluster:raft-rs`, `cluster:openraft` | our server, with that protocol |
//! | `etcd` | the outside peer, a program that is found by `ETCD_BIN` or in `PATH` |
//! | `echo` | a bare gRPC server with nothing behind it: what the wire alone costs |
//!
//! What is chosen of them like a part: `nodes` (1, 3 or 5), `shards`, `consistency` (`lease`, `linearizable`, `stale`); and of our server every part and setting of the engine.

mod echo;
mod etcd;
mod nodes;
mod nori;
mod store;

use crate::registry::Opened;
use nori_kv::{Capabilities, Durability, Engine, EngineFactory, Error, Parts, Result};
use norikv_parts::{Choice, EngineRequest, PartsError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub(crate) use echo::serve as serve_echo;
pub(crate) use nodes::tied;

type PartsResult<T> = std::result::Result<T, PartsError>;

/// Clusters by name.
pub(crate) const CLUSTERS: [(&str, &str, Cluster); 5] = [
    (
        "cluster:nori",
        "a cluster of our server with our own Raft, three nodes if not chosen otherwise",
        Cluster::Ours("nori"),
    ),
    ("cluster:raft-rs", "the same server with TiKV's Raft library", Cluster::Ours("raft-rs")),
    ("cluster:openraft", "the same server with databend's Raft library", Cluster::Ours("openraft")),
    (
        "etcd",
        "the outside peer of clusters: a real etcd, found by ETCD_BIN or in PATH",
        Cluster::Etcd,
    ),
    (
        "echo",
        "a bare gRPC server with nothing behind it, one process that answers at once: what the wire alone costs",
        Cluster::Echo,
    ),
];

/// The names of those of our own server.
pub(crate) fn ours() -> Vec<String> {
    let ours = CLUSTERS.iter().filter(|(.., cluster)| matches!(cluster, Cluster::Ours(_)));
    ours.map(|(name, ..)| (*name).to_owned()).collect()
}

/// What kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Our server, with this protocol.
    Ours(&'static str),
    Etcd,
    /// No cluster: the wire alone.
    Echo,
}

/// How new what is read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    Lease,
    Linearizable,
    Stale,
}

/// What can be chosen of a cluster beside what its server's engine has.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) shards: u32,
    pub(crate) consistency: Consistency,
}

const SHARDS_MAX: u32 = 1_024;

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 3, shards: 8, consistency: Consistency::Lease }
    }
}

impl Shape {
    /// Takes a choice; whether it is one of a cluster's.
    fn take(&mut self, (name, value): &Choice) -> PartsResult<bool> {
        let wrong =
            |what: &str| Err(PartsError::Invalid(format!("{name} cannot be `{value}`: {what}")));
        match name.as_str() {
            "nodes" => match value.parse() {
                Ok(nodes @ (1 | 3 | 5)) => self.nodes = nodes,
                _ => return wrong("give 1, 3 or 5"),
            },
            "shards" => match value.parse() {
                Ok(shards) if (1..=SHARDS_MAX).contains(&shards) => self.shards = shards,
                _ => return wrong(&format!("give a number from 1 to {SHARDS_MAX}")),
            },
            "consistency" => {
                self.consistency = match value.as_str() {
                    "lease" => Consistency::Lease,
                    "linearizable" => Consistency::Linearizable,
                    "stale" => Consistency::Stale,
                    _ => return wrong("give lease, linearizable or stale"),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Cluster {
    /// Whether it has what is chosen.
    pub(crate) fn check(self, choice: &Choice) -> PartsResult<()> {
        // An echo is one process: it has no shape but how new its answers are, which are all the newest.
        let is_of_shape = Shape::default().take(choice)?;
        match self {
            Self::Ours(_) | Self::Etcd if is_of_shape => Ok(()),
            Self::Echo if is_of_shape && choice.0 == "consistency" => Ok(()),
            Self::Ours(_) => norikv_parts::engine("nori-lsm")?.check(choice),
            Self::Etcd => {
                Err(PartsError::no_choice("etcd", &choice.0, ["nodes", "shards", "consistency"]))
            }
            Self::Echo => Err(PartsError::no_choice("echo", &choice.0, ["consistency"])),
        }
    }

    fn name(self) -> &'static str {
        CLUSTERS.iter().find(|(_, _, cluster)| *cluster == self).map_or("", |(name, ..)| name)
    }
}

/// The threads of clients: half as many as processors, for the other half is the nodes'; where there are more each wakes another for what it could do itself.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads((processors / 2).max(1)).enable_all().build()
}

/// Starts clusters.
pub(crate) struct RemoteFactory {
    cluster: Cluster,
    shape: Shape,
    memory_bytes: u64,
    /// Of the engine.
    choices: Vec<Choice>,
    durability: Durability,
}

impl RemoteFactory {
    pub(crate) fn new(cluster: Cluster, request: &EngineRequest<'_>) -> PartsResult<Self> {
        if cluster == Cluster::Etcd {
            // Told before anything is measured.
            etcd::program().map_err(|error| PartsError::Invalid(format!("{error:#}")))?;
        }
        let (mut shape, mut choices) = (Shape::default(), Vec::new());
        for choice in request.choices {
            cluster.check(choice)?;
            if !shape.take(choice)? {
                choices.push(choice.clone());
            }
        }
        let (memory_bytes, durability) = (request.memory_bytes, Durability::Sync);
        Ok(Self { cluster, shape, memory_bytes, choices, durability })
    }

    /// The same for another class: a cluster is started with it, and cannot change it from write to write.
    pub(crate) fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }
}

impl RemoteFactory {
    /// Starts the nodes, which keep their files in `dir`.
    pub(crate) fn start(&self, dir: &Path) -> Result<Opened> {
        let opened = match self.cluster {
            Cluster::Ours(protocol) => nori::start(self, protocol, dir),
            Cluster::Etcd => etcd::start(self, dir),
            Cluster::Echo => echo::start(dir),
        };
        opened.map_err(|error| Error::Invalid { what: format!("{error:#}") })
    }

    /// Where its nodes tell what they count; see [`crate::registry::Entry::counted_at`].
    pub(crate) fn counted_at(&self) -> Vec<SocketAddr> {
        match self.cluster {
            Cluster::Ours(_) => (0..self.shape.nodes).map(nori::counted_at).collect(),
            Cluster::Etcd | Cluster::Echo => Vec::new(),
        }
    }
}

impl EngineFactory for RemoteFactory {
    fn name(&self) -> &str {
        self.cluster.name()
    }

    fn capabilities(&self) -> Capabilities {
        let durabilities: &[Durability] = match self.cluster {
            Cluster::Ours(_) => &Capabilities::ALL_DURABILITIES,
            Cluster::Etcd | Cluster::Echo => &[Durability::Os, Durability::Sync],
        };
        Capabilities::new(durabilities, &[], 4 << 10)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let consistency = format!("{:?}", self.shape.consistency).to_lowercase();
        let nodes = if self.cluster == Cluster::Echo { 1 } else { self.shape.nodes };
        let mut settings =
            vec![("nodes".to_owned(), nodes.to_string()), ("consistency".to_owned(), consistency)];
        if let Cluster::Ours(_) = self.cluster {
            settings.push(("shards".to_owned(), self.shape.shards.to_string()));
            settings.push(("memory_bytes".to_owned(), self.memory_bytes.to_string()));
            settings.extend(self.choices.iter().cloned());
        }
        settings
    }

    fn open(&self, dir: &Path, _parts: Parts) -> Result<Arc<dyn Engine>> {
        Ok(self.start(dir)?.engine)
    }

    fn destroy(&self, _dir: &Path, _parts: &Parts) -> Result<()> {
        Ok(())
    }
}
