//! A node on real sockets.
//!
//! [`norikv_node::Node`] knows no socket, thread or timer. Here it gets them:
//!
//! 1. One thread owns the node and does nothing else ([`driver`]). Whatever comes from outside is a command in its queue; it takes what there is, lets the node take
//!    **one** turn for all of it, and hands on what came out. So requests that arrive together share a batch of the log and its sync.
//! 2. Packets to other nodes go over one stream each ([`links`]), those of the failure detector as datagrams ([`gossip`]).
//! 3. Clients come over gRPC ([`kv`], [`cluster`], [`admin`]) or HTTP ([`http`]); each request is a command and waits for its answer without a thread.
//!
//! | module | what it has |
//! |---|---|
//! | [`driver`] | the loop that owns the node |
//! | [`write_times`] | where the time of writes goes |
//! | [`topology`] | what the loop publishes of the node: who is where |
//! | [`links`] | streams to other nodes |
//! | [`gossip`] | the failure detector's datagrams, and streams where they are too long |
//! | [`peer`] | what other nodes call |
//! | [`serving`] | requests of clients, in the house's own words |
//! | [`kv`], [`cluster`], [`admin`] | the services of `proto/norikv/v1` |
//! | [`scan`] | rows in order, over one shard or all of them |
//! | [`errors`] | what a client is told when something is not done |
//! | [`faults`], [`test_control`] | what tests do to clusters in memory |
//! | [`http`] | health, state and a gateway for people and scrapers |
//! | `accept` | connections that come in, and how they are served |
//! | `patience` | requests that have to come in time |
//! | `room` | bytes that came in part, and bytes that clients have not taken |
//! | `connection` | a connection that somebody made, and what ends it |
//! | `express` | requests for keys go before the router |
//! | `unary` | calls of one message and one answer |
//! | `pipe` | many requests on one stream |
//! | [`serve`] | all of it on its sockets, and its end |
//!
//! Promises: what the node acknowledged is what a client hears, and an outcome that nobody knows is told as unknown; queues are bounded; a slow client or peer
//! keeps nobody else waiting. Left to others: files and parts, settings and where they come from, what is counted and how it is shown.

mod accept;
pub mod admin;

pub mod cluster;
mod connection;
mod convert;
pub mod driver;
pub mod errors;
mod express;
pub mod faults;
pub mod gossip;
pub mod http;
pub mod kv;
pub mod links;
mod patience;
pub mod peer;
mod pipe;
mod room;
pub mod scan;
pub mod serve;
pub mod serving;
pub mod test_control;
pub mod topology;
mod unary;
pub mod write_times;

pub use driver::{Driver, Ended, Handle};
pub use serve::{Addresses, Serving, Settings};
pub use topology::Topology;
