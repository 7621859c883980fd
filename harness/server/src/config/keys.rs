//! Every key there is: its default, what it means, and what it can be.

use super::units;
use nori_consensus::LeaseKind;
use nori_env::{Durability, SegmentKind};
use std::sync::LazyLock;

/// What a value can be.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Any text of so many bytes at most.
    Text(usize),
    /// `host:port`.
    Address,
    /// The same, or nothing.
    AddressOrNone,
    /// Several of them.
    Addresses,
    /// A number from the first to the second.
    Number(u64, u64),
    /// A number of bytes from the first to the second.
    Bytes(u64, u64),
    /// A length of time, in milliseconds from the first to the second.
    Duration(u64, u64),
    /// The same, or `off`.
    DurationOrOff(u64, u64),
    /// True or false.
    Flag,
    /// One of these.
    Choice(Vec<String>),
    /// What a write survives.
    Durability,
    /// Which log lines there are.
    LogFilter,
    /// A number of our engine, or nothing: then it is what the memory makes of it.
    Setting(String),
}

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    /// `section.key`.
    pub name: String,
    /// What it is if nobody says anything; empty: nothing, or worked out.
    pub default: String,
    /// What it means, in a line.
    pub about: String,
    /// What it can be.
    pub kind: Kind,
}

impl Key {
    /// Whether `text` can be a value of it.
    ///
    /// # Errors
    ///
    /// What would be right.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let within = |value: u64, min: u64, max: u64, what: &str| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(format!("give {what} from {min} to {max}"))
            }
        };
        match &self.kind {
            Kind::Text(bytes_max) => match text.len() {
                0 => Err("it must not be empty".to_owned()),
                len if len > *bytes_max => Err(format!("it may have {bytes_max} bytes")),
                _ if text.chars().any(char::is_control) => {
                    Err("it must not have control characters".to_owned())
                }
                _ => Ok(()),
            },
            Kind::Address => address(text),
            Kind::AddressOrNone if text.is_empty() => Ok(()),
            Kind::AddressOrNone => address(text),
            Kind::Addresses => split(text).try_for_each(address),
            Kind::Number(min, max) => {
                let number =
                    text.parse().map_err(|_| format!("give a number from {min} to {max}"))?;
                within(number, *min, *max, "a number")
            }
            Kind::Bytes(min, max) => within(units::bytes(text)?, *min, *max, "bytes"),
            Kind::DurationOrOff(..) if text == "off" => Ok(()),
            Kind::Duration(min, max) | Kind::DurationOrOff(min, max) => {
                let millis = units::duration(text)?.as_millis();
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                within(millis, *min, *max, "milliseconds")
            }
            Kind::Flag => match text {
                "true" | "false" => Ok(()),
                _ => Err("give true or false".to_owned()),
            },
            Kind::Choice(names) if names.iter().any(|name| name == text) => Ok(()),
            Kind::Choice(names) => {
                let near = near(text, names.iter().map(String::as_str));
                Err(match near {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("give one of {}", names.join(", ")),
                })
            }
            Kind::Durability => match text.parse::<Durability>() {
                Ok(_) => Ok(()),
                Err(_) => Err("give sync, group:<n>ms, os or none".to_owned()),
            },
            Kind::LogFilter => {
                norikv_telemetry::log::check(text).map_err(|error| error.to_string())
            }
            Kind::Setting(_) if text.is_empty() => Ok(()),
            Kind::Setting(name) => {
                nori_lsm::Settings::default().set(name, text).map_err(|bad| match bad {
                    nori_lsm::BadSetting::Value { why, .. } => why.to_string(),
                    nori_lsm::BadSetting::Name { .. } => "it is no setting".to_owned(),
                })
            }
        }
    }

    /// Whether its values are lists.
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Addresses)
    }

    /// A value as it is written in TOML.
    pub fn toml(&self, text: &str) -> String {
        let quoted = |text: &str| format!("{text:?}");
        match self.kind {
            Kind::Number(..) | Kind::Flag => text.to_owned(),
            Kind::Addresses => {
                let parts: Vec<String> = split(text).map(quoted).collect();
                format!("[{}]", parts.join(", "))
            }
            _ => quoted(text),
        }
    }
}

/// The parts of a list.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn address(text: &str) -> Result<(), String> {
    let why = || "give host:port, as in 127.0.0.1:9001".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(why)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_bare = !host.contains(':') && !host.contains(char::is_whitespace) && !host.is_empty();
    let is_port = port.parse::<u16>().is_ok();
    if is_port && (is_bracketed || is_bare) { Ok(()) } else { Err(why()) }
}

/// The name most like `wrong`, if one is like it at all.
fn near<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |name: &'n str| (strsim::jaro_winkler(wrong, name), name);
    let best = names.map(likeness).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

