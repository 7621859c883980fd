//! The Rust client of NoriKV.
//!
//! ```no_run
//! # async fn run() -> Result<(), norikv_client::Error> {
//! use norikv_client::Client;
//!
//! let client = Client::connect(["localhost:9001", "localhost:9002"])?;
//! let version = client.put("key", "value").await?;
//! let entry = client.get("key").await?.expect("it was just put");
//! assert_eq!((&entry.value[..], entry.version), (&b"value"[..], version));
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone and safe to share; it has one connection to each node it talks to, and connects when it first has to. What it does for each call:
//!
//! 1. The key says which shard it is of; the topology, which the client watches, who leads that. The request goes there.
//! 2. A node that does not lead it says who does, and the request goes to that one at once.
//! 3. What failed for a reason that may pass is tried again, at another node if one does not answer: when the server says, or at growing intervals with chance in them as long as the budget of
//!    the client for such attempts allows, and never beyond the call's deadline.
//! 4. A write carries a name of its own in all its attempts, so that it is executed once.
//!
//! | module | what it has |
//! |---|---|
//! | `client` | the calls |
//! | `options` | what can be said of a call, and of a client |
//! | `call` | attempts within one deadline |
//! | `routes` | who leads what, and the connections there |
//! | `budget` | how many more attempts a client may make |
//! | `scan` | rows in order, over all shards |
//! | [`error`](mod@error) | what can go wrong |
//! | [`ephemeral`] | a server for tests: the real one, in memory |
//!
//! Left to others: which tasks run where. The client wants a tokio runtime.

mod budget;
mod call;
mod client;
pub mod ephemeral;
pub mod error;
mod options;
mod routes;
mod scan;

pub use client::{Batch, Client, Entry};
pub use error::{Error, ErrorKind};
pub use norikv_proto::channel::Channel;
pub use options::{
    Builder, Condition, Consistency, DeleteOptions, GetOptions, PutOptions, Retry, ScanOptions,
};
pub use routes::{Location, Node, NodeState, Shard, Topology};
pub use scan::{Row, Scan};
