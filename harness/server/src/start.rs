//! From settings to a node that serves.
//!
//! 1. The data directory is locked: a second server on it would write over the first.
//! 2. All sockets are taken, so that the node knows where it is reached.
//! 3. The log is opened, the engine made, and the node boots on its own thread ([`Driver`]).
//! 4. Clients, peers, scrapers are served.

use crate::config::resolve::Resolved;
use crate::{counts, disk};
use nori_env::{Clock, DeferredFs, Entropy, Fs, Lock, OsClock, OsEntropy, OsFs, PoolTasks, Tasks};
use nori_observe::Meter;
use norikv_node::charter::{self, Addresses, CharterError, Identity};
use norikv_node::{Candidate, Node, Parts};
use norikv_parts::{EngineRequest, PartsError};
use norikv_telemetry::Exposition;
use norikv_transport_grpc::faults::{Wired, Wires};
use norikv_transport_grpc::links::{Counts, Links};
use norikv_transport_grpc::serve::{About, BindError, Sockets};
use norikv_transport_grpc::serving::Serving;
use norikv_transport_grpc::test_control::Controls;
use norikv_transport_grpc::{Driver, Handle};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime;

/// The engine that every shard's state is in: the only one that stands under a replicated log.
const ENGINE: &str = "nori-lsm";
/// Threads that do nothing but sync: one log has one sync at a time, a log for each shard may have several.
const SYNC_THREADS: usize = 2;
/// In the data directory, what keeps a second server out.
const LOCK: &str = "LOCK";

/// Why a server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings cannot be.
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
    /// A part cannot be.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory is another server's.
    #[error("{} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// The disk failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// As the operating system says it.
        source: io::Error,
    },
    /// What is on the disk cannot be used.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] nori_raft_log::LogError),
}

/// A server that runs.
pub struct Running {
    pub(crate) driver: Driver,
    pub(crate) serving: norikv_transport_grpc::Serving,
    pub(crate) requests: Serving,
    pub(crate) resolved: Resolved,
    /// Kept as long as the server runs.
    pub(crate) lock: Option<Box<dyn Lock>>,
}

/// What is free for this process where a directory is, in bytes; `None` if nobody says.
pub type FreeBytes = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// Where a server's files are, and what tests do to it.
#[derive(Clone)]
pub struct World {
    /// Files.
    pub fs: Arc<dyn Fs>,
    /// Whether they are on a disk.
    pub is_real: bool,
    /// What is free where they are; `None` if there is always room.
    pub free_bytes: Option<FreeBytes>,
    /// What may be cut between it and others of its process.
    pub wires: Option<Arc<Wires>>,
    /// Whoever does it.
    pub controls: Option<Arc<dyn Controls>>,
}

impl World {
    /// The machine's own.
    pub fn real() -> Self {
        let free_bytes = |dir: &Path| {
            let room = rustix::fs::statvfs(dir).ok()?;
            Some(room.f_bavail.saturating_mul(room.f_frsize))
        };
        Self {
            fs: Arc::new(OsFs),
            is_real: true,
            free_bytes: Some(Arc::new(free_bytes)),
            wires: None,
            controls: None,
        }
    }
}

impl Running {
    /// How to talk to the node.
    pub fn handle(&self) -> &Handle {
        self.driver.handle()
    }

    /// Where it serves.
    pub fn addresses(&self) -> norikv_transport_grpc::Addresses {
        self.serving.addresses()
    }

    /// Starts a server on its sockets' addresses; see the module.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(resolved: Resolved, world: World) -> Result<Self, StartError> {
        let sockets = Sockets::bind(&resolved.listen).await?;
        Self::start_on(resolved, world, sockets)
    }

    /// The same on sockets that were taken before.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start_on(
        resolved: Resolved,
        world: World,
        sockets: Sockets,
    ) -> Result<Self, StartError> {
        let shards = resolved.shard_count()?;
        let lock = lock(&resolved, &world)?;
        let exposition = Arc::new(Exposition::default());
        let parts = parts(&resolved, &world, &exposition)?;
        let files =
            charter::Files { fs: &*parts.engine_parts.fs, tasks: &*parts.engine_parts.tasks };
        let entropy = &*parts.engine_parts.entropy;
        let identity = Identity::boot(&resolved.data_dir, &parts.machine_boot, files, entropy)?;
        let settings = norikv_node::Settings {
            candidate: Candidate {
                node: identity.node,
                cluster: resolved.cluster.clone(),
                protocol: resolved.protocol.clone(),
                addresses: advertised(&resolved, sockets.addresses())?,
                zone: resolved.zone.clone(),
                weight: resolved.weight,
                shards,
                replicas: resolved.replicas,
            },
            seeds: resolved.seeds.clone(),
            dir: resolved.data_dir.clone(),
            durability: resolved.durability,
            replica: resolved.limits.replica.clone(),
            log_segments_max: log_segments_max(&resolved),
            log_rewrite_bytes_max: norikv_node::LOG_REWRITE_BYTES_MAX,
            swim: resolved.swim.clone(),
            moves: resolved.moves,
        };
        let (me, links) = (identity.node, Arc::new(Counts::default()));
        let (here, socket, counted) =
            (runtime::Handle::current(), sockets.swim(), Arc::clone(&links));
        let driver = Driver::start(
            "norikv-node",
            move |waker, now| Node::boot(settings, identity, Parts { waker, ..parts }, now),
            |handle| {
                let links = Box::new(Links::new(me, here, handle, socket, counted));
                match &world.wires {
                    Some(wires) => Box::new(Wired { me, inner: links, wires: Arc::clone(wires) }),
                    None => links,
                }
            },
        );
        let driver = driver.map_err(|source| StartError::Io {
            doing: "starting a thread for",
            path: resolved.data_dir.clone(),
            source,
        })?;
        let is_full = disk::watch(&resolved, world.free_bytes.clone(), driver.handle().clone());
        let serving = Serving::new(driver.handle().clone(), resolved.limits.clone(), is_full);
        let about = About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            durability: resolved.durability.to_string(),
            consensus: resolved.protocol.clone(),
            started: Instant::now(),
            has_reflection: true,
        };
        let metrics = counts::text(exposition, serving.clone(), links, about.clone());
        let served = sockets.serve(&serving, about, metrics, world.controls.clone());
        Ok(Self { driver, serving: served, requests: serving, resolved, lock })
    }
}