/// The key called `name`.
pub fn find(name: &str) -> Option<&'static Key> {
    all().iter().find(|key| key.name == name)
}

/// The name of the key most like `wrong`; one without its section is found too.
pub fn nearest(wrong: &str) -> Option<String> {
    let names = || all().iter().map(|key| key.name.as_str());
    let last = wrong.rsplit('.').next().unwrap_or(wrong);
    let of_other_section = names().find(|name| name.rsplit('.').next() == Some(last));
    of_other_section.or_else(|| near(wrong, names())).map(str::to_owned)
}

/// Every key, by section.
pub fn all() -> &'static [Key] {
    static ALL: LazyLock<Vec<Key>> = LazyLock::new(table);
    &ALL
}

fn key(name: &str, default: &str, kind: Kind, about: &str) -> Key {
    Key { name: name.to_owned(), default: default.to_owned(), about: about.to_owned(), kind }
}

fn choice<'c>(names: impl IntoIterator<Item = &'c str>) -> Kind {
    Kind::Choice(names.into_iter().map(str::to_owned).collect())
}

const HOUR_MS: u64 = 3_600_000;

fn table() -> Vec<Key> {
    let mut all = of_the_node();
    all.extend(of_the_cluster());
    all.extend(of_replication());
    all.extend(of_the_detector_and_the_log());
    all.extend(of_the_engine());
    all.extend(of_the_rest());
    all
}

fn of_the_node() -> Vec<Key> {
    use Kind::{Address, AddressOrNone, Number, Text};
    vec![
        key(
            "node.name",
            "",
            Text(64),
            "what people call the node; the host's name and the client port if it is not given",
        ),
        key("node.data_dir", "./data", Text(4_096), "where everything is kept"),
        key(
            "node.zone",
            "default",
            Text(64),
            "what the node fails together with: replicas of a shard are spread over zones",
        ),
        key("node.weight", "1", Number(1, 1_000), "how much it can take, beside the others"),
        key("listen.client", "127.0.0.1:9001", Address, "for clients (gRPC)"),
        key("listen.peer", "127.0.0.1:9101", Address, "for other nodes"),
        key(
            "listen.swim",
            "127.0.0.1:9201",
            Address,
            "for the failure detectors of others, by UDP and TCP",
        ),
        key(
            "listen.http",
            "127.0.0.1:8080",
            AddressOrNone,
            "for browsers and scrapers; empty: not at all",
        ),
        key(
            "listen.advertise_client",
            "",
            AddressOrNone,
            "where clients reach it, if that is another address",
        ),
        key(
            "listen.advertise_peer",
            "",
            AddressOrNone,
            "where other nodes reach it; a seed is named by this",
        ),
        key("listen.advertise_swim", "", AddressOrNone, "where failure detectors reach it"),
        key("listen.advertise_http", "", AddressOrNone, "where browsers reach it"),
        key(
            "listen.threads",
            "0",
            Number(0, 1_024),
            "threads for connections; 0: half as many as processors",
        ),
    ]
}

fn of_the_cluster() -> Vec<Key> {
    use Kind::{Addresses, Number, Text};
    vec![
        key(
            "cluster.name",
            "norikv",
            Text(64),
            "the same on all nodes; one of another name is refused",
        ),
        key(
            "cluster.seeds",
            "",
            Addresses,
            "peer addresses of the nodes that found the cluster, the same list on all; empty: this one alone",
        ),
        key(
            "cluster.shards",
            "64",
            Number(1, 65_536),
            "shards for keys, fixed when the cluster is founded",
        ),
        key(
            "cluster.replication",
            "3",
            Number(1, 7),
            "replicas of a shard, where there are so many nodes",
        ),
        key(
            "cluster.moves",
            "4",
            Number(1, 64),
            "shards that may move onto or off one node at once",
        ),
    ]
}

fn of_replication() -> Vec<Key> {
    use Kind::{Duration, DurationOrOff, Number};
    let protocols = norikv_parts::PROTOCOLS.map(|(name, _)| name);
    let logs = nori_raft_log::KINDS.map(|(name, _)| name);
    let leases = LeaseKind::ALL.map(LeaseKind::name);
    vec![
        key(
            "consensus.plugin",
            "nori",
            choice(protocols),
            "the replication protocol, the same on all nodes",
        ),
        key(
            "consensus.log",
            "shared",
            choice(logs),
            "one log for all shards of the node, or one each",
        ),
        key(
            "consensus.heartbeat",
            "50ms",
            Duration(1, 60_000),
            "how often a leader with nothing to say says so",
        ),
        key(
            "consensus.election_timeout",
            "300ms",
            Duration(5, 600_000),
            "a follower that hears nothing for this long, and up to twice as long, campaigns",
        ),
        key("consensus.lease", "quorum", choice(leases), "what a read by lease rests upon"),
        key(
            "consensus.drift_ppm",
            "500",
            Number(0, 99_999),
            "how much faster or slower than another one's a clock may run, in millionths",
        ),
        key(
            "consensus.quiesce_after",
            "10s",
            DurationOrOff(100, HOUR_MS),
            "a group in which nothing happened for this long falls asleep",
        ),
        key(
            "consensus.trailing_entries",
            "10240",
            Number(0, 1 << 32),
            "applied entries that are kept for a replica that lags, if the log has room",
        ),
    ]
}

