//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(name = "norikvctl", version, about = "Keys, members and shards of a NoriKV cluster")]
pub(crate) struct Cli {
    /// Nodes to ask first, as host:port.
    #[arg(
        long,
        global = true,
        env = "NORIKV_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:9001"
    )]
    pub(crate) endpoints: Vec<String>,
    /// How long the whole of it may take: 300ms, 5s, 2m.
    #[arg(long, global = true, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// When it began.
    #[arg(skip = Instant::now())]
    begun: Instant,
    /// How the answer looks.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Keys and values on the command line and in tables are hexadecimal.
    #[arg(long, global = true)]
    pub(crate) hex: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// How much of the time that the whole of it may take is left.
    pub(crate) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One document.
    Json,
    /// A document in each line.
    Jsonl,
    /// Values as they are.
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    /// Every write that ended before, as long as clocks keep to their drift.
    Lease,
    /// The same whatever clocks do.
    Linearizable,
    /// What some replica has.
    Stale,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Puts a value.
    Put(Put),
    /// Shows the value of a key.
    Get(Get),
    /// Removes a key.
    Del(Del),
    /// Puts a value if the key has this version.
    Cas(Cas),
    /// Shows rows in order of key.
    Scan(Scan),
    /// Shows where a key lives.
    Locate { key: String },
    /// The cluster as a whole.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The members of the cluster.
    Members,
    /// One node.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Shards.
    #[command(subcommand)]
    Shard(ShardCommand),
}

#[derive(Args)]
pub(crate) struct Put {
    pub(crate) key: String,
    /// The value; `-` or nothing: what comes on the standard input.
    pub(crate) value: Option<String>,
    /// How long it stays: 500ms, 60s, 10m.
    #[arg(long, value_parser = lifetime)]
    pub(crate) ttl: Option<Duration>,
    /// Only if the key has this version.
    #[arg(long, conflicts_with = "if_absent")]
    pub(crate) if_version: Option<u64>,
    /// Only if the key has no row.
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// The request's name: with the same one it is done once.
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Args)]
pub(crate) struct Get {
    pub(crate) key: String,
    #[arg(long, value_enum, default_value_t = Consistency::Lease)]
    pub(crate) consistency: Consistency,
    /// Of a stale read: no older than this.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) max_age: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct Del {
    pub(crate) key: String,
    /// Only if the key has this version.
    #[arg(long)]
    pub(crate) if_version: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Cas {
    pub(crate) key: String,
    /// The version that it has to have; 0: none.
    #[arg(long)]
    pub(crate) expect_version: u64,
    /// What to put.
    #[arg(long)]
    pub(crate) value: String,
}

#[derive(Args)]
pub(crate) struct Scan {
    /// Keys that begin so.
    #[arg(long, conflicts_with_all = ["start", "end"])]
    pub(crate) prefix: Option<String>,
    /// From this key on.
    #[arg(long)]
    pub(crate) start: Option<String>,
    /// Up to before this one.
    #[arg(long)]
    pub(crate) end: Option<String>,
    /// At most so many; 0: all.
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: u64,
    /// Without values.
    #[arg(long)]
    pub(crate) keys_only: bool,
    #[arg(long, value_enum, default_value_t = Consistency::Lease)]
    pub(crate) consistency: Consistency,
}

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// In one sentence: how it is.
    Status,
    /// Members and shards.
    Topology,
    /// Waits until every member answers, every shard has a leader, and every voter has caught up.
    WaitReady,
}

#[derive(Subcommand)]
pub(crate) enum NodeCommand {
    /// What a node says of itself.
    Status {
        /// Its name, number or client address; the first of the endpoints if it is not given.
        node: Option<String>,
    },
    /// It is to hold nothing: its replicas go elsewhere.
    Drain {
        /// Its name, number or client address.
        node: String,
        /// Waits until it holds nothing.
        #[arg(long)]
        wait: bool,
    },
    /// It is to hold its share again.
    Undrain {
        /// Its name, number or client address.
        node: String,
    },
    /// It is no member any more.
    Remove {
        /// Its name, number or client address.
        node: String,
        /// It will never come back: what it held is made anew elsewhere first.
        #[arg(long)]
        dead: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum ShardCommand {
    /// All of them.
    List,
    /// The replicas of one.
    Status { shard: u32 },
    /// Another voter is to lead it.
    TransferLeader {
        shard: u32,
        /// Its name, number or client address.
        #[arg(long)]
        to: String,
    },
    /// Its replicas are to be on these nodes.
    Move {
        shard: u32,
        /// Names, numbers or client addresses.
        #[arg(long, value_delimiter = ',', required = true)]
        to: Vec<String>,
    },
    /// A digest of its rows on each of its replicas, which are the same as of the same entry.
    Checksum { shard: u32 },
    /// What it has in memory goes to tables, on each of its replicas.
    Flush { shard: u32 },
    /// Its tables are merged, on each of its replicas.
    Compact { shard: u32 },
}

/// A time to live: a row that is gone at once is a deletion, and is asked for as one.
fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_millis() == 0 => Err("a millisecond at least".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}
