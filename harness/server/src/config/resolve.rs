//! What the values mean together: the settings of every part.

use super::keys::split;
use super::{Config, ConfigError, units};
use nori_consensus::LeaseKind;
use nori_env::{Durability, SegmentKind};
use nori_raft_log::LogOptions;
use nori_wal::WalOptions;
use norikv_parts::Choice;
use norikv_placement::{MoveLimit, ReplicaCount, ShardCount, Weight, Zone};
use norikv_telemetry::log::Format;
use norikv_transport_grpc::serve;
use norikv_transport_grpc::serving::Limits;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of every part of a server.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What people call the node; empty: what is worked out.
    pub name: String,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// What the node fails together with.
    pub zone: Zone,
    /// How much it can take.
    pub weight: Weight,
    /// Where to listen.
    pub listen: serve::Settings,
    /// Where it is reached, in the order client, peer, swim, http; empty: where it listens.
    pub advertise: [String; 4],
    /// The cluster's name.
    pub cluster: String,
    /// The peer addresses of the founders.
    pub seeds: Vec<String>,
    /// Shards for keys.
    pub shards: u32,
    /// Replicas of a shard.
    pub replicas: ReplicaCount,
    /// Shards that may move at once.
    pub moves: MoveLimit,
    /// The protocol's name.
    pub protocol: String,
    /// What it is set to.
    pub consensus: nori_consensus::Settings,
    /// The name of the kind of log.
    pub log: String,
    /// How it is kept.
    pub log_options: LogOptions,
    /// The failure detector's.
    pub swim: nori_swim::Settings,
    /// What a write survives.
    pub durability: Durability,
    /// Memory of the engine, in bytes.
    pub memory_bytes: u64,
    /// Threads that may wait for the disk; 0: as many as processors.
    pub workers: usize,
    /// Threads for connections; 0: half as many as processors.
    pub threads: usize,
    /// Parts and settings of the engine that differ from its own defaults.
    pub choices: Vec<Choice>,
    /// How large things may be, and how many.
    pub limits: Limits,
    /// With less free room on the disk nothing but deletes is taken.
    pub disk_reserve_bytes: u64,
    /// Which log lines there are.
    pub log_filter: String,
    /// How they look.
    pub log_format: Format,
    /// How long requests under way may take at a stop.
    pub grace: Duration,
    /// After this a stop ends whatever is under way.
    pub deadline: Duration,
}

impl Config {
    /// The settings of every part.
    ///
    /// # Errors
    ///
    /// If values do not go together.
    pub fn resolve(&self) -> Result<Resolved, ConfigError> {
        let text = |name: &str| self.value(name).text.clone();
        let optional = |name: &str| Some(text(name)).filter(|text| !text.is_empty());
        let durability = self.parsed("wal.durability", str::parse::<Durability>)?;
        let consensus = self.consensus()?;
        let swim = nori_swim::Settings {
            period: self.duration("swim.period"),
            probe_timeout: self.duration("swim.probe_timeout"),
            ..nori_swim::Settings::default()
        };
        swim.check().map_err(|error| ConfigError::Together(format!("swim: {error}")))?;
        let (grace, deadline) =
            (self.duration("shutdown.grace"), self.duration("shutdown.deadline"));
        if grace > deadline {
            let what = "shutdown.grace must not be longer than shutdown.deadline";
            return Err(ConfigError::Together(what.to_owned()));
        }
        Ok(Resolved {
            name: text("node.name"),
            data_dir: PathBuf::from(text("node.data_dir")),
            zone: self.parsed("node.zone", Zone::new)?,
            weight: self.parsed("node.weight", |text| Weight::new(text.parse().unwrap_or(0)))?,
            listen: serve::Settings {
                client: text("listen.client"),
                peer: text("listen.peer"),
                swim: text("listen.swim"),
                http: optional("listen.http"),
            },
            advertise: ["client", "peer", "swim", "http"]
                .map(|kind| text(&format!("listen.advertise_{kind}"))),
            cluster: text("cluster.name"),
            seeds: split(&text("cluster.seeds")).map(str::to_owned).collect(),
            shards: self.number("cluster.shards") as u32,
            replicas: self.parsed("cluster.replication", |text| {
                ReplicaCount::new(text.parse().unwrap_or(0))
            })?,
            moves: MoveLimit::new(self.number("cluster.moves") as u32).unwrap_or(MoveLimit::MIN),
            protocol: text("consensus.plugin"),
            consensus,
            log: text("consensus.log"),
            log_options: LogOptions {
                wal: WalOptions {
                    kind: self.parsed("wal.writer", |name| {
                        SegmentKind::from_name(name).ok_or("no such writer")
                    })?,
                    segment_bytes: self.bytes("wal.segment"),
                },
                cached_bytes_max: self.bytes("wal.cached") as usize,
            },
            swim,
            durability,
            memory_bytes: self.bytes("engine.memory"),
            threads: self.number("listen.threads") as usize,
            workers: self.number("engine.workers") as usize,
            choices: self.choices(),
            limits: self.limits()?,
            disk_reserve_bytes: self.bytes("limits.disk_reserve"),
            log_filter: text("observability.log"),
            log_format: Format::ALL
                .into_iter()
                .find(|(name, _)| *name == text("observability.log_format"))
                .map_or(Format::Text, |(_, format)| format),
            grace,
            deadline,
        })
    }