fn of_the_detector_and_the_log() -> Vec<Key> {
    use Kind::{Bytes, Duration};
    vec![
        key(
            "swim.period",
            "1s",
            Duration(10, 60_000),
            "how often the failure detector probes a member",
        ),
        key(
            "swim.probe_timeout",
            "500ms",
            Duration(5, 60_000),
            "how long a direct answer may take",
        ),
        key(
            "wal.durability",
            "sync",
            Kind::Durability,
            "what a write survives that was acknowledged: sync is a power loss",
        ),
        key(
            "wal.writer",
            "pwrite",
            choice(SegmentKind::ALL.map(|(name, ..)| name)),
            "how the log's bytes reach the system: a call per append, or a mapping",
        ),
        key("wal.segment", "64MiB", Bytes(64 << 10, 4 << 30), "bytes of a segment of the log"),
        key(
            "wal.cached",
            "1MiB",
            Bytes(0, 1 << 30),
            "bytes of applied entries of a shard that stay in memory for replicas that lag",
        ),
    ]
}

fn of_the_engine() -> Vec<Key> {
    let (min, max) = (norikv_parts::MEMORY_BYTES_MIN, norikv_parts::MEMORY_BYTES_MAX);
    let workers = Kind::Number(0, 1_024);
    let mut all = vec![
        key(
            "engine.memory",
            "256MiB",
            Kind::Bytes(min, max),
            "memtables, caches, filters and indexes of all shards together",
        ),
        key(
            "engine.workers",
            "0",
            workers,
            "threads for flushes, compactions and reads of the disk; 0: as many as processors",
        ),
    ];
    // A shard's store has no log of its own: the node's is before it.
    let is_chosen = |seam: &norikv_parts::Seam| seam.is_of_engine && seam.name != "wal";
    for seam in norikv_parts::seams().into_iter().filter(is_chosen) {
        let default = seam.parts.iter().find(|part| part.is_default).map_or("", |part| part.name);
        let kind = choice(seam.parts.iter().map(|part| part.name));
        all.push(key(&format!("engine.{}", seam.name), default, kind, seam.about));
    }
    for line in nori_lsm::Settings::lines() {
        let kind = Kind::Setting(line.name.to_owned());
        all.push(key(&format!("engine.{}", line.name), "", kind, line.about));
    }
    all
}

fn of_the_rest() -> Vec<Key> {
    use Kind::{Bytes, Duration, LogFilter, Number};
    vec![
        key("limits.key", "4KiB", Bytes(1, 64 << 10), "the longest key"),
        key("limits.value", "1MiB", Bytes(1, 32 << 20), "the longest value"),
        key("limits.batch", "4MiB", Bytes(1, 48 << 20), "keys and values of a batch together"),
        key(
            "limits.requests",
            "16384",
            Number(1, 1 << 20),
            "requests under way at once; the next is told OVERLOADED",
        ),
        key(
            "limits.incoming",
            "256MiB",
            Bytes(64 << 20, 1 << 40),
            "requests that have come, in part or whole, and have no answer, all together; beyond it they are told OVERLOADED",
        ),
        key(
            "limits.answers",
            "256MiB",
            Bytes(64 << 20, 1 << 40),
            "answers that clients have not taken, all together; beyond it requests are told OVERLOADED",
        ),
        key(
            "limits.connections",
            "1024",
            Number(8, 1 << 20),
            "connections of clients at once, and at most a quarter of the files that the process may open; the next is hung up on",
        ),
        key(
            "limits.disk_reserve",
            "256MiB",
            Bytes(0, 1 << 40),
            "with less free room on the disk nothing but deletes is taken",
        ),
        key(
            "idempotency.window",
            "10m",
            Duration(1_000, 24 * HOUR_MS),
            "how long requests with an identity are remembered",
        ),
        key("idempotency.entries", "65536", Number(1, 1 << 24), "and how many of a shard"),
        key(
            "observability.log",
            "info",
            LogFilter,
            "which log lines there are, as in warn,norikv_server=debug",
        ),
        key("observability.log_format", "text", choice(["text", "json"]), "how they look"),
        key(
            "shutdown.grace",
            "10s",
            Duration(0, HOUR_MS),
            "how long requests under way may take when the server is told to stop",
        ),
        key(
            "shutdown.deadline",
            "25s",
            Duration(100, HOUR_MS),
            "after this it ends whatever is under way",
        ),
    ]
}