/// The log may have four times the engine's memory: replay is bounded by that.
pub(crate) fn log_segments_max(resolved: &Resolved) -> u64 {
    (4 * resolved.memory_bytes / resolved.log_options.wal.segment_bytes).max(4)
}

fn lock(resolved: &Resolved, world: &World) -> Result<Option<Box<dyn Lock>>, StartError> {
    if !world.is_real {
        return Ok(None);
    }
    let dir = &resolved.data_dir;
    let failed = |doing| {
        let path = dir.clone();
        move |source| StartError::Io { doing, path, source }
    };
    world.fs.create_dir(dir).map_err(failed("making"))?;
    match world.fs.lock(&dir.join(LOCK)) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(StartError::InUse(dir.clone()))
        }
        Err(source) => Err(failed("locking")(source)),
    }
}

/// Everything a node is made of; who wakes it is filled in later.
fn parts(
    resolved: &Resolved,
    world: &World,
    exposition: &Arc<Exposition>,
) -> Result<Parts, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let workers = match resolved.workers {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        workers => workers,
    };
    let no_threads = |source| StartError::Io {
        doing: "starting threads for",
        path: resolved.data_dir.clone(),
        source,
    };
    let tasks = PoolTasks::new(workers, Arc::clone(&clock)).map_err(no_threads)?;
    let tasks: Arc<dyn Tasks> = Arc::new(tasks);
    let meter: Arc<dyn Meter> = Arc::clone(exposition) as Arc<dyn Meter>;
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let request = EngineRequest { memory_bytes: resolved.memory_bytes, choices: &resolved.choices };
    let engine = norikv_parts::engine(ENGINE)?.build_replicated(&request)?;
    let protocol = norikv_parts::consensus(&resolved.protocol, resolved.consensus.clone())?;
    // The loop of the node does not wait for a sync of its log: heartbeats, reads and the next batch go on meanwhile.
    let syncs = PoolTasks::new(SYNC_THREADS, Arc::clone(&clock)).map_err(no_threads)?;
    let log_fs = DeferredFs::new(Arc::clone(&world.fs), Arc::new(syncs));
    let log = norikv_parts::node_log(
        &resolved.log,
        &resolved.data_dir.join("log"),
        Arc::new(log_fs),
        Arc::clone(&tasks),
        Arc::clone(&meter),
        resolved.log_options,
    )??;
    let engine_parts = nori_kv::Parts { fs: Arc::clone(&world.fs), tasks, clock, entropy, meter };
    let machine_boot = machine_boot().unwrap_or_default();
    Ok(Parts { engine, engine_parts, protocol, log, machine_boot, waker: Arc::new(|| {}) })
}

/// What the machine calls its own start: it has another name after every one.
fn machine_boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Where the node is reached by whom.
fn advertised(
    resolved: &Resolved,
    bound: norikv_transport_grpc::Addresses,
) -> Result<Addresses, StartError> {
    let names = ["client", "peer", "swim", "http"];
    let bound = [Some(bound.client), Some(bound.peer), Some(bound.swim), bound.http];
    let mut all = [const { String::new() }; 4];
    for (n, bound) in bound.into_iter().enumerate() {
        all[n] = match bound {
            _ if !resolved.advertise[n].is_empty() => resolved.advertise[n].clone(),
            None => String::new(),
            Some(address) if address.ip().is_unspecified() => {
                let (of, what) = (names[n], address);
                let what = format!(
                    "listen.{of} is {what}, which is every address of this machine: listen.advertise_{of} \
                     has to say which of them others are to use"
                );
                return Err(crate::ConfigError::Together(what).into());
            }
            Some(address) => address.to_string(),
        };
    }
    let [client, peer, swim, http] = all;
    let name = match resolved.name.as_str() {
        "" => format!("{}-{}", host_name(), client.rsplit(':').next().unwrap_or_default()),
        name => name.to_owned(),
    };
    Ok(Addresses { name, client, peer, swim, http })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