    /// That the server listens on this machine only, as long as nothing encrypts and nobody is asked who he is.
    ///
    /// # Errors
    ///
    /// With the key that says otherwise.
    pub fn check_loopback(&self) -> Result<(), ConfigError> {
        for name in ["listen.client", "listen.peer", "listen.swim", "listen.http"] {
            let value = self.value(name);
            if !value.text.is_empty() && !is_loopback(&value.text) {
                return Err(ConfigError::Value {
                    origin: value.origin.clone(),
                    name: name.to_owned(),
                    given: value.text.clone(),
                    why: "that is beyond this machine, where anybody could read and write everything; \
                          --insecure allows it"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn consensus(&self) -> Result<nori_consensus::Settings, ConfigError> {
        let lease = self.value("consensus.lease");
        let quiesce_after = match self.value("consensus.quiesce_after").text.as_str() {
            "off" => None,
            _ => Some(self.duration("consensus.quiesce_after")),
        };
        let settings = nori_consensus::Settings {
            heartbeat: self.duration("consensus.heartbeat"),
            election_min: self.duration("consensus.election_timeout"),
            drift_ppm: self.number("consensus.drift_ppm") as u32,
            trailing_entries: self.number("consensus.trailing_entries"),
            lease: LeaseKind::ALL
                .into_iter()
                .find(|kind| kind.name() == lease.text)
                .unwrap_or_default(),
            quiesce_after,
            ..nori_consensus::Settings::default()
        };
        if settings.election_min < 3 * settings.heartbeat {
            let what =
                "consensus.election_timeout must be three times consensus.heartbeat at least";
            return Err(ConfigError::Together(what.to_owned()));
        }
        Ok(settings)
    }

    /// What somebody has chosen of the engine; what is as it would be anyway says nothing.
    fn choices(&self) -> Vec<Choice> {
        let chosen = self.values().filter_map(|(name, value)| {
            let name = name
                .strip_prefix("engine.")
                .filter(|name| !["memory", "workers"].contains(name))?;
            let is_chosen = value.origin != super::Origin::Default && !value.text.is_empty();
            is_chosen.then(|| (name.to_owned(), value.text.clone()))
        });
        chosen.collect()
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let limits = Limits {
            replica: norikv_replica::Settings {
                key_bytes_max: self.bytes("limits.key") as usize,
                value_bytes_max: self.bytes("limits.value") as usize,
                write_bytes_max: self.bytes("limits.batch") as usize,
                identity_window: self.duration("idempotency.window"),
                identities_max: self.number("idempotency.entries") as usize,
            },
            requests_max: self.number("limits.requests") as usize,
            request_bytes_max: self.bytes("limits.incoming") as usize,
            answer_bytes_max: self.bytes("limits.answers") as usize,
            connections_max: (self.number("limits.connections") as usize).min(files_max() / 4),
            peer_connections_max: Limits::default().peer_connections_max.min(files_max() / 16),
            ..Limits::default()
        };
        let replica = &limits.replica;
        if replica.key_bytes_max + replica.value_bytes_max > replica.write_bytes_max {
            let what = "limits.batch must hold one key and one value at least: limits.key and limits.value";
            return Err(ConfigError::Together(what.to_owned()));
        }
        Ok(limits)
    }

    fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let value = self.value(name);
        parse(&value.text).map_err(|error| ConfigError::Value {
            origin: value.origin.clone(),
            name: name.to_owned(),
            given: value.text.clone(),
            why: error.to_string(),
        })
    }

    /// A number, a number of bytes, a length of time: each was looked at when it was set.
    fn number(&self, name: &str) -> u64 {
        self.value(name).text.parse().unwrap_or_default()
    }

    fn bytes(&self, name: &str) -> u64 {
        units::bytes(&self.value(name).text).unwrap_or_default()
    }

    fn duration(&self, name: &str) -> Duration {
        units::duration(&self.value(name).text).unwrap_or_default()
    }
}

impl Resolved {
    /// Shards for keys; the cluster has one more, with its map.
    ///
    /// # Errors
    ///
    /// If there may not be so many.
    pub fn shard_count(&self) -> Result<ShardCount, ConfigError> {
        ShardCount::new(self.shards).map_err(|error| ConfigError::Together(error.to_string()))
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The files that this process may open.
fn files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}
