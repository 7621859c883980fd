//! A node without a world of its own: the replicas of many shards, on one log, behind one link to each peer.
//!
//! Whoever drives a [`Node`] gives it packets, requests, the time and a wake when a job or a sync has ended, and takes [`Output`]s. Files are
//! reached through the engine's and the log's seams, jobs through [`nori_env::Tasks`]; so the same node runs in a server and in a simulation.
//!
//! A turn of its replicas ([`Shards::turn`]) goes in rounds, as long as there is something:
//!
//! 1. Every replica that is **ready** is drained. What they want stored goes into one batch, what they say to a peer into one packet.
//! 2. The batch is appended, and its sync begins. Whatever becomes ready meanwhile is the next batch.
//! 3. Each of them works: applies entries, answers requests.
//! 4. Batches that are safe are told to their replicas, and messages that waited for them go.
//!
//! | module | what it has |
//! |---|---|
//! | `node` | the whole: founding, the map, who does what |
//! | [`charter`] | what a node is and what its cluster was founded as, on its disk |
//! | `founding` | how nodes come to be a cluster, or into one |
//! | `conductor` | where replicas are to be, and the next steps |
//! | `control` | what nodes say beside replicas |
//! | `roster` | which shards a node has |
//! | `shards` | the replicas, and their turn |
//! | `host` | a replica, and what is under way of it |
//! | `stages` | where the time of a write goes |
//! | `inbox` | what comes back from jobs |
//! | `packet` | what nodes say to each other |
//! | `snapshot` | how a state comes to another node |
//! | `wheel` | whose time comes next |
//!
//! Left to others: sockets, threads and timers, and what a client is told in which words.

pub mod charter;
mod conductor;
mod control;
mod error;
mod founding;
mod host;
mod inbox;
mod node;
mod packet;
mod roster;
mod shards;
mod snapshot;
mod stages;
mod wheel;

pub use error::NodeError;
pub use founding::{Candidate, FoundingError};
pub use inbox::Waker;
pub use node::{Event, Fatal, LOG_REWRITE_BYTES_MAX, Member, Node, Output, Refused, Settings};
pub use packet::{BadPacket, ClusterId};
pub use shards::{Chore, Config, Output as ShardOutput, Parts, ShardOpening, Shards};
pub use stages::Stages;
