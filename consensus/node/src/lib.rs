//! A node without a world of its own: the replicas of many shards, on one log, behind one link to each peer.
//!
//! Whoever drives it gives it packets, requests, the time and a wake when a job or a sync has ended, and takes [`Output`]s. Files are
//! reached through the engine's and the log's seams, jobs through [`nori_env::Tasks`]; so the same node runs in a server and in a simulation.
//!
//! A turn ([`Node::turn`]) goes in rounds, as long as there is something:
//!
//! 1. Every replica that is **ready** is drained. What they want stored goes into one batch, what they say to a peer into one packet.
//! 2. The batch is appended, and its sync begins. Whatever becomes ready meanwhile is the next batch.
//! 3. Each of them works: applies entries, answers requests.
//! 4. Batches that are safe are told to their replicas, and messages that waited for them go.
//!
//! | module | what it has |
//! |---|---|
//! | `node` | the turn |
//! | `host` | a replica, and what is under way of it |
//! | `inbox` | what comes back from jobs |
//! | `packet` | what nodes say to each other |
//! | `snapshot` | how a state comes to another node |
//! | `wheel` | whose time comes next |
//!
//! Left to others: which shards a node has, who its peers are and where, when it is right to listen to a client.

pub mod charter;
mod conductor;
mod control;
mod error;
mod host;
mod inbox;
mod node;
mod packet;
mod snapshot;
mod wheel;

pub use error::NodeError;
pub use inbox::Waker;
pub use node::{Config, Node, Output, Parts, ShardOpening};
pub use packet::{BadPacket, ClusterId};
